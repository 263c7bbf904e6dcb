"""Small tasks: five folds by patient, each from the network of malignancy, with the rare class weighted."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mome import weights
from mome.cohort import Cohort
from mome.evaluation import separation
from mome.training import folds, start
from mome.training.train import train

from .small_training import STAGE, small_cohort, small_configuration


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return small_cohort(tmp_path_factory.mktemp("folds") / "train")


def test_patients_are_never_parted(cohort: Cohort) -> None:
    """Two exams of one patient in learning and scoring would measure how well the patient is known again."""
    answers = cohort.answers("tnbc")
    found = list(folds.folds(cohort, answers, 3, seed=1))
    patients = [[{cohort.cases[row].patient for row in rows} for rows in fold] for fold in found]
    assert all(not learning & scored for learning, scored in patients)
    scored = np.concatenate([scored for _, scored in found])
    assert sorted(scored) == list(np.flatnonzero(~np.isnan(answers))), "each known exam once, the others never"
    assert all({*answers[rows]} == {0.0, 1.0} for fold in found for rows in fold)
    again = list(folds.folds(cohort, answers, 3, seed=1))
    assert all(
        np.array_equal(a, b) for one, other in zip(found, again, strict=True) for a, b in zip(one, other, strict=True)
    )


def test_validation_is_a_share_of_the_patients(cohort: Cohort) -> None:
    learning, validation = start.parted(cohort, 0.25, (1, 0))
    assert len(validation) == 6
    assert not {c.patient for c in learning.cases} & {c.patient for c in validation.cases}
    row = cohort.cases.index(validation.cases[2])
    assert np.array_equal(validation.batch("dce", np.array([2])), cohort.batch("dce", np.array([row])))


def test_every_exam_is_scored_by_a_network_that_never_saw_its_patient(cohort: Cohort, tmp_path: Path) -> None:
    """The files that the table of the paper is made of: scores out of fold, AUROC of each fold, mean and sd."""
    folder = tmp_path / "train"
    small_cohort(folder)
    first = start.network_of(small_configuration())
    card = {"name": "x", "trained_on": "synthetic exams", "targets": [{"name": "malignancy"}]}
    weights.save(tmp_path / "first.safetensors", first, cohort.preprocessing, card, dtype="float32")
    separation.write(tmp_path / "first.seen.csv", separation.exams(cohort, "training")[:2])
    config = small_configuration(
        task="tnbc",
        start={"weights": tmp_path / "first.safetensors"},
        cohorts={"train": {"folder": folder}},
        stages=[STAGE | {"steps": None, "epochs": 1, "lessons": [{"class_weighted": True}]}],
        folds={"n": 2},
    )
    lines: list[str] = []
    said = train(config, tmp_path / "out", say=lines.append)
    assert any("have seen exams of this cohort" in line for line in lines)
    with (tmp_path / "out" / "out_of_fold.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    figures = json.loads((tmp_path / "out" / "folds.json").read_text())
    assert len(figures["folds"]) == 2
    assert f"{figures['mean']:.3f} ± {figures['sd']:.3f}" in said
    for number in (0, 1):
        file = tmp_path / "out" / f"fold-{number + 1}"
        seen = separation.read(file / "seen.csv")
        scored = [case for case in cohort.cases if case.case in {r["case"] for r in rows if r["fold"] == str(number)}]
        assert not separation.shared(
            scored, [exam for exam in seen if exam not in separation.exams(cohort, "training")[:2]]
        )
    family, header = weights.load_family(tmp_path / "out" / "fold-1" / "weights.safetensors")
    assert list(family) == ["malignancy", "tnbc"]
    assert torch.equal(family["malignancy"].head.weight, first.head.weight)
    assert not torch.equal(family["tnbc"].head.weight, first.head.weight)
    assert header.card["trained_on"].startswith("synthetic exams; tnbc: train (")
