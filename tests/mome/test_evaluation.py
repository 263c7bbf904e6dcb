"""Figures: AUROC, its interval, operating points; and the commands that print them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import mannwhitneyu

from mome.coalitions import COALITIONS, auroc, interval
from mome.commands.main import main
from mome.evaluation.operating_points import freeze, highest_threshold, upper_limit


def test_auroc_is_the_probability_of_the_right_order() -> None:
    rng = np.random.default_rng(0)
    score, positive = np.round(rng.normal(size=200), 1), rng.random(200) < 0.4
    expected = mannwhitneyu(score[positive], score[~positive]).statistic / (positive.sum() * (~positive).sum())
    assert auroc(positive, score) == pytest.approx(expected)
    assert auroc(np.array([True, False]), np.array([1.0, 1.0])) == 0.5


def test_the_interval_holds_the_estimate() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(300) < 0.5
    score = rng.normal(size=300) + 1.2 * positive
    low, high = interval(positive, score)
    assert low < auroc(positive, score) < high
    assert 0.04 < high - low < 0.15


def test_upper_limits_are_exact() -> None:
    """No missed cancer among 86 still allows 4.2 %: the reader sees this, not 'none missed'."""
    assert upper_limit(0, 86) == pytest.approx(1 - 0.025 ** (1 / 86))
    assert upper_limit(86, 86) == 1


def test_a_threshold_leaves_at_most_two_percent_of_cancers_below() -> None:
    rng = np.random.default_rng(0)
    for n in (20, 49, 50, 300):
        scores = rng.random(n)
        assert (scores <= highest_threshold(scores)).sum() <= 0.02 * n


def test_points_exist_only_with_dce_and_with_enough_benign_exams_below() -> None:
    """A point that frees nobody is no point; one without DCE could never be used, DCE is required."""
    rng = np.random.default_rng(0)
    malignant = np.arange(400) % 2 == 0
    good = np.clip(rng.normal(0.5, 0.1, 400) + 0.3 * malignant, 0, 1)
    scores = {c: good if "dwi" in c else rng.random(400) for c in COALITIONS}
    points = freeze(scores, malignant, cohort="400 synthetic phantoms", preprocessing="abc")
    assert [p["key"]["sequences"] for p in points] == [["dce", "dwi"], ["dce", "dwi", "t2"]]
    for point in points:
        below = good <= point["threshold"]
        assert point["cancers_at_or_below"] == int((below & malignant).sum())
        assert point["benign_at_or_below"] == int((below & ~malignant).sum())


def test_the_phantom_command_writes_arrays_and_answers(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["phantom", "--n", "2", "--out", str(tmp_path), "--seed", "5"])
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "exam-5.npz") as arrays:
        assert arrays["dce"].ndim == 4
        assert arrays["dce_affine"].shape == (4, 4)
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 3


def test_evaluate_prints_json_for_programs() -> None:
    """`auroc` stands at the top level; the ideal observer beside it says how hard the phantoms are."""
    done = CliRunner().invoke(main, ["evaluate", "--n", "6", "--seed", "7100000", "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert set(result["auroc"]) == {"estimate", "ci95"}
    assert len(result["combinations"]) == 7
    assert "synthetic" in result["cohort"]


def test_weights_commands_show_and_verify(tmp_path: Path) -> None:
    assert "demonstration" in json.loads(CliRunner().invoke(main, ["weights", "show"]).stdout)["status"]
    assert CliRunner().invoke(main, ["weights", "verify"]).exit_code == 0
    wrong = tmp_path / "x.safetensors"
    wrong.write_bytes(b"nothing")
    done = CliRunner().invoke(main, ["weights", "verify", str(wrong)])
    assert done.exit_code == 1
    assert "not a safetensors file" in done.output
