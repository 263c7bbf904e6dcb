"""Synthetic hospitals for the drift watch: how often it is wrong, after how many studies it sees a change, as tables.

    python -m tests.node.drift_simulation [HOSPITALS]

Scores and measures are drawn from plain distributions about as wide as those of the synthetic exams; no image is made.
The figures of docs/drift.md are made by this command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np

from mome_node.drift.assessment import Assessment, assess
from mome_node.drift.comparing import LEVELS
from mome_node.findings import ModelCard
from mome_node.ledger import Observation, Outcome, Scanner
from mome_node.settings import Drift

BEGIN = datetime(2025, 1, 6, tzinfo=UTC)  # a Monday
WEIGHTS, SEQUENCES = "5a" * 32, "dce+dwi+t2"
SCANNERS = tuple(Scanner("SYNTHETIC", "Phantom", tesla, f"0000000{tesla:.0f}") for tesla in (1.5, 3.0))
TYPICAL = {  # median and spread (sigma of the logarithm)
    "enhancement_p99": (4.1, 0.25),
    "enhancement_asymmetry": (15.0, 0.45),
    "enhancement_median": (0.13, 0.15),
    "motion_mm": (0.6, 0.45),
    "fat_signal": (0.53, 0.05),
    "fat_unevenness": (1.14, 0.04),
    "protrusion_mm": (46.0, 0.25),
    "mask_volume_ml": (900.0, 0.4),
    "mask_fraction": (0.1, 0.3),
}
REFUSED, INCOMPLETE = 0.04, 0.05

Change = Callable[[dict[str, Any], np.random.Generator], None]
"""What goes wrong with a study, drawn as {measure: value, "score": ..., "refused": ..., "sequences": ...}."""


# ------------------------------------------------------------------ studies
def drawn(rng: np.random.Generator) -> dict[str, Any]:
    measures = {name: float(median * np.exp(spread * rng.normal())) for name, (median, spread) in TYPICAL.items()}
    measures["phases"] = float(rng.choice([5, 6], p=[0.1, 0.9]))
    return {
        **measures,
        "score": float(rng.beta(0.8, 1.6)),
        "refused": rng.random() < REFUSED,
        "sequences": "dce+t2" if rng.random() < INCOMPLETE else SEQUENCES,
    }


def observation(number: int, at: datetime, study: Mapping[str, Any], **changes: Any) -> Observation:
    """The row of one study as the ledger keeps it."""
    refused = study["refused"]
    measures = {name: value for name, value in study.items() if name not in ("score", "refused", "sequences")}
    usual: dict[str, Any] = {
        "study_instance_uid": f"1.2.826.{number}",
        "generation": "generation",
        "analysis_id": f"1.2.826.{number}/generation/identity",
        "received_at": at,
        "model": "MOME 0.1.0",
        "weights_sha256": WEIGHTS,
        "software": "mome-node 0.1.0",
        "making": "none float32",
        "scanner": SCANNERS[0],
        "outcome": Outcome.NOT_ANALYSED if refused else Outcome.ANALYSED,
        "codes": ("NO_DCE",) if refused else (),
        "sequences": "" if refused else study["sequences"],
        "target": "" if refused else "malignancy",
        "scores": {} if refused else {"malignancy": study["score"]},
        "measures": {} if refused else measures,
    }
    return Observation(**{**usual, **changes})


def hospital(
    seed: int, days: int, a_week: float = 20, change: Change | None = None, after: int = 0
) -> list[Observation]:
    """`a_week` studies of each of two scanners; from day `after` on, `change` befalls those of the first."""
    rng = np.random.default_rng(seed)
    found: list[Observation] = []
    for day in range(days):
        for which, scanner in enumerate(SCANNERS):
            for _ in range(rng.poisson(a_week / 5) if day % 7 < 5 else 0):
                study = drawn(rng)
                if change is not None and which == 0 and day >= after:
                    change(study, rng)
                at = BEGIN + timedelta(days=day, hours=8, minutes=len(found) % 600)
                found.append(observation(len(found), at, study, scanner=scanner))
    return found


def card(n: int = 400, seed: int = 99) -> ModelCard:
    """A model whose cohort is like the hospital's patients: `n` of them, with their distributions."""
    rng = np.random.default_rng(seed)
    cohort = [drawn(rng) for _ in range(n)]

    def entry(name: str) -> dict[str, Any]:
        values = np.quantile([study[name] for study in cohort], LEVELS)
        return {"n": n, "quantiles": {f"{q:g}": float(value) for q, value in zip(LEVELS, values, strict=True)}}

    return ModelCard(
        name="MOME",
        version="0.1.0",
        weights_sha256=WEIGHTS,
        status="synthetic",
        trained_on="synthetic phantoms",
        evaluated_on_patients=False,
        roles=(),
        targets=(),
        preprocessing={},
        operating_points=(),
        evaluated_range={},
        quality_limits={},
        distributions={
            "score": {SEQUENCES: entry("score")},
            "quality": {name: entry(name) for name in [*TYPICAL, "phases"]},
        },
    )


# ------------------------------------------------------------------ what goes wrong
def motion_doubled(study: dict[str, Any], rng: np.random.Generator) -> None:
    study["motion_mm"] *= 2


def fat_suppression_fails(study: dict[str, Any], rng: np.random.Generator) -> None:
    """In every second study, as where one element of the coil or the shim fails now and then."""
    if rng.random() < 0.5:
        study["fat_signal"] *= 1.6
        study["fat_unevenness"] *= 1.5


def a_quarter_refused(study: dict[str, Any], rng: np.random.Generator) -> None:
    study["refused"] = study["refused"] or rng.random() < 0.25


def half_refused(study: dict[str, Any], rng: np.random.Generator) -> None:
    study["refused"] = study["refused"] or rng.random() < 0.5


def phases_five(study: dict[str, Any], rng: np.random.Generator) -> None:
    study["phases"] = 5.0


def enhancement_weak(study: dict[str, Any], rng: np.random.Generator) -> None:
    study["enhancement_p99"] *= 0.6
    study["enhancement_median"] *= 0.6


def diffusion_not_sent(study: dict[str, Any], rng: np.random.Generator) -> None:
    study["sequences"] = "dce+t2"


def scores_high(study: dict[str, Any], rng: np.random.Generator) -> None:
    study["score"] = study["score"] ** 0.4


CHANGES: tuple[Change, ...] = (
    motion_doubled,
    fat_suppression_fails,
    half_refused,
    a_quarter_refused,
    phases_five,
    enhancement_weak,
    diffusion_not_sent,
    scores_high,
)


# ------------------------------------------------------------------ how the watch does
def day_by_day(
    observed: list[Observation], known: ModelCard | None, first: int, last: int, step: int = 1
) -> list[Assessment]:
    """Assessments at the midnights of these days."""
    return [assess(observed, known, Drift(), BEGIN + timedelta(days=day)) for day in range(first, last, step)]


def studies_until_warning(change: Change, seed: int, known: ModelCard | None, a_week: float = 20) -> int | None:
    """Studies of the first scanner between the change and its first warning; None: none within eight weeks."""
    after = round(7 * 60 / a_week)  # by then both scanners have a baseline
    observed = hospital(seed, after + 56, a_week, change, after)
    for day in range(after + 1, after + 57):
        end = BEGIN + timedelta(days=day)
        if any(scanner == SCANNERS[0] for scanner, _ in assess(observed, known, Drift(), end).warnings):
            changed = BEGIN + timedelta(days=after)
            return sum(one.scanner == SCANNERS[0] and changed <= one.received_at < end for one in observed)
    return None


def main(hospitals: int) -> None:
    for known, against in ((card(), "the cohort of the model file"), (None, "their own first studies")):
        print(f"compared with {against}")
        for a_week in (4, 20):
            alarms = days = openings = 0
            for seed in range(hospitals):
                open_ones = [bool(a.warnings) for a in day_by_day(hospital(seed, 365, a_week), known, 1, 366)]
                alarms, days = alarms + sum(open_ones), days + len(open_ones)
                openings += sum(now and not before for before, now in pairwise([False, *open_ones]))
            years = days / 365
            wrong = f"{openings / years:.2f} warnings opened, {alarms / years:.2f} days a year"
            print(f"  unchanged, {a_week} a week: {wrong} ({years:.0f} years)")
        for change in CHANGES:
            for a_week in (4, 20):
                until = [studies_until_warning(change, seed, known, a_week) for seed in range(hospitals)]
                seen = sorted(n for n in until if n is not None)
                found = f"median {seen[len(seen) // 2]}, most {seen[-1]} studies" if seen else "-"
                print(f"  {change.__name__}, {a_week} a week: seen in {len(seen)} of {hospitals}; {found}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
