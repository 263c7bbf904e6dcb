"""Synthetic exams are honest: one seed is one patient, the answer is in the lesion, and nothing else betrays it."""

from __future__ import annotations

import numpy as np
import pytest

from mome.config import PreprocessingConfig
from mome.phantom import exam
from mome.phantom.leakage import LIMIT, leakage
from mome.phantom.patient import SEPARATION, describe
from mome.phantom.render import MINUTES, curve


def test_a_seed_is_an_exam() -> None:
    first, again, other = exam(3), exam(3), exam(4)
    assert first.dce.voxels.tobytes() == again.dce.voxels.tobytes()
    assert first.dce.voxels.shape != other.dce.voxels.shape or not np.allclose(first.dce.voxels, other.dce.voxels)


def test_coarse_and_fine_grids_show_the_same_patient() -> None:
    """Scores of synthetic DICOM studies are comparable with those of the training arrays."""
    coarse, fine = exam(3), exam(3, fine=True)
    assert np.array_equal(coarse.lesions[0].centre, fine.lesions[0].centre)
    assert coarse.log_odds == fine.log_odds
    assert fine.dce.voxels.shape == (7, 240, 160, 58)
    assert set(fine.dwi) == {50, 400, 800}


def test_malignancy_moves_the_attributes_and_nothing_else() -> None:
    """Same seed, other label: the same patient, the same place, size and brightness; four attributes shifted."""
    benign, malignant = (describe(5, label).lesions[0] for label in (False, True))
    for name, separation in SEPARATION.items():
        assert getattr(malignant, name) - getattr(benign, name) == pytest.approx(separation)
    assert np.array_equal(benign.centre, malignant.centre)
    assert (benign.radius, benign.amplitude, benign.s0) == (malignant.radius, malignant.amplitude, malignant.s0)
    assert describe(5, False).wall == describe(5, True).wall


def test_brightness_does_not_carry_the_kinetics() -> None:
    """Mean uptake over the six minutes is one for every curve: only its shape tells."""
    assert [float(curve(k, MINUTES).mean()) for k in (-2.0, 0.0, 2.0)] == pytest.approx([1, 1, 1])
    late = [float(curve(k, MINUTES)[-1] / curve(k, MINUTES)[0]) for k in (-2.0, 0.0, 2.0)]
    assert late[0] > late[1] > late[2]


def test_log_odds_are_those_of_the_ideal_observer() -> None:
    """Among exams with log odds near l, a share 1 / (1 + exp(-l)) is malignant: figures beside it are exact bounds."""
    lesions = [describe(seed, None).lesions[0] for seed in range(400)]
    odds = np.array([sum(lesion.log_odds.values()) for lesion in lesions])
    malignant = np.array([lesion.malignant for lesion in lesions])
    expected = 1 / (1 + np.exp(-odds))
    assert malignant.mean() == pytest.approx(expected.mean(), abs=0.04)
    sure = odds > 1.5
    assert malignant[sure].mean() == pytest.approx(expected[sure].mean(), abs=0.06)


def test_adc_and_diffusion_images_agree() -> None:
    """Signal falls mono-exponentially with b at the rate that the map says (units 1e-6 mm2/s)."""
    made = exam(6, fine=True)
    assert made.adc is not None
    share = made.lesion_share(made.adc.affine, made.adc.voxels.shape[1:])
    lesion = share > 0.8
    low, high = (float(made.dwi[b].voxels[0][lesion].mean()) for b in (50, 800))
    assert np.log(low / high) / 750 * 1e6 == pytest.approx(float(made.adc.voxels[0][lesion].mean()), rel=0.1)


def test_values_look_like_those_of_a_scanner() -> None:
    made = exam(7, fine=True)
    for volume in (made.dce, made.t2, made.dwi[800]):
        assert volume.voxels.min() >= 0
        assert 100 < volume.voxels.max() < 16000


def test_several_lesions_keep_apart() -> None:
    lesions = describe(8, lesions=6).lesions
    gaps = [
        np.linalg.norm(a.centre - b.centre) - a.radius - b.radius for i, a in enumerate(lesions) for b in lesions[:i]
    ]
    assert len(lesions) == 6
    assert min(gaps) > 0


@pytest.mark.slow
def test_global_statistics_do_not_betray_the_label() -> None:
    """If the brightest voxel told benign from malignant, a network would learn that and nothing about lesions."""
    found = leakage((exam(seed) for seed in range(8_000_000, 8_000_150)), PreprocessingConfig())
    assert max(found.values()) <= LIMIT
