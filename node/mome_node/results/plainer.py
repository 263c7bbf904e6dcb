"""The same result in a class that more archives take: for a destination that refuses ours, or is known to.

Our reports hold no coordinates in space, so they are as valid as a Comprehensive or Enhanced SR; the pages of a
multi-frame overlay are as well shown one by one. Every plainer object has UIDs of its own, made from those it comes of.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import UID, Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from .identity import derived_uid
from .secondary_capture import MULTI_FRAME, single_frames

REPORT_CLASSES = {
    "comprehensive_3d": Comprehensive3DSRStorage,
    "comprehensive": ComprehensiveSRStorage,
    "enhanced": EnhancedSRStorage,
}
"""From the one that IHE AIR asks for to the one that the oldest archives know."""


def plainer(ds: Dataset) -> list[Dataset]:
    """`ds` in the next plainer class; nothing where there is none (or its content needs the class it has)."""
    classes = list(REPORT_CLASSES.values())
    if ds.SOPClassUID in classes[:-1] and not _lies_in_space(ds):
        return [in_class(ds, classes[classes.index(ds.SOPClassUID) + 1])]
    return single_frames(ds) if ds.SOPClassUID == MULTI_FRAME else []


def in_class(report: Dataset, sop_class: str) -> Dataset:
    """The report as an object of another SR class; itself where it is of that class already."""
    if report.SOPClassUID == sop_class:
        return report
    other = copy.deepcopy(report)
    other.SOPClassUID = UID(sop_class)
    other.SOPInstanceUID = UID(derived_uid(report.SOPInstanceUID, sop_class))
    other.SeriesInstanceUID = UID(derived_uid(report.SeriesInstanceUID, sop_class))
    return other


def _lies_in_space(item: Dataset) -> bool:
    children: Sequence[Dataset] = item.get("ContentSequence", [])
    return any(child.ValueType == "SCOORD3D" or _lies_in_space(child) for child in children)
