"""Sends objects to a PACS: one association, one outcome per object, and words that say what to do."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from ..errors import DeliveryError, UnreadableDicom
from ..settings import Destination

log = logging.getLogger(__name__)

VERIFICATION = "1.2.840.10008.1.1"
UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
MAXIMUM_PDU = 131072

DUPLICATE = 0x0111
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

REGISTER = "Register {own} with this machine's address on the PACS, then run `mome-node check`."
REJECTIONS = {
    (1, 1): ("no reason given", REGISTER),
    (1, 2): ("it does not know the DICOM application context", "Check that this port is the PACS' DICOM port."),
    (1, 3): ("calling AE title {own} not recognised", REGISTER),
    (1, 7): ("called AE title not recognised", "Correct `ae_title` of the destination; it is {called!r} now."),
    (2, 1): ("no reason given", REGISTER),
    (2, 2): ("protocol version not supported", "Ask whoever runs the PACS."),
    (3, 1): ("temporary congestion", "It is tried again."),
    (3, 2): ("too many associations at the moment", "It is tried again; allow this node more of them on the PACS."),
}
"""(source, diagnostic) of A-ASSOCIATE-RJ (PS3.8 9.3.4) -> what it means, what to do."""


@dataclass(frozen=True, slots=True)
class ObjectOutcome:
    """What the destination did with one object."""

    path: Path
    sop_instance_uid: str
    sent: bool  # the destination has it
    status: int | None  # of the C-STORE response; None without an answer
    final: bool  # not sent, and trying again cannot help
    words: str  # empty for a plain success; a warning or refusal with what to do


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
    with _association(destination, own_ae_title, contexts) as association:
        return tuple(_store(association, one, destination) for one in objects)


def echo(destination: Destination, own_ae_title: str) -> None:
    """C-ECHO: returns where the destination knows us and answers; raises DeliveryError with what to mend."""
    with _association(destination, own_ae_title, {(VERIFICATION, ImplicitVRLittleEndian)}) as association:
        status = association.send_c_echo() if association.accepted_contexts else Dataset()
        if "Status" not in status or status.Status != 0:
            raise DeliveryError(
                f"{_name(destination)} took the association and did not answer C-ECHO.",
                remedy="Allow Verification for this node on the PACS.",
            )


# ------------------------------------------------------------------ one object
def _read(path: Path) -> _Object:
    try:
        meta = dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).file_meta
        return _Object(path, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
    except (OSError, InvalidDicomError, AttributeError, ValueError) as error:
        raise UnreadableDicom(f"{path} is no DICOM object.", remedy="Make the result again (`jobs retry`).") from error


def _store(association: Association, one: _Object, destination: Destination) -> ObjectOutcome:
    name = _name(destination)
    if not association.is_established:
        return _not_sent(one, f"{name} ended the association before this object. It is tried again.")
    if not any(context.abstract_syntax == one.sop_class_uid for context in association.accepted_contexts):
        words = f"{name} does not accept SOP class {one.sop_class_uid}. Enable it for this node there."
        return _not_sent(one, words, final=True)
    try:
        answer = association.send_c_store(one.path)
    except ValueError:
        words = f"{name} does not accept transfer syntax {one.transfer_syntax_uid}. Enable it for this node there."
        return _not_sent(one, words, final=True)
    except RuntimeError:
        return _not_sent(one, f"{name} ended the association at this object. It is tried again.")
    if "Status" not in answer:
        return _not_sent(one, f"{name} did not answer within {destination.answer_timeout_s:g} s. It is tried again.")
    return _judged(one, answer, name)


def _not_sent(one: _Object, words: str, status: int | None = None, *, final: bool = False) -> ObjectOutcome:
    log.warning("Object %s: %s", one.sop_instance_uid, words)
    return ObjectOutcome(one.path, one.sop_instance_uid, False, status, final, words)


def _judged(one: _Object, answer: Dataset, name: str) -> ObjectOutcome:
    """What a C-STORE response means (PS3.4 Table B.2-1, PS3.7 Annex C)."""
    status = int(answer.Status)
    comment = f' ("{answer.ErrorComment}")' if answer.get("ErrorComment") else ""
    said = f"{name} answered {status:04X}{comment}"
    if status == 0:
        return ObjectOutcome(one.path, one.sop_instance_uid, True, status, False, "")
    if status >> 12 == 0xB or status in WARNINGS:
        return ObjectOutcome(one.path, one.sop_instance_uid, True, status, False, f"{said}: stored, with a warning.")
    if status == DUPLICATE:
        return ObjectOutcome(one.path, one.sop_instance_uid, True, status, False, f"{said}: it was there already.")
    meaning = REFUSALS.get(status) or REFUSALS.get(status & 0xFF00) or REFUSALS.get(status & 0xF000, "refused")
    final = status in FINAL or status & 0xFF00 == 0xA900 or status & 0xF000 == 0xC000
    remedy = "Trying again does not help; the log of the PACS says why." if final else "It is tried again."
    return _not_sent(one, f"{said}: {meaning}. {remedy}", status, final=final)


# ------------------------------------------------------------------ the association
@contextmanager
def _association(
    destination: Destination, own_ae_title: str, contexts: Iterable[tuple[str, str]]
) -> Iterator[Association]:
    """An established association, released at the end. Raises DeliveryError where none comes about."""
    ae = AE(ae_title=own_ae_title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = destination.answer_timeout_s
    ae.connection_timeout = destination.answer_timeout_s
    for sop_class, syntax in sorted(contexts):
        ae.add_requested_context(sop_class, UNCOMPRESSED if syntax in UNCOMPRESSED else [syntax])
    try:
        association = ae.associate(
            destination.host,
            destination.port,
            ae_title=destination.ae_title,
            max_pdu=MAXIMUM_PDU,
            evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once)],
        )
    except OSError as error:
        raise _unreachable(destination, error) from error
    try:
        if association.is_rejected:
            raise _rejected(destination, own_ae_title, association)
        if not association.is_established:
            raise _not_established(destination, association)
        yield association
    finally:
        if association.is_established:
            association.release()


def _send_at_once(event: Event) -> None:
    """No Nagle: with it, each object waits 45 ms for a delayed acknowledgement."""
    opened = event.assoc.dul.socket
    if opened is not None and opened.socket is not None:
        opened.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _name(destination: Destination) -> str:
    return f"{destination.ae_title} ({destination.host}:{destination.port})"


def _rejected(destination: Destination, own_ae_title: str, association: Association) -> DeliveryError:
    """PS3.8 9.3.4: who is meant by (source, diagnostic)."""
    answer = association.acceptor.primitive
    assert answer is not None
    reason = (answer.result_source or 0, answer.diagnostic or 0)
    message, remedy = REJECTIONS.get(reason, (f"source {reason[0]}, reason {reason[1]}", "Ask whoever runs the PACS."))
    return DeliveryError(
        f"{_name(destination)} refused the association: {message.format(own=own_ae_title)}.",
        remedy=remedy.format(own=own_ae_title, called=destination.ae_title),
    )


def _not_established(destination: Destination, association: Association) -> DeliveryError:
    """The library only says "aborted": one plain TCP connection tells a dead port from a silent or unwilling PACS."""
    if association.rejected_contexts and not association.accepted_contexts:
        classes = sorted({str(context.abstract_syntax) for context in association.rejected_contexts})
        return DeliveryError(
            f"{_name(destination)} accepts none of the SOP classes {', '.join(classes)}.",
            remedy="Enable them for this node on the PACS.",
        )
    try:
        with socket.create_connection((destination.host, destination.port), timeout=destination.answer_timeout_s):
            return DeliveryError(
                f"{_name(destination)} took the connection and agreed to no association.",
                remedy="Check that this port speaks DICOM without TLS, and the log of the PACS.",
            )
    except OSError as error:
        return _unreachable(destination, error)


def _unreachable(destination: Destination, error: OSError) -> DeliveryError:
    if isinstance(error, socket.gaierror):
        return DeliveryError(f"The name {destination.host!r} is unknown.", remedy="Correct `host` of the destination.")
    if isinstance(error, ConnectionRefusedError):
        remedy = "Start the PACS, or correct `host` and `port` of the destination."
        return DeliveryError(f"Nothing listens at {_name(destination)}.", remedy=remedy)
    if isinstance(error, TimeoutError):
        remedy = "Check the network and its firewalls between this machine and the PACS."
        waited = f"{destination.answer_timeout_s:g} s"
        return DeliveryError(f"{_name(destination)} did not answer within {waited}.", remedy=remedy)
    remedy = "Check the network between this machine and the PACS."
    return DeliveryError(f"{_name(destination)} cannot be reached: {error.strerror or error}.", remedy=remedy)
