"""An archive of another kind than Orthanc: it knows few, old SOP classes, and obeys rejection notes (IHE IOCM)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind
from pynetdicom.transport import ThreadedAssociationServer

from .peers import PACS

REJECTS = {"113001", "113037", "113038", "113039"}


@dataclass
class OldArchive:
    """What it was sent, and what it hides."""

    port: int = 0
    stored: list[Dataset] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)

    @property
    def shown(self) -> list[Dataset]:
        return [ds for ds in self.stored if ds.SOPInstanceUID not in self.hidden]

    def store(self, event: Event) -> int:
        ds = event.dataset
        if ds.SOPInstanceUID in self.hidden:
            return 0xC000  # what was rejected does not come back under its UID
        self.stored.append(ds)
        if ds.Modality == "KO" and ds.ConceptNameCodeSequence[0].CodeValue in REJECTS:
            named = [item.ReferencedSOPSequence[0] for item in ds.ContentSequence if "ReferencedSOPSequence" in item]
            self.hidden |= {one.ReferencedSOPInstanceUID for one in named} | {ds.SOPInstanceUID}
        return 0

    def find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        for ds in self.shown:
            if ds.SeriesInstanceUID == asked.SeriesInstanceUID:
                answer = Dataset()
                answer.QueryRetrieveLevel, answer.SOPInstanceUID = "IMAGE", ds.SOPInstanceUID
                yield 0xFF00, answer
        yield 0, None


@contextmanager
def old_archive() -> Iterator[OldArchive]:
    """The archive, listening on loopback."""
    archive, ae = OldArchive(), AE(ae_title=PACS)
    for sop_class in (EnhancedSRStorage, SecondaryCaptureImageStorage, KeyObjectSelectionDocumentStorage):
        ae.add_supported_context(sop_class, ExplicitVRLittleEndian)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    server = ae.make_server(
        ("127.0.0.1", 0),
        evt_handlers=[(evt.EVT_C_STORE, archive.store), (evt.EVT_C_FIND, archive.find)],
        server_class=ThreadedAssociationServer,
    )
    ae._servers.append(server)
    archive.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield archive
    finally:
        server.shutdown()
