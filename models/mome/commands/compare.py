"""The command `mome compare`."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--config", required=True, type=click.Path(path_type=Path), help="TOML file, or a shipped one by name.")
@click.option("--out", required=True, type=FOLDER, help="Folder for tables and scores; below it one for each model.")
@click.option("--only", default="", metavar="NAME,...", help="These models alone, as `models` of the file names them.")
@click.option("--resume", is_flag=True, help="Refuse to begin anew: DIR must hold a state (found without this too).")
@click.option("--mome", type=click.Path(path_type=Path, exists=True), help="Weights of MOME, trained already.")
@click.option("--threads", default=2, show_default=True, help="Of the CPU; another number gives other last digits.")
@click.option("--cohorts", type=FOLDER, help="Where synthetic cohorts are kept; default: in DIR.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--workers", default=0, show_default=True, help="Processes that read exams ahead; same result.")
@click.option("--save-every", default=120.0, show_default=True, help="Seconds between two states on the disk.")
@click.option("--steps-factor", type=float, help="This share of all steps, for every model; default: as the file says.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def compare(
    config: Path,
    out: Path,
    only: str,
    resume: bool,
    mome: Path | None,
    threads: int,
    cohorts: Path | None,
    device: str,
    workers: int,
    save_every: float,
    steps_factor: float | None,
    as_json: bool,
) -> None:
    """Train MOME and what it is compared with alike, and write the paper's tables of comparison and ablation."""
    from ..arithmetic import repeatable
    from ..comparators.compare import compare as compared
    from ..comparators.configuration import NAMES, read
    from ..comparators.tables import write

    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := [name for name in names if name not in NAMES]:
        raise click.BadParameter(f"{', '.join(unknown)}: known are {', '.join(NAMES)}.", param_hint="--only")
    try:
        comparison, training = read(config)
        said = {"steps_factor": steps_factor, "mome": mome}
        comparison = comparison.model_copy(update={name: value for name, value in said.items() if value is not None})
        with repeatable(threads, device):
            found = compared(
                comparison,
                training,
                out,
                only=tuple(name for name in NAMES if name in names),
                cohorts=cohorts,
                device=device,
                workers=workers,
                save_seconds=save_every,
                must_resume=resume,
                say=lambda text: click.echo(text, err=True),
            )
        if found is not None:
            write(out, found, comparison)
            click.echo((out / ("compare.json" if as_json else "compare.md")).read_text(encoding="utf-8").rstrip())
    except ValueError as error:
        raise click.ClickException(str(error)) from error
