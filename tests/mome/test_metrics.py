"""Figures of an evaluation: those of scikit-learn where it has them, and what each means where it has not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn.metrics as judge
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from mome.evaluation.metrics import FIGURES, auroc, cumulated, figures, log_odds_of, ranked, resampled


def exams(n: int = 200, seed: int = 0, digits: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Answers and scores with ties, as a network's or a reader's."""
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    positive[:2] = True, False
    return positive, np.round(1 / (1 + np.exp(-rng.normal(size=n) - 1.5 * positive + 0.5)), digits)


CASES = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.booleans(), min_size=n, max_size=n),
        st.lists(st.integers(0, 20), min_size=n, max_size=n),
    ).filter(lambda drawn: 0 < sum(drawn[0]) < len(drawn[0]))
)


@settings(max_examples=50, deadline=None)
@given(CASES)
def test_figures_are_those_of_scikit_learn(drawn: tuple[list[bool], list[int]]) -> None:
    """Own formulas serve a thousand resamples at once; they may not differ from what everybody else computes."""
    positive, score = np.array(drawn[0]), np.array(drawn[1]) / 20
    called, found = score > 0.5, figures(positive, score, 0.5)
    expected = {
        "auroc": judge.roc_auc_score(positive, score),
        "auprc": judge.average_precision_score(positive, score),
        "partial_auroc_specificity_90": judge.roc_auc_score(positive, score, max_fpr=0.1),
        "partial_auroc_sensitivity_90": judge.roc_auc_score(~positive, -score, max_fpr=0.1),
        "accuracy": judge.accuracy_score(positive, called),
        "f1": judge.f1_score(positive, called, zero_division=np.nan),
        "sensitivity": judge.recall_score(positive, called),
        "specificity": judge.recall_score(~positive, ~called),
        "ppv": judge.precision_score(positive, called, zero_division=np.nan),
        "npv": judge.precision_score(~positive, ~called, zero_division=np.nan),
        "brier": judge.brier_score_loss(positive, score),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12, nan_ok=True)
    if called.any() and not called.all():
        assert found["mcc"] == pytest.approx(judge.matthews_corrcoef(positive, called), abs=1e-12)
        with warnings.catch_warnings(action="ignore"):  # it says what NaN says
            ratios = judge.class_likelihood_ratios(positive, called)
        told = (found["likelihood_ratio_positive"], found["likelihood_ratio_negative"])
        assert told == pytest.approx(ratios, abs=1e-9, nan_ok=True)


def test_every_figure_has_its_name_in_the_table() -> None:
    positive, score = exams()
    assert tuple(figures(positive, score, 0.5)) == FIGURES


def test_recalibration_is_the_logistic_regression_on_the_log_odds() -> None:
    """Slope and intercept as scikit-learn fits them without penalty."""
    positive, score = exams(400)
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(log_odds_of(score)[:, None], positive)
    found = figures(positive, score, 0.5)
    assert found["calibration_slope"] == pytest.approx(fitted.coef_[0, 0], abs=1e-4)
    assert found["calibration_intercept"] == pytest.approx(fitted.intercept_[0], abs=1e-4)


def test_true_probabilities_are_calibrated() -> None:
    """Slope 1, intercepts 0; scores twice too sure have half the slope, scores too high a negative intercept."""
    rng = np.random.default_rng(3)
    log_odds = rng.normal(-1, 1.5, 40_000)
    positive = rng.random(len(log_odds)) < 1 / (1 + np.exp(-log_odds))
    true, sure, high = (figures(positive, 1 / (1 + np.exp(-x)), 0.5) for x in (log_odds, 2 * log_odds, log_odds + 1))
    assert true["calibration_slope"] == pytest.approx(1, abs=0.05)
    assert true["calibration_intercept"] == pytest.approx(0, abs=0.05)
    assert true["calibration_in_the_large"] == pytest.approx(0, abs=0.05)
    assert sure["calibration_slope"] == pytest.approx(0.5, abs=0.03)
    assert high["calibration_in_the_large"] == pytest.approx(-1, abs=0.05)


def test_what_is_undefined_is_no_number() -> None:
    """A cohort of one class has no AUROC, a test that calls nobody positive no predictive value; never 0 or 1."""
    alone = figures(np.ones(5, bool), np.linspace(0, 1, 5), 0.5)
    assert np.isnan([alone[name] for name in ("auroc", "specificity", "mcc", "calibration_slope")]).all()
    assert alone["sensitivity"] == 0.4
    silent = figures(np.array([True, False]), np.array([0.2, 0.1]), 0.9)
    assert np.isnan([silent["ppv"], silent["mcc"], silent["likelihood_ratio_positive"]]).all()


def test_separated_classes_have_no_slope() -> None:
    """The likelihood then has no maximum; a large number would be an accident of the stopping rule."""
    positive = np.arange(20) >= 10
    assert np.isnan(figures(positive, np.linspace(0.1, 0.9, 20), 0.5)["calibration_slope"])


def test_scores_that_are_no_probabilities_have_no_calibration() -> None:
    """A Kaiser score of 8 has an AUROC and no Brier score."""
    found = figures(np.array([True, False, True]), np.array([8.0, 3.0, 2.0]), 4)
    assert found["auroc"] == 0.5
    assert np.isnan([found["brier"], found["calibration_slope"]]).all()


def test_a_score_at_the_threshold_is_negative() -> None:
    """Paper, Methods: larger than 0.5 is positive; a score at an operating point is a candidate for downgrade."""
    assert figures(np.array([True, False]), np.array([0.5, 0.5]), 0.5)["sensitivity"] == 0


def test_a_weight_is_an_exam_drawn_so_often() -> None:
    """The intervals rest on it: figures of weights are those of the exams repeated."""
    positive, score = exams(60)
    weights = np.random.default_rng(1).integers(0, 3, (4, 60)).astype(float)
    together = resampled(positive, score, 0.5, weights)
    for row, drawn in enumerate(weights.astype(int)):
        repeated = figures(np.repeat(positive, drawn), np.repeat(score, drawn), 0.5)
        assert {name: together[name][row] for name in FIGURES} == pytest.approx(repeated, abs=1e-7, nan_ok=True)


def test_the_paper_s_partial_areas_are_of_the_standardised_kind() -> None:
    """Two Gaussians with the paper's AUROC of 0.912 have a partial AUROC near its 0.735 and 0.800 only when scaled as
    McClish did; the bare shares of the largest possible areas are clearly smaller."""
    grid = np.linspace(-6, 6, 4001)
    density = np.exp(-(grid**2) / 2)
    shifted = np.exp(-((grid - 1.914) ** 2) / 2)
    score, positive = np.concatenate([grid, grid]), np.repeat([False, True], len(grid))
    weights = np.concatenate([density, shifted])[None]
    found = ranked(positive, score, weights)
    assert found["auroc"][0] == pytest.approx(0.912, abs=0.001)
    assert found["partial_auroc_specificity_90"][0] == pytest.approx(0.77, abs=0.005)
    assert found["partial_auroc_sensitivity_90"][0] == pytest.approx(0.77, abs=0.005)
    tp, fp = cumulated(positive, score, weights)
    few = fp[0] <= 0.1 * fp[0, -1]
    bare = np.trapezoid(tp[0, few] / tp[0, -1], fp[0, few] / fp[0, -1]) / 0.1
    assert bare == pytest.approx(0.56, abs=0.01)


def test_auroc_is_half_where_nothing_is_told_apart() -> None:
    assert auroc(np.array([True, False]), np.array([1.0, 1.0])) == 0.5
    assert np.isnan(auroc(np.array([], bool), np.array([])))
