"""Readers beside the model: on which exams, at which points, with which differences."""

from __future__ import annotations

import numpy as np
import pytest

from mome.cohort import Case
from mome.evaluation.metrics import auroc, figures
from mome.evaluation.readers import at_equal_errors, compare, compare_all, scale_of


def exams(n: int = 200) -> tuple[list[Case], np.ndarray, np.ndarray]:
    """A good reader in BI-RADS categories, a coarse one of 0 to 100 who read only half, and a model between them."""
    rng = np.random.default_rng(0)
    positive = rng.random(n) < 0.5
    seen = rng.normal(size=n) + 2.5 * positive
    category = np.select([seen < 0.3, seen < 1, seen < 2], [2.0, 3.0, 4.0], 5.0)
    coarse = np.clip(50 + 20 * (rng.normal(size=n) + 0.8 * (positive - 0.5)), 0, 100)
    cases = [
        Case(f"c{i}", f"p{i}", f"s{i}", readers={"A": category[i]} | ({"B": coarse[i]} if i % 2 else {}))
        for i in range(n)
    ]
    return cases, positive, 1 / (1 + np.exp(-rng.normal(size=n) - 1.6 * positive + 0.8))


def test_each_reader_is_compared_on_the_exams_read() -> None:
    cases, positive, score = exams()
    good, coarse = compare_all(cases, positive, score, 0.5, resamples=200)
    assert (good.reader, good.scale, good.operating_point, good.n, good.unanswered) == ("A", "BI-RADS", 4.0, 200, 0)
    assert (coarse.scale, coarse.operating_point, coarse.n, coarse.unanswered) == ("0 to 100", 50.0, 100, 100)
    half = np.arange(200) % 2 == 1
    read = np.array([case.readers["B"] for case in cases if "B" in case.readers])
    assert coarse.figures["auroc"].estimate == pytest.approx(auroc(positive[half], read))
    assert coarse.differences["auroc"].estimate == pytest.approx(
        auroc(positive[half], score[half]) - auroc(positive[half], read)
    )


def test_differences_are_model_minus_reader() -> None:
    """Significantly worse than the good reader, significantly better than the coarse one."""
    cases, positive, score = exams()
    good, coarse = compare_all(cases, positive, score, 0.5, resamples=300)
    assert good.differences["auroc"].high < 0 and good.differences["auroc"].p < 0.05
    assert coarse.differences["auroc"].low > 0 and coarse.differences["auroc"].p < 0.05
    assert good.sensitivity_at_equal_specificity.estimate < 0 < coarse.sensitivity_at_equal_specificity.estimate


def test_a_category_at_the_operating_point_is_positive() -> None:
    """BI-RADS 4 and above calls for biopsy; the paper's own point, 4B and above, is 4.2."""
    cases, positive, score = exams()
    read = np.array([case.readers["A"] for case in cases])
    usual = compare("A", cases, positive, score, 0.5, resamples=20)
    later = compare("A", cases, positive, score, 0.5, operating_point=4.2, resamples=20)
    assert usual.figures["sensitivity"].estimate == pytest.approx((read[positive] >= 4).mean())
    assert later.figures["sensitivity"].estimate == pytest.approx((read[positive] >= 4.2).mean())
    assert later.figures["specificity"].estimate > usual.figures["specificity"].estimate


def test_category_0_is_no_answer() -> None:
    """It calls for more pictures; as the lowest category it would count as the most benign of all."""
    cases, positive, score = exams()
    asked = [Case(c.case, c.patient, c.study, readers={"A": 0.0}) if i < 10 else c for i, c in enumerate(cases)]
    found = compare("A", asked, positive, score, 0.5, resamples=20)
    assert (found.n, found.unanswered) == (190, 10)


def test_the_model_is_read_off_its_curve_at_the_reader_s_errors() -> None:
    """At the point of its own threshold it has its own sensitivity and specificity."""
    _, positive, score = exams()
    own = figures(positive, score, 0.5)
    equal = at_equal_errors(
        positive, score, np.ones((1, 200)), np.array([own["sensitivity"]]), np.array([own["specificity"]])
    )
    assert equal[0][0] == pytest.approx(own["sensitivity"], abs=1e-6)
    assert equal[1][0] >= own["specificity"] - 1e-6
    nothing = at_equal_errors(positive, score, np.ones((1, 200)), np.array([np.nan]), np.array([0.5]))
    assert np.isnan(nothing).all()


def test_a_model_compared_with_itself_differs_in_nothing() -> None:
    """Also in the resamples: both are measured in the same ones."""
    _, positive, score = exams()
    cases = [Case(f"c{i}", f"p{i}", f"s{i}", readers={"same": 100 * s}) for i, s in enumerate(score)]
    found = compare("same", cases, positive, score, 0.5, resamples=50)
    assert all((d.estimate, d.low, d.high, d.p) == (0, 0, 0, 1) for d in found.differences.values())
    assert found.sensitivity_at_equal_specificity.estimate == pytest.approx(0, abs=1e-9)


def test_numbers_up_to_six_are_categories() -> None:
    assert scale_of(np.array([1, 4.3, np.nan, 6])) == "BI-RADS"
    assert scale_of(np.array([1, 4, 7.0])) == "0 to 100"
