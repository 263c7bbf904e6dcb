"""Deliveries: the objects of one result to one destination, again and again, until it has them or a person must act."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pydicom
from dbos import DBOS

from ..analysis.inference import whole_file
from ..delivery import storage_scu
from ..delivery.storage_scu import ObjectOutcome
from ..errors import DeliveryError, NodeError
from ..ledger import PERHAPS, DeliveredObject, DeliveryState
from ..results.objects import save
from ..results.plainer import plainer
from ..settings import Destination, FurtherObject
from .engine import RECOVERIES, process, step, words_of
from .studies import result_record

RETRY = "Then: `mome-node jobs retry`."
KEY_OBJECTS = "key_objects"


@DBOS.workflow(max_recovery_attempts=RECOVERIES)
def deliver(analysis: str, destination: str) -> None:
    """Send the results of an analysis to one destination, and again, until it has them or a person must act."""
    try:
        while (wait_s := _attempt(analysis, destination)) is not None:
            DBOS.sleep(wait_s)
    except Exception as error:
        _give_up_delivery(analysis, destination, words_of(error))


@step
def _attempt(analysis: str, name: str) -> float | None:
    """One attempt. Seconds until the next one, or None when there is none."""
    ledger = process().ledger
    with process().locks[analysis.split("/", maxsplit=1)[0]]:
        delivery = ledger.delivery(analysis, name)
        if delivery.state is not DeliveryState.WAITING:
            return None
        words, final = _send(analysis, name)
        if not words:
            return None
        wait_s = None if final else next_wait(name, delivery.attempts, delivery.created_at)
        at = None if wait_s is None else datetime.now(UTC) + timedelta(seconds=wait_s)
        ledger.attempt_failed(analysis, name, words if at else f"{words} {RETRY}", next_try_at=at)
        return wait_s


def _send(analysis: str, name: str) -> tuple[str, bool]:
    """What went wrong in words (empty: it needs no further attempt), and whether trying again cannot help."""
    ledger, settings = process().ledger, process().settings
    if name not in {destination.name for destination in settings.destinations}:
        ledger.destination_is_gone(analysis, name, "The configuration no longer has this destination.")
        return "", True
    try:
        destination = settings.destination(name)
        files = sorted((_results_folder(analysis) / settings.variant(destination).name).glob("*.dcm"))
        if not files:
            words = f"The result was not made as {name} wants it since its settings changed. {RETRY}"
            ledger.not_made(analysis, name, words)
            return "", True
        sent = _send_all(analysis, destination, files)
    except NodeError as error:
        return str(error), isinstance(error, DeliveryError) and error.final
    refused = [one for one in sent if not one.sent]
    decisive = [one for one in refused if not (one.class_refused and one.path.stem in get_args(FurtherObject))]
    if decisive:
        return decisive[0].words, all(one.final for one in decisive)
    ledger.delivered(analysis, name, "; ".join(dict.fromkeys(one.words for one in sent if one.words)))
    return "", False


def _results_folder(analysis: str) -> Path:
    """Where the newest attempt left the objects, a folder for each variant; every variant has a report."""
    reports = [result for result in process().ledger.results(analysis) if Path(result.path).name == "report.dcm"]
    return Path(max(reports, key=lambda result: result.created_at).path).parents[1]


def _send_all(analysis: str, destination: Destination, files: Sequence[Path]) -> list[ObjectOutcome]:
    """Send these objects, and what the destination does not take by its class in the next plainer class it may take.

    Key objects come last: they name the others, and are left out where one of those was replaced by a plainer one.
    """
    named = [path for path in files if path.stem != KEY_OBJECTS]
    done: list[ObjectOutcome] = []
    waiting, replaced = named, False
    while waiting:
        sent = _send_noted(analysis, destination, waiting)
        plain = {one.path: _plainer(analysis, one.path) if one.class_refused else [] for one in sent}
        done += [one for one in sent if not plain[one.path]]
        waiting = [path for paths in plain.values() for path in paths]
        replaced |= bool(waiting)
    if replaced or len(named) == len(files):
        return done
    return [*done, *_send_noted(analysis, destination, [path for path in files if path not in named])]


def _send_noted(analysis: str, destination: Destination, files: Sequence[Path]) -> Sequence[ObjectOutcome]:
    """Send; the ledger knows before that the objects may be there: a kill or a lost answer leaves none unknown."""
    ledger, name = process().ledger, destination.name
    known = {one.sop_instance_uid for one in ledger.delivered_objects(analysis, name)}
    perhaps = [_delivered(analysis, name, path, PERHAPS, "") for path in files]
    fresh = [one for one in perhaps if one.sop_instance_uid not in known]
    ledger.objects_delivered(fresh)
    try:
        sent = storage_scu.send(destination, files, process().settings.receiver.ae_title)
    except NodeError:  # no association: nothing was sent
        ledger.objects_refused(analysis, name, [one.sop_instance_uid for one in fresh])
        raise
    ledger.objects_delivered([_delivered(analysis, name, o.path, o.status or 0, o.words) for o in sent if o.sent])
    no = {one.sop_instance_uid for one in sent if not one.sent and (one.status is not None or one.class_refused)}
    ledger.objects_refused(analysis, name, [one.sop_instance_uid for one in fresh if one.sop_instance_uid in no])
    return sent


def _plainer(analysis: str, path: Path) -> list[Path]:
    """The object at `path` in a plainer class, in files of their own beside it; the same on every attempt."""
    ledger = process().ledger
    paths = []
    for n, ds in enumerate(plainer(pydicom.dcmread(path)), 1):
        place = path.parent / "plainer" / f"{path.stem}-{n:02d}.dcm"
        place.parent.mkdir(exist_ok=True)
        with whole_file(place) as temporary:
            save(ds, temporary)
        ledger.record_result(result_record(place, analysis))
        paths.append(place)
    return paths


def _delivered(analysis: str, destination: str, path: Path, status: int, words: str) -> DeliveredObject:
    made = result_record(path, analysis)
    return DeliveredObject(
        analysis_id=analysis,
        destination=destination,
        sop_instance_uid=made.sop_instance_uid,
        series_instance_uid=made.series_instance_uid,
        sop_class_uid=made.sop_class_uid,
        path=made.path,
        status=status,
        words=words,
        delivered_at=datetime.now(UTC),
    )


def next_wait(name: str, attempts: int, opened: datetime) -> float | None:
    """Seconds until the next attempt; None when the time for attempts is over or the destination is gone."""
    destination = next((d for d in process().settings.destinations if d.name == name), None)
    if destination is None or datetime.now(UTC) - opened > timedelta(hours=destination.retry_for_h):
        return None
    doubled = destination.retry_first_s * 2 ** min(attempts, 30)
    return float(min(doubled, destination.retry_longest_s))


@step
def _give_up_delivery(analysis: str, name: str, words: str) -> None:
    process().ledger.attempt_failed(analysis, name, f"{words} {RETRY}", next_try_at=None)
