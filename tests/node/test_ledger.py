"""The ledger: what a PACS administrator and a restarted node may rely on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from mome_node.errors import LedgerError, StateFolderError
from mome_node.ledger import (
    Arrival,
    DeliveryState,
    EventKind,
    Ledger,
    Outcome,
    Receipt,
    ResultRecord,
    State,
)

STUDY, SERIES = "1.2.826.1", "1.2.826.1.1"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2025, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def forward(self, **duration: float) -> None:
        self.time += timedelta(**duration)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.sqlite", now=clock)
    yield opened
    opened.close()


def arrival(number: int, **changes: Any) -> Arrival:
    usual = {
        "sop_instance_uid": f"{SERIES}.{number}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.4",
        "series_instance_uid": SERIES,
        "study_instance_uid": STUDY,
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "modality": "MR",
        "image_type": "ORIGINAL\\PRIMARY",
        "patient": b"SYNTHETIC-1\x1fHOSPITAL",
        "sha256": f"{number:064x}",
        "size": 1000,
        "path": f"objects/00/{SERIES}.{number}.dcm",
        "calling_ae": "SCANNER1",
        "address": "10.0.0.5",
        "starts": True,
    }
    return Arrival(**{**usual, **changes})


def complete_study(ledger: Ledger, images: int = 3) -> str:
    """A study of which an analysis has begun; its name."""
    for number in range(images):
        ledger.record_instance(arrival(number))
    return ledger.begin_analysis(STUDY, "generation", "identity", up_to=images).id


# ------------------------------------------------------------------ reception
def test_a_study_is_what_was_received_of_it(ledger: Ledger, clock: Clock) -> None:
    """Counts and times come with every object, images apart from what starts nothing."""
    ledger.record_instance(arrival(1))
    clock.forward(seconds=5)
    ledger.record_instance(arrival(2))
    clock.forward(seconds=5)
    ledger.record_instance(arrival(3, starts=False))
    study = ledger.study(STUDY)
    assert (study.instances, study.images) == (3, 2)
    assert study.last_image_at == study.first_received + timedelta(seconds=5)
    assert study.last_received == study.first_received + timedelta(seconds=10)


def test_a_known_object_changes_nothing_but_its_count(ledger: Ledger, clock: Clock) -> None:
    """Otherwise a sender that repeats itself would keep a study incomplete for ever."""
    assert ledger.record_instance(arrival(1)) is Receipt.NEW
    clock.forward(seconds=60)
    assert ledger.record_instance(arrival(1)) is Receipt.SAME
    study = ledger.study(STUDY)
    assert (study.instances, study.last_image_at) == (1, study.first_received)


def test_our_own_results_start_nothing(ledger: Ledger) -> None:
    """A PACS that routes everything back would otherwise drive an endless loop."""
    analysis = complete_study(ledger)
    ours = ResultRecord(
        "2.25.1", "2.25.9", "1.2.840.10008.5.1.4.1.1.88.34", analysis, "sr", "report.dcm", ledger._now()
    )
    ledger.record_result(ours)
    ledger.record_instance(arrival(10, sop_instance_uid="2.25.1", series_instance_uid="2.25.8"))
    ledger.record_instance(arrival(11, sop_instance_uid="2.25.2", series_instance_uid="2.25.9"))
    assert [i.sop_instance_uid for i in ledger.instances(STUDY) if i.own] == ["2.25.1", "2.25.2"]
    assert not ledger.study(STUDY).has_new_images
    assert ledger.studies_with_new_images() == ()


def test_two_patients_in_one_study_are_noticed_without_their_names(ledger: Ledger, tmp_path: Path) -> None:
    """The study must not be analysed as if it were one woman's; and the ledger is no list of patients."""
    ledger.record_instance(arrival(1))
    ledger.record_instance(arrival(2, patient=b"SYNTHETIC-2\x1fHOSPITAL"))
    (event,) = ledger.events(STUDY)
    assert event.kind is EventKind.MIXED_PATIENTS
    ledger.close()
    assert b"SYNTHETIC" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


def test_the_same_patient_has_another_key_in_another_ledger(ledger: Ledger, tmp_path: Path) -> None:
    """A plain hash of a short patient number is found again by trying all numbers."""
    other = Ledger(tmp_path / "other" / "ledger.sqlite")
    for each in (ledger, other):
        each.record_instance(arrival(1))
    assert ledger.study(STUDY).patient_key != other.study(STUDY).patient_key


def test_the_outbox_holds_a_study_until_its_images_are_in_an_analysis(ledger: Ledger) -> None:
    """Killed between "received" and "enqueued", the study is still there for the next look; a late image returns it."""
    ledger.record_instance(arrival(1))
    (study,) = ledger.studies_with_new_images()
    ledger.begin_analysis(STUDY, "generation", "identity", up_to=study.last_image_seq)
    assert ledger.studies_with_new_images() == ()
    ledger.record_instance(arrival(2))
    assert [study.study_instance_uid for study in ledger.studies_with_new_images()] == [STUDY]


def test_an_image_that_came_meanwhile_is_not_taken_for_analysed(ledger: Ledger) -> None:
    """The analysis took the images up to a number; what arrived while it was being enqueued is new."""
    ledger.record_instance(arrival(1))
    seen = ledger.study(STUDY)
    ledger.record_instance(arrival(2))
    ledger.begin_analysis(STUDY, "generation", "identity", up_to=seen.last_image_seq)
    assert ledger.study(STUDY).has_new_images


def test_completion_can_be_asked_for_only_where_images_wait(ledger: Ledger) -> None:
    """Otherwise the administrator would wait for something that never comes."""
    with pytest.raises(LedgerError, match="has no study"):
        ledger.request_completion(STUDY)
    complete_study(ledger)
    with pytest.raises(LedgerError, match="jobs show"):
        ledger.request_completion(STUDY)
    ledger.record_instance(arrival(9))
    ledger.request_completion(STUDY)
    assert ledger.study(STUDY).complete_requested_at is not None


def test_what_a_killed_receiver_left_open_is_closed_by_its_next_start(ledger: Ledger) -> None:
    """Else its studies would wait for an association that ended long ago."""
    ledger.record_instance(arrival(1, association="receiver-0/1/1"), receiver="receiver-0")
    ledger.record_instance(arrival(2, association="receiver-1/1/1"), receiver="receiver-1")
    ledger.forget_associations("receiver-0")
    (left,) = ledger.open_associations(STUDY)
    assert left.receiver == "receiver-1"
    ledger.association_ended("receiver-1/1/1")
    assert ledger.open_associations(STUDY) == ()


# ------------------------------------------------------------------ analyses and deliveries
def test_beginning_an_analysis_twice_is_once(ledger: Ledger) -> None:
    """The orchestrator may be killed anywhere and asks again."""
    first = complete_study(ledger)
    assert complete_study(ledger) == first
    assert len(ledger.analyses(STUDY)) == 1
    assert ledger.analysis(first).state is State.QUEUED


def test_a_stage_that_was_killed_counts_its_attempts(ledger: Ledger, clock: Clock) -> None:
    """The timeline shows how long each stage took, and that it needed a second attempt."""
    analysis = complete_study(ledger)
    ledger.stage_started(analysis, "inference")
    clock.forward(seconds=100)
    ledger.stage_started(analysis, "inference")
    clock.forward(seconds=7)
    ledger.stage_ended(analysis, "inference")
    (stage,) = ledger.stages(analysis)
    assert (stage.attempts, stage.seconds) == (2, 7)
    assert (ledger.analysis(analysis).state, ledger.analysis(analysis).stage) == (State.RUNNING, "inference")


def test_a_delivery_tells_every_attempt_and_what_is_next(ledger: Ledger, clock: Clock) -> None:
    """`jobs show` must say what failed, when it is tried again, and in the end that it arrived."""
    analysis = complete_study(ledger)
    ledger.set_outcome(analysis, Outcome.ANALYSED, {"score": 0.25})
    ledger.open_delivery(analysis, "pacs")
    next_try = clock.time + timedelta(seconds=30)
    ledger.attempt_failed(analysis, "pacs", "Nothing listens at PACS. Start it.", next_try_at=next_try)
    (delivery,) = ledger.deliveries(analysis)
    assert (delivery.state, delivery.attempts, delivery.next_try_at) == (DeliveryState.WAITING, 1, next_try)
    assert ledger.analysis(analysis).state is State.DELIVERING

    ledger.delivered(analysis, "pacs")
    ledger.delivered(analysis, "pacs")
    assert ledger.analysis(analysis).state is State.DELIVERED
    told = [event.words for event in ledger.events(STUDY, kinds=(EventKind.DELIVERY,))]
    assert told == ["waiting: Nothing listens at PACS. Start it.", "delivered"]


def test_delivered_means_everywhere(ledger: Ledger) -> None:
    """With one of two destinations still without it, the study is not done."""
    analysis = complete_study(ledger)
    for destination in ("pacs", "research"):
        ledger.open_delivery(analysis, destination)
    ledger.delivered(analysis, "pacs")
    assert ledger.analysis(analysis).state is State.DELIVERING
    ledger.cancel_delivery(analysis, "research", "no longer configured")
    ledger.delivered(analysis, "pacs")
    assert [d.state for d in ledger.deliveries(analysis)] == [DeliveryState.DELIVERED, DeliveryState.CANCELLED]


def test_a_refused_study_never_ends_as_delivered(ledger: Ledger) -> None:
    """ "AI negative" and "AI never ran" must not look alike in any list."""
    analysis = complete_study(ledger)
    ledger.set_outcome(analysis, Outcome.NOT_ANALYSED, {}, "NO_DCE: no dynamic series.")
    ledger.open_delivery(analysis, "pacs")
    ledger.delivered(analysis, "pacs")
    assert ledger.analysis(analysis).state is State.NOT_ANALYSED


def test_a_delivery_without_a_next_try_is_a_visible_failure_until_a_person_retries(
    ledger: Ledger, clock: Clock
) -> None:
    """Nothing ends in silence; and the retry starts with its full time."""
    analysis = complete_study(ledger)
    opened = ledger.open_delivery(analysis, "pacs").created_at
    ledger.attempt_failed(analysis, "pacs", "PACS answered C000.", next_try_at=None)
    failed = ledger.analysis(analysis)
    assert (failed.state, failed.words) == (State.FAILED, "pacs: PACS answered C000.")
    clock.forward(hours=80)
    assert ledger.request_retry(STUDY) == "the result is sent again to pacs."
    (delivery,) = ledger.deliveries(analysis)
    assert (delivery.state, delivery.attempts) == (DeliveryState.WAITING, 0)
    assert delivery.created_at > opened
    assert ledger.analysis(analysis).state is State.DELIVERING


def test_a_study_that_was_parked_returns_to_the_outbox_when_a_person_retries(ledger: Ledger) -> None:
    """The study that kills the computation each time is parked; tried again, it starts with a clean count."""
    analysis = complete_study(ledger)
    assert [ledger.count_crash(STUDY) for _ in range(3)] == [1, 2, 3]
    ledger.set_state(analysis, State.PARKED, "Three times out of memory.")
    assert ledger.request_retry(STUDY) == "the study is analysed again with all images that are there."
    (study,) = ledger.studies_with_new_images()
    assert (study.crashes, study.retries) == (0, 1)
    assert study.complete_requested_at is not None


def test_only_what_failed_can_be_retried(ledger: Ledger) -> None:
    """A second result of the same images is another wish, with another command."""
    ledger.record_instance(arrival(1))
    with pytest.raises(LedgerError, match="jobs complete"):
        ledger.request_retry(STUDY)
    complete_study(ledger)
    with pytest.raises(LedgerError, match="jobs show"):
        ledger.request_retry(STUDY)


# ------------------------------------------------------------------ the history
def test_repeated_events_are_counted_within_the_hour(ledger: Ledger, clock: Clock) -> None:
    """An unknown scanner that calls every second must not push everything else out of sight."""
    for _ in range(100):
        ledger.note(EventKind.ASSOCIATION_REFUSED, "unknown title", peer="X at 10.0.0.9")
        clock.forward(seconds=1)
    clock.forward(hours=2)
    ledger.note(EventKind.ASSOCIATION_REFUSED, "unknown title", peer="X at 10.0.0.9")
    assert [event.times for event in ledger.events()] == [100, 1]


def test_every_change_of_state_is_in_the_history(ledger: Ledger) -> None:
    """A state that is set again, as after a restart, is no change."""
    analysis = complete_study(ledger)
    for state, words in (
        (State.RUNNING, ""),
        (State.RUNNING, ""),
        (State.FAILED, "out of memory"),
        (State.RUNNING, ""),
    ):
        ledger.set_state(analysis, state, words)
    told = [event.words for event in ledger.events(STUDY, kinds=(EventKind.STATE,))]
    assert told == ["queued: the study is complete.", "running", "failed: out of memory", "running"]


# ------------------------------------------------------------------ the file
WRITER = """
import sys
from pathlib import Path
from mome_node.ledger import Ledger
from tests.node.test_ledger import arrival
ledger = Ledger(Path(sys.argv[1]))
for number in range(50):
    ledger.record_instance(arrival(int(sys.argv[2]) + number))
"""


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    """Receivers, orchestrator and the command line hold the same file open; nobody is told that it is locked."""
    file = tmp_path / "ledger.sqlite"
    lines = [[sys.executable, "-c", WRITER, str(file), start] for start in ("0", "1000")]
    writers = [subprocess.Popen(line, cwd=Path(__file__).parents[2]) for line in lines]
    assert [writer.wait(30) for writer in writers] == [0, 0]
    ledger = Ledger(file)
    assert ledger.study(STUDY).instances == len(ledger.instances(STUDY)) == 100


def test_what_was_recorded_is_there_after_reopening(tmp_path: Path) -> None:
    """Also the times: aware and in UTC, whatever SQLite made of them."""
    first = Ledger(tmp_path / "ledger.sqlite")
    analysis = complete_study(first)
    first.set_outcome(analysis, Outcome.ANALYSED, {"score": 0.25})
    before = first.instances(STUDY)
    first.close()
    second = Ledger(tmp_path / "ledger.sqlite")
    assert second.instances(STUDY) == before
    assert before[0].received_at.tzinfo is UTC
    assert json.loads(second.analysis(analysis).facts) == {"score": 0.25}


def test_the_file_survives_power_loss_by_its_settings(ledger: Ledger) -> None:
    """WAL with synchronous FULL: a row whose transaction returned is on disk; and references are checked."""
    with ledger._read() as connection:
        pragmas = [
            connection.execute(text(f"PRAGMA {p}")).scalar() for p in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert pragmas == ["wal", 2, 1]


def test_a_ledger_of_a_newer_software_is_left_alone(tmp_path: Path) -> None:
    """Writing old rows into new tables would break it for both."""
    file = tmp_path / "ledger.sqlite"
    Ledger(file).close()
    with create_engine(f"sqlite:///{file}").begin() as connection:
        connection.execute(text("UPDATE about SET schema_version = 99"))
    with pytest.raises(StateFolderError, match="version 99"):
        Ledger(file)


def test_a_ledger_that_cannot_be_opened_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    file.write_bytes(b"this is no database, and long enough to be looked at" * 100)
    with pytest.raises(StateFolderError, match="writable"):
        Ledger(file)
