"""The command `mome power`: how many exams the claim of a downgrade needs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

FRACTION = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command()
@click.option("--missed", default=0.02, show_default=True, type=FRACTION, help="Largest share of cancers claimed.")
@click.option("--confidence", default=0.95, show_default=True, type=FRACTION, help="One-sided.")
@click.option("--missed-observed", default=0, show_default=True, type=click.IntRange(0), help="Cancers among them.")
@click.option("--cohort", type=click.Path(path_type=Path, file_okay=False), help="What this tuning cohort supports.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def power(missed: float, confidence: float, missed_observed: int, cohort: Path | None, as_json: bool) -> None:
    """Say how many downgraded exams it takes to claim that few of them are cancers."""
    from ..cohort import CohortError, load
    from ..evaluation import power as claims

    wanted = claims.needed(missed_observed, missed, confidence)
    result: dict[str, Any] = {
        "missed": missed,
        "confidence": confidence,
        "missed_observed": missed_observed,
        "downgraded": wanted,
        "table": claims.table(max(5, missed_observed), missed, confidence),
        "benign_at_the_papers_share_freed": math.ceil((wanted - missed_observed) / claims.FREED_IN_PAPER),
    }
    if cohort is not None:
        try:
            result["cohort"] = claims.of_cohort([*load(cohort).cases], missed, confidence)
        except CohortError as error:
            raise click.ClickException(str(error)) from error
    click.echo(json.dumps(result, indent=1) if as_json else told(result))


def told(result: dict[str, Any]) -> str:
    """For people."""
    from ..evaluation.power import FREED_IN_PAPER, percent

    claimed, sure = percent(result["missed"]), percent(result["confidence"])
    lines = [
        f"At most {claimed} cancers among downgraded BI-RADS 4 exams, with {sure} confidence (one-sided, exact):",
        f"{result['downgraded']} downgraded exams, of which {result['missed_observed'] or 'none'} malignant.",
        "",
        "cancers among them   downgraded exams needed",
        *(f"{row['cancers']:>18}   {row['downgraded']:>23}" for row in result["table"]),
        "",
        f"Where {percent(FREED_IN_PAPER)} of the benign exams are downgraded, as in the paper, that takes "
        f"{result['benign_at_the_papers_share_freed']} benign BI-RADS 4 exams.",
    ]
    if found := result.get("cohort"):
        lines += ["", f"This cohort: {found['benign']} benign and {found['cancers']} malignant BI-RADS 4 exams."]
        if found["freed_at_least"] is None:
            limit = percent(found["upper_limit_at_best"])
            lines += [f"It cannot support the claim: all benign ones downgraded, the upper limit were {limit}."]
        else:
            share = percent(found["freed_at_least"])
            lines += [f"It can, with a point that frees {share} of the benign ones and misses no cancer."]
    return "\n".join(lines)
