"""Points are sealed before a test cohort is opened, and every opening is written down."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mome.cohort import Cohort
from mome.config import PreprocessingConfig
from mome.evaluation.seal import OPENINGS, SealError, check, open_test, seal

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
TUNING = Cohort("tuning", False, PreprocessingConfig(), {}, 1.0, (), identity="a" * 64)
TEST = replace(TUNING, name="test", identity="b" * 64)
POINTS = [{"name": "candidate for downgrade", "threshold": 0.2, "key": {"sequences": ["dce"]}}]
CARD: dict[str, Any] = {
    "operating_points": POINTS,
    "calibration": None,
    "seal": seal(POINTS, tensors="w", cohort=TUNING, now=NOON),
}
LATER = {"tensors": "w", "test": TEST, "opened": NOON + timedelta(seconds=1)}


def test_a_sealed_card_is_accepted_after_the_file_was_written_and_read() -> None:
    said = check(json.loads(json.dumps(CARD, sort_keys=True)), **LATER)
    assert (said["sealed"], said["cohort"]["name"]) == ("2026-05-04T12:00:00.000+00:00", "tuning")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seal": None}, "no sealed operating point"),
        ({"operating_points": [{**POINTS[0], "threshold": 0.3}]}, "changed after sealing"),
        ({"operating_points": []}, "changed after sealing"),
        ({"calibration": {"curves": []}}, "changed after sealing"),
        ({"seal": {**CARD["seal"], "sealed": "2026-05-01T12:00:00.000+00:00"}}, "changed after sealing"),
        ({"seal": {"hash": "x"}}, "cannot be read"),
    ],
)
def test_nothing_that_the_seal_covers_may_change(changes: dict[str, Any], said: str) -> None:
    """Above all no threshold, after the test table was seen."""
    with pytest.raises(SealError, match=said):
        check(CARD | changes, **LATER)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tensors": "other"}, "of other weights"),
        ({"test": TUNING}, "the cohort that the points were chosen on"),
        ({"opened": NOON}, "not before the evaluation"),
        ({"opened": NOON - timedelta(days=1)}, "not before the evaluation"),
    ],
)
def test_a_seal_is_for_these_weights_another_cohort_and_a_later_time(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SealError, match=said):
        check(CARD, **{**LATER, **changes})


def test_every_opening_is_counted(tmp_path: Path) -> None:
    """Weights that were tried until they pleased have many openings behind them: the report says so."""
    arguments: dict[str, Any] = {"places": [tmp_path], "now": NOON}
    assert open_test(TEST, weights="f1", tensors="w", **arguments).before == 0
    assert open_test(TUNING, weights="f1", tensors="w", **arguments).before == 0  # another cohort
    open_test(TEST, weights="f2", tensors="v", **arguments)
    third = open_test(TEST, weights="f3", tensors="w", **arguments)  # the same network under another card
    assert (third.before, third.before_with_these) == (2, 1)
    assert third.words == "This test cohort was opened 2 times before, 1 of them with these weights."
    lines = [json.loads(line) for line in (tmp_path / OPENINGS).read_text().splitlines()]
    assert [line["weights_sha256"] for line in lines] == ["f1", "f1", "f2", "f3"]


def test_where_the_cohort_cannot_be_written_to_the_record_lies_elsewhere(tmp_path: Path) -> None:
    """All records are counted, so a copy of a cohort on a read-only disk starts no new count."""
    beside, gone = tmp_path / "beside", tmp_path / "gone"
    beside.mkdir()
    first = open_test(TEST, weights="f", tensors="w", places=[gone, beside])
    second = open_test(TEST, weights="f", tensors="w", places=[gone, beside])
    assert (first.place, second.before) == (beside / OPENINGS, 1)
    with pytest.raises(SealError, match="cannot be written down"):
        open_test(TEST, weights="f", tensors="w", places=[gone])


def test_a_damaged_record_is_no_empty_one(tmp_path: Path) -> None:
    (tmp_path / OPENINGS).write_text("not a record\n")
    with pytest.raises(SealError, match="never begin a new one"):
        open_test(TEST, weights="f", tensors="w", places=[tmp_path])
