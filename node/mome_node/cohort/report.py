"""What became of every row and study: the flow, the reasons, the counts; as JSON for programs, as Markdown for people.

Rows are told by their line in the table, studies by pseudonym: nothing here names a patient.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..findings import rounded
from .study import Outcome
from .table import REMARKS, Matched, Row

STATUSES = ("used", "withheld", "rejected", "failed")
MEANING = {
    "used": "arrays, inside the evaluated range",
    "withheld": "arrays, outside the evaluated range or the quality limits",
    "rejected": "no arrays, for a reason of the exam or of its rows",
    "failed": "no arrays, the software or the PACS could not",
}
Case = tuple[Mapping[str, str], Outcome]
"""The columns of a case as texts, and what became of its study."""


def document(
    cases: Sequence[Case],
    rows: Sequence[Row],
    matched: Matched,
    counted: Sequence[str],
    *,
    source: str,
    synthetic: bool,
    made: Mapping[str, Any],
) -> dict[str, Any]:
    """The report as plain data. `counted`: columns whose values are counted."""
    remarks = {code: {"words": REMARKS[code], "lines": list(lines)} for code, lines in sorted(matched.remarks.items())}
    values = {column: _by_status(cases, [line.get(column) or "" for line, _ in cases]) for column in counted}
    return {
        "synthetic": synthetic,
        "source": source,
        "made": dict(made),
        "flow": {
            "studies_found": len(matched.labelled) + len(matched.without_row),
            "studies_without_row": len(matched.without_row),
            "rows": len(rows),
            "rows_without_study": len(matched.remarks.get("NO_SUCH_STUDY", ())),
            "rows_ambiguous": len(matched.remarks.get("ACCESSION_AMBIGUOUS", ())),
            "cases": len(cases),
            "patients": len({line["patient"] for line, _ in cases}),
            **{status: sum(outcome.status == status for _, outcome in cases) for status in STATUSES},
        },
        "reasons": {
            status: dict(Counter(reason for _, o in cases if o.status == status for reason in o.reasons).most_common())
            for status in STATUSES[1:]
        },
        "sequences": _by_status(cases, ["+".join(outcome.sequences) for _, outcome in cases]),
        "counts": {**values, "sex": _by_status(cases, [outcome.sex for _, outcome in cases])},
        "remarks": remarks,
    }


def _by_status(cases: Sequence[Case], values: Iterable[str]) -> dict[str, dict[str, int]]:
    """Value -> status -> number; the empty value is one, too: not known."""
    found: dict[str, Counter[str]] = {}
    for (_, outcome), value in zip(cases, values, strict=True):
        found.setdefault(value, Counter())[outcome.status] += 1
    return {value: dict(found[value]) for value in sorted(found)}


# ------------------------------------------------------------------ for people
def markdown(said: Mapping[str, Any]) -> str:
    """The report of `document` in Markdown."""
    flow = said["flow"]
    title = "# Synthetic cohort" if said["synthetic"] else "# Cohort"
    steps: list[tuple[str, int]] = [
        ("studies found", flow["studies_found"]),
        ("of these without a row in the table, not looked at", flow["studies_without_row"]),
        ("rows in the table", flow["rows"]),
        ("of these naming no study at hand", flow["rows_without_study"]),
        ("of these with an ambiguous accession number", flow["rows_ambiguous"]),
        ("cases: studies with a row", flow["cases"]),
        ("patients", flow["patients"]),
        *((f"{status}: {MEANING[status]}", flow[status]) for status in STATUSES),
    ]
    parts = [title, "", _table(("Flow", "n"), steps)]
    if said["synthetic"]:
        parts.insert(2, "All exams are synthetic phantoms: no patients.\n")
    for status in STATUSES[1:]:
        if reasons := said["reasons"][status]:
            parts += [f"## Why {status}", "", "An exam may have several reasons.", "",
                      _table(("Reason", "n"), reasons.items())]  # fmt: skip
    if said["remarks"]:
        remarks = [(code, one["words"], ", ".join(map(str, one["lines"]))) for code, one in said["remarks"].items()]
        parts += ["## Rows to look at", "", _table(("Code", "What", "Lines of the table"), remarks)]
    parts += ["## Sequences at hand", "", _counts("Sequences", said["sequences"])]
    for column, values in said["counts"].items():
        if values.keys() <= {""}:
            continue
        parts += [f"## {column}", "", _counts(column, values)]
    made = [(name, value) for name, value in said["made"].items()]
    return "\n".join([*parts, "## How it was made", "", _table(("What", "Value"), made)])


def in_short(said: Mapping[str, Any]) -> str:
    """A line for the command's end, and one for each reason."""
    flow = said["flow"]
    numbers = ", ".join(f"{flow[status]} {status}" for status in STATUSES)
    lines = [f"{flow['rows']} rows, {flow['studies_found']} studies, {flow['cases']} cases: {numbers}"]
    lines += [
        f"  {status}: {reason} ({number})"
        for status in STATUSES[1:]
        for reason, number in said["reasons"][status].items()
    ]
    lines += [
        f"  {code} (lines {', '.join(map(str, one['lines']))}): {one['words']}" for code, one in said["remarks"].items()
    ]
    return "\n".join(lines)


def _counts(what: str, values: Mapping[str, Mapping[str, int]]) -> str:
    rows = [
        (value or "not known", *(numbers.get(status, 0) for status in STATUSES)) for value, numbers in values.items()
    ]
    return _table((what, *STATUSES), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def write_quality(path: Path, cases: Sequence[Case]) -> None:
    """The node's and the model's quality measures of every case that has any, one line each."""
    names = sorted({name for _, outcome in cases for name in outcome.measures})
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["case", *names])
        for line, outcome in cases:
            measures = rounded(dict(outcome.measures))
            table.writerow([line["case"], *(measures.get(name, "") for name in names)])
