"""What was received, every study, its state and its history: for people, for recovery, and as the outbox of reception.

One SQLite file (WAL, synchronous FULL), open in several processes at once. `Ledger` hands out frozen records; every
method is one transaction. Patient names and numbers are not in it: a keyed hash tells equal patients apart.
"""

from __future__ import annotations

from .analyses import analysis_id
from .deliveries import TAKEN_BACK, Deliveries
from .observations import Observations
from .reception import Reception
from .records import (
    PERHAPS,
    AnalysisRecord,
    Arrival,
    DeliveredObject,
    DeliveryRecord,
    DeliveryState,
    EventKind,
    EventRecord,
    InstanceRecord,
    Observation,
    OpenAssociation,
    Outcome,
    Receipt,
    ResultRecord,
    Scanner,
    StageRecord,
    State,
    StudyRecord,
)


class Ledger(Reception, Deliveries, Observations):
    """The open ledger: `Ledger(state_folder / "ledger.sqlite")`."""


__all__ = [
    "PERHAPS",
    "TAKEN_BACK",
    "AnalysisRecord",
    "Arrival",
    "DeliveredObject",
    "DeliveryRecord",
    "DeliveryState",
    "EventKind",
    "EventRecord",
    "InstanceRecord",
    "Ledger",
    "Observation",
    "OpenAssociation",
    "Outcome",
    "Receipt",
    "ResultRecord",
    "Scanner",
    "StageRecord",
    "State",
    "StudyRecord",
    "analysis_id",
]
