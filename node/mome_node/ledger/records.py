"""What the ledger hands out: frozen records, and the words for states and events. Times are aware, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Receipt(StrEnum):
    """What became of one object that a peer sent."""

    NEW = "new"
    SAME = "same"  # was already here, byte for byte: acknowledged again, counted once
    VARIANT = "variant"  # same pixels, other header: the first is kept, the second noted
    CONFLICT = "conflict"  # same UID, other pixels: the first is kept, the second lies in quarantine


class State(StrEnum):
    """Where a study stands. The first two are of a study without an analysis, the others of one analysis."""

    RECEIVED = "received"  # objects came; none of them starts an analysis
    WAITING = "waiting"  # images came; the study is not yet complete
    QUEUED = "queued"
    RUNNING = "running"  # `stage` says which
    DELIVERING = "delivering"  # the result stands; at least one destination does not have it yet
    DELIVERED = "delivered"  # analysed, and every destination has the result
    NOT_ANALYSED = "not_analysed"  # refused for a coded reason; every destination that gets a report has it
    FAILED = "failed"  # a person must act
    PARKED = "parked"  # waits for a person, e.g. images that came after a result was delivered
    SUPERSEDED = "superseded"  # a newer generation of the same study took its place
    CANCELLED = "cancelled"
    WITHDRAWN = "withdrawn"  # delivered, then taken back by a rejection note

    @property
    def is_final(self) -> bool:
        """True where the node does nothing more by itself."""
        return self not in (State.RECEIVED, State.WAITING, State.QUEUED, State.RUNNING, State.DELIVERING)


class Outcome(StrEnum):
    """What the analysis came to; as `Findings.status`."""

    ANALYSED = "analysed"
    NOT_ANALYSED = "not_analysed"
    FAILED = "failed"


class DeliveryState(StrEnum):
    """Where one destination's copy of a result stands."""

    WAITING = "waiting"  # to be tried at `next_try_at`, or at once where that is None
    DELIVERED = "delivered"
    FAILED = "failed"  # refused for good, or tried for too long; a person must act
    CANCELLED = "cancelled"  # superseded before it was delivered
    HELD = "held"  # not sent: a person must look first, e.g. at the cause of many failures
    WITHDRAWING = "withdrawing"  # was delivered; a rejection note is on its way, at `next_try_at` or at once
    WITHDRAWN = "withdrawn"  # the destination has the rejection note
    NOT_WITHDRAWN = "not withdrawn"  # the note was refused, or tried for too long; a person must act


class EventKind(StrEnum):
    """Chapters of the history."""

    ASSOCIATION_REFUSED = "association refused"
    ASSOCIATION_ABORTED = "association aborted"
    OBJECT_REFUSED = "object refused"
    VARIANT = "variant"
    CONFLICT = "conflict"
    MIXED_PATIENTS = "mixed patients"
    RECOVERED = "recovered"
    STATE = "state"
    DELIVERY = "delivery"
    REQUEST = "request"  # a person asked for something
    ALARM = "alarm"  # a person must look now


@dataclass(frozen=True, slots=True)
class Arrival:
    """One object that lies in the spool and is about to enter the ledger."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    modality: str
    image_type: str  # values joined by a backslash
    patient: bytes  # PatientID and issuer as sent; only a keyed hash of it is stored
    sha256: str  # of the file in the spool
    size: int  # bytes
    path: str  # relative to the spool
    calling_ae: str
    address: str
    starts: bool  # an MR image that the model selects or could select
    association: str | None = None  # key of the open association it came by


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    seq: int  # order of arrival, over all studies
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    modality: str
    image_type: str
    sha256: str
    size: int
    path: str
    calling_ae: str
    address: str
    starts: bool
    own: bool  # made by this node, came back from a PACS
    times_received: int
    received_at: datetime
    last_received_at: datetime


@dataclass(frozen=True, slots=True)
class StudyRecord:
    study_instance_uid: str
    patient_key: str  # keyed hash; equal for equal patients of this ledger, meaningless elsewhere
    first_received: datetime
    last_received: datetime
    instances: int
    images: int  # instances that start an analysis
    last_image_at: datetime | None
    last_image_seq: int  # 0 where no image came
    assembled_seq: int  # up to here the images went into an analysis
    complete_requested_at: datetime | None
    crashes: int  # of the compute child, since a person last retried
    withdrawals: int
    retries: int  # times that a person had it analysed again; part of the names of its work, not of its results
    taken_retries: int  # as many of them were taken up

    @property
    def has_new_images(self) -> bool:
        return self.last_image_seq > self.assembled_seq


@dataclass(frozen=True, slots=True)
class OpenAssociation:
    """An association that has sent objects of a study and is not yet released."""

    association: str
    study_instance_uid: str
    receiver: str
    calling_ae: str
    address: str
    last_object_at: datetime


@dataclass(frozen=True, slots=True)
class AnalysisRecord:
    id: str
    study_instance_uid: str
    generation: str
    result_identity: str
    state: State
    stage: str  # last stage that was started; empty before the first
    outcome: Outcome | None
    words: str  # what it waits for, or why it ended so and what to do
    facts: str  # JSON: model, weights, inputs, score ... as the result states them
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class StageRecord:
    analysis_id: str
    stage: str
    attempts: int
    started_at: datetime
    ended_at: datetime | None
    words: str

    @property
    def seconds(self) -> float | None:
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None


@dataclass(frozen=True, slots=True)
class ResultRecord:
    sop_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    analysis_id: str
    kind: str  # "sr", "sc", "seg", ...
    path: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    analysis_id: str
    destination: str
    state: DeliveryState
    attempts: int
    next_try_at: datetime | None
    last_words: str  # of the last attempt, with what to do
    created_at: datetime  # or opened anew: again with the full time for attempts
    delivered_at: datetime | None
    reason: str  # why it is withdrawn, as in `results.rejection_note.REASONS`


PERHAPS = -1
"""Status of an object that was sent and not answered for: it may be there, and counts as there."""


@dataclass(frozen=True, slots=True)
class DeliveredObject:
    """One object that a destination has, or may have."""

    analysis_id: str
    destination: str
    sop_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    path: str  # where the node keeps it
    status: int  # of the C-STORE response; PERHAPS while there is none
    words: str  # a warning of the destination
    delivered_at: datetime


@dataclass(frozen=True, slots=True)
class Scanner:
    """The machine that acquired a study, as a physicist names it; nothing of a patient."""

    manufacturer: str  # as the header spells it; empty where it is silent
    model: str  # ManufacturerModelName
    field_strength_t: float | None
    device: str  # eight characters of a keyed hash of the serial number, else of the station name; empty where neither

    def __str__(self) -> str:
        field = f"{self.field_strength_t:g} T" if self.field_strength_t else ""
        named = " ".join(filter(None, [self.manufacturer, self.model, field])) or "unknown scanner"
        return f"{named}, device {self.device}" if self.device else named


@dataclass(frozen=True, slots=True)
class Observation:
    """What the drift watch keeps of the current result of a study: one for each study, nothing of the patient."""

    study_instance_uid: str
    generation: str
    analysis_id: str
    received_at: datetime  # the first object of the study: a study that is analysed again stays in its week
    model: str
    weights_sha256: str
    software: str
    making: str  # augmentation and numeric type of the score
    scanner: Scanner
    outcome: Outcome
    codes: tuple[str, ...]  # why it was not analysed, as in `findings.PROBLEM_CODES`
    sequences: str  # that the score is of: "dce+dwi+t2"; empty where there is none
    target: str  # of the score that results are about
    scores: Mapping[str, float]  # target -> score
    measures: Mapping[str, float]  # of quality, those of the model among them

    @property
    def score(self) -> float | None:
        return self.scores.get(self.target)


@dataclass(frozen=True, slots=True)
class EventRecord:
    id: int
    kind: EventKind
    study_instance_uid: str | None
    peer: str | None  # "SCANNER1 at 10.0.0.5", or a destination's name
    words: str
    times: int  # the same again within the hour is counted, not repeated
    first_at: datetime
    last_at: datetime
