"""How sure figures are: bootstrap over patients, DeLong's test, exact binomial limits. All intervals are of 95 %."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv
from scipy.stats import binomtest, norm, rankdata

from .metrics import COUNTED, RANKED, Answers, Numbers, Scores, counted, ranked, resampled

Patients: TypeAlias = Sequence[str] | npt.NDArray[Any]
RESAMPLES = 1000
AT_ONCE = 100  # resamples whose weights are held in memory together
DEFINED = 0.95
"""Share of the resamples that must have a figure; with fewer, percentiles of the others would be those of luck."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval; NaN limits: no interval can be told."""

    estimate: float
    low: float
    high: float

    def json(self) -> dict[str, Any]:
        """{"estimate", "ci95"}; null where there is no number."""
        estimate, low, high = (None if np.isnan(v) else float(v) for v in (self.estimate, self.low, self.high))
        return {"estimate": estimate, "ci95": [low, high]}


@dataclass(frozen=True, slots=True)
class Difference:
    """First minus second, with its 95 % interval and the two-sided p of no difference."""

    estimate: float
    low: float
    high: float
    p: float

    def json(self) -> dict[str, Any]:
        told = Interval(self.estimate, self.low, self.high).json()
        return {**told, "p": None if np.isnan(self.p) else float(self.p)}


# ------------------------------------------------------------------ bootstrap
def bootstrap(
    positive: Answers,
    score: Scores,
    threshold: float,
    patients: Patients,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """All figures of `metrics.figures` with percentile intervals; a resample draws patients, with all their exams."""
    return of_resamples(
        lambda weights: resampled(positive, score, threshold, weights), patients, resamples=resamples, seed=seed
    )


def of_resamples(
    measured: Callable[[npt.NDArray[Any]], Mapping[str, Numbers]],
    patients: Patients,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Interval of each figure that `measured` finds, each (R,), in resamples with weights (R, N)."""
    whole, drawn = draws(measured, patients, resamples=resamples, seed=seed)
    return {name: Interval(whole[name], *percentiles(values)) for name, values in drawn.items()}


def draws(
    measured: Callable[[npt.NDArray[Any]], Mapping[str, Numbers]], patients: Patients, *, resamples: int, seed: int
) -> tuple[dict[str, float], dict[str, Numbers]]:
    """The figures of the cohort as it is, and those of every resample (resamples,)."""
    whole = {name: float(value[0]) for name, value in measured(np.ones((1, len(patients)))).items()}
    parts = [measured(weights) for weights in resampling(patients, resamples, seed)]
    return whole, {name: np.concatenate([part[name] for part in parts]) for name in whole}


def resampling(patients: Patients, resamples: int, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """Weights (at most `AT_ONCE`, N): how often each exam was drawn. The exams of one patient have one weight."""
    _, of_exam = np.unique(np.asarray(patients), return_inverse=True)
    count = int(of_exam.max()) + 1 if len(of_exam) else 0
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, AT_ONCE):
        rows = min(AT_ONCE, resamples - start)
        chosen = [np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(rows)]
        yield np.array(chosen, float)[:, of_exam]


def percentiles(values: Numbers) -> tuple[float, float]:
    """2.5th and 97.5th percentile of the resamples that have the figure; NaN where too many have none."""
    defined = values[np.isfinite(values)]
    if len(defined) < DEFINED * len(values) or not len(defined):
        return float("nan"), float("nan")
    low, high = np.percentile(defined, (2.5, 97.5))
    return float(low), float(high)


def paired(
    positive: Answers,
    first: Scores,
    second: Scores,
    patients: Patients,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    figure: str = "auroc",
    thresholds: tuple[float, float] = (0.5, 0.5),
) -> Difference:
    """Difference of a figure between two scores of the same exams, both measured in every resample of the patients.

    `thresholds`: of the first and of the second score, for figures that need one.
    """

    def measured(weights: npt.NDArray[Any]) -> dict[str, Numbers]:
        one, other = (
            one_figure(figure, positive, score, threshold, weights)
            for score, threshold in zip((first, second), thresholds, strict=True)
        )
        return {figure: one - other}

    whole, drawn = draws(measured, patients, resamples=resamples, seed=seed)
    return difference(whole[figure], drawn[figure])


def one_figure(
    name: str, positive: Answers, score: Scores, threshold: float, weights: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """One figure (R,), without the cost of the others' kind; KeyError for a name that is none."""
    if name in RANKED:
        return ranked(positive, score, weights)[name]
    if name in COUNTED:
        return counted(positive, score > threshold, weights)[name]
    return resampled(positive, score, threshold, weights)[name]


def difference(estimate: float, drawn: Numbers) -> Difference:
    """Of a paired bootstrap: twice the share of resamples on the other side of zero, both ends counted (Davison and
    Hinkley 1997, 4.2), so p is never 0: with 1,000 resamples at least 0.002."""
    low, high = percentiles(drawn)
    if np.isnan(low):
        return Difference(estimate, low, high, float("nan"))
    drawn = drawn[np.isfinite(drawn)]
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return Difference(estimate, low, high, min(1.0, 2 * float(tail + 1) / (len(drawn) + 1)))


# ------------------------------------------------------------------ DeLong
def delong(positive: Answers, first: Scores, second: Scores) -> Difference:
    """Difference of two correlated AUROCs with the test of DeLong, DeLong and Clarke-Pearson (1988).

    Structural components from midranks (Sun and Xu 2014). It takes every exam for another patient's. p is 1 where both
    order all exams alike, NaN with fewer than two exams of a class.
    """
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < 2:
        return Difference(*[float("nan")] * 4)
    of_positive, of_negative = zip(*(components(positive, score) for score in (first, second)), strict=True)
    estimate = float(of_positive[0].mean() - of_positive[1].mean())
    variance = np.var(of_positive[0] - of_positive[1], ddof=1) / m + np.var(of_negative[0] - of_negative[1], ddof=1) / n
    error = float(np.sqrt(variance))
    p = float(2 * norm.sf(abs(estimate) / error)) if error > 0 else float(estimate == 0)
    half = float(norm.ppf(0.975)) * error
    return Difference(estimate, estimate - half, estimate + half, p)


def components(positive: Answers, score: Scores) -> tuple[Numbers, Numbers]:
    """Of each positive (m,) the share of negatives below it, of each negative (n,) the share of positives above it."""
    m, n = int(positive.sum()), int((~positive).sum())
    among_all = rankdata(score)
    of_positive = (among_all[positive] - rankdata(score[positive])) / n
    of_negative = 1 - (among_all[~positive] - rankdata(score[~positive])) / m
    return of_positive, of_negative


# ------------------------------------------------------------------ exact binomial
def exact(events: int, of: int) -> Interval:
    """A share with its exact two-sided interval (Clopper and Pearson 1934); 0 to 1, without estimate, of none."""
    if of == 0:
        return Interval(float("nan"), 0.0, 1.0)
    limits = binomtest(events, of).proportion_ci(0.95, method="exact")
    return Interval(events / of, float(limits.low), float(limits.high))


def upper_limit(events: int, of: int, confidence: float = 0.95) -> float:
    """One-sided exact upper limit of a share; 1 where all, or none at all, were looked at."""
    return 1.0 if events >= of else float(betaincinv(events + 1, of - events, confidence))
