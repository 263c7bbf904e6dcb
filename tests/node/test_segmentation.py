"""The selected region and its segmentation: where the score responds, at the right millimetre, called nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from mome_node.findings import Findings, Problem
from mome_node.results import dynamic_images, salient_region, segmentation
from mome_node.results.salient_region import SalientRegion
from mome_node.results.sr_template import load_vocabulary
from mome_node.volume import Volume
from tests import judges
from tests.node import result_fixtures as fixtures

VOCABULARY = load_vocabulary()
SOURCE = fixtures.source(FrameOfReferenceUID=fixtures.FRAME_OF_REFERENCE)
OBLONG = (2.5, 1.25, 5.0)  # mm along i, j, k: pixels that are not square; the spot is the centre of a voxel
PLANES = ("axial", "axial, rows flipped", "sagittal", "coronal")


def region_of(dce: Volume, headers: list[Dataset], **changes: Any) -> tuple[Findings, SalientRegion]:
    saliency = fixtures.saliency(dce)
    document = fixtures.made_of(headers, dce, saliency, **changes)
    region = salient_region.from_saliency(saliency, dce, document)
    assert region is not None
    return document, region


def built(dce: Volume, headers: list[Dataset], source: Dataset = SOURCE) -> Dataset:
    document, region = region_of(dce, headers)
    return segmentation.build(document, source, headers, fixtures.identity(document), VOCABULARY, dce, region)


def bits(ds: Dataset) -> np.ndarray:
    """(frames, rows, columns) of 0 and 1."""
    count = ds.NumberOfFrames * ds.Rows * ds.Columns
    flat = np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")[:count]
    return flat.reshape(ds.NumberOfFrames, ds.Rows, ds.Columns)


# ------------------------------------------------------------------ the region
def test_the_region_is_half_of_the_maximum_around_the_salient_point() -> None:
    """One rule that a person can repeat: at least half as salient, and connected with the most salient point."""
    dce = fixtures.volume()
    saliency = fixtures.saliency(dce)
    document, region = region_of(dce, fixtures.dynamic(dce))
    distant = np.argwhere(saliency > 0)[-1]
    assert not region.mask[tuple(distant)]
    saliency[tuple(distant)] = saliency.max()
    again = salient_region.from_saliency(saliency, dce, document)
    assert again is not None
    assert not again.mask[tuple(distant)], "as salient, and not connected"
    assert np.array_equal(again.mask, (saliency >= saliency.max() / 2) & (np.indices(saliency.shape)[0] < 70))
    assert region.volume_ml == pytest.approx(region.mask.sum() * 2.5 * 2.5 * 5 / 1000)
    assert region.slices == tuple(np.flatnonzero(region.mask.any(axis=(0, 1))))


def test_voxels_that_touch_by_a_corner_are_one_region() -> None:
    """Thick slices cut an oblique ridge into voxels that share no face."""
    dce = Volume(np.zeros((2, 80, 80, 4), np.float32), np.diag([1.0, 1, 4, 1]))
    saliency = np.zeros((80, 80, 4), np.float32)
    for n, value in enumerate((1.0, 0.6, 0.5, 0.49)):
        saliency[40 + n, 40 + n, n] = value
    document = fixtures.made_of([], dce, saliency)
    region = salient_region.from_saliency(saliency, dce, document)
    assert region is not None
    assert np.argwhere(region.mask).tolist() == [[40, 40, 0], [41, 41, 1], [42, 42, 2]]
    assert np.allclose(region.outline.mean(axis=0), [40, 40], atol=0.2)
    assert np.array_equal(region.outline[0], region.outline[-1])
    assert np.abs(region.outline - [40, 40]).max() == 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"salient": None},
        {"score": fixtures.below().score},
        {"problems": (Problem.of("PATIENT_POSITION_CONTRADICTS_ANATOMY", "Left may be right."),)},
    ],
    ids=["no salient place", "at or below the operating point", "sides unknown"],
)
def test_no_region_where_no_place_may_be_named(changes: dict[str, Any]) -> None:
    """At or below the operating point there is nothing to point at; without sides a place is a wrong place."""
    dce = fixtures.volume()
    saliency = fixtures.saliency(dce)
    document = replace(fixtures.made_of([], dce, saliency), **changes)
    assert salient_region.from_saliency(saliency, dce, document) is None
    assert not salient_region.may_be_shown(document)


def test_saliency_of_another_grid_or_exam_is_refused() -> None:
    """A region drawn from the arrays of another exam would look as good as a right one."""
    dce = fixtures.volume()
    saliency = fixtures.saliency(dce)
    document = fixtures.made_of([], dce, saliency)
    assert salient_region.from_saliency(0 * saliency, dce, document) is None
    with pytest.raises(ValueError, match="grid"):
        salient_region.from_saliency(saliency[1:], dce, document)
    with pytest.raises(ValueError, match="not salient here"):
        salient_region.from_saliency(fixtures.saliency(dce, (80, -40, -20)), dce, document)


# ------------------------------------------------------------------ the segmentation
@pytest.mark.system
@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("enhanced", [False, True], ids=["single frames", "Enhanced MR"])
def test_judges_accept_every_plane_and_kind_of_input(plane: str, enhanced: bool, tmp_path: Path) -> None:
    """An archive or a viewer that refuses it shows nothing, and nobody knows that there was something."""
    dce = fixtures.volume(plane)
    source = fixtures.as_received(SOURCE)
    fixtures.saved(built(dce, fixtures.dynamic(dce, enhanced), source), tmp_path / "seg.dcm")
    assert judges.judge(tmp_path / "seg.dcm", source) == []


@pytest.mark.parametrize("plane", PLANES)
def test_its_centre_lies_at_the_planted_millimetre(plane: str, tmp_path: Path) -> None:
    """As another implementation reads it: the marked voxels are the region's, and their centre is the spot."""
    dce = fixtures.volume(plane, OBLONG)
    fixtures.saved(built(dce, fixtures.dynamic(dce)), tmp_path / "seg.dcm")
    read = highdicom.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    marked = np.argwhere(read.array > 0)
    assert len(marked) > 50
    centre = (read.affine @ [*marked.mean(axis=0), 1])[:3]
    assert np.abs(centre - fixtures.SPOT).max() < 0.1
    _, region = region_of(dce, fixtures.dynamic(dce))
    wanted = dce.to_patient(np.argwhere(region.mask))
    index = (np.column_stack([wanted, np.ones(len(wanted))]) @ np.linalg.inv(read.affine).T)[:, :3].round().astype(int)
    assert sorted(map(tuple, index)) == sorted(map(tuple, marked))
    assert read.frame_of_reference_uid == fixtures.FRAME_OF_REFERENCE


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
@pytest.mark.parametrize("enhanced", [False, True], ids=["single frames", "Enhanced MR"])
def test_every_frame_cites_the_image_after_contrast_that_it_lies_on(plane: str, enhanced: bool) -> None:
    """A viewer lays the region over the cited image: through that image's own header it is at the same millimetre."""
    dce = fixtures.volume(plane, OBLONG)
    headers = fixtures.dynamic(dce, enhanced)
    ds = built(dce, headers)
    images = {header.SOPInstanceUID: header for header in headers}
    centres, weights = [], []
    for frame, groups in zip(bits(ds), ds.PerFrameFunctionalGroupsSequence, strict=True):
        cited = groups.DerivationImageSequence[0].SourceImageSequence[0]
        image = images[cited.ReferencedSOPInstanceUID]
        if enhanced:
            frames = image.PerFrameFunctionalGroupsSequence[cited.ReferencedFrameNumber - 1]
            position, orientation, measures, content = (
                frames[f"{name}Sequence"][0]
                for name in ("PlanePosition", "PlaneOrientation", "PixelMeasures", "FrameContent")
            )
            assert content.FrameAcquisitionDateTime == "20240517100100"
        else:
            position = orientation = measures = image
            assert "ReferencedFrameNumber" not in cited
            assert image.AcquisitionTime == "100100"
        row, column = np.argwhere(frame).mean(axis=0)
        along = np.array(orientation.ImageOrientationPatient, float).reshape(2, 3)
        offset = along[0] * column * measures.PixelSpacing[1] + along[1] * row * measures.PixelSpacing[0]
        centres.append(np.array(position.ImagePositionPatient, float) + offset)
        weights.append(frame.sum())
    assert np.abs(np.average(centres, axis=0, weights=weights) - fixtures.SPOT).max() < 0.1


def test_where_the_volume_is_no_image_it_cites_none() -> None:
    """Two slabs joined on one grid: its voxels are no image's pixels. It keeps its own place and claims no source."""
    dce = fixtures.volume("sagittal")
    between = dce.affine[:3, 2] * 0.4
    ds = built(dce, fixtures.dynamic(dce, shift=tuple(between)))
    assert "ReferencedSeriesSequence" not in ds
    assert all(not groups.DerivationImageSequence for groups in ds.PerFrameFunctionalGroupsSequence)
    first = ds.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    _, region = region_of(dce, fixtures.dynamic(dce))
    assert np.allclose(np.array(first, float), dce.to_patient(np.array([[0, 0, region.slices[0]]]))[0], atol=1e-3)


def test_the_images_of_a_slice_are_told_apart_by_time_and_not_by_name() -> None:
    """Enhanced MR may hold several contrasts of a phase; without times the scanner's counts tell the phases."""
    dce = fixtures.volume()
    headers = fixtures.dynamic(dce)
    document = fixtures.made_of(headers, dce, fixtures.saliency(dce))
    for header in headers:
        header.TemporalPositionIdentifier = 1 + int(header.AcquisitionTime == "100100")
        del header.AcquisitionTime, header.AcquisitionDate
    found = dynamic_images.by_slice(document, headers, dce)
    assert sorted(found) == list(range(dce.voxels.shape[3]))
    assert {image.header.TemporalPositionIdentifier for image in found.values()} == {2}
    enhanced = fixtures.dynamic(dce, enhanced=True)
    frames = enhanced[0].PerFrameFunctionalGroupsSequence
    enhanced[0].PerFrameFunctionalGroupsSequence = [*frames, *frames]  # water and fat of every phase and slice
    document = fixtures.made_of(enhanced, dce, fixtures.saliency(dce))
    for image in dynamic_images.by_slice(document, enhanced, dce).values():
        content = enhanced[0].PerFrameFunctionalGroupsSequence[image.frame - 1].FrameContentSequence[0]
        assert content.FrameAcquisitionDateTime == "20240517100100"


def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    """The same work done twice is the same object: an archive keeps one of them, and it does not matter which."""
    dce = fixtures.volume()
    headers = fixtures.dynamic(dce)
    first = fixtures.saved(built(dce, headers), tmp_path / "first.dcm")
    assert first == fixtures.saved(built(dce, headers[::-1]), tmp_path / "second.dcm")


@pytest.mark.system
def test_the_judges_of_a_segmentation_are_awake(tmp_path: Path) -> None:
    """A judge that never complains proves nothing."""
    dce = fixtures.volume()

    def complaints(spoil: Any) -> str:
        fixtures.saved(built(dce, fixtures.dynamic(dce)), tmp_path / "spoiled.dcm")
        ds = dcmread(tmp_path / "spoiled.dcm")
        spoil(ds)
        fixtures.saved(ds, tmp_path / "spoiled.dcm")
        return "\n".join(judges.judge(tmp_path / "spoiled.dcm"))

    def lesion(ds: Dataset) -> None:
        ds.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue = "52988006"

    def unlisted(ds: Dataset) -> None:
        del ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]

    assert "something else" in complaints(lesion)
    assert "not those that it lists" in complaints(unlisted)
    assert "names a side" in complaints(lambda ds: setattr(ds, "Laterality", "R"))
    assert "no lesion" in complaints(lambda ds: setattr(ds, "ContentDescription", "Tumour"))
    assert "frame of reference" in complaints(lambda ds: delattr(ds, "FrameOfReferenceUID"))
