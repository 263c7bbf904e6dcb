"""What a design does to synthetic exams, and that the plain one does nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from mome.coalitions import auroc
from mome.phantom import CLINIC, PLAIN, Design, PhantomExam, exam
from mome.phantom.cohorts import Making, made_row
from mome.phantom.design import UNTOUCHED, Site, conditions
from mome.phantom.patient import CERTAIN, SEPARATION, describe

ARITHMETIC = "7bd8cc5a89d2a7e5e0d48f9e4cd1a08c251c589b12be7d706a24c91b71a8eb37"
"""Of the machine on which the digests were taken."""
BEFORE: list[tuple[Mapping[str, Any], str]] = [
    ({"seed": 3}, "a4e26696e4cc8282e104e2a85a0f7b47dae45d20be6d1a7297c2d02b16f57f8f"),
    ({"seed": 1_000_000}, "dce51f29c6cbb6860bac5e9bcce8e5883e54d2742c9abd389424e95177356f35"),
    ({"seed": 5_000_007, "malignant": True}, "41f261e4db490ec13db925d5dba4ea5ccc75b9f9caa685c3e933eafbda2c3cb5"),
    ({"seed": 2_000_000, "lesions": 6}, "d4268ec1ae875a278f9dc531b5cf2f4bd8a19775db85c0d38988804346d3bbc1"),
    ({"seed": 21, "fine": True, "malignant": True}, "c6bc22affa57b5926d905c87f8458b9dad8614f0b7456dc65606939ea5a1ab02"),
]
"""SHA-256 of all volumes and affines, taken before there were designs."""
MEANS = {3: 94.31690216064453, 4: 100.64705657958984, 1_000_000: 86.9773178100586}
"""Of the voxels of the DCE, coarse."""


def digest(made: PhantomExam) -> str:
    volumes = [made.dce, *(made.dwi[b] for b in sorted(made.dwi)), made.t2, *([made.adc] if made.adc else [])]
    return hashlib.sha256(b"".join(v.voxels.tobytes() + v.affine.tobytes() for v in volumes)).hexdigest()


def arithmetic() -> str:
    """Digest of what the phantom computes with: processors differ in the last digit of an exponential."""
    x = np.linspace(-3, 3, 4096, dtype=np.float32)
    square = x.reshape(64, 64)
    values = [np.exp(x), np.cos(x), np.log(x + 4), np.sqrt(x + 3), np.tensordot(square, square, axes=1)]
    return hashlib.sha256(b"".join(v.tobytes() for v in [*values, np.exp(x.astype(np.float64))])).hexdigest()


@pytest.mark.parametrize("seed", MEANS)
def test_plain_exams_are_those_of_before(seed: int) -> None:
    """On any machine, up to rounding."""
    assert float(exam(seed).dce.voxels.mean()) == pytest.approx(MEANS[seed], rel=1e-5)


@pytest.mark.parametrize(("arguments", "expected"), BEFORE)
def test_plain_exams_are_those_of_before_bit_by_bit(arguments: dict[str, Any], expected: str) -> None:
    """Cohorts and DICOM studies made before stay valid. Only where the processor rounds as the recording one did."""
    with threadpool_limits(1):  # the last digits depend on the number of threads
        if arithmetic() != ARITHMETIC:
            pytest.skip("this processor rounds otherwise than the one on which the digests were taken")
        assert digest(exam(**arguments)) == expected


def untouched(design: Design) -> int:
    """A seed to which a design does nothing."""
    drawn = ((seed, conditions(design, seed, 1)) for seed in range(8_500_000, 8_500_200))
    return next(seed for seed, c in drawn if replace(c, site=UNTOUCHED.site) == UNTOUCHED and c.site.name == "A")


def test_a_design_leaves_the_other_exams_alone() -> None:
    """What happens to an exam takes no random number from its patient: designs can be compared exam by exam."""
    seed = untouched(CLINIC)
    assert digest(exam(seed, design=CLINIC)) == digest(exam(seed))
    assert exam(seed, design="clinic").labels == exam(seed).labels


def test_a_design_happens_as_often_as_it_says() -> None:
    found = [conditions(CLINIC, seed, 1) for seed in range(3000)]
    assert np.mean([c.normal for c in found]) == pytest.approx(CLINIC.normal, abs=0.02)
    assert np.mean([c.fat_failure is not None for c in found]) == pytest.approx(CLINIC.fat_failure, abs=0.02)
    assert np.mean([c.motion is not None for c in found]) == pytest.approx(CLINIC.marked_motion, abs=0.02)
    assert np.mean(["dwi" in c.missing for c in found]) == pytest.approx(CLINIC.missing_dwi, abs=0.02)
    assert np.mean([c.broken_off for c in found]) == pytest.approx(CLINIC.broken_off, abs=0.01)
    assert np.mean([c.site.name == "A" for c in found]) == pytest.approx(0.45, abs=0.03)


def test_what_happens_to_an_exam_has_nothing_to_do_with_its_patient() -> None:
    """Else a network could tell a normal exam by the chest wall: both come from the same seed, not the same stream."""
    patients = [describe(seed, design=replace(PLAIN, normal=0.5)) for seed in range(80)]
    normal = np.array([patient.conditions.normal for patient in patients], float)
    for of_patient in ([p.wall for p in patients], [p.density for p in patients], [p.background for p in patients]):
        assert abs(np.corrcoef(normal, of_patient)[0, 1]) < 0.4


def test_difficulty_brings_the_attributes_together_and_nothing_else() -> None:
    """At twice the difficulty half the separation, and log odds that know of it."""
    hard = replace(PLAIN, difficulty=2.0)
    benign, malignant = (describe(5, label, design=hard).lesions[0] for label in (False, True))
    for name, separation in SEPARATION.items():
        assert getattr(malignant, name) - getattr(benign, name) == pytest.approx(separation / 2)
    assert np.array_equal(benign.centre, malignant.centre)
    found = [describe(seed, design=hard).lesions[0] for seed in range(200)]
    malignant_ones = np.array([lesion.malignant for lesion in found])
    reached = auroc(malignant_ones, np.array([sum(lesion.log_odds.values()) for lesion in found]))
    assert reached == pytest.approx(0.79, abs=0.06)  # in theory; 0.95 at difficulty 1


def test_a_normal_exam_has_no_lesion_and_the_best_reader_knows() -> None:
    normal = exam(3, design=replace(PLAIN, normal=1.0))
    usual = exam(3)
    assert normal.lesions == ()
    assert not normal.malignant
    assert set(normal.log_odds.values()) == {CERTAIN}
    share = usual.lesion_share(usual.dce.affine, usual.dce.voxels.shape[1:]) > 0.5
    gains = [made.dce.voxels[2][share].mean() - made.dce.voxels[0][share].mean() for made in (normal, usual)]
    assert gains[0] < 0.3 * gains[1]
    row = made_row(3, Making(design=replace(PLAIN, normal=1.0)))
    assert row.lesions is not None
    assert row.lesions.shape == (1, 9)
    assert not row.lesions.any()


def test_who_asks_for_a_cancer_gets_one() -> None:
    """Also from a design of normal exams: demonstrations and evidence of the saliency ask so."""
    assert exam(3, malignant=True, design=replace(PLAIN, normal=1.0)).malignant


def test_where_fat_suppression_fails_fat_is_bright_and_the_subtraction_hardly_sees_it() -> None:
    usual, failed = (exam(7, design=replace(PLAIN, fat_failure=share)) for share in (0.0, 1.0))
    brighter = failed.dce.voxels[0] - usual.dce.voxels[0]
    assert (brighter > 30).mean() > 0.03
    assert failed.t2.voxels.mean() > 1.05 * usual.t2.voxels.mean()
    gains = [np.abs(made.dce.voxels[1] - made.dce.voxels[0]).mean() for made in (usual, failed)]
    assert gains[1] == pytest.approx(gains[0], rel=0.2)


def test_marked_motion_moves_the_patient_from_one_phase_on() -> None:
    design = replace(PLAIN, marked_motion=1.0)
    usual, moved = exam(7), exam(7, design=design)
    motion = moved.conditions.motion
    assert motion is not None
    assert 3 <= np.linalg.norm(motion.by) <= 8
    differ = [not np.array_equal(a, b) for a, b in zip(usual.dce.voxels, moved.dce.voxels, strict=True)]
    assert differ == [index > motion.from_phase for index in range(len(differ))]


def test_a_missing_sequence_is_not_shown_and_tells_nothing() -> None:
    made = exam(7, design=replace(PLAIN, missing_dwi=1.0))
    assert set(made.inputs) == {"dce", "t2"}
    assert made.log_odds["dwi"] == 0
    assert made.log_odds["all"] == pytest.approx(made.log_odds["dce"] + made.log_odds["t2"])
    assert made.case.sequences == ("dce", "t2")


def test_a_dynamic_that_breaks_off_is_rejected_with_the_reason() -> None:
    """Two phases are no dynamic: the case stays in the table, without volumes."""
    row = made_row(7, Making(design=replace(PLAIN, broken_off=1.0)))
    assert (row.case.status, row.volumes) == ("rejected", None)
    assert "phases" in row.case.reason


def test_sites_differ_in_noise_gain_and_grid() -> None:
    loud = Site("loud", noise=2.0, gain=0.5, voxel=1.2, field_of_view=1.1, field_strength_t=3.0)
    here, there = describe(7), describe(7, design=replace(PLAIN, sites=(loud,)))
    assert there.noise["dce"] == pytest.approx(2 * here.noise["dce"])
    assert there.gain["t2"] == pytest.approx(0.5 * here.gain["t2"])
    usual, other = exam(7), exam(7, design=replace(PLAIN, sites=(loud,)))
    assert other.dce.affine[0, 0] == pytest.approx(1.2 * usual.dce.affine[0, 0])
    widths = [made.dce.affine[0, 0] * made.dce.voxels.shape[1] for made in (usual, other)]
    assert widths[1] == pytest.approx(1.1 * widths[0], rel=0.02)
    assert (other.case.site, other.case.field_strength_t) == ("loud", 3.0)


@pytest.mark.parametrize("wrong", [{"normal": 1.5}, {"difficulty": 0.0}, {"sites": ()}])
def test_a_design_that_means_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"wrong|Shares"):
        Design("wrong", **wrong)
