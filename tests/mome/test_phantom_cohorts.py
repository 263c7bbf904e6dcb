"""Synthetic cohorts as folders: every label, the planted truth, and the command that makes them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from mome import cohort as cohorts
from mome.cohort import Cohort
from mome.commands.main import main
from mome.commands.phantom import check_space
from mome.config import PAPER_PREPROCESSING
from mome.phantom.cohorts import build
from mome.phantom.design import PLAIN
from mome.phantom.recipe import figures, summary


def test_the_truth_lies_where_the_lesion_was_drawn(synthetic_cohort: Cohort) -> None:
    """Centres are fractions of the canvas: the first subtraction is bright there, in units of its own spread."""
    truth = synthetic_cohort.truth
    assert truth is not None
    lesions, shape = truth.lesions[:, 0], np.array(synthetic_cohort.preprocessing.dce_canvas)
    with_lesion = np.flatnonzero(lesions[:, 3] > 0)
    found = []
    for row in with_lesion:
        at = np.floor(lesions[row, :3] * shape).astype(int)
        box = tuple(slice(i - 1, i + 2) for i in at)
        found.append(float(synthetic_cohort.batch("dce", slice(row, row + 1))[0].mean(axis=0)[box].max()))
    assert np.median(found) > 2.5
    assert np.mean(np.array(found) > 1) > 0.9


def test_truth_and_labels_are_of_the_same_exams(synthetic_cohort: Cohort) -> None:
    truth = synthetic_cohort.truth
    assert truth is not None
    assert np.array_equal(truth.lesions[:, 0, 4] == 1, synthetic_cohort.malignant)
    assert np.all(truth.log_odds["all"][truth.lesions[:, 0, 3] == 0] < -10)


def test_a_cohort_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same seeds, same design: opened, not made again. Another design is another cohort, and is not mixed with it."""
    made = build(tmp_path, "small", 2, processes=1, first_seed=8_700_000)
    monkeypatch.setattr("mome.phantom.cohorts.write", lambda *_, **__: pytest.fail("made again"))
    assert build(tmp_path, "small", 2, processes=1, first_seed=8_700_000).identity == made.identity
    with pytest.raises(pytest.fail.Exception):
        build(tmp_path, "small", 2, processes=1, first_seed=8_700_000, design=replace(PLAIN, normal=0.5))


def test_the_figures_name_the_ideal_observer_of_every_combination(synthetic_cohort: Cohort) -> None:
    """Nobody can do better on these exams; more sequences never make it worse."""
    found = figures(synthetic_cohort)
    ideal = found["ideal_observer"]
    assert list(ideal) == ["dce", "dwi", "t2", "dce+dwi", "dce+t2", "dwi+t2", "dce+dwi+t2"]
    assert ideal["dce+dwi+t2"] > max(ideal["dce"], ideal["dwi"], ideal["t2"])
    assert found["left_out"] == {"rejected": 3, "failed": 1}
    assert found["labels"]["malignant"] == {"no": 18, "yes": 22}
    assert found["leak_auroc"] is None
    assert "synthetic" in summary(found)


def test_figures_need_a_planted_truth(synthetic_cohort: Cohort) -> None:
    with pytest.raises(ValueError, match="ideal observer"):
        figures(replace(synthetic_cohort, truth=None))


# ------------------------------------------------------------------ the command
def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["phantom", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_command_writes_a_cohort_with_its_recipe(tmp_path: Path) -> None:
    code, out = run(
        "--n", 5, "--out", tmp_path / "c", "--seed", 8_700_000, "--design", "clinic", "--processes", 1, "--json"
    )
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    made = cohorts.load(tmp_path / "c")
    assert (len(made), made.synthetic, made.identity) == (found["exams"], True, found["identity"])
    assert made.origin["design"]["name"] == "clinic"
    recipe = (tmp_path / "c" / "recipe.md").read_text()
    assert "**synthetic**" in recipe
    assert "mome phantom --n 5 --seed 8700000 --size small --design clinic" in recipe


def test_the_command_changes_no_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("irreplaceable")
    code, out = run("--n", 1, "--out", tmp_path, "--processes", 1)
    assert code == 1
    assert "name a new folder" in out


def test_the_command_writes_the_volumes_as_acquired(tmp_path: Path) -> None:
    """For whoever brings a preprocessing of their own: voxels, affines, seconds, labels and the place of the lesion."""
    code, _ = run("--n", 2, "--out", tmp_path / "a", "--seed", 8_700_000, "--acquired")
    assert code == 0
    with (tmp_path / "a" / "labels.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert {first["kind"], second["kind"]} <= {"malignant", "benign"}
    assert first["birads"]
    with np.load(tmp_path / "a" / first["file"]) as arrays:
        assert {"dce", "dce_affine", "dwi_b800", "t2", "seconds"} <= set(arrays.files)
        assert arrays["dce_affine"].shape == (4, 4)
        assert len(arrays["seconds"]) == len(arrays["dce"])


def test_a_full_disk_is_told_before_the_work(tmp_path: Path) -> None:
    """A million exams of the paper's size are some 150 TB."""
    with pytest.raises(cohorts.CohortError, match="free"):
        check_space(tmp_path / "new", 1_000_000, PAPER_PREPROCESSING)
