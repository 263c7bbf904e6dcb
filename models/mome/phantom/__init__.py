"""Synthetic breast MRI with a known answer: patients in millimetres, rendered as exams, gathered in cohorts."""

from .design import CLINIC, DESIGNS, PLAIN, Design
from .exams import INJECTION_SECONDS, PhantomExam, PhantomVolume, exam

__all__ = ["CLINIC", "DESIGNS", "INJECTION_SECONDS", "PLAIN", "Design", "PhantomExam", "PhantomVolume", "exam"]
