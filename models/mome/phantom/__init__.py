"""Synthetic breast MRI with a known answer: patients in millimetres, rendered as exams, gathered in cohorts."""

from .exams import INJECTION_SECONDS, PhantomExam, PhantomVolume, exam

__all__ = ["INJECTION_SECONDS", "PhantomExam", "PhantomVolume", "exam"]
