"""What a score means in the clinic: as a probability, in groups of patients, for decisions, beside readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..coalitions import Scores
from ..cohort import Cohort
from ..config import SEQUENCES
from ..model import made
from . import calibration, decision_curves, intervals, metrics, readers, subgroups
from .reader_columns import downgrade_table
from .scoring import Scored


def measured(
    scored: Scored,
    card: Mapping[str, Any],
    cohort: Cohort,
    threshold: float,
    reader_point: float | None,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """JSON-ready sections by name; `absent` says which could not be measured and why."""
    probability = probabilities(scored, card, cohort)
    in_4 = decision_curves.in_birads_4(scored.cases)
    groups = subgroups.subgroups(scored.cases, scored.positive, scored.score, threshold, resamples=resamples, seed=seed)
    read = readers.compare_all(
        scored.cases,
        scored.positive,
        scored.score,
        threshold,
        operating_point=reader_point,
        resamples=resamples,
        seed=seed,
    )
    curves = [
        decision_curves.treat(
            scored.positive, probability.values, patients=scored.patients, resamples=resamples, seed=seed
        )
    ]
    if two_classes(scored.positive[in_4]):
        curves.append(
            decision_curves.avoid_biopsy(
                scored.positive[in_4],
                probability.values[in_4],
                patients=scored.patients[in_4],
                resamples=resamples,
                seed=seed,
            )
        )
    return {
        "calibration": calibrated(scored, probability, resamples=resamples, seed=seed),
        "subgroups": [group.json() for group in groups],
        "decision_curves": {"of": probability.words, "curves": [curve.json() for curve in curves]},
        "readers": [reader.json() for reader in read],
        "absent": absent(scored, in_4, read),
    }


def two_classes(positive: npt.NDArray[np.bool_]) -> bool:
    return bool(positive.any() and not positive.all())


def absent(scored: Scored, in_4: npt.NDArray[np.bool_], read: list[Any]) -> list[str]:
    missing = []
    unknown = [name for name in ("age", "bpe", "birads", "field_strength_t", "site") if not known(scored, name)]
    if unknown:
        missing.append(f"Groups by {', '.join(unknown)}: the cohort does not say it of any exam.")
    if not two_classes(scored.positive[in_4]):
        missing.append("Avoided biopsies: needs BI-RADS 4 exams, malignant and benign.")
    if not read:
        missing.append("Readers: the cohort holds no scores of readers (columns `reader: NAME`).")
    return missing


def known(scored: Scored, name: str) -> bool:
    return any(getattr(case, name) not in ("", None) for case in scored.cases)


# ------------------------------------------------------------------ probability
class Probability:
    """Scores read as probabilities (N,): through the stored calibration where every exam has one, else as they are."""

    def __init__(self, values: Scores, stored: bool) -> None:
        self.values, self.stored = values, stored

    @property
    def words(self) -> str:
        return "calibrated probability" if self.stored else "score, not calibrated"


def probabilities(scored: Scored, card: Mapping[str, Any], cohort: Cohort) -> Probability:
    """A curve holds for one combination of sequences: each exam takes that of its own."""
    values = scored.score.copy()
    for sequences in {case.sequences for case in scored.cases}:
        curve = calibration.of_card(card, "malignancy", made(sequences, cohort.preprocessing.hash()))
        if curve is None:
            return Probability(scored.score, stored=False)
        rows = np.array([case.sequences == sequences for case in scored.cases], bool)
        values[rows] = calibration.apply(curve, scored.score[rows])
    return Probability(values, stored=True)


def calibrated(scored: Scored, probability: Probability, *, resamples: int, seed: int) -> dict[str, Any]:
    """Bins, expected error, Brier score and recalibration of what may be read as a probability."""
    found = intervals.of_resamples(
        lambda weights: metrics.calibrated(scored.positive, probability.values, weights),
        scored.patients,
        resamples=resamples,
        seed=seed,
    )
    bins = calibration.reliability(scored.positive, probability.values)
    return {
        "of": probability.words,
        "stored": probability.stored,
        "expected_error": calibration.expected_error(scored.positive, probability.values),
        "figures": {name: interval.json() for name, interval in found.items()},
        "bins": [
            {
                "n": part.n,
                "positives": part.positives,
                "predicted": part.mean_score,
                "observed": part.share.estimate,
                "low": part.share.low,
                "high": part.share.high,
            }
            for part in bins
        ],
    }


# ------------------------------------------------------------------ biopsies
def downgrade(scored: Scored, points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """BI-RADS 4: the first point of all sequences beside ADC, Kaiser score and readers; without a point these alone.

    `points`: as `points_on_test.reported`.
    """
    found = [float(point["threshold"]) for point in points if tuple(point["sequences"]) == SEQUENCES]
    score = scored.by_combination[SEQUENCES] if found else np.full(len(scored.cases), np.nan)
    columns = downgrade_table(scored.cases, scored.positive, score, found[0] if found else np.nan)
    return [column.json() for column in columns if column.n]
