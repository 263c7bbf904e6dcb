"""How well the measures of quality part good exams from spoilt ones, on synthetic training phantoms, as a table.

    python -m tests.node.quality_separation [EXAMS] [--fine]
    python -m tests.node.quality_separation --cohort DIR > quality.csv

Per measure: smallest, median and largest value. The limits of the demonstration's card are set from it.
With a synthetic cohort: the measures of its exams as they are, as `mome-node cohort` writes them beside a hospital's;
for `mome weights distributions --quality`.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from mome.cohort import load
from mome.config import PreprocessingConfig
from mome.phantom import exam
from mome.phantom.cohorts import SEEDS
from mome.phantom.design import DESIGNS, PLAIN, Design
from mome.phantom.patient import describe
from mome.phantom.render import UNITS, Grid, Rendering
from mome.preprocessing import prepare
from mome_node.analysis import quality
from mome_node.volume import FloatArray, Volume

SUPPRESSED = 0.34  # signal of fat in the phantoms; gland 0.8


def spoilt(dce: Volume, seed: int) -> Iterator[tuple[str, Volume]]:
    """The exam with one thing wrong at a time."""
    rng = np.random.default_rng(seed)
    phases, pre = dce.voxels, dce.voxels[0]
    axis, phase = int(rng.integers(3)), int(rng.integers(1, len(phases)))
    for mm in (2, 4, 8):
        moved, shift = phases.copy(), np.zeros(3)
        shift[axis] = mm / dce.spacing[axis]
        moved[phase] = ndimage.shift(phases[phase], shift, order=1, mode="nearest")
        yield f"one phase moved {mm} mm", replace(dce, voxels=moved)
        if mm == 4:
            half = phases.shape[1] // 2
            moved[phase, :half] = phases[phase, :half]
            yield "one breast moved 4 mm", replace(dce, voxels=moved)
    fat, left = fat_of(dce, seed)
    for name, where, level in (
        ("fat bright in one breast", left, 1.2),
        ("fat half suppressed in one breast", left, 0.7),
        ("fat not suppressed", np.ones_like(left), 1.2),
        ("fat not suppressed, very bright", np.ones_like(left), 2.0),
    ):
        yield name, replace(dce, voxels=phases + fat * where * (level - SUPPRESSED))
    yield "turned half round", replace(dce, affine=np.diag([-1.0, -1.0, 1.0, 1.0]) @ dce.affine)
    yield "pre and first post exchanged", Volume(phases[[1, 0, *range(2, len(phases))]], dce.affine)
    yield "first post in place of pre", Volume(phases[1:], dce.affine)
    yield "subtraction in place of pre", Volume(np.stack([np.maximum(phases[1] - pre, 0), *phases[1:]]), dce.affine)
    yield "no injection", Volume(np.stack([pre, *(pre + rng.normal(0, 10, (2, *pre.shape)))]), dce.affine)
    yield "late phases only", Volume(phases[[0, -2, -1]], dce.affine)
    yield "one breast imaged", Volume(phases[:, phases.shape[1] // 2 - 3 :], dce.affine)
    yield "noise", Volume(np.abs(rng.normal(0, 10, (3, *pre.shape))), dce.affine)


def fat_of(dce: Volume, seed: int) -> tuple[FloatArray, FloatArray]:
    """Signal of unit fat in the phantom of a seed, and its left half, each (W, H, D)."""
    a, b, c = map(float, dce.spacing)
    x, y, z = map(float, dce.affine[:3, 3])
    grid, person = Grid((a, b, c), dce.voxels.shape[1:], (x, y, z)), describe(seed)
    left = np.broadcast_to(grid.axes()[0] > 0, grid.shape)
    return Rendering(person, grid).fat * UNITS * person.gain["dce"], left.astype(np.float32)


def measured(seed: int, fine: bool = False, design: Design = PLAIN) -> dict[str, float]:
    """The node's and the model's measures of an exam as it is."""
    made = exam(seed, fine=fine, design=design)
    of_model = prepare(made.inputs, PreprocessingConfig()).measures
    return quality.measure(Volume(made.dce.voxels, made.dce.affine, made.dce.seconds)) | dict(of_model)


def of_cohort(folder: Path) -> None:
    """The table of a synthetic cohort."""
    cohort = load(folder)
    origin = cohort.origin
    design = DESIGNS[origin["design"]["name"]] if "design" in origin else PLAIN
    table = csv.DictWriter(sys.stdout, ["case", *quality.MEASURES], extrasaction="ignore")
    table.writeheader()
    for case in cohort.cases:
        measures = measured(int(case.case.rsplit("-", 1)[1]), origin.get("fine", False), design)
        table.writerow({"case": case.case, **{name: f"{value:.5g}" for name, value in measures.items()}})


def main() -> None:
    if "--cohort" in sys.argv:
        of_cohort(Path(sys.argv[sys.argv.index("--cohort") + 1]))
        return
    count = next((int(a) for a in sys.argv[1:] if a.isdigit()), 60)
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(SEEDS["train"], SEEDS["train"] + count):
        made = exam(seed, fine="--fine" in sys.argv)
        dce = Volume(made.dce.voxels, made.dce.affine, made.dce.seconds)
        of_model = dict(prepare(made.inputs, PreprocessingConfig()).measures)
        found.setdefault("as it should be", []).append(quality.measure(dce) | of_model)
        for name, volume in spoilt(dce, seed):
            found.setdefault(name, []).append(quality.measure(volume))
    names = list(quality.MEASURES)
    print(
        f"{count} synthetic exams: least / median / most\n\n| exam | {' | '.join(names)} |\n|---{'|---' * len(names)}|"
    )
    for name, rows in found.items():
        columns = [[row[measure] for row in rows if measure in row] for measure in names]
        cells = [" / ".join(f"{v:.3g}" for v in np.percentile(c, [0, 50, 100])) if c else "" for c in columns]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
