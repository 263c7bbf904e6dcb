"""An association with a PACS that this node opens: established and released, or a refusal in words."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from ..errors import DeliveryError
from ..settings import Destination

UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
MAXIMUM_PDU = 131072

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


class NoClassAccepted(DeliveryError):
    """The peer agreed to the association and to none of the SOP classes that were proposed."""


@contextmanager
def association(
    destination: Destination, own_ae_title: str, contexts: Iterable[tuple[str, str]]
) -> Iterator[Association]:
    """An established association that proposes these (SOP class, transfer syntax), released at the end.

    Raises NoClassAccepted where the peer takes none of the classes, DeliveryError where no association comes about.
    """
    ae = AE(ae_title=own_ae_title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = destination.answer_timeout_s
    ae.connection_timeout = destination.answer_timeout_s
    for sop_class, syntax in sorted(contexts):
        ae.add_requested_context(sop_class, UNCOMPRESSED if syntax in UNCOMPRESSED else [syntax])
    try:
        opened = ae.associate(
            destination.host,
            destination.port,
            ae_title=destination.ae_title,
            max_pdu=MAXIMUM_PDU,
            evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once)],
        )
    except OSError as error:
        raise _unreachable(destination, error) from error
    try:
        if opened.is_rejected:
            raise _rejected(destination, own_ae_title, opened)
        if not opened.is_established:
            raise _not_established(destination, opened)
        yield opened
    finally:
        if opened.is_established:
            opened.release()


def _send_at_once(event: Event) -> None:
    """No Nagle: with it, each object waits 45 ms for a delayed acknowledgement."""
    opened = event.assoc.dul.socket
    if opened is not None and opened.socket is not None:
        opened.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def name(destination: Destination) -> str:
    return f"{destination.ae_title} ({destination.host}:{destination.port})"


def _rejected(destination: Destination, own_ae_title: str, association: Association) -> DeliveryError:
    """PS3.8 9.3.4: who is meant by (source, diagnostic)."""
    answer = association.acceptor.primitive
    assert answer is not None
    reason = (answer.result_source or 0, answer.diagnostic or 0)
    message, remedy = REJECTIONS.get(reason, (f"source {reason[0]}, reason {reason[1]}", "Ask whoever runs the PACS."))
    return DeliveryError(
        f"{name(destination)} refused the association: {message.format(own=own_ae_title)}.",
        remedy=remedy.format(own=own_ae_title, called=destination.ae_title),
    )


def _not_established(destination: Destination, association: Association) -> DeliveryError:
    """The library only says "aborted": one plain TCP connection tells a dead port from a silent or unwilling PACS."""
    if association.rejected_contexts and not association.accepted_contexts:
        classes = sorted({str(context.abstract_syntax) for context in association.rejected_contexts})
        return NoClassAccepted(
            f"{name(destination)} accepts none of the SOP classes {', '.join(classes)}.",
            remedy="Enable them for this node on the PACS.",
        )
    try:
        with socket.create_connection((destination.host, destination.port), timeout=destination.answer_timeout_s):
            return DeliveryError(
                f"{name(destination)} took the connection and agreed to no association.",
                remedy="Check that this port speaks DICOM without TLS, and the log of the PACS.",
            )
    except OSError as error:
        return _unreachable(destination, error)


def _unreachable(destination: Destination, error: OSError) -> DeliveryError:
    if isinstance(error, socket.gaierror):
        return DeliveryError(f"The name {destination.host!r} is unknown.", remedy="Correct `host` of the destination.")
    if isinstance(error, ConnectionRefusedError):
        remedy = "Start the PACS, or correct `host` and `port` of the destination."
        return DeliveryError(f"Nothing listens at {name(destination)}.", remedy=remedy)
    if isinstance(error, TimeoutError):
        remedy = "Check the network and its firewalls between this machine and the PACS."
        waited = f"{destination.answer_timeout_s:g} s"
        return DeliveryError(f"{name(destination)} did not answer within {waited}.", remedy=remedy)
    remedy = "Check the network between this machine and the PACS."
    return DeliveryError(f"{name(destination)} cannot be reached: {error.strerror or error}.", remedy=remedy)
