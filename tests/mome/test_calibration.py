"""When a score may be read as a probability, and what is stored with the curve that makes it one."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from mome.evaluation.calibration import (
    CalibrationError,
    apply,
    card_field,
    expected_error,
    fit,
    of_card,
    reliability,
)
from mome.evaluation.metrics import auroc, figures

MADE: dict[str, Any] = {
    "sequences": ["dce"],
    "augmentation": "none",
    "numeric_type": "float32",
    "preprocessing": "abc",
}
STORED: dict[str, Any] = {"key": MADE, "cohort": "400 exams of a hospital", "when": date(2026, 5, 4)}


def exams(n: int = 6000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Answers, and scores that are far too sure and too high."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-1, 1, n)
    return rng.random(n) < 1 / (1 + np.exp(-log_odds)), 1 / (1 + np.exp(-(3 * log_odds + 2)))


def test_a_fitted_curve_makes_probabilities() -> None:
    """On exams that it was not fitted on: slope near 1, intercept near 0; the order of the exams stays."""
    curve = fit(*exams(), **STORED)
    positive, score = exams(seed=1)
    before, after = (figures(positive, s, 0.5) for s in (score, apply(curve, score)))
    assert before["calibration_slope"] == pytest.approx(1 / 3, abs=0.06)
    assert after["calibration_slope"] == pytest.approx(1, abs=0.15)
    assert after["calibration_in_the_large"] == pytest.approx(0, abs=0.15)
    assert after["brier"] < before["brier"]
    assert auroc(positive, apply(curve, score)) == pytest.approx(before["auroc"])


def test_the_curve_is_the_logistic_regression_on_the_logits() -> None:
    positive, score = exams()
    judge = LogisticRegression(C=np.inf, tol=1e-10).fit(np.log(score / (1 - score))[:, None], positive)
    curve = fit(positive, score, **STORED)
    assert apply(curve, score) == pytest.approx(
        judge.predict_proba(np.log(score / (1 - score))[:, None])[:, 1], abs=1e-4
    )


def test_a_card_tells_on_what_a_probability_rests() -> None:
    """Cohort, number and date; another way of making the score has no probability, never that of the nearest curve."""
    positive, score = exams()
    curve = fit(positive, score, **STORED)
    card = {"calibration": card_field([curve])}
    said = card["calibration"]["curves"][0]
    assert (said["cohort"], said["n"], said["date"]) == ("400 exams of a hospital", 6000, "2026-05-04")
    assert said["positives"] == positive.sum()
    assert of_card(card, "malignancy", {**MADE, "sequences": ("dce",)}) == curve
    assert of_card(card, "malignancy", {**MADE, "augmentation": "flips"}) is None
    assert of_card(card, "tnbc", MADE) is None
    assert of_card({}, "malignancy", MADE) is None


def test_scores_that_cannot_be_calibrated_are_refused() -> None:
    """One class alone, classes parted completely, scores that fall where cancers rise."""
    positive, score = exams(200)
    for answers, scores in ((np.ones(200, bool), score), (score > 0.5, score), (positive, 1 - score)):
        with pytest.raises(CalibrationError):
            fit(answers, scores, **STORED)


def test_bins_are_those_of_scikit_learn() -> None:
    """Equal width, empty ones left out; each with the exact interval of its share."""
    positive, score = exams(300)
    shares, means = calibration_curve(positive, score, n_bins=10)
    bins = reliability(positive, score)
    assert [b.share.estimate for b in bins] == pytest.approx(shares)
    assert [b.mean_score for b in bins] == pytest.approx(means)
    assert sum(b.n for b in bins) == 300
    assert all(b.share.low <= b.share.estimate <= b.share.high for b in bins)


def test_the_expected_error_is_the_mean_gap() -> None:
    """Nine of ten right where 0.9 was said: none. Half right: 0.4."""
    score = np.full(10, 0.9)
    assert expected_error(np.arange(10) < 9, score) == pytest.approx(0)
    assert expected_error(np.arange(10) < 5, score) == pytest.approx(0.4)
    assert expected_error(np.array([True]), np.array([1.0])) == 0  # the upper edge belongs to the last bin
