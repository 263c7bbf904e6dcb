"""The breast mask finds breasts of prone patients and refuses everything else."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from mome.config import PreprocessingConfig
from mome.geometry import Grid, at_grid
from mome.phantom import PhantomVolume
from mome.phantom import exam as made_exam
from mome.phantom.patient import describe
from mome.preprocessing import Prepared, prepare
from mome.refusal import Refused

from .volumes import acquired

CONFIG = PreprocessingConfig()
AFFINE = np.diag([3.5, 3.5, 5.0, 1.0])
Mask = np.ndarray
exam = functools.cache(made_exam)


def cut(volume: PhantomVolume, axis: int, first: float, last: float) -> PhantomVolume:
    """The field of view from one fraction of an axis to another."""
    n = volume.voxels.shape[axis + 1]
    low, high = round(first * n), round(last * n)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, axis] * low
    return dataclasses.replace(volume, voxels=volume.voxels.take(range(low, high), axis + 1), affine=affine)


def upside_down(volume: PhantomVolume) -> PhantomVolume:
    """Registered supine, or with a wrong orientation: front and back exchanged, the affine unaware of it."""
    return dataclasses.replace(volume, voxels=volume.voxels[:, :, ::-1])


def places(affine: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    points = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return [points[..., axis] for axis in range(3)]


def breasts_of(seed: int, canvas: Prepared) -> Mask:
    """What of the canvas is breast by the description of the synthetic patient: in front of the chest wall."""
    patient = describe(seed)
    x, y, z = places(canvas.affines["dce"], canvas.mask.shape)
    return np.logical_or.reduce([b.depth(x, y, z) < 1 for b in patient.breasts]) & (patient.chest(x, y) < 0)


def torso(width: float, length: float, apart: float = 75) -> tuple[PhantomVolume, Mask]:
    """A geometric torso with air behind its back, too: an ellipse with a dark lung, and two half ellipsoids."""
    grid = Grid(np.diag([3.5, 3.5, 5.0, 1.0]), (120, 108, 40))
    grid.affine[:3, 3] = -208, -127, -97
    x, y, z = places(grid.affine, grid.shape)
    chest = np.hypot(x / 170, (y - 110) / 110)
    breasts = [((x - at) / width) ** 2 + ((y - 5) / length) ** 2 + (z / width) ** 2 < 1 for at in (-apart, apart)]
    picture = np.select([chest < 0.85, chest < 1, breasts[0] | breasts[1]], [8.0, 80.0, 60.0], 0.0)
    picture = np.abs(picture + np.random.default_rng(0).normal(0, 4, picture.shape))
    return PhantomVolume(np.stack([picture] * 4).astype(np.float32), grid.affine), (breasts[0] | breasts[1]) & (
        chest >= 1
    )


def dice(a: Mask, b: Mask) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def masked(voxels: np.ndarray) -> Prepared:
    return prepare({"dce": PhantomVolume(np.stack([voxels] * 4).astype(np.float32), AFFINE)}, CONFIG)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_the_mask_holds_the_lesion_and_not_the_heart(seed: int) -> None:
    """The heart enhances more than any cancer: left in, it would be what the network looks at."""
    made = exam(seed)
    canvas = prepare(made.inputs, CONFIG)
    share = made.lesion_share(canvas.affines["dce"], canvas.mask.shape)
    assert share[canvas.mask].sum() > 0.9 * share.sum()
    posterior = canvas.affines["dce"][1, 3] + 3.5 * np.argwhere(canvas.mask)[:, 1].max()
    assert posterior < 130
    assert 200 < canvas.measures["mask_volume_ml"] < 3500


def test_both_breasts_are_found() -> None:
    canvas = prepare(exam(5).inputs, CONFIG)
    x = canvas.affines["dce"][0, 3] + 3.5 * np.argwhere(canvas.mask)[:, 0]
    assert 0.3 < (x > 0).mean() < 0.7


@pytest.mark.parametrize("seed", [1, 2, 11, 12])
def test_the_mask_is_the_breast_of_the_synthetic_patient(seed: int) -> None:
    """The margin it leaves out is skin and the foot of the breast; it holds nearly nothing of the chest."""
    canvas = prepare({"dce": exam(seed).dce}, CONFIG)
    truth = breasts_of(seed, canvas)
    assert dice(canvas.mask, truth) > 0.86
    assert truth[canvas.mask].mean() > 0.96


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
@pytest.mark.parametrize(("seed", "half"), [(6, (0.5, 1)), (1, (0, 0.5)), (12, (0.47, 1))])
def test_one_breast_alone_is_found(seed: int, half: tuple[float, float], plane: str) -> None:
    """Unilateral exams exist, often sagittal; they lie outside the evaluated range, but they are not 'no breast'.

    The slices above and below the breast show a sloping chest only; they must not move the chest wall.
    """
    canvas = prepare({"dce": acquired(cut(exam(seed).dce, 0, *half), plane)}, CONFIG)
    truth = breasts_of(seed, canvas) & (
        np.sign(places(canvas.affines["dce"], canvas.mask.shape)[0]) == (half[1] == 1) * 2 - 1
    )
    assert dice(canvas.mask, truth) > 0.88
    assert truth[canvas.mask].mean() > 0.93


@pytest.mark.parametrize(("width", "length"), [(45, 35), (60, 70), (85, 120)], ids=["small", "ordinary", "large"])
@pytest.mark.parametrize("depth", [1.0, 0.6], ids=["whole torso", "cut behind the chest wall"])
def test_breasts_of_other_sizes_in_other_fields_of_view(width: float, length: float, depth: float) -> None:
    """Large breasts make the voxels of the canvas larger; `canvas_scale` says so with every result."""
    volume, truth = torso(width, length, apart=max(75, width))
    canvas = prepare({"dce": cut(volume, 1, 0, depth)}, CONFIG)
    grid = Grid(canvas.affines["dce"], (96, 48, 32))
    assert dice(canvas.mask, at_grid(truth, Grid(volume.affine, (120, 108, 40)), grid) > 0.5) > 0.85
    assert (canvas.measures["canvas_scale"] < 0.95) == (width > 80)


@pytest.mark.parametrize("field", [(0, 1), (0.5, 1)], ids=["both breasts", "one breast"])
@pytest.mark.parametrize("depth", [1.0, 0.6])
def test_breasts_that_point_to_the_back_are_refused(field: tuple[float, float], depth: float) -> None:
    """Registered in another position than made: left is right then, too, and the 'breast' would be lung and heart."""
    volume = upside_down(cut(cut(exam(5).dce, 0, *field), 1, 0, depth))
    with pytest.raises(Refused, match="Front and back") as refusal:
        prepare({"dce": volume}, CONFIG)
    assert refusal.value.code == "BREAST_MASK_IMPLAUSIBLE"
    assert "left and right" in refusal.value.remedy


def test_they_are_refused_with_air_on_both_sides_too() -> None:
    """The whole torso lies in the field of view: no edge cuts the chest, but the valley is on the other side."""
    with pytest.raises(Refused, match="towards the back"):
        prepare({"dce": upside_down(torso(60, 70)[0])}, CONFIG)


@pytest.mark.parametrize("field", [(0, 1), (0.5, 1), (0, 0.5)])
@pytest.mark.parametrize("depth", [1.0, 0.6])
def test_a_chest_without_a_breast_is_refused(field: tuple[float, float], depth: float) -> None:
    """Its skin slopes away to the side, too, but never on both sides of a breast."""
    with pytest.raises(Refused):
        prepare({"dce": cut(cut(torso(60, 8)[0], 0, *field), 1, 0, depth)}, CONFIG)


def test_a_breast_cut_by_the_field_of_view_is_refused() -> None:
    """Without the skin beside the sternum nobody knows how deep the breast reaches: half of it would go unseen."""
    with pytest.raises(Refused, match="cuts through the breast"):
        prepare({"dce": cut(exam(5).dce, 0, 0.56, 1)}, CONFIG)


@pytest.mark.parametrize(
    "voxels",
    [
        np.zeros((90, 60, 30)),
        np.full((90, 60, 30), 7.0),
        np.abs(np.random.default_rng(0).normal(0, 10, (90, 60, 30))),
        np.random.default_rng(1).normal(1000, 10, (90, 60, 30)),
    ],
    ids=["empty", "even", "noise of air", "tissue everywhere"],
)
def test_a_volume_without_a_breast_is_refused(voxels: np.ndarray) -> None:
    """A score for an empty volume would look like any other score."""
    with pytest.raises(Refused) as refusal:
        masked(voxels)
    assert refusal.value.code == "BREAST_MASK_IMPLAUSIBLE"
    assert "prone" in refusal.value.remedy


def test_a_ball_in_the_air_is_not_a_breast() -> None:
    """A head or a test object: tissue with air in front, but with no chest behind it."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (90, 60, 30)), indexing="ij")
    noise = np.abs(np.random.default_rng(0).normal(0, 5, x.shape))
    with pytest.raises(Refused):
        masked(200.0 * (x**2 + y**2 + z**2 < 0.6) + noise)


def test_fat_without_suppression_is_tissue_too() -> None:
    """On a T1 without fat suppression the fat is the brightest; the boundary to air is still the skin."""
    volume = exam(7).dce
    pre = volume.voxels[0]
    bright = dataclasses.replace(volume, voxels=volume.voxels + 3 * (pre > 0.25 * np.percentile(pre, 98)) * 100.0)
    suppressed, not_suppressed = (prepare({"dce": v}, CONFIG).measures["mask_volume_ml"] for v in (volume, bright))
    assert not_suppressed == pytest.approx(suppressed, rel=0.3)
