"""The evaluated range of a card, from a cohort: on which exams the weights were tried, fact by fact, with the n."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .cohort import Cohort, CohortError

FACTS = "facts.csv"
"""Beside `cases.csv`: the column `case` and one for each fact of an exam that no case has."""
NAMED = ("vendor", "plane", "laterality", "field_strength_t", "b_value")  # told as the values that occurred
MEASURED = ("phases", "last_phase_seconds", "age")  # told from the least to the greatest


def evaluated_range(folder: Path, cohort: Cohort) -> dict[str, Any]:
    """{"fact": {"values": [...]} or {"min", "max"}, each with "n", the exams of which it is known; "n"; "note"}.

    Of facts that nobody noted no value counts as evaluated: the node then withholds advice, and says of which fact.
    """
    table = read_facts(folder / FACTS)
    facts: dict[str, list[Any]] = {name: [] for name in (*NAMED, *MEASURED)}
    for case in cohort.cases:
        noted = table.get(case.case, {})
        for name, values in facts.items():
            value = getattr(case, name, None) or noted.get(name)
            if value not in (None, ""):
                values.append(value)
    told: dict[str, Any] = {name: named(facts[name]) for name in NAMED}
    told |= {name: measured(facts[name]) for name in MEASURED}
    unknown = [name for name, values in facts.items() if not values]
    if not facts["age"]:
        told["age"] = None  # the node knows no age either, and checks none
    note = f"Of {cohort.words}." + (f" Not noted: {', '.join(unknown)}." if unknown else "")
    return {**told, "n": len(cohort), "note": note}


def read_facts(path: Path) -> dict[str, dict[str, str]]:
    """Lines by case; none where there is no such table."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    if lines and "case" not in lines[0]:
        raise CohortError(f"{path.name} has no column `case`: it is no table of facts.")
    return {line["case"]: line for line in lines}


def named(values: Sequence[Any]) -> dict[str, Any]:
    return {"values": sorted({as_number(value) for value in values}, key=str), "n": len(values)}


def measured(values: Iterable[Any]) -> dict[str, Any]:
    numbers = [float(value) for value in values]
    return {"min": min(numbers), "max": max(numbers), "n": len(numbers)} if numbers else {"values": [], "n": 0}


def as_number(value: Any) -> Any:
    """A number where the text is one: 800, 1.5."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value
    return int(number) if number.is_integer() else number
