"""Which image shows which slice of the dynamic volume: an instance, or one frame of an Enhanced MR object.

The volume is built from all phases; a viewer draws on one image. That of the first phase after contrast is taken,
because there a reader looks. Only headers are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from ..findings import Findings
from ..volume import FloatArray, Volume
from .objects import reference

SAME_PLANE = 0.02  # of the distance of slices
COINCIDES = 0.1  # of a voxel


@dataclass(frozen=True, slots=True, eq=False)
class DynamicImage:
    """One image plane of the dynamic series."""

    header: Dataset
    frame: int | None  # from 1; None: the instance is a single image
    affine: npt.NDArray[np.float64]  # (4, 4): column, row, mm along the normal, 1 to mm, LPS (PS3.3 C.7.6.2.1.1)
    size: tuple[int, int]  # columns, rows
    order: tuple[Any, ...]  # sorts the images of one place by time

    def to_pixels(self, points: FloatArray) -> npt.NDArray[np.float64]:
        """Points (N, 3) in mm, LPS, to column, row (centres at whole numbers) and mm off the plane, (N, 3)."""
        return np.asarray((np.asarray(points, float) - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T)

    @property
    def centre(self) -> npt.NDArray[np.float64]:
        """mm, LPS, (3,)."""
        column, row = (np.array(self.size) - 1) / 2
        return np.asarray((self.affine @ [column, row, 0, 1])[:3])

    def cited(self) -> Dataset:
        """Image SOP Instance Reference Macro (PS3.3 Table 10-3)."""
        item = reference(self.header)
        if self.frame is not None:
            item.ReferencedFrameNumber = self.frame
        return item


def by_slice(findings: Findings, evidence: Sequence[Dataset], dce: Volume) -> dict[int, DynamicImage]:
    """Slice k of `dce` -> the image nearest to it, of the first phase after contrast.

    `evidence`: headers of the used images. A slice that no image is nearest to (between two slabs) is left out.
    """
    dynamic = [used for used in findings.used if used.role == "dce"]
    wanted = {uid for used in dynamic for uid in used.instances}
    phases = max(2, *(used.phases or 2 for used in dynamic)) if dynamic else 2
    images = [plane for header in evidence if header.SOPInstanceUID in wanted for plane in _planes(header)]
    if not images:
        return {}
    heights = dce.to_voxels(np.array([image.centre for image in images]))[:, 2]
    near: dict[int, list[tuple[float, DynamicImage]]] = defaultdict(list)
    for image, height in zip(images, heights.tolist(), strict=True):
        near[round(height)].append((abs(height - round(height)), image))
    return {k: _after_contrast(near[k], phases) for k in sorted(near) if 0 <= k < dce.voxels.shape[3]}


def coincides(image: DynamicImage, dce: Volume, k: int) -> bool:
    """Slice k of the volume has the pixels of the image; not so where two slabs were joined on one grid."""
    _, width, height, _ = dce.voxels.shape
    corners = np.array([[0, 0, k], [width - 1, 0, k], [0, height - 1, k]], float)
    apart = image.to_pixels(dce.to_patient(corners)) - np.array([[0, 0, 0], [width - 1, 0, 0], [0, height - 1, 0]])
    limit = COINCIDES * np.array([1, 1, dce.spacing[2]])
    return image.size == (width, height) and bool(np.all(np.abs(apart) <= limit))


def _after_contrast(near: Sequence[tuple[float, DynamicImage]], phases: int) -> DynamicImage:
    """Of the images nearest to a slice, in order of time, the first of the second phase.

    An Enhanced MR object may hold several images of every phase (in phase, fat, water): more images than phases.
    """
    nearest = min(distance for distance, _ in near)
    here = sorted((image for distance, image in near if distance <= nearest + SAME_PLANE), key=lambda i: i.order)
    return here[min(len(here) // phases if len(here) >= phases else 1, len(here) - 1)]


# ------------------------------------------------------------------ headers
def _planes(header: Dataset) -> Iterator[DynamicImage]:
    """The placed images of an instance."""
    frames = header.get("PerFrameFunctionalGroupsSequence")
    for frame in range(1, len(frames) + 1) if frames else (None,):
        groups = [header] if frame is None else [frames[frame - 1], *header.get("SharedFunctionalGroupsSequence", [])]
        position = _value(groups, "PlanePositionSequence", "ImagePositionPatient")
        orientation = _value(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
        spacing = _value(groups, "PixelMeasuresSequence", "PixelSpacing")
        if position and orientation and spacing:
            yield DynamicImage(
                header,
                frame,
                _affine(*(np.array(value, float) for value in (position, orientation, spacing))),
                (int(header.Columns), int(header.Rows)),
                _order(header, groups, frame or 0),
            )


def _value(groups: Sequence[Dataset], sequence: str, keyword: str) -> Any:
    """A value of a functional group, or of the header itself; None where there is none."""
    for group in groups:
        items = group.get(sequence) or [group]
        if keyword in items[0]:
            return items[0][keyword].value
    return None


def _affine(position: FloatArray, orientation: FloatArray, spacing: FloatArray) -> npt.NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * spacing[1]
    affine[:3, 1] = orientation[3:] * spacing[0]
    affine[:3, 2] = np.cross(orientation[:3], orientation[3:])
    affine[:3, 3] = position
    return affine


def _order(header: Dataset, groups: Sequence[Dataset], frame: int) -> tuple[Any, ...]:
    """Time of acquisition; where a scanner writes one time for all phases, what it counts them with."""
    exact = str(_value(groups, "FrameContentSequence", "FrameAcquisitionDateTime") or "")
    day, time = (str(header.get(f"Acquisition{part}") or "") for part in ("Date", "Time"))
    started = exact or (day + time if time else str(header.get("AcquisitionDateTime") or ""))
    index = _value(groups, "FrameContentSequence", "TemporalPositionIndex")
    counts = [header.get(k) for k in ("TriggerTime", "TemporalPositionIdentifier", "AcquisitionNumber")]
    later = [header.get("SeriesNumber"), header.get("InstanceNumber"), frame]
    return (started, *(float(count or 0) for count in (index, *counts, *later)), str(header.SOPInstanceUID))
