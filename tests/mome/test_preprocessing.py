"""Preprocessing keeps every millimetre where it is, whatever the plane, matrix, gain or number of phases."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from mome.config import PAPER_PREPROCESSING, NetworkConfig, PreprocessingConfig, Sequence, from_json
from mome.geometry import LARGEST_TILT, Affine, Box, Grid, at_grid, covered, irregularity, resample
from mome.intensities import in_time_order, standardised, to_channels
from mome.phantom import PhantomExam, PhantomVolume, exam
from mome.preprocessing import Prepared, fitting_ratio, laid_in, prepare, shrunk
from mome.refusal import Refused

from .volumes import PLANES, acquired, with_marker

CONFIG = PreprocessingConfig()
SMALL_PAPER = dataclasses.replace(
    PAPER_PREPROCESSING,
    dce_matrix=(96, 96, 32),
    t2_matrix=(96, 96, 16),
    dce_canvas=(96, 64, 32),
    dwi_canvas=(104, 72, 32),
    t2_canvas=(96, 64, 24),
)
"""The paper's way at a quarter of its resolution."""
RESIZER = json.loads((Path(__file__).parents[1] / "data" / "mome_resizer.json").read_text(encoding="utf-8"))


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


@pytest.mark.parametrize("phases", [2, 4, 5, 6, 9, 30])
def test_other_numbers_of_phases_become_six(phases: int) -> None:
    """First-order spline over the phase index, "grid-constant" (paper, external data sets): the first stays the first
    and the last the last. Thirty ultrafast phases, too; what their score means the evaluated range says."""
    made = np.random.default_rng(phases).normal(size=(phases, 2, 2, 2)).astype(np.float32)
    channels = to_channels(made, 6)
    as_the_paper = ndimage.zoom(made, (6 / phases, 1, 1, 1), order=1, mode="grid-constant")
    assert np.allclose(channels, as_the_paper, atol=1e-6)
    assert np.allclose(channels[[0, -1]], made[[0, -1]])


def test_phases_are_ordered_by_their_clock(patient: PhantomExam) -> None:
    """A sender's order is no order: phases shuffled together with their seconds are the same exam."""
    seconds = patient.dce.seconds
    assert seconds is not None
    order = [4, 0, 2, 6, 1, 5, 3][: len(seconds)]
    shuffled = PhantomVolume(patient.dce.voxels[order], patient.dce.affine, tuple(seconds[i] for i in order))
    expected = prepare({"dce": patient.dce}, CONFIG).arrays["dce"]
    assert np.array_equal(prepare({"dce": shuffled}, CONFIG).arrays["dce"], expected)


@pytest.mark.parametrize("seconds", [(0, 90, 90, 150), (0, 0, 0, 0), (0, 90, float("nan"), 150), (0, 90, 150)], ids=str)
def test_a_clock_that_orders_nothing_is_refused(seconds: tuple[float, ...]) -> None:
    """Two phases of one time: either could be the earlier. A guess could take a post-contrast for the native phase."""
    with pytest.raises(Refused) as refusal:
        in_time_order(np.zeros((4, 1, 1, 1)), seconds)
    assert refusal.value.code == "PHASES_NOT_ORDERED"


def test_without_a_clock_the_order_given_is_kept() -> None:
    """The caller knows the order from other tags and says that it knows no times."""
    phases = np.arange(4.0)[:, None, None, None]
    assert in_time_order(phases, None) is phases


def test_two_phases_are_too_few(patient: PhantomExam) -> None:
    """One post-contrast phase says nothing about kinetics."""
    short = dataclasses.replace(patient.dce, voxels=patient.dce.voxels[:2])
    with pytest.raises(Refused) as refusal:
        prepare({"dce": short}, CONFIG)
    assert refusal.value.code == "TOO_FEW_PHASES"
    assert "kinetics" in refusal.value.message
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


def test_the_box_holds_all_that_is_not_zero(patient: PhantomExam) -> None:
    """Augmentation moves the box and nothing else: what lay outside it would be lost."""
    for config in (CONFIG, SMALL_PAPER):
        canvas = prepare(patient.inputs, config)
        for sequence, array in canvas.arrays.items():
            outside = array.copy()
            outside[(slice(None), *canvas.boxes[sequence].slices)] = 0
            assert not outside.any()


# ------------------------------------------------------------------ what cannot be an exam
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_dynamic_with_values_that_are_not_numbers_is_refused(patient: PhantomExam, value: float) -> None:
    """One such voxel, in any phase, would make the score of the whole exam none."""
    voxels = patient.dce.voxels.copy()
    voxels[-1, 3, 4, 5] = value
    with pytest.raises(Refused, match="not numbers") as refusal:
        prepare({**patient.inputs, "dce": dataclasses.replace(patient.dce, voxels=voxels)}, CONFIG)
    assert refusal.value.code == "PIXELS_UNREADABLE"


@pytest.mark.parametrize("sequence", ["dwi", "t2"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_another_sequence_with_such_values_counts_as_missing(
    patient: PhantomExam, sequence: Sequence, value: float
) -> None:
    volume = patient.inputs[sequence]
    voxels = volume.voxels.copy()
    voxels[0, 3, 4, 5] = value
    canvas = prepare({**patient.inputs, sequence: dataclasses.replace(volume, voxels=voxels)}, CONFIG)
    assert set(canvas.arrays) == {"dce", "dwi", "t2"} - {sequence}
    assert all(np.isfinite(array).all() for array in canvas.arrays.values())


def turned(affine: Affine, degrees: float) -> Affine:
    """About the patient's long axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]) @ affine


def scaled(affine: Affine, *factors: float) -> Affine:
    """Its three axes longer or shorter."""
    return affine @ np.diag([*factors, 1.0])


IRREGULAR = {
    "an axis without length": lambda affine: scaled(affine, 1, 0, 1),
    "an axis that is not a number": lambda affine: scaled(affine, 1, 1, np.nan),
    "an origin that is not a number": lambda affine: affine + np.array([0, 0, 0, np.inf]),
    "two axes in one direction": lambda affine: affine[:, [0, 0, 2, 3]],
    "sheared by 45 degrees": lambda affine: affine @ np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    "voxels below 0.01 mm": lambda affine: scaled(affine, 0.001, 1, 1),
    "slices of 60 mm": lambda affine: scaled(affine, 1, 1, 60 / affine[2, 2]),
    "3 m from left to right": lambda affine: scaled(affine, 10, 1, 1),
    "tilted by 46 degrees": lambda affine: turned(affine, 46),
    "tilted by 44 degrees": lambda affine: turned(affine, -44),
}
"""Affines that no scanner's exam of a breast has."""


@pytest.mark.parametrize("case", IRREGULAR)
def test_a_geometry_of_no_patient_is_refused_or_left_out(patient: PhantomExam, case: str) -> None:
    """Voxels that cannot be laid along the patient's axes would give a score of something that is no breast."""
    with pytest.raises(Refused) as refusal:
        dce = dataclasses.replace(patient.dce, affine=IRREGULAR[case](patient.dce.affine))
        prepare({**patient.inputs, "dce": dce}, CONFIG)
    assert refusal.value.code == "GEOMETRY_IRREGULAR"
    others = {
        s: dataclasses.replace(patient.inputs[s], affine=IRREGULAR[case](patient.inputs[s].affine))
        for s in ("dwi", "t2")
    }
    assert set(prepare({"dce": patient.dce, **others}, CONFIG).arrays) == {"dce"}


def test_an_oblique_exam_is_one_of_a_patient() -> None:
    """Slices follow the chest: tilts up to 40 degrees have one nearest axis each, whatever the plane."""
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    for order in ([0, 1, 2, 3], [1, 2, 0, 3], [2, 0, 1, 3]):
        assert irregularity(turned(affine, LARGEST_TILT - 1)[:, order], (300, 300, 60)) is None
        assert "41 degrees" in str(irregularity(turned(affine, LARGEST_TILT + 1)[:, order], (300, 300, 60)))


def test_a_volume_without_voxels_is_none() -> None:
    assert irregularity(np.eye(4), (300, 300, 0)) is not None


def test_nothing_in_the_place_of_a_volume_is_a_missing_one(patient: PhantomExam) -> None:
    """Callers that list all roles say None for what the exam lacks."""
    canvas = prepare({"dce": patient.dce, "dwi": None, "t2": None}, CONFIG)
    assert set(canvas.arrays) == {"dce"}
    with pytest.raises(Refused) as refusal:
        prepare({"dce": None, "t2": patient.t2}, CONFIG)
    assert refusal.value.code == "NO_DCE"


# ------------------------------------------------------------------ the paper's way
@pytest.fixture(scope="module")
def as_paper(patient: PhantomExam) -> Prepared:
    return prepare(patient.inputs, SMALL_PAPER)


def test_the_paper_s_canvases_are_those_of_its_network() -> None:
    network, sequences = NetworkConfig(), ("dce", "dwi", "t2")
    assert [PAPER_PREPROCESSING.canvas(s) for s in sequences] == [network.canvas(s) for s in sequences]
    assert PAPER_PREPROCESSING.channels == network.dce_channels
    record = json.loads(json.dumps(dataclasses.asdict(PAPER_PREPROCESSING)))
    assert from_json(PreprocessingConfig, record) == PAPER_PREPROCESSING


def test_the_paper_counts_voxels_not_millimetres(patient: PhantomExam, as_paper: Prepared) -> None:
    """The field of view becomes one matrix whatever its size; DWI keeps the matrix it was acquired with."""
    field = np.array(patient.dce.voxels.shape[1:]) * np.diag(patient.dce.affine)[:3]
    spacing = {s: np.linalg.norm(affine[:3, :3], axis=0) for s, affine in as_paper.affines.items()}
    assert np.allclose(spacing["dce"], field / SMALL_PAPER.dce_matrix)
    assert np.allclose(spacing["t2"], field / SMALL_PAPER.t2_matrix)
    assert np.allclose(spacing["dwi"], np.diag(patient.inputs["dwi"].affine)[:3])
    assert as_paper.boxes["dwi"].size == patient.inputs["dwi"].voxels.shape[1:]


def test_the_paper_masks_crops_standardises_then_pads(patient: PhantomExam, as_paper: Prepared) -> None:
    """Zero mean and unit variance over each crop; the padding is zero, the masked part of the DCE one even value."""
    for sequence, array in as_paper.arrays.items():
        content = array[(slice(None), *as_paper.boxes[sequence].slices)]
        assert abs(content.mean()) < 1e-3
        assert content.std() == pytest.approx(1, abs=1e-3)
    inside = np.argwhere(as_paper.mask)
    assert as_paper.boxes["dce"] == Box(tuple(inside.min(axis=0)), tuple(inside.max(axis=0) + 1))
    box = as_paper.boxes["dce"].slices
    assert np.ptp(as_paper.arrays["dce"][(slice(None), *box)][:, ~as_paper.mask[box]]) < 1e-5


def test_a_lesion_is_at_its_place_in_the_paper_s_canvases_too(patient: PhantomExam, as_paper: Prepared) -> None:
    """Crop, padding and matrix move voxels about; the affine follows them."""
    point = patient.lesions[0].centre
    marked = with_marker(patient.dce, point, radius=6, brightness=20 * patient.dce.voxels.max())
    canvas = prepare(
        {**patient.inputs, "dce": marked, "t2": dataclasses.replace(marked, voxels=marked.voxels[1:2])}, SMALL_PAPER
    )
    for sequence, channel in (("dce", 2), ("t2", 0)):
        array, affine = canvas.arrays[sequence][channel], canvas.affines[sequence]
        found = affine[:3, :3] @ np.unravel_index(array.argmax(), array.shape) + affine[:3, 3]
        assert np.abs(found - point).max() <= 8  # half a slice of T2, and the marker's radius
    assert np.allclose(canvas.affines["dce"], as_paper.affines["dce"])


def test_crops_in_the_canvas_lie_in_its_middle(as_paper: Prepared) -> None:
    """At floor((canvas - size) / 2), as the published loader does in testing."""
    for sequence, box in as_paper.boxes.items():
        size = np.array(SMALL_PAPER.canvas(sequence))
        assert box.low == tuple((size - box.size) // 2)


def test_the_resizer_is_the_published_one() -> None:
    """One ratio for all axes, linear: the values that the published loader gave for a made-up volume."""
    seed = int(hashlib.sha256(b"input.resize").hexdigest()[:16], 16)
    volume = np.random.Generator(np.random.PCG64(seed)).standard_normal(RESIZER["shape"]).astype(np.float32)
    ratio = fitting_ratio(volume.shape[1:], tuple(RESIZER["canvas"]))
    small = shrunk(volume, ratio)
    assert ratio == RESIZER["ratio"]
    assert small.shape == tuple(RESIZER["shrunk_shape"])
    assert np.allclose(
        small.ravel()[[0, 1, 2, -3, -2, -1]], RESIZER["first_values"] + RESIZER["last_values"], atol=1e-6
    )
    assert small.mean() == pytest.approx(RESIZER["mean"], abs=1e-6)
    assert np.linalg.norm(small) == pytest.approx(RESIZER["l2"], rel=1e-6)


def test_a_shrunk_crop_keeps_its_millimetres() -> None:
    """The resizer keeps the first and the last voxel in place: the affine must say so."""
    grid = Grid(np.diag([2.0, 2.0, 4.0, 1.0]), (20, 12, 10))
    ramp = np.broadcast_to(grid.at((0, 0, 0))[0] + 2.0 * np.arange(20)[:, None, None], grid.shape)
    content = ramp[None].astype(np.float32)
    everywhere = np.ones(grid.shape, bool)
    placed = laid_in((16, 16, 16), content, grid, everywhere, everywhere, 1.0)
    assert placed.scale == 0.8
    assert placed.box == Box((0, 3, 4), (16, 13, 12))
    for index in ((0, 3, 4), (15, 12, 11), (7, 5, 6)):
        assert placed.array[(0, *index)] == pytest.approx((placed.affine @ [*index, 1])[0], abs=1e-4)
    assert np.allclose((placed.affine @ [15, 12, 11, 1])[:3], grid.at((19, 11, 9)))


@pytest.mark.parametrize("oversize", ["zoom", "resample"])
def test_a_crop_larger_than_its_canvas_shrinks_by_one_ratio(
    patient: PhantomExam, as_paper: Prepared, oversize: str
) -> None:
    """Both ways show the same breasts at the same places, and `canvas_scale` says that they are smaller."""
    tight = dataclasses.replace(SMALL_PAPER, dce_canvas=(64, 64, 32), oversize=oversize)
    canvas = prepare(patient.inputs, tight)
    assert as_paper.measures["canvas_scale"] == 1
    assert canvas.measures["canvas_scale"] == pytest.approx(64 / as_paper.boxes["dce"].size[0])
    before, after = (np.linalg.norm(p.affines["dce"][:3, :3], axis=0) for p in (as_paper, canvas))
    if oversize == "zoom":  # first and last voxels of the crop stay in place
        sizes = (np.array(p.boxes["dce"].size) - 1 for p in (as_paper, canvas))
        assert np.allclose(after / before, np.divide(*sizes))
    else:
        assert np.allclose(after / before, 1 / canvas.measures["canvas_scale"])
    centres = [p.affines["dce"] @ [*(np.argwhere(p.mask).mean(axis=0)), 1] for p in (canvas, as_paper)]
    assert np.allclose(*centres, atol=1.5)


def test_dwi_and_t2_tell_when_they_shrank(patient: PhantomExam, as_paper: Prepared) -> None:
    """Each has a canvas and a crop of its own; what fits says nothing, what is missing neither."""
    assert set(as_paper.measures) == {"mask_volume_ml", "mask_fraction", "phases", "canvas_scale"}
    tight = dataclasses.replace(SMALL_PAPER, dwi_canvas=(52, 72, 32), t2_canvas=(64, 64, 24))
    measures = prepare(patient.inputs, tight).measures
    assert measures["canvas_scale"] == 1
    for sequence in ("dwi", "t2"):
        longest = as_paper.boxes[sequence].size[0]
        assert measures[f"canvas_scale_{sequence}"] == pytest.approx(tight.canvas(sequence)[0] / longest)
    assert "canvas_scale_t2" not in prepare({"dce": patient.dce, "dwi": patient.inputs["dwi"]}, tight).measures


@pytest.mark.parametrize("sequence", ["dwi", "t2"])
def test_statistics_of_the_mask_and_the_region_of_the_dce(patient: PhantomExam, sequence: Sequence) -> None:
    """The other words on the paper's grid: DWI cropped as T2 is, statistics inside the breasts only."""
    canvas = prepare(patient.inputs, dataclasses.replace(SMALL_PAPER, statistics="mask", dwi_region="dce"))
    grid = Grid(canvas.affines[sequence], SMALL_PAPER.canvas(sequence))
    breasts = at_grid(canvas.mask, Grid(canvas.affines["dce"], canvas.mask.shape), grid) > 0.5
    assert canvas.arrays[sequence][0, breasts].mean() == pytest.approx(0, abs=0.05)
    assert canvas.arrays[sequence][0, breasts].std() == pytest.approx(1, abs=0.05)
    tight, box = Box.around(breasts), canvas.boxes[sequence]
    assert np.allclose(tight.low, box.low, atol=1)
    assert np.allclose(tight.high, box.high, atol=1)


def test_the_whole_dwi_fits_a_canvas_of_millimetres(patient: PhantomExam) -> None:
    """Cropped to nothing: all that was acquired lies in the canvas."""
    canvas = prepare(patient.inputs, dataclasses.replace(CONFIG, dwi_region="whole"))
    acquired_grid = Grid(patient.inputs["dwi"].affine, patient.inputs["dwi"].voxels.shape[1:])
    assert covered(Grid(canvas.affines["dwi"], CONFIG.dwi_canvas), acquired_grid).all()


def test_each_phase_may_have_its_own_statistics() -> None:
    """Together keeps how much more the late phases enhance than the early ones; each does not."""
    rng = np.random.default_rng(0)
    images = rng.normal([[[[1.0]]], [[[5.0]]]], 1.0, (2, 8, 8, 8)).astype(np.float32)
    mask = np.ones((8, 8, 8), bool)
    together = standardised(images, mask, CONFIG)
    each = standardised(images, mask, dataclasses.replace(CONFIG, phase_statistics="each"))
    assert np.allclose(each.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    assert np.allclose(each.std(axis=(1, 2, 3)), 1, atol=1e-5)
    assert together[1].mean() - together[0].mean() > 1
    assert together.mean() == pytest.approx(0, abs=1e-5)


def test_a_misspelt_choice_is_an_error() -> None:
    """The constants come from a weights file: an unknown word must not pass for the other one."""
    with pytest.raises(ValueError, match="statistics is one of"):
        from_json(PreprocessingConfig, {"statistics": "masks"})
    with pytest.raises(ValueError, match="nothing to zoom"):
        from_json(PreprocessingConfig, {"oversize": "zoom"})
