"""The table of labels, and which of its rows belongs to which study: doubt leaves a study out, and is told.

A wrong label is worse than none: what table and images say of one another must agree.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import NodeError
from ..receive.identity import is_valid_uid
from .seam import CohortMaker

STUDY, ACCESSION, PATIENT = KEYS = ("study_instance_uid", "accession_number", "patient_id")
MOST_TOLD = 10  # slips that one message names

REMARKS: Mapping[str, str] = {
    "NO_SUCH_STUDY": "The row names no study at hand.",
    "ACCESSION_AMBIGUOUS": "Several studies at hand have this accession number: name the study_instance_uid.",
    "ROW_TWICE": "Several rows name the same study, and agree.",
    "ROWS_CONTRADICT": "Several rows name the same study, and contradict each other: it is rejected.",
    "TABLE_CONTRADICTS_IMAGES": "Patient or accession number of the row are not those of the images: it is rejected.",
    "NO_PATIENT_ID": "Neither the row nor the images name the patient, who might be on both sides of a split: the "
    "study is rejected. Give a patient_id.",
    "PATIENT_LABELS_DIFFER": "Exams of one patient have different answers. That may be right; they are kept.",
}
"""What a report says of rows, by code. Those that reject a study are its reasons, too."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; empty text: not given."""

    line: int
    study: str
    accession: str
    patient: str
    labels: Mapping[str, str]  # as in the table, empty ones left out


@dataclass(frozen=True, slots=True)
class AtHand:
    """A study that a source has, as its images or its PACS tell it."""

    study: str
    patient: str  # Patient ID
    accession: str
    content: str  # changes when images come or go


@dataclass(frozen=True, slots=True)
class Labelled:
    """A study at hand with what the table says of it."""

    study: AtHand
    patient: str
    labels: Mapping[str, str]
    lines: tuple[int, ...]
    refused: tuple[str, ...] = ()  # codes of REMARKS


@dataclass(frozen=True, slots=True)
class Matched:
    labelled: tuple[Labelled, ...]
    without_row: tuple[AtHand, ...]
    remarks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # code -> lines of the table


# ------------------------------------------------------------------ reading
def read(path: Path, maker: CohortMaker) -> list[Row]:
    """Raises NodeError for unknown columns and for values that mean nothing, naming each; never what a value is worth
    protecting: keys are told by their line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            table = csv.DictReader(file, delimiter=";" if ";" in first and "," not in first else ",", strict=True)
            columns = [column.strip() for column in table.fieldnames or ()]
            _check_columns(path, columns, maker)
            table.fieldnames = columns
            rows = [(table.line_num, line) for line in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NodeError(
            f"{path} is no table of labels: {error}.", remedy="Save it as CSV, UTF-8, with a line of column names."
        ) from error
    slips: list[str] = []
    read_rows = []
    for number, line in rows:
        if None in line or None in line.values():
            slips.append(f"line {number}: as many values as columns, please")
            continue
        texts = {name: text.strip() for name, text in line.items()}
        if any(texts.values()):
            slips += _slips(texts, number, maker)
            labels = {name: text for name, text in texts.items() if name not in KEYS and text}
            study, accession, patient = (texts.get(key, "") for key in KEYS)
            read_rows.append(Row(number, study, accession, patient, labels))
    if slips:
        more = f" (and {len(slips) - MOST_TOLD} more)" if len(slips) > MOST_TOLD else ""
        raise NodeError(f"{path.name}: {'; '.join(slips[:MOST_TOLD])}{more}.", remedy="Mend these lines.")
    return read_rows


def _check_columns(path: Path, columns: Sequence[str], maker: CohortMaker) -> None:
    prefixes = tuple(maker.column_prefixes)
    known = {*KEYS, *maker.columns}
    unknown = [c for c in columns if c not in known and not (c.startswith(prefixes) and c not in prefixes)]
    twice = sorted({c for c in columns if columns.count(c) > 1})
    every = ", ".join([*KEYS, *maker.columns, *(f'"{prefix}NAME"' for prefix in prefixes)])
    if unknown or twice:
        what = [f"unknown columns: {', '.join(map(repr, unknown))}"] if unknown else []
        what += [f"columns twice: {', '.join(twice)}"] if twice else []
        raise NodeError(f"{path.name}: {'; '.join(what)}.", remedy=f"Known are {every}.")
    if not {STUDY, ACCESSION} & set(columns):
        raise NodeError(f"{path.name} names no study.", remedy=f"Give a column {STUDY} or {ACCESSION}.")


def _slips(texts: Mapping[str, str], number: int, maker: CohortMaker) -> Iterable[str]:
    study, accession = texts.get(STUDY, ""), texts.get(ACCESSION, "")
    if not study and not accession:
        yield f"line {number}: neither {STUDY} nor {ACCESSION}"
    if study and not is_valid_uid(study):
        yield f"line {number}: the {STUDY} is no UID"
    if set(accession) & set("*?\\"):
        yield f"line {number}: an {ACCESSION} has no *, ? or backslash"  # a PACS takes them for wildcards
    for name, text in texts.items():
        if name not in KEYS and text:
            try:
                maker.check({name: text}, f"line {number}")
            except ValueError as error:
                yield str(error).rstrip(".")


# ------------------------------------------------------------------ rows and studies
def match(rows: Sequence[Row], studies: Sequence[AtHand], maker: CohortMaker) -> Matched:
    """Which rows belong to which study, and what a person should know about the rows."""
    remarks: dict[str, list[int]] = {}
    of_study: dict[str, list[Row]] = {}
    for row in rows:
        found = [s for s in studies if (s.study == row.study if row.study else s.accession == row.accession)]
        if len(found) == 1:
            of_study.setdefault(found[0].study, []).append(row)
        else:
            remarks.setdefault("ACCESSION_AMBIGUOUS" if found else "NO_SUCH_STUDY", []).append(row.line)
    labelled = [_labelled(study, of_study[study.study]) for study in studies if study.study in of_study]
    for one in labelled:
        for code in one.refused or (("ROW_TWICE",) if len(one.lines) > 1 else ()):
            remarks.setdefault(code, []).extend(one.lines)
    differing = _differing(labelled, maker.of_the_patient)
    if differing:
        remarks["PATIENT_LABELS_DIFFER"] = differing
    without = tuple(study for study in studies if study.study not in of_study)
    return Matched(tuple(labelled), without, {code: tuple(sorted(set(lines))) for code, lines in remarks.items()})


def _labelled(study: AtHand, rows: Sequence[Row]) -> Labelled:
    """What all rows of a study say together; values that contradict each other are left out."""
    said: dict[str, set[str]] = {}
    for row in rows:
        for name, text in {**row.labels, PATIENT: row.patient, ACCESSION: row.accession}.items():
            said.setdefault(name, set()).update({text} - {""})
    told = {name: values.pop() for name, values in said.items() if len(values) == 1}
    refused = [] if all(len(values) < 2 for values in said.values()) else ["ROWS_CONTRADICT"]
    patient, accession = told.pop(PATIENT, ""), told.pop(ACCESSION, "")
    if (patient and study.patient and patient != study.patient) or (
        accession and study.accession and accession != study.accession
    ):
        refused.append("TABLE_CONTRADICTS_IMAGES")
    if not patient and not study.patient:
        refused.append("NO_PATIENT_ID")
    lines = tuple(row.line for row in rows)
    return Labelled(study, patient or study.patient, told, lines, tuple(refused))


def _differing(labelled: Iterable[Labelled], columns: Sequence[str]) -> list[int]:
    """Lines of patients whose exams differ in one of these columns."""
    of_patient: dict[str, list[Labelled]] = {}
    for one in labelled:
        of_patient.setdefault(one.patient, []).append(one)
    return [
        line
        for patient, exams in of_patient.items()
        if patient and any(len({e.labels[c] for e in exams if c in e.labels}) > 1 for c in columns)
        for exam in exams
        for line in exam.lines
    ]
