"""The located region: an outline that a viewer draws on the right image, at the right millimetre, without numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from mome_node.findings import Findings
from mome_node.results import located_region, salient_region
from mome_node.results.sr_template import load_vocabulary
from mome_node.volume import Volume
from tests import judges
from tests.node import result_fixtures as fixtures

VOCABULARY = load_vocabulary()
OBLONG = (2.5, 1.25, 5.0)  # mm along i, j, k: pixels that are not square; the spot is the centre of a voxel
SOURCE = fixtures.source(FrameOfReferenceUID=fixtures.FRAME_OF_REFERENCE)


def built(dce: Volume, headers: list[Dataset], source: Dataset = SOURCE) -> Dataset:
    saliency = fixtures.saliency(dce)
    document = fixtures.made_of(headers, dce, saliency)
    return report(document, dce, headers, saliency, source)


def report(
    document: Findings, dce: Volume, headers: list[Dataset], saliency: np.ndarray, source: Dataset = SOURCE
) -> Dataset:
    region = salient_region.from_saliency(saliency, dce, document)
    assert region is not None
    return located_region.build(document, source, headers, fixtures.identity(document), VOCABULARY, dce, region)


def outline(ds: Dataset) -> tuple[np.ndarray, Dataset]:
    """Columns and rows (N, 2) of the one outline, and the image that it is drawn on."""
    (group,) = judges.groups(ds)
    (item,) = [item for item in group.ContentSequence if item.ValueType == "SCOORD"]
    return np.array(item.GraphicData).reshape(-1, 2), item.ContentSequence[0].ReferencedSOPSequence[0]


@pytest.mark.system
@pytest.mark.parametrize("plane", ["axial", "sagittal"])
@pytest.mark.parametrize("enhanced", [False, True], ids=["single frames", "Enhanced MR"])
def test_judges_accept_every_plane_and_kind_of_input(plane: str, enhanced: bool, tmp_path: Path) -> None:
    """A report that one reader takes and another refuses is shown to some and hidden from others."""
    dce = fixtures.volume(plane)
    source = fixtures.as_received(SOURCE)
    fixtures.saved(built(dce, fixtures.dynamic(dce, enhanced), source), tmp_path / "located.dcm")
    assert judges.judge(tmp_path / "located.dcm", source) == []


@pytest.mark.parametrize("plane", ["axial", "axial, rows flipped", "sagittal", "coronal"])
@pytest.mark.parametrize("enhanced", [False, True], ids=["single frames", "Enhanced MR"])
def test_the_outline_lies_at_the_planted_millimetre(plane: str, enhanced: bool) -> None:
    """Through position, orientation and spacing of the cited image, as a viewer does it; its centre is the spot.

    SCOORD counts from the corner of the first pixel (PS3.3 C.18.6.1.1), ImagePositionPatient is that pixel's centre.
    """
    dce = fixtures.volume(plane, OBLONG)
    headers = fixtures.dynamic(dce, enhanced)
    points, cited = outline(built(dce, headers))
    image = next(header for header in headers if header.SOPInstanceUID == cited.ReferencedSOPInstanceUID)
    places = [image] * 3
    if enhanced:
        groups = image.PerFrameFunctionalGroupsSequence[cited.ReferencedFrameNumber - 1]
        places = [groups[f"{n}Sequence"][0] for n in ("PlanePosition", "PlaneOrientation", "PixelMeasures")]
    position, orientation, measures = places
    along = np.array(orientation.ImageOrientationPatient, float).reshape(2, 3)
    steps = along * np.array(measures.PixelSpacing, float)[::-1, None]
    spot = np.array(position.ImagePositionPatient, float) + (points - 0.5) @ steps
    edges = np.stack([spot.min(axis=0), spot.max(axis=0)])
    assert np.abs(edges.mean(axis=0) - fixtures.SPOT).max() < 0.1
    assert (np.ptp(spot, axis=0) > 15).sum() == 2, "as wide as half of the maximum of a blob of sigma 9 mm"


def test_on_an_image_beside_the_grid_it_keeps_its_millimetre() -> None:
    """Two slabs joined on one grid: the image has other pixels than the volume, and the place is the same."""
    dce = fixtures.volume("sagittal")
    shift = np.array([0.0, 1.7, -0.9]) + dce.affine[:3, 2] * 0.4
    plain, _ = outline(built(dce, fixtures.dynamic(dce)))
    points, cited = outline(built(dce, fixtures.dynamic(dce, shift=tuple(shift))))
    moved = (plain - points) * 2.5  # columns run to posterior, rows to the feet
    assert np.allclose(moved, [1.7, 0.9], atol=0.05)
    assert cited.ReferencedSOPInstanceUID


def test_it_is_called_a_selected_region_and_says_what_it_is_not() -> None:
    """A drawn outline reads as a lesion unless it says otherwise where it is drawn."""
    dce = fixtures.volume()
    ds = built(dce, fixtures.dynamic(dce))
    (group,) = judges.groups(ds)
    texts = [item.TextValue for item in group.ContentSequence if item.ValueType == "TEXT"]
    assert "AI selected region: what the score responds to; not a lesion, not an extent." in texts
    assert "Research use only. Not for clinical use." in texts
    assert not any(item.ValueType == "NUM" for item in group.ContentSequence)
    assert ds.SeriesDescription.startswith("AI-RUO Region SR")
    assert ds.Modality == "SR"


def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    """The same work done twice is the same object."""
    dce = fixtures.volume()
    headers = fixtures.dynamic(dce)
    first = fixtures.saved(built(dce, headers), tmp_path / "first.dcm")
    assert first == fixtures.saved(built(dce, headers[::-1]), tmp_path / "second.dcm")


def test_without_an_image_to_draw_on_there_is_none() -> None:
    """An outline on an image of another series would be drawn in another place."""
    dce = fixtures.volume()
    headers = fixtures.dynamic(dce)
    saliency = fixtures.saliency(dce)
    document = fixtures.made_of(headers, dce, saliency)
    for header in headers:
        header.SOPInstanceUID += "9"
    with pytest.raises(ValueError, match="dynamic series"):
        report(document, dce, headers, saliency)


@pytest.mark.system
def test_the_judges_of_a_located_region_are_awake(tmp_path: Path) -> None:
    """A judge that never complains proves nothing."""
    dce = fixtures.volume()

    def complaints(spoil: Any) -> str:
        ds = built(dce, fixtures.dynamic(dce))
        spoil(ds, judges.groups(ds)[0].ContentSequence)
        fixtures.saved(ds, tmp_path / "spoiled.dcm")
        return "\n".join(judges.judge(tmp_path / "spoiled.dcm"))

    def named(items: list[Dataset], name: str) -> Dataset:
        return next(item for item in items if judges.name_of(item) == name)

    def lesion(ds: Dataset, items: list[Dataset]) -> None:
        named(items, "121071").ConceptCodeSequence[0].CodeValue = "52988006"

    def open_outline(ds: Dataset, items: list[Dataset]) -> None:
        item = next(item for item in items if item.ValueType == "SCOORD")
        item.GraphicData = list(item.GraphicData)[:-2]

    def without_outline(ds: Dataset, items: list[Dataset]) -> None:
        del items[[item.ValueType for item in items].index("SCOORD")]

    def score(ds: Dataset, items: list[Dataset]) -> None:
        named(items, "LIMITS").ConceptNameCodeSequence[0].CodeValue = "AI_SCORE"

    assert "something else" in complaints(lesion)
    assert "not closed" in complaints(open_outline)
    assert "not one outline" in complaints(without_outline)
    assert "score of the whole exam" in complaints(score)
