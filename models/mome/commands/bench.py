"""The command `mome bench`: how long the parts of a study take, as ratios of one run."""

from __future__ import annotations

import json
from typing import Any

import click


@click.command()
@click.option("--size", default="paper", show_default=True, help="paper, small (its small canvases) or demonstration.")
@click.option(
    "--rounds",
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    help="Rounds in which all parts take turns; medians count.",
)
@click.option("--threads", type=int, help="CPU threads; default: all cores.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 ...")
@click.option("--bfloat16", is_flag=True, help="Also in bfloat16; slow on CPUs without instructions for it.")
@click.option("--compile", "compiled", is_flag=True, help="Also with torch.compile (needs a C++ compiler).")
@click.option("--study", is_flag=True, help="One whole explained study alone, for its peak memory.")
@click.option(
    "--steps", default=20, show_default=True, type=click.IntRange(min=2), help="Gradients of the explanation."
)
@click.option("--augmentation", help="Test-time augmentation; default: paper-6, none with --study.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def bench(
    size: str,
    rounds: int,
    threads: int | None,
    device: str,
    bfloat16: bool,
    compiled: bool,
    study: bool,
    steps: int,
    augmentation: str | None,
    as_json: bool,
) -> None:
    """Time the network against its plain form and its parts against each other, on made-up weights."""
    import torch

    from .. import bench as benches
    from ..augmentation import SETS

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise click.BadParameter("this torch sees no CUDA device", param_hint="--device")
    if threads is not None:
        torch.set_num_threads(threads)
    if size not in benches.SIZES:
        raise click.BadParameter(f"there are {', '.join(benches.SIZES)}", param_hint="--size")

    def say(text: str) -> None:
        click.echo(text, err=True)

    augmentation = augmentation or ("none" if study else "paper-6")
    if augmentation not in SETS:
        raise click.BadParameter(f"there are {', '.join(SETS)}", param_hint="--augmentation")
    if study:
        result = benches.study(size, device=device, steps=steps, augmentation=augmentation, say=say)
    else:
        result = benches.bench(
            size,
            device=device,
            rounds=rounds,
            steps=steps,
            augmentation=augmentation,
            bfloat16=bfloat16,
            compiled=compiled,
            say=say,
        )
    click.echo(json.dumps(result, indent=1) if as_json else table(result))


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    groups = {"seconds": "s", "seconds_of": "s", "ratios": "", "logit_difference": "against the plain form"}
    plain = {name: value for name, value in result.items() if name not in groups}
    lines = [f"{name.replace('_', ' '):<42} {shown(value)}" for name, value in plain.items()]
    for group, unit in groups.items():
        lines += [f"\n{group.replace('_', ' ')}"] if group in result else []
        lines += [f"{name:<42} {shown(value)} {unit}".rstrip() for name, value in result.get(group, {}).items()]
    return "\n".join(lines)


def shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
