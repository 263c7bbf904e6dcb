"""The command `mome train`."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option(
    "--config", required=True, type=click.Path(path_type=Path), help="TOML file, or a shipped recipe by name."
)
@click.option("--out", required=True, type=FOLDER, help="Folder for weights, curves and the state of the training.")
@click.option("--resume", is_flag=True, help="Refuse to begin anew: DIR must hold a state (found without this too).")
@click.option("--threads", default=2, show_default=True, help="Of the CPU; another number gives other last digits.")
@click.option("--cohorts", type=FOLDER, help="Where synthetic cohorts are kept; default: in DIR.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--workers", default=0, show_default=True, help="Processes that read exams ahead; same result.")
@click.option("--save-every", default=120.0, show_default=True, help="Seconds between two states on the disk.")
@click.option("--steps-factor", default=1.0, show_default=True, help="Shorter: this share of all steps, to try it.")
def train(
    config: Path,
    out: Path,
    resume: bool,
    threads: int,
    cohorts: Path | None,
    device: str,
    workers: int,
    save_every: float,
    steps_factor: float,
) -> None:
    """Train a network as a file describes; killed, the same command goes on where it was."""
    from ..arithmetic import repeatable
    from ..training.configuration import read
    from ..training.train import train as trained

    try:
        wanted = read(config)
        if steps_factor != 1:
            wanted = wanted.shortened(steps_factor)
        with repeatable(threads, device):
            said = trained(
                wanted,
                out,
                cohorts=cohorts,
                device=device,
                workers=workers,
                save_seconds=save_every,
                must_resume=resume,
                say=lambda text: click.echo(text, err=True),
            )
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if said:
        click.echo(said)
