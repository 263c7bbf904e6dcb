"""Decision curves (Vickers and Elkin 2006): what acting on a score is worth, by how a patient weighs the two errors.

The threshold probability says how many needless interventions one found cancer is worth: at 0.1, nine. The curves read
a score as a probability; one that is not calibrated answers for other weighings than the axis says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..cohort import Case
from .intervals import RESAMPLES, Patients, resampling
from .metrics import Answers, Numbers, Scores
from .power import BIRADS_4

THRESHOLDS: Numbers = np.round(np.linspace(0.01, 0.99, 99), 2)


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Net benefit per exam at each threshold probability, every array (T,); limits are NaN without patients."""

    scenario: str  # "treat" or "avoid biopsy"
    n: int
    positives: int
    thresholds: Numbers
    net_benefit: Numbers
    low: Numbers  # pointwise 95 % interval
    high: Numbers
    treat_all: Numbers  # everybody has the intervention (biopsy, surgery)
    treat_none: Numbers

    def json(self) -> dict[str, Any]:
        arrays = ("thresholds", "net_benefit", "low", "high", "treat_all", "treat_none")
        listed = {name: [None if np.isnan(v) else float(v) for v in getattr(self, name)] for name in arrays}
        return {"scenario": self.scenario, "n": self.n, "positives": self.positives, **listed}

    @property
    def useful(self) -> Numbers:
        """Thresholds at which the score is better than both treating all and treating none."""
        return self.thresholds[self.net_benefit > np.maximum(self.treat_all, self.treat_none)]


def treat(
    positive: Answers,
    score: Scores,
    thresholds: npt.ArrayLike = THRESHOLDS,
    *,
    patients: Patients | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> DecisionCurve:
    """Net benefit of intervening above the threshold: TP/n - FP/n * t / (1 - t); of treating none it is 0.

    With `patients`, limits by bootstrap over them.
    """
    return _curve("treat", positive, score, thresholds, patients, resamples, seed)


def avoid_biopsy(
    positive: Answers,
    score: Scores,
    thresholds: npt.ArrayLike = THRESHOLDS,
    *,
    patients: Patients | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> DecisionCurve:
    """Net benefit of leaving out the biopsy at or below the threshold: TN/n - FN/n * (1 - t) / t; biopsying all is 0.

    Of BI-RADS 4 exams, of which usually all go to biopsy: `in_birads_4` finds them.
    """
    return _curve("avoid biopsy", positive, score, thresholds, patients, resamples, seed)


def in_birads_4(cases: Sequence[Case]) -> Answers:
    """Which exams have category 4, with or without a letter (N,)."""
    return np.array([case.birads in BIRADS_4 for case in cases], bool)


def _curve(
    scenario: str,
    positive: Answers,
    score: Scores,
    thresholds: npt.ArrayLike,
    patients: Patients | None,
    resamples: int,
    seed: int,
) -> DecisionCurve:
    """Raises ValueError for thresholds that are no probabilities between 0 and 1."""
    at = np.asarray(thresholds, float)
    if not ((at > 0) & (at < 1)).all():
        raise ValueError("Threshold probabilities lie between 0 and 1, without 0 and 1.")
    intervene = score[:, None] > at  # (N, T)
    everyone, nobody = np.ones_like(intervene), np.zeros_like(intervene)
    alone = np.ones((1, len(score)))
    worth = {"treat": _of_treating, "avoid biopsy": _of_sparing}[scenario]
    low = high = np.full(len(at), np.nan)
    if patients is not None:
        drawn = np.concatenate([worth(positive, intervene, at, w) for w in resampling(patients, resamples, seed)])
        low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    return DecisionCurve(
        scenario,
        len(score),
        int(positive.sum()),
        at,
        *(worth(positive, intervene, at, alone)[0], low, high),
        *(worth(positive, called, at, alone)[0] for called in (everyone, nobody)),
    )


def _of_treating(positive: Answers, intervene: Answers, at: Numbers, weights: npt.NDArray[Any]) -> Numbers:
    """Net benefit (R, T)."""
    tp = (weights * positive) @ intervene
    fp = (weights * ~positive) @ intervene
    return np.asarray((tp - fp * at / (1 - at)) / weights.sum(axis=1, keepdims=True))


def _of_sparing(positive: Answers, intervene: Answers, at: Numbers, weights: npt.NDArray[Any]) -> Numbers:
    """Net benefit (R, T) of the interventions left out."""
    tn = (weights * ~positive) @ ~intervene
    fn = (weights * positive) @ ~intervene
    return np.asarray((tn - fn * (1 - at) / at) / weights.sum(axis=1, keepdims=True))
