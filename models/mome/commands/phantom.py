"""The command `mome phantom`: synthetic cohorts with labels, or synthetic exams as a scanner would deliver them."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from ..cohort import CohortError, texts
from ..config import PAPER_PREPROCESSING, SEQUENCES, PreprocessingConfig

if TYPE_CHECKING:
    from ..phantom.cohorts import Making

Progress = Callable[[int, int], None]


@click.command()
@click.option("--n", default=400, show_default=True, type=click.IntRange(1), help="Number of exams.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="New folder for the cohort."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the first exam; others follow.")
@click.option(
    "--size",
    type=click.Choice(["small", "paper"]),
    default="small",
    show_default=True,
    help="Canvases of the demonstration (1.1 MB an exam) or of the paper (163 MB an exam).",
)
@click.option("--design", type=click.Choice(["plain", "clinic"]), default="plain", show_default=True,
              help="plain: every exam alike; clinic: sites, normal exams, missing sequences, faults.")  # fmt: skip
@click.option("--difficulty", default=1.0, show_default=True, help="Above 1: cancers look more like benign lesions.")
@click.option("--lesions", default=1, show_default=True, type=click.IntRange(1, 6), help="In each exam.")
@click.option("--processes", default=2, show_default=True, type=click.IntRange(1), help="That render at a time.")
@click.option("--acquired", is_flag=True, help="Write the volumes as acquired, .npz and labels.csv, and no cohort.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def phantom(
    n: int,
    out: Path,
    seed: int,
    size: str,
    design: str,
    difficulty: float,
    lesions: int,
    processes: int,
    acquired: bool,
    as_json: bool,
) -> None:
    """Make a cohort of synthetic breast MRI exams with labels, and say how far the best observer gets on it."""
    from ..phantom.cohorts import Making
    from ..phantom.design import DESIGNS

    paper = size == "paper"
    try:
        making = Making(
            lesions=lesions,
            fine=paper,
            design=replace(DESIGNS[design], difficulty=difficulty),
            preprocessing=PAPER_PREPROCESSING if paper else PreprocessingConfig(),
        )
        with shown("synthetic exams") as progress:
            if acquired:
                write_acquired(out, range(seed, seed + n), making, progress)
            else:
                found = write_cohort(out, range(seed, seed + n), making, processes, progress, size)
    except (CohortError, ValueError) as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    if acquired:
        click.echo(json.dumps({"folder": str(out), "exams": n}) if as_json else f"{out}: {n} synthetic exams")
        return
    from ..phantom.recipe import summary

    click.echo(json.dumps(found, indent=1) if as_json else summary(found))


def write_cohort(
    out: Path, seeds: range, making: Making, processes: int, progress: Progress, size: str
) -> dict[str, Any]:
    """The cohort folder with its `recipe.md`; the figures of `recipe.figures`."""
    from ..phantom.cohorts import write
    from ..phantom.recipe import figures, page

    check_space(out, len(seeds), making.preprocessing)
    cohort = write(out, out.name, seeds, making=making, processes=processes, progress=progress)
    found = figures(cohort)
    design = making.design
    command = f"mome phantom --n {len(seeds)} --seed {seeds.start} --size {size} --design {design.name}"
    command += f" --difficulty {design.difficulty:g} --lesions {making.lesions} --out {out.name}"
    (out / "recipe.md").write_text(page(found, command), encoding="utf-8")
    return found


def check_space(out: Path, count: int, preprocessing: PreprocessingConfig) -> None:
    """Raises CohortError where the disk has no room for the volumes."""
    from ..cohort import STEP, step_of

    channels = {"dce": preprocessing.channels, "dwi": 1, "t2": 1}
    voxels = sum(channels[s] * int(np.prod(preprocessing.canvas(s))) for s in SEQUENCES)
    needed = count * voxels * (1 if step_of(preprocessing) == STEP else 2)
    place = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise CohortError(
            f"{count} exams need {needed / 1e9:.1f} GB and {place} has {free / 1e9:.1f} GB free: "
            "make fewer exams, or use another disk."
        )


def write_acquired(out: Path, seeds: range, making: Making, progress: Progress) -> None:
    """One .npz for each exam: a sequence's voxels (C, W, H, D) and its affine, seconds of the phases; labels.csv."""
    from ..phantom.exams import exam
    from ..phantom.labels import kind_of

    if out.exists() and any(out.iterdir()):
        raise CohortError(f"{out} is not empty: name a new folder.")
    out.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = []
    for index, seed in enumerate(seeds):
        made = exam(seed, fine=making.fine, lesions=making.lesions, design=making.design)
        volumes = {"dce": made.dce}
        if "t2" in made.inputs:
            volumes["t2"] = made.t2
        if "dwi" in made.inputs:
            volumes |= {f"dwi_b{b}": volume for b, volume in made.dwi.items()}
            volumes |= {} if made.adc is None else {"adc": made.adc}
        arrays: dict[str, Any] = {name: v.voxels for name, v in volumes.items()}
        arrays |= {f"{name}_affine": v.affine for name, v in volumes.items()}
        file = f"exam-{seed}.npz"
        np.savez_compressed(out / file, seconds=np.array(made.dce.seconds), **arrays)
        planted: dict[str, Any] = {f"log_odds_{s}": round(odds, 4) for s, odds in made.log_odds.items()}
        if made.lesions:
            x, y, z = (round(float(c), 2) for c in made.lesions[0].centre)
            planted |= {"x": x, "y": y, "z": z, "radius": round(made.lesions[0].radius, 2)}
        lines.append({"file": file, "seed": seed, "kind": kind_of(made.lesions), **texts(made.case), **planted})
        progress(index + 1, len(seeds))
    columns = list(dict.fromkeys(name for line in lines for name in line))
    with (out / "labels.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, columns)
        writer.writeheader()
        writer.writerows(lines)


@contextmanager
def shown(what: str) -> Iterator[Progress]:
    """A progress line on the standard error stream, where that is a terminal."""
    terminal = sys.stderr.isatty()

    def progress(done: int, of: int) -> None:
        if terminal:
            click.echo(f"\r{what}: {done} of {of}", nl=False, err=True)

    yield progress
    if terminal:
        click.echo("", err=True)
