"""Batches are the same whenever they are drawn, and what moves the volumes moves what is asked about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mome.cohort import Cohort, CohortError
from mome.config import SEQUENCES
from mome.training.augmentation import changed, changed_lesions, scattered
from mome.training.batches import Batch, Batches
from mome.training.configuration import Stage

from .small_training import EXAMS, STAGE, small_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return small_cohort(tmp_path_factory.mktemp("batches") / "train", incomplete=True)


def batches(cohort: Cohort, process: tuple[int, int] = (0, 1), **changes: Any) -> Batches:
    stage = Stage.model_validate(STAGE | changes)
    return Batches(stage, {"train": cohort}, "malignancy", (7, 0), process=process)


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.answers, other.answers) and all(
        torch.equal(one.volumes[s], other.volumes[s]) for s in SEQUENCES
    )


@pytest.mark.parametrize("augmentation", ["none", "mirrored-shifted", "paper"])
def test_a_batch_does_not_depend_on_those_before(cohort: Cohort, augmentation: str) -> None:
    """That is all that resuming needs: no state of a random generator is kept anywhere."""
    noise = [{"transform": "RandGaussianNoise", "prob": 0.5}]
    one, other = (batches(cohort, augmentation=augmentation, intensities=noise) for _ in range(2))
    assert same([one[i] for i in range(4)][3], other[3])
    assert not same(one[3], one[4])


@pytest.mark.parametrize("augmentation", ["mirrored-shifted", "paper"])
def test_processes_share_one_batch(cohort: Cohort, augmentation: str) -> None:
    whole, *parts = (batches(cohort, p, augmentation=augmentation)[2] for p in ((0, 1), (0, 2), (1, 2)))
    for s in SEQUENCES:
        assert torch.equal(whole.volumes[s], torch.cat([part.volumes[s] for part in parts]))
    assert torch.equal(whole.answers, torch.cat([part.answers for part in parts]))


def test_a_batch_that_cannot_be_shared_is_refused(cohort: Cohort) -> None:
    with pytest.raises(ValueError, match="choose a multiple"):
        batches(cohort, (0, 3))


def test_an_epoch_shows_every_exam_once(cohort: Cohort) -> None:
    """24 exams, 12 a step: two steps; the next epoch comes in another order."""
    found = batches(cohort, steps=None, epochs=2, batch=4, accumulate=3)
    assert (found.steps_per_epoch, found.steps, len(found)) == (2, 4, 12)
    rows = [found.drawn(0, step, micro, np.random.default_rng()) for step in range(4) for micro in range(3)]
    first, second = np.concatenate(rows[:6]), np.concatenate(rows[6:])
    assert sorted(first) == sorted(second) == list(range(EXAMS))
    assert list(first) != list(second)


def test_the_rare_class_weighs_as_much_as_the_other(cohort: Cohort) -> None:
    """Paper: the weights follow from the ratio of positive and negative samples. Their mean is 1."""
    answers = np.array([1.0, 0, 0, 0, np.nan])
    few = cohort.part(range(5))
    object.__setattr__(few, "cases", tuple(_with(c, a) for c, a in zip(few.cases, answers, strict=True)))
    found = batches(few, lessons=[{"class_weighted": True}]).importance[0]
    assert found is not None
    assert found[:4].tolist() == pytest.approx([2, 2 / 3, 2 / 3, 2 / 3])
    assert 4 not in batches(few).rows[0], "an exam without an answer teaches nothing"


def _with(case: Any, answer: float) -> Any:
    import dataclasses

    return dataclasses.replace(case, malignant=None if np.isnan(answer) else bool(answer))


def test_a_cohort_of_patients_has_no_planted_lesions(tmp_path: Path) -> None:
    patients = small_cohort(tmp_path / "train", synthetic=False)
    with pytest.raises(CohortError, match="synthetic"):
        batches(patients, lessons=[{"objective": "lesions"}])


def test_exams_are_parted_by_the_sequences_they_have(cohort: Cohort) -> None:
    """A sequence that an exam lacks is dropped by the network, not filled with zeros."""
    batch = batches(cohort, batch=24)[0]
    parts = dict(batch.by_sequences())
    assert {"dce", "dwi", "t2"} in [set(there) for there in parts]
    assert sum(len(part) for part in parts.values()) == 24
    for there, part in parts.items():
        assert part.volumes.keys() == set(there)
        assert all(part.volumes[s].abs().amax(dim=(1, 2, 3, 4)).min() > 0 for s in there)


@pytest.mark.parametrize("mirrored", [(False, False, False), (True, False, True)])
def test_a_lesion_is_mirrored_and_moved_with_its_volume(mirrored: tuple[bool, bool, bool]) -> None:
    canvas = (32, 16, 16)
    volume = np.zeros((1, 1, *canvas), np.float32)
    volume[0, 0, 20, 9, 4] = 1
    lesions = torch.tensor([[[20.5 / 32, 9.5 / 16, 4.5 / 16, *[0.0] * 6]]])
    change = (mirrored, (2, -2, 1))
    there = np.argwhere(changed({"dce": volume}, change, canvas)["dce"][0, 0])[0]
    centre = changed_lesions(lesions, change, canvas)[0, 0, :3].numpy() * canvas - 0.5
    assert centre == pytest.approx(there, abs=1e-5)


def test_the_paper_moves_each_sequence_by_itself_and_mirrors_all_alike() -> None:
    """The published loader: content anywhere on its canvas, then one of six flips. No voxel is lost."""
    rng = np.random.default_rng(0)
    exam = {s: np.zeros((1, 16, 8, 8), np.float32) for s in SEQUENCES}
    for array in exam.values():
        array[0, 4:10, 2:6, 1:4] = rng.normal(size=(6, 4, 3))
    places = set()
    for seed in range(20):
        found = scattered(exam, np.random.default_rng(seed))
        for s in SEQUENCES:
            assert np.sort(found[s], axis=None) == pytest.approx(np.sort(exam[s], axis=None))
        places.add(
            tuple(
                np.argwhere(found[s]).min(axis=0).tolist() != np.argwhere(found["dce"]).min(axis=0).tolist()
                for s in SEQUENCES
            )
        )
    assert (False, True, True) in places


def test_transforms_of_values_leave_the_outside_zero(cohort: Cohort) -> None:
    """Zero is the mean and the canvas around the breast: noise there would be a frame that the network learns."""
    noise = [{"transform": "RandGaussianNoise", "prob": 1.0, "std": 1.0, "sample_std": False}]
    plain, noisy = batches(cohort)[0], batches(cohort, intensities=noise)[0]
    outside = plain.volumes["dce"] == 0
    assert outside.any()
    assert noisy.volumes["dce"][outside].abs().max() == 0
    assert (noisy.volumes["dce"] - plain.volumes["dce"])[~outside].std() == pytest.approx(1, abs=0.1)
