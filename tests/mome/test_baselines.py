"""The comparison that chose the baseline can be made again by anyone."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner

from mome.baselines import expected_gradients, from_tokens, noise
from mome.commands.main import main
from mome.explanation import integrated_gradients
from tests.mome.test_explanation import tiny_exam


def test_every_candidate_is_measured_on_the_same_exams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mome.baselines.REFERENCES", 2)
    run = CliRunner().invoke(main, ["baselines", "--n", "1", "--budget", "6", "--json"])
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert result["cohort"].startswith("synthetic phantoms")
    assert {"empty volume", "blurred, sigma 8", "noise", "2 other exams, mean", "no tokens"} <= set(result["baselines"])
    for row in result["baselines"].values():
        assert 0 <= row["gap_closed"] <= 1
        assert row["hit_true_positives"] <= row["hit_malignant"] <= result["malignant"]
        assert row["median_steps"] <= 6


def test_other_exams_as_baselines_are_a_mean_over_them() -> None:
    """Two times the same other exam is that exam; the budget is shared, not multiplied."""
    network, volumes = tiny_exam()
    other = torch.flip(volumes["dce"], (2,))
    once = integrated_gradients(network, volumes, baseline=other, budget=4)
    twice = expected_gradients(network, volumes, [other, other], budget=8)
    torch.testing.assert_close(torch.from_numpy(twice.voxels), torch.from_numpy(once.voxels))
    assert (twice.difference, twice.steps) == (once.difference, 8)


def test_what_the_tokens_explain_is_spread_over_their_cells() -> None:
    """A token stands for a cell of the canvas; spreading its share must not change the sum."""
    network, volumes = tiny_exam()
    found = from_tokens(network, volumes, budget=48)
    assert found.voxels.shape == volumes["dce"].shape[2:]
    assert len(set(found.voxels[:16, :16, :16].ravel().tolist())) == 1
    assert found.completeness_gap is not None
    said = float(found.voxels.sum(dtype=float))
    assert abs(abs(said - found.difference) / abs(found.difference) - found.completeness_gap) < 1e-3


def test_noise_is_where_the_exam_is_and_always_the_same() -> None:
    volume = torch.zeros(1, 6, 8, 8, 8)
    volume[:, :, 2:6] = 1
    assert torch.equal(noise(volume), noise(volume))
    assert not noise(volume)[:, :, :2].any()
