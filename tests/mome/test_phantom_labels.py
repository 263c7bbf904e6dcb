"""Labels of synthetic exams: what readers, pathologists and the header would say, from what was planted."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest

from mome.coalitions import auroc
from mome.cohort import Case, case_of, texts
from mome.phantom import CLINIC, exam
from mome.phantom.labels import BPE, labelled, observer_log_odds
from mome.phantom.labels import case_of as label
from mome.phantom.patient import Patient, describe
from mome.phantom.readers import (
    BIRADS,
    BIRADS_NUMBERS,
    adc_of,
    category,
    course_of,
    impression,
    kaiser_score,
)

SEEDS = range(8_600_000, 8_600_400)


@dataclass(frozen=True)
class Described:
    patients: list[Patient]
    cases: list[Case]

    @property
    def malignant(self) -> np.ndarray:
        return np.array([case.malignant for case in self.cases])


@pytest.fixture(scope="module")
def described() -> Described:
    """400 patients that nobody rendered."""
    patients = [describe(seed) for seed in SEEDS]
    return Described(patients, [labelled(p, seed) for p, seed in zip(patients, SEEDS, strict=True)])


def test_labels_need_no_rendering() -> None:
    """They come from the seed alone, and are those of the exam that it renders."""
    for seed in (3, 4):
        assert label(seed, design=CLINIC) == exam(seed, design=CLINIC).case


def test_the_labels_come_through_a_cohort_table() -> None:
    case = label(3)
    assert case_of(texts(case), "line 1") == case


def test_every_label_is_filled_in_where_it_has_a_meaning(described: Described) -> None:
    for case in described.cases:
        known = (case.birads, case.age, case.bpe, case.field_strength_t, case.vendor, case.site, case.adc, case.kaiser)
        assert all(known)
        assert len(case.readers) == 3
        assert (case.tnbc is None) == (case.pcr is None) == (not case.malignant)


def test_a_normal_exam_has_a_category_and_nothing_that_belongs_to_a_lesion() -> None:
    seed = next(s for s in range(100) if not describe(s, design=CLINIC).lesions)
    case = label(seed, design=CLINIC)
    assert case.malignant is False
    assert case.birads in ("1", "2", "3")
    assert (case.adc, case.kaiser, case.tnbc, case.pcr) == (None, None, None, None)
    assert set(case.readers.values()) <= {1.0, 2.0, 3.0}


def test_categories_hold_the_share_of_cancers_that_they_stand_for(described: Described) -> None:
    """3: at most 2 %, 4A to 10 %, 4B to 50 %, 4C to 95 %, 5 above (ACR BI-RADS Atlas)."""
    limits = dict(zip(BIRADS, itertools.pairwise((0, 0.02, 0.10, 0.50, 0.95, 1)), strict=True))
    for name, (low, high) in limits.items():
        rows = np.array([case.birads == name for case in described.cases])
        assert rows.sum() > 20
        slack = 2.5 * np.sqrt(0.25 * 0.5 / rows.sum())
        assert low - slack <= described.malignant[rows].mean() <= high + slack


def test_a_reader_who_errs_more_separates_less(described: Described) -> None:
    scores = {
        name: auroc(described.malignant, np.array([case.readers[name] for case in described.cases]))
        for name in ("synthetic junior", "synthetic general", "synthetic senior")
    }
    assert scores["synthetic junior"] < scores["synthetic general"] < scores["synthetic senior"] < 0.95


def test_an_impression_without_error_is_the_truth() -> None:
    lesion = describe(3).lesions[0]
    assert impression(lesion, error=1.0, noise=0.0) == pytest.approx(1 / (1 + np.exp(-sum(lesion.log_odds.values()))))


@pytest.mark.parametrize(("chance", "name"), [(0.019, "3"), (0.02, "4A"), (0.10, "4B"), (0.5, "4C"), (0.95, "5")])
def test_a_category_begins_at_its_chance_of_cancer(chance: float, name: str) -> None:
    assert category(chance) == name


def test_numbers_of_readers_follow_the_categories() -> None:
    """4B or above, which the paper counts as positive, is 4.2 and more."""
    assert sorted(BIRADS_NUMBERS, key=lambda name: BIRADS_NUMBERS[name]) == ["1", "2", *BIRADS]
    assert BIRADS_NUMBERS["4B"] == 4.2


def test_restricted_diffusion_is_measured_as_a_low_adc(described: Described) -> None:
    """In 1e-3 mm2/s, with the error of a region of interest; most cancers lie below 1.5."""
    planted = np.array([adc_of(patient.lesions[0]) for patient in described.patients])
    measured = np.array([case.adc for case in described.cases], float)
    assert np.std(measured / planted - 1) == pytest.approx(0.09, abs=0.015)
    assert (measured[described.malignant] < 1.5).mean() > 0.8
    assert (measured[~described.malignant] < 1.5).mean() < 0.5


# ------------------------------------------------------------------ Kaiser score
LEAVES = [
    ((False, "persistent", True, True, False), 1),
    ((False, "plateau", True, True, False), 2),
    ((False, "persistent", False, True, False), 3),
    ((False, "wash-out", True, True, False), 4),
    ((False, "plateau", False, True, False), 5),
    ((True, "persistent", False, False, True), 6),
    ((True, "plateau", False, False, False), 7),
    ((False, "wash-out", True, False, False), 8),
    ((True, "wash-out", False, False, False), 9),
    ((True, "plateau", False, False, True), 10),
    ((True, "wash-out", False, False, True), 11),
]


@pytest.mark.parametrize(("seen", "score"), LEAVES)
def test_the_kaiser_score_is_that_of_the_published_flow_chart(
    seen: tuple[bool, str, bool, bool, bool], score: int
) -> None:
    """Dietzel and Baltzer 2018: root sign, curve, then margins, inner enhancement or oedema."""
    names = ("root_sign", "course", "circumscribed", "homogeneous", "oedema")
    assert kaiser_score(**dict(zip(names, seen, strict=True))) == score  # type: ignore[arg-type]


def test_the_kaiser_score_asks_only_what_its_branch_needs() -> None:
    """Eleven leaves: all 48 combinations end in one of them, each leaf is reached."""
    both = (False, True)
    scores = [
        kaiser_score(root_sign=a, course=b, circumscribed=c, homogeneous=d, oedema=e)
        for a, b, c, d, e in itertools.product(both, ("persistent", "plateau", "wash-out"), both, both, both)
    ]
    assert set(scores) == set(range(1, 12))


def test_the_curve_has_the_type_that_its_late_phase_shows() -> None:
    assert [course_of(kinetics) for kinetics in (-1.0, 0.2, 1.5)] == ["persistent", "plateau", "wash-out"]


def test_the_kaiser_score_separates_as_a_reader_does(described: Described) -> None:
    """It sees DCE only: better than chance, worse than all sequences together."""
    score = np.array([case.kaiser for case in described.cases], float)
    assert 0.7 < auroc(described.malignant, score) < 0.9


# ------------------------------------------------------------------ subtype, response, background
def test_subtype_and_response_can_be_told_from_the_attributes(described: Described) -> None:
    """Not surely: an observer who sees them reaches 0.8 to 0.95, and half the cancers are not of the subtype."""
    odds = [observer_log_odds(patient.lesions) for patient in described.patients]
    for task in ("tnbc", "pcr"):
        answers = np.array([np.nan if getattr(case, task) is None else getattr(case, task) for case in described.cases])
        asked = ~np.isnan(answers)
        assert 0.2 < answers[asked].mean() < 0.45
        assert 0.8 < auroc(answers[asked] == 1, np.array([o[task] for o in odds])[asked]) < 0.95


def test_triple_negative_cancers_respond_more_often(described: Described) -> None:
    """As the paper notes."""
    cancers = [case for case in described.cases if case.malignant]
    responds = {tnbc: np.mean([case.pcr for case in cancers if case.tnbc is tnbc]) for tnbc in (True, False)}
    assert responds[True] > responds[False] + 0.1


def test_the_grade_of_the_background_is_that_of_its_enhancement(described: Described) -> None:
    grades = [BPE.index(case.bpe) for case in described.cases]
    background = np.array([patient.background for patient in described.patients])
    assert np.all(np.diff(np.array(grades)[np.argsort(background)]) >= 0)
    assert set(grades) == {0, 1, 2, 3}
