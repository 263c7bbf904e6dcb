"""Explanations add up: Shapley values to the score, attributions to the difference of the logits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients

from mome.config import SEQUENCES, NetworkConfig, Sequence
from mome.explanation import Attribution, blurred, economical, integrated_gradients, margin, shapley
from mome.network import Mome
from mome.phantom import exam
from mome.preprocessing import prepare
from mome.weights import DEMONSTRATION_WEIGHTS, load

TINY = NetworkConfig(
    dim=16,
    heads=2,
    ffn=32,
    sparse_blocks=1,
    soft_blocks=1,
    adapter=8,
    experts=4,
    stem=(4, 8),
    dce_canvas=(32, 32, 16),
    dwi_canvas=(16, 16, 16),
    t2_canvas=(32, 32, 16),
    shared_backbone=False,
)
SEEDS = range(5_600_019, 5_600_024)  # synthetic exams that no training saw; four of the five are malignant


def tiny_exam() -> tuple[Mome, dict[Sequence, torch.Tensor]]:
    """A small network with made-up weights, and an exam for it."""
    torch.manual_seed(0)
    network = Mome(TINY).eval()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return network, {s: torch.randn(1, TINY.channels(s), *TINY.canvas(s)) for s in SEQUENCES}


# ------------------------------------------------------------------ Shapley values
def values_of(rng: np.random.Generator, players: tuple[str, ...]) -> dict[frozenset[str], float]:
    return {
        frozenset(part): float(rng.random())
        for n in range(len(players) + 1)
        for part in itertools.combinations(players, n)
    }


@pytest.mark.parametrize("players", [SEQUENCES, ("dce", "t2"), ("dce",)], ids="+".join)
def test_baseline_and_contributions_sum_to_the_score(players: tuple[str, ...]) -> None:
    """The report draws them as one bar from the baseline to the score."""
    values = values_of(np.random.default_rng(0), players)
    contributions = shapley(values)
    assert set(contributions) == set(players)
    assert values[frozenset()] + sum(contributions.values()) == pytest.approx(values[frozenset(players)])


def test_a_sequence_that_changes_nothing_contributes_nothing() -> None:
    values = {part: 0.2 + 0.5 * ("dce" in part) for part in values_of(np.random.default_rng(0), SEQUENCES)}
    assert shapley(values) == pytest.approx({"dce": 0.5, "dwi": 0.0, "t2": 0.0})


def test_what_two_sequences_share_is_halved() -> None:
    values = {part: float({"dce", "dwi"} <= part) for part in values_of(np.random.default_rng(0), SEQUENCES)}
    assert shapley(values) == pytest.approx({"dce": 0.5, "dwi": 0.5, "t2": 0.0})


# ------------------------------------------------------------------ integrated gradients
@pytest.fixture(scope="module")
def explained() -> list[tuple[Attribution, np.ndarray, np.ndarray, bool]]:
    """Attribution, breast mask and lesion mask of synthetic exams, and whether they are rightly called malignant."""
    network, header = load(DEMONSTRATION_WEIGHTS)
    results = []
    for seed in SEEDS:
        made = exam(seed)
        canvas = prepare(made.inputs, header.preprocessing)
        volumes = {s: torch.from_numpy(a)[None] for s, a in canvas.arrays.items()}
        attribution = integrated_gradients(network, volumes)
        lesion = made.lesion_share(canvas.affines["dce"], canvas.mask.shape) > 0.5
        with torch.inference_mode():
            logits = network(**volumes)[0]
        results.append((attribution, canvas.mask, lesion, made.malignant and bool(logits[1] > logits[0])))
    return results


def test_attributions_sum_to_the_difference_of_the_logits(
    explained: list[tuple[Attribution, np.ndarray, np.ndarray, bool]],
) -> None:
    """Completeness: where the gap is wide, the map shows something else than what moved the score."""
    for attribution, *_ in explained:
        said = float(attribution.voxels.sum(dtype=np.float64))
        gap = abs(said - attribution.difference) / abs(attribution.difference)
        assert attribution.completeness_gap == pytest.approx(gap)
        assert attribution.steps <= 48
    closed = [attribution.completeness_gap <= 0.05 for attribution, *_ in explained]
    assert np.mean(closed) >= 0.8  # 9 of 10 over many exams; these are five


def test_the_hottest_voxel_lies_in_the_lesion(
    explained: list[tuple[Attribution, np.ndarray, np.ndarray, bool]],
) -> None:
    """Of synthetic cancers that the network calls malignant; the heart and vessels enhance more than the lesion."""
    hits = []
    for attribution, mask, lesion, called in explained:
        saliency = attribution.saliency(mask)
        assert saliency.min() >= 0
        assert not saliency[~mask].any()
        hits += [lesion.flat[saliency.argmax()]] if called else []
    assert len(hits) >= 3
    assert np.mean(hits) > 0.6


def test_nothing_is_attributed_to_voxels_without_data(
    explained: list[tuple[Attribution, np.ndarray, np.ndarray, bool]],
) -> None:
    """All that adds up to the difference can be drawn: nothing of it hides outside the breasts."""
    for attribution, mask, *_ in explained:
        assert not attribution.voxels[~mask].any()


def test_the_baseline_keeps_the_edge_of_the_breasts() -> None:
    """Blurred over its edge, an even volume would change there, and the mask itself would be explained."""
    volume = torch.zeros(1, 6, 24, 24, 16)
    volume[:, :, 4:20, 4:20, 4:12] = 2.5
    torch.testing.assert_close(blurred(volume, 3), volume)


def test_outside_the_breasts_the_baseline_is_the_exam() -> None:
    """Where preprocessing leaves a constant outside the mask, zeros do not show the edge of the breasts."""
    volume = torch.full((1, 6, 24, 24, 16), -0.4)
    region = np.zeros((24, 24, 16), bool)
    region[4:20, 4:20, 4:12] = True
    volume[:, :, region] += torch.rand(6, int(region.sum()), generator=torch.Generator().manual_seed(0))
    start = blurred(volume, 3, region)
    assert torch.equal(start[:, :, ~region], volume[:, :, ~region])
    assert start[:, :, region].mean() == pytest.approx(float(volume[:, :, region].mean()), abs=0.02)
    assert start[:, :, region].std() < 0.2 * volume[:, :, region].std()


def test_a_wide_blur_on_a_coarser_grid_is_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the paper's size the exact one takes a minute for each exam."""
    volume = torch.zeros(1, 6, 96, 64, 32)
    volume[:, :, 8:88, 8:56, 4:28] = torch.randn(6, 80, 48, 24, generator=torch.Generator().manual_seed(0)).cumsum(1)
    exact = blurred(volume, 8)
    monkeypatch.setattr("mome.explanation.FINE_SIGMA", 2)
    coarse = blurred(volume, 8)
    assert (coarse - exact).abs().mean() < 0.03 * (volume - exact).abs().mean()


def test_gradients_are_taken_inside_a_caller_s_inference_mode() -> None:
    """A service that switches gradients off for itself still gets an explanation."""
    network, volumes = tiny_exam()
    with torch.inference_mode():
        given = {s: v.clone() for s, v in volumes.items()}
        inside = integrated_gradients(network, given, budget=4)
    assert inside.voxels.tobytes() == integrated_gradients(network, volumes, budget=4).voxels.tobytes()


def test_the_attribution_agrees_with_captum() -> None:
    """Captum is what others would use. Its trapezoid weighs n nodes by 1/n, so that its result is (n-1)/n of ours."""
    network, volumes = tiny_exam()
    dce = volumes["dce"]
    start = blurred(dce, 1.0)

    def score(points: torch.Tensor) -> torch.Tensor:
        logits = network(points, *(volumes[s].expand(len(points), -1, -1, -1, -1) for s in ("dwi", "t2")))
        return logits[:, 1] - logits[:, 0]

    judge = IntegratedGradients(score).attribute(dce, start, n_steps=5, method="riemann_trapezoid") * 5 / 4
    theirs = judge[0].sum(dim=0).detach().numpy()
    ours = integrated_gradients(network, volumes, baseline=start, budget=5)
    assert ours.steps == 5
    np.testing.assert_allclose(ours.voxels, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())

    exact = IntegratedGradients(score).attribute(dce, start, n_steps=64, method="gausslegendre")[0].sum(dim=0)
    refined = integrated_gradients(network, volumes, baseline=start, budget=65)
    assert np.corrcoef(refined.voxels.ravel(), exact.detach().numpy().ravel())[0, 1] > 0.99


def test_the_same_exam_gets_the_same_bytes() -> None:
    """A result made twice is the same object; with other pixels it would need another identity."""
    network, volumes = tiny_exam()
    first, second = (integrated_gradients(network, volumes, budget=12) for _ in range(2))
    assert first.voxels.tobytes() == second.voxels.tobytes()
    assert (first.difference, first.completeness_gap, first.steps) == (
        second.difference,
        second.completeness_gap,
        second.steps,
    )


def test_only_the_dce_gets_gradients() -> None:
    """Gradients of the paper's 290 million parameters would double the memory, and nobody reads them."""
    network, volumes = tiny_exam()
    kept: list[tuple[int, ...]] = []
    learned = {tuple(p.shape) for p in network.parameters() if p.dim() == 2}

    def packed(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(packed, lambda tensor: tensor), economical(network):
        assert not any(parameter.requires_grad for parameter in network.parameters())
        margin(network, network.prefix("dce", volumes["dce"].clone().requires_grad_()), {})
    assert learned & set(kept), "the weights are kept to pass gradients on"
    integrated_gradients(network, volumes, budget=2)
    assert all(parameter.requires_grad for parameter in network.parameters()), "as it was before"


def test_a_large_network_recomputes_its_blocks_for_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """What 12 blocks hold of 4,481 tokens does not fit a small machine; computed again, nothing changes."""
    network, volumes = tiny_exam()
    kept = integrated_gradients(network, volumes, budget=4)
    recomputed: list[bool] = []
    run = Mome.run

    def noted(self: Mome, *args: object) -> object:
        recomputed.append(self.checkpointing)
        return run(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Mome, "run", noted)
    monkeypatch.setattr("mome.explanation.TOKENS_KEPT", 1)
    again = integrated_gradients(network, volumes, budget=4)
    np.testing.assert_allclose(again.voxels, kept.voxels, rtol=1e-5, atol=1e-6 * np.abs(kept.voxels).max())
    assert any(recomputed)
    assert not network.checkpointing, "as it was before"
