"""A BI-RADS category counts only where a person gave it for this exam."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian

from mome_node.analysis.known_category import from_report, from_request


def coded(value: str, scheme: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "assessment"
    return item


def report(folder: Path, *categories: tuple[str, str], title: tuple[str, str] = ("18748-4", "LN")) -> Path:
    """An SR with one nested code item for each category."""
    ds = Dataset()
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
    ds.ContentSequence = [container]
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
    assert from_report([report(tmp_path, ("397144001", "SCT"), title=("111036", "DCM"))]) is None


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
    ],
)
def test_the_request_counts_where_it_speaks_of_this_exam_alone(words: str, category: str | None) -> None:
    assert from_request(image(words)) == category
