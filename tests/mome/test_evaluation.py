"""`mome evaluate`: what is measured, on which exams, what is refused, and what lies in the files afterwards."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy.stats import mannwhitneyu
from sklearn.metrics import average_precision_score, roc_auc_score

from mome import weights
from mome.coalitions import COALITIONS, auroc, interval
from mome.coalitions import scores as complete_scores
from mome.cohort import Cohort
from mome.commands.main import main
from mome.evaluation import against, separation
from mome.evaluation.evaluate import Evaluation, evaluate
from mome.evaluation.scoring import EvaluationError, Scored, scored_cohort
from mome.evaluation.seal import SealError
from mome.evaluation.separation import SeparationError
from mome.evaluation.tuning import freeze_file
from mome.weights import DEMONSTRATION_WEIGHTS

SEALED = ("seal", "tuned_on")
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration weights as a file without seal and without record of the exams seen."""
    path = tmp_path_factory.mktemp("bare") / "bare.safetensors"
    card = {key: value for key, value in weights.read_card(DEMONSTRATION_WEIGHTS).items() if key not in SEALED}
    weights.rewrite(DEMONSTRATION_WEIGHTS, path, card)
    return path


@pytest.fixture(scope="module")
def found(synthetic_cohort: Cohort, bare: Path) -> Evaluation:
    return evaluate(bare, synthetic_cohort, shapley=True, resamples=50)


@pytest.fixture
def scored(found: Evaluation) -> Scored:
    return found.malignancy


@pytest.fixture
def folder(synthetic_cohort: Cohort, tmp_path: Path) -> Path:
    """The cohort's folder under links: what is written beside it does not reach the others."""
    there = tmp_path / "cohort"
    there.mkdir()
    for file in place_of(synthetic_cohort).iterdir():
        (there / file.name).symlink_to(file)
    return there


def place_of(cohort: Cohort) -> Path:
    return Path(cohort.arrays["dce"].filename).parent  # type: ignore[attr-defined]


@pytest.fixture
def weights_with(tmp_path: Path, bare: Path) -> Callable[[Cohort, separation.Use], Path]:
    """The demonstration weights with a record that says they saw these exams."""

    def made(cohort: Cohort, kind: separation.Use) -> Path:
        path = tmp_path / "mine.safetensors"
        path.write_bytes(bare.read_bytes())
        separation.write(tmp_path / "mine.seen.csv", separation.exams(cohort, kind))
        return path

    return made


def mome(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


# ------------------------------------------------------------------ quick figures of coalitions
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


# ------------------------------------------------------------------ which exams, and what of them
def test_an_exam_is_scored_from_what_it_has(synthetic_cohort: Cohort, found: Evaluation) -> None:
    """Zeros in the place of a missing sequence would be another exam: its tokens are left out instead."""
    whole = np.flatnonzero(synthetic_cohort.present.all(axis=1))[:3]
    part = synthetic_cohort.part(whole)
    network, _ = weights.load(DEMONSTRATION_WEIGHTS)
    expected = complete_scores(network, part)
    without_t2 = replace(part, cases=tuple(replace(case, sequences=("dce", "dwi")) for case in part.cases))
    scores = scored_cohort(network, without_t2)
    assert scores["dce", "dwi"] == pytest.approx(expected["dce", "dwi"], abs=1e-5)
    assert all(np.isnan(scores[c]).all() for c in COALITIONS if "t2" in c)
    for row, case in enumerate(found.malignancy.cases):
        assert found.malignancy.score[row] == found.malignancy.by_combination[case.sequences][row]


def test_only_used_exams_with_an_answer_are_in_the_figures(synthetic_cohort: Cohort, found: Evaluation) -> None:
    result = found.result
    assert {case.status for case in found.malignancy.cases} == {"used"}
    assert result["n"] == sum(case.status == "used" for case in synthetic_cohort.cases) == 37
    flow = result["flow"]
    left = sum(sum(reasons.values()) for reasons in flow["left"].values())
    assert flow["studies"] == flow["scored"] + flow["without_answer"] + left == 44
    assert flow["left"]["withheld"] == {"motion_mm 3.1 is above 2.0": 3}


def test_every_study_stays_in_the_denominators_of_the_second_table(found: Evaluation, synthetic_cohort: Cohort) -> None:
    """A cancer whose study failed is a cancer not found; the first table never sees it."""
    table = found.result["intention_to_diagnose"]
    every = [*synthetic_cohort.cases, *synthetic_cohort.left_out]
    cancers = [case for case in every if case.malignant]
    assert table["figures"]["sensitivity"]["of"] == len(cancers)
    assert table["figures"]["specificity"]["of"] == len(every) - len(cancers)
    assert table["counts"]["malignant"]["no_result"] == sum(case.status != "used" for case in cancers) > 0
    first = found.result["figures"]
    assert table["figures"]["sensitivity"]["estimate"] < first["sensitivity"]["estimate"]


def test_figures_are_those_of_scikit_learn(found: Evaluation, scored: Scored) -> None:
    figures = found.result["figures"]
    assert figures["auroc"]["estimate"] == pytest.approx(roc_auc_score(scored.positive, scored.score))
    assert figures["auprc"]["estimate"] == pytest.approx(average_precision_score(scored.positive, scored.score))
    low, high = figures["auroc"]["ci95"]
    assert low < figures["auroc"]["estimate"] < high
    for name, row in found.result["combinations"].items():
        part = scored.combination(tuple(name.split("+")))  # type: ignore[arg-type]
        assert row["n"] == len(part.cases) == sum(set(name.split("+")) <= set(c.sequences) for c in scored.cases)
        assert row["estimate"] == pytest.approx(roc_auc_score(part.positive, part.score))
        assert row["estimate"] < row["ideal_observer"] <= 1


def test_an_exam_without_reference_standard_is_counted_and_not_judged(synthetic_cohort: Cohort) -> None:
    first, *others = synthetic_cohort.cases
    unknown = replace(synthetic_cohort, cases=(replace(first, malignant=None), *others))
    result = evaluate(None, unknown, resamples=10).result
    assert (result["n"], result["flow"]["without_answer"]) == (36, 1)


def test_what_is_not_there_is_named(synthetic_cohort: Cohort) -> None:
    """A figure that is missing without a word looks like one that was forgotten, or hidden."""
    bare = tuple(
        replace(case, age=None, bpe="", birads="", site="", field_strength_t=None, readers={})
        for case in synthetic_cohort.cases
    )
    told = "\n".join(evaluate(None, replace(synthetic_cohort, cases=bare), resamples=10).result["not_measured"])
    for words in (
        "age, bpe, birads",
        "Readers",
        "Avoided biopsies",
        "--shapley",
        "--saliency",
        "--against",
        "Patients",
    ):
        assert words in told


def test_the_document_is_plain_json(found: Evaluation) -> None:
    """NaN is no JSON: what has no number is null."""
    text = json.dumps(found.result, allow_nan=False)
    assert json.loads(text) == found.result
    assert set(found.result["auroc"]) == {"estimate", "ci95"}


# ------------------------------------------------------------------ what is refused
def test_exams_that_the_weights_saw_are_refused(
    synthetic_cohort: Cohort, weights_with: Callable[[Cohort, separation.Use], Path]
) -> None:
    seen = weights_with(synthetic_cohort.part([4, 6]), "tuning")
    with pytest.raises(SeparationError, match="2 of 44 exams cannot judge these weights"):
        evaluate(seen, synthetic_cohort)


def test_weights_without_a_record_are_measured_with_a_word_of_warning(found: Evaluation) -> None:
    assert not found.result["separation"]["known"]
    assert "not known what these weights were trained on" in found.result["separation"]["words"]


def test_a_record_without_training_says_so(
    synthetic_cohort: Cohort, weights_with: Callable[[Cohort, separation.Use], Path]
) -> None:
    """`mome freeze` adds the tuning exams; that does not make the training known."""
    path = weights_with(synthetic_cohort.part(range(4)), "tuning")
    told = evaluate(path, synthetic_cohort.part(range(8, 30)), resamples=10).result["separation"]
    assert (told["known"], told["exams"]["tuning"]) == (False, 4)
    path = weights_with(synthetic_cohort.part(range(4)), "training")
    assert evaluate(path, synthetic_cohort.part(range(8, 30)), resamples=10).result["separation"]["known"]


def test_a_cohort_of_another_preprocessing_is_refused(synthetic_cohort: Cohort) -> None:
    other = replace(synthetic_cohort, preprocessing=replace(synthetic_cohort.preprocessing, clip=9.0))
    with pytest.raises(EvaluationError, match=r"clip 9.0, wanted 12.7.*Make"):
        evaluate(None, other)


def test_one_class_alone_is_refused(synthetic_cohort: Cohort) -> None:
    cancers = synthetic_cohort.part([row for row, case in enumerate(synthetic_cohort.cases) if case.malignant][:2])
    with pytest.raises(EvaluationError, match="both kinds are needed"):
        evaluate(None, cancers)


# ------------------------------------------------------------------ operating points
def test_points_without_a_seal_are_not_reported(found: Evaluation) -> None:
    """Nothing would show that the threshold was there before the answers were."""
    assert found.result["operating_points"] == []
    assert "not sealed" in found.result["seal"]["words"]


@pytest.fixture(scope="module")
def sealed(synthetic_cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Cohort]:
    """Weights with points chosen on some of the exams, and the others."""
    tuning = replace(synthetic_cohort.part(range(20)), name="tuning", identity="of tuning")
    out = tmp_path_factory.mktemp("sealed") / "sealed.safetensors"
    freeze_file(DEMONSTRATION_WEIGHTS, tuning, out, now=NOW, downgrade_sensitivity=0.8)
    return out, replace(synthetic_cohort.part(range(20, 40)), left_out=synthetic_cohort.left_out)


def test_sealed_points_are_reported_as_the_paper_does(sealed: tuple[Path, Cohort], tmp_path: Path) -> None:
    path, test = sealed
    found = evaluate(path, test, resamples=10, openings=[tmp_path], now=NOW + timedelta(hours=1))
    assert "sealed at 2026-05-04T12:00:00" in found.result["seal"]["words"]
    assert "never opened before" in found.result["seal"]["words"]
    point = next(p for p in found.result["operating_points"] if p["sequences"] == ["dce", "dwi", "t2"])
    part = found.malignancy.combination(("dce", "dwi", "t2"))
    in_4 = np.array([case.birads[:1] == "4" for case in part.cases])
    below = in_4 & (part.score <= point["threshold"])
    assert point["scored"]["benign_downgraded"]["events"] == int((below & ~part.positive).sum())
    assert point["scored"]["cancers_missed"]["of"] == int((in_4 & part.positive).sum())
    assert point["all_studies"]["exams"] > point["scored"]["exams"]
    assert found.result["downgrade"][0]["benign_downgraded"] == point["scored"]["benign_downgraded"]["events"]
    again = evaluate(path, test, resamples=10, openings=[tmp_path], now=NOW + timedelta(hours=2))
    assert "opened once before" in again.result["seal"]["words"]


def test_points_sealed_after_the_opening_are_refused(sealed: tuple[Path, Cohort]) -> None:
    path, test = sealed
    with pytest.raises(SealError, match="not before the evaluation"):
        evaluate(path, test, now=NOW - timedelta(hours=1))


# ------------------------------------------------------------------ other models
def test_another_model_is_compared_on_the_exams_that_both_scored(scored: Scored) -> None:
    rng = np.random.default_rng(0)
    theirs = {case.case: float(rng.random()) - 0.3 * case.malignant for case in scored.cases[:-5]}
    result = against.compared(scored, theirs, "chance", resamples=200)
    part = scored.part(np.array([case.case in theirs for case in scored.cases]))
    own, other = (roc_auc_score(part.positive, s) for s in (part.score, [theirs[c.case] for c in part.cases]))
    assert result["n"] == len(scored.cases) - 5
    assert result["auroc"]["estimate"] == pytest.approx(own - other)
    assert result["theirs"]["auroc"]["estimate"] == pytest.approx(other)
    assert result["auroc"]["p"] < 0.05
    assert result["delong"]["p"] < 0.05


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("case;score\n", "wanted are the columns case and score"),
        ("case,score\na,0.5\nb,high\n", "line 3: 'high' is no score"),
        ("case,score\na,nan\n", "the score of a is no number"),
    ],
)
def test_a_table_of_scores_that_means_nothing_is_told_by_its_line(tmp_path: Path, text: str, said: str) -> None:
    table = tmp_path / "scores.csv"
    table.write_text(text)
    with pytest.raises(EvaluationError, match=said):
        against.table_of(table)


def test_a_table_of_other_exams_is_refused(scored: Scored) -> None:
    with pytest.raises(EvaluationError, match="scored 0 of the 37 exams"):
        against.compared(scored, {"somebody": 0.5}, "other.csv")


# ------------------------------------------------------------------ the command
def test_evaluate_prints_json_for_programs() -> None:
    """`auroc` stands at the top level; without a cohort it measures on held-out synthetic exams made anew."""
    done = mome("--n", "6", "--seed", "7100000", "--resamples", "10", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert set(result["auroc"]) == {"estimate", "ci95"}
    assert len(result["combinations"]) == 7
    assert "synthetic" in result["cohort"]
    assert result["n"] == 6


def test_a_cohort_leaves_document_page_and_cases(folder: Path, tmp_path: Path, synthetic_cohort: Cohort) -> None:
    """Exit code 0, a table for people on the screen; the opening is written down beside the cohort."""
    other = tmp_path / "other.csv"
    rng = np.random.default_rng(1)
    other.write_text("case,score\n" + "\n".join(f"{c.case},{rng.random():.3f}" for c in synthetic_cohort.cases))
    out = tmp_path / "out"
    done = mome("--cohort", folder, "--out", out, "--against", other, "--resamples", "20")
    assert done.exit_code == 0, done.output
    assert "these figures say nothing about patients" in done.output
    assert {path.name for path in out.iterdir()} == {"evaluation.json", "report.html", "cases.csv"}
    result: dict[str, Any] = json.loads((out / "evaluation.json").read_text())
    assert result["against"][0]["name"] == "other.csv"
    with (out / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == result["flow"]["studies"]
    assert sum(bool(row["score"]) for row in rows) == result["n"]
    assert len((folder / "openings.jsonl").read_text().splitlines()) == 1


def test_a_refusal_has_an_exit_code_of_its_own(
    folder: Path, synthetic_cohort: Cohort, weights_with: Callable[[Cohort, separation.Use], Path]
) -> None:
    """3: refused, so that a script can tell a leak from a file that is not there (1) and from a wrong option (2)."""
    seen = weights_with(synthetic_cohort, "training")
    done = mome("--cohort", folder, "--weights", seen)
    assert (done.exit_code, "Refused. tests: 40 of 44 exams" in done.output) == (3, True)
    assert mome("--cohort", folder.parent / "nothing").exit_code == 1
    assert mome("--cohort", folder, "--seed", "3").exit_code == 2
    done = mome("--cohort", folder, "--weights", folder / "nothing.safetensors")
    assert (done.exit_code, "Traceback" in done.output) == (1, False)
