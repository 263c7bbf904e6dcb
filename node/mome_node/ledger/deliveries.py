"""The ledger's part on deliveries: which destination has which result, what waits, and what is taken back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from ..errors import LedgerError
from .analyses import Analyses, analysis_of, analysis_record
from .database import typed
from .records import AnalysisRecord, DeliveredObject, DeliveryRecord, DeliveryState, EventKind, Outcome, State
from .schema import analyses, delivered_objects, deliveries, studies

BEING_WORKED_ON = (State.QUEUED, State.RUNNING)
ENDED = (State.FAILED, State.PARKED, State.CANCELLED, State.NOT_ANALYSED, State.WITHDRAWN)
"""From where a person may have a study analysed again."""
OUT_THERE = (DeliveryState.DELIVERED, DeliveryState.WITHDRAWING, DeliveryState.NOT_WITHDRAWN)
UNSENT = (DeliveryState.WAITING, DeliveryState.HELD, DeliveryState.FAILED)
TAKEN_BACK = (DeliveryState.WITHDRAWING, DeliveryState.WITHDRAWN, DeliveryState.NOT_WITHDRAWN)


class Deliveries(Analyses):
    """Where results were sent, and from where they are withdrawn."""

    # ------------------------------------------------------------------ sending
    def open_delivery(self, analysis: str, destination: str, *, held: str = "") -> DeliveryRecord:
        """The result is to go to this destination; the analysis is DELIVERING. Idempotent.

        `held`: why a person must look before it is sent; then it waits for `request_retry`.
        """
        with self._write() as connection:
            key = {"analysis_id": analysis, "destination": destination}
            known = connection.execute(select(deliveries.c.state).filter_by(**key)).scalar()
            state = DeliveryState.HELD if held else DeliveryState.WAITING
            row = {"state": state, "last_words": held, "created_at": self._now()}
            if known is None:
                connection.execute(insert(deliveries).values(**key, **row))
            elif known == DeliveryState.CANCELLED:  # of an earlier turn of the same analysis
                again = {"attempts": 0, "next_try_at": None, "reason": "", **row}
                connection.execute(update(deliveries).filter_by(**key).values(again))
            before = analysis_of(connection, analysis)
            self._set_state(connection, before, State.DELIVERING, before.words)
            self._end_if_all_delivered(connection, analysis)
            return _delivery(connection, analysis, destination)

    def not_made(self, analysis: str, destination: str, words: str) -> None:
        """There is nothing that could be sent there; the study must be analysed again."""
        with self._write() as connection:
            self._cancel(connection, _delivery(connection, analysis, destination), words)
            self._set_state(connection, analysis_of(connection, analysis), State.FAILED, f"{destination}: {words}")

    def attempt_failed(self, analysis: str, destination: str, words: str, *, next_try_at: datetime | None) -> None:
        """An attempt at delivery failed. Without a next try it has failed for good: the analysis is FAILED too."""
        state = DeliveryState.WAITING if next_try_at else DeliveryState.FAILED
        with self._write() as connection:
            before = _delivery(connection, analysis, destination)
            if before.state is not DeliveryState.WAITING:  # cancelled while it was tried: it stays so
                return
            self._set_delivery(connection, before, state, words, attempts=before.attempts + 1, next_try_at=next_try_at)
            if state is DeliveryState.FAILED:
                self._set_state(connection, analysis_of(connection, analysis), State.FAILED, f"{destination}: {words}")

    def objects_delivered(self, objects: Sequence[DeliveredObject]) -> None:
        """The destination took these, or may have (PERHAPS), whether or not it takes the rest. Idempotent.

        Where a person withdrew the result while it was being sent, it is withdrawn from there, too.
        """
        with self._write() as connection:
            for one in objects:
                columns = {column.name: getattr(one, column.name) for column in delivered_objects.columns}
                key = {name: columns[name] for name in ("analysis_id", "destination", "sop_instance_uid")}
                connection.execute(delete(delivered_objects).filter_by(**key))
                connection.execute(insert(delivered_objects).values(columns))
                self._withdraw_what_crossed(connection, _delivery(connection, one.analysis_id, one.destination))

    def objects_refused(self, analysis: str, destination: str, sop_instance_uids: Sequence[str]) -> None:
        """The destination does not have these after all."""
        with self._write() as connection:
            there = delete(delivered_objects).filter_by(analysis_id=analysis, destination=destination)
            connection.execute(there.where(delivered_objects.c.sop_instance_uid.in_(sop_instance_uids)))

    def _withdraw_what_crossed(self, connection: Connection, before: DeliveryRecord) -> None:
        if before.state is DeliveryState.CANCELLED and before.reason:
            self._open_withdrawal(connection, before, before.reason)

    def delivered(self, analysis: str, destination: str, words: str = "") -> None:
        """The destination has everything. With the last destination the analysis reaches its end state.

        An older result of the study that this destination has is withdrawn from there: one result is current.
        """
        with self._write() as connection:
            before = _delivery(connection, analysis, destination)
            if before.state in (*OUT_THERE, DeliveryState.WITHDRAWN):
                return
            if before.state is DeliveryState.CANCELLED and before.reason:  # withdrawn while it was being sent
                self._withdraw_what_crossed(connection, before)
                return
            done = {"attempts": before.attempts + 1, "next_try_at": None, "delivered_at": self._now()}
            self._set_delivery(connection, before, DeliveryState.DELIVERED, words, **done)
            record = analysis_of(connection, analysis)
            if record.state is not State.SUPERSEDED:
                self._end_if_all_delivered(connection, analysis)
            self._withdraw_replaced(connection, record.study_instance_uid, destination)

    def cancel_delivery(self, analysis: str, destination: str, words: str) -> None:
        """Not delivered and no longer wanted, e.g. superseded by a newer generation."""
        with self._write() as connection:
            self._cancel(connection, _delivery(connection, analysis, destination), words)

    def destination_is_gone(self, analysis: str, destination: str, words: str) -> None:
        """The configuration no longer has it: nothing is sent there, and the analysis ends without it."""
        with self._write() as connection:
            self._cancel(connection, _delivery(connection, analysis, destination), words)
            self._end_if_all_delivered(connection, analysis)

    def _cancel(self, connection: Connection, before: DeliveryRecord, words: str, reason: str = "") -> None:
        if before.state in UNSENT:
            self._set_delivery(connection, before, DeliveryState.CANCELLED, words, next_try_at=None, reason=reason)

    def _end_if_all_delivered(self, connection: Connection, analysis: str) -> None:
        rows = select(deliveries).filter_by(analysis_id=analysis)
        states = {d.state: d for d in map(_record, connection.execute(rows).mappings())}
        if states.keys() & {DeliveryState.WAITING, DeliveryState.FAILED}:
            return
        before = analysis_of(connection, analysis)
        if held := states.get(DeliveryState.HELD):
            self._set_state(connection, before, State.PARKED, held.last_words)
            return
        ends = {Outcome.NOT_ANALYSED: State.NOT_ANALYSED, Outcome.FAILED: State.FAILED}
        end = ends.get(before.outcome, State.DELIVERED) if before.outcome else State.DELIVERED
        self._set_state(connection, before, end, before.words)

    # ------------------------------------------------------------------ withdrawing
    def request_withdrawal(self, study: str, reason: str) -> str:
        """A person wants the results of a study taken back from wherever they are. What was noted, in words.

        What waits to be sent is not sent, and what waits to be analysed is not analysed any more. Raises LedgerError
        where no destination has a result, and while an analysis of the study is under way.
        """
        with self._write() as connection:
            every = select(analyses).filter_by(study_instance_uid=study).order_by(analyses.c.created_at)
            records = [analysis_record(row) for row in connection.execute(every).mappings()]
            if any(record.state in BEING_WORKED_ON for record in records):
                raise LedgerError(
                    f"Study {study} is being analysed; a new result would follow.",
                    remedy="Wait for it (`mome-node jobs show`), then withdraw.",
                )
            out = [
                *self._with_objects(connection, study),
                *self._of_study(connection, study, DeliveryState.NOT_WITHDRAWN),
            ]
            if not out:
                raise LedgerError(
                    f"No destination has a result of study {study} that could be withdrawn.",
                    remedy="`mome-node jobs show` tells its story.",
                )
            for delivery in out:
                self._open_withdrawal(connection, delivery, reason)
            for unsent in self._of_study(connection, study, *UNSENT):
                self._cancel(connection, unsent, "Withdrawn by a person before it was sent.", reason)
            self._count_withdrawal(connection, study)
            row = update(studies).filter_by(study_instance_uid=study)
            nothing_waits = {"assembled_seq": studies.c.last_image_seq, "complete_requested_at": None}
            connection.execute(row.values(**nothing_waits, taken_retries=studies.c.retries))
            places = ", ".join(sorted({delivery.destination for delivery in out}))
            words = f"the results are withdrawn from {places} ({reason})."
            self._note(connection, EventKind.REQUEST, f"A person asked: {words}", study=study)
            return words

    def _withdraw_replaced(self, connection: Connection, study: str, destination: str) -> None:
        """Results of superseded analyses leave a destination once it has one of an analysis that is not superseded."""
        here = [d for d in self._with_objects(connection, study) if d.destination == destination]
        replaced = [d for d in here if analysis_of(connection, d.analysis_id).state is State.SUPERSEDED]
        if any(d.state is DeliveryState.DELIVERED for d in here if d not in replaced):
            for delivery in replaced:
                self._open_withdrawal(connection, delivery, "replaced")
                self._count_withdrawal(connection, study)

    def _open_withdrawal(self, connection: Connection, before: DeliveryRecord, reason: str) -> None:
        opened = {"attempts": 0, "next_try_at": None, "created_at": self._now(), "reason": reason}
        self._set_delivery(connection, before, DeliveryState.WITHDRAWING, "", **opened)

    def _count_withdrawal(self, connection: Connection, study: str) -> None:
        """Part of the next result's identity: an archive that hid an object must not take its UID again (IHE IOCM)."""
        row = update(studies).filter_by(study_instance_uid=study)
        connection.execute(row.values(withdrawals=studies.c.withdrawals + 1))

    def withdrawal_failed(self, analysis: str, destination: str, words: str, *, next_try_at: datetime | None) -> None:
        """The rejection note did not arrive. Without a next try the result still stands there: an alarm."""
        state = DeliveryState.WITHDRAWING if next_try_at else DeliveryState.NOT_WITHDRAWN
        with self._write() as connection:
            before = _delivery(connection, analysis, destination)
            if before.state is not DeliveryState.WITHDRAWING:
                return
            self._set_delivery(connection, before, state, words, attempts=before.attempts + 1, next_try_at=next_try_at)
            if state is DeliveryState.NOT_WITHDRAWN:
                study = analysis_of(connection, analysis).study_instance_uid
                alarm = f"A result could not be withdrawn from {destination} and still stands there: {words}"
                self._note(connection, EventKind.ALARM, alarm, study=study, peer=destination)

    def withdrawn(self, analysis: str, destination: str, words: str) -> None:
        """The destination has the rejection note, and what else it needs; `words` say what became of the objects."""
        with self._write() as connection:
            before = _delivery(connection, analysis, destination)
            if before.state is not DeliveryState.WITHDRAWING:
                return
            done = {"attempts": before.attempts + 1, "next_try_at": None}
            self._set_delivery(connection, before, DeliveryState.WITHDRAWN, words, **done)
            record = analysis_of(connection, analysis)
            left = select(func.count()).select_from(deliveries).filter_by(analysis_id=analysis)
            if connection.execute(left.where(deliveries.c.state.in_(OUT_THERE))).scalar_one():
                return
            state = record.state if record.state is State.SUPERSEDED else State.WITHDRAWN
            self._set_state(connection, record, state, f"Withdrawn ({before.reason}). {destination}: {words}")

    # ------------------------------------------------------------------ trying again
    def request_retry(self, study: str) -> str:
        """A person wants a study tried again: what of its deliveries failed or is held, or else its analysis.

        A delivery is opened anew, with its full time for attempts. For an analysis the study returns to the outbox
        with all its images, complete, its crashes forgotten and `retries` counted up. What was noted, in words.
        Raises LedgerError where nothing has failed.
        """
        with self._write() as connection:
            newest = select(analyses).filter_by(study_instance_uid=study).order_by(analyses.c.created_at.desc())
            row = connection.execute(newest.limit(1)).mappings().first()
            if row is None:
                raise LedgerError(
                    f"Study {study} has no analysis that could be tried again.",
                    remedy="`mome-node jobs show` says what it waits for; `jobs complete` ends the waiting.",
                )
            latest = analysis_record(row)
            withdrawn = self._reopen_withdrawals(connection, study)
            said = withdrawn + self._reopen_deliveries(connection, latest)
            if not said or (said == withdrawn and latest.state in ENDED):
                said.append(self._reopen_analysis(connection, latest))
            words = " ".join(said)
            self._note(connection, EventKind.REQUEST, f"A person asked for another try: {words}", study=study)
            return words

    def _reopen_withdrawals(self, connection: Connection, study: str) -> list[str]:
        again = self._of_study(connection, study, DeliveryState.NOT_WITHDRAWN)
        for delivery in again:
            self._open_withdrawal(connection, delivery, delivery.reason)
        places = ", ".join(delivery.destination for delivery in again)
        return [f"the results are withdrawn again from {places}."] if again else []

    def _reopen_deliveries(self, connection: Connection, latest: AnalysisRecord) -> list[str]:
        failed = self._of_study(connection, latest.study_instance_uid, DeliveryState.FAILED)
        again = [delivery for delivery in failed if delivery.analysis_id == latest.id]
        for delivery in again:
            opened = {"attempts": 0, "next_try_at": None, "created_at": self._now()}
            self._set_delivery(connection, delivery, DeliveryState.WAITING, "", **opened)
        if not again:
            return []
        self._set_state(connection, latest, State.DELIVERING, "")
        return [f"the result is sent again to {', '.join(delivery.destination for delivery in again)}."]

    def _reopen_analysis(self, connection: Connection, latest: AnalysisRecord) -> str:
        study = latest.study_instance_uid
        if latest.state not in ENDED:
            raise LedgerError(
                f"Nothing of study {study} has failed: it is {latest.state}.",
                remedy="`mome-node jobs show` tells its story.",
            )
        if any(d.analysis_id == latest.id for d in self._with_objects(connection, study)):
            # What comes now is another result, and takes the place of what stands there.
            self._count_withdrawal(connection, study)
        for unsent in self._of_study(connection, study, *UNSENT):
            self._cancel(connection, unsent, "The study is analysed again.")
        row = update(studies).filter_by(study_instance_uid=study)
        now = self._now()
        again = {"assembled_seq": 0, "crashes": 0, "retries": studies.c.retries + 1, "complete_requested_at": now}
        connection.execute(row.values(again))
        return "the study is analysed again with all images that are there."

    # ------------------------------------------------------------------ asking
    def deliveries(self, analysis: str) -> tuple[DeliveryRecord, ...]:
        """Where the result of an analysis goes, by name of the destination."""
        with self._read() as connection:
            wish = select(deliveries).filter_by(analysis_id=analysis).order_by(deliveries.c.destination)
            return tuple(_record(row) for row in connection.execute(wish).mappings())

    def delivery(self, analysis: str, destination: str) -> DeliveryRecord:
        """Raises LedgerError where the result does not go there."""
        with self._read() as connection:
            return _delivery(connection, analysis, destination)

    def deliveries_in(self, *states: DeliveryState) -> tuple[DeliveryRecord, ...]:
        """Deliveries in any of these states, the longest waiting first."""
        with self._read() as connection:
            wish = select(deliveries).where(deliveries.c.state.in_(states)).order_by(deliveries.c.created_at)
            return tuple(_record(row) for row in connection.execute(wish).mappings())

    def delivered_objects(self, analysis: str, destination: str) -> tuple[DeliveredObject, ...]:
        """What this destination was given of an analysis, also where it was withdrawn since."""
        with self._read() as connection:
            wish = select(delivered_objects).filter_by(analysis_id=analysis, destination=destination)
            rows = connection.execute(wish.order_by(delivered_objects.c.path)).mappings()
            return tuple(DeliveredObject(**row) for row in rows)

    def failures_sent(self, destination: str, since: datetime, *, but: str = "") -> int:
        """Reports of "not analysed" and "failed" that went to a destination, or are on their way, since then.

        `but`: an analysis that is not counted.
        """
        with self._read() as connection:
            count = select(func.count()).select_from(
                deliveries.join(analyses, analyses.c.id == deliveries.c.analysis_id)
            )
            of_failures = analyses.c.outcome.in_((Outcome.NOT_ANALYSED, Outcome.FAILED))
            sent = deliveries.c.state.in_((DeliveryState.WAITING, DeliveryState.DELIVERED))
            here = (
                (deliveries.c.destination == destination) & (deliveries.c.created_at > since) & (analyses.c.id != but)
            )
            return int(connection.execute(count.where(of_failures, sent, here)).scalar_one())

    def _of_study(self, connection: Connection, study: str, *states: DeliveryState) -> list[DeliveryRecord]:
        joined = select(deliveries).join(analyses, analyses.c.id == deliveries.c.analysis_id)
        wish = joined.where(analyses.c.study_instance_uid == study, deliveries.c.state.in_(states))
        return [_record(row) for row in connection.execute(wish.order_by(deliveries.c.created_at)).mappings()]

    def _with_objects(self, connection: Connection, study: str) -> list[DeliveryRecord]:
        """Deliveries that left objects at their destination, complete or not, and are not being taken back."""
        there = select(delivered_objects.c.sop_instance_uid).where(
            delivered_objects.c.analysis_id == deliveries.c.analysis_id,
            delivered_objects.c.destination == deliveries.c.destination,
        )
        joined = select(deliveries).join(analyses, analyses.c.id == deliveries.c.analysis_id)
        mine = joined.where(analyses.c.study_instance_uid == study, deliveries.c.state.not_in(TAKEN_BACK))
        rows = connection.execute(mine.where(there.exists()).order_by(deliveries.c.created_at)).mappings()
        return [_record(row) for row in rows]

    def _set_delivery(
        self, connection: Connection, before: DeliveryRecord, state: DeliveryState, words: str, **columns: Any
    ) -> None:
        row = update(deliveries).filter_by(analysis_id=before.analysis_id, destination=before.destination)
        connection.execute(row.values(state=state, last_words=words, **columns))
        study = analysis_of(connection, before.analysis_id).study_instance_uid
        sentence = f"{state}: {words}" if words else str(state)
        self._note(connection, EventKind.DELIVERY, sentence, study=study, peer=before.destination)


def _record(row: Any) -> DeliveryRecord:
    return DeliveryRecord(**typed(row, state=DeliveryState))


def _delivery(connection: Connection, analysis: str, destination: str) -> DeliveryRecord:
    wish = select(deliveries).filter_by(analysis_id=analysis, destination=destination)
    row = connection.execute(wish).mappings().first()
    if row is None:
        raise LedgerError(
            f"The result {analysis} does not go to {destination!r}.",
            remedy="`mome-node jobs show` names where it goes.",
        )
    return _record(row)
