"""No leakage: exams that weights saw are known again, whatever they are called, and are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mome.cohort import Cohort
from mome.evaluation import separation
from mome.evaluation.separation import SeparationError


@pytest.fixture
def parts(synthetic_cohort: Cohort) -> tuple[Cohort, Cohort]:
    """Exams for training, and others."""
    return synthetic_cohort.part(range(20)), synthetic_cohort.part(range(20, 40))


def test_other_patients_pass(parts: tuple[Cohort, Cohort]) -> None:
    training, others = parts
    separation.check(others, separation.exams(training, "training"))
    assert separation.shared(others, separation.exams(training, "training")) == []


@pytest.mark.parametrize("kind", ["training", "validation", "tuning"])
@pytest.mark.parametrize("mark", ["patient", "study", "pixels"])
def test_each_mark_alone_is_enough(parts: tuple[Cohort, Cohort], kind: separation.Use, mark: separation.Mark) -> None:
    """A second study of a patient, a study sent again, volumes under another name: each of them leaks."""
    training, others = parts
    known = {mark: getattr(training.cases[3], mark)}
    again = replace(others, cases=(replace(others.cases[0], **known), *others.cases[1:]))
    found = separation.shared(again, separation.exams(training, kind))
    assert [(what.kind, what.mark, what.cases) for what in found] == [(kind, mark, (others.cases[0].case,))]
    with pytest.raises(
        SeparationError, match=f"1 of 20 exams .* in {kind} .*{others.cases[0].case}.* Evaluate on other"
    ):
        separation.check(again, separation.exams(training, kind))


def test_a_study_without_volumes_counts_too(synthetic_cohort: Cohort) -> None:
    """A rejected study stays in the denominators of the second table, so its patient must be another one."""
    rejected = synthetic_cohort.left_out[0]
    seen = separation.exams([rejected], "training")
    assert {what.mark for what in separation.shared(synthetic_cohort, seen)} == {"patient", "study"}


def test_unknown_marks_match_nothing(parts: tuple[Cohort, Cohort]) -> None:
    """Two exams without a study pseudonym are not for that the same study."""
    training, others = (
        replace(part, cases=tuple(replace(case, study="", pixels="") for case in part.cases)) for part in parts
    )
    assert separation.shared(others, separation.exams(training, "training")) == []


def test_a_long_list_is_cut_and_counted(parts: tuple[Cohort, Cohort]) -> None:
    training, _ = parts
    with pytest.raises(SeparationError) as refused:
        separation.check(training, separation.exams(training, "training"))
    assert "20 of 20 exams" in str(refused.value)
    assert "phantom-9100004, ..." in str(refused.value)
    assert "phantom-9100005" not in str(refused.value)


def test_tuning_on_training_exams_is_refused(parts: tuple[Cohort, Cohort]) -> None:
    """A threshold that was chosen on what the network learned by heart is chosen too well, whatever tests it."""
    training, others = parts
    seen = [*separation.exams(training, "training"), *separation.exams(training.part([0]), "tuning")]
    with pytest.raises(SeparationError, match="1 of the tuning exams have the same patient as training exams"):
        separation.check(others, seen)


def test_the_record_holds_hashes_and_no_pseudonym(parts: tuple[Cohort, Cohort], tmp_path: Path) -> None:
    training, others = parts
    path = tmp_path / "weights.seen.csv"
    separation.add(path, training, "training")
    separation.add(path, others, "tuning")
    assert "phantom" not in path.read_text()
    assert training.cases[0].pixels not in path.read_text()
    assert sorted(separation.read(path), key=str) == sorted(
        [*separation.exams(training, "training"), *separation.exams(others, "tuning")], key=str
    )


def test_the_record_lies_beside_the_file_or_in_the_folder(tmp_path: Path) -> None:
    """Of two files in one folder each may have its own record; `seen.csv` is that of a training or a model folder."""
    weights = tmp_path / "mine.safetensors"
    assert separation.record_of(weights) is None
    separation.write(tmp_path / "seen.csv", [])
    assert separation.record_of(weights) == separation.record_of(tmp_path) == tmp_path / "seen.csv"
    separation.write(tmp_path / "mine.seen.csv", [])
    assert separation.record_of(weights) == tmp_path / "mine.seen.csv"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind,patient\ntraining,a\n", "its columns must be kind, patient, study, pixels"),
        ("kind,patient,study,pixels\ntest,a,b,c\n", "line 2: kind is one of training, validation, tuning, not 'test'"),
    ],
)
def test_a_record_that_cannot_be_read_is_no_empty_record(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "seen.csv"
    path.write_text(text)
    with pytest.raises(SeparationError, match=said):
        separation.read(path)


def test_exams_under_two_names_are_found(parts: tuple[Cohort, Cohort]) -> None:
    """They would count twice, and the resampling would take them for two patients'."""
    cohort, _ = parts
    twice = replace(cohort.cases[0], case="again", patient="another", study="another")
    assert separation.within(cohort) == []
    assert separation.within(replace(cohort, cases=(*cohort.cases, twice))) == [(cohort.cases[0].case, "again")]
