"""What the pixels must show before a model is asked, and what they must not be mistaken for.

The patient is drawn here, simply: two breasts with glands and skin before an open chest with heart and lungs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from mome_node.analysis import quality
from mome_node.findings import PROBLEM_CODES
from mome_node.volume import FloatArray, Volume

LIMITS: dict[str, dict[str, float]] = {
    "enhancement_p99": {"low": 1.0},
    "enhancement_asymmetry": {"low": 2.5},
    "enhancement_median": {"high": 0.5},
    "motion_mm": {"high": 1.5},
    "fat_signal": {"high": 0.7},
    "fat_unevenness": {"high": 1.5},
    "mask_volume_ml": {"low": 200.0, "high": 2500.0},
    "phases": {"low": 5.0, "high": 8.0},
}
SPACING, SHAPE = (4.0, 4.0, 5.0), (84, 56, 30)
ORIGIN = (-166.0, -90.0, -72.5)
AFFINE = np.array([[4.0, 0, 0, ORIGIN[0]], [0, 4.0, 0, ORIGIN[1]], [0, 0, 5.0, ORIGIN[2]], [0, 0, 0, 1]])
HALF_A_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])  # prone registered as supine: front and back, left and right exchanged
Places = tuple[FloatArray, FloatArray, FloatArray]


def ball(at: Places, centre: Sequence[float], radii: Sequence[float]) -> FloatArray:
    """Distance from a centre, 1 on the surface of an ellipsoid."""
    return np.sqrt(sum(((a - c) / r) ** 2 for a, c, r in zip(at, centre, radii, strict=True)))


def soft(depth_mm: FloatArray) -> FloatArray:
    return 1 / (1 + np.exp(-np.clip(depth_mm / 2, -30, 30)))


def patient(
    *,
    contrast: float = 0.0,
    moved: Sequence[float] = (0, 0, 0),
    fat: float | Callable[[Places], FloatArray] = 0.3,
    breast_mm: float = 90.0,
    seed: int = 0,
) -> FloatArray:
    """One phase (W, H, D) in units of gland; `contrast`: of the heart, less elsewhere; `moved` mm along x, y, z."""
    lines = [o + s * np.arange(n) - m for o, s, n, m in zip(ORIGIN, SPACING, SHAPE, moved, strict=True)]
    at = tuple(np.meshgrid(*lines, indexing="ij"))
    breast = np.maximum(*((1 - ball(at, (side * 72, 40, 0), (62, breast_mm, 62))) * 60 for side in (-1, 1)))
    chest = (1 - ball(at, (0, 165, 0), (190, 125, 1e4))) * 125
    under_skin = np.maximum(breast, chest + 8)
    body, muscle, lung = soft(under_skin), soft(chest), soft(chest - 18)
    heart = soft((1 - ball(at, (30, 110, -20), (45, 45, 45))) * 45)
    skin = body * soft(3 - under_skin)
    gland = soft(breast - 22) * (1 - muscle)
    muscle, lung = muscle - lung, lung * (1 - heart)
    other = np.clip(body - skin - gland - muscle - lung - heart, 0, 1)
    before = 0.5 * skin + 0.8 * gland + 0.75 * muscle + 0.6 * heart + 0.05 * lung
    before += other * (fat(at) if callable(fat) else fat)
    after = contrast * (heart + 0.15 * skin + 0.2 * gland + 0.08 * muscle)
    noise = np.random.default_rng(seed).normal(0, 0.03, SHAPE)
    return np.abs(before + after + noise).astype(np.float32)


def dynamic(*phases: FloatArray, affine: FloatArray = AFFINE) -> Volume:
    return Volume(np.stack(phases) * 350, affine)


def injected(pre: FloatArray | None = None, **later: Any) -> Volume:
    """Pre-contrast, then three phases that enhance; `later`: how the patient of the last phase differs."""
    pre = patient() if pre is None else pre
    return dynamic(
        pre, patient(contrast=2, seed=1), patient(contrast=1.9, seed=2), patient(contrast=1.8, seed=3, **later)
    )


def codes(dce: Volume, limits: dict[str, dict[str, float]] = LIMITS) -> list[str]:
    return [problem.code for problem in quality.problems(quality.measure(dce), limits)]


@pytest.fixture(scope="module")
def good() -> Volume:
    return injected()


@pytest.fixture(scope="module")
def measured(good: Volume) -> dict[str, float]:
    return quality.measure(good)


def test_an_exam_as_it_should_be_raises_nothing(measured: dict[str, float]) -> None:
    """And its measures are numbers that a report can hold."""
    assert quality.problems(measured, LIMITS) == []
    json.dumps(measured, allow_nan=False)


# ------------------------------------------------------------------ contrast
def test_a_failed_injection_ends_the_analysis() -> None:
    """Equal phases but for noise: a model would score the noise."""
    found = quality.problems(quality.measure(dynamic(*(patient(seed=n) for n in range(4)))), LIMITS)
    assert [problem.code for problem in found] == ["CONTRAST_NOT_SHOWN"]
    assert found[0].severity == "error"
    assert "strongest enhancement 0." in found[0].message
    assert "at least 1" in found[0].message


def test_a_swapped_pre_and_post_is_not_contrast(good: Volume) -> None:
    """Taking a post-contrast phase for the pre-contrast one gives a confident wrong score: signal falls, not rises."""
    assert codes(Volume(good.voxels[[1, 0, 2, 3]], AFFINE)) == ["CONTRAST_NOT_SHOWN"]


def test_a_post_contrast_phase_is_no_pre_contrast_phase(good: Volume) -> None:
    """The pre-contrast phase was lost: from one post-contrast phase to the next the heart already washes out."""
    assert codes(Volume(good.voxels[1:], AFFINE)) == ["CONTRAST_NOT_SHOWN"]


def test_a_subtraction_is_no_pre_contrast_phase(good: Volume) -> None:
    """Against a subtraction everything seems to enhance, the fat too; no contrast agent does that."""
    subtraction = np.maximum(good.voxels[1] - good.voxels[0], 0)
    assert "CONTRAST_NOT_SHOWN" in codes(Volume(np.stack([subtraction, *good.voxels[1:]]), AFFINE))


def test_noise_alone_is_not_contrast() -> None:
    """Differences of noise are large relative to it, but as often down as up."""
    noise = np.abs(np.random.default_rng(5).normal(0, 10, (3, *SHAPE)))
    assert "CONTRAST_NOT_SHOWN" in codes(Volume(noise.astype(np.float32), AFFINE))


def test_bright_fat_hides_no_contrast() -> None:
    """Without fat suppression fat is the brightest tissue; the gain of the heart is small beside it, yet contrast."""
    dark, bright = (
        quality.measure(dynamic(patient(fat=fat), patient(fat=fat, contrast=2, seed=1)))["enhancement_p99"]
        for fat in (0.3, 4.0)
    )
    assert bright == pytest.approx(dark, rel=0.1)


def test_three_phases_and_one_breast_are_enough_to_see_contrast(good: Volume) -> None:
    one_breast = good.voxels[:3, 40:]
    assert "CONTRAST_NOT_SHOWN" not in codes(Volume(one_breast, AFFINE))


def test_the_scale_of_the_signal_does_not_matter(good: Volume, measured: dict[str, float]) -> None:
    """Scanners have no common unit; most send integers."""
    scaled = quality.measure(Volume((good.voxels * 4).astype(np.int16), AFFINE))
    assert scaled == pytest.approx(measured, rel=0.02, abs=0.02)


def test_air_alone_is_no_patient() -> None:
    """An empty volume has no enhancement, and no division by zero; what needs a patient is not measured."""
    measures = quality.measure(Volume(np.zeros((3, 16, 16, 8), np.float32), np.eye(4)))
    assert set(measures) == {"enhancement_p99", "enhancement_asymmetry", "enhancement_median"}
    assert [p.code for p in quality.problems(measures, LIMITS)] == ["CONTRAST_NOT_SHOWN"]


# ------------------------------------------------------------------ motion
@pytest.mark.parametrize("moved", [(3, 0, 0), (0, 3, 0), (0, 0, 3), (0, -6, 0), (12, 0, 0), (4, -5, 4)])
def test_motion_is_measured_in_millimetres(moved: Sequence[float]) -> None:
    measures = quality.measure(injected(moved=moved))
    assert measures["motion_mm"] == pytest.approx(np.linalg.norm(moved), abs=0.8)
    assert measures["motion_phase"] == 4


def test_enhancement_is_not_motion(measured: dict[str, float]) -> None:
    """Skin, gland and heart brighten between the phases; the edge between tissue and air stays where it is."""
    assert measured["motion_mm"] < 0.8


def test_one_breast_that_moves_is_motion(good: Volume) -> None:
    """Breasts move one by one; over both together half of it would be averaged away."""
    left = injected(moved=(0, 0, 5)).voxels[3, 42:]
    voxels = good.voxels.copy()
    voxels[3, 42:] = left
    assert quality.measure(Volume(voxels, AFFINE))["motion_mm"] == pytest.approx(5, abs=0.8)


def test_two_slabs_are_one_patient() -> None:
    """Each breast in a sagittal slab, nothing between them: the gap is no skin, and both breasts are looked at."""
    for side, beyond in ((1, slice(None, 48)), (-1, slice(36, None))):
        dce = injected(moved=(0, 0, 4 * side))
        dce.voxels[3, beyond] = injected().voxels[3, beyond]
        dce.voxels[:, 36:48] = 0
        measures = quality.measure(dce)
        assert measures["motion_mm"] == pytest.approx(4, abs=0.8)
        assert [p.code for p in quality.problems(measures, LIMITS)] == ["MOTION_BETWEEN_PHASES"]


def test_the_message_says_between_which_phases_and_how_far() -> None:
    """A reader looks at that subtraction first."""
    (problem,) = quality.problems(quality.measure(injected(moved=(0, 6, 0))), LIMITS)
    assert problem.code == "MOTION_BETWEEN_PHASES"
    assert problem.severity == "warning"
    assert problem.blocks_advice
    assert "phase 4" in problem.message
    assert "displacement in mm 6." in problem.message or "displacement in mm 5." in problem.message


# ------------------------------------------------------------------ fat suppression
def in_one_breast(at: Places) -> FloatArray:
    return np.where(at[0] > 0, 1.2, 0.3)


def towards_the_feet(at: Places) -> FloatArray:
    return np.where(at[2] < -10, 1.2, 0.3)


@pytest.mark.parametrize("fat", [in_one_breast, towards_the_feet, 1.5], ids=["one breast", "feet", "nowhere dark"])
def test_fat_that_is_not_suppressed_everywhere_is_poor(fat: Any) -> None:
    """Bright fat hides glands and moves in subtractions; an exam without suppression is outside what was trained."""
    pre = patient(fat=fat)
    measures = quality.measure(dynamic(pre, pre, pre))
    limits = {name: LIMITS[name] for name in ("fat_signal", "fat_unevenness")}
    assert [p.code for p in quality.problems(measures, limits)] == ["FAT_SUPPRESSION_POOR"]


def test_fat_half_suppressed_in_one_breast_is_uneven() -> None:
    """Nowhere as bright as tissue, but twice as bright on one side as on the other."""
    pre = patient(fat=lambda at: np.where(at[0] > 0, 0.6, 0.3))
    assert 1.5 < quality.measure(dynamic(pre, pre, pre))["fat_unevenness"] < 2.2


def test_gland_and_muscle_are_not_bright_fat(measured: dict[str, float]) -> None:
    """They are as bright as fat may be; what is judged is the layer under the skin of the breasts, in all of them fat,
    and not over the chest, where it is thin."""
    assert measured["fat_signal"] < 0.5
    assert measured["fat_unevenness"] < 1.1


# ------------------------------------------------------------------ position
def test_breasts_that_point_backwards_contradict_the_position(good: Volume) -> None:
    """Prone, registered as supine: half a turn about the body's axis exchanges left and right as well."""
    (problem,) = quality.problems(quality.measure(Volume(good.voxels, HALF_A_TURN @ AFFINE)), LIMITS)
    assert problem.code == "PATIENT_POSITION_CONTRADICTS_ANATOMY"
    assert problem.blocks_advice


def test_the_position_is_checked_for_every_model(good: Volume) -> None:
    """Where breasts are is anatomy: a card without limits, or with others, must not let left pass for right."""
    measures = quality.measure(Volume(good.voxels, HALF_A_TURN @ AFFINE))
    for limits in ({}, {"protrusion_mm": {"low": -1000.0}}):
        found = quality.problems(measures, limits)
        assert [problem.code for problem in found] == ["PATIENT_POSITION_CONTRADICTS_ANATOMY"]


def test_a_patient_who_lies_supine_is_no_contradiction() -> None:
    """The breasts lie flat, and the front is where the headers say."""
    flat = {"breast_mm": 45.0}
    dce = dynamic(patient(**flat), *(patient(contrast=2, seed=n, **flat) for n in (1, 2)))
    assert "PATIENT_POSITION_CONTRADICTS_ANATOMY" not in codes(dce)


def test_one_breast_alone_is_no_contradiction(good: Volume) -> None:
    """It has no second lobe to be told by; the heart in an open chest stands out behind as much as it does in front."""
    for side in (slice(0, 44), slice(40, None)):
        assert "PATIENT_POSITION_CONTRADICTS_ANATOMY" not in codes(Volume(good.voxels[:, side], AFFINE))


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 2, 0)], ids=["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("backwards", [False, True])
def test_the_plane_of_the_slices_does_not_matter(
    good: Volume, measured: dict[str, float], order: tuple[int, int, int], backwards: bool
) -> None:
    """What counts is where voxels lie in the patient, not how they are stored."""
    turned = np.transpose(good.voxels, (0, *(axis + 1 for axis in order)))[:, ::-1]
    affine = AFFINE[:, [*order, 3]].copy()
    affine[:3, 3] += affine[:3, 0] * (turned.shape[1] - 1)
    affine[:3, 0] *= -1
    measures = quality.measure(Volume(turned, HALF_A_TURN @ affine if backwards else affine))
    assert measures["protrusion_mm"] == pytest.approx((-1 if backwards else 1) * measured["protrusion_mm"], abs=5)
    assert measures["motion_mm"] == pytest.approx(measured["motion_mm"], abs=0.5)
    assert measures["fat_signal"] == pytest.approx(measured["fat_signal"], abs=0.08)


# ------------------------------------------------------------------ limits
def test_limits_are_those_of_the_card(good: Volume) -> None:
    """A measure without a limit is reported and judged by nobody; imported weights have none, and give no advice."""
    measures = quality.measure(injected(moved=(0, 6, 0)))
    assert "motion_mm" in measures
    assert quality.problems(measures, {}) == []
    assert quality.problems(measures, {"motion_mm": {"high": 20.0}}) == []


def test_measures_of_the_model_have_limits_too() -> None:
    """The node does not know what a mask is, but the card knows which volumes it was trained on."""
    unusual = quality.problems({"mask_volume_ml": 4000.0, "phases": 4.0, "attribution_steps": 8.0}, LIMITS)
    assert [problem.code for problem in unusual] == ["BREAST_MASK_UNUSUAL", "PHASES_OUTSIDE_RANGE"]
    assert all(problem.severity == "warning" and problem.blocks_advice for problem in unusual)
    assert quality.problems({"mask_volume_ml": 900.0, "phases": 7.0}, LIMITS) == []


def test_every_judged_measure_has_a_problem_with_words() -> None:
    assert {code for code, _ in quality.MEASURES.values()} == set(quality.WORDS)
    assert set(quality.WORDS) <= set(PROBLEM_CODES)
