"""The vocabulary of every result: codes, units, order and wording, read from `sr_templates/*.toml`.

What a site may change without a release lives there and in its own folder, laid over ours; what must be there, and
with which {braces}, is checked here, so that a slip is found when the node starts and not when a report is due.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import cast

from pydicom.sr.coding import Code

from ..errors import SettingsError
from ..findings import PROBLEM_CODES
from ..shipped import shipped
from ..site_files import LayeredFile, joined
from . import relief

SEQUENCES = ("dce", "dwi", "t2")
GROUPS = ("summary", "score", "inputs", "quality")
OBJECTS = ("report", "overlay", "segmentation", "located_region", "parametric_map", "key_objects", "rejection",
           "withdrawn")  # fmt: skip

# fmt: off
CODES = frozenset((
    "title", "procedure", "algorithm_family", "processing_equipment", "source_image", "subtraction", "both_breasts",
    "breast",
    "present", "absent", "group_summary", "group_score", "group_inputs", "group_quality", "conclusion", "status",
    "status_analysed", "status_partly_analysed", "status_failed", "status_not_analysed", "reason_not_analysed",
    "remedy", "advice", "advice_candidate", "advice_no_support", "advice_withheld", "advice_text", "advice_reason",
    "exclusions", "known_category", "limits", "probability_of_cancer", "ai_score", "operating_point",
    "operating_point_text", "score_scope", "contribution_baseline", "contribution_dce", "contribution_dwi",
    "contribution_t2", "group_tnbc", "group_pcr", "probability", "input_dce", "input_dwi", "input_t2", "input_text",
    "input_rejected", "problem", "measure",
    "quality_text", "region_title", "selected_region", "region_category", "segmentation", "quantity", "saliency",
    "integrated_gradients", "key_objects", "key_objects_text", "replaces", "rejected_patient_safety",
    "rejected_wrong_patient",
))
# fmt: on
UNITS = frozenset({"percent", "points", "ratio"})  # that the software itself asks for; measures may use more

WORDS: Mapping[str, str] = {  # wording -> the {braces} it fills
    "series.report_research": "",
    "series.report_clinical": "",
    "series.overlay_research": "",
    "series.overlay_clinical": "",
    "series.segmentation_research": "",
    "series.segmentation_clinical": "",
    "series.located_region_research": "",
    "series.located_region_clinical": "",
    "series.parametric_map_research": "",
    "series.parametric_map_clinical": "",
    "series.key_objects_research": "",
    "series.key_objects_clinical": "",
    "label.region": "",
    "label.map_content": "",
    "label.map_explanation": "",
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
    "score.heading_one_breast": "",
    "score.uncalibrated": "score",
    "score.calibrated": "score",
    "score.scope": "",
    "score.operating_point": "threshold cohort",
    "score.operating_point_name": "threshold",
    "score.counts": "below cancers synthetic limit",
    "score.counts_others": "below others synthetic",
    "score.synthetic": "",
    "score.no_operating_point": "",
    "score.spread": "points",
    "score.low_end": "",
    "score.high_end": "",
    "further.limits": "",
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
    "limits.region": "",
    "limits.key_objects": "",
    "picture.mip": "",
    "picture.outline": "",
    "picture.not_covered": "",
    "picture.no_mask": "",
    "picture.right": "",
    "picture.left": "",
    "picture.slice": "number slices position",
    "picture.plain": "",
    "picture.with_saliency": "",
    "picture.tilted": "degrees",
    "picture.strongest": "",
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
    "replaces.result": "id date",
    "replaces.was_no_result": "",
    "replaces.void": "",
    "replaces.band_changed": "",
    "replaces.band_same": "",
    "replaces.advice_changed": "",
    "replaces.advice_same": "",
    "withdrawn.result": "id date",
    "withdrawn.patient_safety": "",
    "withdrawn.replaced": "",
    "withdrawn.wrong_patient": "",
    "withdrawn.note": "",
    "series.rejection_research": "",
    "series.rejection_clinical": "",
    "series.withdrawn_research": "",
    "series.withdrawn_clinical": "",
    "withdrawn.heading": "",
    "withdrawn.do_not_use": "",
}

REVIEWED_TABLES = frozenset({"series", "label", "marking", "conclusion", "advice", "score", "further", "limits",
                             "refusal", "replaces", "withdrawn"})  # fmt: skip
REVIEWED_WORDS = frozenset({"contributions.explained", "picture.not_covered", "picture.no_saliency_below",
                            "picture.no_saliency_sides_unknown"})  # fmt: skip
"""What says how a result may be used: English in every language for which no reviewer answers."""

FILES = ("codes.toml", "report.toml", "words.*.toml")
"""What a folder of templates may hold."""


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

    language: Code  # of the sentences that a reader acts on: English where nobody answers for the translation
    reviewer: str  # the radiologist who answers for the translation, and since when; "" for none
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


def load_vocabulary(language: str = "en", folders: Sequence[Path] = ()) -> Vocabulary:
    """The vocabulary of `codes.toml`, `report.toml` and `words.<language>.toml`.

    `folders`: laid over each other, the later ones hold what they change; none: the shipped one alone. Without a named
    reviewer in the words file, the sentences on how a result may be used stay English. Raises SettingsError naming
    the file, the line and the key where something is missing, unknown, too long for DICOM, or a word of relief.
    """
    folders = folders or (shipped("sr_templates"),)
    refuse_other_files(folders)
    codes, report, words, english = (
        _File(name, folders) for name in ("codes.toml", "report.toml", f"words.{language}.toml", "words.en.toml")
    )
    codes.has_exactly("", {"scheme", "equipment", "codes", "units", "measures"})
    report.has_exactly("", {"groups", "sequences", "series_numbers"})
    codes.has_exactly("equipment", {"manufacturer", "model"})
    units = {name: codes.code("units", name) for name in codes.has("units", UNITS)}
    reviewer = _reviewer(words)
    said = _words(words)
    if not reviewer:
        said |= {key: sentence for key, sentence in _words(english).items() if _is_reviewed(key)}
    return Vocabulary(
        language=(words if reviewer else english).code("language", "code"),
        reviewer=reviewer,
        scheme=_scheme(codes),
        manufacturer=codes.text("equipment", "manufacturer", 64),
        model=codes.text("equipment", "model", 64),
        codes={name: codes.code("codes", name) for name in codes.has_exactly("codes", CODES)},
        units=units,
        measures={name: _measure(codes, name, units) for name in codes.has("measures", ())},
        groups=report.order("groups", GROUPS),
        sequences=report.order("sequences", SEQUENCES),
        series_numbers=_series_numbers(report),
        words=said,
        help=_help(words),
        sha256=hashlib.sha256(b"".join(file.raw for file in (codes, report, words, english))).hexdigest(),
    )


def refuse_other_files(folders: Sequence[Path]) -> None:
    """Raises SettingsError for a folder that is not there, and for TOML in it that nothing would ever read."""
    for folder in folders:
        if not folder.is_dir():
            raise SettingsError(f"{folder} is no folder of templates.", remedy="Correct results.templates.")
        for path in sorted(folder.glob("*.toml")):
            if not any(fnmatchcase(path.name, name) for name in FILES):
                raise SettingsError(f"{path} is never read.", remedy=f"Name it one of {', '.join(FILES)}.")


class _File(LayeredFile):
    """A template, with what only templates hold."""

    def code(self, table: str, name: str) -> Code:
        value = self.table(table).get(name)
        if not (isinstance(value, list) and len(value) == 3 and all(isinstance(v, str) and v for v in value)):
            raise self.refuse(joined(table, name), "must be [value, scheme, meaning]")
        return self.checked(Code(*value), joined(table, name))

    def checked(self, code: Code, key: str) -> Code:
        """PS3.3 Table 8.8-1: CodeValue and CodingSchemeDesignator are SH (16), CodeMeaning is LO (64)."""
        for what, text, longest in (
            ("value", code.value, 16),
            ("scheme", code.scheme_designator, 16),
            ("meaning", code.meaning, 64),
        ):
            if len(text) > longest:
                raise self.refuse(key, f"the {what} {text!r} has more than {longest} characters")
        self.refuse_relief(code.meaning, key, "en")
        return code

    def refuse_relief(self, text: str, key: str, language: str) -> None:
        if word := relief.found(text, language):
            raise self.refuse(key, f"{word!r} claims what the score was never evaluated for")

    def order(self, name: str, all_of: tuple[str, ...]) -> tuple[str, ...]:
        value = self.tables[name]
        if not isinstance(value, list) or sorted(map(str, value)) != sorted(all_of):
            raise self.refuse(name, f"must list each of {', '.join(all_of)} once")
        return tuple(value)


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


def _reviewer(words: _File) -> str:
    """Who answers for the language, and since when; "" where nobody does."""
    words.has("language", {"code"})
    for name in sorted(set(words.table("language")) - {"code", "reviewer", "reviewed"}):
        raise words.refuse(f"language.{name}", "the software knows no such entry")
    reviewer, reviewed = (words.table("language").get(name, "") for name in ("reviewer", "reviewed"))
    if reviewer == reviewed == "":
        return ""
    if not isinstance(reviewer, str) or not reviewer.strip():
        raise words.refuse("language.reviewer", "must name who reviewed the words")
    try:
        day = reviewed if isinstance(reviewed, date) else date.fromisoformat(reviewed)
    except (TypeError, ValueError):
        raise words.refuse("language.reviewed", 'must be the day of the review, as "2025-01-31"') from None
    return f"{reviewer.strip()}, {day.isoformat()}"


def _is_reviewed(key: str) -> bool:
    return key.partition(".")[0] in REVIEWED_TABLES or key in REVIEWED_WORDS


def _words(words: _File) -> dict[str, str]:
    tables = {key.partition(".")[0] for key in WORDS}
    words.has_exactly("", tables | {"language", "help"})
    language = words.code("language", "code").value
    for table in sorted(tables):
        words.has_exactly(table, {key.partition(".")[2] for key in WORDS if key.startswith(f"{table}.")})
    said = {}
    for key, braces in WORDS.items():
        table, _, name = key.partition(".")
        said[key] = words.text(table, name, 64 if table in ("series", "label") else 1024)
        _same_braces(said[key], set(braces.split()), partial(words.refuse, key))
        words.refuse_relief(said[key], key, language)
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
    language = words.code("language", "code").value
    for code in sorted(set(words.table("help")) - set(PROBLEM_CODES) - {"otherwise"}):
        raise words.refuse(f"help.{code}", "no such problem code")
    said = {code: words.text("help", code, 1024) for code in words.table("help")}
    for code, text in said.items():
        words.refuse_relief(text, f"help.{code}", language)
    return said
