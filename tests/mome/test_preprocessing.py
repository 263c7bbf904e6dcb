"""Preprocessing keeps every millimetre where it is, whatever the plane, matrix, gain or number of phases."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mome.config import PreprocessingConfig, from_json
from mome.phantom import PhantomExam, PhantomVolume, exam
from mome.preprocessing import prepare, resample, to_channels
from mome.refusal import Refused

from .volumes import PLANES, acquired, with_marker

CONFIG = PreprocessingConfig()


@pytest.fixture(scope="module")
def patient() -> PhantomExam:
    return exam(11)


@pytest.mark.parametrize("plane", PLANES)
def test_a_marker_is_found_at_its_millimetre_in_every_plane(patient: PhantomExam, plane: str) -> None:
    """A marker in the left breast, towards the back and the head: a mirrored axis would accuse the other breast."""
    breasts = prepare(patient.inputs, CONFIG)
    inside = np.argwhere(breasts.mask) @ breasts.affines["dce"][:3, :3].T + breasts.affines["dce"][:3, 3]
    left = inside[inside[:, 0] > 40]
    point = np.median(left, axis=0) + np.array([12, 11, 13])
    marked = with_marker(patient.dce, point, radius=6, brightness=20 * patient.dce.voxels.max())
    canvas = prepare({**patient.inputs, "dce": acquired(marked, plane)}, CONFIG)
    hottest = np.unravel_index(canvas.arrays["dce"][2].argmax(), canvas.mask.shape)
    found = canvas.affines["dce"][:3, :3] @ np.array(hottest) + canvas.affines["dce"][:3, 3]
    assert np.abs(found - point).max() <= 6
    assert found[0] > 0


@pytest.mark.parametrize("plane", PLANES)
def test_the_plane_of_acquisition_changes_nothing(patient: PhantomExam, plane: str) -> None:
    """Exchanged and flipped axes are put right without interpolation, so the canvas is the same to the last digits."""
    reference = prepare(patient.inputs, CONFIG)
    turned = prepare({role: acquired(v, plane) for role, v in patient.inputs.items()}, CONFIG)
    for sequence in ("dce", "dwi", "t2"):
        assert np.allclose(turned.arrays[sequence], reference.arrays[sequence], atol=1e-3)
        assert np.allclose(turned.affines[sequence], reference.affines[sequence])


def test_one_place_in_the_patient_is_one_place_in_all_canvases(patient: PhantomExam) -> None:
    """The network relates sequences by position: the canvases of DCE, DWI and T2 share their centre."""
    canvas = prepare(patient.inputs, CONFIG)
    centres = [
        affine[:3, :3] @ ((np.array(canvas.arrays[s].shape[1:]) - 1) / 2) + affine[:3, 3]
        for s, affine in canvas.affines.items()
    ]
    assert np.allclose(centres, centres[0])


def test_a_finer_acquisition_gives_the_same_canvas() -> None:
    """The same patient at 1.4 mm and at about 3.5 mm: a lesion must not look different for the scanner's matrix."""
    coarse, fine = exam(12), exam(12, fine=True)
    lesion = coarse.lesions[0]
    values = []
    for made in (coarse, fine):
        canvas = prepare(made.inputs, CONFIG)
        share = made.lesion_share(canvas.affines["dce"], canvas.mask.shape)
        values.append(float(canvas.arrays["dce"][:, share > 0.7].mean()))
    assert lesion.radius > 8
    assert values[0] == pytest.approx(values[1], rel=0.15)


def test_averaging_keeps_thin_things_and_lowers_noise() -> None:
    """Picking every third voxel would keep or lose a thin vessel by chance and leave the noise as it was."""
    rng = np.random.default_rng(0)
    fine = rng.normal(0, 1, (1, 90, 90, 30)).astype(np.float32)
    fine[0, 40] += 30
    coarse = np.diag([3.0, 3.0, 3.0, 1.0])
    for shift in (0.0, 1.0, 2.0):
        coarse[:3, 3] = shift
        picture = resample(fine, np.eye(4), coarse, (29, 29, 9))[0]
        assert picture.sum(axis=0).mean() == pytest.approx(10, abs=1)
        assert picture[:8].std() < 0.35


def test_outside_the_field_of_view_there_is_nothing() -> None:
    grid = np.eye(4)
    grid[0, 3] = -5
    picture = resample(np.ones((1, 10, 10, 10), np.float32), np.eye(4), grid, (20, 10, 10))[0]
    assert np.allclose(picture[5:15], 1)
    assert not picture[:5].any()
    assert not picture[15:].any()


@pytest.mark.parametrize("phases", [2, 4, 5, 6, 9])
def test_other_numbers_of_phases_become_six(phases: int) -> None:
    """Linear over the phase index: the first stays the first and the last the last (paper, external data sets)."""
    made = np.arange(1.0, phases + 1, dtype=np.float32)[:, None, None, None]
    channels = to_channels(made, 6).ravel()
    assert np.allclose(channels, np.linspace(1, phases, 6))


def test_two_phases_are_too_few(patient: PhantomExam) -> None:
    """One post-contrast phase says nothing about kinetics."""
    short = dataclasses.replace(patient.dce, voxels=patient.dce.voxels[:2])
    with pytest.raises(Refused) as refusal:
        prepare({"dce": short}, CONFIG)
    assert refusal.value.code == "TOO_FEW_PHASES"
    assert refusal.value.remedy


@pytest.mark.parametrize("gain", [0.1, 10.0])
def test_scanner_units_do_not_matter(patient: PhantomExam, gain: float) -> None:
    """MR intensities have no unit; vendors scale them as they like."""
    scaled = {role: dataclasses.replace(v, voxels=v.voxels * gain) for role, v in patient.inputs.items()}
    reference, other = prepare(patient.inputs, CONFIG), prepare(scaled, CONFIG)
    for sequence, array in reference.arrays.items():
        assert np.allclose(array, other.arrays[sequence], atol=1e-3)


def test_breasts_that_do_not_fit_shrink_by_one_ratio(patient: PhantomExam) -> None:
    """All axes by the same ratio, as the published resizer: a lesion keeps its shape."""
    grown = patient.dce.affine.copy()
    grown[:3] *= 1.5
    canvas = prepare({"dce": dataclasses.replace(patient.dce, affine=grown)}, CONFIG)
    ratio = canvas.measures["canvas_scale"]
    assert ratio < 0.95
    spacing = np.linalg.norm(canvas.affines["dce"][:3, :3], axis=0)
    assert np.allclose(spacing * ratio, CONFIG.dce_spacing)


def test_a_sequence_of_another_region_counts_as_missing(patient: PhantomExam) -> None:
    """A T2 of the abdomen in the same study must not be scored as a breast."""
    away = patient.t2.affine.copy()
    away[2, 3] -= 400
    canvas = prepare({**patient.inputs, "t2": dataclasses.replace(patient.t2, affine=away)}, CONFIG)
    assert set(canvas.arrays) == {"dce", "dwi"}


def test_standardised_inside_the_breasts_and_zero_outside(patient: PhantomExam) -> None:
    canvas = prepare(patient.inputs, CONFIG)
    inside = canvas.arrays["dce"][:, canvas.mask]
    assert abs(inside.mean()) < 0.05
    assert inside.std() == pytest.approx(1, abs=0.1)
    assert not canvas.arrays["dce"][:, ~canvas.mask].any()


def test_an_even_image_stays_zero_instead_of_dividing_by_nothing(patient: PhantomExam) -> None:
    even = dataclasses.replace(patient.t2, voxels=np.full_like(patient.t2.voxels, 7))
    canvas = prepare({**patient.inputs, "t2": even}, CONFIG)
    assert not canvas.arrays["t2"].any()


def test_the_hash_names_the_constants() -> None:
    """Operating points hold for one preprocessing: any changed constant must give another key."""
    assert CONFIG.hash() == PreprocessingConfig().hash()
    assert dataclasses.replace(CONFIG, clip=12.0).hash() != CONFIG.hash()
    record = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(CONFIG).items()}
    assert from_json(PreprocessingConfig, record) == CONFIG


def test_integers_from_a_scanner_are_welcome(patient: PhantomExam) -> None:
    stored = PhantomVolume(np.rint(patient.dce.voxels).astype(np.int16), patient.dce.affine, patient.dce.seconds)
    assert np.isfinite(prepare({"dce": stored}, CONFIG).arrays["dce"]).all()
