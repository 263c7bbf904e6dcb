"""A TID 1500 report as plain text, read from the object itself: what a text viewer of any archive shows of it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from pydicom.dataset import Dataset

WIDTH = 100
MEASUREMENT_GROUP, FINDING = "125007", "121071"
REPEATED = frozenset({"112039", "112040", "111000", "111001", "111002", "111003"})  # tracking and algorithm, per group


def text(ds: Dataset) -> str:
    """The report `ds` in lines of at most 100 characters: its title, then each group under what it is about.

    Identifiers, images and the algorithm, which stand in every group, are left out.
    """
    lines = [_name(ds), ds.SeriesDescription]
    for group in _groups(ds):
        said: dict[str, list[str]] = {}
        for item in group.ContentSequence:
            if _code(item) not in REPEATED | {FINDING} and (value := _value(item)):
                said.setdefault(_name(item), []).append(value)
        lines += ["", next(_value(item) for item in group.ContentSequence if _code(item) == FINDING)]
        for name, values in said.items():
            lines += _written(name, values)
    return "\n".join(lines) + "\n"


def _groups(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        if _code(child) == MEASUREMENT_GROUP:
            yield child
        yield from _groups(child)


def _written(name: str, values: list[str]) -> list[str]:
    """ "name: value", or the values below their name where there are several."""
    if len(values) == 1:
        return textwrap.wrap(f"{name}: {values[0]}", WIDTH, initial_indent="  ", subsequent_indent="    ")
    lines = [f"  {name}:"]
    for value in values:
        lines += textwrap.wrap(value, WIDTH, initial_indent="    - ", subsequent_indent="      ")
    return lines


def _value(item: Dataset) -> str:
    """Text, coded meaning, or number with its unit; "" for what has no words."""
    if item.ValueType == "TEXT":
        return str(item.TextValue)
    if item.ValueType == "CODE":
        return str(item.ConceptCodeSequence[0].CodeMeaning)
    if item.ValueType == "NUM":
        measured = item.MeasuredValueSequence[0]
        unit = measured.MeasurementUnitsCodeSequence[0]
        return f"{measured.NumericValue}{'' if unit.CodeValue == '1' else ' ' + unit.CodeMeaning}"
    return ""


def _code(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeValue) if names else ""


def _name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)
