"""The command `mome freeze`: operating points chosen on a tuning cohort, sealed into a new weights file."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from .phantom import shown
from .weights import FILE

SHARE = click.FloatRange(0, 1, min_open=True)


@click.command()
@click.option("--weights", required=True, type=click.Path(path_type=Path), help="Weights file or model folder.")
@click.option(
    "--cohort", required=True, type=click.Path(path_type=Path, file_okay=False), help="Tuning cohort; never the test."
)
@click.option("--out", required=True, type=FILE, help="Weights file to write (.safetensors).")
@click.option("--sensitivity", multiple=True, type=SHARE, help="Also a point at this sensitivity; may be repeated.")
@click.option(
    "--downgrade-sensitivity",
    type=SHARE,
    help="Of the point that the node advises by. Default: 1, no BI-RADS 4 cancer missed.",
)
@click.option(
    "--confidence", default=0.95, show_default=True, type=click.FloatRange(0, 1, True, True), help="Of limits."
)
@click.option("--calibrate", is_flag=True, help="Also store a calibration: scores as probabilities, for such exams.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def freeze(
    weights: Path,
    cohort: Path,
    out: Path,
    sensitivity: tuple[float, ...],
    downgrade_sensitivity: float | None,
    confidence: float,
    calibrate: bool,
    as_json: bool,
) -> None:
    """Choose operating points on a tuning cohort and seal them; the network's values stay as they are."""
    from ..cohort import load
    from ..evaluation.tuning import freeze_file

    try:
        with shown("exams of the tuning cohort") as progress:
            card = freeze_file(
                weights,
                load(cohort),
                out,
                sensitivities=sensitivity,
                downgrade_sensitivity=downgrade_sensitivity,
                confidence=confidence,
                calibrate=calibrate,
                now=datetime.now(UTC),
                progress=progress,
            )
    except ValueError as error:  # of cohorts, weights, points, separation: each says what to do
        click.echo(str(error), err=True)
        sys.exit(1)
    wanted = ("operating_points", "calibration", "seal", "weights_sha256")
    click.echo(json.dumps({name: card.get(name) for name in wanted}, indent=1) if as_json else told(card, out))


def told(card: dict[str, Any], out: Path) -> str:
    """The points for people, and the hash of the file."""
    lines = [card["tuned_on"]["cohort"]]
    for point in card["operating_points"]:
        lines += [
            "",
            f"{point['name']}: at or below {point['threshold']:.4f} lie {point['benign_at_or_below']} of "
            f"{point['benign']} benign and {point['cancers_at_or_below']} of {point['cancers']} malignant exams",
            *([f"  {point['claim']['words']}"] if point["use"] == "downgrade" else []),
        ]
    if not any(point["use"] == "downgrade" for point in card["operating_points"]):
        lines += ["", "No point for downgrade: none frees 5 % of the benign exams. The node will advise nobody."]
    return "\n".join([*lines, "", f"sealed {card['seal']['sealed']}", f"{card['weights_sha256']}  {out}"])
