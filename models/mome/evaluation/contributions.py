"""What each sequence contributes to the scores of a whole cohort: Shapley values of every exam, and their means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..coalitions import Coalition
from ..config import SEQUENCES, Sequence
from ..explanation import shapley
from ..model import NOTHING_SHOWN
from .intervals import RESAMPLES, Interval, Patients, draws, percentiles

Values = Mapping[Sequence, npt.NDArray[np.float64]]


def shapley_values(scores: Mapping[Coalition, npt.NDArray[np.float64]], empty: float = NOTHING_SHOWN) -> Values:
    """Shapley value of each sequence in each exam (N,), from the scores (N,) of the seven combinations.

    `empty`: the score where nothing is shown. It and the three values add up to the score of all sequences.
    """
    count = len(next(iter(scores.values())))
    values: dict[frozenset[Sequence], Any] = {frozenset(): np.full(count, empty)}
    values |= {frozenset(combination): score for combination, score in scores.items()}
    found = shapley(values)
    return {sequence: np.asarray(found[sequence], np.float64) for sequence in SEQUENCES}


def global_shapley(
    scores: Mapping[Coalition, npt.NDArray[np.float64]],
    positive: npt.NDArray[np.bool_],
    patients: Patients,
    *,
    empty: float = NOTHING_SHOWN,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """JSON-ready: mean |value| and mean value of each sequence with 95 % intervals by patient, of all exams and of
    either class; the ranking by mean |value|, and the share of the resamples in which the same sequence came first.

    Scores (N,) of the seven combinations, NaN where an exam lacks a sequence: such exams take no part. Raises
    ValueError where none is left.
    """
    complete = ~np.isnan(np.array(list(scores.values()))).any(axis=0)
    if not complete.any():
        raise ValueError("No exam has all three sequences: there is nothing to share out between them.")
    values = shapley_values({combination: score[complete] for combination, score in scores.items()}, empty)
    labels, owners = np.asarray(positive, bool)[complete], np.asarray(patients)[complete]
    classes = {"all": np.ones(len(labels), bool), "positive": labels, "negative": ~labels}
    whole, drawn = draws(lambda weights: means(values, classes, weights), owners, resamples=resamples, seed=seed)
    intervals = {name: Interval(whole[name], *percentiles(found)).json() for name, found in drawn.items()}
    ranking = sorted(SEQUENCES, key=lambda s: -whole[f"all {s} mean_absolute"])
    sizes = np.array([drawn[f"all {s} mean_absolute"] for s in ranking])
    return {
        "exams": int(complete.sum()),
        "without_all_sequences": int((~complete).sum()),
        "empty": empty,
        "ranking": list(ranking),
        "first_in_resamples": float((sizes.argmax(axis=0) == 0).mean()),
        "groups": {
            group: {
                "exams": int(rows.sum()),
                "sequences": {
                    s: {figure: intervals[f"{group} {s} {figure}"] for figure in ("mean_absolute", "mean")}
                    for s in SEQUENCES
                },
            }
            for group, rows in classes.items()
        },
    }


def means(
    values: Values, classes: Mapping[str, npt.NDArray[np.bool_]], weights: npt.NDArray[np.float64]
) -> dict[str, npt.NDArray[np.float64]]:
    """Weighted means (R,) of |value| and value, by group and sequence; weights (R, N). NaN where a group is empty."""
    found = {}
    for group, rows in classes.items():
        held = weights[:, rows]
        total = held.sum(axis=1)
        total = np.where(total > 0, total, np.nan)
        for sequence, of_exams in values.items():
            found[f"{group} {sequence} mean_absolute"] = held @ np.abs(of_exams[rows]) / total
            found[f"{group} {sequence} mean"] = held @ of_exams[rows] / total
    return found
