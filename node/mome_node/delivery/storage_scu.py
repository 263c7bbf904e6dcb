"""Sends objects to a PACS: one association, one outcome per object, and words that say what to do."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.association import Association

from ..errors import DeliveryError, UnreadableDicom
from ..settings import Destination
from .association import NoClassAccepted, association, name

log = logging.getLogger(__name__)

VERIFICATION = "1.2.840.10008.1.1"
DUPLICATE = 0x0111
CLASS_NOT_SUPPORTED = 0x0122
WARNINGS = {0x0001, 0x0107, 0x0116}  # beside B000 to BFFF
FINAL = {0x0117, 0x0122, 0x0124, 0x0210, 0x0211, 0x0212}  # beside A9xx and Cxxx
REFUSALS = {
    0x0110: "processing failure",
    0x0117: "invalid object instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0xA700: "out of resources",
    0xA900: "the data set does not match its SOP class",
    0xC000: "cannot understand",
}


@dataclass(frozen=True, slots=True)
class ObjectOutcome:
    """What the destination did with one object."""

    path: Path
    sop_instance_uid: str
    sent: bool  # the destination has it
    status: int | None  # of the C-STORE response; None without an answer
    final: bool  # not sent, and trying again cannot help
    words: str  # empty for a plain success; a warning or refusal with what to do
    class_refused: bool = False  # the destination does not take the SOP class: another class may do


@dataclass(frozen=True, slots=True)
class _Object:
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def send(destination: Destination, paths: Sequence[Path], own_ae_title: str) -> tuple[ObjectOutcome, ...]:
    """C-STORE each file, in this order, over one association; an outcome for every one of them.

    Raises DeliveryError where no association comes about, UnreadableDicom for a file that is no object. A break in the
    middle is no error: the objects from there on are not sent and may be tried again.
    """
    objects = [_read(path) for path in paths]
    contexts = {(one.sop_class_uid, one.transfer_syntax_uid) for one in objects}
    try:
        with association(destination, own_ae_title, contexts) as peer:
            return tuple(_store(peer, one, destination) for one in objects)
    except NoClassAccepted:
        return tuple(_class_refused(one, name(destination)) for one in objects)


def echo(destination: Destination, own_ae_title: str) -> None:
    """C-ECHO: returns where the destination knows us and answers; raises DeliveryError with what to mend."""
    with association(destination, own_ae_title, {(VERIFICATION, ImplicitVRLittleEndian)}) as peer:
        status = peer.send_c_echo() if peer.accepted_contexts else Dataset()
        if "Status" not in status or status.Status != 0:
            raise DeliveryError(
                f"{name(destination)} took the association and did not answer C-ECHO.",
                remedy="Allow Verification for this node on the PACS.",
            )


# ------------------------------------------------------------------ one object
def _read(path: Path) -> _Object:
    try:
        meta = dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).file_meta
        return _Object(path, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
    except (OSError, InvalidDicomError, AttributeError, ValueError) as error:
        raise UnreadableDicom(f"{path} is no DICOM object.", remedy="Make the result again (`jobs retry`).") from error


def _store(peer: Association, one: _Object, destination: Destination) -> ObjectOutcome:
    who = name(destination)
    if not peer.is_established:
        return _not_sent(one, f"{who} ended the association before this object. It is tried again.")
    if not any(context.abstract_syntax == one.sop_class_uid for context in peer.accepted_contexts):
        return _class_refused(one, who)
    try:
        answer = peer.send_c_store(one.path)
    except ValueError:
        words = f"{who} does not accept transfer syntax {one.transfer_syntax_uid}. Enable it for this node there."
        return _not_sent(one, words, final=True)
    except RuntimeError:
        return _not_sent(one, f"{who} ended the association at this object. It is tried again.")
    if "Status" not in answer:
        return _not_sent(one, f"{who} did not answer within {destination.answer_timeout_s:g} s. It is tried again.")
    return _judged(one, answer, who)


def _class_refused(one: _Object, who: str) -> ObjectOutcome:
    words = f"{who} does not accept SOP class {one.sop_class_uid}. Enable it for this node there."
    return replace(_not_sent(one, words, final=True), class_refused=True)


def _not_sent(one: _Object, words: str, status: int | None = None, *, final: bool = False) -> ObjectOutcome:
    log.warning("Object %s: %s", one.sop_instance_uid, words)
    return ObjectOutcome(one.path, one.sop_instance_uid, False, status, final, words)


def _judged(one: _Object, answer: Dataset, who: str) -> ObjectOutcome:
    """What a C-STORE response means (PS3.4 Table B.2-1, PS3.7 Annex C)."""
    status = int(answer.Status)
    comment = f' ("{answer.ErrorComment}")' if answer.get("ErrorComment") else ""
    said = f"{who} answered {status:04X}{comment}"
    if status == 0:
        return ObjectOutcome(one.path, one.sop_instance_uid, True, status, False, "")
    if status >> 12 == 0xB or status in WARNINGS:
        return ObjectOutcome(one.path, one.sop_instance_uid, True, status, False, f"{said}: stored, with a warning.")
    if status == DUPLICATE:
        return ObjectOutcome(one.path, one.sop_instance_uid, True, status, False, f"{said}: it was there already.")
    meaning = REFUSALS.get(status) or REFUSALS.get(status & 0xFF00) or REFUSALS.get(status & 0xF000, "refused")
    final = status in FINAL or status & 0xFF00 == 0xA900 or status & 0xF000 == 0xC000
    remedy = "Trying again does not help; the log of the PACS says why." if final else "It is tried again."
    refused = _not_sent(one, f"{said}: {meaning}. {remedy}", status, final=final)
    return replace(refused, class_refused=status == CLASS_NOT_SUPPORTED)
