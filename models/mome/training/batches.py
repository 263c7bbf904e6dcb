"""Batches of a stage: number m is the same whenever it is drawn, and in whichever process.

All random numbers of a batch come from the seed of the run, the stage and the step. So a training that was killed goes
on with the batches it would have had, and several processes share one batch without a word.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..coalitions import Coalition
from ..cohort import Cohort, CohortError
from ..config import SEQUENCES, Sequence
from ..tasks import TaskName
from .augmentation import Arrays, Intensities, changed, changed_lesions, drawn_change, scattered
from .configuration import Lesson, Stage

UNKNOWN = -1
Rows: TypeAlias = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Batch:
    """B exams and what is to be learned from them."""

    volumes: Mapping[Sequence, Tensor]  # (B, C, W, H, D); of a sequence that an exam lacks, zeros
    answers: Tensor  # (B,) long: 1 the positive class, 0 the other, -1 not known
    lesions: Tensor | None  # (B, L, 9) as in `cohort.Truth`; None: nobody planted any
    present: Tensor  # (B, 3) bool, in the order DCE, DWI, T2
    importance: Tensor | None = None  # (B,) of each exam in the loss, by its class; mean 1 over the cohort. None: 1
    lesson: Lesson = field(default_factory=Lesson)
    drop_path: float = 0  # of the last block

    def __len__(self) -> int:
        return len(self.answers)

    def to(self, device: torch.device | str) -> Batch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def part(self, rows: Tensor) -> Batch:
        """Some of its exams."""
        return self._each(lambda tensor: tensor[rows])

    def by_sequences(self) -> Iterator[tuple[Coalition, Batch]]:
        """Exams that have the same sequences, together; the volumes of the others are not there."""
        codes = self.present.to(torch.long) @ torch.tensor([4, 2, 1], device=self.present.device)
        for code in torch.unique(codes).tolist():
            rows = torch.nonzero(codes == code).flatten()
            there: Coalition = tuple(s for s, bit in zip(SEQUENCES, (4, 2, 1), strict=True) if code & bit)
            part = self if len(rows) == len(self) else self.part(rows)
            yield there, dataclasses.replace(part, volumes={s: part.volumes[s] for s in there})

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return dataclasses.replace(
            self,
            volumes={s: change(v) for s, v in self.volumes.items()},
            answers=change(self.answers),
            lesions=None if self.lesions is None else change(self.lesions),
            present=change(self.present),
            importance=None if self.importance is None else change(self.importance),
        )


class Batches(Dataset[Batch]):
    """The batches of a stage, `accumulate` for each step of the optimiser; of each, what one process computes.

    A map-style data set: `torch.utils.data.DataLoader` with `batch_size=None` reads it ahead with any number of
    workers, and what comes is the same. Raises CohortError for a cohort that does not know what a lesson asks.
    """

    def __init__(
        self,
        stage: Stage,
        cohorts: Mapping[str, Cohort],
        task: TaskName,
        key: tuple[int, ...],
        *,
        process: tuple[int, int] = (0, 1),
    ) -> None:
        """`key`: seed of the run and number of the stage; `process`: which of how many."""
        self.stage, self.cohorts, self.key = stage, cohorts, key
        self.rank, self.processes = process
        if stage.batch % self.processes:
            raise ValueError(
                f"A batch of {stage.batch} is not shared by {self.processes} processes: choose a multiple."
            )
        self.intensities = Intensities(stage.intensities)
        self.rows = [rows_of(cohorts[lesson.cohort], lesson, task) for lesson in stage.lessons]
        self.importance = [importances(cohorts[lesson.cohort], lesson, task) for lesson in stage.lessons]
        self.answers = {
            name: torch.from_numpy(np.nan_to_num(cohort.answers(task), nan=UNKNOWN)).long()
            for name, cohort in cohorts.items()
        }
        self.present = {name: torch.from_numpy(cohort.present) for name, cohort in cohorts.items()}
        shares = np.array([lesson.share for lesson in stage.lessons])
        self.shares = shares / shares.sum()

    @property
    def steps_per_epoch(self) -> int:
        """The last step of an epoch is filled up from its beginning."""
        return -(-len(self.rows[0]) // self.stage.exams_per_step)

    @property
    def steps(self) -> int:
        """Of the stage."""
        return self.stage.steps or (self.stage.epochs or 0) * self.steps_per_epoch

    def __len__(self) -> int:
        return self.steps * self.stage.accumulate

    def __getitem__(self, number: int) -> Batch:
        step, micro = divmod(number, self.stage.accumulate)
        which = 0
        if len(self.stage.lessons) > 1:
            which = int(np.random.default_rng((*self.key, step)).choice(len(self.shares), p=self.shares))
        rng = np.random.default_rng((*self.key, step, micro, 0))
        rows = self.drawn(which, step, micro, rng)
        change = drawn_change(rng)  # drawn in any case: what follows does not depend on the augmentation
        mine = slice(self.rank * len(rows) // self.processes, (self.rank + 1) * len(rows) // self.processes)
        name = self.stage.lessons[which].cohort
        cohort = self.cohorts[name]
        volumes, seeds = self.volumes(cohort, rows[mine]), rng.integers(2**63, size=len(rows))[mine]
        lesions = None if cohort.truth is None else torch.from_numpy(cohort.truth.lesions[rows[mine]])
        if self.stage.augmentation == "mirrored-shifted":
            canvas = cohort.preprocessing.dce_canvas
            volumes = changed(volumes, change, canvas)
            lesions = None if lesions is None else changed_lesions(lesions, change, canvas)
        if self.stage.augmentation == "paper" or self.stage.intensities:
            volumes = self.each_by_itself(volumes, seeds)
        weights = self.importance[which]
        return Batch(
            {s: torch.from_numpy(np.ascontiguousarray(v)) for s, v in volumes.items()},
            self.answers[name][rows[mine]],
            lesions,
            self.present[name][rows[mine]],
            None if weights is None else torch.from_numpy(weights[rows[mine]]),
            self.stage.lessons[which],
            self.stage.drop_path,
        )

    def drawn(self, which: int, step: int, micro: int, rng: np.random.Generator) -> Rows:
        """Rows of the whole batch, for all processes."""
        rows, size = self.rows[which], self.stage.batch
        if self.stage.epochs:
            epoch, within = divmod(step, self.steps_per_epoch)
            order = np.random.default_rng((*self.key, epoch, 1, 0, 0)).permutation(rows)
            first = within * self.stage.exams_per_step + micro * size
            return np.resize(order, self.steps_per_epoch * self.stage.exams_per_step)[first : first + size]
        return np.sort(rng.choice(rows, size, replace=len(rows) < size))

    def volumes(self, cohort: Cohort, rows: Rows) -> Arrays:
        return {s: cohort.batch(s, rows) for s in SEQUENCES}

    def each_by_itself(self, volumes: Arrays, seeds: npt.NDArray[np.int64]) -> Arrays:
        exams: list[Arrays] = []
        for index, seed in enumerate(seeds):
            rng = np.random.default_rng(seed)
            exam: Arrays = {s: v[index] for s, v in volumes.items()}
            if self.stage.augmentation == "paper":
                exam = scattered(exam, rng)
            exams.append(self.intensities(exam, rng))
        return {s: np.stack([exam[s] for exam in exams]) for s in volumes}


# ------------------------------------------------------------------ what a lesson learns from
def rows_of(cohort: Cohort, lesson: Lesson, task: TaskName) -> Rows:
    """Exams that know what the lesson asks; raises CohortError where there are none, or only one class."""
    if lesson.needs_truth and cohort.truth is None:
        raise CohortError(
            f"{cohort.name} has no planted lesions: `lesions` and `attributes` are learned from synthetic cohorts."
        )
    if lesson.objective == "lesions":
        return np.arange(len(cohort))
    answers = cohort.answers(task)
    if {0.0, 1.0} - {*answers.tolist()}:
        raise CohortError(f"{cohort.name} has no exam of one class of {task}: enter the answers in its cases.csv.")
    return np.flatnonzero(~np.isnan(answers))


def importances(cohort: Cohort, lesson: Lesson, task: TaskName) -> npt.NDArray[np.float32] | None:
    """Weight of each exam (N,), N / (2 x exams of its class); None where all count 1."""
    if not lesson.class_weighted:
        return None
    answers = cohort.answers(task)
    known = answers[~np.isnan(answers)]
    positive = float(known.mean())
    return np.where(answers == 1, 0.5 / positive, 0.5 / (1 - positive)).astype(np.float32)
