"""How scores and measures of quality were distributed where weights were tuned: what a node's own exams are held
against, and where limits of quality come from."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .cohort import Case, CohortError

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
LEAST = 20
"""Exams of a site or scanner from which its own quantiles are told."""
Values = npt.NDArray[np.floating]  # (N,), NaN where an exam has none
Groups = Mapping[str, npt.NDArray[np.bool_]]  # by name, (N,): which exams belong to it


def groups_of(cases: Sequence[Case]) -> dict[str, npt.NDArray[np.bool_]]:
    """All exams, and those of each site ("site: NAME") and scanner ("scanner: VENDOR 3 T"), where known."""
    groups = {"all": np.ones(len(cases), bool)}
    for name in sorted({name for case in cases for name in names_of(case)}):
        groups[name] = np.array([name in names_of(case) for case in cases], bool)
    return groups


def names_of(case: Case) -> list[str]:
    names = [f"site: {case.site}"] if case.site else []
    if case.vendor and case.field_strength_t:
        names.append(f"scanner: {case.vendor} {case.field_strength_t:g} T")
    return names


def of_groups(values: Values, groups: Groups) -> dict[str, Any]:
    """{"n", "quantiles": {"0.01": ...}} of all exams that have a value, and under "by" the same of every other group
    with `LEAST` of them; empty where no exam has one."""
    told = {name: quantiles(values[rows & np.isfinite(values)]) for name, rows in groups.items()}
    every = told.pop("all")
    by = {name: found for name, found in told.items() if found["n"] >= LEAST}
    return {**every, "by": by} if every["n"] else {}


def quantiles(values: Values) -> dict[str, Any]:
    found = np.quantile(values, LEVELS).tolist() if len(values) else []
    return {"n": len(values), "quantiles": {f"{q:g}": round(v, 6) for q, v in zip(LEVELS, found, strict=False)}}


def read_quality(path: Path, cases: Sequence[Case]) -> dict[str, Values]:
    """Measures (N,) by name in the order of `cases`, from a table with the column `case` and one for each measure.

    Raises CohortError for a table without that column, or of other cases.
    """
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        names = [name for name in table.fieldnames or () if name != "case"]
        if "case" not in (table.fieldnames or ()):
            raise CohortError(f"{path.name} has no column `case`: it is no table of measures.")
        lines = {line["case"]: line for line in table}
    if not any(case.case in lines for case in cases):
        raise CohortError(f"{path.name} names no case of this cohort: it is of another one.")
    try:
        found = {n: np.array([float(lines.get(c.case, {}).get(n) or "nan") for c in cases]) for n in names}
    except ValueError as error:
        raise CohortError(f"{path.name}: {error}.") from error
    return {name: values for name, values in found.items() if np.isfinite(values).any()}
