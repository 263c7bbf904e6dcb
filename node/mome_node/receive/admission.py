"""What is done with one received object, whichever way it came: file first, ledger second, answer last."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

from ..errors import NodeError, UnreadableDicom
from ..ledger import Arrival, EventKind, InstanceRecord, Ledger, Receipt
from .identity import Identity, read_identity, same_data_set, same_pixels
from .spool import IncomingFile, Spool
from .study_assembly import starts_analysis

log = logging.getLogger(__name__)

# PS3.4 Table B.2-1 and PS3.7 Annex C; the same numbers are the failure reasons of STOW-RS (PS3.18 10.5)
SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
DUPLICATE = 0x0111
OUT_OF_RESOURCES = 0xA700
MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent an object, and by which association."""

    calling_ae: str
    address: str
    association: str | None = None

    def __str__(self) -> str:
        return f"{self.calling_ae} at {self.address}"


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to the sender. `words` tell a person what happened and what to do; no patient data."""

    status: int
    receipt: Receipt | None = None
    words: str = ""


def admit(
    spool: Spool,
    ledger: Ledger,
    incoming: IncomingFile,
    sender: Sender,
    *,
    announced: tuple[str, str] | None = None,
    receiver: str = "",
) -> Admission:
    """Keep one object for good, or say why not. Never raises; whatever happens, `incoming` is kept or removed.

    `announced` are the SOP Class and SOP Instance UID of the command, which the data set must repeat. A success means
    that file and ledger row are on disk. A refusal is written into the ledger's history.
    """
    uid = announced[1] if announced else "without a readable UID"
    try:
        admission = _admit(spool, ledger, incoming, sender, announced, receiver)
    except UnreadableDicom as error:
        admission = Admission(CANNOT_UNDERSTAND, words=str(error))
    except OSError as error:
        admission = Admission(
            OUT_OF_RESOURCES, words=f"The spool cannot be written: {error.strerror}. Make room on its disk."
        )
    except Exception as error:
        log.exception("Object %s from %s could not be taken", uid, sender)
        admission = Admission(
            PROCESSING_FAILURE, words=f"The node failed ({type(error).__name__}); its log says where. Send it again."
        )
    finally:
        incoming.discard()
    if admission.receipt is None:
        _refused(ledger, sender, uid, admission)
    return admission


def _refused(ledger: Ledger, sender: Sender, uid: str, admission: Admission) -> None:
    log.warning("Refused object %s from %s with %04X: %s", uid, sender, admission.status, admission.words)
    try:
        words = f"Refused with {admission.status:04X}: {admission.words}"
        ledger.note(EventKind.OBJECT_REFUSED, words, peer=str(sender))
    except Exception:  # the refusal stands whether or not it could be written down
        log.exception("The ledger could not take a note")


def _admit(
    spool: Spool,
    ledger: Ledger,
    incoming: IncomingFile,
    sender: Sender,
    announced: tuple[str, str] | None,
    receiver: str,
) -> Admission:
    if incoming.no_room:
        return Admission(OUT_OF_RESOURCES, words=f"{incoming.no_room.words} {incoming.no_room.remedy}")
    incoming.make_durable()
    if incoming.no_room:
        return Admission(OUT_OF_RESOURCES, words=f"{incoming.no_room.words} {incoming.no_room.remedy}")
    identity = read_identity(incoming.path, max_bytes=spool.max_object_bytes)
    if announced and announced != (identity.sop_class_uid, identity.sop_instance_uid):
        return Admission(MISMATCH, words="The data set has another SOP Class or Instance UID than the command.")
    with spool.lock(identity.sop_instance_uid):
        known = ledger.instance(identity.sop_instance_uid)
        if known is None or not (spool.folder / known.path).exists():
            path = spool.relative(spool.keep(incoming, identity.sop_instance_uid))
            receipt = ledger.record_instance(
                _arrival(identity, incoming.sha256, incoming.size, path, sender), receiver=receiver
            )
            return Admission(SUCCESS, receipt)
        return _known_already(spool, ledger, incoming, known, identity, sender, receiver)


def _known_already(
    spool: Spool,
    ledger: Ledger,
    incoming: IncomingFile,
    known: InstanceRecord,
    identity: Identity,
    sender: Sender,
    receiver: str,
) -> Admission:
    first = spool.folder / known.path
    if known.sha256 == incoming.sha256 or same_data_set(first, incoming.path):
        ledger.record_instance(
            _arrival(identity, incoming.sha256, incoming.size, known.path, sender), receiver=receiver
        )
        return Admission(SUCCESS, Receipt.SAME)
    if same_pixels(first, incoming.path):
        words = f"Object {known.sop_instance_uid} came again with another header; the first is kept and used."
        ledger.note_duplicate(known.sop_instance_uid, Receipt.VARIANT, words, peer=str(sender))
        return Admission(SUCCESS, Receipt.VARIANT, words)
    put_aside = spool.quarantine(incoming, known.sop_instance_uid)
    words = (
        f"Object {known.sop_instance_uid} came again with other content; the first is kept and used, this one lies in "
        f"{spool.relative(put_aside)}. Have the sender give it a UID of its own."
    )
    log.warning("%s: %s", sender, words)
    ledger.note_duplicate(known.sop_instance_uid, Receipt.CONFLICT, words, peer=str(sender))
    return Admission(DUPLICATE, Receipt.CONFLICT, words)


def _arrival(identity: Identity, sha256: str, size: int, path: str, sender: Sender) -> Arrival:
    return Arrival(
        sop_instance_uid=identity.sop_instance_uid,
        sop_class_uid=identity.sop_class_uid,
        series_instance_uid=identity.series_instance_uid,
        study_instance_uid=identity.study_instance_uid,
        transfer_syntax_uid=identity.transfer_syntax_uid,
        modality=identity.modality,
        image_type=identity.image_type,
        patient=identity.patient,
        sha256=sha256,
        size=size,
        path=path,
        calling_ae=sender.calling_ae,
        address=sender.address,
        starts=starts_analysis(identity.sop_class_uid, identity.image_type),
        association=sender.association,
    )


def recover(spool: Spool, ledger: Ledger) -> int:
    """Enter objects that lie in the spool and not in the ledger: the node was killed between file and row.

    They were never acknowledged, but they are whole; and a ledger that was lost is rebuilt this way. Returns how many.
    """
    known, sender, recovered = ledger.paths(), Sender("", "recovered from the spool"), 0
    for path in spool.objects():
        relative = spool.relative(path)
        if relative in known:
            continue
        try:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            ledger.record_instance(_arrival(read_identity(path), sha256, path.stat().st_size, relative, sender))
            recovered += 1
        except NodeError as error:
            log.warning("%s in the spool is no object: %s", relative, error)
    if recovered:
        words = f"{recovered} objects lay in the spool without an entry in the ledger; they were entered."
        ledger.note(EventKind.RECOVERED, words)
        log.info(words)
    return recovered
