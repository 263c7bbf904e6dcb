"""The BI-RADS category that a person gave for this exam: from its own MR report or its request. Never guessed.

A prior exam, a mammogram or free text elsewhere does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

COMMAND_LINE, REPORT, REQUEST = "given at the command line", "MR report of this study", "request of this study"
"""Where a category comes from, in words."""

CATEGORIES = {
    ("397138000", "SCT"): "0",
    ("397140005", "SCT"): "1",
    ("397141009", "SCT"): "2",
    ("397143007", "SCT"): "3",
    ("397144001", "SCT"): "4",
    ("397145000", "SCT"): "5",
    ("MA.II.A.5.4A", "BI"): "4A",
    ("MA.II.A.5.4B", "BI"): "4B",
    ("MA.II.A.5.4C", "BI"): "4C",
    ("MA.II.A.5.6", "BI"): "6",
}
"""CID 6027 Assessment from BI-RADS: code -> category."""

ORDER = ("0", "1", "2", "3", "4", "4A", "4B", "4C", "5", "6")
"""Increasing: of two breasts the higher category is the exam's."""

OTHER_MODALITY_TITLES = {("111036", "DCM")}
"""Report titles of another modality: Mammography CAD Report (CID 7000 and TID 4000)."""

REQUEST_TEXTS = ("ReasonForTheRequestedProcedure", "RequestedProcedureDescription", "RequestedProcedureComments")
IN_WORDS = re.compile(r"\bBI-?RADS\W{0,12}(?:category|cat\.?|kategorie)?\W{0,3}([0-6][ABC]?)\b", re.IGNORECASE)
PRIOR = re.compile(r"\b(prior|previous|mammogra\w*|ultrasound|sono\w*|vor\w*aufnahme)\b", re.IGNORECASE)


def from_report(reports: Iterable[Path]) -> str | None:
    """The highest category coded (CID 6027) in this study's own MR reports; `reports` are its SR files."""
    found = {category for path in reports for category in _coded(pydicom.dcmread(path))}
    return max(found, key=ORDER.index, default=None)


def from_request(image: Dataset) -> str | None:
    """The category written in the request that an MR image carries (PS3.3 C.4.8, 10.6); None when there are several.

    A sentence that also speaks of a prior, a mammogram or an ultrasound does not count: it may mean that exam.
    """
    items = [image, *image.get("RequestAttributesSequence", [])]
    sentences = [
        sentence
        for item in items
        for name in REQUEST_TEXTS
        for sentence in re.split(r"[.;\n]", str(item.get(name, "")))
    ]
    found = {match[1].upper() for s in sentences if not PRIOR.search(s) for match in IN_WORDS.finditer(s)}
    return found.pop() if len(found) == 1 else None


def _coded(report: Dataset) -> Iterator[str]:
    title = report.get("ConceptNameCodeSequence")
    if not title or (title[0].get("CodeValue"), title[0].get("CodingSchemeDesignator")) in OTHER_MODALITY_TITLES:
        return
    waiting = list(report.get("ContentSequence", []))
    while waiting:
        item = waiting.pop()
        waiting.extend(item.get("ContentSequence", []))
        for code in item.get("ConceptCodeSequence", []):
            category = CATEGORIES.get((code.get("CodeValue"), code.get("CodingSchemeDesignator")))
            if category is not None:
                yield category
