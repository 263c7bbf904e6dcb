"""Every study's state in words, for the command line: what happened, what it waits for, what to do next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from .drift import keeping, words
from .ledger import AnalysisRecord, DeliveryState, EventKind, Ledger, State, StudyRecord
from .receive import study_assembly
from .settings import MODEL_ERROR_FILE, Settings

ALARMS_SHOWN_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Row:
    """One study in the list."""

    study_instance_uid: str
    state: State
    images: int
    last_received: datetime
    words: str  # what it waits for, or how it ended and what to do

    def as_json(self) -> dict[str, Any]:
        return {
            "StudyInstanceUID": self.study_instance_uid,
            "state": self.state.value,
            "images": self.images,
            "last_received": self.last_received.isoformat(),
            "words": self.words,
        }


def rows(ledger: Ledger, settings: Settings, now: datetime) -> list[Row]:
    """All studies, the latest first."""
    latest = ledger.latest_analyses()
    return [_row(study, latest.get(study.study_instance_uid), ledger, settings, now) for study in ledger.studies()]


def alarms(ledger: Ledger, now: datetime) -> list[str]:
    """What a person must look at now: the alarms of the last day, the latest first."""
    raised = [event for event in ledger.events(kinds=(EventKind.ALARM,)) if now - event.last_at < ALARMS_SHOWN_FOR]
    return [
        f"ALARM {event.last_at:%Y-%m-%d %H:%M} {event.peer or ''} {event.study_instance_uid or ''}: {event.words}"
        for event in reversed(raised)
    ]


def drift_alarms(ledger: Ledger, settings: Settings, now: datetime) -> list[str]:
    """Warnings of the drift watch that are open today."""
    if not settings.drift.enabled:
        return []
    return [f"ALARM {words.alarm(*warning)}" for warning in keeping.today(ledger, settings, now).warnings]


def table(listed: list[Row]) -> str:
    """The list for people."""
    if not listed:
        return "no study was received yet"
    lines = [f"{'state':<13} {'images':>6}  {'last received (UTC)':<19}  study"]
    for row in listed:
        when = f"{row.last_received:%Y-%m-%d %H:%M:%S}"
        lines.append(f"{row.state.value:<13} {row.images:>6}  {when}  {row.study_instance_uid}")
        if row.words:
            lines.append(f"{'':<13} {row.words}")
    return "\n".join(lines)


def story(ledger: Ledger, settings: Settings, study: str, now: datetime) -> str:
    """One study from its arrival to its deliveries. Raises LedgerError for a study that was never received."""
    record = ledger.study(study)
    analyses = ledger.analyses(study)
    row = _row(record, analyses[-1] if analyses else None, ledger, settings, now)
    lines = [
        f"study     {study}",
        f"state     {row.state.value}" + (f": {row.words}" if row.words else ""),
        f"received  {record.instances} objects, {record.images} of them MR images that an analysis may use",
        f"          from {record.first_received:%Y-%m-%d %H:%M:%S} to {record.last_received:%Y-%m-%d %H:%M:%S} UTC",
    ]
    for analysis in analyses:
        lines += ["", *_analysis(ledger, analysis)]
    events = ledger.events(study)
    if events:
        lines += ["", "history (UTC)"]
        lines += [f"  {event.first_at:%Y-%m-%d %H:%M:%S}  {event.kind.value}: {event.words}" for event in events]
    return "\n".join(lines)


def _row(study: StudyRecord, analysis: AnalysisRecord | None, ledger: Ledger, settings: Settings, now: datetime) -> Row:
    if study.has_new_images or analysis is None:
        open_ones = ledger.open_associations(study.study_instance_uid)
        waits_for = study_assembly.decide(study, open_ones, settings.assembly, now).waits_for
        state = State.WAITING if study.images else State.RECEIVED
        trouble = settings.state_folder / MODEL_ERROR_FILE
        if not waits_for and trouble.exists():
            waits_for = f"the model: {trouble.read_text(encoding='utf-8')}"
        words = f"waits for {waits_for}" if waits_for else "complete; is taken up next"
    else:
        state, words = analysis.state, _words(ledger, analysis)
    words = " ".join(filter(None, [words, *_withdrawals(study, ledger)]))
    return Row(study.study_instance_uid, state, study.images, study.last_received, words)


def _withdrawals(study: StudyRecord, ledger: Ledger) -> Iterator[str]:
    """What is being taken back, and what could not be: in sight as long as it stands somewhere."""
    for analysis in ledger.analyses(study.study_instance_uid) if study.withdrawals else ():
        for delivery in ledger.deliveries(analysis.id):
            if delivery.state is DeliveryState.WITHDRAWING:
                yield f"A result is being withdrawn from {delivery.destination}."
            if delivery.state is DeliveryState.NOT_WITHDRAWN:
                yield f"NOT WITHDRAWN from {delivery.destination}: {delivery.last_words}"


def _words(ledger: Ledger, analysis: AnalysisRecord) -> str:
    if analysis.state is State.RUNNING:
        return analysis.stage.replace("_", " ")
    if analysis.state is State.DELIVERING:
        waiting = [d for d in ledger.deliveries(analysis.id) if d.delivered_at is None]
        return "; ".join(f"{d.destination}: {d.last_words or 'being sent'}" for d in waiting)
    return analysis.words


def _analysis(ledger: Ledger, analysis: AnalysisRecord) -> Iterator[str]:
    begun = f"{analysis.created_at:%Y-%m-%d %H:%M:%S}"
    yield f"analysis  {analysis.generation[:12]} ({analysis.state.value}), begun {begun}"
    for stage in ledger.stages(analysis.id):
        seconds = f"{stage.seconds:7.1f} s" if stage.seconds is not None else "  running"
        again = f", attempt {stage.attempts}" if stage.attempts > 1 else ""
        yield f"  {seconds}  {stage.stage.replace('_', ' ')}{again}"
    facts = json.loads(analysis.facts or "{}")
    if facts.get("score") is not None:
        yield f"  score {facts['score']:.3f} (not a probability), weights {facts['weights'][:12]}"
    for result in ledger.results(analysis.id):
        yield f"  result {result.kind}: {result.sop_instance_uid}"
    for delivery in ledger.deliveries(analysis.id):
        when = f" at {delivery.delivered_at:%Y-%m-%d %H:%M:%S}" if delivery.delivered_at else ""
        again = f"; next try {delivery.next_try_at:%H:%M:%S}" if delivery.next_try_at else ""
        words = f": {delivery.last_words}" if delivery.last_words else ""
        yield f"  to {delivery.destination}: {delivery.state.value}{when}, {delivery.attempts} attempts{words}{again}"
