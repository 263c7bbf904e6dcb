"""When is a study complete, and what does it wait for: pure functions over the ledger's records; no clock, no threads.

C-STORE has no "last image" message. A study is complete when no MR image came for `quiet_s` seconds and no association
that brought its images is still open, or when a person says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage, MRImageStorage

from ..ledger import OpenAssociation, StudyRecord
from ..settings import Assembly

MR_IMAGES = frozenset({MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage})

NEVER_SELECTED = frozenset({"SUBTRACTION", "SUBTRACT", "SUB", "MIP", "MINIP", "PROJECTION IMAGE", "MPR"})
"""Values of ImageType that mark what a console computed from other images (PS3.3 C.8.3.1.1.1 and vendors' own)."""

LONGEST_HOLD = timedelta(minutes=10)
"""An open association that brings nothing more of a study holds it no longer than this: some routers never release."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a study may be analysed now."""

    complete: bool
    waits_for: str  # in words for people; empty when complete


def starts_analysis(sop_class_uid: str, image_type: str) -> bool:
    """True for an MR image that the model selects or could select.

    Reports, key objects, secondary captures and what a console computed (subtractions, projections) are stored and
    acknowledged and start nothing. `image_type` is ImageType with its values joined by a backslash.
    """
    values = {value.strip().upper() for value in image_type.split("\\")}
    return sop_class_uid in MR_IMAGES and not values & NEVER_SELECTED


def decide(study: StudyRecord, associations: Sequence[OpenAssociation], assembly: Assembly, now: datetime) -> Decision:
    """Judge one study at the time `now` (aware) from its ledger record and its open associations."""
    waits_for = _waits_for(study, associations, assembly, now)
    return Decision(complete=not waits_for, waits_for=waits_for)


def _waits_for(study: StudyRecord, associations: Sequence[OpenAssociation], assembly: Assembly, now: datetime) -> str:
    if study.last_image_at is None:
        return "an MR image: what was received so far starts no analysis"
    if not study.has_new_images:
        return "an MR image that is not yet part of an analysis"
    if study.complete_requested_at is not None:
        return ""
    silence = now - study.last_image_at
    quiet = timedelta(seconds=assembly.quiet_s)
    if silence < quiet:
        return f"{(quiet - silence).total_seconds():.0f} s more without a new MR image"
    for association in associations:
        if now - association.last_object_at < max(quiet, LONGEST_HOLD):
            return f"the end of the association with {association.calling_ae} ({association.address})"
    return ""
