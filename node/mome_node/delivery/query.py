"""What a PACS shows of a study: C-FIND, for asking after a rejection note whether it hid what the note names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind  # type: ignore[attr-defined]

from ..errors import DeliveryError
from ..settings import Destination
from .association import NoClassAccepted, association, name

PENDING = (0xFF00, 0xFF01)


class QueryRefused(DeliveryError):
    """The peer is there and does not answer this question."""


def shown(destination: Destination, study: str, series: Iterable[str], own_ae_title: str) -> frozenset[str]:
    """SOP Instance UIDs that the destination answers for these series of a study.

    Raises QueryRefused where it takes no such query, DeliveryError where it cannot be reached or stops answering.
    """
    try:
        with association(destination, own_ae_title, {(StudyRootFind, ImplicitVRLittleEndian)}) as peer:
            return frozenset(uid for one in sorted(set(series)) for uid in _instances(destination, peer, study, one))
    except NoClassAccepted as error:
        raise QueryRefused(error.message, remedy=error.remedy) from error


def _instances(destination: Destination, peer: Association, study: str, series: str) -> Iterator[str]:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID, query.SeriesInstanceUID, query.SOPInstanceUID = study, series, ""
    if not peer.is_established:
        raise DeliveryError(f"{name(destination)} ended the association at a query.", remedy="It is tried again.")
    for status, answer in peer.send_c_find(query, StudyRootFind):
        if "Status" not in status:
            raise DeliveryError(f"{name(destination)} did not answer a query.", remedy="It is tried again.")
        if status.Status not in (*PENDING, 0):
            raise QueryRefused(
                f"{name(destination)} answered a query with {status.Status:04X}.",
                remedy="Allow C-FIND (Study Root) for this node on the PACS.",
            )
        if answer is not None and answer.get("SOPInstanceUID"):
            yield str(answer.SOPInstanceUID)
