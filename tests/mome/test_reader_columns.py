"""Readers' rules beside the model, in BI-RADS 4: who would have spared which biopsy, and missed which cancer."""

from __future__ import annotations

import numpy as np
import pytest

from mome.cohort import Case
from mome.evaluation.intervals import exact
from mome.evaluation.reader_columns import DowngradeColumn, downgrade_table

NAN = float("nan")


def case(number: int, birads: str, adc: float | None = None, kaiser: int | None = None, **readers: float) -> Case:
    name = f"case-{number}"
    return Case(case=name, patient=name, study=name, birads=birads, adc=adc, kaiser=kaiser, readers=readers)


CASES = [
    case(0, "4A", adc=1.50, kaiser=4, senior=3.0),  # benign
    case(1, "4B", adc=1.49, kaiser=5, senior=4.1),  # benign
    case(2, "4", adc=1.70, kaiser=1, senior=0.0),  # benign
    case(3, "4C", adc=1.80, kaiser=8, senior=5.0),  # cancer
    case(4, "4A", adc=None, kaiser=3),  # cancer
    case(5, "5", adc=2.00, kaiser=1, senior=2.0),  # cancer, no BI-RADS 4
    case(6, "3", adc=2.00, kaiser=1, senior=2.0),  # benign, no BI-RADS 4
]
POSITIVE = np.array([False, False, False, True, True, True, False])
SCORE = np.array([0.10, 0.05, 0.11, 0.30, 0.90, 0.00, 0.00])


@pytest.fixture
def columns() -> dict[str, DowngradeColumn]:
    return {column.name: column for column in downgrade_table(CASES, POSITIVE, SCORE, 0.10)}


def counts(column: DowngradeColumn) -> tuple[int, int, int, int, int, int]:
    return (
        column.n,
        column.left_out,
        column.benign,
        column.benign_downgraded,
        column.cancers,
        column.cancers_missed,
    )


def test_columns_stand_side_by_side(columns: dict[str, DowngradeColumn]) -> None:
    assert [*columns] == ["MOME", "ADC", "Kaiser score", "MOME + ADC", "reader: senior"]


def test_the_model_downgrades_at_or_below_its_threshold(columns: dict[str, DowngradeColumn]) -> None:
    """Only BI-RADS 4 counts: the cancer of category 5 with score 0 is not missed, biopsy is not in question there."""
    assert counts(columns["MOME"]) == (5, 0, 3, 2, 2, 0)


def test_adc_downgrades_from_one_and_a_half_on(columns: dict[str, DowngradeColumn]) -> None:
    """1.50 is downgraded, 1.49 is not; the case without ADC stays out and is counted."""
    assert counts(columns["ADC"]) == (4, 1, 3, 2, 1, 1)


def test_kaiser_downgrades_below_five(columns: dict[str, DowngradeColumn]) -> None:
    assert counts(columns["Kaiser score"]) == (5, 0, 3, 2, 2, 1)


def test_model_and_adc_downgrade_what_both_do(columns: dict[str, DowngradeColumn]) -> None:
    """Together they miss no cancer that one of them sees, and need both values."""
    assert counts(columns["MOME + ADC"]) == (4, 1, 3, 1, 1, 0)


def test_a_reader_downgrades_below_category_four(columns: dict[str, DowngradeColumn]) -> None:
    """BI-RADS 0 is no answer, and who did not read a case neither spared nor missed it."""
    assert counts(columns["reader: senior"]) == (3, 2, 2, 1, 1, 0)


def test_intervals_are_exact(columns: dict[str, DowngradeColumn]) -> None:
    """Sensitivity: cancers still biopsied. Specificity: benign exams spared. Beside them, cancers among the spared."""
    adc = columns["ADC"]
    assert adc.sensitivity == exact(0, 1)
    assert adc.specificity == exact(2, 3)
    assert adc.cancers_among_downgraded == exact(1, 3)
    assert adc.json()["specificity"]["ci95"] == [adc.specificity.low, adc.specificity.high]


def test_an_exam_without_score_stays_out_of_the_models_columns() -> None:
    score = np.where(np.arange(7) == 0, NAN, SCORE)
    columns = {column.name: column for column in downgrade_table(CASES, POSITIVE, score, 0.10)}
    assert counts(columns["MOME"]) == (4, 1, 2, 1, 2, 0)
    assert counts(columns["MOME + ADC"]) == (3, 2, 2, 0, 1, 0)
    assert columns["ADC"].n == 4


def test_what_nobody_measured_has_no_column() -> None:
    """A cohort without ADC and readers has the model alone; without BI-RADS 4 the model's column is empty."""
    bare = [case(number, "4A") for number in range(7)]
    assert [column.name for column in downgrade_table(bare, POSITIVE, SCORE, 0.10)] == ["MOME"]
    (empty,) = downgrade_table([case(number, "2") for number in range(7)], POSITIVE, SCORE, 0.10)
    assert empty.n == 0 and np.isnan(empty.sensitivity.estimate)


def test_a_reader_may_score_from_0_to_100() -> None:
    read = [case(number, "4", junior=percent) for number, percent in enumerate((10, 49, 50, 90, 80, 70, 60))]
    junior = downgrade_table(read, POSITIVE, SCORE, 0.10)[-1]
    assert junior.name == "reader: junior" and junior.rule == "score below 50"
    assert counts(junior) == (7, 0, 4, 2, 3, 0)
