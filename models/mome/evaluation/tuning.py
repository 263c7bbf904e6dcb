"""Weights with operating points: a tuning cohort scored, thresholds chosen and sealed into a new weights file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..coalitions import COALITIONS, Coalition, Scores
from ..cohort import Case, Cohort
from ..model import made
from ..weights import load, read_card, rewrite, tensors_sha256
from . import calibration, operating_points, power, separation
from .scoring import Progress, check_preprocessing, scored_cohort
from .seal import seal


def freeze_file(
    weights: Path,
    cohort: Cohort,
    out: Path,
    *,
    now: datetime,
    sensitivities: Sequence[float] = (),
    downgrade_sensitivity: float | None = None,
    confidence: float = power.CONFIDENCE,
    calibrate: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write `out`, and beside it the record of exams seen with those of tuning; the new card.

    The tensors are those of `weights`. Earlier points, calibration and seal are replaced. Raises a ValueError that says
    what to do: of EvaluationError (other preprocessing), SeparationError (exams of the training), OperatingPointError,
    CalibrationError, WeightsError.
    """
    network, header = load(weights)
    check_preprocessing(header, cohort, weights)
    record = separation.record_of(weights)
    seen = [exam for exam in separation.read(record) if exam.kind != "tuning"] if record else []
    separation.check(cohort, seen)
    every = scored_cohort(network, cohort, progress=progress)
    answers = cohort.answers("malignancy")
    rows = np.flatnonzero(~np.isnan(answers) & np.array([case.status == "used" for case in cohort.cases], bool))
    scores = {combination: score[rows] for combination, score in every.items()}
    cases, malignant = [cohort.cases[row] for row in rows], answers[rows].astype(bool)
    preprocessing = header.preprocessing.hash()
    points = operating_points.freeze(
        scores,
        malignant,
        cohort=cohort.words,
        preprocessing=preprocessing,
        cases=cases,
        sensitivities=sensitivities,
        downgrade_sensitivity=downgrade_sensitivity,
        confidence=confidence,
    )
    curves = None
    if calibrate:
        curves = calibration.card_field(fitted(scores, malignant, cohort.words, preprocessing, now))
    ranges = header.card.get("evaluated_range") or {}  # a range of patients has the n of the cohort it was read from
    card = {
        **header.card,
        "evaluated_range": {**ranges, "n": len(cases)} if ranges and cohort.synthetic else ranges,
        "operating_points": points,
        "calibration": curves,
        "tuned_on": tuned_on(cohort, cases, malignant, bool(record)),
        "seal": seal(points, tensors=tensors_sha256(weights), cohort=cohort, calibration=curves, now=now),
    }
    rewrite(weights, out, card)
    separation.write(out.with_name(f"{out.stem}.{separation.RECORD}"), [*seen, *separation.exams(cohort, "tuning")])
    return read_card(out)


def fitted(
    scores: dict[Coalition, Scores],
    malignant: np.ndarray[Any, np.dtype[np.bool_]],
    cohort: str,
    hashed: str,
    now: datetime,
) -> list[calibration.Calibration]:
    """A curve of every combination that some exam has."""
    found = []
    for combination in COALITIONS:
        there = ~np.isnan(scores[combination])
        if there.any():
            key = made(combination, hashed)
            score = scores[combination][there]
            found.append(calibration.fit(malignant[there], score, key=key, cohort=cohort, when=now.date()))
    return found


def tuned_on(
    cohort: Cohort, cases: Sequence[Case], malignant: np.ndarray[Any, np.dtype[np.bool_]], record: bool
) -> dict[str, Any]:
    """For the card: the cohort of the points in words and counts, and whether its separation from training is known."""
    return {
        "cohort": cohort.words,
        "synthetic": cohort.synthetic,
        "identity": cohort.identity,
        "exams": len(cases),
        "patients": len({case.patient for case in cases}),
        "malignant": int(malignant.sum()),
        "apart_from_training": "checked" if record else "not known: no record of the exams of the training",
    }
