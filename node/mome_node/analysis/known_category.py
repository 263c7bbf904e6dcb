"""The BI-RADS category that a person gave for this exam: from its own MR report or its request. Never guessed.

A prior exam, a mammogram or free text elsewhere does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage, MRImageStorage

COMMAND_LINE, REPORT, REQUEST = "given at the command line", "MR report of this study", "the request, before this exam"
"""Where a category comes from, in words."""

MR_IMAGES = frozenset({MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage})

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

MR_REPORTS = frozenset(
    {
        ("18748-4", "LN"),  # Diagnostic Imaging Report
        ("25056-3", "LN"),  # MRI Report
        ("126000", "DCM"),  # Imaging Measurement Report
        ("126002", "DCM"),  # Dynamic Contrast MR Measurement Report
    }
)
"""Titles of a report on an MRI (CID 7000, CID 7021). Any other title may be of another modality."""

DEVICE = "121007"  # DCM
REQUEST_TEXTS = ("ReasonForTheRequestedProcedure", "RequestedProcedureDescription", "RequestedProcedureComments")
IN_WORDS = re.compile(r"\bBI-?RADS\W{0,12}(?:category|cat\.?|kategorie)?\W{0,3}([0-6][ABC]?)\b", re.IGNORECASE)
GOES_ON = re.compile(r"\s*[-/(\u2013]*\s*(?:[0-6][ABC]?|[ABC])\b", re.IGNORECASE)
"""After a category: "4 C", "4(c)", "4-5", "4A/4C": more than one, or another than was read."""
OF_ANOTHER_EXAM = re.compile(
    r"\b(?:prior|previ\w*|vor\w*|prec?ced\w*|précéd\w*|antér\w*|anter\w*|eerder\w*|mam[mo]\w*gra\w*|mammo\w*|mg|mmg|dbt"
    r"|tomo\w*|us|ultra\w*|sono\w*|[eé]cho\w*|ecogra\w*|outside|extern\w*|ausw\w*|(?:19|20)\d\d)\b"
    r"|既往|前次|前回|外院|他院|钼靶|鉬靶|超声|超聲|超音波|エコー|マンモ",
    re.IGNORECASE,
)


def from_report(reports: Iterable[Path]) -> str | None:
    """The highest category coded (CID 6027) in this study's own finished MR reports; `reports` are its SR files."""
    found = {category for path in reports for category in _coded(pydicom.dcmread(path, force=True))}
    return max(found, key=ORDER.index, default=None)


def from_request(image: Dataset) -> str | None:
    """The category written in the request that an MR image carries (PS3.3 C.4.8, 10.6); None when there is any doubt.

    Words of another exam anywhere in the request (a mammogram, a prior, a year) make it doubtful whose category it is.
    """
    items = [image, *image.get("RequestAttributesSequence", [])]
    text = ". ".join(str(item.get(name, "")) for item in items for name in REQUEST_TEXTS)
    found = list(IN_WORDS.finditer(text))
    if OF_ANOTHER_EXAM.search(text) or any(GOES_ON.match(text[match.end() :]) for match in found):
        return None
    categories = {match[1].upper() for match in found}
    return categories.pop() if len(categories) == 1 else None


def _coded(report: Dataset) -> Iterator[str]:
    title = report.get("ConceptNameCodeSequence")
    named = title and (title[0].get("CodeValue"), title[0].get("CodingSchemeDesignator")) in MR_REPORTS
    if not named or report.get("CompletionFlag") != "COMPLETE" or not _cites_mr(report):
        return
    if _by_a_device(report):
        return
    waiting = list(report.get("ContentSequence", []))
    while waiting:
        item = waiting.pop()
        waiting.extend(item.get("ContentSequence", []))
        for code in item.get("ConceptCodeSequence", []):
            category = CATEGORIES.get((code.get("CodeValue"), code.get("CodingSchemeDesignator")))
            if category is not None:
                yield category


def _by_a_device(report: Dataset) -> bool:
    """True where a program observed (TID 1002): another AI or CAD is not the reader of the exam."""
    return any(
        code.get("CodeValue") == DEVICE
        for item in report.get("ContentSequence", [])
        if item.get("RelationshipType") == "HAS OBS CONTEXT"
        for code in item.get("ConceptCodeSequence", [])
    )


def _cites_mr(report: Dataset) -> bool:
    """True when the report's evidence is MR images of its own study."""
    return any(
        image.get("ReferencedSOPClassUID") in MR_IMAGES
        for study in report.get("CurrentRequestedProcedureEvidenceSequence", [])
        if study.get("StudyInstanceUID") == report.get("StudyInstanceUID")
        for series in study.get("ReferencedSeriesSequence", [])
        for image in series.get("ReferencedSOPSequence", [])
    )
