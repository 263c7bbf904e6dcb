"""Net benefit of acting on a score: by hand, at its ends, and beside the strategies without a score."""

from __future__ import annotations

import numpy as np
import pytest

from mome.cohort import Case
from mome.evaluation.decision_curves import THRESHOLDS, avoid_biopsy, in_birads_4, treat

POSITIVE = np.array([True, True, True, False, False, False, False, False, False, False])
SCORE = np.array([0.9, 0.6, 0.3, 0.7, 0.4, 0.2, 0.2, 0.1, 0.1, 0.05])


def test_treating_is_worth_the_cancers_less_the_weighed_alarms() -> None:
    """Above 0.5: two cancers, one alarm; at even odds an alarm costs as much as a cancer is worth."""
    curve = treat(POSITIVE, SCORE, [0.25, 0.5])
    assert curve.net_benefit == pytest.approx([3 / 10 - 2 / 10 * (1 / 3), 2 / 10 - 1 / 10])
    assert curve.treat_all == pytest.approx([3 / 10 - 7 / 10 * (1 / 3), 3 / 10 - 7 / 10])
    assert curve.treat_none == pytest.approx([0, 0])


def test_a_spared_biopsy_is_worth_less_the_weighed_misses() -> None:
    """At or below 0.25 lie five benign exams and no cancer; at 0.5 one cancer counts as much as a spared biopsy."""
    curve = avoid_biopsy(POSITIVE, SCORE, [0.25, 0.5])
    assert curve.net_benefit == pytest.approx([5 / 10, 6 / 10 - 1 / 10])
    assert curve.treat_all == pytest.approx([0, 0])
    assert curve.treat_none == pytest.approx([7 / 10 - 3 / 10 * 3, 7 / 10 - 3 / 10])


def test_both_scenarios_say_the_same_of_the_same_threshold() -> None:
    """The gain over biopsying all is one quantity, weighed in cancers or in biopsies: t / (1 - t) apart."""
    treated, spared = treat(POSITIVE, SCORE), avoid_biopsy(POSITIVE, SCORE)
    odds = THRESHOLDS / (1 - THRESHOLDS)
    assert treated.net_benefit - treated.treat_all == pytest.approx(odds * (spared.net_benefit - spared.treat_all))
    assert treated.useful.tolist() == spared.useful.tolist()
    assert treated.useful.size


def test_a_score_that_says_nothing_is_never_useful() -> None:
    constant = np.full(10, 0.3)
    assert not treat(POSITIVE, constant).useful.size
    assert not avoid_biopsy(POSITIVE, constant).useful.size


def test_limits_come_from_resampled_patients() -> None:
    """One patient's exams are no new evidence; without patients there are no limits."""
    many, scores = np.tile(POSITIVE, 20), np.tile(SCORE, 20)
    apart = treat(many, scores, [0.2], patients=np.arange(200), resamples=300)
    together = treat(many, scores, [0.2], patients=np.tile(np.arange(10), 20), resamples=300)
    assert apart.low < apart.net_benefit < apart.high
    assert together.high - together.low > 2 * (apart.high - apart.low)
    assert np.isnan(treat(many, scores, [0.2]).low).all()
    assert treat(many, scores, [0.2]).json()["low"] == [None]


def test_thresholds_are_probabilities_between_the_ends() -> None:
    """At 0 and 1 one of the errors weighs nothing: there is no decision."""
    for wrong in (0.0, 1.0, 50.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            treat(POSITIVE, SCORE, [wrong])


def test_biopsies_are_avoided_in_category_4() -> None:
    cases = [Case("c", "p", "s", birads=b) for b in ("3", "4", "4A", "4C", "5", "")]
    assert in_birads_4(cases).tolist() == [False, True, True, True, False, False]
