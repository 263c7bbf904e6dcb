"""What weights say of the exams of a cohort, beside what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..coalitions import COALITIONS, Coalition, Scores, coalition_logits, probabilities
from ..cohort import Case, Cohort
from ..config import SEQUENCES
from ..network import Mome
from ..tasks import TaskName
from ..weights import Header

Progress = Callable[[int, int], None]
BATCH = 16


class EvaluationError(ValueError):
    """These weights cannot be measured on this cohort; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Scored:
    """N exams with an answer to one question; every array is (N,) in the order of `cases`."""

    task: TaskName
    cases: tuple[Case, ...]
    rows: npt.NDArray[np.intp]  # of the cohort
    positive: npt.NDArray[np.bool_]
    score: Scores  # from all that the exam has
    by_combination: Mapping[Coalition, Scores]  # NaN where the exam lacks a sequence

    @property
    def patients(self) -> npt.NDArray[np.str_]:
        return np.array([case.patient for case in self.cases])

    def part(self, rows: npt.NDArray[np.bool_]) -> Scored:
        """The exams of a mask (N,)."""
        return Scored(
            self.task,
            tuple(case for case, wanted in zip(self.cases, rows, strict=True) if wanted),
            self.rows[rows],
            self.positive[rows],
            self.score[rows],
            {name: score[rows] for name, score in self.by_combination.items()},
        )

    def combination(self, combination: Coalition) -> Scored:
        """The exams that have all sequences of a combination, scored from these alone."""
        there = ~np.isnan(self.by_combination[combination])
        part = self.part(there)
        return Scored(
            part.task, part.cases, part.rows, part.positive, part.by_combination[combination], part.by_combination
        )


def check_preprocessing(header: Header, cohort: Cohort, weights: Path) -> None:
    """Raises EvaluationError where the cohort was prepared otherwise than these weights demand."""
    wanted, there = header.preprocessing, cohort.preprocessing
    if wanted.hash() == there.hash():
        return
    differ = [name for name in wanted.__dataclass_fields__ if getattr(wanted, name) != getattr(there, name)]
    told = "; ".join(f"{name} {getattr(there, name)}, wanted {getattr(wanted, name)}" for name in differ[:3])
    remedy = (
        "Make the synthetic cohort for these weights"
        if cohort.synthetic
        else f"Make the cohort anew with `mome-node cohort ... --weights {weights}`"
    )
    raise EvaluationError(
        f"{cohort.name} was prepared otherwise than {weights.name} demands ({told}{', ...' if differ[3:] else ''}): "
        f"its scores would mean nothing. {remedy}."
    )


def scored_cohort(
    network: Mome, cohort: Cohort, *, batch: int = BATCH, progress: Progress | None = None
) -> dict[Coalition, Scores]:
    """Scores (N,) of the seven combinations; NaN where an exam lacks a sequence of the combination.

    Exams with the same sequences go through the network together: none is ever shown zeros for a sequence it lacks.
    """
    found = {combination: np.full(len(cohort), np.nan) for combination in COALITIONS}
    device = next(network.parameters()).device
    present, done = cohort.present, 0
    with torch.inference_mode():
        for pattern in np.unique(present, axis=0):
            there = [s for s, has in zip(SEQUENCES, pattern, strict=True) if has]
            rows = np.flatnonzero((present == pattern).all(axis=1))
            for start in range(0, len(rows) if there else 0, batch):
                chunk = rows[start : start + batch]
                prefixes = {s: network.prefix(s, torch.from_numpy(cohort.batch(s, chunk)).to(device)) for s in there}
                for combination, logits in coalition_logits(network, prefixes).items():
                    found[combination][chunk] = probabilities(logits)
                done += len(chunk)
                if progress:
                    progress(done, len(cohort))
    return found


def from_what_is_there(scores: Mapping[Coalition, Scores]) -> Scores:
    """The score of the largest combination that each exam has (N,)."""
    best = np.full(len(next(iter(scores.values()))), np.nan)
    for combination in COALITIONS:  # smaller ones first
        best = np.where(np.isnan(scores[combination]), best, scores[combination])
    return best


def answered(task: TaskName, cohort: Cohort, scores: Mapping[Coalition, Scores]) -> Scored:
    """The exams that count: used, with an answer to the question and with a score."""
    answers, score = cohort.answers(task), from_what_is_there(scores)
    used = np.array([case.status == "used" for case in cohort.cases], bool)
    rows = np.flatnonzero(used & ~np.isnan(answers) & ~np.isnan(score))
    return Scored(
        task,
        tuple(cohort.cases[row] for row in rows),
        rows,
        answers[rows].astype(bool),
        score[rows],
        {combination: values[rows] for combination, values in scores.items()},
    )
