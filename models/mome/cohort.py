"""Cohorts of synthetic exams as the network sees them: preprocessed once, kept as int8 files in a folder.

Seeds of training, validation, tuning and held-out cohorts come from ranges that never overlap (`SEEDS`).
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from .config import SEQUENCES, PreprocessingConfig, Sequence
from .phantom import exam
from .phantom_patient import SEPARATION
from .preprocessing import prepare

SEEDS: Mapping[str, int] = {
    "train": 1_000_000,
    "train-several": 2_000_000,  # six lesions in each exam
    "validation": 3_000_000,
    "tuning": 4_000_000,  # operating points are frozen here
    "held-out": 5_000_000,  # `mome evaluate`
    "held-out-fine": 6_000_000,
}
STEP = 10.0  # of the stored integers, per standard deviation
ATTRIBUTES = tuple(SEPARATION)
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Cohort:
    """N synthetic exams. Lesions (N, L, 9): centre as fractions of the DCE canvas (3), radius as a fraction of its
    width, malignant, then the four attributes in the order of `ATTRIBUTES`."""

    arrays: Mapping[Sequence, npt.NDArray[np.int8]]  # (N, C, W, H, D), standardised values times `STEP`
    lesions: npt.NDArray[np.float32]
    malignant: npt.NDArray[np.bool_]  # (N,)
    log_odds: Mapping[str, npt.NDArray[np.float64]]  # ideal observer: "dce", "dwi", "t2", "all"

    def __len__(self) -> int:
        return len(self.malignant)

    def batch(self, sequence: Sequence, rows: npt.NDArray[np.integer] | slice) -> npt.NDArray[np.float32]:
        return np.asarray(self.arrays[sequence][rows].astype(np.float32) / STEP, dtype=np.float32)


Row = tuple[dict[Sequence, npt.NDArray[np.float32]], Mapping[str, Any]]
"""Arrays (C, W, H, D) on the canvases and the answers of one exam."""


def prepared_exam(seed: int, lesions: int, fine: bool) -> Row:
    """One row of a cohort; a sequence that preprocessing leaves out is an array of zeros."""
    config = PreprocessingConfig()
    made = exam(seed, fine=fine, lesions=lesions)
    canvas = prepare(made.inputs, config)
    extent = np.array(config.dce_canvas) * config.dce_spacing / canvas.measures["canvas_scale"]
    to_canvas = np.linalg.inv(canvas.affines["dce"])
    rows = []
    for lesion in made.lesions:
        centre = (to_canvas[:3, :3] @ lesion.centre + to_canvas[:3, 3] + 0.5) / config.dce_canvas
        rows.append([*centre, lesion.radius / extent[0], lesion.malignant, *(getattr(lesion, a) for a in ATTRIBUTES)])
    empty = {s: np.zeros((6 if s == "dce" else 1, *config.canvas(s)), np.float32) for s in SEQUENCES}
    arrays = {s: canvas.arrays.get(s, empty[s]) for s in SEQUENCES}
    return arrays, {"lesions": rows, "malignant": made.malignant, **made.log_odds}


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
    wanted = {"first_seed": start, "count": count, "lesions": lesions, "fine": fine, "preprocessing": config.hash()}
    place = folder / name
    if (place / "cohort.json").exists() and json.loads((place / "cohort.json").read_text())["made"] == wanted:
        return load(place)
    place.mkdir(parents=True, exist_ok=True)
    shapes = {s: (count, 6 if s == "dce" else 1, *config.canvas(s)) for s in SEQUENCES}
    files = {s: np.lib.format.open_memmap(place / f"{s}.npy", "w+", np.int8, shapes[s]) for s in SEQUENCES}
    answers = []
    made = rows(range(start, start + count), lesions=lesions, fine=fine, processes=processes)
    for index, (arrays, answer) in enumerate(made):
        for sequence, array in arrays.items():
            files[sequence][index] = np.rint(array * STEP)
        answers.append(answer)
        if progress:
            progress(index + 1, count)
    for file in files.values():
        file.flush()
    (place / "cohort.json").write_text(json.dumps({"made": wanted, "answers": answers}), encoding="utf-8")
    return load(place)


def load(place: Path) -> Cohort:
    answers = json.loads((place / "cohort.json").read_text(encoding="utf-8"))["answers"]
    return assembled({s: np.load(place / f"{s}.npy", mmap_mode="r") for s in SEQUENCES}, answers)


def assembled(arrays: Mapping[Sequence, npt.NDArray[np.int8]], answers: list[Mapping[str, Any]]) -> Cohort:
    return Cohort(
        arrays=arrays,
        lesions=np.array([a["lesions"] for a in answers], np.float32),
        malignant=np.array([a["malignant"] for a in answers], bool),
        log_odds={name: np.array([a[name] for a in answers]) for name in ("dce", "dwi", "t2", "all")},
    )
