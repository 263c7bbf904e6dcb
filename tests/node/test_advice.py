"""The advice table: WITHHELD with all its reasons, else CANDIDATE or NO_SUPPORT."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mome_node.analysis import advice, known_category
from mome_node.analysis.advice import Case, advise
from mome_node.findings import ExamScore, ModelCard, OperatingPoint, Problem

MADE = {"sequences": ["dce", "dwi", "t2"], "augmentation": "none", "numeric_type": "float32", "preprocessing": "abc"}
POINT = OperatingPoint("downgrade", 0.2, "a cohort", 86, 0, 0.042, 120, 31)
CARD = ModelCard(
    name="MOME",
    version="1",
    weights_sha256="0" * 64,
    status="evaluated",
    trained_on="patients",
    evaluated_on_patients=True,
    roles=(),
    targets=(),
    preprocessing={},
    operating_points=(
        {
            "target": "malignancy",
            "key": MADE,
            "claim": {"supported": True, "words": "Shown: at most 2 % cancers among downgraded BI-RADS 4 exams."},
            **{f: getattr(POINT, f) for f in POINT.__dataclass_fields__},
        },
    ),
    evaluated_range={"vendor": {"values": ["SIEMENS"]}, "phases": {"min": 5, "max": 7}, "age": None},
    quality_limits={},
)
EXAM: dict[str, Any] = {"vendor": "SIEMENS", "phases": 6}


def scored(score: float = 0.1, point: OperatingPoint | None = POINT) -> ExamScore:
    return ExamScore("malignancy", score, None, 0.5, {}, {}, MADE, point)


def case(**changes: Any) -> Case:
    return replace(Case(scored(), (), "4A", CARD, EXAM), **changes)


def codes(given: Case) -> list[str]:
    return [reason.code for reason in advise(given).reasons]


def test_a_score_at_the_operating_point_is_a_candidate() -> None:
    """At or below: the operating point was frozen with its own threshold included."""
    assert advise(case(score=scored(0.2))).value == "CANDIDATE"


def test_a_score_above_the_operating_point_gives_no_support() -> None:
    """It does not raise the category either: there are only three answers."""
    assert advise(case(score=scored(0.2001))).value == "NO_SUPPORT"


def test_a_problem_that_blocks_advice_withholds_it() -> None:
    """The contract lists for each problem whether advice would be unsafe."""
    assert codes(case(problems=(Problem.of("NO_DWI", "no DWI"),))) == ["NO_DWI"]
    assert codes(case(problems=(Problem.of("PRE_DUPLICATE", "two"),))) == []


def test_without_an_operating_point_of_its_own_there_is_no_advice() -> None:
    """A threshold of another combination of sequences says nothing about this score."""
    assert codes(case(score=scored(point=None))) == ["NO_OPERATING_POINT"]


@pytest.mark.parametrize(
    "change",
    [{"augmentation": "flips"}, {"sequences": ["dce"]}, {"numeric_type": "bfloat16"}, {"preprocessing": "x"}],
)
def test_an_operating_point_fits_exactly_one_way_of_making_the_score(change: dict[str, Any]) -> None:
    """Never the nearest one: each of these changes the distribution of scores."""
    assert advice.operating_point(CARD, "malignancy", MADE) == POINT
    assert advice.operating_point(CARD, "malignancy", {**MADE, **change}) is None


def test_an_operating_point_is_of_one_target() -> None:
    """A threshold of malignancy says nothing about a score of the subtype that is made the same way."""
    assert advice.operating_point(CARD, "tnbc", MADE) is None


def test_a_point_at_a_stated_sensitivity_advises_nobody() -> None:
    """Such points are there to be compared with others; the one for downgrade is used wherever it stands."""
    other = {**CARD.operating_points[0], "use": "sensitivity", "threshold": 0.9}
    card = replace(CARD, operating_points=(other, {**CARD.operating_points[0], "use": "downgrade"}))
    assert advice.operating_point(card, "malignancy", MADE) == POINT
    assert advice.operating_point(replace(CARD, operating_points=(other,)), "malignancy", MADE) is None


@pytest.mark.parametrize("claim", [None, {}, {"supported": False, "words": "Not shown: 8 exams."}, {"supported": 1}])
def test_a_point_on_too_few_exams_advises_nobody(claim: dict[str, Any] | None) -> None:
    """None missed of eight downgraded is no proof: up to a third of such exams may be cancers. A gate that cannot be
    read stays closed."""
    card = replace(CARD, operating_points=({**CARD.operating_points[0], "claim": claim},))
    assert codes(case(card=card)) == ["CLAIM_NOT_SHOWN"]
    if claim and "words" in claim:
        assert advise(case(card=card)).reasons[0].text == claim["words"]
    shown = advise(case(card=card, synthetic_demonstration=True))
    assert (shown.value, shown.marked_demonstration) == ("CANDIDATE", True)


def test_a_point_fixed_on_synthetic_exams_advises_nobody() -> None:
    """Whatever its claim: it is about such exams. Weights evaluated on patients may still hold such a point."""
    card = replace(CARD, operating_points=({**CARD.operating_points[0], "cohort": "900 synthetic exams"},))
    assert codes(case(card=card)) == ["CLAIM_NOT_SHOWN"]


def test_an_exam_outside_the_evaluated_range_gets_no_advice() -> None:
    """Every fact that lies outside is named; a fact that is unknown lies outside; an unset range allows everything."""
    assert codes(case(exam={"vendor": "ACME", "phases": 3})) == ["OUTSIDE_EVALUATED_RANGE"] * 2
    assert codes(case(exam={"vendor": "SIEMENS"})) == ["OUTSIDE_EVALUATED_RANGE"]


@pytest.mark.parametrize("stated", [{}, {"n": 300}, {"vendor": ["SIEMENS"]}, {"phases": {"max": 8}}])
def test_a_card_that_states_no_readable_range_withholds_advice(stated: dict[str, Any]) -> None:
    """A gate that cannot be read stays closed."""
    assert codes(case(card=replace(CARD, evaluated_range=stated))) == ["OUTSIDE_EVALUATED_RANGE"]


def test_the_b_value_counts_only_where_the_score_rests_on_dwi() -> None:
    """Without DWI there is no b-value: that DWI is missing is said already, and once is enough."""
    card = replace(CARD, evaluated_range={"b_value": {"values": [800]}, "vendor": {"values": ["SIEMENS"]}})
    without = replace(scored(), made={**MADE, "sequences": ["dce", "t2"]})
    assert codes(case(card=card, score=without)) == []
    assert codes(case(card=card)) == ["OUTSIDE_EVALUATED_RANGE"]


def test_an_unknown_category_withholds_advice() -> None:
    """The advice is about a category 4 that somebody gave; the node gives none."""
    assert codes(case(category=None)) == ["CATEGORY_UNKNOWN"]


@pytest.mark.parametrize("category", ["0", "3", "4C", "5", "6"])
def test_other_categories_than_4_4a_4b_withhold_advice(category: str) -> None:
    assert codes(case(category=category)) == ["CATEGORY_NOT_4"]


def test_weights_without_patients_advise_nobody() -> None:
    """Demonstration weights: even a perfect phantom study says nothing about patients."""
    card = replace(CARD, evaluated_on_patients=False)
    assert codes(case(card=card)) == ["NOT_EVALUATED_ON_PATIENTS"]


def test_the_demonstration_on_own_phantoms_is_marked() -> None:
    """The demo shows the advice on the node's own synthetic patients, and says so."""
    shown = advise(case(card=replace(CARD, evaluated_on_patients=False), synthetic_demonstration=True))
    assert (shown.value, shown.marked_demonstration) == ("CANDIDATE", True)


def test_all_reasons_are_named() -> None:
    """A reader who mends one reason must not meet the next one afterwards."""
    bad = case(
        score=scored(point=None),
        problems=(Problem.of("NO_DWI", "no DWI"), Problem.of("NO_T2", "no T2")),
        category=None,
        card=replace(CARD, evaluated_on_patients=False),
        exam={},
    )
    assert codes(bad) == [
        "NO_DWI",
        "NO_T2",
        "NOT_EVALUATED_ON_PATIENTS",
        "NO_OPERATING_POINT",
        "OUTSIDE_EVALUATED_RANGE",
        "OUTSIDE_EVALUATED_RANGE",
        "CATEGORY_UNKNOWN",
    ]


def test_every_rule_has_its_reason_in_words() -> None:
    assert len(set(advice.RULES)) == 8
    for rule in advice.RULES:
        assert rule.__doc__


def test_the_source_of_the_category_decides_for_after_reading() -> None:
    """A destination that shows advice only after the reading shows it when the exam's own MR report has come."""
    from tests.node.result_fixtures import findings as analysed

    found = analysed()
    assert advice.shown(found, "with_result").advice is not None
    assert advice.shown(found, "never").advice is None
    read, unread = (replace(found, category_source=s) for s in (known_category.REPORT, known_category.REQUEST))
    assert advice.shown(read, "after_reading").advice is not None
    assert advice.shown(unread, "after_reading").advice is None
