"""Cohorts of synthetic exams with their labels, made by several processes, in the order of their seeds.

Seeds of training, validation, tuning and held-out cohorts come from ranges that never overlap (`SEEDS`).
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from .. import cohort
from ..cohort import Cohort, Row
from ..config import PreprocessingConfig
from ..preprocessing import Prepared, prepare
from ..refusal import Refused
from .design import PLAIN, Design
from .exams import exam
from .labels import observer_log_odds
from .patient import SEPARATION, Lesion

SEEDS: Mapping[str, int] = {
    "train": 1_000_000,
    "train-several": 2_000_000,  # six lesions in each exam
    "validation": 3_000_000,
    "tuning": 4_000_000,  # operating points are frozen here
    "held-out": 5_000_000,  # `mome evaluate`
    "held-out-fine": 6_000_000,
}
ATTRIBUTES = tuple(SEPARATION)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Making:
    """How each exam of a cohort is made from its seed."""

    lesions: int = 1
    fine: bool = False
    design: Design = PLAIN
    preprocessing: PreprocessingConfig = dataclasses.field(default_factory=PreprocessingConfig)

    @property
    def origin(self) -> dict[str, Any]:
        """JSON-ready; the plain design is not named, as it was not before there were others."""
        named = {} if self.design == PLAIN else {"design": as_json(self.design)}
        return {"lesions": self.lesions, "fine": self.fine} | named


def as_json(design: Design) -> dict[str, Any]:
    return dict(json.loads(json.dumps(dataclasses.asdict(design))))


def made_row(seed: int, making: Making) -> Row:
    """One row of a cohort; an exam that preprocessing refuses is rejected, with the reason.

    A sequence that preprocessing leaves out is missing. Log odds are of the ideal observer: "dce", "dwi", "t2", "all"
    for malignancy, "tnbc" and "pcr".
    """
    with threadpool_limits(1):  # the last digits depend on the number of threads
        made = exam(seed, fine=making.fine, lesions=making.lesions, design=making.design)
        case = made.case
        try:
            canvas = prepare(made.inputs, making.preprocessing)
        except Refused as refused:
            return Row(replace(case, status="rejected", reason=f"{refused.code}: {refused.message}"))
    planted = planted_rows(made.lesions, canvas, making.lesions)
    return Row(case, canvas.arrays, planted, {**made.log_odds, **observer_log_odds(made.lesions)})


def planted_rows(lesions: tuple[Lesion, ...], canvas: Prepared, count: int) -> npt.NDArray[np.float32]:
    """As `Truth` says (count, 9); radius 0 where an exam has no lesion."""
    size = np.array(canvas.mask.shape)
    affine = canvas.affines["dce"]
    to_canvas, width = np.linalg.inv(affine), np.linalg.norm(affine[:3, 0]) * size[0]
    planted = np.zeros((count, 5 + len(ATTRIBUTES)), np.float32)
    for row, lesion in zip(planted, lesions, strict=False):
        centre = (to_canvas[:3, :3] @ lesion.centre + to_canvas[:3, 3] + 0.5) / size
        attributes = (getattr(lesion, name) for name in ATTRIBUTES)
        row[:] = [*centre, lesion.radius / width, lesion.malignant, *attributes]
    return planted


def _worker(job: tuple[int, Making]) -> Row:
    return made_row(*job)


def rows(
    seeds: range,
    *,
    lesions: int = 1,
    fine: bool = False,
    processes: int = 2,
    design: Design = PLAIN,
    preprocessing: PreprocessingConfig | None = None,
) -> Iterator[Row]:
    """Rows in the order of their seeds, made by several processes."""
    making = Making(lesions, fine, design, preprocessing or PreprocessingConfig())
    jobs = [(seed, making) for seed in seeds]
    if processes <= 1:
        yield from map(_worker, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(_worker, jobs, chunksize=1 if fine else 4)


def write(
    folder: Path,
    name: str,
    seeds: range,
    *,
    making: Making | None = None,
    processes: int = 2,
    progress: Progress | None = None,
) -> Cohort:
    """Make a cohort folder; raises CohortError where the folder holds anything."""
    making = making or Making()
    origin = {"first_seed": seeds.start, "count": len(seeds), **making.origin}

    def counted() -> Iterator[Row]:
        made = rows(
            seeds,
            lesions=making.lesions,
            fine=making.fine,
            processes=processes,
            design=making.design,
            preprocessing=making.preprocessing,
        )
        for index, row in enumerate(made):
            yield row
            if progress:
                progress(index + 1, len(seeds))

    return cohort.write(
        folder,
        counted(),
        name=name,
        synthetic=True,
        preprocessing=making.preprocessing,
        capacity=len(seeds),
        origin=origin,
    )


def build(
    folder: Path,
    name: str,
    count: int,
    *,
    lesions: int = 1,
    fine: bool = False,
    processes: int = 2,
    progress: Progress | None = None,
    first_seed: int | None = None,
    design: Design = PLAIN,
    preprocessing: PreprocessingConfig | None = None,
) -> Cohort:
    """Make the cohort `name` below `folder`, or open it where the folder already holds the same one."""
    start = SEEDS[name] if first_seed is None else first_seed
    making = Making(lesions, fine, design, preprocessing or PreprocessingConfig())
    place = folder / name
    if (place / "cohort.json").exists():
        said = json.loads((place / "cohort.json").read_text(encoding="utf-8"))
        origin = {"first_seed": start, "count": count, **making.origin}
        same = said["origin"] == origin and said["preprocessing"] == json.loads(
            json.dumps(dataclasses.asdict(making.preprocessing))
        )
        if same and said["version"] == cohort.VERSION:
            return cohort.load(place)
    return write(place, name, range(start, start + count), making=making, processes=processes, progress=progress)
