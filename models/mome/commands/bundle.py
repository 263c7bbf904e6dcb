"""The commands `mome bundle`: model folders, written, looked at and checked."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..weights import DEMONSTRATION_WEIGHTS, WeightsError
from .weights import FILE, FOLDER, WEIGHTS, complaints


@click.group()
def bundle() -> None:
    """Weights with everything that belongs to them, as one folder or archive that MONAI's tools open."""


@bundle.command()
@click.option("--weights", type=WEIGHTS, default=DEMONSTRATION_WEIGHTS, help="Default: the shipped ones.")
@click.option("--training", type=FOLDER, help="Folder that `mome train` left: its record of exams, and how it went.")
@click.option("--evaluation", "evaluations", type=FILE, multiple=True, help="`mome evaluate --json`; several times.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New folder, or file that ends in .zip.")
def write(weights: Path, training: Path | None, evaluations: tuple[Path, ...], out: Path) -> None:
    """Write a model folder; prints its identity, the SHA-256 of its manifest."""
    from .. import bundle as folders

    with complaints():
        click.echo(f"{folders.write(out, weights, training=training, evaluations=evaluations)}  {out}")


@bundle.command()
@click.argument("folder", type=click.Path(path_type=Path))
def show(folder: Path) -> None:
    """Print what is in a model folder or archive as JSON, after checking it."""
    from ..bundle.folder import open_folder, summary

    with complaints():
        click.echo(json.dumps(summary(open_folder(folder)), indent=1, ensure_ascii=False))


@bundle.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--identity", help="SHA-256 of the manifest as its maker told it; anything else is refused.")
def verify(folder: Path, identity: str | None) -> None:
    """Check every file of a model folder or archive, and every tensor; prints its identity."""
    from ..bundle.folder import open_folder
    from ..weights import load_family, read_card
    from .weights import check_bound

    with complaints():
        opened = open_folder(folder)
        if identity is not None and opened.identity != identity.lower():
            raise WeightsError(f"{folder.name} is another model folder: its identity is {opened.identity}.")
        networks, _ = load_family(opened.folder)
        check_bound(opened.folder, read_card(opened.weights))
        click.echo(f"{opened.identity}  {folder}")
        click.echo(f"{len(opened.files)} files unaltered; complete: {', '.join(networks)}", err=True)
