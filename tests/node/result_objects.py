"""One of every object that the node can write, of synthetic exams of every kind; a plain list, made once.

python -m tests.node.result_objects FOLDER      writes them as files, for the slow judges and for looking at
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage

from mome_node.findings import Findings, Problem, ReplacedResult
from mome_node.results import result_set, structured_report, withdrawal
from mome_node.results.objects import COPIED_IF_PRESENT, Predecessor, save
from mome_node.results.result_set import Case
from mome_node.results.sr_template import load_vocabulary
from mome_node.settings import Variant
from tests.node import result_fixtures as fixtures

EVERYTHING = Variant(further=("key_objects", "located_region", "parametric_map", "segmentation"))
PLAIN = Variant(report="enhanced", overlay="single_frames")
VOCABULARY = load_vocabulary()
DECIDED = "2024-06-01T08:30:00"


@cache
def every_object() -> tuple[tuple[str, Dataset], ...]:
    """(Kind, object): kinds are the names of the files of a result, and those of a withdrawal."""
    return tuple(_objects())


def _objects() -> Iterator[tuple[str, Dataset]]:
    rich, bare = rich_source(), bare_source()
    earlier = Predecessor("default", "2.25.71", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.72")
    yield from _written(_located(rich), EVERYTHING)
    yield from _written(_replacing(earlier, _located(bare, enhanced=True)), EVERYTHING)
    yield from _written(_located(rich, shift=(0.7, 0, 0)), EVERYTHING)  # no image lies exactly in a slice
    for percent in (None, 9.0):
        case = Case(_with_further_scores(percent), bare, fixtures.evidence(bare), None, None, None)
        yield from _written(case, Variant(report="comprehensive"))
    yield from _written(_pictured(fixtures.findings(advice=None, problems=(), measures={}), rich), PLAIN)
    for document in (fixtures.refused(), fixtures.refused("failed"), _refused_at_length()):
        yield from _written(Case(document, bare, fixtures.evidence(bare), None, None, None), Variant())
    for document in (fixtures.KINDS[kind]() for kind in fixtures.KINDS):
        names = fixtures.identity(document)
        yield "report", structured_report.build(document, rich, fixtures.evidence(rich), names, VOCABULARY)
    yield from _withdrawn(rich)
    yield from _withdrawn(bare)


def _written(case: Case, variant: Variant) -> Iterator[tuple[str, Dataset]]:
    made = result_set.build(case, fixtures.identity(case.findings), VOCABULARY, variant)
    for name, ds in made.items():
        single = name.startswith("overlay") and ds.SOPClassUID != MultiFrameTrueColorSecondaryCaptureImageStorage
        yield "page" if single else name, ds


def _withdrawn(source: Dataset) -> Iterator[tuple[str, Dataset]]:
    document = fixtures.findings()
    sent = [fixtures.as_received(ds) for _, ds in _written(_pictured(document, source), Variant())]
    names = fixtures.identity(document, withdrawals=1)
    yield "rejection", withdrawal.note(document, sent, "patient-safety", names, VOCABULARY, DECIDED)
    yield "withdrawn", withdrawal.page(document, source, "0123ABCD", "patient-safety", names, VOCABULARY, DECIDED)


def _pictured(document: Findings, source: Dataset) -> Case:
    """With pictures and without a place that may be named."""
    dce, shown = fixtures.volume(), replace(document, salient=None)
    return Case(shown, source, fixtures.evidence(source), dce, fixtures.saliency(dce), fixtures.mask(dce))


def _located(source: Dataset, **images: Any) -> Case:
    """With images whose places are known: the salient region can be drawn on one of them."""
    dce = fixtures.volume()
    saliency, headers = fixtures.saliency(dce), fixtures.dynamic(dce, **images)
    return Case(fixtures.made_of(headers, dce, saliency), source, headers, dce, saliency, fixtures.mask(dce))


def _replacing(earlier: Predecessor, case: Case) -> Case:
    told = ReplacedResult("0123ABCD", "2024-05-16T08:00:00", "analysed", "NO_SUPPORT", False)
    return replace(case, predecessors=(earlier,), findings=replace(case.findings, replaces=told))


def _with_further_scores(calibrated_percent: float | None) -> Findings:
    further = [replace(fixtures.SCORE, target=t, calibrated_percent=calibrated_percent) for t in ("tnbc", "pcr")]
    return fixtures.findings(further_scores=tuple(further))


def _refused_at_length() -> Findings:
    """A refusal with more reasons than one page holds."""
    reasons = [f"NO_{name}" for name in ("DCE", "PRE", "POST")]
    words = "A long explanation of what is missing. " * 20
    return replace(fixtures.refused(), problems=tuple(Problem(code, "error", words) for code in reasons * 3))


# ------------------------------------------------------------------ headers
def rich_source() -> Dataset:
    """An image that carries everything that is copied."""
    values: dict[str, Any] = {"TimezoneOffsetFromUTC": "+0200", "PatientAge": "054Y", "PatientSize": 1.7,
                              "PatientWeight": 70, "PatientBirthTime": "101010", "PatientIdentityRemoved": "NO",
                              "TypeOfPatientID": "TEXT"}  # fmt: skip
    for keyword in COPIED_IF_PRESENT:
        if keyword.endswith("Sequence"):
            values[keyword] = [_item(keyword)]
    given = {keyword: values.get(keyword, "x") for keyword in COPIED_IF_PRESENT}
    return fixtures.as_received(fixtures.source(FrameOfReferenceUID=fixtures.FRAME_OF_REFERENCE, **given))


def _item(sequence: str) -> Dataset:
    """An item as the standard wants it: a code, another number of the patient, or an issuer."""
    item = Dataset()
    if "Code" in sequence:
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "241615005", "SCT", "MRI of breast"
    elif sequence == "OtherPatientIDsSequence":
        item.PatientID, item.IssuerOfPatientID, item.TypeOfPatientID = "SYN-2", "elsewhere", "TEXT"
    elif sequence == "IssuerOfPatientIDQualifiersSequence":
        item.UniversalEntityID, item.UniversalEntityIDType = "2.25.77", "ISO"
    else:
        item.LocalNamespaceEntityID = "HOSPITAL"
    return item


def bare_source() -> Dataset:
    """An image that says no more than which one it is."""
    image, bare = fixtures.source(), Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(bare, keyword, image[keyword].value)
    return bare


if __name__ == "__main__":
    for number, (kind, one) in enumerate(every_object()):
        save(one, Path(sys.argv[1]) / f"{number:03d}-{kind}.dcm")
