"""What MOME learns from a batch, and that memory-saving and number types do not change it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mome import weights
from mome.cohort import Cohort
from mome.experts import Adapter
from mome.network import is_backbone
from mome.training import start
from mome.training.batches import Batch, Batches
from mome.training.configuration import Configuration
from mome.training.mome_objective import MomeObjective, weighted
from mome.training.optimisation import computed_in
from mome.training.run import run

from .small_training import NETWORK, PREPROCESSING, STAGE, small_cohort, small_configuration

EVERYTHING = [{"fewer": 0.6, "lesions": 0.7, "attributes": 0.5}]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return small_cohort(tmp_path_factory.mktemp("objective") / "train", incomplete=True)


def configuration(**stage: Any) -> Configuration:
    return small_configuration(stages=[STAGE | {"lessons": EVERYTHING} | stage])


def batch_of(config: Configuration, cohort: Cohort) -> Batch:
    return Batches(config.stages[0], {"train": cohort}, "malignancy", (1, 0))[0]


def gradients(objective: MomeObjective, batch: Batch) -> list[torch.Tensor]:
    for parameter in objective.trained():
        parameter.grad = None
    objective.loss(batch, np.random.default_rng(0)).backward()
    return [p.grad.clone() for p in objective.trained() if p.grad is not None]


def test_checkpointing_gives_the_same_gradient(cohort: Cohort) -> None:
    """Blocks computed again must leave out the branches that they left out before."""
    config = configuration(drop_path=0.5, batch=24)
    objective, batch = start.objective(config, CPU), batch_of(config, cohort)
    objective.network.train()
    kept = gradients(objective, batch)
    objective.network.checkpointing = True
    again = gradients(objective, batch)
    assert len(kept) == len(again) > 100
    assert all(torch.equal(one, other) for one, other in zip(kept, again, strict=True))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_finds_nearly_the_same_gradient(cohort: Cohort, precision: str) -> None:
    """Eight or eleven bits: the direction of the whole gradient must stay."""
    config = configuration(precision=precision, batch=8)
    objective, batch = start.objective(config, CPU), batch_of(config, cohort)
    exact = torch.cat([g.flatten() for g in gradients(objective, batch)])
    with computed_in(config.stages[0], CPU):
        rough = torch.cat([g.flatten() for g in gradients(objective, batch)])
    assert not torch.equal(exact, rough)
    assert torch.nn.functional.cosine_similarity(exact, rough, dim=0) > 0.98


def test_a_training_in_half_precision_goes_on_where_it_was(cohort: Cohort, tmp_path: Path) -> None:
    """The scale of the gradients belongs to the state, and so do the best values so far: here those of step 2."""

    class Killed(Exception):
        pass

    def until(step: str) -> Any:
        def say(text: str) -> None:
            if step in text:
                raise Killed

        return say

    config = small_configuration(
        stages=[STAGE | {"precision": "fp16", "validate_every": 2, "rate": 1e-5, "final_rate": 1.0}],
        selection={"cohort": "train", "keep": "best", "figure": "log_loss"},
    )
    options: dict[str, Any] = {"validation": cohort, "save_seconds": 0}
    whole = start.objective(config, CPU)
    run(whole, config, {"train": cohort}, tmp_path / "whole", **options)
    with pytest.raises(Killed):
        run(start.objective(config, CPU), config, {"train": cohort}, tmp_path / "x", say=until("only 4:"), **options)
    resumed = start.objective(config, CPU)
    outcome = run(resumed, config, {"train": cohort}, tmp_path / "x", **options)
    assert [begun["step"] for begun in outcome.progress.begun] == [0, 3]
    assert outcome.progress.best and outcome.progress.best["step"] == 2
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name])


def test_drop_path_leaves_evaluation_alone(cohort: Cohort) -> None:
    """The first block keeps all its branches, the last leaves out as many as asked; scores never depend on it."""
    config = configuration(drop_path=0.9, batch=24)
    objective, plain = start.objective(config, CPU), start.objective(configuration(), CPU)
    batch = batch_of(config, cohort)
    objective.network.train()
    assert float(objective.loss(batch, np.random.default_rng(0)).detach()) != pytest.approx(
        float(plain.loss(batch, np.random.default_rng(0)).detach())
    )
    objective.network.eval()
    with torch.inference_mode():
        one, other = objective.scores(cohort), plain.scores(cohort)
    assert all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)


def test_drop_path_keeps_the_mean() -> None:
    """What stays is larger by what is left out, so that evaluation sees the same scale."""
    objective = start.objective(configuration(drop_path=0.5), CPU)
    assert objective.drop_path is not None
    x = torch.ones(4000, 1, 1)
    left = objective.drop_path._left_out(x, (1, 0), 0.25)
    assert left.unique().tolist() == pytest.approx([0, 4 / 3])
    assert float(left.mean()) == pytest.approx(1, abs=0.05)


def test_the_importance_of_an_exam_counts_in_a_batch_of_one() -> None:
    """The paper trains with batches of one exam: a mean over the sum of the weights would undo them."""
    logits, answers = torch.tensor([[0.0, 1.0]]), torch.tensor([1])
    plain = Batch({}, answers, None, torch.ones(1, 3, dtype=torch.bool))
    rare = Batch({}, answers, None, torch.ones(1, 3, dtype=torch.bool), importance=torch.tensor([3.0]))
    assert float(weighted(logits, rare)) == pytest.approx(3 * float(weighted(logits, plain)))


def test_exams_without_a_lesion_teach_that_there_is_none(cohort: Cohort) -> None:
    """A normal exam has no attributes and no place; the loss is still a number."""
    config = configuration(batch=24)
    objective, batch = start.objective(config, CPU), batch_of(config, cohort)
    assert batch.lesions is not None
    batch.lesions[:] = 0
    assert all(torch.isfinite(g).all() for g in gradients(objective, batch))


def test_a_score_of_a_missing_sequence_is_none(cohort: Cohort) -> None:
    """At hand: all that an exam has. Of a combination with a sequence that it lacks there is no score."""
    with torch.inference_mode():
        found = start.objective(configuration(), CPU).scores(cohort)
    assert next(iter(found)) == "at hand"
    assert not np.isnan(found["at hand"]).any()
    assert np.array_equal(~np.isnan(found["dce+dwi+t2"]), cohort.present.all(axis=1))
    assert np.array_equal(~np.isnan(found["dwi"]), cohort.present[:, 1])


def test_a_network_starts_as_the_published_one() -> None:
    """Adapters say nothing at first, the head next to nothing, positions are as large as tokens."""
    network = start.network_of(configuration())
    adapters = [module for module in network.modules() if isinstance(module, Adapter)]
    assert all(adapter(torch.randn(1, 2, 16)).abs().max() == 0 for adapter in adapters)
    assert network.head.weight.abs().max() <= 0.02 * 0.001
    assert network.beit3.encoder.layers[0].ffn["A"].fc1.weight.abs().max() <= 0.02
    tables = network.beit3.encoder.embed_positions
    assert torch.cat([tables[g].weight.flatten() for g in "ABC"]).detach().std() == pytest.approx(1, abs=0.1)
    assert all(p.requires_grad for p in network.parameters()), "nothing is frozen where nothing was learned before"


def test_a_shared_backbone_from_a_file_stays_as_it_is(cohort: Cohort, tmp_path: Path) -> None:
    """The paper: experts, tokenizers and head learn, the foundation model does not, and is not in the state."""
    sizes = NETWORK | {"shared_backbone": True}
    first = start.network_of(small_configuration(network=sizes))
    weights.save(tmp_path / "first.safetensors", first, PREPROCESSING, {"name": "x"}, dtype="float32")
    config = small_configuration(network=sizes, start={"weights": tmp_path / "first.safetensors"})
    objective = start.objective(config, CPU)
    run(objective, config, {"train": cohort}, tmp_path / "out")
    before, after = first.state_dict(), objective.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not {name for name in changed if is_backbone(name)}
    assert len(changed) > 0.9 * sum(not is_backbone(name) for name in before) - 10
