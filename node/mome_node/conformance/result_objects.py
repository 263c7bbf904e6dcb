"""Chapter 8.1: every object that the node writes, attribute by attribute, and where each value comes from.

`result_objects.toml` declares them; a test builds objects of every kind and compares. A line of a module there is
"PRESENCE SOURCE Keyword: value", with one ">" before the keyword for each sequence around it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import pydicom.uid
from pydicom.datadict import dictionary_description, dictionary_VR, tag_for_keyword
from pydicom.uid import UID

from ..results.identity import RESULT_SCHEMA
from ..results.objects import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION
from ..results.sr_template import Vocabulary
from .markdown import table

LINE = re.compile(r"(ALWAYS|VNAP|ANAP|EMPTY)\s+(COPY|AUTO|CONFIG|FIXED)\s+(>*)(\w+): (.+)")
HEADER = ("Attribute", "Tag", "VR", "Value", "Presence", "Source")


@dataclass(frozen=True, slots=True)
class Attribute:
    """One row. `path`: the keywords of the sequences around the attribute and its own, joined by dots."""

    path: str
    presence: str  # ALWAYS | VNAP | ANAP | EMPTY, as PS3.2 has them
    source: str  # COPY | AUTO | CONFIG | FIXED
    value: str


@dataclass(frozen=True, slots=True)
class Module:
    """Attributes that belong together, and where PS3.3 defines them."""

    name: str
    clause: str
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class ResultObject:
    """One kind of object that the node writes."""

    name: str
    sop_classes: tuple[UID, ...]
    modality: str
    series: str  # key of its number and its description in the vocabulary
    written: str  # when
    modules: tuple[Module, ...]

    @property
    def presence(self) -> Mapping[str, str]:
        """Path of every attribute -> its presence."""
        return {attribute.path: attribute.presence for module in self.modules for attribute in module.attributes}


@cache
def result_objects() -> Mapping[str, ResultObject]:
    """Every kind of object that the node writes, by its key in `result_objects.toml`."""
    declared = tomllib.loads(files(__package__).joinpath("result_objects.toml").read_text(encoding="utf-8"))
    modules = {
        key: Module(module["name"], module["clause"], tuple(_attributes(module["attributes"])))
        for key, module in declared["modules"].items()
    }
    return {
        key: ResultObject(
            name=one["name"],
            sop_classes=tuple(getattr(pydicom.uid, keyword) for keyword in one["sop_classes"]),
            modality=one["modality"],
            series=one["series"],
            written=one["written"],
            modules=tuple(modules[module] for module in one["modules"]),
        )
        for key, one in declared["objects"].items()
    }


def _attributes(lines: str) -> Iterator[Attribute]:
    around: list[str] = []
    for line in lines.strip().splitlines():
        match = LINE.fullmatch(line.strip())
        assert match is not None, line
        presence, source, marks, keyword, value = match.groups()
        around = [*around[: len(marks)], keyword]
        yield Attribute(".".join(around), presence, source, value)


# ------------------------------------------------------------------ as text
def facts(vocabulary: Vocabulary) -> dict[str, object]:
    """What the statement says of the result objects, by the names in `statement.md`."""
    header = ("Object", "SOP class", "SOP Class UID", "Modality", "Series Number", "Series Description", "Written")
    rows = [row for one in result_objects().values() for row in _summary(one, vocabulary)]
    return {
        "product": vocabulary.model,
        "manufacturer": vocabulary.manufacturer,
        "objects": table(header, rows),
        "iod_contents": "\n\n".join(_contents()),
        "result_schema": RESULT_SCHEMA,
        "file_class_uid": IMPLEMENTATION_UID,
        "file_version": IMPLEMENTATION_VERSION,
    }


def _contents() -> Iterator[str]:
    """One section for each kind of object; a module that stood in an earlier one is referred to."""
    said: dict[Module, str] = {}
    for number, one in enumerate(result_objects().values(), 4):
        yield f"#### 8.1.{number} {one.name}"
        for module in one.modules:
            title = f"**{module.name}** (PS3.3 {module.clause})"
            if module in said:
                yield f"{title}: as in {said[module]}."
            else:
                said[module] = f"8.1.{number}"
                yield title
                yield table(HEADER, map(_row, module.attributes))


def _summary(one: ResultObject, vocabulary: Vocabulary) -> Iterator[tuple[object, ...]]:
    number, description = vocabulary.series_numbers[one.series], vocabulary.say(f"series.{one.series}_research")
    for uid in one.sop_classes:
        yield (one.name, uid.name, uid, one.modality, number, description, one.written)


def _row(attribute: Attribute) -> tuple[str, ...]:
    *outer, keyword = attribute.path.split(".")
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    name, vr = f"{'>' * len(outer)}{dictionary_description(tag)}", dictionary_VR(tag)
    return (name, tag_text(tag), vr, attribute.value, attribute.presence, attribute.source)


def tag_text(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
