"""Global Shapley values: what each sequence adds to the scores of a cohort, and how sure that is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mome.coalitions import COALITIONS, Coalition
from mome.evaluation.contributions import global_shapley, shapley_values
from mome.explanation import shapley

Game = dict[Coalition, np.ndarray]


def additive(**worth: np.ndarray) -> Game:
    """Scores of a model that simply adds what its sequences say to one half."""
    return {c: 0.5 + np.sum([worth[s] for s in c], axis=0) for c in COALITIONS}


def exams(count: int = 60) -> tuple[Game, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    positive = np.arange(count) % 2 == 0
    sign = np.where(positive, 1.0, -1.0)
    worth = {s: sign * size + rng.normal(0, 0.02, count) for s, size in (("dce", 0.2), ("dwi", 0.1), ("t2", 0.02))}
    return additive(**worth), positive, np.array([f"p{i}" for i in range(count)])


def test_a_model_that_adds_gives_each_sequence_what_it_said() -> None:
    rng = np.random.default_rng(1)
    worth = {s: rng.normal(0, 0.1, 5) for s in ("dce", "dwi", "t2")}
    found = shapley_values(additive(**worth))
    for sequence, said in worth.items():
        assert found[sequence] == pytest.approx(said)  # type: ignore[index]


def test_the_values_are_those_of_each_exam_by_itself() -> None:
    """As a report of one exam states them, and together they lead from nothing shown to the score."""
    rng = np.random.default_rng(2)
    scores = {c: rng.random(4) for c in COALITIONS}
    found = shapley_values(scores, empty=0.3)
    for exam in range(4):
        alone = shapley({frozenset(): 0.3} | {frozenset(c): float(s[exam]) for c, s in scores.items()})
        assert [found[s][exam] for s in ("dce", "dwi", "t2")] == pytest.approx([alone[s] for s in ("dce", "dwi", "t2")])
    assert sum(found.values()) == pytest.approx(scores[COALITIONS[-1]] - 0.3)


def test_the_ranking_goes_by_the_mean_size() -> None:
    """Values of cancers and of benign exams cancel in a mean of all; their sizes do not."""
    found = global_shapley(*exams(), resamples=200)
    assert found["ranking"] == ["dce", "dwi", "t2"]
    assert found["first_in_resamples"] == 1.0
    dce = {group: found["groups"][group]["sequences"]["dce"] for group in ("all", "positive", "negative")}
    assert dce["all"]["mean_absolute"]["estimate"] == pytest.approx(0.2, abs=0.01)
    assert dce["all"]["mean"]["estimate"] == pytest.approx(0.0, abs=0.01)
    assert dce["positive"]["mean"]["estimate"] == pytest.approx(0.2, abs=0.01)
    assert dce["negative"]["mean"]["estimate"] == pytest.approx(-0.2, abs=0.01)
    low, high = dce["positive"]["mean"]["ci95"]
    assert low < dce["positive"]["mean"]["estimate"] < high
    json.dumps(found, allow_nan=False)


def test_an_exam_without_all_sequences_takes_no_part() -> None:
    """What a sequence would have contributed that was not there, nobody knows."""
    scores, positive, patients = exams()
    with_gap = {c: np.where(np.arange(60) < 10, np.nan, s) if "t2" in c else s for c, s in scores.items()}
    found = global_shapley(with_gap, positive, patients, resamples=20)
    assert (found["exams"], found["without_all_sequences"]) == (50, 10)
    whole = global_shapley({c: s[10:] for c, s in scores.items()}, positive[10:], patients[10:], resamples=20)
    assert found["groups"] == whole["groups"]


def test_exams_of_one_patient_are_not_counted_as_news() -> None:
    """Twice the same exams of the same patients: the interval stays as wide as it was."""
    scores, positive, patients = exams(30)
    twice = {c: np.tile(s, 2) for c, s in scores.items()}

    def width(found: dict[str, object]) -> float:
        low, high = found["groups"]["all"]["sequences"]["dce"]["mean"]["ci95"]  # type: ignore[index]
        return float(high - low)

    once = width(global_shapley(scores, positive, patients, resamples=400))
    assert width(global_shapley(twice, np.tile(positive, 2), np.tile(patients, 2), resamples=400)) == pytest.approx(
        once
    )


def test_nothing_is_shared_out_where_no_exam_is_complete() -> None:
    scores, positive, patients = exams(4)
    with pytest.raises(ValueError, match="all three sequences"):
        global_shapley({c: s * np.nan for c, s in scores.items()}, positive, patients)
