"""Thresholds: chosen on BI-RADS 4 exams of one cohort, reported on another as the paper does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from mome.coalitions import COALITIONS
from mome.cohort import Case
from mome.evaluation.operating_points import OperatingPointError, freeze, highest_threshold, point_at, report_point

ALL, DCE = COALITIONS[-1], COALITIONS[0]
FROZEN: dict[str, Any] = {"cohort": "600 exams of a hospital", "preprocessing": "abc"}


def exams(n: int = 600) -> tuple[list[Case], np.ndarray, dict[Any, np.ndarray]]:
    """Two thirds BI-RADS 4; the cancers with the lowest scores are of category 5, so that it matters who is asked."""
    rng = np.random.default_rng(0)
    malignant = np.arange(n) % 3 == 0
    category = np.where(np.arange(n) % 10 < 6, "4A", "5")
    score = np.clip(rng.normal(0.35, 0.12, n) + 0.35 * malignant, 0.01, 0.99)
    score[malignant & (category == "5")] = 0.005
    cases = [Case(f"c{i}", f"p{i}", f"s{i}", birads=str(category[i]), malignant=bool(malignant[i])) for i in range(n)]
    return cases, malignant, dict.fromkeys(COALITIONS, score)


def frozen(**changes: Any) -> list[dict[str, Any]]:
    cases, malignant, scores = exams()
    return freeze(scores, malignant, cases=cases, **{**FROZEN, **changes})


def test_no_birads_4_cancer_lies_at_or_below_the_point_for_downgrade() -> None:
    """Category 5 goes to biopsy whatever a score says: its cancers choose no threshold."""
    cases, malignant, scores = exams()
    for point in frozen():
        below = scores[ALL] <= point["threshold"]
        in_4 = np.array([case.birads == "4A" for case in cases])
        assert (point["use"], point["population"], point["cancers_at_or_below"]) == ("downgrade", "BI-RADS 4", 0)
        assert not (below & in_4 & malignant).any()
        assert point["benign_at_or_below"] == (below & in_4 & ~malignant).sum() > 0
        assert point["cancers"] == (in_4 & malignant).sum()
        assert point["cohort"] == f"{in_4.sum()} BI-RADS 4 exams of 600 exams of a hospital"


def test_there_is_a_point_for_each_combination_with_dce_and_each_sensitivity() -> None:
    """The node needs DCE; a threshold of one combination says nothing about another."""
    points = frozen(sensitivities=(0.9, 0.95))
    named = [(p["use"], p["sensitivity"], tuple(p["key"]["sequences"])) for p in points]
    with_dce = [c for c in COALITIONS if "dce" in c]
    assert named == [
        *(("downgrade", 1.0, c) for c in with_dce),
        *(("sensitivity", s, c) for s in (0.9, 0.95) for c in with_dce),
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=60), st.sampled_from([1.0, 0.99, 0.95, 0.9, 0.5]))
def test_a_stated_sensitivity_is_kept_and_no_higher_threshold_keeps_it(scores: list[int], sensitivity: float) -> None:
    """Also with ties, and where (1 - 0.9) times ten is a little less than one."""
    cancers = np.array(scores) / 300
    threshold = highest_threshold(cancers, 1 - sensitivity)
    assert (cancers > threshold).sum() >= sensitivity * len(cancers) - 1e-9
    assert (cancers > threshold + 2e-4).sum() < sensitivity * len(cancers) - 1e-9


def test_ten_cancers_at_ninety_percent_may_lose_one() -> None:
    assert (np.arange(10) / 10 <= highest_threshold(np.arange(10) / 10, 1 - 0.9)).sum() == 1


def test_the_limit_holds_although_the_threshold_was_chosen_on_these_cancers() -> None:
    """Of 300 tuning cohorts of 50 cancers with uniform scores the true share below the threshold is the threshold; it
    exceeds the one-sided 95 % limit in about 15 of them."""
    rng = np.random.default_rng(1)
    benign, exceeded = np.zeros(50), 0
    for _ in range(300):
        score = np.concatenate([rng.random(50), benign])
        point = point_at(score, np.arange(100) < 50, 1.0, "BI-RADS 4", 0.95)
        exceeded += point["threshold"] > point["upper_limit"]
    assert 5 <= exceeded <= 27


def test_a_point_carries_the_claim_that_its_counts_support() -> None:
    """Some 200 benign freed without a cancer support it, eight do not; the file says which."""
    point = frozen()[0]
    assert point["claim"]["downgraded"] == point["benign_at_or_below"]
    assert point["claim"]["supported"] is (point["benign_at_or_below"] >= 149)
    cases, malignant, scores = exams(60)
    few = freeze(scores, malignant, cases=cases, **FROZEN)[0]
    assert not few["claim"]["supported"] and few["claim"]["words"].startswith("Not shown")


def test_of_synthetic_exams_every_sentence_says_so() -> None:
    """A claim about phantoms must not be read as one about patients."""
    point = frozen(cohort="600 synthetic exams")[0]
    assert "downgraded synthetic BI-RADS 4 exams" in point["claim"]["words"]
    point, cases, malignant, score = papers_cohort()
    report = report_point(point, cases, malignant, score, synthetic=True)
    assert report["words"].startswith("8 of 109 benign synthetic BI-RADS 4 exams")
    assert "synthetic" in report["claim"]["words"]


def test_exams_outside_the_range_or_without_the_sequences_choose_no_threshold() -> None:
    """The node would advise on neither: a withheld cancer with a low score must not lower the threshold."""
    cases, malignant, scores = exams()
    low = int(np.flatnonzero(malignant & np.array([c.birads == "4A" for c in cases]))[0])
    for without in ({"status": "withheld"}, {}):
        changed = [replace(c, **without) if i == low else c for i, c in enumerate(cases)]
        other = {c: s.copy() for c, s in scores.items()}
        for score in other.values():
            score[low] = 0.0 if without else np.nan
        point = freeze(other, malignant, cases=changed, **FROZEN)[0]
        assert point["cancers"] == frozen()[0]["cancers"] - 1
        assert point["threshold"] >= frozen()[0]["threshold"]


def test_without_categories_all_exams_choose_and_no_claim_is_made() -> None:
    """So synthetic cohorts without a category still show how a threshold works."""
    cases, malignant, scores = exams()
    uncategorised = [replace(case, birads="") for case in cases]
    rng = np.random.default_rng(0)
    scores = dict.fromkeys(COALITIONS, np.clip(rng.normal(0.3, 0.1, 600) + 0.3 * malignant, 0, 1))
    point = freeze(scores, malignant, cases=uncategorised, **FROZEN)[0]
    assert (point["population"], point["sensitivity"], point["claim"]["supported"]) == ("all exams", 0.98, False)
    assert point == freeze(scores, malignant, **FROZEN)[0]


def test_what_cannot_choose_a_threshold_is_refused() -> None:
    cases, _, scores = exams()
    with pytest.raises(OperatingPointError, match="needs both"):
        freeze(scores, np.zeros(600, bool), cases=cases, **FROZEN)
    with pytest.raises(OperatingPointError, match=r"0\.95, not 95"):
        frozen(sensitivities=(95,))


# ------------------------------------------------------------------ on another cohort
def papers_cohort() -> tuple[dict[str, Any], list[Case], np.ndarray, np.ndarray]:
    """109 benign and 86 malignant BI-RADS 4 exams, of which a point downgrades eight benign ones."""
    malignant = np.arange(195) >= 109
    score = np.where(malignant, 0.6, 0.3)
    score[:8] = 0.1
    cases = [Case(f"c{i}", f"p{i}", f"s{i}", birads="4", malignant=bool(m)) for i, m in enumerate(malignant)]
    return {**frozen()[0], "threshold": 0.2}, cases, malignant, score


def test_the_report_is_the_paper_s() -> None:
    """8 of 109 patients with benign tumours, 7.3 %, no cancer missed of 86, with exact binomial intervals."""
    report = report_point(*papers_cohort())
    freed, missed = report["scored"]["benign_downgraded"], report["scored"]["cancers_missed"]
    assert (freed["events"], freed["of"], missed["events"], missed["of"]) == (8, 109, 0, 86)
    judge = binomtest(8, 109).proportion_ci(method="exact")
    assert freed["ci95"] == pytest.approx([judge.low, judge.high])
    assert report["words"] == (
        "8 of 109 benign BI-RADS 4 exams (7.3 %) would be downgraded; no cancer was missed of 86 (exact 95 % interval "
        "up to 4.2 %)."
    )
    assert not report["claim"]["supported"]


def test_studies_without_a_score_stay_in_the_second_table() -> None:
    """Nobody may look better by refusing the difficult ones."""
    point, cases, malignant, score = papers_cohort()
    cases[0] = replace(cases[0], status="withheld")  # would be downgraded
    score[1] = np.nan  # lacks a sequence
    left = [
        Case("r", "r", "r", status="rejected", birads="4B", malignant=False),
        Case("f", "f", "f", status="failed", birads="4", malignant=True),
        Case("u", "u", "u", status="failed", birads="4"),
        Case("o", "o", "o", status="failed", birads="5", malignant=True),
    ]
    report = report_point(point, cases, malignant, score, left_out=left)
    assert report["scored"]["benign_downgraded"]["events"] == report["all_studies"]["benign_downgraded"]["events"] == 6
    assert report["scored"]["benign_downgraded"]["of"] == 107
    assert report["all_studies"]["benign_downgraded"]["of"] == 110
    assert report["all_studies"]["cancers_missed"]["of"] == 87
    assert report["all_studies"]["without_score"] == {
        "failed": {"cancers": 1, "benign": 0, "unproven": 1},
        "other sequences or no answer": {"cancers": 0, "benign": 1, "unproven": 0},
        "rejected": {"cancers": 0, "benign": 1, "unproven": 0},
        "withheld": {"cancers": 0, "benign": 1, "unproven": 0},
    }


def test_a_score_at_the_threshold_is_downgraded_as_in_the_node() -> None:
    point, cases, malignant, score = papers_cohort()
    at = {**point, "threshold": 0.1}
    assert report_point(at, cases, malignant, score)["scored"]["benign_downgraded"]["events"] == 8
    score[109] = 0.1
    report = report_point(at, cases, malignant, score)
    assert report["scored"]["cancers_among_downgraded"]["events"] == 1
    assert "1 cancer was missed of 86" in report["words"]
