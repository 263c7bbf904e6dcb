"""How well scores tell positive exams from negative ones: all figures of a cohort, or of many resamples at once.

A resample is a row of weights: how often each exam was drawn. The figures of a cohort are those of weights all one, so
estimate and interval are of one definition. A score *larger* than the threshold is called positive (paper, Methods).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

Answers: TypeAlias = npt.NDArray[np.bool_]
Scores: TypeAlias = npt.NDArray[np.floating]
Numbers: TypeAlias = npt.NDArray[np.float64]

HELD = 0.9  # the sensitivity, and the specificity, of the partial areas
RANKED = ("auroc", "auprc", "partial_auroc_sensitivity_90", "partial_auroc_specificity_90")
COUNTED = (
    "accuracy",
    "f1",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "mcc",
    "likelihood_ratio_positive",
    "likelihood_ratio_negative",
)
CALIBRATED = ("brier", "calibration_slope", "calibration_intercept", "calibration_in_the_large")
FIGURES = (*RANKED, *COUNTED, *CALIBRATED)
"""Names of the figures, in the order of the tables. docs/evaluation.md says where each comes from."""

LEAST_PROBABILITY = 1e-7  # scores of 0 and 1 have no logit: they count as this near to them
STEPS, SETTLED = 60, 1e-9  # of Newton's method


# ------------------------------------------------------------------ of one cohort
def figures(positive: Answers, score: Scores, threshold: float) -> dict[str, float]:
    """All of `FIGURES` of N exams; NaN where undefined (no positives, a division by nothing, scores beyond 0..1)."""
    found = resampled(positive, score, threshold, np.ones((1, len(score))))
    return {name: float(value[0]) for name, value in found.items()}


def auroc(positive: Answers, score: Scores) -> float:
    """Probability that a positive exam scores higher than a negative one; ties count half. NaN without either."""
    return float(area(*cumulated(positive, score, np.ones((1, len(score)))))[0])


# ------------------------------------------------------------------ of R resamples
def resampled(positive: Answers, score: Scores, threshold: float, weights: npt.NDArray[Any]) -> dict[str, Numbers]:
    """All of `FIGURES`, each (R,), of resamples with weights (R, N)."""
    return {
        **ranked(positive, score, weights),
        **counted(positive, score > threshold, weights),
        **calibrated(positive, score, weights),
    }


def ranked(positive: Answers, score: Scores, weights: npt.NDArray[Any]) -> dict[str, Numbers]:
    """The areas, each (R,)."""
    tp, fp = cumulated(positive, score, weights)
    p, n = tp[:, -1:], fp[:, -1:]
    return {
        "auroc": area(tp, fp),
        "auprc": average_precision(tp, fp),
        # With the classes exchanged: specificity over a share of missed positives of up to 10 %.
        "partial_auroc_sensitivity_90": partial_area((n - fp)[:, ::-1], (p - tp)[:, ::-1]),
        "partial_auroc_specificity_90": partial_area(tp, fp),
    }


def cumulated(positive: Answers, score: Scores, weights: npt.NDArray[Any]) -> tuple[Numbers, Numbers]:
    """Weight of the positives and of the negatives at or above each distinct score, (R, G + 1), from none to all."""
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=np.inf))
    drawn = weights[:, order]
    of_class = [
        np.add.reduceat(drawn * chosen, starts, axis=1, dtype=float) for chosen in (positive[order], ~positive[order])
    ]
    tp, fp = (np.pad(np.cumsum(groups, axis=1), ((0, 0), (1, 0))) for groups in of_class)
    return tp, fp


def area(tp: Numbers, fp: Numbers) -> Numbers:
    """Under the ROC curve, (R,)."""
    return _ratio(np.asarray(np.trapezoid(tp, fp, axis=1)), tp[:, -1] * fp[:, -1])


def average_precision(tp: Numbers, fp: Numbers) -> Numbers:
    """Area under the precision-recall curve as a sum of steps, not interpolated (Davis and Goadrich 2006), (R,)."""
    above = tp + fp
    precision = np.divide(tp, above, out=np.zeros_like(tp), where=above > 0)
    return _ratio((np.diff(tp, axis=1) * precision[:, 1:]).sum(axis=1), tp[:, -1])


def partial_area(tp: Numbers, fp: Numbers) -> Numbers:
    """Area (R,) where at most 10 % of the negatives are above, scaled so that chance is 0.5 and perfect order 1.

    The scale is McClish's (1989), that of scikit-learn's `max_fpr`. The paper does not name its own; its 0.735 and
    0.800 beside an AUROC of 0.912 are of this size (two Gaussians give 0.77), bare shares would be near 0.56.
    """
    limit = (1 - HELD) * fp[:, -1:]
    across = np.clip(fp, None, limit)
    width, rise = np.diff(fp, axis=1), np.diff(tp, axis=1)
    taken = np.diff(across, axis=1)
    share = np.divide(taken, width, out=np.zeros_like(taken), where=width > 0)
    bare = (taken * (tp[:, :-1] + rise * share / 2)).sum(axis=1)
    found = _ratio(bare, tp[:, -1] * fp[:, -1])
    chance, largest = (1 - HELD) ** 2 / 2, 1 - HELD
    return np.asarray(0.5 * (1 + (found - chance) / (largest - chance)))


def counted(positive: Answers, called: Answers, weights: npt.NDArray[Any]) -> dict[str, Numbers]:
    """The figures of a two by two table, each (R,); `called` (N,): positive by the test."""
    tp, fn, fp, tn = (weights @ cell.astype(float) for cell in _cells(positive, called))
    sensitivity, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return {
        "accuracy": _ratio(tp + tn, tp + fn + fp + tn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": _ratio(tp, tp + fp),
        "npv": _ratio(tn, tn + fn),
        "mcc": _ratio(tp * tn - fp * fn, np.sqrt(product)),
        "likelihood_ratio_positive": _ratio(sensitivity, 1 - specificity),
        "likelihood_ratio_negative": _ratio(1 - sensitivity, specificity),
    }


def calibrated(positive: Answers, score: Scores, weights: npt.NDArray[Any]) -> dict[str, Numbers]:
    """Brier score and logistic recalibration, each (R,); NaN where a score lies outside 0..1 and is no probability."""
    if not len(score) or not bool(((score >= 0) & (score <= 1)).all()):
        return {name: np.full(len(weights), np.nan) for name in CALIBRATED}
    answer, log_odds = positive.astype(float), log_odds_of(score)
    intercept, slope = recalibration(answer, log_odds, weights)
    return {
        "brier": _ratio(weights @ (score - answer) ** 2, weights.sum(axis=1)),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "calibration_in_the_large": recalibration(answer, log_odds, weights, slope=1.0)[0],
    }


def log_odds_of(score: Scores) -> Numbers:
    """Logits (N,), finite also of scores of 0 and 1."""
    return np.asarray(logit(np.clip(score.astype(float), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)))


def recalibration(
    answer: Numbers, log_odds: Numbers, weights: npt.NDArray[Any], *, slope: float | None = None
) -> tuple[Numbers, Numbers]:
    """Intercept and slope (R,) of the logistic regression of the answers on the log odds (Cox 1958), unpenalised.

    With a `slope` given only the intercept is fitted: calibration in the large. NaN where there is no such fit: one
    class alone, or scores that part the classes completely. Newton's method from the centre of the log odds.
    """
    centre, spread = float(log_odds.mean()), float(log_odds.std())
    found = np.full((2, len(weights)), np.nan)
    if spread == 0:
        return found[0], found[1]
    x = (log_odds - centre) / spread
    free = slope is None
    beta = np.zeros((len(weights), 2))
    if slope is not None:
        beta[:, 1] = slope * spread
    open_rows = np.arange(len(weights))
    for _ in range(STEPS):
        drawn, now = weights[open_rows], beta[open_rows]
        chance = expit(now[:, :1] + now[:, 1:] * x)
        step = _newton(drawn * (answer - chance), drawn * chance * (1 - chance), x, free)
        beta[open_rows] += np.clip(step, -3, 3)  # a longer stride may leap past the maximum and never return
        settled = np.abs(step).max(axis=1) < SETTLED
        done = open_rows[settled]
        found[1, done] = beta[done, 1] / spread
        found[0, done] = beta[done, 0] - beta[done, 1] / spread * centre
        open_rows = open_rows[~settled & np.isfinite(step).all(axis=1)]
        if not len(open_rows):
            break
    return found[0], found[1]


def _newton(residual: Numbers, curvature: Numbers, x: Numbers, free: bool) -> Numbers:
    """The next step (R, 2) of intercept and slope; NaN where the likelihood is flat."""
    gradient = np.stack([residual.sum(axis=1), residual @ x], axis=1)
    h0, h1, h2 = curvature.sum(axis=1), curvature @ x, curvature @ x**2
    if not free:
        return np.stack([_ratio(gradient[:, 0], h0), np.zeros_like(h0)], axis=1)
    determinant = h0 * h2 - h1**2
    steps = [h2 * gradient[:, 0] - h1 * gradient[:, 1], h0 * gradient[:, 1] - h1 * gradient[:, 0]]
    return np.stack([_ratio(step, determinant) for step in steps], axis=1)


def _cells(positive: Answers, called: Answers) -> tuple[Answers, Answers, Answers, Answers]:
    """True positives, missed, false alarms, true negatives."""
    return positive & called, positive & ~called, ~positive & called, ~positive & ~called


def _ratio(part: Numbers, whole: Numbers) -> Numbers:
    """NaN where there is nothing to divide by."""
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=np.asarray(whole) > 0))
