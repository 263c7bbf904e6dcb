"""No leakage: what weights saw in training and tuning must not come back in the exams that judge them.

`seen.csv` lies beside the weights (`NAME.seen.csv` beside `NAME.safetensors`, `seen.csv` in a model folder): one line
for every exam that training or tuning used, as short hashes of its pseudonyms and of its volumes. An exam under another
name is known again by its volumes. The hashes give nobody away and say no more than "the same".
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from ..cohort import Case, Cohort

Use: TypeAlias = Literal["training", "validation", "tuning"]
"""validation: the step of the training was chosen on it; tuning: thresholds or calibration were."""
Mark: TypeAlias = Literal["patient", "study", "pixels"]
MARKS: tuple[Mark, ...] = get_args(Mark)
COLUMNS = ("kind", *MARKS)
RECORD = "seen.csv"
NAMED = 5  # pseudonyms that a message gives


class SeparationError(ValueError):
    """Exams that were to be apart are not, or a record of them cannot be read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Exam:
    """One line of the record: hashes, empty where nothing was known."""

    kind: Use
    patient: str
    study: str
    pixels: str


@dataclass(frozen=True, slots=True)
class Shared:
    """What exams of a cohort have in common with exams that weights saw."""

    kind: Use
    mark: Mark
    cases: tuple[str, ...]  # pseudonyms of the cohort at hand, in its order

    @property
    def words(self) -> str:
        what = {"patient": "patient", "study": "study", "pixels": "volumes"}[self.mark]
        first = ", ".join(self.cases[:NAMED]) + (", ..." if len(self.cases) > NAMED else "")
        return f"{len(self.cases)} with the same {what} as in {self.kind} ({first})"


def hashed(text: str) -> str:
    """First 16 hex digits of the SHA-256, so that the record holds no pseudonym; empty stays empty."""
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""


def exams(cohort: Cohort | Iterable[Case], kind: Use) -> list[Exam]:
    """The lines that say `cohort` was used for `kind`."""
    cases = cohort.cases if isinstance(cohort, Cohort) else cohort
    return [Exam(kind, hashed(case.patient), hashed(case.study), hashed(case.pixels)) for case in cases]


# ------------------------------------------------------------------ the record
def record_of(weights: Path) -> Path | None:
    """Where the record of these weights lies; None where there is none. `weights`: a file or a model folder."""
    if weights.is_dir():
        return weights / RECORD if (weights / RECORD).is_file() else None
    beside = (weights.with_name(f"{weights.stem}.{RECORD}"), weights.with_name(RECORD))
    return next((path for path in beside if path.is_file()), None)


def read(path: Path) -> list[Exam]:
    """Raises SeparationError for a table of another kind."""
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise SeparationError(f"{path} is no record of exams seen: its columns must be {', '.join(COLUMNS)}.")
        lines = list(table)
    known = {use: use for use in get_args(Use)}
    for number, line in enumerate(lines, start=2):
        if line["kind"] not in known:
            raise SeparationError(f"{path}, line {number}: kind is one of {', '.join(known)}, not {line['kind']!r}.")
    return [Exam(known[line["kind"]], line["patient"], line["study"], line["pixels"]) for line in lines]


def write(path: Path, seen: Iterable[Exam]) -> None:
    """The record, whole or not at all; each exam once, in a fixed order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows(sorted({(exam.kind, exam.patient, exam.study, exam.pixels) for exam in seen}))
    partial.replace(path)


def add(path: Path, cohort: Cohort | Iterable[Case], kind: Use) -> None:
    """Write into the record, new or there already, that `cohort` was used for `kind`."""
    write(path, [*(read(path) if path.exists() else ()), *exams(cohort, kind)])


# ------------------------------------------------------------------ the check
def shared(cohort: Cohort | Iterable[Case], seen: Iterable[Exam]) -> list[Shared]:
    """What the exams of `cohort` share with exams seen, by use and by mark; empty: nothing."""
    cases = [*cohort.cases, *cohort.left_out] if isinstance(cohort, Cohort) else list(cohort)
    seen = list(seen)
    found = []
    for kind, mark in itertools.product(get_args(Use), MARKS):
        known = {getattr(exam, mark) for exam in seen if exam.kind == kind} - {""}
        same = tuple(case.case for case in cases if hashed(getattr(case, mark)) in known)
        if same:
            found.append(Shared(kind, mark, same))
    return found


def check(cohort: Cohort, seen: Sequence[Exam]) -> None:
    """Raises SeparationError where exams of `cohort` were seen, or where training itself shares with tuning."""
    if found := shared(cohort, seen):
        several = len({case for what in found for case in what.cases})
        raise SeparationError(
            f"{cohort.name}: {several} of {len(cohort) + len(cohort.left_out)} exams cannot judge these weights, which "
            "have seen them: "
            f"{'; '.join(what.words for what in found)}. Evaluate on other patients: make the cohort without them, or "
            "train and freeze without them."
        )
    check_within(seen)


def check_within(seen: Sequence[Exam]) -> None:
    """Raises SeparationError where validation or tuning exams were training exams."""
    for kind, mark in itertools.product(("validation", "tuning"), MARKS):
        training = {getattr(exam, mark) for exam in seen if exam.kind == "training"} - {""}
        again = {getattr(exam, mark) for exam in seen if exam.kind == kind} & training
        if again:
            raise SeparationError(
                f"{len(again)} of the {kind} exams have the same {mark} as training exams: what was chosen on them is "
                f"chosen too well. Split by patient, then train or freeze again."
            )


def within(cohort: Cohort) -> list[tuple[str, str]]:
    """Pairs of cases with the same volumes, or the same study, under two names: they would count twice."""
    pairs = []
    for mark in ("pixels", "study"):
        first: dict[str, str] = {}
        for case in cohort.cases:
            value = getattr(case, mark)
            if value and value in first:
                pairs.append((first[value], case.case))
            first.setdefault(value, case.case)
    return sorted(set(pairs))
