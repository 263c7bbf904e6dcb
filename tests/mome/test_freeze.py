"""`mome freeze`: from weights and a tuning cohort to weights with sealed operating points."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mome import cohort
from mome.cohort import Cohort, Row
from mome.commands.freeze import freeze as command
from mome.config import SEQUENCES, PreprocessingConfig
from mome.evaluation import separation
from mome.evaluation.scoring import EvaluationError
from mome.evaluation.seal import check
from mome.evaluation.separation import SeparationError
from mome.evaluation.tuning import freeze_file
from mome.weights import DEMONSTRATION_WEIGHTS, read_card, tensors_sha256, weights_file

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def tuning(synthetic_cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 of the synthetic exams, all given category 4: half of them cancers."""
    chosen = synthetic_cohort.part(range(24))

    def rows() -> Any:
        for index, case in enumerate(chosen.cases):
            there = {s: chosen.batch(s, slice(index, index + 1))[0] for s in SEQUENCES if s in case.sequences}
            yield Row(replace(case, birads="4"), there)

    folder = tmp_path_factory.mktemp("tuning") / "cohort"
    preprocessing = PreprocessingConfig()
    cohort.write(folder, rows(), name="tuning", synthetic=True, preprocessing=preprocessing, capacity=24, origin={})
    return folder


@pytest.fixture(scope="module")
def frozen(tuning: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the command wrote."""
    out = tmp_path_factory.mktemp("frozen") / "new.safetensors"
    options = ["--weights", str(DEMONSTRATION_WEIGHTS), "--cohort", str(tuning), "--out", str(out)]
    done = CliRunner().invoke(command, [*options, "--sensitivity", "0.9", "--downgrade-sensitivity", "0.8", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["operating_points"] == read_card(out)["operating_points"]
    return out


def test_the_network_stays_and_the_card_has_sealed_points(frozen: Path, tuning: Path) -> None:
    """Only the card is new: the same scores, and a seal that any later evaluation accepts."""
    card = read_card(frozen)
    assert tensors_sha256(frozen) == tensors_sha256(DEMONSTRATION_WEIGHTS)
    assert {point["use"] for point in card["operating_points"]} >= {"sensitivity"}
    assert all("synthetic" in point["cohort"] for point in card["operating_points"])
    assert card["tuned_on"]["identity"] == cohort.load(tuning).identity
    other = replace(cohort.load(tuning), identity="another")
    said = check(card, tensors=tensors_sha256(frozen), test=other, opened=datetime.now(UTC))
    assert said["cohort"]["synthetic"] is True


def test_the_range_says_on_how_many_exams_it_rests(frozen: Path) -> None:
    assert read_card(frozen)["evaluated_range"]["n"] == 22, "of 24; two have no answer or no volumes"


def test_two_dozen_exams_support_no_claim(frozen: Path) -> None:
    """The file says so; the node then withholds advice."""
    for point in read_card(frozen)["operating_points"]:
        assert point["claim"]["supported"] is False
        assert point["claim"]["words"].startswith("Not shown")


def test_tuning_exams_are_written_into_the_record(frozen: Path, tuning: Path) -> None:
    """So that an evaluation on them is refused later."""
    record = separation.record_of(frozen)
    assert record is not None
    seen = separation.read(record)
    with_volumes = cohort.load(tuning)
    assert {exam.kind for exam in seen} == {"training", "validation", "tuning"}, "the record of the training stays"
    with pytest.raises(SeparationError):
        separation.check(with_volumes, seen)


def test_points_are_not_chosen_on_exams_of_the_training(tuning: Path, tmp_path: Path) -> None:
    """Training exams score too well: a threshold chosen on them would miss cancers of others."""
    weights = tmp_path / "trained.safetensors"
    weights.write_bytes(weights_file(DEMONSTRATION_WEIGHTS).read_bytes())
    exams = cohort.load(tuning)
    separation.write(tmp_path / "trained.seen.csv", separation.exams(exams.cases[3:4], "training"))
    with pytest.raises(SeparationError, match="1 of 24"):
        freeze_file(weights, exams, tmp_path / "out.safetensors", now=NOW)
    assert not (tmp_path / "out.safetensors").exists()


def test_a_cohort_of_another_preprocessing_is_refused(tuning: Path, tmp_path: Path) -> None:
    """Its scores would be those of pictures that the network never saw."""
    other = replace(cohort.load(tuning), preprocessing=replace(PreprocessingConfig(), clip=3.0))
    with pytest.raises(EvaluationError, match="prepared otherwise"):
        freeze_file(DEMONSTRATION_WEIGHTS, other, tmp_path / "out.safetensors", now=NOW)


def test_a_refusal_ends_the_command_with_a_sentence(tmp_path: Path) -> None:
    options = ["--weights", str(DEMONSTRATION_WEIGHTS), "--cohort", str(tmp_path), "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(command, options)
    assert (done.exit_code, "holds no cohort" in done.output) == (1, True)
