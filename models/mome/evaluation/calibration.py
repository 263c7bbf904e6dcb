"""Whether a score may be read as a probability: how far it is from one, and a stored curve that makes it one.

A curve holds for exams like those it was fitted on, with the same share of cancers: cohort, n and date go with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from scipy.special import expit

from .intervals import Interval, exact
from .metrics import Answers, Numbers, Scores, log_odds_of, recalibration

BINS = 10
METHOD = "Platt: probability = 1 / (1 + exp(-(intercept + slope * logit(score))))"


class CalibrationError(ValueError):
    """No calibration can be fitted or applied; the message says why."""


@dataclass(frozen=True, slots=True)
class Bin:
    """One point of a reliability diagram."""

    n: int
    positives: int
    mean_score: float
    share: Interval  # of positives, exact


def reliability(positive: Answers, score: Scores, bins: int = BINS) -> list[Bin]:
    """Exams in bins of equal width over 0..1, empty bins left out; the last holds its upper edge."""
    of_exam = np.minimum((score * bins).astype(int), bins - 1)
    found = []
    for index in np.unique(of_exam):
        there = of_exam == index
        n, positives = int(there.sum()), int(positive[there].sum())
        found.append(Bin(n, positives, float(score[there].mean()), exact(positives, n)))
    return found


def expected_error(positive: Answers, score: Scores, bins: int = BINS) -> float:
    """Expected calibration error (Naeini et al. 2015): mean gap of score and share over the bins, weighted by exams."""
    parts = reliability(positive, score, bins)
    gaps = [part.n * abs(part.mean_score - part.share.estimate) for part in parts]
    return float(sum(gaps) / len(score)) if len(score) else float("nan")


@dataclass(frozen=True, slots=True)
class Calibration:
    """One stored curve: how the score is made (`key`, as of an operating point) and what was fitted on what."""

    key: Mapping[str, Any]
    slope: float
    intercept: float
    cohort: str
    n: int
    positives: int
    date: str  # ISO
    target: str = "malignancy"
    method: str = METHOD

    def json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "key": dict(self.key)}


def fit(
    positive: Answers, score: Scores, *, key: Mapping[str, Any], cohort: str, when: date, target: str = "malignancy"
) -> Calibration:
    """The curve of Platt (1999) on the logits of the scores, by maximum likelihood.

    Raises CalibrationError where there is none, or where it falls: a higher score must not be a lower probability.
    """
    intercept, slope = (
        float(v[0]) for v in recalibration(positive.astype(float), log_odds_of(score), np.ones((1, len(score))))
    )
    if not np.isfinite([intercept, slope]).all():
        raise CalibrationError(
            f"{cohort}: its scores cannot be calibrated: one class is missing, or the scores part the two completely."
        )
    if slope <= 0:
        raise CalibrationError(
            f"{cohort}: higher scores have fewer positives there: no probability can be made of them."
        )
    return Calibration(key, slope, intercept, cohort, len(score), int(positive.sum()), when.isoformat(), target)


def apply(calibration: Calibration, score: Scores) -> Numbers:
    """Probabilities (N,), in the order of the scores."""
    return np.asarray(expit(calibration.intercept + calibration.slope * log_odds_of(np.asarray(score))))


def card_field(curves: Sequence[Calibration]) -> dict[str, Any]:
    """The field `calibration` of a model card."""
    return {"curves": [curve.json() for curve in curves]}


def of_card(card: Mapping[str, Any], target: str, made: Mapping[str, Any]) -> Calibration | None:
    """The curve stored for this target and exactly this way of making the score; None otherwise, never the nearest."""
    for said in (card.get("calibration") or {}).get("curves", ()):
        if said["target"] == target and said["key"] == {**made, "sequences": list(made["sequences"])}:
            return Calibration(**said)
    return None
