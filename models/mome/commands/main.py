"""The command `mome`: synthetic cohorts, training, evaluation, weights. Arrays only; DICOM is the node's."""

from __future__ import annotations

import click

from .baselines import baselines
from .bench import bench
from .bundle import bundle
from .compare import compare
from .evaluate import evaluate
from .freeze import freeze
from .phantom import phantom
from .power import power
from .train import train
from .weights import weights


@click.group()
def main() -> None:
    """MOME on arrays: synthetic phantoms, training, evaluation, weights."""


main.add_command(weights)
main.add_command(baselines)
main.add_command(bench)
main.add_command(compare)
main.add_command(bundle)
main.add_command(train)
main.add_command(phantom)
main.add_command(freeze)
main.add_command(power)
main.add_command(evaluate)
