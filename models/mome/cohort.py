"""Cohorts: exams as a network sees them, preprocessed once, with what is known of each.

One folder, whether the exams are synthetic phantoms or a hospital's own (`mome-node cohort`):

- `cohort.json`: where it comes from and the preprocessing it went through; written last, so a folder with it is whole;
- `cases.csv`: one line for every case, also for those that gave no volumes (`COLUMNS`, then one per reader);
- `dce.npy`, `dwi.npy`, `t2.npy`: (N, C, W, H, D), cases with volumes in the order of their lines, zeros where a
  sequence is missing;
- `truth.npz`: what was planted, synthetic cohorts only.

A case is known by pseudonyms. Whoever makes the folder keeps the way back to the patient elsewhere.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from .config import SEQUENCES, PreprocessingConfig, Sequence, from_json
from .tasks import TaskName

VERSION = 2
STEP = 10.0
"""Of stored integers, per standard deviation: values clipped at 12.7 fit a signed byte."""
READER = "reader: "
"""Columns of `cases.csv` that begin so hold the score or BI-RADS category one reader gave."""

Status: TypeAlias = Literal["used", "withheld", "rejected", "failed"]
"""used: volumes, inside the evaluated range; withheld: volumes, outside it; rejected: refused for a reason of the exam
(no contrast, no DCE); failed: the software could not. Only the first two have volumes."""
Volumes: TypeAlias = Mapping[Sequence, npt.NDArray[np.float32]]
"""Preprocessed arrays (C, W, H, D) of one exam; a missing sequence is not there."""


class CohortError(ValueError):
    """A cohort folder that cannot be used; the message says which file and what to do."""


@dataclass(frozen=True, slots=True)
class Case:
    """One line of `cases.csv`; None and empty text: not known."""

    case: str  # pseudonym, unique in the cohort
    patient: str  # pseudonym; splits and resamplings keep a patient together
    study: str  # pseudonym
    pixels: str = ""  # SHA-256 of the prepared volumes, first 32 hex digits; empty where there are none
    status: Status = "used"
    reason: str = ""  # why not "used"
    sequences: tuple[Sequence, ...] = ()  # at hand
    malignant: bool | None = None
    birads: str = ""  # category before biopsy: 0 to 6, also 4A, 4B, 4C
    tnbc: bool | None = None  # triple-negative, of proven cancers
    pcr: bool | None = None  # pathologic complete response, of cancers treated before surgery
    age: float | None = None  # years
    bpe: str = ""  # background parenchymal enhancement: minimal, mild, moderate, marked
    field_strength_t: float | None = None
    vendor: str = ""
    site: str = ""
    adc: float | None = None  # 1e-3 mm2/s, of the lesion, as a reader measured it
    kaiser: int | None = None  # Kaiser score, 1 to 11
    readers: Mapping[str, float] = field(default_factory=dict)  # by name of the reader

    @property
    def has_volumes(self) -> bool:
        return self.status in ("used", "withheld")


COLUMNS = tuple(f.name for f in dataclasses.fields(Case) if f.name != "readers")
NUMBERS = {"age": float, "field_strength_t": float, "adc": float, "kaiser": int}
ANSWERS = ("malignant", "tnbc", "pcr")


@dataclass(frozen=True, slots=True)
class Truth:
    """What was planted in N synthetic exams. Lesions (N, L, 9): centre as fractions of the DCE canvas (3), radius as a
    fraction of its width, malignant, then the attributes kinetics, morphology, diffusion, T2. Radius 0: no lesion."""

    lesions: npt.NDArray[np.float32]
    log_odds: Mapping[str, npt.NDArray[np.float64]]  # of the ideal observer: "dce", "dwi", "t2", "all"; (N,)


@dataclass(frozen=True, slots=True)
class Cohort:
    """N exams with volumes (`cases`), and the cases without (`left_out`)."""

    name: str
    synthetic: bool
    preprocessing: PreprocessingConfig
    arrays: Mapping[Sequence, npt.NDArray[Any]]  # (N, C, W, H, D), values times `step`, mapped from the files
    step: float
    cases: tuple[Case, ...]
    left_out: tuple[Case, ...] = ()
    truth: Truth | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)  # how it was made
    identity: str = ""  # SHA-256 of its cases, their volumes and its preprocessing

    def __len__(self) -> int:
        return len(self.cases)

    def batch(self, sequence: Sequence, rows: npt.NDArray[np.integer] | slice) -> npt.NDArray[np.float32]:
        """Standardised values (B, C, W, H, D)."""
        return np.asarray(self.arrays[sequence][rows].astype(np.float32) / np.float32(self.step))

    def answers(self, task: TaskName) -> npt.NDArray[np.float64]:
        """1 for the positive class, 0 for the other, NaN where it is not known (N,)."""
        found = [getattr(case, "malignant" if task == "malignancy" else task) for case in self.cases]
        return np.array([np.nan if answer is None else float(answer) for answer in found])

    @property
    def malignant(self) -> npt.NDArray[np.bool_]:
        """Labels (N,); raises CohortError where a case has none."""
        answers = self.answers("malignancy")
        if np.isnan(answers).any():
            missing = next(c.case for c, a in zip(self.cases, answers, strict=True) if math.isnan(a))
            raise CohortError(
                f"{self.name}: case {missing} has no value under `malignant`: leave it out, or enter one."
            )
        return answers.astype(bool)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Which sequences each exam has (N, 3), in the order DCE, DWI, T2."""
        return np.array([[s in case.sequences for s in SEQUENCES] for case in self.cases], bool).reshape(-1, 3)

    @property
    def words(self) -> str:
        """For cards and reports; a synthetic cohort is always called so."""
        return f"{self.name} ({len(self)} {'synthetic ' if self.synthetic else ''}exams)"

    def part(self, rows: Iterable[int]) -> Cohort:
        """The exams of these rows, volumes read into memory; no left-out cases."""
        chosen = np.fromiter(rows, np.intp)
        truth = self.truth and Truth(
            self.truth.lesions[chosen], {name: odds[chosen] for name, odds in self.truth.log_odds.items()}
        )
        return dataclasses.replace(
            self,
            arrays={s: array[chosen] for s, array in self.arrays.items()},
            cases=tuple(self.cases[row] for row in chosen),
            left_out=(),
            truth=truth,
        )


# ------------------------------------------------------------------ reading
def load(folder: Path) -> Cohort:
    """The cohort of a folder, its volumes mapped and not read; raises CohortError for anything else or half of one."""
    try:
        said = json.loads((folder / "cohort.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CohortError(
            f"{folder} holds no cohort (no cohort.json): make one with `mome phantom` or `mome-node cohort`."
        ) from error
    if said.get("version") != VERSION:
        raise CohortError(f"{folder} is a cohort of version {said.get('version')}, wanted {VERSION}: make it anew.")
    every = read_cases(folder / "cases.csv")
    cases = tuple(case for case in every if case.has_volumes)
    arrays = {s: np.load(folder / f"{s}.npy", mmap_mode="r") for s in SEQUENCES}
    if any(len(array) != len(cases) for array in arrays.values()):
        raise CohortError(f"{folder}: cases.csv has {len(cases)} exams with volumes; there are others.")
    truth = None
    if (folder / "truth.npz").exists():
        with np.load(folder / "truth.npz") as file:
            odds = {name.removeprefix("log_odds_"): file[name] for name in file.files if name.startswith("log_odds_")}
            truth = Truth(file["lesions"], odds)
    return Cohort(
        name=said["name"],
        synthetic=bool(said["synthetic"]),
        preprocessing=from_json(PreprocessingConfig, said["preprocessing"]),
        arrays=arrays,
        step=float(said["step"]),
        cases=cases,
        left_out=tuple(case for case in every if not case.has_volumes),
        truth=truth,
        origin=said["origin"],
        identity=said["identity"],
    )


def read_cases(path: Path) -> list[Case]:
    """Raises CohortError with the line of a value that means nothing."""
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        if missing := [name for name in COLUMNS if name not in (table.fieldnames or ())]:
            raise CohortError(f"{path.name}: no column {', '.join(missing)}.")
        return [case_of(line, f"{path.name}, line {table.line_num}") for line in table]


def case_of(line: Mapping[str, str], where: str) -> Case:
    """A case from the texts of its line; `where` begins the message of a CohortError."""
    values: dict[str, Any] = {name: (line.get(name) or "").strip() for name in COLUMNS}
    readers = {name.removeprefix(READER): text for name, text in line.items() if name.startswith(READER) and text}
    try:
        values |= {name: kind(values[name]) if values[name] else None for name, kind in NUMBERS.items()}
        values |= {name: {"": None, "0": False, "1": True}[values[name]] for name in ANSWERS}
        values["sequences"] = tuple(s for s in SEQUENCES if s in values["sequences"].split("+"))
        values["status"] = {status: status for status in get_args(Status)}[values["status"]]
        values["readers"] = {name: float(text) for name, text in readers.items()}
    except (ValueError, KeyError) as error:
        raise CohortError(f"{where}: {error} is no value of its column.") from error
    return Case(**values)


def texts(case: Case) -> dict[str, str]:
    """The line of a case: what `case_of` reads."""
    line = {name: getattr(case, name) for name in COLUMNS}
    line["sequences"] = "+".join(case.sequences)
    line |= {name: None if line[name] is None else int(line[name]) for name in ANSWERS}
    told = {name: "" if value is None else str(value) for name, value in line.items()}
    return told | {READER + name: f"{score:g}" for name, score in sorted(case.readers.items())}


# ------------------------------------------------------------------ writing
@dataclass(frozen=True, slots=True)
class Row:
    """One case; `volumes` only where its status says so, `lesions` and `log_odds` as in `Truth`."""

    case: Case
    volumes: Volumes | None = None
    lesions: npt.NDArray[np.float32] | None = None  # (L, 9)
    log_odds: Mapping[str, float] | None = None


def write(
    folder: Path,
    rows: Iterable[Row],
    *,
    name: str,
    synthetic: bool,
    preprocessing: PreprocessingConfig,
    capacity: int,
    origin: Mapping[str, Any],
) -> Cohort:
    """Write a cohort of at most `capacity` exams with volumes; `folder` appears whole or not at all.

    Raises CohortError where the folder exists and holds anything.
    """
    if folder.exists() and any(folder.iterdir()):
        raise CohortError(f"{folder} is not empty: name a new folder, a cohort is never changed.")
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        written = _write_volumes(partial, rows, preprocessing, capacity)
        _write_cases(partial / "cases.csv", [row.case for row in written])
        truths = [row for row in written if row.case.has_volumes and row.lesions is not None and row.log_odds]
        if truths:
            told: dict[str, Any] = {"lesions": np.array([t.lesions for t in truths], np.float32)}
            for sequence in truths[0].log_odds or {}:
                told[f"log_odds_{sequence}"] = np.array([(t.log_odds or {})[sequence] for t in truths])
            np.savez(partial / "truth.npz", **told)
        said = {
            "version": VERSION,
            "name": name,
            "synthetic": synthetic,
            "preprocessing": dataclasses.asdict(preprocessing),
            "step": step_of(preprocessing),
            "origin": dict(origin),
            "identity": identity([row.case for row in written], preprocessing),
        }
        (partial / "cohort.json").write_text(json.dumps(said, indent=1), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return load(folder)


def step_of(preprocessing: PreprocessingConfig) -> float:
    """Integers of a byte where the preprocessing clips to what they hold, else half-precision numbers as they are."""
    return STEP if preprocessing.clip is not None and preprocessing.clip * STEP <= 127 else 1.0


def identity(cases: Iterable[Case], preprocessing: PreprocessingConfig) -> str:
    told = json.dumps([texts(case) for case in cases], sort_keys=True)
    return hashlib.sha256(f"{preprocessing.hash()}\n{told}".encode()).hexdigest()


def pixel_hash(volumes: Volumes) -> str:
    """First 32 hex digits of the SHA-256 of the values in tenths: known again under another name."""
    digest = hashlib.sha256()
    for sequence in SEQUENCES:
        if sequence in volumes:
            digest.update(sequence.encode() + np.rint(volumes[sequence] * STEP).astype("<i2").tobytes())
    return digest.hexdigest()[:32]


def _write_volumes(folder: Path, rows: Iterable[Row], preprocessing: PreprocessingConfig, capacity: int) -> list[Row]:
    """The rows without their volumes, hashes and sequences entered."""
    step = step_of(preprocessing)
    kind = np.int8 if step == STEP else np.float16
    shapes = {s: (preprocessing.channels if s == "dce" else 1, *preprocessing.canvas(s)) for s in SEQUENCES}
    paths = {s: folder / f"{s}.npy" for s in SEQUENCES}
    files = {s: np.lib.format.open_memmap(path, "w+", kind, (capacity, *shapes[s])) for s, path in paths.items()}
    written: list[Row] = []
    count = 0
    for row in rows:
        case = row.case
        if case.has_volumes:
            assert row.volumes is not None, "a case that is used or withheld has volumes"
            for sequence, volume in row.volumes.items():
                files[sequence][count] = np.rint(volume * step) if step == STEP else volume
            there = tuple(s for s in SEQUENCES if s in row.volumes)
            case = dataclasses.replace(case, pixels=pixel_hash(row.volumes), sequences=there)
            count += 1
        written.append(dataclasses.replace(row, case=case, volumes=None))
    for sequence, file in files.items():
        file.flush()
        if count < capacity:
            shortened = np.lib.format.open_memmap(
                folder / f"{sequence}.short.npy", "w+", kind, (count, *shapes[sequence])
            )
            shortened[:] = file[:count]
            shortened.flush()
            (folder / f"{sequence}.short.npy").replace(paths[sequence])
    return written


def _write_cases(path: Path, cases: list[Case]) -> None:
    lines = [texts(case) for case in cases]
    readers = sorted({name for line in lines for name in line if name.startswith(READER)})
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [*COLUMNS, *readers])
        table.writeheader()
        table.writerows(lines)
