"""A study as plain data: what the headers said, without pixels and without DICOM types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OWN_PHANTOM = "mome-node synthetic phantom"
"""Manufacturer in every image of the node's own generator: no patient, and the only exams with demonstration advice."""

Attributes = Mapping[str, Any]
"""DICOM keyword -> str, int, float, or list of these; absent and empty elements are left out."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One DICOM object: its identity, its header, and its frames' headers where it is multi-frame."""

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    attributes: Attributes
    frames: tuple[Attributes, ...] = ()
    """Functional groups of each frame, flattened to keywords; empty for a single-frame object."""


@dataclass(frozen=True, slots=True)
class Study:
    """All objects that carry one StudyInstanceUID, in order of SOP Instance UID."""

    study_instance_uid: str
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class UnusableFile:
    """A file that belongs to no study, and why, in words for the sender."""

    path: Path
    reason: str
