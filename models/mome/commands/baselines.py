"""The command `mome baselines`: where integrated gradients should start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command()
@click.option(
    "--weights", type=click.Path(path_type=Path, exists=True), help="File or model folder; default: the shipped ones."
)
@click.option("--n", default=50, show_default=True, help="Number of held-out synthetic exams.")
@click.option("--budget", default=48, show_default=True, help="Gradients that one exam may cost.")
@click.option("--threads", default=2, show_default=True, help="CPU threads.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def baselines(weights: Path | None, n: int, budget: int, threads: int, as_json: bool) -> None:
    """Compare baselines of the explanation on held-out synthetic phantoms; about 15 s for each exam."""
    from ..arithmetic import repeatable
    from ..baselines import compared

    def progress(done: int, of: int) -> None:
        click.echo(f"\rheld-out synthetic exams: {done} of {of}", nl=False, err=True)

    with repeatable(threads):
        result = compared(weights, n=n, budget=budget, progress=progress)
    click.echo("", err=True)
    click.echo(json.dumps(result, indent=1) if as_json else table(result))


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    malignant, called = result["malignant"], result["true_positives"]
    lines = [f"{result['cohort']}: {result['n']} exams, {malignant} malignant, {called} of them scored above 0.5", ""]
    lines += [f"{'':<32} {'gap <= 5 %':>10} {'gap':>6} {'steps':>5} {'difference':>10}  hottest voxel in the lesion"]
    lines += [f"{'baseline':<32} {'of exams':>10} {'median':>6} {'':>5} {'logits':>10}  cancers, true positives"]
    lines += [
        f"{name:<32} {row['gap_closed']:>10.0%} {row['median_gap']:>6.3f} {row['median_steps']:>5.0f} "
        f"{row['median_difference']:>10.2f}  {row['hit_malignant']} of {malignant}, "
        f"{row['hit_true_positives']} of {called}"
        for name, row in result["baselines"].items()
    ]
    return "\n".join(lines)
