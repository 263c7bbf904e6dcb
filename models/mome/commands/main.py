"""The command `mome`: synthetic cohorts, training, evaluation, weights. Arrays only; DICOM is the node's."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np

from .baselines import baselines
from .bench import bench
from .weights import FILE, complaints, weights

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def main() -> None:
    """MOME on arrays: synthetic phantoms, training, evaluation, weights."""


@contextmanager
def shown(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress line on the standard error stream."""

    def progress(done: int, of: int) -> None:
        click.echo(f"\r{what}: {done} of {of}", nl=False, err=True)

    yield progress
    click.echo("", err=True)


@main.command()
@click.option("--n", default=10, show_default=True, help="Number of exams.")
@click.option("--out", required=True, type=FOLDER, help="Folder for one .npz per exam and labels.csv.")
@click.option("--seed", default=0, show_default=True, help="Seed of the first exam; the others follow.")
@click.option("--fine", is_flag=True, help="Acquisition-like grids in place of coarse ones.")
def phantom(n: int, out: Path, seed: int, fine: bool) -> None:
    """Write synthetic exams as arrays with their answers."""
    from ..phantom import exam

    out.mkdir(parents=True, exist_ok=True)
    with shown("synthetic exams") as progress, (out / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(
            ["file", "seed", "malignant", "log_odds_dce", "log_odds_dwi", "log_odds_t2", "x", "y", "z", "radius"]
        )
        for index in range(n):
            made = exam(seed + index, fine=fine)
            volumes = {"dce": made.dce, "t2": made.t2, **{f"dwi_b{b}": v for b, v in made.dwi.items()}}
            if made.adc is not None:
                volumes["adc"] = made.adc
            arrays: dict[str, Any] = {name: v.voxels for name, v in volumes.items()}
            arrays |= {f"{name}_affine": v.affine for name, v in volumes.items()}
            name = f"exam-{seed + index}.npz"
            np.savez_compressed(out / name, seconds=np.array(made.dce.seconds), **arrays)
            lesion = made.lesions[0]
            odds = [round(made.log_odds[s], 4) for s in ("dce", "dwi", "t2")]
            place = [round(float(c), 2) for c in lesion.centre]
            table.writerow([name, made.seed, int(made.malignant), *odds, *place, round(lesion.radius, 2)])
            progress(index + 1, n)


@main.command()
@click.option("--out", required=True, type=FILE, help="Weights file to write (.safetensors).")
@click.option("--minutes", type=float, help="Length of the training without the cohorts; default: the full recipe.")
@click.option("--cache", type=FOLDER, help="Keep the synthetic cohorts (6 GB) in this folder.")
@click.option("--threads", default=2, show_default=True, help="Threads; another number gives other weights.")
def train(out: Path, minutes: float | None, cache: Path | None, threads: int) -> None:
    """Train demonstration weights on synthetic phantoms and freeze their operating points."""
    import torch

    from ..training.demonstration import make_weights

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # denormal numbers are slow on CPUs
    with tempfile.TemporaryDirectory() as scratch:
        folder = cache or Path(scratch)
        digest = make_weights(out, folder, minutes, processes=threads, say=lambda text: click.echo(text, err=True))
    click.echo(f"{digest}  {out}")


@main.command()
@click.option("--weights", type=FILE, help="Default: the demonstration weights.")
@click.option("--n", default=300, show_default=True, help="Number of held-out synthetic exams.")
@click.option("--seed", type=int, help="First seed; default: that of the held-out range.")
@click.option("--fine", is_flag=True, help="Acquisition-like grids, as in synthetic DICOM studies.")
@click.option("--saliency", default=0, help="Also check the hottest voxel on this many synthetic cancers.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def evaluate(weights: Path | None, n: int, seed: int | None, fine: bool, saliency: int, as_json: bool) -> None:
    """Measure weights on held-out synthetic phantoms, beside the ideal observer."""
    from ..evaluation.held_out import evaluate as measured
    from ..evaluation.held_out import saliency_hits
    from ..model import load
    from ..phantom.cohorts import SEEDS

    with complaints(), shown("held-out synthetic exams") as progress:
        result = measured(weights, n=n, seed=seed, fine=fine, progress=progress)
    if saliency:
        with shown("synthetic cancers") as progress:
            first = SEEDS["held-out"] + 500_000 if seed is None else seed
            result["saliency"] = saliency_hits(load(weights), n=saliency, seed=first, progress=progress)
    click.echo(json.dumps(result, indent=1) if as_json else table(result))


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [f"{result['cohort']}: {result['n']} exams, {result['malignant']} malignant", ""]
    lines += [f"{'sequences':<12} {'AUROC':>7}   {'95 % interval':<15} {'ideal observer':>14}"]
    for name, row in result["combinations"].items():
        low, high = row["ci95"]
        lines.append(f"{name:<12} {row['estimate']:7.3f}   {low:.3f} to {high:.3f}  {row['ideal_observer']:14.3f}")
    if "saliency" in result:
        s = result["saliency"]
        lines += ["", f"hottest voxel in the lesion: {s['hottest_voxel_inside']} of {s['cancers']} synthetic cancers"]
        lines += [f"completeness gap of the attribution: median {s['median_completeness_gap']:.3f}"]
    return "\n".join(lines)


main.add_command(weights)
main.add_command(baselines)
main.add_command(bench)
