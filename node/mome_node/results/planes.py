"""From a volume to flat pictures as a radiologist hangs them, whatever plane and row order the scanner used.

Axial and coronal: the patient's right on the left of the picture; sagittal: anterior on the left; head or anterior up.
Arrays here run along the patient axes L, P, H (x to the left, y to posterior, z to the head). Slices are shown as
acquired, oblique ones too: their letters then name both directions. The projection is along the patient, not the scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..volume import FloatArray, Volume

FloatPicture = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]

DIRECTIONS = (("R", "L"), ("A", "P"), ("F", "H"))  # negative and positive end of x, y, z
NAMED_FROM = np.sin(np.radians(15))  # part of a direction from which its second and third letter are written
TILT_SHOWN_FROM = 10.0  # degrees


@dataclass(frozen=True, slots=True)
class PatientAxes:
    """How the voxel axes of a volume map onto L, P, H: exact for axis-aligned slices, nearest for oblique ones."""

    order: tuple[int, int, int]  # voxel axis that runs along x, y, z
    flipped: tuple[bool, bool, bool]  # whether it runs towards R, A, F
    spacing: tuple[float, float, float]  # mm along x, y, z

    @property
    def through(self) -> int:
        """The patient axis (0, 1, 2) along which the acquired slices follow each other."""
        return self.order.index(2)

    def turn(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """(W, H, D) to an array along (x, y, z)."""
        turned = np.transpose(array, self.order)
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]

    def turned_index(self, k: int, slices: int) -> int:
        """Index along `through` of the acquired slice k."""
        return slices - 1 - k if self.flipped[self.through] else k


def patient_axes(affine: npt.NDArray[np.float64]) -> PatientAxes:
    """The assignment of voxel axes to patient axes with the smallest angles in sum."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = affine[:3, :3] / spacing
    order = max(permutations(range(3)), key=lambda p: sum(abs(cosines[axis, p[axis]]) for axis in range(3)))
    flipped = [bool(cosines[axis, order[axis]] < 0) for axis in range(3)]
    return PatientAxes(
        (order[0], order[1], order[2]),
        (flipped[0], flipped[1], flipped[2]),
        (float(spacing[order[0]]), float(spacing[order[1]]), float(spacing[order[2]])),
    )


def tilt(affine: npt.NDArray[np.float64]) -> float:
    """Degrees between the slices' normal and the patient axis that is nearest to it."""
    normal = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    return float(np.degrees(np.arccos(min(1.0, float(np.abs(normal).max())))))


def edges(affine: npt.NDArray[np.float64]) -> tuple[str, str, str, str]:
    """Letters at left, right, top and bottom of a slice as shown, as PS3.3 C.7.6.1.1.1 writes them: "R", or "RA"."""
    axes = patient_axes(affine)
    columns, rows = [axis for axis in range(3) if axis != axes.through]
    right, down = _direction(affine, axes, columns), _direction(affine, axes, rows)
    if axes.through != 2:
        down = -down
    return _letters(-right), _letters(right), _letters(-down), _letters(down)


def _direction(affine: npt.NDArray[np.float64], axes: PatientAxes, axis: int) -> npt.NDArray[np.float64]:
    """The way along a patient axis as the voxels really go, (3,), length 1."""
    step = affine[:3, axes.order[axis]] * (-1 if axes.flipped[axis] else 1)
    return np.asarray(step / np.linalg.norm(step))


def _letters(direction: npt.NDArray[np.float64]) -> str:
    """The patient axes of a direction, the strongest first."""
    strongest = np.argsort(-np.abs(direction), kind="stable")
    return "".join(
        DIRECTIONS[axis][int(direction[axis] > 0)]
        for n, axis in enumerate(strongest)
        if n == 0 or abs(direction[axis]) >= NAMED_FROM
    )


def flat(turned: npt.NDArray[np.generic], through: int, index: int) -> npt.NDArray[np.generic]:
    """One slice of an array along (x, y, z) as a picture (rows, columns)."""
    picture = np.asarray(np.take(turned, index, axis=through).T)
    return picture if through == 2 else picture[::-1]


def picture_spacing(axes: PatientAxes, through: int) -> tuple[float, float]:
    """mm between rows and between columns of a picture across `through`."""
    columns, rows = [axis for axis in range(3) if axis != through]
    return axes.spacing[rows], axes.spacing[columns]


def subtraction(dce: Volume) -> FloatArray:
    """First post-contrast minus pre-contrast phase, (W, H, D)."""
    return np.asarray(dce.voxels[1], np.float32) - np.asarray(dce.voxels[0], np.float32)


def upright(array: FloatArray, affine: npt.NDArray[np.float64]) -> tuple[FloatArray, tuple[float, float, float]]:
    """(W, H, D) to an array along (x, y, z) and its spacing; resampled where the grid lies obliquely, with zeros
    outside it."""
    axes = patient_axes(affine)
    if all(abs(_direction(affine, axes, axis)[axis]) > np.cos(np.radians(TILT_SHOWN_FROM)) for axis in range(3)):
        return np.asarray(axes.turn(array), np.float32), axes.spacing
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in array.shape])).reshape(3, -1)
    corners = affine[:3, :3] @ ends + affine[:3, 3:]
    low, high = corners.min(axis=1), corners.max(axis=1)
    inverse = np.linalg.inv(affine[:3, :3])
    shape = tuple(int(n) for n in np.ceil((high - low) / axes.spacing) + 1)
    along = ndimage.affine_transform(
        np.asarray(array, np.float32), inverse * axes.spacing, inverse @ (low - affine[:3, 3]), shape, order=1
    )
    return np.asarray(along), axes.spacing


def window(values: FloatArray, mask: BoolArray | None, low: float, high: float) -> tuple[float, float]:
    """Grey window between two percentiles of the voxels within `mask` (everywhere, where there is none)."""
    inside = values[mask] if mask is not None and mask.any() else values
    bottom, top = (float(v) for v in np.percentile(inside, (low, high)))
    return bottom, max(top, bottom + 1e-6)


def grey(picture: FloatPicture, limits: tuple[float, float]) -> npt.NDArray[np.floating]:
    """0 to 1 within the window."""
    return np.asarray(np.clip((picture - limits[0]) / (limits[1] - limits[0]), 0, 1))


def around(inside: BoolArray, spacing: tuple[float, float], margin_mm: float) -> tuple[int, int, int, int]:
    """(first row, end row, first column, end column) of the pixels `inside` with a margin; all where there are none."""
    box = []
    for axis, step in enumerate(spacing):
        hit = np.flatnonzero(inside.any(axis=1 - axis))
        extra = round(margin_mm / step)
        first, last = (hit[0], hit[-1]) if len(hit) else (0, inside.shape[axis] - 1)
        box += [max(0, int(first) - extra), min(inside.shape[axis], int(last) + 1 + extra)]
    return box[0], box[1], box[2], box[3]


def salient_slices(saliency: FloatArray, slice_mm: float, most: int, apart_mm: float = 4.0) -> list[int]:
    """Acquired slices worth drawing, ascending: the hottest, then others at least a quarter as hot and not next to it.

    `saliency` (W, H, D), >= 0; `slice_mm`: distance of neighbouring slices.
    """
    peaks = saliency.max(axis=(0, 1))
    chosen: list[int] = []
    for k in np.argsort(-peaks, kind="stable").tolist():
        if len(chosen) == most or peaks[k] <= 0 or peaks[k] < peaks.max() / 4:
            break
        if all(abs(k - other) * slice_mm >= apart_mm for other in chosen):
            chosen.append(k)
    return sorted(chosen)


def position(dce: Volume, axes: PatientAxes, k: int) -> str:
    """Where slice k lies, e.g. "H 12.5 mm", at its centre."""
    _, width, height, _ = dce.voxels.shape
    centre = dce.to_patient(np.array([[(width - 1) / 2, (height - 1) / 2, k]]))[0]
    value = round(float(centre[axes.through]), 1) + 0.0
    return f"{DIRECTIONS[axes.through][value > 0]} {abs(value):.1f} mm"


def side(dce: Volume, axes: PatientAxes, k: int, from_mm: float) -> str:
    """ "right" or "left" for a sagittal slice k at least `from_mm` away from the middle of the patient, else ""."""
    _, width, height, _ = dce.voxels.shape
    x = float(dce.to_patient(np.array([[(width - 1) / 2, (height - 1) / 2, k]]))[0, 0])
    if axes.through != 0 or abs(x) < from_mm:
        return ""
    return "left" if x > 0 else "right"
