"""The model as the node calls it: volumes in, one finding out; the demonstration weights do what their card says."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mome.coalitions import auroc
from mome.cohort import Cohort
from mome.evaluation.scoring import answered, scored_cohort
from mome.explanation import Attribution, integrated_gradients
from mome.model import NOTHING_SHOWN, Finding, MomeModel, load
from mome.network import Mome
from mome.phantom import PhantomExam, exam
from mome.refusal import Refused
from mome.tasks import TASKS
from mome.weights import save
from mome_node.findings import Finding as FindingOfTheNode
from mome_node.findings import Model, ModelCard


@pytest.fixture(scope="module")
def model() -> MomeModel:
    return load(threads=2)


@pytest.fixture(scope="module")
def cancer() -> PhantomExam:
    return exam(901, malignant=True)


@pytest.fixture(scope="module")
def finding(model: MomeModel, cancer: PhantomExam) -> Finding:
    return model.predict(cancer.inputs)[0]


def test_model_and_finding_fit_the_seam_of_the_node(model: MomeModel, finding: Finding) -> None:
    """By shape: the model imports nothing of the node."""
    assert isinstance(model, Model)
    assert isinstance(finding, FindingOfTheNode)
    card = ModelCard.from_json(model.card)
    assert [role.name for role in card.roles if role.required] == ["dce"]
    assert card.targets[0].scope == "patient"
    assert card.calibration is None


def test_contributions_and_baseline_sum_to_the_score(finding: Finding) -> None:
    assert finding.baseline == NOTHING_SHOWN
    assert finding.baseline + sum(finding.contributions.values()) == pytest.approx(finding.score)
    assert finding.coalitions["dce+dwi+t2"] == finding.score
    assert len(finding.coalitions) == 7


def test_evidence_lies_in_the_patient(finding: Finding, cancer: PhantomExam) -> None:
    """Saliency and mask share the canvas, and its affine leads to millimetres in the breasts."""
    saliency, affine = finding.evidence["saliency"]
    mask, same = finding.evidence["mask"]
    assert saliency.shape == mask.shape
    assert np.array_equal(affine, same)
    centre = np.linalg.inv(affine)[:3, :3] @ (cancer.lesions[0].centre - affine[:3, 3])
    assert mask[tuple(np.rint(centre).astype(int))] == 1
    assert finding.measures["mask_volume_ml"] > 100


@pytest.mark.parametrize("left_out", [("dwi",), ("t2",), ("dwi", "t2")], ids="+".join)
def test_a_missing_sequence_is_said_and_shared_parts_agree(
    model: MomeModel, cancer: PhantomExam, finding: Finding, left_out: tuple[str, ...]
) -> None:
    """The score without a sequence is the coalition score of the full exam: nothing is filled in."""
    (partial,) = model.predict({role: v for role, v in cancer.inputs.items() if role not in left_out})
    used = [s for s in ("dce", "dwi", "t2") if s not in left_out]
    assert partial.made["sequences"] == used
    assert set(partial.contributions) == set(used)
    assert partial.score == pytest.approx(finding.coalitions["+".join(used)], abs=1e-5)


def test_a_sequence_of_another_region_is_treated_as_missing(model: MomeModel, cancer: PhantomExam) -> None:
    away = cancer.t2.affine.copy()
    away[0, 3] += 500
    (partial,) = model.predict({**cancer.inputs, "t2": dataclasses.replace(cancer.t2, affine=away)})
    assert partial.made["sequences"] == ["dce", "dwi"]


def test_without_dce_there_is_no_score(model: MomeModel, cancer: PhantomExam) -> None:
    with pytest.raises(Refused) as refusal:
        model.predict({"t2": cancer.t2})
    assert refusal.value.code == "NO_DCE"


def test_the_same_exam_gives_the_same_bytes(model: MomeModel, cancer: PhantomExam, finding: Finding) -> None:
    """Result objects are identified by their content: work done twice must give one object."""
    (again,) = model.predict(cancer.inputs)
    assert again.score == finding.score
    assert again.evidence["saliency"][0].tobytes() == finding.evidence["saliency"][0].tobytes()


@pytest.mark.parametrize("gain", [0.1, 10.0])
def test_scaled_intensities_give_the_same_score(
    model: MomeModel, cancer: PhantomExam, finding: Finding, gain: float
) -> None:
    scaled = {role: dataclasses.replace(v, voxels=v.voxels * gain) for role, v in cancer.inputs.items()}
    assert model.predict(scaled)[0].score == pytest.approx(finding.score, abs=1e-3)


def test_augmentation_and_numeric_type_are_part_of_how_a_score_was_made(cancer: PhantomExam, finding: Finding) -> None:
    """Another way of making the score has another distribution: it must not meet the operating point of the first."""
    (varied,) = load(augmentation="mirrored-4", threads=2).predict(cancer.inputs)
    assert varied.made == {**finding.made, "augmentation": "mirrored-4"}
    assert varied.score != finding.score
    assert varied.measures["augmentation_spread"] > 0
    (coarse,) = load(numeric_type="bfloat16", threads=2).predict(cancer.inputs)
    assert coarse.made == {**finding.made, "numeric_type": "bfloat16"}
    assert coarse.score == pytest.approx(finding.score, abs=0.02)
    assert coarse.score != finding.score
    assert coarse.evidence["saliency"][0].tobytes() == finding.evidence["saliency"][0].tobytes()


def test_the_explanation_is_told_where_the_breasts_are(
    model: MomeModel, cancer: PhantomExam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other preprocessing what lies outside the mask is not zero, and its edge would be explained as a detail."""
    told: list[np.ndarray] = []

    def noted(network: Mome, volumes: Any, *, region: np.ndarray) -> Attribution:
        told.append(region)
        return integrated_gradients(network, volumes, region=region, budget=2)

    monkeypatch.setattr("mome.model.integrated_gradients", noted)
    (found,) = model.predict(cancer.inputs)
    assert np.array_equal(told[0], found.evidence["mask"][0] > 0.5)


def test_unknown_ways_of_computing_are_refused_before_the_first_exam() -> None:
    """A misspelt word would end up in the key of the score and name something that was not done."""
    with pytest.raises(ValueError, match="paper-54"):
        load(augmentation="everything")
    with pytest.raises(ValueError, match="bfloat16"):
        load(numeric_type="float16")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no GPU"):
        load(device="cuda:7")


def test_one_file_answers_several_questions(
    model: MomeModel, cancer: PhantomExam, finding: Finding, tmp_path: Path
) -> None:
    """Malignancy comes first and alone has pictures; a further task has scores of its own from the same exam."""
    subtype = copy.deepcopy(model.network)
    with torch.no_grad():
        subtype.head.bias += torch.tensor([0.0, 1.0])
    card = {**model.card, "targets": [TASKS[task].target() for task in ("malignancy", "tnbc")]}
    family = {"malignancy": model.network, "tnbc": subtype}
    save(tmp_path / "family.safetensors", family, model.preprocessing, card, dtype="float32")

    malignancy, tnbc = load(tmp_path / "family.safetensors", threads=2).predict(cancer.inputs)

    assert malignancy.score == finding.score
    assert tnbc.target == "tnbc"
    assert logit(tnbc.score) == pytest.approx(logit(finding.score) + 1, abs=1e-4)
    assert len(tnbc.coalitions) == 7
    assert tnbc.evidence == {}
    assert tnbc.completeness_gap is None


def logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


def test_demonstration_weights_separate_unseen_synthetic_exams(model: MomeModel, synthetic_cohort: Cohort) -> None:
    """A fast look at 37 unseen phantoms; `mome evaluate` measures properly."""
    found = answered("malignancy", synthetic_cohort, scored_cohort(model.network, synthetic_cohort))
    assert auroc(found.positive, found.score) > 0.7
