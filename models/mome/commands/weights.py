"""The commands `mome weights`: bring in published checkpoints, look at weights files, check them."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..cohort import Cohort, CohortError
from ..config import Sequence, Size
from ..tasks import TaskName
from ..weights import BACKBONE, DEMONSTRATION_WEIGHTS, MODEL, WeightsError, read_card, read_metadata
from .phantom import shown

if TYPE_CHECKING:
    from ..probe import Probe

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
WEIGHTS = click.Path(path_type=Path)
"""A weights file, a model folder or its archive: what `weights.load` takes."""


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
    """Bad weights and cohorts end the command with a sentence and exit code 1."""
    try:
        yield
    except (WeightsError, CohortError) as error:
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
@click.argument("file", type=WEIGHTS, default=DEMONSTRATION_WEIGHTS)
def show(file: Path) -> None:
    """Print the card as JSON."""
    with complaints():
        click.echo(json.dumps(read_card(file), indent=1, ensure_ascii=False))


@weights.command()
@click.argument("file", type=WEIGHTS, default=DEMONSTRATION_WEIGHTS)
def verify(file: Path) -> None:
    """Check the hash and every tensor of a weights file, and every file of a model folder."""
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
            check_bound(file, said["card"])
        click.echo(f"{said['card']['weights_sha256']}  {file}")
        click.echo(f"complete: {holds}", err=True)


def check_bound(file: Path, card: Mapping[str, Any]) -> None:
    """Raises WeightsError where the card speaks of an evaluation of other tensors or behind another preprocessing."""
    from ..weights import tensors_sha256

    bound = card.get("evaluations", [])
    own = (tensors_sha256(file), card["preprocessing"]["hash"]) if bound else ()
    for evaluation in bound:
        if (evaluation["tensors_sha256"], evaluation["preprocessing"]) != own:
            raise WeightsError(
                f"{file.name} states an evaluation ({evaluation['cohort']}) that is of other weights: it says nothing "
                "about these. Take the file anew from where it came."
            )


# ------------------------------------------------------------------ what a cohort brings
@weights.command()
@click.option("--weights", "file", type=WEIGHTS, default=DEMONSTRATION_WEIGHTS, help="Default: the shipped ones.")
@click.option("--cohort", "folder", required=True, type=FOLDER, help="The cohort that the weights were tuned on.")
@click.option("--quality", type=FILE, help="Table of the measures of quality; default: quality.csv in the cohort.")
@click.option("--keep-limits", is_flag=True, help="Leave the limits of quality as they are in the card.")
@click.option("--out", required=True, type=FILE, help="Weights file to write.")
def distributions(file: Path, folder: Path, quality: Path | None, keep_limits: bool, out: Path) -> None:
    """Enter how scores and measures of quality are distributed, and the limits of quality that follow."""
    from .. import card, distributions, range_of_cohort
    from ..cohort import load
    from ..evaluation.scoring import check_preprocessing, scored_cohort
    from ..weights import load as load_weights
    from ..weights import rewrite

    with complaints():
        refuse_folder(out)
        network, header = load_weights(file)
        cohort = load(folder)
        check_preprocessing(header, cohort, file)
        scores = {"+".join(part): values for part, values in scored_cohort(network, cohort).items()}
        table = quality or folder / "quality.csv"
        measures = distributions.read_quality(table, cohort.cases) if quality or table.exists() else {}
        told = {"words": cohort.words, "identity": cohort.identity, "synthetic": cohort.synthetic, "n": len(cohort)}
        groups = distributions.groups_of(cohort.cases)
        changed = card.with_distributions(
            header.card, cohort=told, scores=scores, quality=measures, groups=groups, limits=not keep_limits
        )
        if not cohort.synthetic:
            changed["evaluated_range"] = range_of_cohort.evaluated_range(folder, cohort)
        click.echo(f"{rewrite(file, out, changed)}  {out}")
        carry_record(file, out, cohort)
        kinds = f"{len(scores)} combinations, {len(measures)} measures of quality"
        click.echo(f"distributions of {kinds} on {cohort.words}", err=True)


@weights.command()
@click.option("--weights", "file", required=True, type=WEIGHTS, help="The weights that were evaluated.")
@click.option("--evaluation", required=True, type=FILE, help="What `mome evaluate --json` printed about them.")
@click.option("--out", required=True, type=FILE, help="Weights file to write.")
def bind(file: Path, evaluation: Path, out: Path) -> None:
    """Enter an evaluation of these very weights into their card. No operating point comes of it: `mome freeze` does."""
    from .. import card
    from ..weights import read_header, rewrite, sha256, tensors_sha256

    with complaints():
        refuse_folder(out)
        header = read_header(file)
        report = read_evaluation(evaluation, header.card["weights_sha256"])
        preprocessing = header.preprocessing.hash()
        if report.get("about", {}).get("preprocessing", preprocessing) != preprocessing:
            raise WeightsError(f"{evaluation.name} was measured behind another preprocessing than that of {file.name}.")
        changed = card.with_evaluation(
            header.card,
            report,
            digest=sha256(evaluation),
            tensors=tensors_sha256(file),
            preprocessing=preprocessing,
        )
        click.echo(f"{rewrite(file, out, changed)}  {out}")
        carry_record(file, out)
        click.echo(changed["status"], err=True)


def carry_record(source: Path, out: Path, tuning: Cohort | None = None) -> None:
    """The record of exams seen goes with the weights; `tuning` enters it where it is none of the exams of the training.

    Without a record there is none to carry: what the weights saw is then not known, and a new one would hide that.
    """
    from ..evaluation import separation

    record = separation.record_of(source)
    if record is None:
        return
    seen = separation.read(record)
    if tuning is not None and not separation.shared(tuning, seen):
        seen += separation.exams(tuning, "tuning")
    separation.write(out.with_name(f"{out.stem}.{separation.RECORD}"), seen)


def refuse_folder(out: Path) -> None:
    """A model folder is never changed in place."""
    if out.suffix == ".zip":
        raise WeightsError(f"{out.name}: a weights file is written here; `mome bundle write` makes an archive of it.")


def read_evaluation(path: Path, weights_sha256: str) -> dict[str, Any]:
    """A report of these weights; raises WeightsError for any other document."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        of = report["weights_sha256"]
        complete = {"cohort", "synthetic", "n", "auroc"} <= report.keys() and "estimate" in report["auroc"]
    except FileNotFoundError as error:
        raise WeightsError(f"There is no evaluation at {path}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path.name} is no report of `mome evaluate --json`.") from error
    if not complete:
        raise WeightsError(
            f"{path.name} lacks cohort, synthetic, n or auroc: make it anew with `mome evaluate --json`."
        )
    if of != weights_sha256:
        raise WeightsError(
            f"{path.name} is about other weights (SHA-256 {str(of)[:12]}) than these ({weights_sha256[:12]}): evaluate "
            "these with `mome evaluate --weights`."
        )
    return dict(report)


@weights.command()
@click.option("--weights", "file", type=WEIGHTS, default=DEMONSTRATION_WEIGHTS, help="Default: the shipped ones.")
@click.option(
    "--cohort",
    "folder",
    required=True,
    type=FOLDER,
    help="A cohort, or the folder of `mome phantom --acquired`, which allows all normalisations.",
)
@click.option("--exams", type=click.IntRange(2), help="At most so many, the first ones; default: all.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def probe(file: Path, folder: Path, exams: int | None, as_json: bool) -> None:
    """AUROC under all axis flips and normalisations: does the configured preprocessing fit these weights?"""
    from .. import probe as probing
    from ..cohort import load
    from ..evaluation.scoring import check_preprocessing, from_what_is_there, scored_cohort
    from ..weights import load as load_weights

    with complaints(), tempfile.TemporaryDirectory() as scratch, shown("variants") as progress:
        network, header = load_weights(file)
        if (folder / "cohort.json").exists():
            cohort = load(folder)
            check_preprocessing(header, cohort, file)
            variants = probing.of_cohort(cohort if exams is None else cohort.part(range(min(exams, len(cohort)))))
        else:
            variants = probing.of_acquired(folder, header.preprocessing, Path(scratch), exams)
        found = probing.probe(lambda cohort: from_what_is_there(scored_cohort(network, cohort)), variants, progress)
    click.echo(json.dumps(found.json(), indent=1) if as_json else ranking(found))
    sys.exit(2 if found.better else 0)


def ranking(found: Probe) -> str:
    """The table for people."""
    lines = [f"{found.cohort}: {found.n} exams scored, {found.malignant} malignant", ""]
    lines += [f"{'AUROC':>6}  {'95 % interval':<14}  {'against configured':<26}  variant"]
    for variant in found.variants:
        area, difference = variant.auroc, variant.against_configured
        change = f"{difference.estimate:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
        how = [f"flipped {', '.join(variant.flipped)}"] if variant.flipped else []
        name = "; ".join([*how, variant.normalisation])
        mark = " <- configured" if variant.is_configured else " !" if variant in found.better else ""
        interval = f"{area.low:.3f} to {area.high:.3f}"
        lines.append(
            f"{area.estimate:6.3f}  {interval:<14}  {'' if variant.is_configured else change:<26}  {name}{mark}"
        )
    return "\n".join([*lines, "", found.words])
