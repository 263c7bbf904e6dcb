"""What MOME is compared with is what its name says, learns from the same batches, and sees only its sequences."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from mome.cohort import Cohort
from mome.comparators import late_fusion, roster
from mome.comparators.ablations import plain_transformer, without_experts, without_soft_experts
from mome.comparators.configuration import NAMES, Name
from mome.comparators.resnet_objective import ResNetObjective, shown_by
from mome.comparators.resnets import PAPER, ResNets, ResNetSizes
from mome.config import DEMONSTRATION, SEQUENCES, NetworkConfig
from mome.network import Mome
from mome.tokenizer import Tokenizer
from mome.training.batches import Batch, Batches
from mome.training.configuration import Configuration, Lesson, Selection, Sizes, Source, Stage, Start
from mome.training.objective import Objective

from .tiny_exams import LACKING, NETWORK, written

SMALL = ResNetSizes(widths=(4, 4, 8, 8), hidden=8)
TRAINED: tuple[Name, ...] = (
    "resnet-dce",
    "resnet-dwi",
    "resnet-t2",
    "feature-fusion",
    "plain-transformer",
    "without-experts",
    "without-soft-experts",
)
SYNTHETIC = Lesson(fewer=0.6, lesions=0.7, attributes=0.5)


@pytest.fixture(scope="module")
def exams(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return written(tmp_path_factory.mktemp("tiny") / "cohort", "tiny", 16, seed=1)


def training(*lessons: Lesson) -> Configuration:
    return Configuration(
        network=Sizes(**dataclasses.asdict(NETWORK)),
        start=Start(initialisation="demonstration"),
        cohorts={"train": Source(folder=Path("unused"))},
        stages=(Stage(name="score", lessons=lessons, steps=20, batch=8, rate=1e-2),),
        selection=Selection(keep="last"),
    )


def objective(name: Name, *lessons: Lesson) -> Objective:
    return roster.objective(name, training(*lessons), SMALL, torch.device("cpu"))


def batch(exams: Cohort, lesson: Lesson, number: int = 0) -> Batch:
    return Batches(training(lesson).stages[0], {"train": exams}, "malignancy", (1, 0))[number]


# ------------------------------------------------------------------ learning
@pytest.mark.parametrize("name", TRAINED)
def test_every_model_learns(name: Name, exams: Cohort) -> None:
    """A comparison with a model that cannot learn says nothing: the loss of one batch, heads and all, must fall."""
    model = objective(name, SYNTHETIC)
    here, rng = batch(exams, SYNTHETIC), np.random.default_rng(0)
    optimiser = torch.optim.Adam(model.trained(), lr=1e-2)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        loss = model.loss(here, rng)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-3:]) < 0.8 * losses[0]


@pytest.mark.parametrize("name", TRAINED)
def test_synthetic_exams_teach_every_model_lesions_and_patients_teach_none(name: Name) -> None:
    """Fair: what MOME is told beside the label, every model is told; of patients nobody knows it."""
    assert objective(name, SYNTHETIC).heads is not None  # type: ignore[attr-defined]
    assert objective(name, Lesson()).heads is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["resnet-dce", "feature-fusion"])
def test_the_cells_of_a_resnet_learn_where_lesions_are_before_there_is_a_score(name: Name, exams: Cohort) -> None:
    """The first stage asks for lesions only: it must not move the layers that give the score."""
    lesson = Lesson(objective="lesions")
    model = objective(name, lesson)
    model.loss(batch(exams, lesson), np.random.default_rng(0)).backward()
    assert isinstance(model, ResNetObjective)
    assert model.network.head.weight.grad is None or not model.network.head.weight.grad.any()
    assert all(p.grad is not None and p.grad.any() for p in model.heads.cells.parameters())  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["resnet-t2", "feature-fusion"])
def test_cells_are_asked_for_what_their_sequence_can_show(name: Name, exams: Cohort) -> None:
    """To be asked for the diffusion of a lesion on T2 would teach noise: of the attributes only its own is trained."""
    lesson = Lesson(objective="lesions")
    model = objective(name, lesson)
    model.loss(batch(exams, lesson), np.random.default_rng(0)).backward()
    gradient = model.heads.cells["t2"][1].weight.grad  # type: ignore[attr-defined]
    assert [bool(row.any()) for row in gradient] == [True, True, False, False, False, True]
    assert [shown_by([s]) for s in SEQUENCES] == [[0, 1], [2], [3]]
    assert shown_by(SEQUENCES) == [0, 1, 2, 3]


# ------------------------------------------------------------------ what a model is
def names(network: torch.nn.Module) -> str:
    return " ".join(name for name, _ in network.named_parameters())


def test_without_experts_has_neither_adapters_nor_weights_of_its_own_for_a_sequence() -> None:
    """ "w/o MOME" removes all modality experts: one plain transformer for all sequences."""
    network = without_experts(NETWORK)
    assert "MLP_Adapter" in names(Mome(NETWORK)) and "self_attn.k_proj.B" in names(Mome(NETWORK))
    assert "MLP_Adapter" not in names(network)
    assert ".self_attn.k_proj.B" not in names(network) and ".ffn.C" not in names(network)
    assert network.config.sparse_blocks == NETWORK.sparse_blocks


def test_without_soft_experts_keeps_the_adapters() -> None:
    """ "w/o MOME-Soft" replaces the mixture by a plain adapter and touches nothing before the last blocks."""
    network = without_soft_experts(NETWORK)
    assert ".moe." in names(Mome(NETWORK)) and ".moe." not in names(network)
    assert "layers.0.MLP_Adapter.B.D_fc1" in names(network) and "layers.1.MLP_Adapter.D_fc1" in names(network)


def test_in_the_plain_transformer_all_tokens_meet_from_the_first_block_on() -> None:
    """The paper's comparison with the foundation model: fusion by its own self-attention, all the way."""
    network = plain_transformer(NETWORK)
    depth = NETWORK.sparse_blocks + NETWORK.soft_blocks
    assert (network.config.sparse_blocks, network.config.soft_blocks) == (0, depth)
    assert len(network.beit3.encoder.layers) == depth and "MLP_Adapter" not in names(network)


def test_everything_is_trained_where_there_is_no_backbone_file() -> None:
    """One set of weights for all sequences does not mean a frozen one: frozen random numbers would be a straw man."""
    for name in TRAINED:
        model = objective(name, Lesson())
        assert {id(p) for p in model.network.parameters()} <= {id(p) for p in model.trained()}
        assert all(p.requires_grad for p in model.network.parameters())


@pytest.mark.parametrize("config", [DEMONSTRATION, NetworkConfig()], ids=["demonstration", "paper"])
def test_the_feature_map_of_a_resnet_has_the_cells_of_the_token_grid(config: NetworkConfig) -> None:
    """So that cells and tokens can be asked the same about the same places."""
    with torch.device("meta"):
        network = ResNets(config, SEQUENCES, PAPER)
        for sequence in SEQUENCES:
            volume = torch.empty(1, config.channels(sequence), *config.canvas(sequence))
            assert network.cells(sequence, volume).shape == (1, config.tokens(sequence), 512)


def test_a_cell_lies_where_the_token_of_its_number_lies() -> None:
    """A lesion's target would else be asked of another place: what is changed moves the same cell and token most."""
    torch.manual_seed(0)
    network, tokenizer = ResNets(DEMONSTRATION, ("t2",), ResNetSizes()), Tokenizer(DEMONSTRATION, "t2")
    volume = torch.randn(1, 1, 96, 48, 32)
    changed = volume.clone()
    changed[..., 58:71, 11:22, 21:28] += 5

    def most_moved(before: torch.Tensor, after: torch.Tensor) -> int:
        return int((after - before).abs().sum(dim=2)[0].argmax())

    with torch.inference_mode():
        cell = most_moved(network.cells("t2", volume), network.cells("t2", changed))
        assert cell == most_moved(tokenizer(volume), tokenizer(changed)) == (4 * 3 + 1) * 4 + 3  # of 6 x 3 x 4


def test_a_score_does_not_hang_on_the_other_exams_of_its_batch(exams: Cohort) -> None:
    """Instance norm: the same exam alone, in a batch, in training mode gives one score."""
    network = objective("resnet-t2", Lesson()).network.train()
    volumes = torch.from_numpy(exams.batch("t2", slice(0, 3)))
    torch.testing.assert_close(network(t2=volumes)[:1], network(t2=volumes[:1]))
    assert not any(isinstance(module, torch.nn.BatchNorm3d) for module in network.modules())
    batch_norm = ResNets(NETWORK, ("t2",), ResNetSizes(widths=(4, 4, 8, 8), norm="batch", pooling="mean"))
    assert any(isinstance(module, torch.nn.BatchNorm3d) for module in batch_norm.modules())


# ------------------------------------------------------------------ what a model sees
def scores(model: Objective, exams: Cohort) -> np.ndarray:
    model.network.eval()
    with torch.inference_mode():
        return next(iter(model.scores(exams).values()))


@pytest.mark.parametrize(("name", "own"), [("resnet-dce", "dce"), ("resnet-dwi", "dwi"), ("resnet-t2", "t2")])
def test_a_single_model_sees_its_sequence_and_no_other(name: Name, own: str, exams: Cohort) -> None:
    model = objective(name, Lesson())
    before = scores(model, exams)
    for sequence in SEQUENCES:
        other = {**exams.arrays, sequence: np.asarray(exams.arrays[sequence])[::-1].copy()}
        after = scores(model, dataclasses.replace(exams, arrays=other))
        assert np.array_equal(before, after, equal_nan=True) == (sequence != own)


def test_an_exam_without_its_sequence_has_no_score_from_a_single_model(exams: Cohort) -> None:
    """Zeros in the place of a volume would be scored like an image; the fusion scores from the rest."""
    lacking_t2 = next(place for place, sequence in LACKING.items() if sequence == "t2")
    single, fusion = (
        scores(objective("resnet-t2", Lesson()), exams),
        scores(objective("feature-fusion", Lesson()), exams),
    )
    assert list(np.flatnonzero(np.isnan(single))) == [lacking_t2]
    assert not np.isnan(fusion).any()


def test_features_of_a_missing_sequence_are_zeros() -> None:
    """Whatever else stood there would be taken for a finding."""
    network = ResNets(NETWORK, SEQUENCES, SMALL)
    dce, zeros = torch.randn(2, 8), torch.zeros(2, 8)
    torch.testing.assert_close(network.summary({"dce": dce}), network.summary({"dce": dce, "dwi": zeros, "t2": zeros}))


def test_a_batch_in_which_nobody_has_the_sequence_teaches_nothing(exams: Cohort) -> None:
    """It must not stop the training either."""
    model = objective("resnet-t2", Lesson())
    here = dataclasses.replace(batch(exams, Lesson()), present=torch.tensor([[True, True, False]]).expand(8, 3))
    loss = model.loss(here, np.random.default_rng(0))
    loss.backward()
    assert float(loss.detach()) == 0


# ------------------------------------------------------------------ late fusion
def test_late_fusion_is_the_mean_of_the_scores_at_hand() -> None:
    nan = float("nan")
    single = {"dce": np.array([0.2, 0.2, nan]), "dwi": np.array([0.4, nan, nan]), "t2": np.array([0.9, 0.4, nan])}
    np.testing.assert_allclose(late_fusion.mean(single), [0.5, 0.3, nan])


def test_stacking_learns_whom_to_trust() -> None:
    """A mean gives noise the same say as a good model; the regression, fitted on other exams, does not."""
    rng = np.random.default_rng(0)
    answers = np.arange(200) % 2.0
    good = 1 / (1 + np.exp(-(answers * 4 - 2 + rng.normal(0, 1, 200))))
    noise = rng.uniform(0.01, 0.99, (2, 200))
    single = {"dce": good, "dwi": noise[0], "t2": noise[1]}
    halves = [{s: part[rows] for s, part in single.items()} for rows in (slice(0, 100), slice(100, 200))]
    fused = late_fusion.stacked(halves[1], halves[0], answers[:100])
    assert np.corrcoef(fused, good[100:])[0, 1] > 0.95 > np.corrcoef(late_fusion.mean(halves[1]), good[100:])[0, 1]


def test_stacking_scores_an_exam_that_lacks_a_sequence_by_the_others() -> None:
    answers = np.array([0.0, 1, 0, 1])
    fitted = {s: np.array([0.1, 0.9, 0.2, 0.8]) for s in SEQUENCES}
    test = {**{s: np.array([0.9, 0.1]) for s in SEQUENCES}, "dwi": np.array([np.nan, 0.1])}
    high, low = late_fusion.stacked(test, fitted, answers)
    assert high > 0.5 > low


def test_every_name_has_a_label_and_a_place_in_a_table() -> None:
    assert {roster.label(name, SMALL) for name in NAMES} >= {"ResNet10-DCE", "w/o MOME", "MOME"}
    assert {*roster.COMPARED, *roster.ABLATED} == {*NAMES}
