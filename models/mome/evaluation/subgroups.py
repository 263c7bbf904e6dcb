"""The same figures for parts of a cohort: by age, background enhancement, category, scanner, site, sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cohort import Case
from .intervals import RESAMPLES, Interval, of_resamples
from .metrics import Answers, Scores, counted, ranked

LEAST = 10
"""Positives, and negatives, below which a group says nothing: one exam would move its figures by more than a tenth."""
FIGURES = ("auroc", "auprc", "sensitivity", "specificity")
NOT_STATED = "not stated"


@dataclass(frozen=True, slots=True)
class Subgroup:
    """One part of a cohort; without intervals (`figures` empty) where it is too small, and `note` says so."""

    by: str  # "age", "bpe", ...
    group: str
    n: int
    patients: int
    positives: int
    figures: Mapping[str, Interval]  # of FIGURES
    note: str = ""

    def json(self) -> dict[str, Any]:
        told = {name: interval.json() for name, interval in self.figures.items()}
        counts = {"n": self.n, "patients": self.patients, "positives": self.positives}
        return {"by": self.by, "group": self.group, **counts, **told, "note": self.note}


def age_band(case: Case) -> str:
    """The bands of the paper, in years."""
    if case.age is None:
        return ""
    return "under 40" if case.age < 40 else "40 to under 60" if case.age < 60 else "60 and over"


def field_strength(case: Case) -> str:
    return "" if case.field_strength_t is None else f"{case.field_strength_t:g} T"


def birads(case: Case) -> str:
    """The category without its letter, as the paper groups them."""
    return case.birads[:1]


DIVISIONS: Mapping[str, Callable[[Case], str]] = {
    "age": age_band,
    "bpe": lambda case: case.bpe,
    "birads": birads,
    "field strength": field_strength,
    "site": lambda case: case.site,
    "vendor": lambda case: case.vendor,
    "sequences": lambda case: "+".join(case.sequences),
}
ORDER = ("under 40", "40 to under 60", "60 and over", "minimal", "mild", "moderate", "marked")


def subgroups(
    cases: Sequence[Case],
    positive: Answers,
    score: Scores,
    threshold: float,
    *,
    divisions: Mapping[str, Callable[[Case], str]] = DIVISIONS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Subgroup]:
    """Every group of every division, in a fixed order; exams of which the fact is not known are a group of their own.

    `cases`, `positive` and `score` are (N,) and belong together. A division in which nothing is stated is left out.
    """
    found = []
    for by, told in divisions.items():
        names = np.array([told(case) or NOT_STATED for case in cases], dtype=object)
        groups = sorted(set(names), key=_place)
        if groups == [NOT_STATED]:
            continue
        for group in groups:
            rows = names == group
            patients = [case.patient for case, inside in zip(cases, rows, strict=True) if inside]
            found.append(
                subgroup(by, group, patients, positive[rows], score[rows], threshold, resamples=resamples, seed=seed)
            )
    return found


def subgroup(
    by: str,
    group: str,
    patients: Sequence[str],
    positive: Answers,
    score: Scores,
    threshold: float,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Subgroup:
    """One group, with intervals where it has at least `LEAST` exams of either class."""
    n, positives = len(positive), int(positive.sum())
    counts = (by, group, n, len(set(patients)), positives)
    if min(positives, n - positives) < LEAST:
        note = (
            f"too few to say anything: {positives} positive, {n - positives} negative; at least {LEAST} of each needed"
        )
        return Subgroup(*counts, figures={}, note=note)

    def measured(weights: Any) -> dict[str, Any]:
        every = ranked(positive, score, weights) | counted(positive, score > threshold, weights)
        return {name: every[name] for name in FIGURES}

    return Subgroup(*counts, figures=of_resamples(measured, patients, resamples=resamples, seed=seed))


def _place(group: str) -> tuple[bool, int, str]:
    """Bands and grades in their order, other names by the alphabet, what is not stated last."""
    return group == NOT_STATED, ORDER.index(group) if group in ORDER else len(ORDER), group
