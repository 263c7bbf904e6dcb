"""The command line of the node. Help texts are one sentence; the exit code says whether a person must act.

Exit codes: 0 done; 1 something needs a person (the message says what); 2 wrong usage.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from . import __version__
from . import settings as settings_module
from .errors import NodeError
from .settings import FurtherObject, Settings

if TYPE_CHECKING:
    from .ledger import Ledger

ExistingFolder = click.Path(exists=True, file_okay=True, path_type=Path)
ExistingFile = click.Path(exists=True, dir_okay=False, path_type=Path)
OutFolder = click.Path(file_okay=False, path_type=Path)
BiRads = click.Choice(["0", "1", "2", "3", "4", "4A", "4B", "4C", "5", "6"])


def speaks_plainly(command: Callable[..., None]) -> Callable[..., None]:
    """A NodeError ends the command with its words and exit code 1, without a traceback."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except NodeError as error:
            click.echo(f"error: {error.message}\n       {error.remedy}", err=True)
            sys.exit(1)

    return wrapped


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mome-node")
@click.option("--config", type=click.Path(path_type=Path), help="Configuration file (TOML).")
@click.option("--verbose", is_flag=True, help="Log what is done, to standard error.")
@click.pass_context
def main(context: click.Context, config: Path | None, verbose: bool) -> None:
    """A DICOM node for breast MRI: studies in from a PACS, reports and overlays back to it. Not for clinical use."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
    )
    if not verbose:  # what goes wrong with a peer is said in the node's own words
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    context.obj = config


def load_settings(context: click.Context) -> Settings:
    return settings_module.load(context.obj)


# ------------------------------------------------------------------ on folders, without a network
@main.command()
@click.argument("path", type=ExistingFolder)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON (its schema: docs/grouping.md).")
@click.pass_context
@speaks_plainly
def group(context: click.Context, path: Path, as_json: bool) -> None:
    """Say which series below PATH are the dynamic phases, the DWI and the T2, and why; reads headers only."""
    from .analysis import headers, series_grouping

    rules = series_grouping.load_rules(load_settings(context).series_rules_file)
    studies, unusable = headers.read_folder(path)
    report = series_grouping.report(studies, unusable, path, rules)
    click.echo(json.dumps(report, ensure_ascii=False, indent=1) if as_json else series_grouping.describe(report))


@main.command()
@click.argument("path", type=ExistingFolder)
@click.option("--out", type=OutFolder, required=True, help="Results go to OUT/<StudyInstanceUID>/.")
@click.option("--birads", type=BiRads, help="BI-RADS category that a radiologist gave for this exam.")
@click.option("--now", metavar="ISO8601", help="Date and time of the results; default: the latest found in the images.")
@click.option("--also", type=click.Choice(get_args(FurtherObject)), multiple=True,
              help="Also write this object; may be given more than once.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the outcome of each study as one JSON document.")
@click.pass_context
@speaks_plainly
def analyze(
    context: click.Context,
    path: Path,
    out: Path,
    birads: str | None,
    now: str | None,
    also: tuple[FurtherObject, ...],
    as_json: bool,
) -> None:
    """Run the whole pipeline on the studies below PATH, without a network; a refused study is an answer, too."""
    from .analyze import analyze_folder

    settings, say = load_settings(context), _progress(as_json)
    outcomes = analyze_folder(path, out, settings, category=birads, now=now, further=also, say=say)
    if as_json:
        click.echo(json.dumps([outcome.as_json() for outcome in outcomes], indent=1))
    else:
        click.echo("\n\n".join(outcome.words for outcome in outcomes) or f"{path}: no DICOM study found.")
    sys.exit(any(outcome.status == "failed" for outcome in outcomes) or not outcomes)


@main.command()
@click.option("--out", type=OutFolder, required=True, help="Studies go to OUT/<StudyInstanceUID>/.")
@click.option("--n", "number", type=click.IntRange(1), default=1, show_default=True, help="How many studies.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of the first study.")
@click.option("--category", type=click.Choice(["3", "4A", "4B", "4C", "5"]), default="4A", show_default=True,
              help="BI-RADS category that the synthetic request names.")  # fmt: skip
@click.option("--design", type=click.Choice(["plain", "clinic"]), default="plain", show_default=True,
              help="clinic: sites, normal exams, missing sequences, faults.")  # fmt: skip
@click.option("--labels", "table", type=click.Path(dir_okay=False, path_type=Path),
              help="Write the labels into this CSV, too; age and category are then the labels'.")  # fmt: skip
@speaks_plainly
def phantom(out: Path, number: int, seed: int, category: str, design: str, table: Path | None) -> None:
    """Write synthetic breast MRI studies as DICOM, for trying the node or making a cohort."""
    from .phantom import write_labels, write_study

    studies = []
    for n in range(seed, seed + number):
        written = write_study(out, n, category=None if table else category, design=design)
        studies.append(written)
        click.echo(
            f"{out / written.study_instance_uid}: synthetic, {written.kind} planted, {len(written.files)} images"
        )
    if table:
        write_labels(table, studies)
        click.echo(f"{table}: labels of {number} synthetic studies")


@main.command()
@click.option("--table", type=ExistingFile, required=True,
              help="CSV: study_instance_uid or accession_number, and what is known of each exam.")  # fmt: skip
@click.option("--dicom", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the studies.")
@click.option("--pacs", metavar="DESTINATION", help="Fetch the studies from this PACS of the configuration.")
@click.option("--out", type=OutFolder, required=True, help="The cohort's folder.")
@click.option("--weights", type=click.Path(exists=True, path_type=Path),
              help="Prepare as for these weights, hold against their card; default: the configuration's.")  # fmt: skip
@click.option("--preprocessing", type=click.Choice(["paper", "demonstration"]),
              help="Prepare so, without weights and their range: for a first training.")  # fmt: skip
@click.option("--pseudonym-key", "key", type=click.Path(dir_okay=False, path_type=Path),
              help="Key of the pseudonyms, made if absent; default: pseudonyms/key beside the cohort.")  # fmt: skip
@click.option("--site", default="", help="Site of the exams whose row names none.")
@click.option("--per-hour", type=click.FloatRange(1), default=120, show_default=True,
              help="Studies asked of the PACS in an hour, at most.")  # fmt: skip
@click.option("--move-to", metavar="TITLE:PORT", help="Where a PACS without C-GET sends to; default: the receiver.")
@click.pass_context
@speaks_plainly
def cohort(
    context: click.Context,
    table: Path,
    dicom: Path | None,
    pacs: str | None,
    out: Path,
    weights: Path | None,
    preprocessing: str | None,
    key: Path | None,
    site: str,
    per_hour: float,
    move_to: str | None,
) -> None:
    """Make a de-identified cohort for `mome train` and `mome evaluate` from studies and a table of labels."""
    from . import cohort as making

    if (dicom is None) == (pacs is None):
        raise click.UsageError("Name either --dicom or --pacs.")
    if weights is not None and preprocessing is not None:
        raise click.UsageError("Name either --weights or --preprocessing.")
    settings, say = load_settings(context), _progress(not sys.stderr.isatty())
    maker = making.open_maker(settings.model.name, weights or settings.model.weights, preprocessing)
    rows = making.read_table(table, maker)
    source = making.open_source(dicom, pacs, settings, per_hour=per_hour, move_to=move_to, say=say)
    key = key or out.resolve().parent / "pseudonyms" / "key"
    made = making.make(rows, source, out, settings, maker, key=key, site=site, say=say)
    click.echo(making.in_short(made.report))
    if made.folder is None:
        raise NodeError("No exam gave arrays: there is no cohort.", remedy="Look at the reasons above.")
    click.echo(f"{made.folder}: the cohort, with report.md; {made.linkage}: who is who, to be kept in the house")


# ------------------------------------------------------------------ the service
@main.command()
@click.pass_context
@speaks_plainly
def serve(context: click.Context) -> None:
    """Run the node: receive, analyse, deliver; ends on SIGTERM or Ctrl-C."""
    from .service import serve as serve_node

    serve_node(load_settings(context))


@main.command()
@click.option("--out", type=OutFolder, default=Path("demo-output"), show_default=True, help="Where everything is put.")
@click.option("--seed", type=click.IntRange(0), default=None, help="Seed of the synthetic patient.")
@click.option("--keep", is_flag=True, help="Stay up until Ctrl-C, to look at the results in a viewer.")
@click.option("--pacs", type=click.Choice(["auto", "orthanc", "builtin"]), default="auto", show_default=True,
              help="The PACS on loopback: Orthanc where it is installed, else a small one of our own.")  # fmt: skip
@speaks_plainly
def demo(out: Path, seed: int | None, keep: bool, pacs: str) -> None:
    """Send a synthetic study through a PACS and this node on loopback, and show what the radiologist would see."""
    from .demo import run

    run(out, seed=seed, keep=keep, pacs=pacs, say=click.echo)


@main.command()
@click.option("--test-study", metavar="DESTINATION", help="Also analyse a synthetic study and send its results there.")
@click.pass_context
@speaks_plainly
def check(context: click.Context, test_study: str | None) -> None:
    """Try the state folder, the weights and every PACS once; send no study, say what to mend."""
    from .commissioning import check as check_node

    findings = list(check_node(load_settings(context), test_study))
    for finding in findings:
        click.echo(f"{'ok  ' if finding.ok else 'MEND'} {finding.what}: {finding.words}")
    mend = sum(not finding.ok for finding in findings)
    click.echo("ready" if not mend else f"{mend} to mend")
    sys.exit(bool(mend))


@main.command()
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@click.pass_context
@speaks_plainly
def conformance(context: click.Context, out: Path | None) -> None:
    """Write the DICOM conformance statement (PS3.2) of the node as it is configured, in Markdown."""
    from .conformance import statement

    text = statement(load_settings(context))
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")


@main.group()
def jobs() -> None:
    """What became of the studies: list, show, and what a person may ask for. Works with the node up or down."""


@jobs.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
@speaks_plainly
def jobs_list(context: click.Context, as_json: bool) -> None:
    """List every study with its state and what it waits for; the latest first."""
    from . import overview

    settings = load_settings(context)
    ledger, now = _ledger(settings), datetime.now(UTC)
    rows = overview.rows(ledger, settings, now)
    if as_json:
        click.echo(json.dumps([row.as_json() for row in rows], indent=1))
    else:
        drifting = overview.drift_alarms(ledger, settings, now)
        click.echo("\n".join([*overview.alarms(ledger, now), *drifting, overview.table(rows)]))


@jobs.command("show")
@click.argument("study")
@click.pass_context
@speaks_plainly
def jobs_show(context: click.Context, study: str) -> None:
    """Tell the story of one STUDY (its StudyInstanceUID): stages, results, deliveries, history."""
    from . import overview

    settings = load_settings(context)
    click.echo(overview.story(_ledger(settings), settings, study, datetime.now(UTC)))


@jobs.command("complete")
@click.argument("study")
@click.pass_context
@speaks_plainly
def jobs_complete(context: click.Context, study: str) -> None:
    """Say that STUDY is complete: it is analysed without waiting for silence."""
    _ledger(load_settings(context)).request_completion(study)
    click.echo("noted; the node takes it up within seconds when it is up")


@jobs.command("retry")
@click.argument("study")
@click.pass_context
@speaks_plainly
def jobs_retry(context: click.Context, study: str) -> None:
    """Try STUDY again: its failed deliveries, or else its analysis with all images that are there."""
    click.echo(_ledger(load_settings(context)).request_retry(study))


@jobs.command("withdraw")
@click.argument("study")
@click.option("--reason", type=click.Choice(["patient-safety", "wrong-patient"]), default="patient-safety",
              show_default=True, help="What the rejection note says.")  # fmt: skip
@click.pass_context
@speaks_plainly
def jobs_withdraw(context: click.Context, study: str, reason: str) -> None:
    """Take the results of STUDY back from every destination: a rejection note, and a page where it is not obeyed."""
    click.echo(_ledger(load_settings(context)).request_withdrawal(study, reason))


@main.command()
@click.option("--days", type=click.IntRange(1), help="Days until now that are compared.  [default: drift.days]")
@click.option("--serial", metavar="NUMBER", help="Only say under which device key a scanner's serial number is listed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
@speaks_plainly
def drift(context: click.Context, days: int | None, serial: str | None, as_json: bool) -> None:
    """Compare every scanner with the model's cohort or its own past; exit code 1 while something left its range."""
    from .drift import assessment, keeping, words

    settings = load_settings(context)
    ledger = _ledger(settings)
    if serial is not None:
        click.echo(f"device {ledger.device_key(serial.strip())}")
        return
    card = keeping.card_in_use(settings)
    found = assessment.assess(ledger.observations(), card, settings.drift, datetime.now(UTC), days)
    click.echo(json.dumps(words.as_json(found), indent=1) if as_json else words.table(found))
    sys.exit(bool(found.warnings))


@main.group()
def config() -> None:
    """Show or check the configuration."""


@config.command("show")
@click.pass_context
@speaks_plainly
def config_show(context: click.Context) -> None:
    """Print the configuration in force, as JSON."""
    click.echo(load_settings(context).model_dump_json(indent=1))


@config.command("check")
@click.pass_context
@speaks_plainly
def config_check(context: click.Context) -> None:
    """Read the configuration and say whether it can be used."""
    from .pipeline import check_site_files

    check_site_files(load_settings(context))
    click.echo("the configuration can be used")


@config.command("example")
def config_example() -> None:
    """Print a configuration with every key, its default and its meaning."""
    from .settings import example

    click.echo(example(), nl=False)


def _ledger(settings: Settings) -> Ledger:
    from .ledger import Ledger

    return Ledger(settings.state_folder / "ledger.sqlite")


def _progress(quiet: bool) -> Callable[[str], None]:
    """Words on standard error with the seconds since the start, or nothing."""
    started = time.monotonic()
    return lambda words: None if quiet else click.echo(f"{time.monotonic() - started:6.1f} s  {words}", err=True)


if __name__ == "__main__":
    main()
