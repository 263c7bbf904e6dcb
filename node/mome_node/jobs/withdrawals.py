"""Withdrawals: a rejection note to a destination, a look whether it hid the objects, and a page where it did not."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from dbos import DBOS

from .. import pipeline
from ..delivery import query, storage_scu
from ..delivery.storage_scu import ObjectOutcome
from ..errors import DeliveryError, NodeError
from ..ledger import DeliveryRecord, DeliveryState, EventKind
from .deliveries import RETRY, next_wait
from .engine import RECOVERIES, process, step, words_of
from .studies import result_record

log = logging.getLogger(__name__)


@DBOS.workflow(max_recovery_attempts=RECOVERIES)
def withdraw(analysis: str, destination: str) -> None:
    """Take the objects of an analysis back from one destination, or tell a person that they still stand there."""
    try:
        while (wait_s := _send_note(analysis, destination)) is not None:
            DBOS.sleep(wait_s)
        DBOS.sleep(_time_to_hide(destination))
        while (wait_s := _look(analysis, destination)) is not None:
            DBOS.sleep(wait_s)
    except Exception as error:
        _give_up_withdrawal(analysis, destination, words_of(error))


@step
def _send_note(analysis: str, name: str) -> float | None:
    """The rejection note. Seconds until the next attempt, or None when there is none."""
    return _attempt(analysis, name, _note)


@step
def _time_to_hide(name: str) -> float:
    return process().settings.destination(name).withdrawal_check_after_s


@step
def _look(analysis: str, name: str) -> float | None:
    """Does the destination still show what was rejected? Seconds until the next attempt, or None."""
    return _attempt(analysis, name, _conclude)


def _attempt(analysis: str, name: str, body: Callable[[DeliveryRecord], None]) -> float | None:
    ledger = process().ledger
    with process().locks[analysis.split("/", maxsplit=1)[0]]:
        delivery = ledger.delivery(analysis, name)
        if delivery.state is not DeliveryState.WITHDRAWING:
            return None
        try:
            body(delivery)
        except NodeError as error:
            final = isinstance(error, DeliveryError) and error.final
            wait_s = None if final else next_wait(name, delivery.attempts, delivery.created_at)
            at = None if wait_s is None else datetime.now(UTC) + timedelta(seconds=wait_s)
            words = str(error) if at else f"{error} {RETRY}"
            ledger.withdrawal_failed(analysis, name, words, next_try_at=at)
            return wait_s
    return None


def _note(delivery: DeliveryRecord) -> None:
    """The rejection note, after a look at what the PACS shows: only what was seen before can be seen to be gone.

    A PACS that takes no Key Object Selection at all is told by the page.
    """
    seen = _seen_before(delivery)
    if not seen.exists():
        try:
            visible = _still_shown(delivery)
        except query.QueryRefused:
            visible = 0
        if visible:
            seen.parent.mkdir(parents=True, exist_ok=True)
            seen.touch()
    _made_and_sent(delivery, "rejection")


def _seen_before(delivery: DeliveryRecord) -> Path:
    """A mark in the state folder that outlives a kill between the look and the note."""
    name = hashlib.sha256(f"{delivery.analysis_id}\n{delivery.destination}\n{delivery.created_at}".encode()).hexdigest()
    return process().settings.state_folder / "withdrawals" / name


def _still_shown(delivery: DeliveryRecord) -> int:
    """How many of the rejected objects the destination answers. Raises QueryRefused, DeliveryError."""
    rejected = process().ledger.delivered_objects(delivery.analysis_id, delivery.destination)
    study = process().ledger.analysis(delivery.analysis_id).study_instance_uid
    settings = process().settings
    series = {one.series_instance_uid for one in rejected}
    shown = query.shown(settings.destination(delivery.destination), study, series, settings.receiver.ae_title)
    return sum(one.sop_instance_uid in shown for one in rejected)


def _conclude(delivery: DeliveryRecord) -> None:
    """The end of a withdrawal: hidden, or a page that says it, and an alarm."""
    ledger, name = process().ledger, delivery.destination
    rejected = ledger.delivered_objects(delivery.analysis_id, name)
    study = ledger.analysis(delivery.analysis_id).study_instance_uid
    try:
        left = _still_shown(delivery)
        words = f"it still shows {left} of {len(rejected)} objects"
        if not left and not _seen_before(delivery).exists():
            left, words = len(rejected), "it never answered a query with them, so nobody knows what it shows"
    except query.QueryRefused as error:
        left, words = len(rejected), f"it does not say what it shows ({error.message})"
    if not left:
        hidden = f"It has the rejection note and shows none of {len(rejected)} objects."
        ledger.withdrawn(delivery.analysis_id, name, hidden)
        _seen_before(delivery).unlink(missing_ok=True)
        return
    page = _made_and_sent(delivery, "withdrawn")
    if not page.sent:
        raise DeliveryError(page.words, remedy="", final=True)
    told = f"A withdrawn result may still be read: {words}. A page WITHDRAWN was sent there; hide or delete the result."
    log.error("study %s, %s: %s", study, name, told)
    ledger.note(EventKind.ALARM, told, study=study, peer=name)
    ledger.withdrawn(delivery.analysis_id, name, told)
    _seen_before(delivery).unlink(missing_ok=True)


def _made_and_sent(delivery: DeliveryRecord, kind: Literal["rejection", "withdrawn"]) -> ObjectOutcome:
    """Make the rejection note or the page, the same on every attempt, and send it. Raises NodeError where it fails."""
    ledger, settings = process().ledger, process().settings
    destination = settings.destination(delivery.destination)
    rejected = ledger.delivered_objects(delivery.analysis_id, destination.name)
    paths = [Path(one.path) for one in rejected if Path(one.path).exists()]
    if not paths:
        raise DeliveryError(
            "The node no longer has the objects that are to be withdrawn.",
            remedy="Hide or delete them on the PACS by hand.",
            final=True,
        )
    opened = f"{delivery.created_at:%Y%m%d%H%M%S%f}"
    language = settings.variant(destination).language
    wanted = pipeline.Withdrawal(
        kind, delivery.reason, f"{destination.name}-{opened}", _local(delivery.created_at), language
    )
    place = pipeline.write_withdrawal(wanted, paths, settings)
    ledger.record_result(result_record(place, delivery.analysis_id))
    (sent,) = storage_scu.send(destination, [place], settings.receiver.ae_title)
    if not sent.sent and not sent.class_refused:
        raise DeliveryError(sent.words, remedy="", final=sent.final)
    return sent


def _local(moment: datetime) -> str:
    return moment.astimezone().isoformat(timespec="seconds")


@step
def _give_up_withdrawal(analysis: str, name: str, words: str) -> None:
    process().ledger.withdrawal_failed(analysis, name, f"{words} {RETRY}", next_try_at=None)
