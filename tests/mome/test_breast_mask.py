"""The breast mask finds breasts of prone patients and refuses everything else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mome.config import PreprocessingConfig
from mome.phantom import PhantomVolume, exam
from mome.preprocessing import Prepared, prepare
from mome.refusal import Refused

CONFIG = PreprocessingConfig()
AFFINE = np.diag([3.5, 3.5, 5.0, 1.0])


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


def test_one_breast_alone_is_found() -> None:
    """Unilateral exams exist; they lie outside the evaluated range, but they are not 'no breast'."""
    volume = exam(6).dce
    half = volume.voxels.shape[1] // 2
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (half - 3)
    canvas = prepare({"dce": dataclasses.replace(volume, voxels=volume.voxels[:, half - 3 :], affine=affine)}, CONFIG)
    assert 100 < canvas.measures["mask_volume_ml"] < 2000


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
