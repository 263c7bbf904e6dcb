"""Another model on the same exams: the difference, with its interval and p-value, exam by exam."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..cohort import Cohort
from ..weights import load
from . import intervals
from .metrics import ranked
from .scoring import EvaluationError, Scored, answered, check_preprocessing, scored_cohort
from .separation import check, read, record_of


def other_scores(other: Path, cohort: Cohort) -> dict[str, float]:
    """Score of each case, from a table with the columns `case` and `score` or from weights; never of exams they saw."""
    if other.suffix == ".csv":
        return table_of(other)
    network, header = load(other)
    check_preprocessing(header, cohort, other)
    if record := record_of(other):
        check(cohort, read(record))
    scored = answered("malignancy", cohort, scored_cohort(network, cohort))
    return {case.case: float(score) for case, score in zip(scored.cases, scored.score, strict=True)}


def table_of(path: Path) -> dict[str, float]:
    """Raises EvaluationError with the line of a value that is no number."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            if not {"case", "score"} <= set(table.fieldnames or ()):
                raise EvaluationError(f"{path}: wanted are the columns case and score, one line for each exam.")
            found: dict[str, float] = {}
            for line in table:
                try:
                    found[line["case"]] = float(line["score"])
                except (TypeError, ValueError) as error:
                    raise EvaluationError(
                        f"{path}, line {table.line_num}: {line['score']!r} is no score; leave the line out where there "
                        "is none."
                    ) from error
    except FileNotFoundError as error:
        raise EvaluationError(f"{path} is not there: name a table of scores, weights or a model folder.") from error
    if bad := [case for case, score in found.items() if not np.isfinite(score)]:
        raise EvaluationError(f"{path}: the score of {bad[0]} is no number; leave its line out.")
    return found


def compared(
    scored: Scored, other: Mapping[str, float], name: str, *, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """This model minus the other, on the exams that both scored. Raises EvaluationError where those are too few."""
    there = np.array([case.case in other for case in scored.cases], bool)
    part = scored.part(there)
    if not part.positive.any() or part.positive.all():
        raise EvaluationError(
            f"{name} scored {int(there.sum())} of the {len(scored.cases)} exams, not both cancers and benign: its "
            "table must name the cases as cases.csv of the cohort does."
        )
    theirs = np.array([other[case.case] for case in part.cases])
    result: dict[str, Any] = {"name": name, "n": len(part.cases), "malignant": int(part.positive.sum())}
    for figure in ("auroc", "auprc"):
        result[figure] = intervals.paired(
            part.positive, part.score, theirs, part.patients, resamples=resamples, seed=seed, figure=figure
        ).json()
    result["delong"] = intervals.delong(part.positive, part.score, theirs).json()
    result["theirs"] = {
        name: found.json()
        for name, found in intervals.of_resamples(
            lambda weights: ranked(part.positive, theirs, weights), part.patients, resamples=resamples, seed=seed
        ).items()
    }
    return result
