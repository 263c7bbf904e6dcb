"""An assessment in words for who runs the node: a table, and for every warning what was found and what to check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ..ledger import Outcome, Scanner
from .assessment import SHARES, Assessment, ScannerReport
from .comparing import Beyond, Compared

QUANTITIES: Mapping[str, tuple[str, str]] = {
    "refused": (
        "studies not analysed",
        "the reasons named; then the protocol and the names of its series, the routing, a new software of the scanner",
    ),
    "incomplete": (
        "studies that lack a sequence",
        "whether DWI and T2 are still acquired and sent, and under names that the series rules know",
    ),
    "score": (
        "score",
        "the measures of this scanner first; then the protocol, and whether other patients are examined than before. "
        "Until the cause is known, compare scores with the pathology",
    ),
    "enhancement_p99": ("strongest enhancement", "contrast injection: agent, dose, delay, pump; order of the phases"),
    "enhancement_asymmetry": (
        "enhancement over darkening",
        "contrast injection and order of the phases; noise (coil), motion",
    ),
    "enhancement_median": (
        "share of all signal that is new",
        "whether the first phase is still native; scaling between phases",
    ),
    "motion_mm": (
        "motion between the phases in mm",
        "positioning, cushions and compression, instruction of the patients; registration at the scanner",
    ),
    "fat_signal": ("brightest fat", "fat suppression: method, shim, centre frequency; coil elements"),
    "fat_unevenness": ("unevenness of fat", "fat suppression: shim, centre frequency; a coil element that fails"),
    "protrusion_mm": ("protrusion of the breasts in mm", "positioning, and the patient position that is registered"),
    "mask_volume_ml": ("analysed volume in ml", "field of view, coil, positioning"),
    "mask_fraction": ("analysed share of the field of view", "field of view, coil, positioning"),
    "canvas_scale": ("scale on the model's canvas", "field of view and matrix"),
    "phases": ("phases of the dynamic", "the protocol: number of phases; whether all of them are sent"),
}
"""Quantity -> its name for people, and what to check when it leaves its range."""
OF_A_MODEL = "the protocol, the coil, and what else changed on this scanner"


def table(assessment: Assessment) -> str:
    """Every scanner with its warnings: what `mome-node drift` prints and a digest holds."""
    return "\n".join(_lines(assessment))


def _lines(assessment: Assessment) -> Iterator[str]:
    period, days = assessment.period, (assessment.end - assessment.begin).days
    yield f"drift watch, {days} days until {assessment.end:%Y-%m-%d %H:%M} UTC"
    if period is None or assessment.since is None:
        yield "no study was observed yet"
        return
    yield f"{period.model}, weights {period.weights_sha256[:12]}, {period.software}, since {assessment.since:%Y-%m-%d}"
    yield (
        "compared with the cohort of the model file; refusals and sequences with the scanner's own first studies"
        if assessment.has_reference
        else "the model file holds no reference: each scanner is compared with its own first studies"
    )
    if assessment.not_compared:
        yield f"{assessment.not_compared} studies of these days ran under other weights or software: not compared"
    if not assessment.scanners:
        yield "no study in these days"
    for report in assessment.scanners:
        yield ""
        yield from _scanner(report)
    if assessment.scanners:
        yield ""
        number = len(assessment.warnings)
        yield f"{number} warning{'s' if number != 1 else ''}" if number else "nothing left its range"


def _scanner(report: ScannerReport) -> Iterator[str]:
    n, refused, failed = len(report.observations), *map(report.count, (Outcome.NOT_ANALYSED, Outcome.FAILED))
    yield f"{report.scanner}"
    yield (
        f"  {n} studies since {report.begin:%Y-%m-%d}; {refused} not analysed ({share(refused, n)})"
        + (f"; {failed} failed in the node" if failed else "")
    )
    if report.codes:
        yield "  reasons: " + ", ".join(f"{code} {count}" for code, count in report.codes.items())
    for one in report.compared:
        if one.quantity.startswith("score"):
            medians = f"median {_number(one.value)}, reference {_number(one.expected)}"
            yield f"  {named(one.quantity)}: {medians} (n = {one.n})"
    for one in report.warnings:
        yield f"  WARNING {sentence(one)}"
        yield f"          Check {to_check(one.quantity)}."
    inside = len(report.compared) - len(report.warnings)
    if inside:
        yield f"  {inside} quantit{'ies' if inside != 1 else 'y'} in the range"
    elif not report.compared:
        yield f"  too few studies to compare; {report.known} earlier studies of it are known"


def alarm(scanner: Scanner, one: Compared) -> str:
    """One line for the overview of the studies."""
    return f"{scanner} has left its range: {sentence(one)} See `mome-node drift`."


def sentence(one: Compared) -> str:
    """What was found, with its numbers."""
    against = "in the cohort of the model file" if one.against == "model" else "in its first studies"
    if one.quantity in SHARES:
        found = f"{round(one.value * one.n)} of {one.n} ({one.value:.0%}), {one.expected:.0%} {against}"
        return f"{named(one.quantity)}: {found}."
    medians = f"median {_number(one.value)}, {_number(one.expected)} {against}"
    return f"{named(one.quantity)}: {_limit(one.beyond, one.n)}; {medians}."


def _limit(beyond: Beyond | None, n: int) -> str:
    assert beyond is not None, "a warning is about values beyond a limit"
    return f"{beyond.count} of {n} {beyond.side} {_number(beyond.limit)}, where {beyond.share:.0%} are expected"


def named(quantity: str) -> str:
    """A quantity for people; a measure that only its model knows keeps its name."""
    kind, _, sequences = quantity.partition(" ")
    name = QUANTITIES[kind][0] if kind in QUANTITIES else kind
    return f"{name} ({sequences.replace('+', ', ')})" if sequences else name


def to_check(quantity: str) -> str:
    return QUANTITIES.get(quantity.partition(" ")[0], ("", OF_A_MODEL))[1]


def share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def _number(value: float) -> str:
    return f"{value:.3g}"


def as_json(assessment: Assessment) -> dict[str, Any]:
    """The same as plain data, for programs."""
    period = assessment.period
    return {
        "begin": _iso(assessment.begin),
        "end": _iso(assessment.end),
        "model": period.model if period else None,
        "weights_sha256": period.weights_sha256 if period else None,
        "software": period.software if period else None,
        "since": _iso(assessment.since) if assessment.since else None,
        "reference": "model" if assessment.has_reference else "first studies",
        "not_compared": assessment.not_compared,
        "scanners": [_report(report) for report in assessment.scanners],
    }


def _report(report: ScannerReport) -> dict[str, Any]:
    return {
        "scanner": str(report.scanner),
        "since": _iso(report.begin),
        "studies": len(report.observations),
        **{outcome.value: report.count(outcome) for outcome in Outcome},
        "reasons": dict(report.codes),
        "earlier_studies": report.known,
        "compared": [
            {
                "quantity": one.quantity,
                "n": one.n,
                "against": one.against,
                "value": one.value,
                "expected": one.expected,
                "p": one.p,
                "warning": sentence(one) if one in report.warnings else None,
                "check": to_check(one.quantity) if one in report.warnings else None,
            }
            for one in report.compared
        ],
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
