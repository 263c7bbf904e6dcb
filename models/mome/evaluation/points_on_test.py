"""The frozen operating points on a test cohort: only sealed ones, and every opening of the cohort written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..coalitions import Coalition, Scores
from ..cohort import Cohort
from . import seal
from .decision_curves import in_birads_4
from .operating_points import report_point
from .power import POPULATION

NO_POINTS = "These weights hold no operating point: nothing is downgraded with them."
NO_SEAL = (
    "The operating points of these weights are not sealed: nothing shows that they were chosen before this cohort was "
    "opened, so they are not reported on it. `mome freeze` chooses and seals them on a tuning cohort."
)


def order(
    card: Mapping[str, Any],
    cohort: Cohort,
    *,
    tensors: str,
    weights: str,
    now: datetime,
    places: Sequence[Path],
) -> dict[str, Any]:
    """Whether points may be reported, and the opening; to be called before any answer of the cohort is looked at.

    `places`: where openings are written down, none: nowhere. Raises SealError for a seal that does not hold.
    """
    found: dict[str, Any] = {"sealed": None, "words": NO_POINTS, "opening": None}
    if card.get("operating_points"):
        found["words"] = NO_SEAL
        if card.get("seal") is not None:
            said = seal.check(card, tensors=tensors, test=cohort, opened=now)
            found |= {
                "sealed": said["sealed"],
                "tuning": said["cohort"],
                "words": f"The operating points were sealed at {said['sealed']}, on {tuned_on(said['cohort'])}, before "
                "this cohort was opened.",
            }
    if places:
        opening = seal.open_test(cohort, weights=weights, tensors=tensors, places=places, now=now)
        found["opening"] = opening.json()
        found["words"] += f" {opening.words}"
    return found


def tuned_on(said: Mapping[str, Any]) -> str:
    return f"{said['n']} {'synthetic ' if said['synthetic'] else ''}exams of {said['name']}"


def reported(
    card: Mapping[str, Any], cohort: Cohort, scores: Mapping[Coalition, Scores], opened: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Every sealed point of malignancy on the cohort; none where `order` found no seal. Scores (N,) of the cohort."""
    if opened["sealed"] is None:
        return []
    answers = cohort.answers("malignancy")
    rows = np.flatnonzero(~np.isnan(answers))
    cases = [cohort.cases[row] for row in rows]
    unanswered = [case for case, answer in zip(cohort.cases, answers, strict=True) if np.isnan(answer)]
    in_4 = in_birads_4(cohort.cases).any()
    found = []
    for point in card["operating_points"]:
        if point["target"] != "malignancy":
            continue
        own = str(point.get("population", POPULATION))
        for population in (own, POPULATION) if own != POPULATION and in_4 else (own,):  # biopsy is asked of BI-RADS 4
            found.append(
                report_point(
                    point,
                    cases,
                    answers[rows].astype(bool),
                    scores[tuple(point["key"]["sequences"])][rows],
                    left_out=[*cohort.left_out, *unanswered],
                    population=population,
                    synthetic=cohort.synthetic,
                )
            )
    return found
