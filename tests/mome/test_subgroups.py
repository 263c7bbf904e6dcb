"""Figures of parts of a cohort: which parts there are, and when one is too small to say anything."""

from __future__ import annotations

import numpy as np
import pytest

from mome.cohort import Case
from mome.evaluation.metrics import figures
from mome.evaluation.subgroups import FIGURES, LEAST, NOT_STATED, age_band, subgroups


def case(index: int = 0, **known: object) -> Case:
    return Case(f"c{index}", f"p{index}", f"s{index}", **known)  # type: ignore[arg-type]


def exams(cases: list[Case]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    positive = np.arange(len(cases)) % 2 == 0
    return positive, 1 / (1 + np.exp(-rng.normal(size=len(cases)) - 1.5 * positive))


def test_age_bands_are_those_of_the_paper() -> None:
    """Under 40, 40 to under 60, 60 and over: every age has one band."""
    bands = [age_band(case(age=age)) for age in (39.9, 40, 59.9, 60, None)]
    assert bands == ["under 40", "40 to under 60", "40 to under 60", "60 and over", ""]


def test_a_group_has_the_figures_of_its_exams() -> None:
    cases = [case(i, field_strength_t=1.5 if i < 40 else 3.0) for i in range(100)]
    positive, score = exams(cases)
    found = subgroups(cases, positive, score, 0.5, resamples=100)
    assert [(g.by, g.group, g.n, g.positives) for g in found] == [
        ("field strength", "1.5 T", 40, 20),
        ("field strength", "3 T", 60, 30),
    ]
    alone = figures(positive[40:], score[40:], 0.5)
    assert {name: found[1].figures[name].estimate for name in FIGURES} == pytest.approx({n: alone[n] for n in FIGURES})
    assert all(i.low <= i.estimate <= i.high for i in found[1].figures.values())


def test_a_group_too_small_says_so() -> None:
    """Nine cancers: one more or less moves the sensitivity by a tenth. The counts are told, a figure is not."""
    cases = [case(i, site="north" if i < 2 * LEAST - 1 else "south") for i in range(60)]
    positive, score = exams(cases)
    north, south = subgroups(cases, positive, score, 0.5, resamples=50)
    assert (north.n, north.positives, dict(north.figures)) == (2 * LEAST - 1, LEAST, {})
    assert north.note.startswith(f"too few to say anything: {LEAST} positive, {LEAST - 1} negative")
    assert south.figures and not south.note
    assert "auroc" not in north.json() and south.json()["auroc"]["estimate"] == south.figures["auroc"].estimate


def test_every_exam_is_in_one_group_of_each_division() -> None:
    """What is not known is a group of its own, at the end; a fact that nobody states makes no division."""
    cases = [case(i, bpe=("", "marked", "minimal")[i % 3], birads=("4A", "4", "5")[i % 3]) for i in range(90)]
    found = subgroups(cases, *exams(cases), 0.5, resamples=20)
    assert [g.group for g in found if g.by == "bpe"] == ["minimal", "marked", NOT_STATED]
    assert [g.group for g in found if g.by == "birads"] == ["4", "5"]
    assert {g.by: sum(h.n for h in found if h.by == g.by) for g in found} == {"bpe": 90, "birads": 90}


def test_patients_are_counted_beside_exams() -> None:
    cases = [Case(f"c{i}", f"p{i // 2}", f"s{i}", site="one") for i in range(60)]
    assert subgroups(cases, *exams(cases), 0.5, resamples=20)[0].patients == 30
