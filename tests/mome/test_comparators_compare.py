"""`mome compare`: all models through one training, judged on the same exams, in the paper's tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from mome.commands.main import main
from mome.comparators import configuration, tables
from mome.comparators.compare import Model
from mome.comparators.configuration import Comparison
from mome.training.configuration import ConfigurationError

from .tiny_exams import written

TRAINING = """
seed = 3
stored = "float32"
[network]
dim = 16
heads = 2
ffn = 16
sparse_blocks = 1
soft_blocks = 1
adapter = 8
experts = 4
stem = [4, 8]
dce_channels = 2
dce_canvas = [32, 16, 16]
dwi_canvas = [16, 8, 16]
t2_canvas = [32, 16, 16]
dce_pool = [1, 1, 1]
dwi_pool = [1, 1, 1]
t2_pool = [1, 1, 1]
[start]
initialisation = "demonstration"
[cohorts]
train = { folder = "train" }
validation = { folder = "validation" }
[[stages]]
name = "score"
lessons = [{ objective = "answer", fewer = 0.6, lesions = 0.7, attributes = 0.5 }]
steps = 4
batch = 4
rate = 1e-3
[selection]
cohort = "validation"
keep = "last"
"""
COMPARISON = """
training = "training.toml"
test = { folder = "test" }
resamples = 40
[resnet]
widths = [4, 4, 8, 8]
hidden = 8
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cohorts, both files, and `out` with everything compared once."""
    folder = tmp_path_factory.mktemp("compare")
    for seed, (name, n) in enumerate({"train": 12, "validation": 12, "test": 16}.items()):
        written(folder / name, name, n, seed)
    (folder / "training.toml").write_text(TRAINING)
    (folder / "compare.toml").write_text(COMPARISON)
    result = called(folder)
    assert result.exit_code == 0, result.output
    return folder


def called(folder: Path, *options: str, config: str = "compare.toml") -> Result:
    args = ["compare", "--config", str(folder / config), "--out", str(folder / "out"), "--threads", "1"]
    return CliRunner().invoke(main, [*args, *options])


def tables_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "out" / "compare.json").read_text()))


def test_both_tables_have_the_rows_of_the_paper(place: Path) -> None:
    """Figures 2f and 2g, and table 1: single models, fusions, plain transformer; parts taken out, fewer sequences."""
    found = tables_of(place)
    assert found["comparison"] == [
        "resnet-dce",
        "resnet-dwi",
        "resnet-t2",
        "late-fusion",
        "stacked-fusion",
        "feature-fusion",
        "plain-transformer",
        "mome",
    ]
    combinations = ["mome dce", "mome dwi", "mome t2", "mome dce+dwi", "mome dce+t2", "mome dwi+t2"]
    assert found["ablation"] == ["without-experts", "without-soft-experts", *combinations, "mome"]
    for key, row in found["rows"].items():
        assert {"auroc", "auprc", "partial_auroc_sensitivity_90", "partial_auroc_specificity_90"} <= row[
            "figures"
        ].keys()
        assert (row["mome_minus"] is None) == (key == "mome")
    assert {row["steps"] for row in found["rows"].values()} == {4, None}  # late fusion has no training


def test_synthetic_exams_are_called_so(place: Path) -> None:
    text = (place / "out" / "compare.md").read_text()
    assert text.startswith("# Synthetic comparison") and "16 synthetic exams" in text
    assert text.count("\n| MOME | Multiparametric | 16 |") == 2


def test_a_difference_is_taken_on_the_exams_that_both_score(place: Path) -> None:
    """One exam lacks T2, one DWI: the model of T2 is not credited or blamed for an exam it never saw."""
    rows = tables_of(place)["rows"]
    assert rows["mome"]["n"] == 16
    assert rows["resnet-t2"]["n"] == rows["resnet-t2"]["mome_minus"]["n"] == rows["mome dwi+t2"]["n"] + 1 == 15


def test_every_score_can_be_looked_up(place: Path) -> None:
    """One line for each exam, a column for each row of the tables; empty where a model says nothing."""
    with (place / "out" / "scores.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    found = tables_of(place)
    assert set(lines[0]) == {"case", "patient", "malignant", *found["rows"]}
    assert len(lines) == 16 and sum(line["resnet-t2"] == "" for line in lines) == 1
    mean = np.mean([float(lines[0][f"resnet-{s}"]) for s in ("dce", "dwi", "t2")])
    assert float(lines[0]["late-fusion"]) == pytest.approx(mean, abs=1e-5)


def test_what_is_trained_is_not_trained_again(place: Path) -> None:
    """A second run opens the models of the first, and finds the same."""
    before = tables_of(place)
    result = called(place, "--resume")
    assert "loss" not in result.stderr
    assert tables_of(place) == before


def test_a_trained_mome_takes_the_place_of_one_to_be_trained(place: Path) -> None:
    """The weights file gives the scores of the training that wrote it, and the table says where they come from."""
    trained = tables_of(place)["rows"]["mome"]
    weights = place / "out" / "mome" / "weights.safetensors"
    result = called(place, "--mome", str(weights), "--only", "mome,resnet-dce")
    assert result.exit_code == 0, result.output
    found = tables_of(place)
    for figure in ("auroc", "auprc"):  # of the order of the exams; the last digits of a score may be others
        assert found["rows"]["mome"]["figures"][figure] == trained["figures"][figure]
    assert found["comparison"] == ["resnet-dce", "mome"]
    (note,) = found["notes"]
    assert "with this very recipe" in note and "SHA-256" in found["rows"]["mome"]["note"]
    called(place)


def test_a_mome_that_was_trained_otherwise_is_told_so(place: Path, tmp_path: Path) -> None:
    """Weights from elsewhere may have had more steps and other exams: the table must say what it compares."""
    weights = str(place / "out" / "mome" / "weights.safetensors")
    other = TRAINING.replace('train = { folder = "train" }', 'train = { folder = "validation" }')
    for name in ("validation", "test"):
        (tmp_path / name).symlink_to(place / name)
    (tmp_path / "training.toml").write_text(other)
    (tmp_path / "compare.toml").write_text(COMPARISON)
    assert called(tmp_path, "--mome", weights, "--only", "mome", "--steps-factor", "2").exit_code == 0
    recipe, exams = tables_of(tmp_path)["notes"]
    assert "otherwise than the others" in recipe and "steps 4, now 8" in recipe
    assert "learned from other exams" in exams


def test_exams_that_were_learned_from_cannot_judge(place: Path) -> None:
    (place / "leaky.toml").write_text(COMPARISON.replace('"test"', '"train"'))
    result = called(place, config="leaky.toml")
    assert result.exit_code == 1 and "cannot judge these weights" in result.output


def test_another_training_needs_another_folder(place: Path) -> None:
    """Models of two trainings in one table would not be compared alike."""
    result = called(place, "--steps-factor", "2")
    assert result.exit_code == 1 and "steps 4, now 8" in result.output


def test_equal_scores_differ_by_nothing() -> None:
    rng = np.random.default_rng(0)
    score, positive = rng.uniform(size=40), np.arange(40) % 2 == 1
    entry = tables.Entry("feature-fusion", "feature-fusion", "Feature fusion", "Multiparametric", score)
    comparison = Comparison(training="demonstration", test={"folder": "test"}, resamples=200)
    said = tables.row(entry, {"feature-fusion": Model({})}, positive, np.arange(40), score, comparison)
    less = said["mome_minus"]
    assert less["auroc"]["estimate"] == 0 and less["auroc"]["p"] == less["delong"]["p"] == 1


def test_the_shipped_comparison_is_of_the_demonstrations_training() -> None:
    comparison, training = configuration.read(Path("synthetic"))
    assert training.network == "demonstration" and comparison.test.synthetic is not None
    assert "without-pretraining" not in comparison.models  # there is no backbone to leave out


def test_a_key_that_is_not_known_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "compare.toml").write_text(
        'training = "demonstration"\ntest = { folder = "test" }\nstep_factor = 0.5\n'
    )
    with pytest.raises(ConfigurationError, match=r"compare.toml, line 3, step_factor: this key is not known"):
        configuration.read(tmp_path / "compare.toml")


def test_a_model_that_is_not_there_is_refused(place: Path) -> None:
    assert "known are mome, resnet-dce" in called(place, "--only", "resnet50").output
    assert "begins without a backbone" in called(place, "--only", "without-pretraining").output
