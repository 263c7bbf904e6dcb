"""The parametric map: the saliency as numbers, on the slices around it, at the right millimetre."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from mome_node.results import parametric_map
from mome_node.results.sr_template import load_vocabulary
from mome_node.volume import Volume
from tests import judges
from tests.node import result_fixtures as fixtures

VOCABULARY = load_vocabulary()
SOURCE = fixtures.source(FrameOfReferenceUID=fixtures.FRAME_OF_REFERENCE)


def built(
    dce: Volume, headers: list[Dataset], saliency: np.ndarray | None = None, source: Dataset = SOURCE, **changes: Any
) -> Dataset:
    shown = fixtures.saliency(dce) if saliency is None else saliency
    document = fixtures.made_of(headers, dce, fixtures.saliency(dce), **changes)
    return parametric_map.build(document, source, headers, fixtures.identity(document), VOCABULARY, dce, shown)


def shares(ds: Dataset) -> np.ndarray:
    """(frames, rows, columns)"""
    return np.frombuffer(ds.FloatPixelData, "<f4").reshape(ds.NumberOfFrames, ds.Rows, ds.Columns)


@pytest.mark.system
@pytest.mark.parametrize("plane", ["axial", "sagittal"])
@pytest.mark.parametrize("enhanced", [False, True], ids=["single frames", "Enhanced MR"])
def test_judges_accept_every_plane_and_kind_of_input(plane: str, enhanced: bool, tmp_path: Path) -> None:
    """Few archives know parametric maps; those that do read them strictly."""
    dce = fixtures.volume(plane)
    source = fixtures.as_received(SOURCE)
    fixtures.saved(built(dce, fixtures.dynamic(dce, enhanced), source=source), tmp_path / "map.dcm")
    assert judges.judge(tmp_path / "map.dcm", source) == []


@pytest.mark.parametrize("plane", ["axial", "axial, columns flipped", "sagittal", "coronal"])
def test_the_hottest_pixel_lies_at_its_millimetre(plane: str, tmp_path: Path) -> None:
    """Read back from the file, through the place of its own frame."""
    dce = fixtures.volume(plane, (2.5, 1.25, 5.0))  # the spot is the centre of a voxel
    fixtures.saved(built(dce, fixtures.dynamic(dce)), tmp_path / "map.dcm")
    ds = dcmread(tmp_path / "map.dcm")
    frame, row, column = np.unravel_index(int(shares(ds).argmax()), shares(ds).shape)
    shared = ds.SharedFunctionalGroupsSequence[0]
    position = ds.PerFrameFunctionalGroupsSequence[frame].PlanePositionSequence[0].ImagePositionPatient
    along = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = shared.PixelMeasuresSequence[0].PixelSpacing
    spot = np.array(position, float) + along[0] * column * between_columns + along[1] * row * between_rows
    assert np.abs(spot - fixtures.SPOT).max() < 0.1


def test_a_pixel_is_a_share_of_the_maximum() -> None:
    """The height of a saliency compares with no other exam: 1 is the most salient place of this one."""
    dce = fixtures.volume()
    saliency = 37 * fixtures.saliency(dce)
    ds = built(dce, fixtures.dynamic(dce), saliency)
    slices = parametric_map.shown_slices(saliency)
    assert shares(ds).max() == 1
    wanted = (saliency / saliency.max())[:, :, slices].transpose(2, 1, 0)
    assert np.abs(shares(ds) - wanted).max() <= 0.51e-4
    mapping = ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert (mapping.RealWorldValueIntercept, mapping.RealWorldValueSlope) == (0, 1)
    assert mapping.LUTExplanation.startswith("integrated gradients")


@pytest.mark.parametrize(
    ("peaks", "slices"),
    [
        ([0, 0, 1, 0], [0, 1, 2]),
        ([0, 0.25, 0.1, 1, 0.24, 0.3, 0.2], [0, 1, 2, 3, 4, 5]),
        ([0.3] * 39 + [1, 0.2], list(range(40))),
        ([0.3] * 60 + [1] + [0.3] * 60, list(range(40, 80))),
        ([1] + [0.3] * 120, list(range(40))),
        ([0.3] * 120 + [1], list(range(81, 121))),
    ],
)
def test_from_the_first_slice_to_the_last_warm_one(
    peaks: list[float], slices: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """OHIF lays frame n over slice n, so frame 1 is slice 1; of large images the slices around the hottest stay."""
    monkeypatch.setattr(parametric_map, "MOST_PIXELS", 2 * 3 * 40)
    assert parametric_map.shown_slices(np.broadcast_to(np.array(peaks), (2, 3, len(peaks)))) == slices


def test_nothing_is_mapped_where_no_place_may_be_named() -> None:
    """At or below the operating point a map would point at something that was not found."""
    dce = fixtures.volume()
    headers = fixtures.dynamic(dce)
    with pytest.raises(ValueError, match="no place"):
        built(dce, headers, score=fixtures.below().score)
    with pytest.raises(ValueError, match="grid"):
        built(dce, headers, fixtures.saliency(dce)[1:])
    with pytest.raises(ValueError, match="zero"):
        built(dce, headers, 0 * fixtures.saliency(dce))


def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    """The same work done twice is the same object."""
    dce = fixtures.volume()
    headers = fixtures.dynamic(dce)
    first = fixtures.saved(built(dce, headers), tmp_path / "first.dcm")
    assert first == fixtures.saved(built(dce, headers[::-1]), tmp_path / "second.dcm")


@pytest.mark.system
def test_the_judges_of_a_map_are_awake(tmp_path: Path) -> None:
    """A judge that never complains proves nothing."""
    dce = fixtures.volume()

    def complaints(spoil: Any) -> str:
        ds = built(dce, fixtures.dynamic(dce))
        spoil(ds)
        fixtures.saved(ds, tmp_path / "spoiled.dcm")
        return "\n".join(judges.judge(tmp_path / "spoiled.dcm"))

    def quantity(ds: Dataset) -> None:
        mapping = ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
        mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue = "113041"

    assert "not saliency" in complaints(quantity)
    assert "not qualified as research" in complaints(lambda ds: setattr(ds, "ContentQualification", "PRODUCT"))
    assert "dciodvfy" in complaints(lambda ds: delattr(ds, "AcquisitionContextSequence"))
