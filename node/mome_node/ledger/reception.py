"""The ledger's part on receiving: instances, studies, open associations."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select, update

from ..errors import LedgerError
from .database import Database
from .records import Arrival, EventKind, InstanceRecord, OpenAssociation, Receipt, StudyRecord
from .schema import instances, open_associations, results, studies


class Reception(Database):
    """What was received, from whom, and which studies it makes up."""

    # ------------------------------------------------------------------ instances
    def record_instance(self, arrival: Arrival, *, receiver: str = "") -> Receipt:
        """Enter an object whose file is already safe in the spool; the acknowledgement may follow this call.

        NEW, or SAME where the UID is known already: then only the count and the time change, whatever the bytes.
        An object that this node made is marked `own` and starts nothing.
        """
        with self._write() as connection:
            known = select(instances.c.seq).where(instances.c.sop_instance_uid == arrival.sop_instance_uid)
            if connection.execute(known).first():
                self._count_again(connection, arrival.sop_instance_uid)
                return Receipt.SAME
            self._enter_study(connection, arrival)
            own = self._is_own(connection, arrival)
            seq = self._enter_instance(connection, arrival, own)
            self._count_in_study(connection, arrival, seq, starts=arrival.starts and not own)
            if arrival.association:
                self._mark_open(connection, arrival, receiver)
            return Receipt.NEW

    def _count_again(self, connection: Connection, sop_instance_uid: str) -> None:
        known = update(instances).where(instances.c.sop_instance_uid == sop_instance_uid)
        connection.execute(known.values(times_received=instances.c.times_received + 1, last_received_at=self._now()))

    def _enter_study(self, connection: Connection, arrival: Arrival) -> None:
        """Make the study's row, or notice that this object claims another patient than the study's first did."""
        uid, now = arrival.study_instance_uid, self._now()
        patient_key = hmac.new(bytes.fromhex(self._patient_secret), arrival.patient, hashlib.sha256).hexdigest()
        known = select(studies.c.patient_key).where(studies.c.study_instance_uid == uid)
        first_key = connection.execute(known).scalar()
        if first_key is None:
            connection.execute(
                insert(studies).values(
                    study_instance_uid=uid, patient_key=patient_key, first_received=now, last_received=now
                )
            )
        elif first_key != patient_key:
            words = (
                f"Series {arrival.series_instance_uid} names another patient than the study's first object. "
                "Mend the study on the PACS (merge or split it) and send it again."
            )
            self._note(connection, EventKind.MIXED_PATIENTS, words, study=uid)

    def _is_own(self, connection: Connection, arrival: Arrival) -> bool:
        made_here = or_(
            results.c.sop_instance_uid == arrival.sop_instance_uid,
            results.c.series_instance_uid == arrival.series_instance_uid,
        )
        return connection.execute(select(results.c.sop_instance_uid).where(made_here).limit(1)).first() is not None

    def _enter_instance(self, connection: Connection, arrival: Arrival, own: bool) -> int:
        now, columns = self._now(), asdict(arrival)
        del columns["patient"], columns["association"]
        columns["starts"] = arrival.starts and not own
        entered = connection.execute(
            insert(instances).values(**columns, own=own, received_at=now, last_received_at=now)
        )
        assert entered.inserted_primary_key is not None
        return int(entered.inserted_primary_key[0])

    def _count_in_study(self, connection: Connection, arrival: Arrival, seq: int, *, starts: bool) -> None:
        now = self._now()
        row = update(studies).where(studies.c.study_instance_uid == arrival.study_instance_uid)
        changes: dict[str, Any] = {"instances": studies.c.instances + 1, "last_received": now}
        if starts:
            changes |= {"images": studies.c.images + 1, "last_image_at": now, "last_image_seq": seq}
        connection.execute(row.values(changes))

    def instance(self, sop_instance_uid: str) -> InstanceRecord | None:
        """The object as it was first received, or None."""
        with self._read() as connection:
            wish = select(instances).where(instances.c.sop_instance_uid == sop_instance_uid)
            row = connection.execute(wish).mappings().first()
        return InstanceRecord(**row) if row else None

    def instances(self, study: str) -> tuple[InstanceRecord, ...]:
        """All objects of a study in order of arrival."""
        with self._read() as connection:
            wish = select(instances).where(instances.c.study_instance_uid == study).order_by(instances.c.seq)
            return tuple(InstanceRecord(**row) for row in connection.execute(wish).mappings())

    def paths(self) -> frozenset[str]:
        """Paths, relative to the spool, of everything received: for comparing the spool with the ledger."""
        with self._read() as connection:
            return frozenset(connection.execute(select(instances.c.path)).scalars())

    def note_duplicate(self, sop_instance_uid: str, receipt: Receipt, words: str, *, peer: str) -> None:
        """A known UID came again with other bytes: count it and write down what was done with it."""
        kinds = {Receipt.VARIANT: EventKind.VARIANT, Receipt.CONFLICT: EventKind.CONFLICT}
        with self._write() as connection:
            study = connection.execute(
                select(instances.c.study_instance_uid).where(instances.c.sop_instance_uid == sop_instance_uid)
            ).scalar()
            self._count_again(connection, sop_instance_uid)
            self._note(connection, kinds[receipt], words, study=study, peer=peer)

    # ------------------------------------------------------------------ studies
    def study(self, study: str) -> StudyRecord:
        """Raises LedgerError for a study that was never received."""
        with self._read() as connection:
            return _study(connection, study)

    def studies(self, *, newest: int | None = None) -> tuple[StudyRecord, ...]:
        """Studies, the one that received something last first."""
        with self._read() as connection:
            wish = select(studies).order_by(studies.c.last_received.desc(), studies.c.study_instance_uid).limit(newest)
            return tuple(StudyRecord(**row) for row in connection.execute(wish).mappings())

    def studies_with_new_images(self) -> tuple[StudyRecord, ...]:
        """Studies with images that no analysis has taken up yet, the longest waiting first: the outbox."""
        with self._read() as connection:
            wish = select(studies).where(studies.c.last_image_seq > studies.c.assembled_seq)
            rows = connection.execute(wish.order_by(studies.c.last_image_at)).mappings()
            return tuple(StudyRecord(**row) for row in rows)

    def request_completion(self, study: str) -> None:
        """A person says that this study is complete: it is analysed without waiting for silence.

        Raises LedgerError for an unknown study, and for one without an image that no analysis has taken up.
        """
        with self._write() as connection:
            record = _study(connection, study)
            if not record.has_new_images:
                raise LedgerError(
                    f"Study {study} has no image that waits for an analysis.",
                    remedy="`mome-node jobs show` says what became of it.",
                )
            connection.execute(
                update(studies).where(studies.c.study_instance_uid == study).values(complete_requested_at=self._now())
            )
            self._note(connection, EventKind.REQUEST, "A person declared the study complete.", study=study)

    def count_crash(self, study: str) -> int:
        """The computation of this study killed its child once more; returns how often by now."""
        return self._count(study, "crashes")

    def _count(self, study: str, column: str) -> int:
        with self._write() as connection:
            count = int(getattr(_study(connection, study), column)) + 1
            row = update(studies).where(studies.c.study_instance_uid == study)
            connection.execute(row.values({column: count}))
            return count

    # ------------------------------------------------------------------ open associations
    def _mark_open(self, connection: Connection, arrival: Arrival, receiver: str) -> None:
        key = {"association": arrival.association, "study_instance_uid": arrival.study_instance_uid}
        known = update(open_associations).filter_by(**key).values(last_object_at=self._now())
        if not connection.execute(known).rowcount:
            connection.execute(
                insert(open_associations).values(
                    **key,
                    receiver=receiver,
                    calling_ae=arrival.calling_ae,
                    address=arrival.address,
                    last_object_at=self._now(),
                )
            )

    def association_ended(self, association: str) -> None:
        """Released, aborted or broken: nothing more comes by it."""
        with self._write() as connection:
            connection.execute(delete(open_associations).filter_by(association=association))

    def forget_associations(self, receiver: str) -> None:
        """A receiver starts: what it left open when it was killed is open no more."""
        with self._write() as connection:
            connection.execute(delete(open_associations).filter_by(receiver=receiver))

    def open_associations(self, study: str) -> tuple[OpenAssociation, ...]:
        """Associations that have sent objects of this study and may send more."""
        with self._read() as connection:
            wish = select(open_associations).filter_by(study_instance_uid=study)
            return tuple(OpenAssociation(**row) for row in connection.execute(wish).mappings())


def _study(connection: Connection, study: str) -> StudyRecord:
    row = connection.execute(select(studies).filter_by(study_instance_uid=study)).mappings().first()
    if row is None:
        raise LedgerError(
            f"The ledger has no study {study}.", remedy="`mome-node jobs list` names every study that was received."
        )
    return StudyRecord(**row)
