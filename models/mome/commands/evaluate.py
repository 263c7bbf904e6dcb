"""The command `mome evaluate`: weights judged on a cohort, as a table, JSON, a page, and a folder for a paper."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .phantom import shown

if TYPE_CHECKING:
    from ..cohort import Cohort

PATH = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
CANNOT, REFUSED = 1, 3
FEW = 40  # exams that one process makes before two have started


@click.command()
@click.option("--cohort", type=FOLDER, help="Test cohort. Default: held-out synthetic exams, made anew.")
@click.option("--weights", type=PATH, help="Weights file or model folder. Default: the demonstration weights.")
@click.option("--n", type=click.IntRange(2), help="Held-out synthetic exams; 300 where nothing is said.")
@click.option("--seed", type=int, help="First seed of the synthetic exams; default: that of the held-out range.")
@click.option("--fine", is_flag=True, help="Synthetic exams on acquisition-like grids, as in synthetic DICOM studies.")
@click.option("--against", multiple=True, type=PATH, help="Scores (CSV: case,score) or weights; may be repeated.")
@click.option("--saliency", default=0, help="In so many synthetic cancers: does the saliency find the lesion?")
@click.option("--shapley", is_flag=True, help="What each sequence contributes, over the cohort.")
@click.option(
    "--reader-from", type=float, help="A reader's answer is positive from here on: 4 (BI-RADS 4), or 4.2 (4B)."
)
@click.option("--resamples", default=1000, show_default=True, type=click.IntRange(10), help="Of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--report", type=FILE, help="Write the report as one HTML file.")
@click.option("--out", type=FOLDER, help="Write evaluation.json, report.html and cases.csv into this folder.")
@click.option("--paper", type=FOLDER, help="Write figures, tables, checklists and environment into this folder.")
def evaluate(
    cohort: Path | None,
    weights: Path | None,
    n: int | None,
    seed: int | None,
    fine: bool,
    against: tuple[Path, ...],
    saliency: int,
    shapley: bool,
    reader_from: float | None,
    resamples: int,
    as_json: bool,
    report: Path | None,
    out: Path | None,
    paper: Path | None,
) -> None:
    """Judge weights on a cohort that nobody trained on.

    Exit code 1: it cannot be measured. 3: refused, because the weights saw these exams or their operating points were
    not sealed before.
    """
    if cohort is not None and (n is not None or seed is not None or fine):
        raise click.UsageError("--n, --seed and --fine are of synthetic exams made anew; a cohort has its own.")
    from ..evaluation import evaluate as evaluation
    from ..evaluation.report import html, summary

    with refusals(), exams(cohort, n or 300, seed, fine) as tested, shown("exams scored") as progress:
        places = [] if cohort is None else [cohort, *made(out, paper)]
        found = evaluation.evaluate(
            weights,
            tested,
            against=against,
            saliency=saliency,
            saliency_seed=saliency_seed(seed) if cohort is None else None,
            shapley=shapley,
            resamples=resamples,
            reader_point=reader_from,
            openings=places,
            progress=progress,
        )
        if report is not None:
            report.parent.mkdir(parents=True, exist_ok=True)
            report.write_text(html(found), encoding="utf-8")
        if out is not None:
            write(out, found)
        if paper is not None:
            from ..evaluation import paper as papers

            papers.write(paper, found)
    click.echo(json.dumps(found.result, indent=1) if as_json else summary(found.result))


def made(*folders: Path | None) -> list[Path]:
    """The folders that were named, there from now on."""
    named = [folder for folder in folders if folder is not None]
    for folder in named:
        folder.mkdir(parents=True, exist_ok=True)
    return named


def write(out: Path, found: Any) -> None:
    """The document, the page and the cases."""
    from ..evaluation import tables
    from ..evaluation.report import html

    (out / "evaluation.json").write_text(json.dumps(found.result, indent=1) + "\n", encoding="utf-8")
    (out / "report.html").write_text(html(found), encoding="utf-8")
    tables.write(out / "cases.csv", tables.cases(found))


@contextmanager
def refusals() -> Iterator[None]:
    """What was wrong as a sentence, and an exit code that tells a refusal from a failure."""
    from ..evaluation.seal import SealError
    from ..evaluation.separation import SeparationError

    try:
        yield
    except (SeparationError, SealError) as error:
        click.echo(f"\nRefused. {error}", err=True)
        sys.exit(REFUSED)
    except ValueError as error:  # of cohorts, weights, tables of scores: each says what to do
        click.echo(f"\n{error}", err=True)
        sys.exit(CANNOT)


@contextmanager
def exams(cohort: Path | None, n: int, seed: int | None, fine: bool) -> Iterator[Cohort]:
    """The cohort of the folder, or held-out synthetic exams that are gone afterwards."""
    from ..cohort import load
    from ..phantom.cohorts import build

    if cohort is not None:
        yield load(cohort)
        return
    with tempfile.TemporaryDirectory() as scratch:
        name = "held-out-fine" if fine and seed is None else "held-out"
        with shown("held-out synthetic exams") as progress:
            made = build(
                Path(scratch),
                name,
                n,
                first_seed=seed,
                fine=fine,
                processes=1 if n <= FEW else 2,
                progress=progress,
            )
        yield made


def saliency_seed(seed: int | None) -> int:
    """Cancers for the saliency are rendered anew, beyond the held-out exams."""
    from ..phantom.cohorts import SEEDS

    return SEEDS["held-out"] + 500_000 if seed is None else seed
