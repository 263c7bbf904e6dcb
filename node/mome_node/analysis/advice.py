"""BI-RADS 4 downgrade advice about the whole exam: a table of rules, each with its own reason.

The advice is CANDIDATE or NO_SUPPORT only when no rule withholds it; WITHHELD names *all* the rules that do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..findings import Advice, ExamScore, Findings, ModelCard, OperatingPoint, Problem, Reason
from ..settings import AdviceMode
from . import known_category

DOWNGRADABLE = ("4", "4A", "4B")
"""BI-RADS categories that the advice may speak about (category 4 without a letter, 4A, 4B)."""


NOT_A_RANGE = frozenset({"n", "note"})
"""Keys of a card's evaluated range that describe the others."""


@dataclass(frozen=True, slots=True)
class Case:
    """What the rules look at."""

    score: ExamScore
    problems: Sequence[Problem]
    category: str | None  # BI-RADS category a person gave for this exam
    card: ModelCard
    exam: Mapping[str, Any] = field(default_factory=dict)  # facts of the exam, keys as in card.evaluated_range
    exclusions: Sequence[Reason] = ()  # what requests and descriptions say in words (exclusions.stated)
    synthetic_demonstration: bool = False  # a phantom of this node's own generator, and the site asked for the showing


def advise(case: Case) -> Advice:
    """The advice for a scored exam."""
    reasons = tuple(reason for rule in RULES for reason in rule(case))
    if reasons:
        return Advice("WITHHELD", reasons)
    assert case.score.operating_point is not None
    below = case.score.score <= case.score.operating_point.threshold
    return Advice("CANDIDATE" if below else "NO_SUPPORT", (), marked_demonstration=case.synthetic_demonstration)


def operating_point(card: ModelCard, target: str, made: Mapping[str, Any]) -> OperatingPoint | None:
    """The operating point frozen for downgrade, for this target and exactly this way of making the score; None
    otherwise, never the nearest one."""
    point = _frozen(card, target, made)
    if point is None:
        return None
    return OperatingPoint(**{name: point[name] for name in OperatingPoint.__dataclass_fields__})


def _frozen(card: ModelCard, target: str, made: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The card's own entry; points at stated sensitivities are for comparison and advise nobody."""
    key = {**made, "sequences": list(made["sequences"])}
    for point in card.operating_points:
        if point.get("use", "downgrade") == "downgrade" and point["target"] == target and point["key"] == key:
            return point
    return None


def shown(findings: Findings, mode: AdviceMode) -> Findings:
    """The findings as a destination shows them: without advice where it is `never` shown, or `after_reading` and no
    report of this exam has come.
    """
    read = findings.category_source == known_category.REPORT
    if mode == "with_result" or (mode == "after_reading" and read):
        return findings
    return replace(findings, advice=None)


# ------------------------------------------------------------------ the table
def problem_found(case: Case) -> list[Reason]:
    """A problem of the exam that makes advice unsafe (PROBLEM_CODES: blocks_advice)."""
    return [Reason(problem.code, problem.message) for problem in case.problems if problem.blocks_advice]


def no_operating_point(case: Case) -> list[Reason]:
    """No threshold was frozen for this combination of sequences, augmentation, numeric type and preprocessing."""
    if case.score.operating_point is not None:
        return []
    sequences = " + ".join(name.upper() for name in case.score.made["sequences"])
    return [Reason("NO_OPERATING_POINT", f"The weights hold no operating point for a score made from {sequences}.")]


def claim_not_shown(case: Case) -> list[Reason]:
    """The operating point rests on synthetic exams, or on too few to claim that few of the downgraded are cancers."""
    point = _frozen(case.card, case.score.target, case.score.made)
    if point is None or case.synthetic_demonstration:
        return []
    if "synthetic" in str(point["cohort"]).lower():
        return [Reason("CLAIM_NOT_SHOWN", "The operating point was fixed on synthetic exams, not on patients.")]
    claim = point.get("claim")
    if not isinstance(claim, Mapping):
        return [Reason("CLAIM_NOT_SHOWN", "The operating point does not say on how many downgraded exams it rests.")]
    return (
        [] if claim.get("supported") is True else [Reason("CLAIM_NOT_SHOWN", str(claim.get("words") or "Not shown."))]
    )


def outside_evaluated_range(case: Case) -> list[Reason]:
    """The exam differs from everything the model was evaluated on, or the card does not say on what it was."""
    ranges = {name: r for name, r in case.card.evaluated_range.items() if r is not None and name not in NOT_A_RANGE}
    if "dwi" not in case.score.made["sequences"]:
        ranges.pop("b_value", None)  # of a sequence that the score does not rest on
    if not ranges:
        return [Reason("OUTSIDE_EVALUATED_RANGE", "The model's card states no range of exams it was evaluated on.")]
    return [
        Reason("OUTSIDE_EVALUATED_RANGE", f"{name.replace('_', ' ')} {_words(case.exam.get(name))}: evaluated {words}.")
        for name, allowed in ranges.items()
        if (words := _outside(case.exam.get(name), allowed)) is not None
    ]


def category_unknown(case: Case) -> list[Reason]:
    """Nobody gave a BI-RADS category for this exam."""
    if case.category is not None:
        return []
    return [Reason("CATEGORY_UNKNOWN", "No BI-RADS category of this exam is known to the node.")]


def category_not_4(case: Case) -> list[Reason]:
    """The advice is about category 4, 4A and 4B only."""
    if case.category is None or case.category in DOWNGRADABLE:
        return []
    return [Reason("CATEGORY_NOT_4", f"The known category is {case.category}; the advice is about 4, 4A and 4B only.")]


def excluded_in_words(case: Case) -> list[Reason]:
    """The request or a description speaks of surgery, biopsy, an implant, ...: exams that the advice is not about."""
    return list(case.exclusions)


def not_evaluated_on_patients(case: Case) -> list[Reason]:
    """Weights that no patient's exam was tried on advise nobody; a marked showing on own phantoms is the exception."""
    if case.card.evaluated_on_patients or case.synthetic_demonstration:
        return []
    return [Reason("NOT_EVALUATED_ON_PATIENTS", f"These weights were not evaluated on patients: {case.card.status}.")]


RULES: tuple[Callable[[Case], list[Reason]], ...] = (
    problem_found,
    not_evaluated_on_patients,
    no_operating_point,
    claim_not_shown,
    outside_evaluated_range,
    category_unknown,
    category_not_4,
    excluded_in_words,
)


def _outside(value: Any, allowed: Any) -> str | None:
    """What was evaluated, in words, when `value` lies outside it; None when inside.

    Ranges: {"min": a, "max": b} for numbers, {"values": [...]} for names; an unknown value lies outside, and so does
    every value of a range that is neither.
    """
    if isinstance(allowed, Mapping) and "values" in allowed:
        inside = value in allowed["values"]
        return None if inside else ", ".join(map(str, allowed["values"])) or "none"
    if isinstance(allowed, Mapping) and {"min", "max"} <= allowed.keys():
        inside = value is not None and allowed["min"] <= value <= allowed["max"]
        return None if inside else f"{allowed['min']:g} to {allowed['max']:g}"
    return "in a way that this node cannot read"


def _words(value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:g}" if isinstance(value, float) else str(value)
