"""Images as the grouping sees them: one slice each, of a single-frame object or one frame of a multi-frame object."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ...study import Attributes, Instance, Study
from .. import slice_geometry

MR_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.4": "MR Image",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR Image",
    "1.2.840.10008.5.1.4.1.1.4.4": "Legacy Converted Enhanced MR Image",
}
"""SOP classes whose pixels can be a phase, a T2 or a DWI (PS3.4 B.5)."""
ENHANCED_CLASSES = frozenset(list(MR_CLASSES)[1:])
SAME_AS = {  # Enhanced MR (PS3.3 C.8.13) says in other attributes what classic MR says in these
    "EchoTime": "EffectiveEchoTime",
    "InversionTime": "InversionTimes",
    "SequenceName": "PulseSequenceName",
}


@dataclass(frozen=True, eq=False)
class Image:
    """One slice."""

    instance: Instance
    frame: int | None  # from 1; None for a single-frame object
    attributes: Attributes

    @property
    def uid(self) -> str:
        return self.instance.sop_instance_uid

    def text(self, keyword: str) -> str:
        """An attribute as text, several values joined by a backslash; "" where it is absent."""
        value = self.attributes.get(keyword, "")
        return "\\".join(map(str, value)) if isinstance(value, list) else str(value)

    def number(self, keyword: str) -> float | None:
        """The first value of an attribute as a number; None where it is absent or no number."""
        value: Any = self.attributes.get(keyword)
        if value is None and keyword in SAME_AS:
            value = self.attributes.get(SAME_AS[keyword])
        if value is None:
            return None
        value = next(iter(value), None) if isinstance(value, list) else value
        try:
            number = float(value)
        except (TypeError, ValueError):
            return None
        return number if math.isfinite(number) else None

    @cached_property
    def types(self) -> frozenset[str]:
        """Words of ImageType or FrameType, also of compound values such as PROJECTION IMAGE or ADC_UNSPECIFIED."""
        return _words(self.text("FrameType") or self.text("ImageType"))

    @cached_property
    def orientation(self) -> tuple[float, ...] | None:
        value = _numbers(self.attributes.get("ImageOrientationPatient"), 6)
        return value if value and slice_geometry.is_valid_orientation(value) else None

    @cached_property
    def position(self) -> tuple[float, ...] | None:
        return _numbers(self.attributes.get("ImagePositionPatient"), 3)

    @cached_property
    def pixel_spacing(self) -> tuple[float, ...] | None:
        value = _numbers(self.attributes.get("PixelSpacing"), 2)
        return value if value and min(value) > 0 else None

    @cached_property
    def size(self) -> tuple[int, int]:
        """Rows, columns."""
        return int(self.number("Rows") or 0), int(self.number("Columns") or 0)

    @cached_property
    def height(self) -> float:
        """Distance from the patient origin along the normal, mm; for placed images only."""
        assert self.orientation and self.position
        return slice_geometry.along_normal(self.orientation, self.position)

    @cached_property
    def is_placed(self) -> bool:
        """Whether it is known where the slice lies; a mosaic of a whole volume is no slice."""
        return bool(self.orientation and self.position and self.pixel_spacing and not self.is_mosaic)

    @property
    def is_mosaic(self) -> bool:
        return bool({"MOSAIC", "VFRAME"} & self.types) or (self.number("SiemensImagesInMosaic") or 1) > 1


@dataclass(frozen=True, eq=False)
class Series:
    """All objects of one SeriesInstanceUID."""

    uid: str
    images: tuple[Image, ...]  # of MR classes; empty for reports, segmentations, secondary captures
    instances: tuple[Instance, ...]
    first: Image  # stands for what all share: description, equipment, patient

    @property
    def number(self) -> int | None:
        value = self.first.number("SeriesNumber")
        return None if value is None else int(value)

    @property
    def description(self) -> str:
        return self.first.text("SeriesDescription")

    @property
    def order(self) -> tuple[float, str]:
        return (float("inf") if self.number is None else self.number, self.uid)


def series_of(study: Study) -> list[Series]:
    """The series of a study by SeriesNumber."""
    members: dict[str, list[Instance]] = {}
    for instance in sorted(study.instances, key=lambda i: i.sop_instance_uid):
        members.setdefault(instance.series_instance_uid, []).append(instance)
    return sorted((_series(uid, instances) for uid, instances in members.items()), key=lambda s: s.order)


def _series(uid: str, instances: Sequence[Instance]) -> Series:
    images = tuple(
        image for instance in instances if instance.sop_class_uid in MR_CLASSES for image in _images(instance)
    )
    first = images[0] if images else Image(instances[0], None, instances[0].attributes)
    return Series(uid, images, tuple(instances), first)


def _images(instance: Instance) -> Iterable[Image]:
    if not instance.frames:
        yield Image(instance, None, instance.attributes)
    for number, frame in enumerate(instance.frames, start=1):
        yield Image(instance, number, {**instance.attributes, **frame})


def references(images: Iterable[Image]) -> list[dict[str, Any]]:
    """Images as the grouping report names them: objects in order of UID, with frame numbers where not all are meant."""
    chosen: dict[str, list[Image]] = {}
    for image in images:
        chosen.setdefault(image.uid, []).append(image)
    return [_reference(uid, chosen[uid]) for uid in sorted(chosen)]


def _reference(uid: str, images: Sequence[Image]) -> dict[str, Any]:
    frames = sorted(image.frame for image in images if image.frame is not None)
    is_whole = not frames or len(frames) == len(images[0].instance.frames)
    return {"SOPInstanceUID": uid, "frames": None if is_whole else frames}


def positions(images: Sequence[Image]) -> np.ndarray:
    """ImagePositionPatient (N, 3), mm."""
    return np.array([image.position for image in images], float).reshape(-1, 3)


def most_common(values: Iterable[Any]) -> Any:
    """The value that occurs most often; of several the first in order of their text."""
    counts: dict[Any, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return min(counts, key=lambda v: (-counts[v], str(v))) if counts else None


@lru_cache(maxsize=1024)
def _words(image_type: str) -> frozenset[str]:
    values = image_type.upper().split("\\")
    return frozenset(word for v in values for word in {v, v.replace(" ", "_"), *re.split(r"[ _]+", v)} if word)


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    if not isinstance(value, list) or len(value) != count:
        return None
    try:
        numbers = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        return None
    return numbers if all(map(math.isfinite, numbers)) else None
