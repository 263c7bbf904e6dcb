"""What a PACS shows of a study: C-FIND, for asking after a rejection note whether it hid what the note names."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind  # type: ignore[attr-defined]

from ..errors import DeliveryError
from ..settings import Destination
from .association import association

PENDING = (0xFF00, 0xFF01)


def shown(destination: Destination, study: str, series: Iterable[str], own_ae_title: str) -> frozenset[str]:
    """SOP Instance UIDs that the destination answers for these series of a study.

    Raises DeliveryError where it cannot be asked: it refuses the association or the query, or does not answer.
    """
    with association(destination, own_ae_title, {(StudyRootFind, ImplicitVRLittleEndian)}) as peer:
        found: set[str] = set()
        for uid in sorted(set(series)):
            query = Dataset()
            query.QueryRetrieveLevel = "IMAGE"
            query.StudyInstanceUID, query.SeriesInstanceUID, query.SOPInstanceUID = study, uid, ""
            for status, answer in peer.send_c_find(query, StudyRootFind):
                if "Status" not in status or (status.Status not in PENDING and status.Status != 0):
                    raise DeliveryError(
                        f"{destination.ae_title} did not answer what it holds of the study.",
                        remedy="Allow C-FIND (Study Root) for this node on the PACS.",
                    )
                if answer is not None:
                    found.add(str(answer.get("SOPInstanceUID", "")))
        return frozenset(found - {""})
