"""The bench compares like with like: all its parts give the same answer, and a study costs what is said."""

from __future__ import annotations

import json

from click.testing import CliRunner

from mome.commands.main import main


def test_the_parts_that_are_timed_agree() -> None:
    """A faster forward that answers something else would be no gain. Times themselves are not judged here."""
    run = CliRunner().invoke(main, ["bench", "--size", "demonstration", "--rounds", "1", "--json"])
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert result["logit_difference"]["forward"] < 2e-5
    seconds = result["seconds"]
    assert result["ratios"]["plain forward / forward"] == seconds["plain forward"] / seconds["forward"]
    assert result["ratios"]["seven combinations / forward"] == seconds["seven combinations"] / seconds["forward"]


def test_a_whole_study_is_scores_and_explanation() -> None:
    arguments = ["--size", "demonstration", "--study", "--steps", "4", "--augmentation", "mirrored-4", "--json"]
    run = CliRunner().invoke(main, ["bench", *arguments])
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert result["variants"] == 4
    assert result["gradients"] <= 4
    assert result["peak_memory_gib"] > 0


def test_unknown_sizes_and_augmentations_are_refused_with_those_there_are() -> None:
    for wrong, known in ((["--size", "huge"], "paper"), (["--study", "--augmentation", "all"], "paper-54")):
        run = CliRunner().invoke(main, ["bench", *wrong])
        assert run.exit_code == 2
        assert known in run.stderr
