"""The vocabulary of every result: codes, units, order and wording, read from `sr_templates/*.toml`.

What a site may change without a release lives there; what must be there, and with which {braces}, is checked here,
so that a slip in a file is found when the node starts and not when a report is due.
"""

from __future__ import annotations

import hashlib
import string
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from pydicom.sr.coding import Code

from ..errors import SettingsError
from ..findings import PROBLEM_CODES
from ..shipped import shipped

SEQUENCES = ("dce", "dwi", "t2")
GROUPS = ("summary", "score", "inputs", "quality")
OBJECTS = ("report", "overlay")

# fmt: off
CODES = frozenset((
    "title", "procedure", "algorithm_family", "processing_equipment", "source_image", "subtraction", "both_breasts",
    "present", "absent", "group_summary", "group_score", "group_inputs", "group_quality", "conclusion", "status",
    "status_analysed", "status_partly_analysed", "status_failed", "status_not_analysed", "reason_not_analysed",
    "remedy", "advice", "advice_candidate", "advice_no_support", "advice_withheld", "advice_text", "advice_reason",
    "exclusions", "known_category", "limits", "probability_of_cancer", "ai_score", "operating_point",
    "operating_point_text", "score_scope", "contribution_baseline", "contribution_dce", "contribution_dwi",
    "contribution_t2", "input_dce", "input_dwi", "input_t2", "input_text", "input_rejected", "problem", "measure",
    "quality_text",
))
# fmt: on
UNITS = frozenset({"percent", "points", "ratio"})  # that the software itself asks for; measures may use more

WORDS: Mapping[str, str] = {  # wording -> the {braces} it fills
    "series.report_research": "",
    "series.report_clinical": "",
    "series.overlay_research": "",
    "series.overlay_clinical": "",
    "marking.band_research": "",
    "marking.band_clinical": "",
    "marking.use_research": "",
    "marking.use_clinical": "",
    "marking.weights": "name version status",
    "marking.result": "id date",
    "marking.demonstration": "",
    "conclusion.candidate": "",
    "conclusion.no_support": "",
    "conclusion.withheld": "",
    "conclusion.no_advice": "",
    "conclusion.not_analysed": "reasons",
    "conclusion.failed": "reasons",
    "advice.heading": "",
    "advice.candidate": "",
    "advice.no_support": "",
    "advice.withheld": "",
    "advice.no_advice": "",
    "advice.exclusions": "",
    "advice.known_category": "source category",
    "score.heading": "",
    "score.uncalibrated": "score",
    "score.calibrated": "score",
    "score.scope": "",
    "score.operating_point": "threshold cohort",
    "score.operating_point_name": "threshold",
    "score.counts": "below cancers synthetic limit",
    "score.counts_others": "below others synthetic",
    "score.synthetic": "",
    "score.no_operating_point": "",
    "score.low_end": "",
    "score.high_end": "",
    "contributions.heading": "",
    "contributions.baseline": "",
    "contributions.total": "",
    "contributions.sequence": "sequence",
    "contributions.points": "points",
    "contributions.explained": "",
    "sequences.dce": "",
    "sequences.dwi": "",
    "sequences.t2": "",
    "inputs.heading": "",
    "inputs.used": "sequence details",
    "inputs.series": "description",
    "inputs.phases": "phases seconds",
    "inputs.phases_without_times": "phases",
    "inputs.b_value": "b",
    "inputs.fat_suppressed": "",
    "inputs.not_fat_suppressed": "",
    "inputs.missing": "sequence reason",
    "inputs.rejected": "number description role reason",
    "quality.heading": "",
    "quality.nothing_found": "",
    "quality.problem": "message",
    "quality.measure": "name value",
    "limits.no_comparison": "",
    "limits.saliency": "",
    "picture.mip": "",
    "picture.outline": "",
    "picture.not_covered": "",
    "picture.no_mask": "",
    "picture.right": "",
    "picture.left": "",
    "picture.slice": "number slices position",
    "picture.subtraction": "",
    "picture.legend_low": "",
    "picture.legend_high": "",
    "picture.legend": "",
    "picture.no_saliency_below": "",
    "picture.no_saliency": "",
    "picture.no_saliency_sides_unknown": "",
    "picture.continued": "frame",
    "refusal.heading": "",
    "refusal.reasons": "",
    "refusal.help": "",
    "refusal.not_a_result": "",
    "refusal.unknown_reason": "",
}


@dataclass(frozen=True, slots=True)
class CodingScheme:
    """The private coding scheme, as CodingSchemeIdentificationSequence (0008,0110) declares it."""

    designator: str
    uid: str
    name: str
    version: str
    organization: str


@dataclass(frozen=True, slots=True)
class Measure:
    """How one quality measure is written: its concept, its unit, and the decimals that mean something."""

    code: Code
    unit: Code
    decimals: int


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Codes, order and wording of the results in one language."""

    language: Code
    scheme: CodingScheme
    manufacturer: str
    model: str
    codes: Mapping[str, Code]
    units: Mapping[str, Code]
    measures: Mapping[str, Measure]
    groups: tuple[str, ...]  # order of the groups of the report
    sequences: tuple[str, ...]  # order of the sequences everywhere
    series_numbers: Mapping[str, int]
    words: Mapping[str, str]
    help: Mapping[str, str]  # what would help, by problem code; "otherwise" for the rest
    sha256: str  # of everything above: other words are another object

    def say(self, key: str, **values: object) -> str:
        """The wording `key` with its braces filled."""
        return self.words[key].format(**values)

    def remedy(self, problem_code: str) -> str:
        """What would help against a reason of a refusal."""
        return self.help.get(problem_code, self.help["otherwise"])

    def sequence(self, role: str) -> str:
        """The name of a sequence for people; an unknown role is its own name."""
        return self.words.get(f"sequences.{role}", role)


def load_vocabulary(language: str = "en", folder: Path | None = None) -> Vocabulary:
    """The vocabulary of `codes.toml`, `report.toml` and `words.<language>.toml` in `folder` (default: the shipped one).

    Raises SettingsError naming the file and the key where something is missing, unknown, or too long for DICOM.
    """
    folder = folder or shipped("sr_templates")
    codes, report, words = (_File(folder / name) for name in ("codes.toml", "report.toml", f"words.{language}.toml"))
    codes.has_exactly("", {"scheme", "equipment", "codes", "units", "measures"})
    report.has_exactly("", {"groups", "sequences", "series_numbers"})
    words.has_exactly("", {key.partition(".")[0] for key in WORDS} | {"language", "help"})
    words.has_exactly("language", {"code"})
    codes.has_exactly("equipment", {"manufacturer", "model"})
    units = {name: codes.code("units", name) for name in codes.has("units", UNITS)}
    return Vocabulary(
        language=words.code("language", "code"),
        scheme=_scheme(codes),
        manufacturer=codes.text("equipment", "manufacturer", 64),
        model=codes.text("equipment", "model", 64),
        codes={name: codes.code("codes", name) for name in codes.has_exactly("codes", CODES)},
        units=units,
        measures={name: _measure(codes, name, units) for name in codes.has("measures", ())},
        groups=report.order("groups", GROUPS),
        sequences=report.order("sequences", SEQUENCES),
        series_numbers=_series_numbers(report),
        words=_words(words),
        help=_help(words),
        sha256=hashlib.sha256(b"".join(file.raw for file in (codes, report, words))).hexdigest(),
    )


class _File:
    """One TOML file and the complaints about it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.raw = path.read_bytes()
            self.tables: Mapping[str, Any] = tomllib.loads(self.raw.decode("utf-8"))
        except FileNotFoundError:
            raise SettingsError(
                f"The report vocabulary {path} is not there.", remedy="Use a language that has a words file."
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"The report vocabulary {path} is not TOML in UTF-8: {error}.", remedy="Correct the file."
            ) from None

    def refuse(self, key: str, what: str) -> SettingsError:
        return SettingsError(f"{self.path}: {key}: {what}.", remedy="Correct this entry of the report vocabulary.")

    def table(self, name: str) -> Mapping[str, Any]:
        table = self.tables if not name else self.tables.get(name)
        if not isinstance(table, Mapping):
            raise self.refuse(name, "the table is missing")
        return table

    def has(self, table: str, names: Sequence[str] | frozenset[str] | set[str]) -> list[str]:
        """The table's keys, of which `names` are there."""
        for name in sorted(set(names) - set(self.table(table))):
            raise self.refuse(_join(table, name), "the entry is missing")
        return list(self.table(table))

    def has_exactly(self, table: str, names: frozenset[str] | set[str]) -> list[str]:
        for name in sorted(set(self.table(table)) - set(names)):
            raise self.refuse(_join(table, name), "the software knows no such entry")
        return self.has(table, names)

    def text(self, table: str, name: str, longest: int) -> str:
        value = self.table(table).get(name)
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            raise self.refuse(_join(table, name), f"must be a text of 1 to {longest} characters")
        return value

    def code(self, table: str, name: str) -> Code:
        value = self.table(table)[name]
        if not (isinstance(value, list) and len(value) == 3 and all(isinstance(v, str) and v for v in value)):
            raise self.refuse(_join(table, name), "must be [value, scheme, meaning]")
        return self.checked(Code(*value), _join(table, name))

    def checked(self, code: Code, key: str) -> Code:
        """PS3.3 Table 8.8-1: CodeValue and CodingSchemeDesignator are SH (16), CodeMeaning is LO (64)."""
        for what, text, longest in (
            ("value", code.value, 16),
            ("scheme", code.scheme_designator, 16),
            ("meaning", code.meaning, 64),
        ):
            if len(text) > longest:
                raise self.refuse(key, f"the {what} {text!r} has more than {longest} characters")
        return code

    def order(self, name: str, all_of: tuple[str, ...]) -> tuple[str, ...]:
        value = self.tables[name]
        if not isinstance(value, list) or sorted(map(str, value)) != sorted(all_of):
            raise self.refuse(name, f"must list each of {', '.join(all_of)} once")
        return tuple(value)


def _join(table: str, name: str) -> str:
    return f"{table}.{name}" if table else name


def _scheme(codes: _File) -> CodingScheme:
    lengths = {"designator": 16, "uid": 64, "name": 255, "version": 16, "organization": 255}
    codes.has_exactly("scheme", set(lengths))
    scheme = CodingScheme(**{name: codes.text("scheme", name, longest) for name, longest in lengths.items()})
    if not scheme.designator.startswith("99"):
        raise codes.refuse("scheme.designator", "a private scheme starts with 99 (PS3.16 8.2)")
    return scheme


def _measure(codes: _File, name: str, units: Mapping[str, Code]) -> Measure:
    match codes.table("measures")[name]:
        case [str(value), str(meaning), str(unit), int(decimals)] if unit in units and 0 <= decimals <= 6:
            private = Code(value, codes.table("scheme")["designator"], meaning)
            return Measure(codes.checked(private, f"measures.{name}"), units[unit], decimals)
    raise codes.refuse(f"measures.{name}", "must be [code value, meaning, unit of the table units, decimals 0 to 6]")


def _series_numbers(report: _File) -> Mapping[str, int]:
    report.has_exactly("series_numbers", set(OBJECTS))
    numbers = report.table("series_numbers")
    for name, number in numbers.items():
        if not (type(number) is int and 0 < number < 2**31):
            raise report.refuse(f"series_numbers.{name}", "must be a positive number")
    return cast(Mapping[str, int], numbers)


def _words(words: _File) -> Mapping[str, str]:
    said: dict[str, str] = {}
    for table in sorted({key.partition(".")[0] for key in WORDS}):
        words.has_exactly(table, {key.partition(".")[2] for key in WORDS if key.startswith(f"{table}.")})
    for key, braces in WORDS.items():
        table, _, name = key.partition(".")
        said[key] = words.text(table, name, 64 if table == "series" else 1024)
        _same_braces(said[key], set(braces.split()), partial(words.refuse, key))
    return said


def _same_braces(text: str, wanted: set[str], refuse: Callable[[str], SettingsError]) -> None:
    """A wording fills exactly the facts it was given: a fact that is left out is a fact that is hidden."""
    try:
        found = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise refuse(f"{error}") from None
    if found != wanted:
        raise refuse(f"must hold {', '.join(f'{{{w}}}' for w in sorted(wanted)) or 'no braces'}")


def _help(words: _File) -> Mapping[str, str]:
    words.has("help", {"otherwise"})
    for code in set(words.table("help")) - set(PROBLEM_CODES) - {"otherwise"}:
        raise words.refuse(f"help.{code}", "no such problem code")
    return {code: words.text("help", code, 1024) for code in words.table("help")}
