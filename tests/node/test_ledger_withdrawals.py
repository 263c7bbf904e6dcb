"""The ledger on results that are taken back, replaced or held: what stands where, and what a person can still do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from mome_node.errors import LedgerError
from mome_node.ledger import PERHAPS, DeliveredObject, DeliveryState, EventKind, Ledger, Outcome, ResultRecord, State
from tests.node.test_ledger import STUDY, Clock, arrival, clock, complete_study, ledger

__all__ = ["clock", "ledger"]  # fixtures


def arrives(
    ledger: Ledger, analysis: str, destination: str = "pacs", *, complete: bool = True, reopen: bool = True
) -> None:
    """The result of an analysis reaches a destination: its report, and with `complete` everything."""
    if reopen:
        ledger.open_delivery(analysis, destination)
    report = DeliveredObject(
        analysis, destination, f"2.25.{len(ledger.analyses(STUDY))}", "2.25.9", "1.2.840.10008.5.1.4.1.1.88.34",
        "/results/report.dcm", 0, "", ledger._now(),
    )  # fmt: skip
    ledger.objects_delivered([report])
    if complete:
        ledger.delivered(analysis, destination)


def delivered_study(ledger: Ledger) -> str:
    analysis = complete_study(ledger)
    ledger.set_outcome(analysis, Outcome.ANALYSED, {})
    arrives(ledger, analysis)
    return analysis


def newer(ledger: Ledger, older: str, clock: Clock) -> str:
    """An analysis that takes the place of `older`, as yet without deliveries."""
    clock.forward(minutes=5)
    analysis = ledger.begin_analysis(STUDY, "generation 2", "identity", up_to=3).id
    ledger.set_outcome(analysis, Outcome.ANALYSED, {})
    ledger.set_state(older, State.SUPERSEDED, "A newer analysis took its place.")
    return analysis


def states(ledger: Ledger, analysis: str) -> dict[str, DeliveryState]:
    return {delivery.destination: delivery.state for delivery in ledger.deliveries(analysis)}


# ------------------------------------------------------------------ a person withdraws
def test_a_withdrawn_result_is_withdrawn_everywhere_and_its_uids_are_used_up(ledger: Ledger) -> None:
    """An archive that hid an object must not take its UID again: the next result counts the withdrawal."""
    analysis = delivered_study(ledger)
    assert ledger.request_withdrawal(STUDY, "patient-safety") == "the results are withdrawn from pacs (patient-safety)."
    (delivery,) = ledger.deliveries_in(DeliveryState.WITHDRAWING)
    assert delivery.reason == "patient-safety"
    assert ledger.study(STUDY).withdrawals == 1

    ledger.withdrawn(analysis, "pacs", "It has the rejection note.")
    assert states(ledger, analysis) == {"pacs": DeliveryState.WITHDRAWN}
    assert ledger.analysis(analysis).state is State.WITHDRAWN


def test_a_result_that_arrived_in_part_is_withdrawn_too(ledger: Ledger) -> None:
    """The report stands in the PACS although the overlay was refused: what stands there can be read."""
    analysis = complete_study(ledger)
    arrives(ledger, analysis, complete=False)
    ledger.attempt_failed(analysis, "pacs", "It refused the overlay.", next_try_at=None)
    ledger.request_withdrawal(STUDY, "wrong-patient")
    assert states(ledger, analysis) == {"pacs": DeliveryState.WITHDRAWING}


def test_what_waits_is_not_sent_any_more_once_withdrawn(ledger: Ledger) -> None:
    analysis = complete_study(ledger)
    ledger.open_delivery(analysis, "research")
    arrives(ledger, analysis)
    ledger.request_withdrawal(STUDY, "patient-safety")
    assert states(ledger, analysis) == {"pacs": DeliveryState.WITHDRAWING, "research": DeliveryState.CANCELLED}


def test_there_is_nothing_to_withdraw_before_a_delivery(ledger: Ledger) -> None:
    complete_study(ledger)
    with pytest.raises(LedgerError, match="being analysed"):
        ledger.request_withdrawal(STUDY, "patient-safety")
    ledger.set_state(ledger.analyses(STUDY)[0].id, State.FAILED, "out of memory")
    with pytest.raises(LedgerError, match="No destination has a result"):
        ledger.request_withdrawal(STUDY, "patient-safety")


def test_a_note_that_never_arrives_raises_an_alarm_and_can_be_tried_again(ledger: Ledger, clock: Clock) -> None:
    """The result still stands in the PACS, and somebody wanted it gone."""
    analysis = delivered_study(ledger)
    ledger.request_withdrawal(STUDY, "patient-safety")
    later = clock.time + timedelta(minutes=1)
    ledger.withdrawal_failed(analysis, "pacs", "Nothing listens.", next_try_at=later)
    assert ledger.events(kinds=(EventKind.ALARM,)) == ()
    ledger.withdrawal_failed(analysis, "pacs", "Nothing listens.", next_try_at=None)
    (alarm,) = ledger.events(kinds=(EventKind.ALARM,))
    assert "still stands there" in alarm.words
    assert ledger.request_retry(STUDY) == "the results are withdrawn again from pacs."
    assert states(ledger, analysis) == {"pacs": DeliveryState.WITHDRAWING}


def test_after_a_withdrawal_a_person_can_have_the_study_analysed_again(ledger: Ledger) -> None:
    analysis = delivered_study(ledger)
    ledger.request_withdrawal(STUDY, "patient-safety")
    ledger.withdrawn(analysis, "pacs", "Hidden.")
    ledger.request_retry(STUDY)
    (study,) = ledger.studies_with_new_images()
    assert study.withdrawals == 1


def test_a_retry_does_not_forget_a_withdrawal_that_is_under_way(ledger: Ledger) -> None:
    """The report "not analysed" is being taken back while somebody has the study analysed again."""
    analysis = complete_study(ledger)
    ledger.set_outcome(analysis, Outcome.NOT_ANALYSED, {}, "NO_DCE")
    arrives(ledger, analysis)
    ledger.request_withdrawal(STUDY, "wrong-patient")
    ledger.request_retry(STUDY)
    assert states(ledger, analysis) == {"pacs": DeliveryState.WITHDRAWING}


def test_a_withdrawn_result_is_not_sent_to_a_place_that_had_refused_it(ledger: Ledger) -> None:
    analysis = complete_study(ledger)
    ledger.open_delivery(analysis, "research")
    arrives(ledger, analysis)
    ledger.attempt_failed(analysis, "research", "It refused.", next_try_at=None)
    ledger.request_withdrawal(STUDY, "wrong-patient")
    assert states(ledger, analysis) == {"pacs": DeliveryState.WITHDRAWING, "research": DeliveryState.CANCELLED}


def test_a_result_that_arrives_while_it_is_withdrawn_is_withdrawn_there_too(ledger: Ledger) -> None:
    """The command and the sending are different processes: the objects were on the wire already."""
    analysis = complete_study(ledger)
    ledger.open_delivery(analysis, "research")
    arrives(ledger, analysis)
    ledger.request_withdrawal(STUDY, "wrong-patient")
    arrives(ledger, analysis, "research", reopen=False)
    assert states(ledger, analysis) == {"pacs": DeliveryState.WITHDRAWING, "research": DeliveryState.WITHDRAWING}
    ledger.withdrawn(analysis, "research", "Hidden.")
    assert ledger.analysis(analysis).state is not State.DELIVERED


def test_what_was_sent_and_never_answered_for_is_withdrawn_too(ledger: Ledger) -> None:
    """The node was killed, or the answer got lost, after the PACS had stored the object."""
    analysis = complete_study(ledger)
    ledger.open_delivery(analysis, "pacs")
    perhaps = DeliveredObject(analysis, "pacs", "2.25.1", "2.25.9", "1.2", "/r.dcm", PERHAPS, "", ledger._now())
    ledger.objects_delivered([perhaps])
    ledger.set_state(analysis, State.FAILED, "gave up")
    ledger.request_withdrawal(STUDY, "patient-safety")
    assert states(ledger, analysis) == {"pacs": DeliveryState.WITHDRAWING}


def test_what_a_pacs_refused_is_not_there(ledger: Ledger) -> None:
    analysis = complete_study(ledger)
    ledger.open_delivery(analysis, "pacs")
    perhaps = DeliveredObject(analysis, "pacs", "2.25.1", "2.25.9", "1.2", "/r.dcm", PERHAPS, "", ledger._now())
    ledger.objects_delivered([perhaps])
    ledger.objects_refused(analysis, "pacs", ["2.25.1"])
    ledger.attempt_failed(analysis, "pacs", "It refused.", next_try_at=None)
    with pytest.raises(LedgerError, match="No destination has a result"):
        ledger.request_withdrawal(STUDY, "patient-safety")


def test_a_withdrawal_that_failed_can_be_asked_for_again(ledger: Ledger) -> None:
    analysis = delivered_study(ledger)
    ledger.request_withdrawal(STUDY, "patient-safety")
    ledger.withdrawal_failed(analysis, "pacs", "Nothing listens.", next_try_at=None)
    ledger.request_withdrawal(STUDY, "wrong-patient")
    (delivery,) = ledger.deliveries_in(DeliveryState.WITHDRAWING)
    assert delivery.reason == "wrong-patient"


def test_nothing_that_waits_to_be_analysed_follows_a_withdrawal(ledger: Ledger) -> None:
    """Somebody asked for another try, thought again, and withdrew: no new result may come of the first wish."""
    analysis = delivered_study(ledger)
    ledger.set_state(analysis, State.PARKED, "Images came late.")
    ledger.request_retry(STUDY)
    assert ledger.studies_with_new_images()
    ledger.request_withdrawal(STUDY, "patient-safety")
    assert ledger.studies_with_new_images() == ()
    study = ledger.study(STUDY)
    assert study.taken_retries == study.retries


def test_a_wish_is_fulfilled_once(ledger: Ledger) -> None:
    """Later images do not come with the consent of whoever asked for an earlier try."""
    analysis = complete_study(ledger)
    ledger.set_state(analysis, State.FAILED, "out of memory")
    ledger.request_retry(STUDY)
    study = ledger.study(STUDY)
    assert study.retries > study.taken_retries
    ledger.begin_analysis(STUDY, "generation", "identity", up_to=3, retries=study.retries)
    assert ledger.study(STUDY).taken_retries == study.retries


# ------------------------------------------------------------------ a newer result
def test_an_older_result_leaves_a_destination_when_the_newer_one_is_there(ledger: Ledger, clock: Clock) -> None:
    """Not before: between the two the reader would have none."""
    old = delivered_study(ledger)
    new = newer(ledger, old, clock)
    ledger.open_delivery(new, "pacs")
    assert states(ledger, old) == {"pacs": DeliveryState.DELIVERED}
    arrives(ledger, new)
    assert states(ledger, old) == {"pacs": DeliveryState.WITHDRAWING}
    assert states(ledger, new) == {"pacs": DeliveryState.DELIVERED}

    ledger.withdrawn(old, "pacs", "Hidden.")
    assert [analysis.state for analysis in ledger.analyses(STUDY)] == [State.SUPERSEDED, State.DELIVERED]


def test_an_older_result_stays_where_the_newer_one_does_not_go(ledger: Ledger, clock: Clock) -> None:
    """Each destination keeps one current result of its own."""
    old = delivered_study(ledger)
    arrives(ledger, old, "research")
    new = newer(ledger, old, clock)
    arrives(ledger, new, "pacs")
    assert states(ledger, old) == {"pacs": DeliveryState.WITHDRAWING, "research": DeliveryState.DELIVERED}


def test_a_failure_report_that_is_out_is_replaced_when_the_study_is_tried_again(ledger: Ledger) -> None:
    """ "Not analysed" must not stand beside the result that came after all: the next result is another one."""
    analysis = complete_study(ledger)
    ledger.set_outcome(analysis, Outcome.FAILED, {}, "out of memory")
    arrives(ledger, analysis)
    assert ledger.analysis(analysis).state is State.FAILED
    ledger.request_retry(STUDY)
    assert ledger.study(STUDY).withdrawals == 1
    assert states(ledger, analysis) == {"pacs": DeliveryState.DELIVERED}


# ------------------------------------------------------------------ many failures
def test_only_failures_count_as_failures(ledger: Ledger, clock: Clock) -> None:
    """The limit holds back a flood of "not analysed", never a result."""
    hour_ago = clock.time - timedelta(hours=1)
    delivered_study(ledger)
    assert ledger.failures_sent("pacs", hour_ago) == 0
    ledger.record_instance(arrival(9, study_instance_uid="1.2.826.2"))
    failed = ledger.begin_analysis("1.2.826.2", "generation", "identity", up_to=9).id
    ledger.set_outcome(failed, Outcome.NOT_ANALYSED, {}, "NO_DCE")
    ledger.open_delivery(failed, "pacs")
    assert ledger.failures_sent("pacs", hour_ago) == 1
    assert ledger.failures_sent("research", hour_ago) == 0
    assert ledger.failures_sent("pacs", clock.time) == 0


def test_a_held_report_waits_for_a_person(ledger: Ledger) -> None:
    """Who has mended the cause wants a result, and not the reports of failures that were held."""
    analysis = complete_study(ledger)
    ledger.set_outcome(analysis, Outcome.NOT_ANALYSED, {}, "NO_DCE")
    ledger.open_delivery(analysis, "pacs", held="Three failed within an hour.")
    assert states(ledger, analysis) == {"pacs": DeliveryState.HELD}
    assert ledger.analysis(analysis).state is State.PARKED
    assert ledger.deliveries_in(DeliveryState.WAITING) == ()
    assert ledger.request_retry(STUDY) == "the study is analysed again with all images that are there."
    assert states(ledger, analysis) == {"pacs": DeliveryState.CANCELLED}


# ------------------------------------------------------------------ the file
def test_a_ledger_of_the_first_version_learns_of_withdrawals(ledger: Ledger, clock: Clock) -> None:
    """An update of the software finds the ledger that the hospital has: what it sent can be withdrawn."""
    analysis = delivered_study(ledger)
    ledger.record_result(ResultRecord("2.25.1", "2.25.9", "1.2", analysis, "sr", "/results/report.dcm", ledger._now()))
    file = str(ledger._engine.url.database)
    ledger.close()
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE delivered_objects"))
        connection.execute(text("ALTER TABLE deliveries DROP COLUMN reason"))
        connection.execute(text("ALTER TABLE studies DROP COLUMN taken_retries"))
        connection.execute(text("UPDATE about SET schema_version = 1"))
    engine.dispose()

    opened = Ledger(Path(file), now=clock)
    assert [one.sop_instance_uid for one in opened.delivered_objects(analysis, "pacs")] == ["2.25.1"]
    opened.request_withdrawal(STUDY, "patient-safety")
    assert states(opened, analysis) == {"pacs": DeliveryState.WITHDRAWING}
    opened.close()
