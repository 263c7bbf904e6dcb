"""The secondary capture: the right millimetre in every plane, words that are read, and nothing that is cut off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from scipy import ndimage

from mome_node.findings import Advice, Findings, Problem, Reason
from mome_node.results import drawing, planes
from mome_node.results.pages import summary_png
from mome_node.results.secondary_capture import build
from mome_node.results.sr_template import load_vocabulary
from mome_node.volume import Volume
from tests import judges
from tests.node import result_fixtures as fixtures

VOCABULARY = load_vocabulary()
RIGHT_WAY_UP = {  # patient axis and sense of the columns, of the rows
    "axial": ((0, 1), (1, 1)),
    "axial, rows flipped": ((0, 1), (1, 1)),
    "axial, columns flipped": ((0, 1), (1, 1)),
    "sagittal": ((1, 1), (2, -1)),
    "coronal": ((0, 1), (2, -1)),
}


def capture(document: Findings, dce: Volume | None = None, source: Dataset | None = None) -> Dataset:
    image = source or fixtures.source()
    if document.score is not None and dce is None:
        dce = fixtures.volume()
    pictures = (None, None) if dce is None else (fixtures.saliency(dce), fixtures.mask(dce))
    return build(document, image, fixtures.evidence(image), fixtures.identity(document), VOCABULARY, dce, *pictures)


def frames(ds: Dataset) -> np.ndarray:
    """(frames, rows, columns, 3)"""
    return np.frombuffer(ds.PixelData, np.uint8).reshape(-1, ds.Rows, ds.Columns, 3)


def labels(ds: Dataset) -> list[str]:
    found = ds.get("FrameLabelVector", "")
    return [found] if isinstance(found, str) else list(found)


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The secondary capture of a complete exam, as read back from its file."""
    path = tmp_path_factory.mktemp("sc") / "overlay.dcm"
    fixtures.saved(capture(fixtures.findings()), path)
    return dcmread(path)


@pytest.mark.system
@pytest.mark.parametrize("kind", fixtures.KINDS)
def test_judges_accept_every_kind_of_capture(kind: str, tmp_path: Path) -> None:
    """Every viewer is to show it, so every judge is to accept it."""
    source = fixtures.as_received(fixtures.source())
    fixtures.saved(capture(fixtures.KINDS[kind](), source=source), tmp_path / "overlay.dcm")
    assert judges.judge(tmp_path / "overlay.dcm", source) == []


@pytest.mark.system
@pytest.mark.parametrize("plane", ["sagittal", "coronal"])
def test_judges_accept_every_plane(plane: str, tmp_path: Path) -> None:
    """PatientOrientation says L and P only where the pictures are axial."""
    ds = capture(fixtures.findings(), fixtures.volume(plane))
    fixtures.saved(ds, tmp_path / "overlay.dcm")
    assert judges.judge(tmp_path / "overlay.dcm", fixtures.source()) == []
    assert not ds.PatientOrientation


def test_summary_then_where_then_why(complete: Dataset) -> None:
    """Viewers open on frame 1; a reader who stops there has read what matters."""
    found = labels(complete)
    assert found[0] == "SUMMARY"
    assert found[-1] == "CONTRIBUTIONS"
    assert found == sorted(found, key=["SUMMARY", "SALIENCY", "DETAILS", "CONTRIBUTIONS"].index)
    assert 1 <= found.count("SALIENCY") <= 6
    assert complete.NumberOfFrames == len(found)
    assert complete.BurnedInAnnotation == "YES"


def hot_picture(frame: np.ndarray) -> np.ndarray:
    """Which pixels (rows, columns) of a slice page lie in the picture that is drawn with the saliency.

    Both pictures are black where the synthetic exam is empty; only one of them is warm anywhere.
    """
    found = np.zeros(frame.shape[:2], bool)
    boxes = ndimage.find_objects(ndimage.label((frame == 0).all(axis=2))[0])
    large = sorted(boxes, key=lambda box: -found[box].size)[:2]
    warm = max(large, key=lambda box: (frame[box][..., 0] - frame[box][..., 2]).max())
    found[warm] = True
    return found


@pytest.mark.parametrize("plane", RIGHT_WAY_UP)
def test_the_hottest_pixel_lies_at_its_millimetre(plane: str) -> None:
    """Where the overlay glows is where the saliency is, in any plane and with rows or columns stored backwards.

    Two bright fiducials at known millimetres on the hottest slice calibrate the picture without asking the software.
    """
    affine, shape = fixtures.grid(plane, (2.5, 2.5, 5.0))
    dce = Volume(np.zeros((2, *shape), np.float32), affine)
    hot = np.array(dce.to_voxels(np.array([fixtures.SPOT]))[0].round(), int)
    target = dce.to_patient(hot[None])[0]
    near, far = hot.copy(), hot.copy()
    near[:2], far[:2] = hot[:2] - 16, hot[:2] + 9
    for fiducial in (near, far):
        dce.voxels[1][tuple(fiducial)] = 1000
    saliency = np.zeros(shape, np.float32)
    saliency[tuple(hot)] = 1
    document = fixtures.findings()
    ds = build(document, fixtures.source(), fixtures.evidence(), fixtures.identity(document), VOCABULARY,
               dce, saliency, np.ones(shape, bool))  # fmt: skip
    assert labels(ds).count("SALIENCY") == 1
    frame = frames(ds)[labels(ds).index("SALIENCY")].astype(int)
    picture = hot_picture(frame)
    frame = np.where(picture[..., None], frame, drawing.PAPER)
    spots, count = ndimage.label((frame == 255).all(axis=2))
    assert count == 2
    centres = np.array(ndimage.center_of_mass(spots > 0, spots, [1, 2]))
    marks = dce.to_patient(np.array([near, far]))
    warmth = np.where(picture, frame[..., 0] - frame[..., 2], 0)
    glow = np.argwhere(warmth == warmth.max()).mean(axis=0)
    for pixels, (axis, sense) in ((1, RIGHT_WAY_UP[plane][0]), (0, RIGHT_WAY_UP[plane][1])):
        order = np.argsort(centres[:, pixels])
        millimetres = np.sort(marks[:, axis])[:: 1 if sense > 0 else -1]
        per_pixel = np.diff(millimetres)[0] / np.diff(centres[order, pixels])[0]
        found = millimetres[0] + (glow[pixels] - centres[order[0], pixels]) * per_pixel
        assert found == pytest.approx(target[axis], abs=0.8)


@pytest.mark.parametrize("plane", RIGHT_WAY_UP)
def test_the_projection_shows_the_right_breast_on_the_left(plane: str) -> None:
    """Radiological display, axial, anterior up, whatever plane was acquired: frame 1 of every exam looks alike."""
    frame = frames(capture(fixtures.findings(), fixtures.volume(plane)))[0]
    picture = frame[180:340, drawing.MARGIN : drawing.MARGIN + 344].astype(int)
    bright = (picture.min(axis=2) > 250).astype(float)  # the enhancing spot; letters and outline are darker
    assert bright.any()
    row, column = ndimage.center_of_mass(bright)
    assert column < picture.shape[1] / 2 - 40
    assert row < picture.shape[0] * 0.6


def test_below_the_operating_point_nothing_is_pointed_at() -> None:
    """A heat map always has a hottest place; below the operating point it would point at nothing."""
    ds = capture(fixtures.below())
    assert set(labels(ds)) == {"SUMMARY", "DETAILS", "CONTRIBUTIONS"}
    assert not (
        frames(ds).astype(int)[..., 0] - frames(ds).astype(int)[..., 2] > 150
    ).any()  # amber is the operating point


def test_no_saliency_no_overlay() -> None:
    """Saliency of zero everywhere divides by nothing and draws nothing."""
    dce, document = fixtures.volume(), fixtures.findings()
    nothing = np.zeros(dce.voxels.shape[1:], np.float32)
    ds = build(document, fixtures.source(), fixtures.evidence(), fixtures.identity(document), VOCABULARY,
               dce, nothing, None)  # fmt: skip
    assert "SALIENCY" not in labels(ds)


@pytest.mark.parametrize("kind", ["not analysed", "failed"])
def test_a_study_without_result_is_one_page(kind: str) -> None:
    """One page that says NOT ANALYSED; no picture that could be taken for a result."""
    ds = capture(fixtures.KINDS[kind]())
    assert ds.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"  # taken where no multi-frame capture is
    assert len(frames(ds)) == 1
    assert "SourceImageSequence" not in ds
    assert ds.ImageComments.startswith("Not analysed is not a result")


@pytest.mark.parametrize("kind", fixtures.KINDS)
def test_nothing_lies_where_viewers_write(kind: str) -> None:
    """Viewers print their own text over the top and the bottom; ours there would be unreadable or hidden."""
    found = frames(capture(fixtures.KINDS[kind]()))
    free = round(0.11 * drawing.SIDE) - 1
    for edge in (found[:, :free], found[:, -free:], found[:, :, :40], found[:, :, -40:]):
        assert (edge == drawing.PAPER).all()


def test_what_does_not_fit_goes_on_to_the_next_frame() -> None:
    """Ten reasons to withhold advice are ten reasons; none may fall off the page."""
    reasons = tuple(Reason("UNILATERAL", f"Reason {n}: {'a long explanation ' * 8}") for n in range(10))
    ds = capture(fixtures.findings(advice=Advice("WITHHELD", reasons)))
    assert labels(ds)[:2] == ["SUMMARY", "SUMMARY"]
    assert (frames(ds)[:, drawing.BOTTOM + 2 :] == drawing.PAPER).all()


def test_series_names_in_any_script_are_drawn_without_a_fault() -> None:
    """A name in letters that the font lacks is no reason to draw nothing."""
    used = replace(fixtures.USED[0], description="造影ダイナミック " * 12)
    assert capture(fixtures.findings(used=(used, *fixtures.USED[1:]))).NumberOfFrames > 1


def test_the_same_work_gives_the_same_bytes(tmp_path: Path, complete: Dataset) -> None:
    """Same findings, same volumes: same object, to the byte."""
    again = fixtures.saved(capture(fixtures.findings()), tmp_path / "again.dcm")
    assert again == Path(complete.filename).read_bytes()


def test_what_is_written_on_the_pages_changes_the_uid() -> None:
    """Words and numbers are burned in: other words are another object."""
    uids = {
        capture(document).SOPInstanceUID
        for document in (
            fixtures.refused(),
            fixtures.refused("failed"),
            replace(fixtures.refused(), problems=(Problem.of("NO_DCE", "No dynamic series."),)),
        )
    }
    assert len(uids) == 3


def test_report_and_overlay_lie_in_series_of_their_own(complete: Dataset) -> None:
    """Some viewers show only the last object of a series, and none may land in a series of the scanner."""
    from mome_node.results.structured_report import build as build_report

    document = fixtures.findings()
    report = build_report(document, fixtures.source(), fixtures.evidence(), fixtures.identity(document), VOCABULARY)
    series = {complete.SeriesInstanceUID, report.SeriesInstanceUID, *fixtures.SERIES.values()}
    assert len(series) == 5
    assert complete.SeriesNumber != report.SeriesNumber


def test_grids_that_differ_are_refused() -> None:
    """A map on another grid would glow at the wrong place without anyone noticing."""
    dce, document = fixtures.volume(), fixtures.findings()
    with pytest.raises(ValueError, match="DCE grid"):
        build(document, fixtures.source(), fixtures.evidence(), fixtures.identity(document), VOCABULARY,
              dce, np.zeros((3, 3, 3)), None)  # fmt: skip


def test_salient_slices_are_few_and_apart() -> None:
    """A hundred glowing slices are not looked at; neighbours at one millimetre show the same."""
    saliency = np.zeros((4, 4, 40))
    saliency[1, 1, 10:21] = np.linspace(0.5, 1, 11)
    saliency[1, 1, 30] = 0.2
    assert planes.salient_slices(saliency, slice_mm=1.0, most=12) == [12, 16, 20]
    assert planes.salient_slices(saliency, slice_mm=5.0, most=3) == [18, 19, 20]


def test_oblique_slices_are_assigned_to_the_nearest_plane() -> None:
    """Scanners tilt axial slices by a few degrees; they stay axial."""
    tilt = np.radians(12)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]) * (
        2,
        2,
        5,
    )
    axes = planes.patient_axes(affine)
    assert axes.through == 2
    assert axes.spacing == pytest.approx((2, 2, 5))


def test_frame_1_leaves_as_a_picture(tmp_path: Path, complete: Dataset) -> None:
    """The demonstration shows the page without a DICOM viewer."""
    summary_png(complete, tmp_path / "summary.png")
    assert (np.asarray(Image.open(tmp_path / "summary.png")) == frames(complete)[0]).all()
