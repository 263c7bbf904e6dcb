"""A BI-RADS category counts only where a person gave it for this exam."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
)

from mome_node.analysis.known_category import from_report, from_request


def coded(value: str, scheme: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "assessment"
    return item


def report(
    folder: Path,
    *categories: tuple[str, str],
    title: tuple[str, str] = ("18748-4", "LN"),
    flag: str = "COMPLETE",
    cites: str = MRImageStorage,
    observer: str = "121006",
) -> Path:
    """An SR about an image of its study, with one nested code item for each category."""
    ds, image, series, study = Dataset(), Dataset(), Dataset(), Dataset()
    ds.StudyInstanceUID = study.StudyInstanceUID = "2.25.1"
    ds.CompletionFlag, image.ReferencedSOPClassUID = flag, cites
    series.ReferencedSOPSequence, study.ReferencedSeriesSequence = [image], [series]
    ds.CurrentRequestedProcedureEvidenceSequence = [study]
    ds.SOPClassUID, ds.SOPInstanceUID = ComprehensiveSRStorage, f"2.25.{len(list(folder.iterdir())) + 1}"
    ds.ConceptNameCodeSequence = [coded(*title)]
    container = Dataset()
    container.ValueType = "CONTAINER"
    container.ContentSequence = []
    for category in categories:
        item = Dataset()
        item.ValueType = "CODE"
        item.ConceptCodeSequence = [coded(*category)]
        container.ContentSequence.append(item)
    who = Dataset()  # TID 1002: a person unless told otherwise
    who.RelationshipType, who.ValueType = "HAS OBS CONTEXT", "CODE"
    who.ConceptNameCodeSequence, who.ConceptCodeSequence = [coded("121005", "DCM")], [coded(observer, "DCM")]
    ds.ContentSequence = [who, container]
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    dcmwrite(path, ds, enforce_file_format=True)
    return path


def image(reason: str) -> Dataset:
    ds, request = Dataset(), Dataset()
    request.ReasonForTheRequestedProcedure = reason
    ds.RequestAttributesSequence = [request]
    return ds


def test_the_report_of_the_exam_gives_the_category(tmp_path: Path) -> None:
    """CID 6027, in SNOMED CT or in the BI-RADS scheme."""
    assert from_report([report(tmp_path, ("397144001", "SCT"))]) == "4"
    assert from_report([report(tmp_path, ("MA.II.A.5.4B", "BI"))]) == "4B"


def test_the_higher_of_two_breasts_is_the_category_of_the_exam(tmp_path: Path) -> None:
    """The score is of the whole exam, so the exam's category is the one that decides what happens next."""
    assert from_report([report(tmp_path, ("397141009", "SCT"), ("MA.II.A.5.4A", "BI"))]) == "4A"


def test_a_mammography_report_does_not_count(tmp_path: Path) -> None:
    """Its category is of another exam, even when it was filed into this study."""
    category = ("397144001", "SCT")
    assert from_report([report(tmp_path, category, title=("111036", "DCM"))]) is None  # Mammography CAD Report
    assert from_report([report(tmp_path, category, title=("24606-6", "LN"))]) is None  # MG Breast Screening
    assert from_report([report(tmp_path, category, cites=DigitalMammographyXRayImageStorageForPresentation)]) is None


def test_a_draft_does_not_count(tmp_path: Path) -> None:
    """The reader may still change it."""
    assert from_report([report(tmp_path, ("397144001", "SCT"), flag="PARTIAL")]) is None


def test_a_report_of_another_program_does_not_count(tmp_path: Path) -> None:
    """A CAD or another AI may write a category in a report like a reader's: nobody has read the exam."""
    assert from_report([report(tmp_path, ("397144001", "SCT"), observer="121007")]) is None


@pytest.mark.parametrize(
    ("words", "category"),
    [
        ("BI-RADS 4A left, biopsy?", "4A"),
        ("birads category 4", "4"),
        ("BIRADS: 3", "3"),
        ("mammogram BI-RADS 4", None),  # of another exam
        ("prior MRI BI-RADS 4B", None),
        ("BI-RADS 4A left. BI-RADS 2 right", None),  # two answers are none
        ("screening, high risk", None),
        ("BI-RADS 40", None),
        ("BI-RADS 4 C left", None),  # 4C, not 4
        ("BI-RADS 4(c)", None),
        ("BI-RADS 4-5", None),
        ("BI-RADS 4A-4C", None),
        ("Mammo BI-RADS 4", None),
        ("Ultraschall BIRADS 4", None),
        ("MG/US: BI-RADS 4b", None),
        ("DBT BI-RADS 4A", None),
        ("BI-RADS 4 on outside imaging", None),
        ("BI-RADS 4 lesion. Seen on mammography.", None),
        ("BI-RADS 4 (2021)", None),
    ],
)
def test_the_request_counts_where_it_speaks_of_this_exam_alone(words: str, category: str | None) -> None:
    assert from_request(image(words)) == category
