"""Explanations add up: Shapley values to the score, attributions to the difference of the logits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from mome.config import SEQUENCES
from mome.explanation import integrated_gradients, shapley
from mome.phantom import exam
from mome.preprocessing import prepare
from mome.weights import DEMONSTRATION_WEIGHTS, load


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


def test_attributions_sum_to_the_difference_of_the_logits() -> None:
    """Completeness: where the gap is wide, the map shows something else than what moved the score."""
    network, header = load(DEMONSTRATION_WEIGHTS)
    gaps = []
    for seed in (801, 802, 803, 804):
        canvas = prepare(exam(seed, malignant=True).inputs, header.preprocessing)
        volumes = {s: torch.from_numpy(a)[None] for s, a in canvas.arrays.items()}
        attribution = integrated_gradients(network, volumes)
        said = float(attribution.voxels.sum(dtype=np.float64))
        assert attribution.completeness_gap == pytest.approx(
            abs(said - attribution.difference) / abs(attribution.difference)
        )
        saliency = attribution.saliency(canvas.mask)
        assert saliency.min() >= 0
        assert not saliency[~canvas.mask].any()
        gaps.append(attribution.completeness_gap)
    assert np.median(gaps) < 0.05
    assert max(gaps) < 0.25
