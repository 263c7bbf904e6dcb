"""What `mome-node cohort` asks of this model: which labels there are, how volumes become arrays, how it is all written.

The entry point of the group `mome_node.cohorts`. The volumes come from the node's pipeline and go through `prepare` as
those of an exam that is scored. Loads no torch, but for crops that must be shrunk onto a canvas.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from . import cohort
from .card import CONTRAST_LIMITS, ROLES, VERSION
from .cohort import ANSWERS, COLUMNS, READER, CohortError, Row
from .config import PAPER_PREPROCESSING, SEQUENCES, PreprocessingConfig
from .preprocessing import VolumeLike, prepare
from .tasks import MALIGNANCY
from .weights import DEMONSTRATION_WEIGHTS, read_header

PREPROCESSINGS: Mapping[str, PreprocessingConfig] = {
    "demonstration": PreprocessingConfig(),
    "paper": PAPER_PREPROCESSING,
}
FILLED_IN = ("case", "patient", "study", "pixels", "status", "reason", "sequences")
"""Columns of a cohort that no table of labels has: who makes the cohort fills them in."""
LABELS = tuple(column for column in COLUMNS if column not in FILLED_IN)

Allowed = tuple[Callable[[Any], bool], str]
VALUES: Mapping[str, Allowed] = {
    **dict.fromkeys(ANSWERS, (lambda _: True, "1 (yes) or 0 (no)")),
    "birads": (lambda v: v in ("0", "1", "2", "3", "4", "4A", "4B", "4C", "5", "6"), "0 to 6, or 4A, 4B, 4C"),
    "bpe": (lambda v: v in ("minimal", "mild", "moderate", "marked"), "minimal, mild, moderate or marked"),
    "age": (lambda v: 0 <= v <= 120, "years"),
    "field_strength_t": (lambda v: 0 < v <= 12, "tesla"),
    "adc": (lambda v: 0 < v < 5, "in 1e-3 mm2/s, as 1.2"),
    "kaiser": (lambda v: 1 <= v <= 11, "1 to 11"),
}
"""What a label may be; texts of other columns are free. A slip (ADC in mm2/s, "yes") is told, never guessed at."""


@dataclass(frozen=True, slots=True)
class CohortMaker:
    """The preprocessing of one cohort, and the card whose range and limits its exams are held against."""

    preprocessing: PreprocessingConfig
    card: Mapping[str, Any]

    columns: ClassVar[tuple[str, ...]] = LABELS
    column_prefixes: ClassVar[tuple[str, ...]] = (READER,)
    of_the_patient: ClassVar[tuple[str, ...]] = ANSWERS  # that seldom differ between exams of one patient
    counted: ClassVar[tuple[str, ...]] = (*ANSWERS, "birads", "bpe", "vendor", "field_strength_t", "site")

    @property
    def identity(self) -> str:
        """SHA-256 of all that shapes the arrays and the status of an exam."""
        told = json.dumps([self.preprocessing.hash(), dict(self.card)], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()

    def check(self, labels: Mapping[str, str], where: str) -> None:
        """Raises CohortError, beginning with `where`, for a label that means nothing."""
        for column, text in labels.items():
            is_allowed, words = VALUES.get(column, (lambda _: True, "a number"))
            known = {"case": "-", "patient": "-", "study": "-", "status": "used"}
            try:
                case = cohort.case_of({**known, column: text}, where)
            except CohortError:
                case = None
            value = case and (case.readers.get(column.removeprefix(READER)) or getattr(case, column, None))
            is_number = not isinstance(value, float) or math.isfinite(value)
            if case is None or not is_number or (text and column in VALUES and not is_allowed(value)):
                raise CohortError(f"{where}: {text!r} is no value of {column} ({words}).")

    def prepare(
        self, volumes: Mapping[str, VolumeLike]
    ) -> tuple[Mapping[str, npt.NDArray[np.float32]], Mapping[str, float]]:
        """Arrays (C, W, H, D) by sequence, and the measures of the exam that only the model takes.

        Raises Refused, with `code` and `remedy`, where an exam to be scored would be refused.
        """
        prepared = prepare(volumes, self.preprocessing)
        return {str(s): array for s, array in prepared.arrays.items()}, prepared.measures

    def write(
        self,
        folder: Path,
        exams: Iterable[tuple[Mapping[str, str], Mapping[str, npt.NDArray[np.float32]] | None]],
        *,
        name: str,
        synthetic: bool,
        capacity: int,
        origin: Mapping[str, Any],
    ) -> None:
        """The cohort of exams, each a line of texts (`cohort.COLUMNS`) with what `prepare` gave, where it has volumes.

        `capacity`: the number of exams with volumes.
        """
        cohort.write(
            folder,
            (Row(cohort.case_of(line, f"case {line['case']}"), of_sequences(arrays)) for line, arrays in exams),
            name=name,
            synthetic=synthetic,
            preprocessing=self.preprocessing,
            capacity=capacity,
            origin=origin,
        )


def of_sequences(arrays: Mapping[str, npt.NDArray[np.float32]] | None) -> cohort.Volumes | None:
    return None if arrays is None else {s: arrays[s] for s in SEQUENCES if s in arrays}


def load(weights: Path | None = None, preprocessing: str | None = None) -> CohortMaker:
    """By the name of a preprocessing, else by weights, without either by the demonstration weights.

    By weights, exams are held against their card. By name there is no card: nothing is outside a range, only contrast
    is demanded. Raises ValueError for an unknown name, WeightsError for weights that must not be used.
    """
    if preprocessing is None:
        header = read_header(weights or DEMONSTRATION_WEIGHTS)
        return CohortMaker(header.preprocessing, header.card)
    if preprocessing not in PREPROCESSINGS:
        raise ValueError(f"{preprocessing!r} is no preprocessing; there are {', '.join(PREPROCESSINGS)}.")
    config = PREPROCESSINGS[preprocessing]
    return CohortMaker(config, card_without_weights(preprocessing, config))


def card_without_weights(name: str, config: PreprocessingConfig) -> dict[str, Any]:
    return {
        "name": "MOME",
        "version": VERSION,
        "weights_sha256": "",
        "status": f"no weights; preprocessing {name}",
        "trained_on": "Not trained.",
        "evaluated_on_patients": False,
        "roles": ROLES,
        "targets": [MALIGNANCY.target()],
        "preprocessing": {**dataclasses.asdict(config), "hash": config.hash()},
        "operating_points": [],
        "evaluated_range": {},
        "quality_limits": CONTRAST_LIMITS,
    }
