"""Intervals and p-values: what is drawn, what is counted, and whose formula it is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from mome.evaluation.intervals import (
    Interval,
    bootstrap,
    components,
    delong,
    exact,
    paired,
    percentiles,
    resampling,
    upper_limit,
)
from mome.evaluation.metrics import FIGURES, auroc, figures


def exams(n: int = 200, seed: int = 0, gain: float = 1.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers, a score, a patient for each exam."""
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    score = 1 / (1 + np.exp(-rng.normal(size=n) - gain * positive))
    return positive, score, np.arange(n).astype(str)


def test_one_run_gives_every_figure_its_interval() -> None:
    positive, score, patients = exams()
    found = bootstrap(positive, score, 0.5, patients, resamples=300)
    assert tuple(found) == FIGURES
    assert {name: i.estimate for name, i in found.items()} == pytest.approx(figures(positive, score, 0.5))
    assert all(i.low < i.estimate < i.high for i in found.values())


def test_the_exams_of_a_patient_are_drawn_together() -> None:
    """They are no independent witnesses: as many exams of half the patients say less."""
    patients = np.repeat(np.arange(30), 2).astype(str)
    for weights in resampling(patients, 20, 0):
        assert (weights[:, ::2] == weights[:, 1::2]).all()
        assert (weights[:, ::2].sum(axis=1) == 30).all()


def test_copies_of_exams_make_no_interval_narrower() -> None:
    """Every exam there twice, under one patient: the interval stays what it was; as other patients it would shrink."""
    positive, score, patients = exams(120)
    once = bootstrap(positive, score, 0.5, patients, resamples=400)["auroc"]
    twice = [np.concatenate([a, a]) for a in (positive, score, patients)]
    clustered = bootstrap(twice[0], twice[1], 0.5, twice[2], resamples=400)["auroc"]
    naive = bootstrap(twice[0], twice[1], 0.5, np.arange(240), resamples=400)["auroc"]
    assert (clustered.low, clustered.high) == pytest.approx((once.low, once.high))
    assert naive.high - naive.low < 0.85 * (once.high - once.low)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Of 100 cohorts of 150 exams from two Gaussians with a known AUROC; 5 misses expected."""
    truth, held = 0.856, 0  # Phi(1.5 / sqrt(2))
    for seed in range(100):
        positive, score, patients = exams(150, seed)
        interval = bootstrap_auroc(positive, score, patients)
        held += interval.low <= truth <= interval.high
    assert 88 <= held <= 99


def bootstrap_auroc(positive: np.ndarray, score: np.ndarray, patients: np.ndarray) -> Interval:
    """Against a score that says nothing, whose AUROC is 0.5 in every resample."""
    found = paired(positive, score, np.zeros(len(score)), patients, resamples=200)
    return Interval(found.estimate + 0.5, found.low + 0.5, found.high + 0.5)


def test_a_difference_is_measured_in_the_same_resamples() -> None:
    """Two scores of the same exams rise and fall together: paired, the difference is sharper than either."""
    positive, score, patients = exams()
    rng = np.random.default_rng(5)
    worse = score + rng.normal(0, 0.3, len(score))
    found = paired(positive, score, worse, patients)
    assert found.estimate == pytest.approx(auroc(positive, score) - auroc(positive, worse))
    assert found.low > 0 and found.p < 0.05
    reversed_ = paired(positive, worse, score, patients)
    assert (reversed_.estimate, reversed_.p) == pytest.approx((-found.estimate, found.p))


def test_a_score_does_not_differ_from_itself() -> None:
    positive, score, patients = exams()
    same = paired(positive, score, score, patients, resamples=100)
    assert (same.estimate, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_p_is_never_zero() -> None:
    """A thousand resamples cannot say more than two in a thousand and one."""
    positive, score, patients = exams(gain=4.0)
    assert paired(positive, score, -score, patients).p == pytest.approx(2 / 1001)


def test_a_figure_with_a_threshold_takes_that_of_each_score() -> None:
    """A reader's category 4 and a model's 0.5 are compared as two by two tables."""
    positive, score, patients = exams()
    found = paired(positive, score, 10 * score, patients, resamples=50, figure="mcc", thresholds=(0.5, 5.0))
    assert (found.estimate, found.p) == (0, 1)


def test_a_figure_that_most_resamples_lack_has_no_interval() -> None:
    """Percentiles of the few resamples in which it exists would be those of luck."""
    values = np.full(100, np.nan)
    values[:90] = 0.5
    assert np.isnan(percentiles(values)).all()
    values[:96] = 0.5
    assert percentiles(values) == (0.5, 0.5)


def test_delong_is_the_covariance_of_the_components() -> None:
    """Against the definition (DeLong 1988, equations 4 to 8): every pair of a positive and a negative compared."""
    rng = np.random.default_rng(2)
    positive = np.arange(70) < 25
    first = np.round(rng.normal(size=70) + positive, 1)
    second = np.round(first + rng.normal(0, 0.8, 70), 1)
    kernels = [
        (s[positive][:, None] > s[~positive]) + 0.5 * (s[positive][:, None] == s[~positive]) for s in (first, second)
    ]
    s10 = np.cov([k.mean(axis=1) for k in kernels])
    s01 = np.cov([k.mean(axis=0) for k in kernels])
    contrast = np.array([1, -1])
    error = np.sqrt(contrast @ (s10 / 25 + s01 / 45) @ contrast)
    found = delong(positive, first, second)
    assert found.estimate == pytest.approx(kernels[0].mean() - kernels[1].mean())
    assert (found.high - found.low) / (2 * 1.959964) == pytest.approx(error, rel=1e-6)
    assert components(positive, first)[0] == pytest.approx(kernels[0].mean(axis=1))


def test_delong_agrees_with_the_bootstrap() -> None:
    """Two roads to one error where every patient has one exam."""
    positive, score, patients = exams(400)
    worse = score + np.random.default_rng(5).normal(0, 0.2, 400)
    theory, drawn = delong(positive, score, worse), paired(positive, score, worse, patients)
    assert theory.high - theory.low == pytest.approx(drawn.high - drawn.low, rel=0.1)
    assert delong(positive, score, score).p == 1


def test_exact_limits_are_those_of_clopper_and_pearson() -> None:
    """At each limit the count, or one further out, has a chance of 2.5 %. None missed of 86 still allows 4.2 %."""
    found = exact(8, 109)
    assert binom.sf(7, 109, found.low) == pytest.approx(0.025)
    assert binom.cdf(8, 109, found.high) == pytest.approx(0.025)
    assert exact(0, 86).high == pytest.approx(1 - 0.025 ** (1 / 86))
    assert (exact(0, 0).low, exact(0, 0).high) == (0, 1)


def test_a_one_sided_limit_puts_all_doubt_on_one_side() -> None:
    """149 downgraded without a cancer: at most 2 % with 95 % confidence; 148 do not suffice."""
    assert upper_limit(0, 149) < 0.02 < upper_limit(0, 148)
    assert upper_limit(0, 86, 0.975) == pytest.approx(exact(0, 86).high)
    assert upper_limit(0, 0) == 1


def test_what_has_no_number_is_null_in_json() -> None:
    assert Interval(float("nan"), 0.0, 1.0).json() == {"estimate": None, "ci95": [0.0, 1.0]}
