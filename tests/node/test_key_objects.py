"""The key object selection: it leads a reader to the slice and to the results, and to nothing that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from mome_node.results import key_objects, located_region, salient_region, segmentation
from mome_node.results.sr_template import load_vocabulary
from tests import judges
from tests.node import result_fixtures as fixtures

VOCABULARY = load_vocabulary()
SOURCE = fixtures.source(FrameOfReferenceUID=fixtures.FRAME_OF_REFERENCE)
KINDS = {
    "overlay": "1.2.840.10008.5.1.4.1.1.7.4",
    "seg": judges.SEGMENTATION,
    "report": "1.2.840.10008.5.1.4.1.1.88.34",
}


def built(enhanced: bool = False, source: Dataset = SOURCE, plane: str = "axial") -> tuple[Dataset, list[Dataset]]:
    """The selection of an exam with overlay, segmentation and report; and the headers of its images."""
    dce = fixtures.volume(plane)
    headers = fixtures.dynamic(dce, enhanced)
    saliency = fixtures.saliency(dce)
    document = fixtures.made_of(headers, dce, saliency)
    region = salient_region.from_saliency(saliency, dce, document)
    assert region is not None
    shared = (document, source, headers, fixtures.identity(document), VOCABULARY)
    results = [overlay(), segmentation.build(*shared, dce, region), located_region.build(*shared, dce, region)]
    return key_objects.build(*shared, dce, region, results), headers


def overlay() -> Dataset:
    """As much of a secondary capture as a selection looks at."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = KINDS["overlay"], "2.25.61000"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = fixtures.STUDY, "2.25.6100"
    ds.Rows = ds.Columns = 512
    return ds


def selected(ds: Dataset) -> list[Dataset]:
    return [item for item in ds.ContentSequence if item.ValueType in ("IMAGE", "COMPOSITE")]


@pytest.mark.system
@pytest.mark.parametrize("enhanced", [False, True], ids=["single frames", "Enhanced MR"])
def test_judges_accept_both_kinds_of_input(enhanced: bool, tmp_path: Path) -> None:
    """Archives act on key objects by themselves: what they misread they do wrong."""
    source = fixtures.as_received(SOURCE)
    fixtures.saved(built(enhanced, source)[0], tmp_path / "key.dcm")
    assert judges.judge(tmp_path / "key.dcm", source) == []


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
def test_it_leads_to_the_slice_and_to_the_results(plane: str) -> None:
    """First the image in which the score responds most, then what was made of the exam; a report has no pixels."""
    ds, headers = built(plane=plane)
    (image, *results) = [item.ReferencedSOPSequence[0] for item in selected(ds)]
    assert [item.ReferencedSOPClassUID for item in results] == list(KINDS.values())
    assert [item.ValueType for item in selected(ds)] == ["IMAGE", "IMAGE", "IMAGE", "COMPOSITE"]
    key = next(header for header in headers if header.SOPInstanceUID == image.ReferencedSOPInstanceUID)
    along = np.array(key.ImageOrientationPatient, float).reshape(2, 3)
    off = np.dot(np.cross(*along), np.array(fixtures.SPOT) - np.array(key.ImagePositionPatient, float))
    assert abs(off) <= 2.5 + 1e-6, "half of the distance of slices"
    assert key.AcquisitionTime == "100100"


def test_of_an_enhanced_object_it_names_the_frame() -> None:
    """An object of 300 frames as a whole is no key image."""
    ds, _ = built(enhanced=True)
    assert selected(ds)[0].ReferencedSOPSequence[0].ReferencedFrameNumber > 0


def test_where_no_place_may_be_named_it_selects_results_only() -> None:
    """An image that is selected is a place that is named."""
    document = fixtures.below()
    shared = (document, SOURCE, fixtures.evidence(SOURCE), fixtures.identity(document), VOCABULARY)
    ds = key_objects.build(*shared, None, None, [overlay()])
    assert [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in selected(ds)] == ["2.25.61000"]
    with pytest.raises(ValueError, match="at least one"):
        key_objects.build(*shared, None, None, [])


def test_it_says_that_no_person_selected() -> None:
    """Key images are a colleague's word in other exams."""
    ds, _ = built()
    assert ds.ConceptNameCodeSequence[0].CodeValue == "113009"
    text = next(
        item.TextValue for item in ds.ContentSequence if item.ValueType == "TEXT" and judges.name_of(item) == "113012"
    )
    assert "not confirmed by a person" in text


def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    """The same work done twice is the same object."""
    first = fixtures.saved(built()[0], tmp_path / "first.dcm")
    assert first == fixtures.saved(built()[0], tmp_path / "second.dcm")


@pytest.mark.system
def test_the_judges_of_a_selection_are_awake(tmp_path: Path) -> None:
    """A judge that never complains proves nothing."""

    def complaints(spoil: Any) -> str:
        ds, _ = built()
        spoil(ds)
        fixtures.saved(ds, tmp_path / "spoiled.dcm")
        return "\n".join(judges.judge(tmp_path / "spoiled.dcm"))

    def named(ds: Dataset) -> None:
        selected(ds)[0].ConceptNameCodeSequence = ds.ConceptNameCodeSequence

    def unlisted(ds: Dataset) -> None:
        del ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]

    assert "concept name" in complaints(named)
    assert "missing from the evidence" in complaints(unlisted)
