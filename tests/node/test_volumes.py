"""The selected series as volumes: values, grid, and what is refused or left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from mome_node.analysis import headers, slice_geometry, volumes
from mome_node.analysis.series_grouping import group
from mome_node.errors import StudyRefused
from mome_node.study import Instance, Study

from .plain_study import ADC, AXIAL, DCE, DWI, SAGITTAL, SECONDARY_CAPTURE, STIR, at, instance, series, study, uid

TIMES = [at(0), at(150), at(240), at(330)]
B0, B800 = {"DiffusionBValue": 0.0}, {"DiffusionBValue": 800.0}
SMALL: dict[str, Any] = {"pixels": 64, "slices": 6, "first_mm": -6.0}


def written(folder: Path, instances: list[Instance], syntax: str = ExplicitVRLittleEndian) -> list[Instance]:
    """The instances as files. The stored value tells where a pixel lies: 100 * phase + 10 * slice + row % 10."""
    out = []
    for item in instances:
        rows, columns = int(item.attributes["Rows"]), int(item.attributes["Columns"])
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = item.sop_class_uid, item.sop_instance_uid
        ds.Rows, ds.Columns, ds.SamplesPerPixel = rows, columns, 1
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation, ds.PhotometricInterpretation = 15, 0, "MONOCHROME2"
        values = np.full((rows, columns), item.attributes.get("Value", 0), "<u2") + np.arange(rows)[:, None] % 10
        ds.PixelData = values.astype("<u2").tobytes()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        if syntax != ExplicitVRLittleEndian:
            ds.compress(syntax, generate_instance_uid=False)
        path = folder / item.path.name
        ds.save_as(path, enforce_file_format=True)
        out.append(replace(item, path=path, attributes={**item.attributes, "TransferSyntaxUID": str(syntax)}))
    return out


def dynamic(folder: Path, syntax: str = ExplicitVRLittleEndian, **more: Any) -> list[Instance]:
    phases = [{**time, "Value": 100 * n} for n, time in enumerate(TIMES)]
    instances = series(5, "dyn", phases, **{**SMALL, **more})
    per_phase = len(instances) // len(phases)
    placed = [
        replace(i, attributes={**i.attributes, "Value": i.attributes["Value"] + 10 * (n % per_phase)})
        for n, i in enumerate(instances)
    ]
    return written(folder, placed, syntax)


def build(*parts: list[Instance]) -> tuple[dict[str, Any], list[Any]]:
    whole = study(*parts)
    return volumes.build(whole, group(whole))


# ------------------------------------------------------------------ values and places
def test_phases_are_channels_of_one_grid_in_order_of_time(tmp_path: Path) -> None:
    """Shape (phase, column, row, slice); voxel values tell that no phase, slice or row was exchanged."""
    built, problems = build(dynamic(tmp_path))
    dce = built["dce"]
    assert dce.voxels.shape == (4, 64, 64, 6)
    assert dce.seconds == (0, 150, 240, 330)
    expected = (
        100 * np.arange(4)[:, None, None] + 10 * np.arange(6)[None, None, :] + (np.arange(64) % 10)[None, :, None]
    )
    assert np.array_equal(dce.voxels[:, 7], expected)
    assert problems == []


def test_unscaled_values_stay_small_integers(tmp_path: Path) -> None:
    """A dynamic of 7 x 512 x 512 x 160 is 0.6 GB as int16 and twice that as float32."""
    built, _ = build(dynamic(tmp_path))
    assert built["dce"].voxels.dtype == np.int16


def test_rescaling_is_applied_for_each_image(tmp_path: Path) -> None:
    """Slope and intercept may differ from image to image."""
    instances = dynamic(tmp_path)
    scaled = [
        replace(i, attributes={**i.attributes, "RescaleSlope": 2.0 if n < 6 else 0.5, "RescaleIntercept": -1.0})
        for n, i in enumerate(instances)
    ]
    built, _ = build(scaled)
    plain, _ = build(instances)
    assert np.allclose(built["dce"].voxels[0], plain["dce"].voxels[0] * 2.0 - 1)
    assert np.allclose(built["dce"].voxels[1], plain["dce"].voxels[1] * 0.5 - 1)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL])
def test_the_affine_places_voxels_where_the_headers_say(tmp_path: Path, orientation: list[float]) -> None:
    """Checked against ImagePositionPatient and PS3.3 C.7.6.2.1.1 for the last row and column of a slice."""
    where: dict[str, Any] = {} if orientation == AXIAL else {"field_mm": 200.0, "slices": 15, "first_mm": 40.0}
    instances = dynamic(tmp_path, orientation=orientation, **where)
    built, _ = build(instances)
    dce, k = built["dce"], 3
    header = instances[k].attributes
    spacing = np.array(header["PixelSpacing"])
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    far = np.array(header["ImagePositionPatient"]) + 63 * (row * spacing[1] + column * spacing[0])
    assert np.allclose(dce.to_patient(np.array([[0, 0, k], [63, 63, k]])), [header["ImagePositionPatient"], far])
    assert np.linalg.det(dce.affine[:3, :3]) > 0


PLANES = {
    "axial": AXIAL,
    "axial, rows upwards": [1.0, 0.0, 0.0, 0.0, -1.0, 0.0],
    "axial, turned about": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0],
    "sagittal": SAGITTAL,
    "sagittal, mirrored": [0.0, -1.0, 0.0, 0.0, 0.0, -1.0],
    "coronal": [1.0, 0.0, 0.0, 0.0, 0.0, -1.0],
    "coronal, feet up": [-1.0, 0.0, 0.0, 0.0, 0.0, 1.0],
}


@pytest.mark.parametrize("position", ["HFP", "FFS"])
@pytest.mark.parametrize("side", [-60.0, 60.0])
@pytest.mark.parametrize("plane", PLANES)
def test_a_lesion_keeps_its_side_and_its_millimetre(tmp_path: Path, plane: str, side: float, position: str) -> None:
    """However the scanner laid rows, columns and slices: only position and orientation of the images say where."""
    lesion, orientation = np.array([side, -20.0, 10.0]), PLANES[plane]
    where: dict[str, Any] = {
        "slices": 9,
        "spacing_mm": 30.0,
        "first_mm": -120.0,
        "pixels": 64,
        "orientation": orientation,
        "SliceThickness": 3.0,
    }
    split = [series(5 + n, "dyn", [t], key=n, PatientPosition=position, **where) for n, t in enumerate(TIMES[:3])]
    for n, phase in enumerate(split):
        for item in written(tmp_path, phase):
            header, ds = item.attributes, pydicom.dcmread(item.path)
            row, column = np.array(orientation[:3]), np.array(orientation[3:])
            away = lesion - header["ImagePositionPatient"]
            j, i = (round(float(away @ axis / header["PixelSpacing"][0])) for axis in (column, row))
            near = abs(away @ np.cross(row, column)) <= 15
            pixels = np.zeros((64, 64), "<u2")
            pixels[j, i] = 500 * (n > 0) * near
            ds.PixelData = pixels.tobytes()
            ds.save_as(item.path)
    split = [[replace(i, path=tmp_path / i.path.name) for i in phase] for phase in split]
    dce = build(*split)[0]["dce"]
    found = np.argwhere(dce.voxels[1] == 500)
    assert len(found) == 1
    assert np.abs(dce.to_voxels(lesion[None]) - found).max() <= 0.5
    assert np.sign(dce.to_patient(found)[0][0]) == np.sign(side)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_images_hold_the_same_values(tmp_path: Path, syntax: str) -> None:
    """Archives compress as they like; the installed decoders serve."""
    (tmp_path / "plain").mkdir()
    built, _ = build(dynamic(tmp_path, syntax))
    plain, _ = build(dynamic(tmp_path / "plain"))
    assert np.array_equal(built["dce"].voxels, plain["dce"].voxels)


def test_jpeg_lossless_is_decoded() -> None:
    """The commonest compression in archives; pydicom ships a sample but no encoder for it."""
    from pydicom.data import get_testdata_file

    path = Path(str(get_testdata_file("SC_rgb_jpeg_gdcm.dcm")))
    studies, _ = headers.read_files([path])
    assert headers.transfer_syntax(studies[0].instances[0]).startswith("JPEG Lossless")
    assert volumes._decode(studies[0].instances[0], [0])[0].shape == (100, 100, 3)


def test_diffusion_directions_are_averaged(tmp_path: Path) -> None:
    """Without a trace from the scanner, the mean over directions takes its place."""
    directions = [{**B800, "Value": value} for value in (100, 200, 600)]
    dwi = written(tmp_path, series(3, "dwi", [{**B0, "Value": 900}, *directions], kind=DWI, **SMALL))
    built, _ = build(dynamic(tmp_path), dwi)
    assert built["dwi"].voxels.shape == (1, 64, 64, 6)
    assert np.allclose(built["dwi"].voxels[0, 0, 0], 300)


def test_frames_of_a_multi_frame_object_are_sorted_by_place(tmp_path: Path) -> None:
    """Frames are stored in any order; position decides, not the frame number."""
    flat = series(5, "dyn", [{"FrameAcquisitionDateTime": f"2024010110{m:02d}00"} for m in (0, 3, 5, 7)], **SMALL)
    order = np.random.default_rng(0).permutation(len(flat))
    per_frame = ("ImagePositionPatient", "FrameAcquisitionDateTime")
    frames = tuple({k: flat[n].attributes[k] for k in per_frame} for n in order)
    shared = {k: v for k, v in flat[0].attributes.items() if k not in per_frame}
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.NumberOfFrames = "1.2.840.10008.5.1.4.1.1.4.1", "1.2.9", len(flat)
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 64, 64, 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.PixelData = np.repeat(order.astype("<u2"), 64 * 64).tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(tmp_path / "multi.dcm", enforce_file_format=True)
    multi = Instance(
        tmp_path / "multi.dcm", "1.2.9", ds.SOPClassUID, flat[0].series_instance_uid, uid("study"), shared, frames
    )
    built, _ = build([multi])
    assert built["dce"].voxels[:, 0, 0].tolist() == np.arange(24).reshape(4, 6).tolist()


# ------------------------------------------------------------------ what is refused
def refused(whole: Study, grouped: dict[str, Any]) -> StudyRefused:
    with pytest.raises(StudyRefused) as caught:
        volumes.build(whole, grouped)
    return caught.value


def test_two_dynamics_are_refused(tmp_path: Path) -> None:
    """The model scores one exam of both breasts; two halves joined would be neither."""
    side: dict[str, Any] = {"orientation": SAGITTAL, "slices": 15, "spacing_mm": 5.0, "field_mm": 200.0}
    whole = study(series(5, "R", TIMES, first_mm=40.0, **side), series(6, "L", TIMES, first_mm=-110.0, **side))
    assert refused(whole, group(whole)).code == "TWO_DYNAMICS_NOT_ANALYSED"


def test_tiny_images_are_refused(tmp_path: Path) -> None:
    whole = study(dynamic(tmp_path, pixels=32))
    assert refused(whole, group(whole)).code == "MATRIX_TOO_SMALL"


def test_pixels_that_cannot_be_decoded_are_refused_in_words(tmp_path: Path) -> None:
    """Cut short on the way, or compressed beyond our decoders: the series is named, and what to do."""
    instances = dynamic(tmp_path)
    damaged = pydicom.dcmread(instances[3].path)
    damaged.PixelData = damaged.PixelData[:100]
    damaged.save_as(instances[3].path)
    error = refused(study(instances), group(study(instances)))
    assert error.code == "PIXELS_UNREADABLE"
    assert error.series == (instances[0].series_instance_uid,)
    assert "uncompressed" in error.remedy


def test_a_slope_that_is_no_number_is_refused(tmp_path: Path) -> None:
    """Stored values without their slope are no intensities; a guess would be silent."""
    instances = [replace(i, attributes={**i.attributes, "RescaleSlope": "2,5"}) for i in dynamic(tmp_path)]
    assert refused(study(instances), group(study(instances))).code == "PIXELS_UNREADABLE"


def test_a_missing_file_is_not_a_traceback(tmp_path: Path) -> None:
    instances = dynamic(tmp_path)
    instances[0].path.unlink()
    assert refused(study(instances), group(study(instances))).code == "PIXELS_UNREADABLE"


SIDE: dict[str, Any] = {"orientation": SAGITTAL, "slices": 15, "spacing_mm": 5.0, "field_mm": 200.0, "pixels": 64}


def two_slabs(folder: Path, *, left_mm: float = -110.0) -> list[Instance]:
    """Right and left breast in one sagittal series. The stored value of row 0 is its distance from the midline."""
    both = []
    for name, where in (("right", {"first_mm": 40.0}), ("left", {"first_mm": left_mm})):
        for n, i in enumerate(series(5, "dyn", TIMES, **{**SIDE, **where})):
            x = round(abs(i.attributes["ImagePositionPatient"][0]))
            both.append(instance({**i.attributes, "Value": x}, (5, "dyn", None), name, n))
    return written(folder, both)


@pytest.mark.parametrize("left_mm", [-110.0, -108.0])
def test_two_sagittal_slabs_are_joined_on_one_grid(tmp_path: Path, left_mm: float) -> None:
    """Each slab keeps its place in the patient, also where its slices lie between those of the other slab's grid."""
    built, _ = build(two_slabs(tmp_path, left_mm=left_mm))
    dce = built["dce"]
    assert np.allclose(dce.spacing, [3.125, 3.125, 5.0])
    x = dce.to_patient(np.column_stack([np.zeros((dce.voxels.shape[3], 2)), np.arange(dce.voxels.shape[3])]))[:, 0]
    assert (x.min(), x.max()) == (pytest.approx(-110, abs=5), pytest.approx(-left_mm, abs=5))
    imaged = (np.abs(x) >= 40) & (np.abs(x) <= 107)
    assert np.allclose(dce.voxels[0, 0, 0, imaged], np.abs(x[imaged]), atol=0.01)
    assert not dce.voxels[..., np.abs(x) < 30].any()


def test_slabs_whose_slices_are_uneven_are_refused(tmp_path: Path) -> None:
    """Two slabs are no licence for gaps within them."""
    both = [i for n, i in enumerate(two_slabs(tmp_path)) if n % 15 != 7]
    error = refused(study(both), {**group(study(two_slabs(tmp_path))), "dce": fake_phases(both)})
    assert error.code == "GEOMETRY_IRREGULAR"


def fake_phases(instances: list[Instance]) -> dict[str, Any]:
    references = [{"SOPInstanceUID": i.sop_instance_uid, "frames": None} for i in instances]
    return {"phases": [{"instances": references, "t_rel_s": 0.0}]}


# ------------------------------------------------------------------ what is left out
def test_an_unreadable_t2_is_left_out_with_a_problem(tmp_path: Path) -> None:
    """The analysis goes on without it, and says so."""
    t2 = written(tmp_path, series(2, "t2_tirm", kind=STIR, **SMALL))
    t2[0].path.write_bytes(b"nothing")
    built, problems = build(dynamic(tmp_path), t2)
    assert set(built) == {"dce"}
    assert [p.code for p in problems] == ["SEQUENCE_UNREADABLE"]


def test_a_t2_of_another_frame_of_reference_is_left_out(tmp_path: Path) -> None:
    """Its coordinates mean other places; the grouping has said so already."""
    t2 = written(tmp_path, series(2, "t2_tirm", kind=STIR, FrameOfReferenceUID="9.9", **SMALL))
    built, problems = build(dynamic(tmp_path), t2)
    assert set(built) == {"dce"}
    assert problems == []


def test_a_t2_of_another_place_is_left_out(tmp_path: Path) -> None:
    """Less than half of the dynamic's field of view: the model would see air."""
    where = {**SMALL, "first_mm": 2.0}
    t2 = written(tmp_path, series(2, "t2_tirm", kind=STIR, **where))
    built, problems = build(dynamic(tmp_path), t2)
    assert set(built) == {"dce"}
    assert [p.code for p in problems] == ["FIELD_OF_VIEW_SMALL"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p, None),
        (lambda p: np.delete(p, 4, axis=0), "missing"),
        (lambda p: np.concatenate([p, p[4:5]]), "more than once"),
        (lambda p: np.concatenate([p, p + np.array([0, 0, 0.9])]), "uneven"),
        (lambda p: p + np.outer(p[:, 2], [0, 0.0175, 0]), "sheared"),
        (lambda p: p + np.eye(len(p), 1, -3) * [0, 1.0, 0], "sideways"),
        (lambda p: p * [1, 1, 1.001], None),
        (lambda p: p[:2], "only 2 slices"),
    ],
)
def test_slices_must_be_one_regular_stack(change: Any, words: str | None) -> None:
    """Missing, duplicate, interleaved, sheared by one degree, displaced: each is refused by name."""
    positions = change(np.column_stack([np.zeros(10), np.zeros(10), np.arange(10) * 2.0]))
    found = slice_geometry.irregularity(np.tile(AXIAL, (len(positions), 1)), positions)
    assert (found is None) if words is None else (words in str(found))


# ------------------------------------------------------------------ the generation
def test_only_native_images_that_a_model_could_select_start_an_analysis() -> None:
    """Subtractions, maps, captures and localizers come later or again; a study is not analysed anew for them."""
    dce, t2 = series(5, "dyn", TIMES), series(2, "t2_tirm", kind=STIR)
    dwi = series(3, "dwi", [B0, B800, {"ImageType": ["DERIVED", "PRIMARY", "ADC"]}], kind=DWI)
    others = [
        series(4, "adc", kind=ADC),
        series(6, "dyn_SUB", kind={**DCE, "ImageType": ["DERIVED", "PRIMARY", "SUB"]}),
        series(1, "loc", kind={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
        series(9000, "VOLSER: original DCE", [{"AcquisitionNumber": n} for n in range(3)]),
        [instance({"Modality": "OT", "PatientID": "A"}, ("c",), 1, sop_class=SECONDARY_CAPTURE)],
    ]
    whole = study(dce, t2, dwi, *others)
    wanted = sorted(i.sop_instance_uid for i in [*dce, *t2, *dwi[:24]])
    assert volumes.model_instances(whole, group(whole)) == tuple(wanted)
