"""The commands `mome weights`: bring in published checkpoints, look at weights files, check them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ..config import Sequence, Size
from ..tasks import TaskName
from ..weights import BACKBONE, DEMONSTRATION_WEIGHTS, MODEL, WeightsError, read_card, read_metadata

FILE = click.Path(path_type=Path, dir_okay=False)


def canvas(_: click.Context, __: click.Parameter, value: str | None) -> Size | None:
    """W, H, D of an option WxHxD, as 384x256x128."""
    if value is None:
        return None
    lengths = re.fullmatch(r"(\d+)x(\d+)x(\d+)", value)
    if lengths is None:
        raise click.BadParameter(f"{value!r} is not WxHxD, as 384x256x128.")
    return int(lengths[1]), int(lengths[2]), int(lengths[3])


@contextmanager
def complaints() -> Iterator[None]:
    """Bad weights end the command with a sentence and exit code 1."""
    try:
        yield
    except WeightsError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


@click.group()
def weights() -> None:
    """Bring in, look at and check weights files."""


@weights.command(name="import")
@click.argument("file", type=FILE)
@click.option("--out", type=FILE, help="Weights file to write; without it, FILE's name with .safetensors.")
@click.option("--tnbc", type=FILE, help="Checkpoint of the triple-negative network, into the same file.")
@click.option("--pcr", type=FILE, help="Checkpoint of the network of complete response, into the same file.")
@click.option(
    "--dce",
    callback=canvas,
    metavar="WxHxD",
    help="Canvas that the networks were trained with, where it is not the paper's.",
)
@click.option("--dwi", callback=canvas, metavar="WxHxD", help="The same of DWI.")
@click.option("--t2", callback=canvas, metavar="WxHxD", help="The same of T2.")
def import_checkpoint(
    file: Path,
    out: Path | None,
    tnbc: Path | None,
    pcr: Path | None,
    dce: Size | None,
    dwi: Size | None,
    t2: Size | None,
) -> None:
    """Bring in a checkpoint of MOME (malignancy), or BEiT-3 base as the backbone of a training."""
    from .. import backbone, importing

    further: dict[TaskName, Path | None] = {"tnbc": tnbc, "pcr": pcr}
    given = {task: path for task, path in further.items() if path is not None}
    canvases: dict[Sequence, Size | None] = {"dce": dce, "dwi": dwi, "t2": t2}
    sizes = {sequence: size for sequence, size in canvases.items() if size is not None}
    with complaints():
        out = destination(out, file, list(given.values()))
        if not backbone.is_foundation(file):
            digest = importing.import_files({"malignancy": file, **given}, out, sizes=sizes)
            click.echo(f"networks of {', '.join(['malignancy', *given])}; {read_card(out)['status']}", err=True)
        elif given:
            raise WeightsError(f"{file.name} is BEiT-3, a backbone without a task; --tnbc and --pcr go with MOME.")
        elif sizes:
            raise WeightsError(f"{file.name} is BEiT-3, a backbone without canvases; --dce, --dwi, --t2 go with MOME.")
        else:
            digest, left_out = backbone.import_file(file, out)
            click.echo(f"frozen backbone only; {len(left_out)} tensors that MOME does not use were left out", err=True)
        click.echo(f"{digest}  {out}")


def destination(out: Path | None, file: Path, further: list[Path]) -> Path:
    """Where to write; WeightsError where that is one of the checkpoints, or, unasked for, any file that is there."""
    if out is None:
        out = file.with_suffix(".safetensors")
        if out.exists():
            raise WeightsError(f"{out.name} is there already, beside {file.name}: say with --out where to write.")
    for checkpoint in (file, *further):
        if out.exists() and checkpoint.exists() and out.samefile(checkpoint):
            raise WeightsError(
                f"{checkpoint.name} is the checkpoint itself and is not overwritten: give another --out."
            )
    return out


@weights.command()
@click.argument("file", type=FILE, default=DEMONSTRATION_WEIGHTS)
def show(file: Path) -> None:
    """Print the card as JSON."""
    with complaints():
        click.echo(json.dumps(read_card(file), indent=1, ensure_ascii=False))


@weights.command()
@click.argument("file", type=FILE, default=DEMONSTRATION_WEIGHTS)
def verify(file: Path) -> None:
    """Check the hash and every tensor of a weights file."""
    from .. import backbone
    from ..weights import load_family

    with complaints():
        said = read_metadata(file)
        if said.get("kind", MODEL) == BACKBONE:
            backbone.read(file)
            holds = "the frozen backbone"
        else:
            networks, _ = load_family(file)
            holds = ", ".join(networks)
        click.echo(f"{said['card']['weights_sha256']}  {file}")
        click.echo(f"complete: {holds}", err=True)
