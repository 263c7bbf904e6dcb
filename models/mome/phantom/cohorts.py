"""Cohorts of synthetic exams, made by several processes, in the order of their seeds.

Seeds of training, validation, tuning and held-out cohorts come from ranges that never overlap (`SEEDS`).
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from .. import cohort
from ..cohort import Case, Cohort, Row
from ..config import PreprocessingConfig
from ..preprocessing import prepare
from .exams import exam
from .patient import SEPARATION

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


def prepared_exam(seed: int, lesions: int, fine: bool) -> Row:
    """One row of a cohort; a sequence that preprocessing leaves out is missing."""
    config = PreprocessingConfig()
    made = exam(seed, fine=fine, lesions=lesions)
    canvas = prepare(made.inputs, config)
    extent = np.array(config.dce_canvas) * config.dce_spacing / canvas.measures["canvas_scale"]
    to_canvas = np.linalg.inv(canvas.affines["dce"])
    planted = []
    for lesion in made.lesions:
        centre = (to_canvas[:3, :3] @ lesion.centre + to_canvas[:3, 3] + 0.5) / config.dce_canvas
        attributes = (getattr(lesion, name) for name in ATTRIBUTES)
        planted.append([*centre, lesion.radius / extent[0], lesion.malignant, *attributes])
    case = Case(case=f"phantom-{seed}", patient=f"phantom-{seed}", study=f"phantom-{seed}", malignant=made.malignant)
    return Row(case, canvas.arrays, np.array(planted, np.float32), made.log_odds)


def _worker(job: tuple[int, int, bool]) -> Row:
    with threadpool_limits(1):
        return prepared_exam(*job)


def rows(seeds: range, *, lesions: int = 1, fine: bool = False, processes: int = 2) -> Iterator[Row]:
    """Rows in the order of their seeds, made by several processes."""
    jobs = [(seed, lesions, fine) for seed in seeds]
    if processes <= 1:
        yield from map(_worker, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(_worker, jobs, chunksize=4)


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
) -> Cohort:
    """Make a cohort, or open it where the folder already holds the same one."""
    config = PreprocessingConfig()
    start = SEEDS[name] if first_seed is None else first_seed
    origin = {"first_seed": start, "count": count, "lesions": lesions, "fine": fine}
    place = folder / name
    if (place / "cohort.json").exists():
        said = json.loads((place / "cohort.json").read_text(encoding="utf-8"))
        if said["origin"] == origin and said["version"] == cohort.VERSION:
            return cohort.load(place)

    def counted() -> Iterator[Row]:
        made = rows(range(start, start + count), lesions=lesions, fine=fine, processes=processes)
        for index, row in enumerate(made):
            yield row
            if progress:
                progress(index + 1, count)

    return cohort.write(
        place, counted(), name=name, synthetic=True, preprocessing=config, capacity=count, origin=origin
    )
