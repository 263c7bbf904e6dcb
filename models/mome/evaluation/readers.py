"""Readers beside the model on the same exams: areas, two by two tables, and the model at each reader's own errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..cohort import Case
from .intervals import RESAMPLES, Difference, Interval, difference, draws, percentiles
from .metrics import Answers, Numbers, Scores, counted, cumulated, ranked

Scale: TypeAlias = Literal["BI-RADS", "0 to 100"]
OPERATING_POINTS: Mapping[Scale, float] = {"BI-RADS": 4.0, "0 to 100": 50.0}
"""From where on a reader's answer counts as positive. 4.2 is category 4B or above, which the paper counts so."""
INCOMPLETE = 0.0  # BI-RADS 0 calls for more pictures; it is no answer
FIGURES = ("auroc", "accuracy", "f1", "sensitivity", "specificity", "ppv", "npv", "mcc")


@dataclass(frozen=True, slots=True)
class ReaderComparison:
    """One reader, and the model on the exams that this reader answered. Differences are model minus reader."""

    reader: str
    scale: Scale
    operating_point: float  # positive from there on
    n: int
    positives: int
    unanswered: int  # exams without an answer, BI-RADS 0 among them
    figures: Mapping[str, Interval]  # of the reader
    differences: Mapping[str, Difference]  # of FIGURES, the model at its own threshold
    sensitivity_at_equal_specificity: Difference
    specificity_at_equal_sensitivity: Difference

    def json(self) -> dict[str, Any]:
        plain = ("reader", "scale", "operating_point", "n", "positives", "unanswered")
        return {
            **{name: getattr(self, name) for name in plain},
            "figures": {name: interval.json() for name, interval in self.figures.items()},
            "model_minus_reader": {name: found.json() for name, found in self.differences.items()},
            "sensitivity_at_equal_specificity": self.sensitivity_at_equal_specificity.json(),
            "specificity_at_equal_sensitivity": self.specificity_at_equal_sensitivity.json(),
        }


def names(cases: Sequence[Case]) -> list[str]:
    """Everybody who read at least one of the exams."""
    return sorted({name for case in cases for name in case.readers})


def scale_of(answers: Numbers) -> Scale:
    """What a reader wrote: numbers of which none is above 6 are BI-RADS categories (4A, 4B, 4C as 4.1, 4.2, 4.3)."""
    return "BI-RADS" if np.nanmax(answers, initial=0.0) <= 6 else "0 to 100"


def compare_all(
    cases: Sequence[Case],
    positive: Answers,
    score: Scores,
    threshold: float,
    *,
    operating_point: float | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[ReaderComparison]:
    """Every reader who answered exams of both classes; arguments as `compare`."""
    compared = [
        compare(
            name,
            cases,
            positive,
            score,
            threshold,
            operating_point=operating_point,
            resamples=resamples,
            seed=seed,
        )
        for name in names(cases)
    ]
    return [found for found in compared if 0 < found.positives < found.n]


def compare(
    reader: str,
    cases: Sequence[Case],
    positive: Answers,
    score: Scores,
    threshold: float,
    *,
    operating_point: float | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ReaderComparison:
    """One reader and the model; `cases`, `positive`, `score` (N,) belong together, `threshold` is the model's.

    `operating_point`: from where on the reader's answer is positive; default BI-RADS 4, or 50 of 100. Both are measured
    in the same resamples of the patients.
    """
    answers = np.array([case.readers.get(reader, np.nan) for case in cases])
    scale = scale_of(answers)
    there = ~np.isnan(answers) & ~((scale == "BI-RADS") & (answers == INCOMPLETE))
    at = OPERATING_POINTS[scale] if operating_point is None else operating_point
    truth, read, model = positive[there], answers[there], score[there]

    def measured(weights: npt.NDArray[Any]) -> dict[str, Numbers]:
        of_reader = ranked(truth, read, weights) | counted(truth, read >= at, weights)
        of_model = ranked(truth, model, weights) | counted(truth, model > threshold, weights)
        equal = at_equal_errors(truth, model, weights, of_reader["sensitivity"], of_reader["specificity"])
        return {
            **{name: of_reader[name] for name in FIGURES},
            **{f"minus {name}": of_model[name] - of_reader[name] for name in FIGURES},
            "equal specificity": equal[0] - of_reader["sensitivity"],
            "equal sensitivity": equal[1] - of_reader["specificity"],
        }

    patients = [case.patient for case, answered in zip(cases, there, strict=True) if answered]
    whole, drawn = draws(measured, patients, resamples=resamples, seed=seed)
    return ReaderComparison(
        reader=reader,
        scale=scale,
        operating_point=at,
        n=len(truth),
        positives=int(truth.sum()),
        unanswered=int((~there).sum()),
        figures={name: Interval(whole[name], *percentiles(drawn[name])) for name in FIGURES},
        differences={name: difference(whole[f"minus {name}"], drawn[f"minus {name}"]) for name in FIGURES},
        sensitivity_at_equal_specificity=difference(whole["equal specificity"], drawn["equal specificity"]),
        specificity_at_equal_sensitivity=difference(whole["equal sensitivity"], drawn["equal sensitivity"]),
    )


def at_equal_errors(
    positive: Answers, score: Scores, weights: npt.NDArray[Any], sensitivity: Numbers, specificity: Numbers
) -> tuple[Numbers, Numbers]:
    """The model's sensitivity (R,) at the specificities given, and its specificity (R,) at the sensitivities given.

    On the ROC curve, between two of its points on the straight line; on a step the end that is better for the model, of
    specificity and sensitivity alike.
    """
    tp, fp = cumulated(positive, score, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        hits, alarms = tp / tp[:, -1:], fp / fp[:, -1:]
    sensitivities, specificities = np.full(len(tp), np.nan), np.full(len(tp), np.nan)
    for row, (hit, alarm) in enumerate(zip(hits, alarms, strict=True)):
        if np.isfinite([hit[-1], alarm[-1], sensitivity[row], specificity[row]]).all():
            sensitivities[row] = np.interp(1 - specificity[row] + ROUNDING, alarm, hit)
            specificities[row] = 1 - np.interp(sensitivity[row] - ROUNDING, hit, alarm)
    return sensitivities, specificities


ROUNDING = 1e-12  # 1 - specificity is not quite the share of false alarms that it came from
