"""Guards against bad peers that pynetdicom has no switch for, and reception straight into the spool.

Everything that touches names which pynetdicom does not document is in this module: its one reader of bytes from the
network (`AssociationSocket.recv`), the socket and unfinished message of an association, and the temporary file that
`STORE_RECV_CHUNKED_DATASET` writes to. `receive_into` refuses to start with a pynetdicom that lacks the latter.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from pynetdicom import _config, dimse_messages
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from ..errors import NodeError
from .spool import IncomingFile, Spool

log = logging.getLogger(__name__)

A_ASSOCIATE_RQ, P_DATA_TF, A_ABORT = 0x01, 0x04, 0x07  # PS3.8 9.3
PDU_TYPES = range(0x01, 0x08)
LARGEST_ASSOCIATE_RQ = 1 << 20  # 128 presentation contexts with every transfer syntax are about 150 KB
LARGEST_OTHER = 1 << 10  # release, abort and reject have 4 bytes
PROVIDER_ABORT = bytes([A_ABORT, 0, 0, 0, 0, 4, 0, 0, 2, 0])  # A-ABORT by the service provider (PS3.8 9.3.8)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may ask of this node; times in seconds, sizes in bytes."""

    artim_s: float  # from the connection to the end of the A-ASSOCIATE-RQ (ARTIM, PS3.8 9.1.5)
    idle_s: float  # silence, and the longest time for one PDU
    pdu_bytes: int  # maximum length that was announced for P-DATA-TF
    message_bytes: int  # P-DATA without an answer: beyond this there is no end to wait for
    connections_per_peer: int
    connections: int


class GuardedSocket(AssociationSocket):
    """The transport of one accepted association: bounded in time and in size, aborted where a bound is passed."""

    def __init__(self, assoc: Association, client_socket: socket.socket, limits: Limits) -> None:
        super().__init__(assoc, client_socket=client_socket)
        self.limits = limits
        self.trouble = ""  # why the guard ended the association, for the history
        self._opened = time.monotonic()
        self._deadline = 0.0
        self._inside_pdu = False
        self._unanswered = 0
        client_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._acknowledge_at_once()

    def recv(self, nr_bytes: int) -> bytearray:
        """Exactly `nr_bytes`, or fewer where the peer closed. The caller reads six bytes of header, then the body.

        Raises ConnectionAbortedError, after sending A-ABORT, for a PDU that is too long or too slow.
        """
        if self._inside_pdu:
            self._inside_pdu = False
            return self._read(nr_bytes)
        self._deadline = self._deadline_of_next_pdu()
        header = self._read(nr_bytes)
        if len(header) == nr_bytes:
            pdu_type, _, length = struct.unpack(">BBL", header)
            self._check_length(pdu_type, length)
            self._inside_pdu = pdu_type in PDU_TYPES
        return header

    def send(self, bytestream: bytes) -> None:
        if bytestream[0] == P_DATA_TF:
            self._unanswered = 0
        super().send(bytestream)

    def _deadline_of_next_pdu(self) -> float:
        if self.assoc.requestor.primitive is None:
            return self._opened + self.limits.artim_s
        return time.monotonic() + self.limits.idle_s

    def _check_length(self, pdu_type: int, length: int) -> None:
        largest = {A_ASSOCIATE_RQ: LARGEST_ASSOCIATE_RQ, P_DATA_TF: self.limits.pdu_bytes}
        if length > largest.get(pdu_type, LARGEST_OTHER):
            self._stop(f"a PDU of type {pdu_type:02X} claimed {length} bytes")
        if pdu_type == P_DATA_TF:
            self._unanswered += length
            if self._unanswered > self.limits.message_bytes:
                self._stop(f"one message went on beyond {self.limits.message_bytes >> 20} MB")

    def _read(self, nr_bytes: int) -> bytearray:
        data = bytearray(nr_bytes)
        view, nr_read = memoryview(data), 0
        assert self.socket is not None
        while nr_read < nr_bytes:
            left = self._deadline - time.monotonic()
            if left <= 0:
                self._stop("a PDU did not arrive in time")
            self.socket.settimeout(left)
            try:
                received = self.socket.recv_into(view[nr_read:])
            except TimeoutError:
                self._stop("a PDU did not arrive in time")
            if not received:
                break
            nr_read += received
        self.socket.settimeout(None)
        self._acknowledge_at_once()
        view.release()
        del data[nr_read:]
        return data

    def _acknowledge_at_once(self) -> None:
        """Senders with Nagle's algorithm wait for this ACK: 200 against 369 images/s. Linux forgets it each time."""
        if hasattr(socket, "TCP_QUICKACK") and self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _stop(self, trouble: str) -> None:
        """Abort here and now: the state machine waits for the whole PDU and would not get round to it."""
        self.trouble = trouble
        assert self.socket is not None
        with contextlib.suppress(OSError):
            self.socket.settimeout(1)
            self.socket.sendall(PROVIDER_ABORT)
        self._is_connected = False  # nothing more is read from this peer
        raise ConnectionAbortedError(trouble)


class GuardedRequest(RequestHandler):
    """Gives every accepted connection its `GuardedSocket`."""

    server: GuardedServer

    def _create_association(self) -> Association:
        association = super()._create_association()
        association.dul.socket = GuardedSocket(association, self.request, self.server.limits)
        with contextlib.suppress(queue.Empty):
            association.dul.event_queue.get_nowait()  # both sockets announced the connection; once is right
        return association


class GuardedServer(ThreadedAssociationServer):
    """Listens; closes connections beyond the limits before they cost a thread."""

    request_queue_size = 128
    daemon_threads = True
    limits: Limits  # set by `guarded_server`: the base class's signature is not ours

    def verify_request(self, request: Any, client_address: Any) -> bool:
        open_now = self.active_associations
        address = client_address[0]
        from_there = sum(association.requestor.address == address for association in open_now)
        if len(open_now) < self.limits.connections and from_there < self.limits.connections_per_peer:
            return True
        log.warning("Closed a connection from %s: %d are open, %d from there", address, len(open_now), from_there)
        return False


def guarded_server(limits: Limits) -> type[GuardedServer]:
    """The server class for `AE.make_server(server_class=..., request_handler=GuardedRequest)`."""
    return type("GuardedServer", (GuardedServer,), {"limits": limits})


def trouble_of(association: Association) -> str:
    """Why a guard ended this association; empty where none did."""
    return getattr(association.dul.socket, "trouble", "")


# ------------------------------------------------------------------ straight into the spool
class _DataSetFile:
    """What pynetdicom writes an incoming data set to: the part of NamedTemporaryFile's interface that it uses."""

    def __init__(self, incoming: IncomingFile) -> None:
        self.incoming = incoming
        self.name = str(incoming.path)
        self.write = incoming.write
        self.close = incoming.discard

    @property
    def file(self) -> _DataSetFile:
        return self

    def flush(self) -> None:
        """pynetdicom flushes after every fragment; `IncomingFile.make_durable` does it once."""


def receive_into(spool: Spool) -> Callable[[Path], IncomingFile]:
    """From now on every C-STORE of this process is written into `spool`; returns the way from its path to its file.

    Raises NodeError for a pynetdicom that receives in another way.
    """
    if not hasattr(dimse_messages, "NamedTemporaryFile"):
        raise NodeError("This pynetdicom receives files in an unknown way.", remedy="Install pynetdicom 3.0.4.")
    open_files: WeakValueDictionary[str, IncomingFile] = WeakValueDictionary()

    def new_file(**_: Any) -> _DataSetFile:
        file = _DataSetFile(spool.incoming())
        open_files[file.name] = file.incoming
        return file

    dimse_messages.NamedTemporaryFile = new_file
    _config.STORE_RECV_CHUNKED_DATASET = True
    return lambda path: open_files[str(path)]


def discard_unfinished(association: Association) -> None:
    """Remove what was being received when the association broke."""
    unfinished = getattr(association.dimse.message, "_data_set_file", None)
    if unfinished is not None:
        unfinished.close()
