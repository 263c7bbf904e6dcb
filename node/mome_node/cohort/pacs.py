"""Studies of a PACS, one at a time: C-FIND for those of the table, then C-GET, or C-MOVE to a small SCP of our own.

C-GET needs nothing of the PACS but to know this node; C-MOVE needs a title and port at which the PACS can reach it.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind  # type: ignore[attr-defined]
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as StudyRootGet  # type: ignore[attr-defined]
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as StudyRootMove  # type: ignore[attr-defined]

from ..delivery.association import MAXIMUM_PDU, UNCOMPRESSED, NoClassAccepted, association, name
from ..delivery.query import PENDING
from ..errors import DeliveryError, SettingsError
from ..receive.storage_scp import STORAGE_CLASSES, TRANSFER_SYNTAXES
from ..settings import Destination, Receiver
from .source import RetrievalIncomplete
from .table import AtHand, Row

log = logging.getLogger(__name__)

MR_IMAGES = (MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
SILENCE_S = 300.0  # an archive may have to bring a study from a slow store before its first image comes
ATTEMPTS = 3
SUCCESS, OUT_OF_RESOURCES, NOT_ASKED_FOR = 0x0000, 0xA700, 0xA900


@dataclass(frozen=True, slots=True)
class MoveTo:
    """Our Storage SCP for C-MOVE, as the PACS knows it."""

    ae_title: str
    host: str
    port: int


class Pacs:
    """A PACS of the configuration, asked for no more than `per_hour` studies in an hour."""

    kind = "pacs"

    def __init__(self, pacs: Destination, own: Receiver, *, per_hour: float, move_to: MoveTo) -> None:
        self._pacs, self._own_title, self._move_to = pacs, own.ae_title, move_to
        self._classes = (*STORAGE_CLASSES, *own.extra_storage_classes)
        self._pause_s = 3600 / per_hour
        self._next = 0.0  # monotonic time before which no study is asked for
        self._way: Literal["get", "move"] | None = None  # by which objects have come

    def at_hand(self, rows: Sequence[Row]) -> list[AtHand]:
        """Raises DeliveryError where the PACS cannot be asked."""
        found: dict[str, AtHand] = {}
        with association(self._pacs, self._own_title, {(StudyRootFind, ImplicitVRLittleEndian)}) as peer:
            for row in rows:
                found |= {study.study: study for study in self._ask(peer, row)}
        return [found[uid] for uid in sorted(found)]

    def _ask(self, peer: Association, row: Row) -> Iterator[AtHand]:
        query = Dataset()
        query.QueryRetrieveLevel = "STUDY"
        query.StudyInstanceUID, query.AccessionNumber = row.study, "" if row.study else row.accession
        query.PatientID = query.NumberOfStudyRelatedInstances = ""
        answers = peer.send_c_find(query, StudyRootFind) if peer.is_established else iter([(Dataset(), None)])
        for status, answer in answers:
            if status.get("Status") not in (*PENDING, SUCCESS):
                raise DeliveryError(
                    f"{name(self._pacs)} did not answer a query for a study.",
                    remedy="Allow C-FIND (Study Root) for this node on the PACS, then run the command again.",
                )
            if answer is not None and answer.get("StudyInstanceUID"):
                study, patient, accession, number = (
                    str(answer.get(keyword) or "").strip()
                    for keyword in ("StudyInstanceUID", "PatientID", "AccessionNumber", "NumberOfStudyRelatedInstances")
                )
                if (study if row.study else accession) in (row.study, row.accession):  # some match loosely
                    yield AtHand(study, patient, accession, number)

    @contextmanager
    def images(self, study: AtHand, scratch: Path) -> Iterator[list[Path]]:
        """Raises RetrievalIncomplete where objects are missing, DeliveryError where the PACS does not answer."""
        folder = scratch / "retrieved"
        try:
            yield self._retrieved(study.study, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _retrieved(self, study: str, folder: Path) -> list[Path]:
        for attempt in range(1, ATTEMPTS + 1):
            time.sleep(max(0.0, self._next - time.monotonic()))
            self._next = time.monotonic() + self._pause_s
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            inbox = _Inbox(study, folder)
            try:
                missed = self._fetch(study, inbox)
            except DeliveryError:
                if attempt == ATTEMPTS:
                    raise
                log.warning("a retrieval from %s failed; it is tried again", name(self._pacs))
                continue
            if inbox.trouble:
                raise inbox.trouble
            if not missed and inbox.files:
                return inbox.files
            log.warning("%d objects of a study did not come from %s", missed, name(self._pacs))
        raise RetrievalIncomplete(
            f"{name(self._pacs)} did not hand out all objects of a study.",
            remedy="Where it holds objects of private classes, name these in receiver.extra_storage_classes.",
        )

    def _fetch(self, study: str, inbox: _Inbox) -> int:
        """How many objects failed. C-GET until it turns out that the PACS gives nothing by it; then C-MOVE.

        Some refuse by taking no such context, some by a status, some (Orthanc) by breaking off.
        """
        if self._way != "move":
            try:
                missed = self._get(study, inbox)
            except DeliveryError:
                if self._way == "get" or inbox.files:
                    raise
            else:
                if inbox.files:
                    self._way = "get"
                    return missed
        missed = self._move(study, inbox)
        if inbox.files:
            self._way = "move"
        return missed

    # -------------------------------------------------------------- C-GET
    def _get(self, study: str, inbox: _Inbox) -> int:
        """How many objects failed. Raises NoClassAccepted where the PACS offers no C-GET."""
        ae = AE(self._own_title)
        ae.acse_timeout = ae.connection_timeout = self._pacs.answer_timeout_s
        ae.dimse_timeout = ae.network_timeout = max(SILENCE_S, self._pacs.answer_timeout_s)
        ae.requested_contexts = [build_context(StudyRootGet), *self._storage_contexts()]
        peer = ae.associate(
            self._pacs.host,
            self._pacs.port,
            ae_title=self._pacs.ae_title,
            max_pdu=MAXIMUM_PDU,
            ext_neg=[build_role(one, scp_role=True) for one in self._classes],
            evt_handlers=[(evt.EVT_C_STORE, inbox.store)],
        )
        if not peer.is_established:
            raise DeliveryError(
                f"{name(self._pacs)} agreed to no association for a retrieval.", remedy="Run `mome-node check`."
            )
        try:
            if StudyRootGet not in {context.abstract_syntax for context in peer.accepted_contexts}:
                raise NoClassAccepted(f"{name(self._pacs)} offers no C-GET.", remedy="C-MOVE is tried.")
            return _failed(peer.send_c_get(_whole(study), StudyRootGet), self._pacs)
        finally:
            peer.release()

    def _storage_contexts(self) -> list[PresentationContext]:
        """Every class uncompressed; MR images in each compressed syntax, too: they come as they are stored."""
        plain = [build_context(one, list(UNCOMPRESSED)) for one in self._classes]
        compressed = [syntax for syntax in TRANSFER_SYNTAXES if syntax not in UNCOMPRESSED]
        return [*plain, *(build_context(one, [syntax]) for one in MR_IMAGES for syntax in compressed)]

    # -------------------------------------------------------------- C-MOVE
    def _move(self, study: str, inbox: _Inbox) -> int:
        """How many objects failed."""
        contexts = {(StudyRootMove, ImplicitVRLittleEndian)}
        with association(self._pacs, self._own_title, contexts) as peer, self._scp(inbox.store):
            peer.dimse_timeout = max(SILENCE_S, self._pacs.answer_timeout_s)
            return _failed(peer.send_c_move(_whole(study), self._move_to.ae_title, StudyRootMove), self._pacs)

    @contextmanager
    def _scp(self, store: Callable[[Event], int]) -> Iterator[None]:
        ae = AE(self._move_to.ae_title)
        ae.require_called_aet = True
        for one in self._classes:
            ae.add_supported_context(one, list(TRANSFER_SYNTAXES))
        place = (self._move_to.host, self._move_to.port)
        try:
            server = ae.start_server(place, block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
        except OSError as error:
            raise SettingsError(
                f"{place[0]}:{place[1]} cannot be listened at ({error.strerror}), and the PACS gave nothing by C-GET.",
                remedy="Stop the node, or register another title and port on the PACS and name them with --move-to.",
            ) from error
        assert server is not None  # start_server gives one when it does not block
        try:
            yield
        finally:
            server.shutdown()


@dataclass
class _Inbox:
    """Where the objects of one study go, as they come."""

    study: str
    folder: Path
    files: list[Path] = field(default_factory=list)
    trouble: OSError | None = None  # of our own disk

    def store(self, event: Event) -> int:
        """C-STORE."""
        if str(event.dataset.get("StudyInstanceUID", "")) != self.study:
            return NOT_ASKED_FOR
        path = self.folder / f"{len(self.files):06d}.dcm"
        try:
            path.write_bytes(event.encoded_dataset())
        except OSError as error:
            self.trouble = error
            return OUT_OF_RESOURCES
        self.files.append(path)
        return SUCCESS


def _whole(study: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", study
    return query


def _failed(answers: Iterable[tuple[Dataset, Dataset | None]], pacs: Destination) -> int:
    """Sub-operations that failed, from the last answer of a C-GET or C-MOVE."""
    last = Dataset()
    for status, _ in answers:
        last = status
    if "Status" not in last:
        raise DeliveryError(f"{name(pacs)} stopped answering during a retrieval.", remedy="Run the command again.")
    failed = int(last.get("NumberOfFailedSuboperations") or 0)
    return failed if last.Status == SUCCESS or failed else 1
