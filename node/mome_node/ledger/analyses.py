"""The ledger's part on work: analyses and their stages, results, deliveries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from ..errors import LedgerError
from .database import Database, typed
from .records import (
    AnalysisRecord,
    DeliveryRecord,
    DeliveryState,
    EventKind,
    Outcome,
    ResultRecord,
    StageRecord,
    State,
)
from .schema import analyses, deliveries, results, stages, studies


def analysis_id(study: str, generation: str, result_identity: str) -> str:
    """The one name of an analysis, here and in the job engine: same images and same identity, same name."""
    return f"{study}/{generation}/{result_identity}"


class Analyses(Database):
    """What was made of the studies, and where it was sent."""

    # ------------------------------------------------------------------ analyses
    def begin_analysis(self, study: str, generation: str, result_identity: str, *, up_to: int) -> AnalysisRecord:
        """Take the images of a study up to arrival number `up_to` into an analysis; QUEUED where it is new.

        Idempotent: the same triple again is the same row. The wish of a person for completion is fulfilled by it.
        """
        name = analysis_id(study, generation, result_identity)
        with self._write() as connection:
            connection.execute(
                update(studies)
                .where(studies.c.study_instance_uid == study, studies.c.assembled_seq <= up_to)
                .values(assembled_seq=up_to, complete_requested_at=None)
            )
            known = connection.execute(select(analyses.c.id).filter_by(id=name)).first()
            if known is None:
                now = self._now()
                connection.execute(
                    insert(analyses).values(
                        id=name,
                        study_instance_uid=study,
                        generation=generation,
                        result_identity=result_identity,
                        state=State.QUEUED,
                        created_at=now,
                        updated_at=now,
                    )
                )
                self._note(connection, EventKind.STATE, f"{State.QUEUED}: the study is complete.", study=study)
            return _analysis(connection, name)

    def set_state(self, analysis: str, state: State, words: str = "") -> None:
        """Move an analysis on; `words` say what it waits for, or why it ended so and what to do.

        A state that is already there with the same words writes nothing. Raises LedgerError for an unknown analysis.
        """
        with self._write() as connection:
            self._set_state(connection, _analysis(connection, analysis), state, words)

    def _set_state(self, connection: Connection, before: AnalysisRecord, state: State, words: str) -> None:
        if (before.state, before.words) == (state, words):
            return
        row = update(analyses).filter_by(id=before.id)
        connection.execute(row.values(state=state, words=words, updated_at=self._now()))
        sentence = f"{state}: {words}" if words else str(state)
        self._note(connection, EventKind.STATE, sentence, study=before.study_instance_uid)

    def fail(self, study: str, *, up_to: int, attempt: str, words: str) -> None:
        """The node itself failed on a study: its newest analysis, or one made for this, is FAILED and can be retried.

        `up_to`: the images that were taken up; without this they would be taken up again at once, and fail again.
        """
        with self._write() as connection:
            newest = select(analyses).filter_by(study_instance_uid=study).order_by(analyses.c.created_at.desc())
            row = connection.execute(newest.limit(1)).mappings().first()
            latest = _analysis_record(row) if row else None
            if latest is None or latest.state.is_final:
                now, name = self._now(), analysis_id(study, "none", attempt)
                connection.execute(
                    insert(analyses).values(
                        id=name,
                        study_instance_uid=study,
                        generation="none",
                        result_identity=attempt,
                        state=State.QUEUED,
                        created_at=now,
                        updated_at=now,
                    )
                )
                latest = _analysis(connection, name)
            taken = update(studies).where(studies.c.study_instance_uid == study, studies.c.assembled_seq <= up_to)
            connection.execute(taken.values(assembled_seq=up_to, complete_requested_at=None))
            self._set_state(connection, latest, State.FAILED, words)

    def set_outcome(self, analysis: str, outcome: Outcome, facts: Mapping[str, Any], words: str = "") -> None:
        """What the analysis came to, and the facts that its result states (model, weights, inputs, score ...)."""
        with self._write() as connection:
            before = _analysis(connection, analysis)
            document = json.dumps(facts, sort_keys=True, ensure_ascii=False)
            row = update(analyses).filter_by(id=before.id)
            connection.execute(row.values(outcome=outcome, facts=document, words=words, updated_at=self._now()))

    def analysis(self, analysis: str) -> AnalysisRecord:
        """Raises LedgerError for an unknown analysis."""
        with self._read() as connection:
            return _analysis(connection, analysis)

    def analyses(self, study: str) -> tuple[AnalysisRecord, ...]:
        """Every analysis of a study, the oldest first."""
        with self._read() as connection:
            wish = select(analyses).filter_by(study_instance_uid=study).order_by(analyses.c.created_at, analyses.c.id)
            return tuple(_analysis_record(row) for row in connection.execute(wish).mappings())

    def latest_analyses(self) -> dict[str, AnalysisRecord]:
        """StudyInstanceUID -> its newest analysis, for lists."""
        with self._read() as connection:
            rows = connection.execute(select(analyses).order_by(analyses.c.created_at, analyses.c.id)).mappings()
            return {row["study_instance_uid"]: _analysis_record(row) for row in rows}

    def analyses_in(self, *states: State) -> tuple[AnalysisRecord, ...]:
        """Analyses in any of these states, the oldest first: for recovery and for metrics."""
        with self._read() as connection:
            wish = select(analyses).where(analyses.c.state.in_(states)).order_by(analyses.c.created_at, analyses.c.id)
            return tuple(_analysis_record(row) for row in connection.execute(wish).mappings())

    # ------------------------------------------------------------------ stages
    def stage_started(self, analysis: str, stage: str, *, at: datetime | None = None) -> None:
        """The analysis is RUNNING in this stage; started again after a kill, it counts a further attempt.

        `at`: when it began, for the stage that runs before the analysis has its name.
        """
        with self._write() as connection:
            before, now = _analysis(connection, analysis), at or self._now()
            again = update(stages).filter_by(analysis_id=analysis, stage=stage)
            again = again.values(attempts=stages.c.attempts + 1, started_at=now, ended_at=None, words="")
            if not connection.execute(again).rowcount:
                new = insert(stages).values(analysis_id=analysis, stage=stage, attempts=1, started_at=now)
                connection.execute(new)
            connection.execute(update(analyses).filter_by(id=analysis).values(stage=stage, updated_at=now))
            self._set_state(connection, before, State.RUNNING, "")

    def stage_ended(self, analysis: str, stage: str, words: str = "") -> None:
        """The stage is done, with its remarks."""
        with self._write() as connection:
            row = update(stages).filter_by(analysis_id=analysis, stage=stage)
            connection.execute(row.values(ended_at=self._now(), words=words))

    def stages(self, analysis: str) -> tuple[StageRecord, ...]:
        """The timeline of an analysis."""
        with self._read() as connection:
            wish = select(stages).filter_by(analysis_id=analysis).order_by(stages.c.started_at)
            return tuple(StageRecord(**row) for row in connection.execute(wish).mappings())

    # ------------------------------------------------------------------ results
    def record_result(self, result: ResultRecord) -> None:
        """A result object was made: from now on it is recognised when a PACS sends it back. Idempotent.

        Called before the first delivery; of a repeat the path and the time are kept: there it lies now.
        """
        with self._write() as connection:
            known = update(results).filter_by(sop_instance_uid=result.sop_instance_uid)
            if not connection.execute(known.values(path=result.path, created_at=result.created_at)).rowcount:
                columns = {column.name: getattr(result, column.name) for column in results.columns}
                connection.execute(insert(results).values(columns))

    def results(self, analysis: str) -> tuple[ResultRecord, ...]:
        """The result objects of an analysis, in order of their kind."""
        with self._read() as connection:
            wish = select(results).filter_by(analysis_id=analysis).order_by(results.c.kind, results.c.sop_instance_uid)
            return tuple(ResultRecord(**row) for row in connection.execute(wish).mappings())

    # ------------------------------------------------------------------ deliveries
    def open_delivery(self, analysis: str, destination: str) -> DeliveryRecord:
        """The result is to go to this destination; the analysis is DELIVERING. Idempotent."""
        with self._write() as connection:
            key = {"analysis_id": analysis, "destination": destination}
            if connection.execute(select(deliveries.c.state).filter_by(**key)).first() is None:
                new = insert(deliveries).values(**key, state=DeliveryState.WAITING, created_at=self._now())
                connection.execute(new)
                before = _analysis(connection, analysis)
                self._set_state(connection, before, State.DELIVERING, before.words)
            return _delivery(connection, analysis, destination)

    def attempt_failed(self, analysis: str, destination: str, words: str, *, next_try_at: datetime | None) -> None:
        """An attempt at delivery failed. Without a next try it has failed for good: the analysis is FAILED too."""
        state = DeliveryState.WAITING if next_try_at else DeliveryState.FAILED
        with self._write() as connection:
            before = _delivery(connection, analysis, destination)
            if before.state is not DeliveryState.WAITING:  # cancelled while it was tried: it stays so
                return
            self._set_delivery(connection, before, state, words, attempts=before.attempts + 1, next_try_at=next_try_at)
            if state is DeliveryState.FAILED:
                self._set_state(connection, _analysis(connection, analysis), State.FAILED, f"{destination}: {words}")

    def delivered(self, analysis: str, destination: str, words: str = "") -> None:
        """The destination has everything. With the last destination the analysis reaches its end state."""
        with self._write() as connection:
            before = _delivery(connection, analysis, destination)
            now = None if before.state is DeliveryState.DELIVERED else self._now()
            if now is None:
                return
            self._set_delivery(
                connection,
                before,
                DeliveryState.DELIVERED,
                words,
                attempts=before.attempts + 1,
                next_try_at=None,
                delivered_at=now,
            )
            superseded = _analysis(connection, analysis)
            if superseded.state is State.SUPERSEDED:
                late = f"{superseded.words} Its result reached {destination} all the same: withdraw it there."
                self._set_state(connection, superseded, State.SUPERSEDED, late)
            else:
                self._end_if_all_delivered(connection, analysis)

    def cancel_delivery(self, analysis: str, destination: str, words: str) -> None:
        """Not delivered and no longer wanted, e.g. superseded by a newer generation."""
        with self._write() as connection:
            before = _delivery(connection, analysis, destination)
            if before.state is not DeliveryState.DELIVERED:
                self._set_delivery(connection, before, DeliveryState.CANCELLED, words, next_try_at=None)

    def request_retry(self, study: str) -> str:
        """A person wants a study tried again: its failed deliveries, or else its analysis. What was noted, in words.

        A delivery is opened anew, with its full time for attempts. For an analysis the study returns to the outbox
        with all its images, complete, its crashes forgotten and `retries` counted up. Raises LedgerError where nothing
        has failed.
        """
        with self._write() as connection:
            newest = select(analyses).filter_by(study_instance_uid=study).order_by(analyses.c.created_at.desc())
            row = connection.execute(newest.limit(1)).mappings().first()
            if row is None:
                raise LedgerError(
                    f"Study {study} has no analysis that could be tried again.",
                    remedy="`mome-node jobs show` says what it waits for; `jobs complete` ends the waiting.",
                )
            latest = _analysis_record(row)
            words = self._reopen_failed_deliveries(connection, latest) or self._reopen_analysis(connection, latest)
            self._note(connection, EventKind.REQUEST, f"A person asked for another try: {words}", study=study)
            return words

    def _reopen_failed_deliveries(self, connection: Connection, latest: AnalysisRecord) -> str:
        failed = select(deliveries).filter_by(analysis_id=latest.id, state=DeliveryState.FAILED)
        again = [_delivery_record(row) for row in connection.execute(failed).mappings()]
        for delivery in again:
            opened = {"attempts": 0, "next_try_at": None, "created_at": self._now()}
            self._set_delivery(connection, delivery, DeliveryState.WAITING, "", **opened)
        if not again:
            return ""
        self._set_state(connection, latest, State.DELIVERING, "")
        return f"the result is sent again to {', '.join(delivery.destination for delivery in again)}."

    def _reopen_analysis(self, connection: Connection, latest: AnalysisRecord) -> str:
        if latest.state not in (State.FAILED, State.PARKED, State.CANCELLED, State.NOT_ANALYSED):
            raise LedgerError(
                f"Nothing of study {latest.study_instance_uid} has failed: it is {latest.state}.",
                remedy="`mome-node jobs show` tells its story.",
            )
        connection.execute(delete(deliveries).filter_by(analysis_id=latest.id))  # they were of the attempt that ended
        row = update(studies).filter_by(study_instance_uid=latest.study_instance_uid)
        now = self._now()
        again = {"assembled_seq": 0, "crashes": 0, "retries": studies.c.retries + 1, "complete_requested_at": now}
        connection.execute(row.values(again))
        return "the study is analysed again with all images that are there."

    def _set_delivery(
        self, connection: Connection, before: DeliveryRecord, state: DeliveryState, words: str, **columns: Any
    ) -> None:
        row = update(deliveries).filter_by(analysis_id=before.analysis_id, destination=before.destination)
        connection.execute(row.values(state=state, last_words=words, **columns))
        study = _analysis(connection, before.analysis_id).study_instance_uid
        sentence = f"{state}: {words}" if words else str(state)
        self._note(connection, EventKind.DELIVERY, sentence, study=study, peer=before.destination)

    def _end_if_all_delivered(self, connection: Connection, analysis: str) -> None:
        waits = [DeliveryState.WAITING, DeliveryState.FAILED]
        open_ones = select(func.count()).select_from(deliveries).filter_by(analysis_id=analysis)
        if connection.execute(open_ones.where(deliveries.c.state.in_(waits))).scalar_one():
            return
        before = _analysis(connection, analysis)
        ends = {Outcome.NOT_ANALYSED: State.NOT_ANALYSED, Outcome.FAILED: State.FAILED}
        end = ends.get(before.outcome, State.DELIVERED) if before.outcome else State.DELIVERED
        self._set_state(connection, before, end, before.words)

    def deliveries(self, analysis: str) -> tuple[DeliveryRecord, ...]:
        """Where the result of an analysis goes, by name of the destination."""
        with self._read() as connection:
            wish = select(deliveries).filter_by(analysis_id=analysis).order_by(deliveries.c.destination)
            return tuple(_delivery_record(row) for row in connection.execute(wish).mappings())

    def deliveries_in(self, state: DeliveryState) -> tuple[DeliveryRecord, ...]:
        """Deliveries in this state, the longest waiting first."""
        with self._read() as connection:
            wish = select(deliveries).filter_by(state=state).order_by(deliveries.c.created_at)
            return tuple(_delivery_record(row) for row in connection.execute(wish).mappings())


def _analysis_record(row: Any) -> AnalysisRecord:
    return AnalysisRecord(**typed(row, state=State, outcome=Outcome))


def _delivery_record(row: Any) -> DeliveryRecord:
    return DeliveryRecord(**typed(row, state=DeliveryState))


def _analysis(connection: Connection, analysis: str) -> AnalysisRecord:
    row = connection.execute(select(analyses).filter_by(id=analysis)).mappings().first()
    if row is None:
        raise LedgerError(f"The ledger has no analysis {analysis}.", remedy="`mome-node jobs list` names them.")
    return _analysis_record(row)


def _delivery(connection: Connection, analysis: str, destination: str) -> DeliveryRecord:
    wish = select(deliveries).filter_by(analysis_id=analysis, destination=destination)
    row = connection.execute(wish).mappings().first()
    if row is None:
        raise LedgerError(
            f"The result {analysis} does not go to {destination!r}.",
            remedy="`mome-node jobs show` names where it goes.",
        )
    return _delivery_record(row)
