"""The Storage SCP: who may send, what is accepted, and the receiver process around it.

Reception knows the spool and the ledger and nothing behind them: no engine, no model. Every image is answered after its
file and its ledger row are on disk.
"""

from __future__ import annotations

import ipaddress
import itertools
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Protocol
from weakref import WeakKeyDictionary

from pydicom import Dataset, uid
from pynetdicom import AE, _config, build_context, evt, register_uid
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

from ..ledger import EventKind, Ledger
from ..settings import Peer, Receiver, Settings
from .admission import PROCESSING_FAILURE, SUCCESS, Admission, Sender, admit, recover
from .spool import IncomingFile, Spool
from .transport import (
    GuardedRequest,
    GuardedServer,
    Limits,
    discard_unfinished,
    guarded_server,
    receive_into,
    trouble_of,
)

log = logging.getLogger(__name__)

VERIFICATION = "1.2.840.10008.1.1"

STORAGE_CLASSES = (
    uid.MRImageStorage,
    uid.EnhancedMRImageStorage,
    uid.EnhancedMRColorImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
    uid.MRSpectroscopyStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.BasicTextSRStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.Comprehensive3DSRStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.SegmentationStorage,
    uid.ParametricMapStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.ColorSoftcopyPresentationStateStorage,
    uid.SpatialRegistrationStorage,
    uid.RealWorldValueMappingStorage,
    uid.RawDataStorage,
    uid.EncapsulatedPDFStorage,
)
"""What PACS route along with a breast MRI study. Only MR images start anything; the rest is stored and acknowledged."""

TRANSFER_SYNTAXES = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
    uid.RLELossless,
)
"""Everything that the installed decoders can read. Objects are stored as they came."""

MAXIMUM_PDU = 131072  # bytes; 64 to 128 KB were the fastest, 16 KB cost a third
ARTIM_S = 10.0
STOPPING_S = 10.0  # time that open associations get to end when the receiver stops

PERMANENT, TRANSIENT = 0x01, 0x02  # results of A-ASSOCIATE-RJ with (source, diagnostic), PS3.8 9.3.4
CALLING_UNKNOWN = (PERMANENT, 0x01, 0x03)
CALLED_UNKNOWN = (PERMANENT, 0x01, 0x07)
CONGESTION = (TRANSIENT, 0x03, 0x01)
LIMIT_EXCEEDED = (TRANSIENT, 0x03, 0x02)


class StopEvent(Protocol):
    """threading.Event or multiprocessing.Event."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> object: ...


# ------------------------------------------------------------------ who may send
def judge(calling: str, called: str, address: str, peers: Sequence[Peer], own_ae: str) -> tuple[str, tuple[int, ...]]:
    """Why an association is refused, in words with what to configure, and its A-ASSOCIATE-RJ; ("", ()) if welcome."""
    if called != own_ae:
        words = (
            f"It calls this node {called!r}; its title is {own_ae!r}. "
            "Correct the called AE title on the sender, or receiver.ae_title here."
        )
        return words, CALLED_UNKNOWN
    known = next((peer for peer in peers if peer.ae_title == calling), None)
    if known is None:
        words = (
            f"The calling AE title {calling!r} is not in the list of peers. To accept it, add to the configuration: "
            f'[[peers]] ae_title = "{calling}", addresses = ["{address}"].'
        )
        return words, CALLING_UNKNOWN
    if known.addresses and not any(_is_at(address, allowed) for allowed in known.addresses):
        words = (
            f"{calling!r} may call from {', '.join(known.addresses)} only. "
            f'If it moved, add "{address}" to the addresses of this peer; if not, find out who uses its title.'
        )
        return words, CALLING_UNKNOWN
    return "", ()


def _is_at(address: str, allowed: str) -> bool:
    """True where `allowed` (address, network such as 10.1.0.0/16, or host name) covers `address`."""
    here = ipaddress.ip_address(address.partition("%")[0])
    here = getattr(here, "ipv4_mapped", None) or here
    try:
        return here in ipaddress.ip_network(allowed, strict=False)
    except ValueError:
        pass
    try:
        return any(str(here) == info[4][0] for info in socket.getaddrinfo(allowed, None))
    except OSError:
        return False


# ------------------------------------------------------------------ what is done with what they send
class Reception:
    """The handlers of one receiver. None of them raises: a raised exception would end the peer's association."""

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        ledger: Ledger,
        *,
        name: str,
        storage_classes: Collection[str],
        file_at: Callable[[Path], IncomingFile],
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._ledger = ledger
        self._name = name
        self._storage_classes = storage_classes
        self._file_at = file_at
        self._numbers = itertools.count(1)
        self._keys: WeakKeyDictionary[Association, str] = WeakKeyDictionary()  # their keys in the ledger

    def handlers(self) -> list[evt.EventHandlerType]:
        return [
            (evt.EVT_REQUESTED, self.requested),
            (evt.EVT_C_STORE, self.store),
            (evt.EVT_C_ECHO, self.echo),
            (evt.EVT_ABORTED, self.aborted),
            (evt.EVT_CONN_CLOSE, self.closed),
        ]

    def requested(self, event: Event) -> None:
        """Refuse who is not listed; offer to the others the storage classes that they asked for."""
        association = event.assoc
        request = association.requestor.primitive
        assert request is not None  # that is what was requested
        address = association.requestor.address
        calling, called = request.calling_ae_title.strip(), request.called_ae_title.strip()
        words, refusal = self._refusal(association, calling, called, address)
        if refusal:
            self._note(EventKind.ASSOCIATION_REFUSED, words, f"{calling} at {address}")
            association.acse.send_reject(*refusal)
            association.kill()  # returns once the rejection is on its way
            return
        association.acceptor.supported_contexts = offered(
            request.presentation_context_definition_list, self._storage_classes
        )

    def _refusal(
        self, association: Association, calling: str, called: str, address: str
    ) -> tuple[str, tuple[int, ...]]:
        """As `judge`, with the limits; a fault in the judgement itself lets nobody in."""
        receiver = self._settings.receiver
        try:
            words, refusal = judge(calling, called, address, self._settings.peers, receiver.ae_title)
            return (words, refusal) if refusal else self._crowded(association, address, receiver)
        except Exception:
            log.exception("An association from %s could not be judged", address)
            return "The node failed; its log says where.", CONGESTION

    def _crowded(self, association: Association, address: str, receiver: Receiver) -> tuple[str, tuple[int, ...]]:
        others = [other for other in association.ae.active_associations if other is not association]
        there = sum(other.is_established and other.requestor.address == address for other in others)
        if there >= receiver.max_associations_per_peer:
            return f"{there} associations from there are open (receiver.max_associations_per_peer).", LIMIT_EXCEEDED
        established = sum(other.is_established for other in others)
        if established >= receiver.max_associations:
            return f"{established} associations are open (receiver.max_associations).", LIMIT_EXCEEDED
        return "", ()

    def echo(self, event: Event) -> int:
        return SUCCESS

    def store(self, event: Event) -> Dataset:
        """C-STORE: the status and, where it is not success, what happened, within the 64 characters of a comment."""
        sender = self._sender(event)
        try:
            command = event.request
            assert isinstance(command, C_STORE)
            admission = admit(
                self._spool,
                self._ledger,
                self._file_at(event.dataset_path),
                sender,
                announced=(str(command.AffectedSOPClassUID), str(command.AffectedSOPInstanceUID)),
                receiver=self._name,
            )
        except Exception:
            log.exception("A C-STORE of %s failed", sender)
            admission = Admission(PROCESSING_FAILURE, words="The node failed; its log says where.")
        answer = Dataset()
        answer.Status = admission.status
        if admission.status != SUCCESS:
            answer.ErrorComment = admission.words[:64]
        return answer

    def aborted(self, event: Event) -> None:
        words = trouble_of(event.assoc)
        self._note(
            EventKind.ASSOCIATION_ABORTED,
            f"The association was aborted{f': {words}' if words else ''}. What was acknowledged is kept; "
            "the sender should send the rest again.",
            str(self._sender(event)),
        )

    def closed(self, event: Event) -> None:
        discard_unfinished(event.assoc)
        key = self._keys.pop(event.assoc, None)
        if key is not None:
            self._ledger.association_ended(key)

    def _sender(self, event: Event) -> Sender:
        association = event.assoc
        if association not in self._keys and event.event is evt.EVT_C_STORE:
            self._keys[association] = f"{self._name}/{os.getpid()}/{next(self._numbers)}"
        key = self._keys.get(association)
        return Sender(association.requestor.ae_title.strip(), association.requestor.address, key)

    def _note(self, kind: EventKind, words: str, peer: str) -> None:
        log.warning("%s, %s: %s", kind.capitalize(), peer, words)
        try:
            self._ledger.note(kind, words, peer=peer)
        except Exception:  # it stands in the log
            log.exception("The ledger could not take a note")


# ------------------------------------------------------------------ the receiver process
def known_storage_classes(extra: Iterable[str] = ()) -> frozenset[str]:
    """The default list and the classes that the site adds, which pynetdicom learns to serve where it does not yet."""
    for number, sop_class in enumerate(extra):
        if uid_to_service_class(sop_class) is not StorageServiceClass:  # private, or newer than pynetdicom
            register_uid(sop_class, f"SiteStorage{number}", StorageServiceClass)
    return frozenset([*STORAGE_CLASSES, *extra])


def offered(asked: Iterable[PresentationContext], storage_classes: Collection[str]) -> list[PresentationContext]:
    """What this node supports of what the peer asks for, transfer syntaxes in the peer's order.

    A PACS names the syntax of its archive first; choosing another one makes it decompress every image. And a list of
    only what was asked for is quick to negotiate: the full one costs 60 to 130 ms for each association.
    """
    syntaxes: dict[str, dict[str, None]] = {}
    for context in asked:
        sop_class = str(context.abstract_syntax)
        if sop_class in storage_classes or sop_class == VERIFICATION:
            known = [str(syntax) for syntax in context.transfer_syntax if syntax in TRANSFER_SYNTAXES]
            syntaxes.setdefault(sop_class, {}).update(dict.fromkeys(known))
    return [build_context(sop_class, list(names)) for sop_class, names in syntaxes.items() if names]


def listen(settings: Settings, spool: Spool, ledger: Ledger, *, name: str = "receiver-0") -> GuardedServer:
    """Open the port and serve in threads until `shutdown()`. Raises OSError where the port is taken."""
    receiver = settings.receiver
    storage_classes = known_storage_classes(receiver.extra_storage_classes)
    reception = Reception(
        settings, spool, ledger, name=name, storage_classes=storage_classes, file_at=receive_into(spool)
    )
    ae = AE(ae_title=receiver.ae_title)
    ae.maximum_pdu_size = MAXIMUM_PDU
    ae.acse_timeout = ARTIM_S
    ae.dimse_timeout = ae.network_timeout = receiver.idle_timeout_s
    ae.maximum_associations = 2 * receiver.max_associations  # `_crowded` decides; this is the last resort
    limits = Limits(
        artim_s=ARTIM_S,
        idle_s=receiver.idle_timeout_s,
        pdu_bytes=MAXIMUM_PDU,
        message_bytes=2 * spool.max_object_bytes,
        connections_per_peer=2 * receiver.max_associations_per_peer,
        connections=4 * receiver.max_associations,
    )
    server = ae.make_server(
        (receiver.host, receiver.port),
        contexts=[build_context(VERIFICATION)],  # replaced for each request by `offered`
        evt_handlers=reception.handlers(),
        server_class=guarded_server(limits),
        request_handler=GuardedRequest,
    )
    ae._servers.append(server)  # its shutdown takes it from this list
    threading.Thread(target=server.serve_forever, args=(0.1,), name="receiver", daemon=True).start()
    assert isinstance(server, GuardedServer)
    return server


def serve(
    settings: Settings,
    stop: StopEvent,
    *,
    name: str = "receiver-0",
    ready: Callable[[str, int], None] | None = None,
) -> None:
    """Body of a receiver process: receive until `stop` is set, then let open associations end and return.

    `ready` is told the address and the port once they are open. `name` is this receiver's own, stable over restarts.
    Raises StateFolderError where spool or ledger cannot be used, OSError where the port is taken.
    """
    _quieten_pynetdicom()
    receiver = settings.receiver
    spool = Spool(
        settings.state_folder / "spool",
        receiver=name,
        reserve_bytes=receiver.reserve_mb << 20,
        max_object_bytes=receiver.max_object_mb << 20,
    )
    ledger = Ledger(settings.state_folder / "ledger.sqlite")
    spool.empty_incoming()
    ledger.forget_associations(name)
    recover(spool, ledger)
    server = listen(settings, spool, ledger, name=name)
    host, port = server.server_address[:2]
    log.info("Receiving as %s on %s:%d", receiver.ae_title, host, port)
    if ready:
        ready(host, port)
    stop.wait()
    _close(server)
    ledger.close()


def _close(server: GuardedServer) -> None:
    """Take no more associations, wait for the open ones, abort those that do not end."""
    server.shutdown()
    until = time.monotonic() + STOPPING_S
    while server.active_associations and time.monotonic() < until:
        time.sleep(0.05)
    for association in server.active_associations:
        association.abort()


class _OneLine(logging.Handler):
    """pynetdicom's complaints as plain lines of our log: no tracebacks, whose values could be a patient's."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is None:
            log.log(record.levelno, "%s", record.getMessage())


def _quieten_pynetdicom() -> None:
    _config.LOG_HANDLER_LEVEL = "none"
    theirs = logging.getLogger("pynetdicom")
    theirs.propagate = False
    theirs.setLevel(logging.ERROR)
    theirs.handlers = [_OneLine()]
