"""Where slices lie: planes, normals, and whether slices make one regular volume. Positions in mm, LPS (PS3.3 C.7.6.2).

Strict on purpose: most readers close a gap or average two spacings without a word, and every later voxel is misplaced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Plane = Literal["sagittal", "coronal", "axial"]
PLANES: tuple[Plane, ...] = ("sagittal", "coronal", "axial")  # by the axis that the normal follows: x, y, z

ORIENTATION_TOLERANCE = 1e-3  # of direction cosines; scanners differ by 1e-6 between slices of one volume
SPACING_TOLERANCE = 0.01  # of the spacing
POSITION_ROUNDING_MM = 0.02  # positions are decimal strings, often with two digits
SHEAR_TOLERANCE = 1e-3  # in-plane drift over the whole stack, per mm along the normal
SIDEWAYS_TOLERANCE = 0.1  # of the spacing, of a single slice
SAME_POSITION_MM = 0.05
FEWEST_SLICES = 3


def normal(orientation: Sequence[float]) -> Array:
    """Unit normal of a slice, row x column direction, from ImageOrientationPatient (6,)."""
    return np.array(_cross(orientation))


def _cross(orientation: Sequence[float]) -> tuple[float, float, float]:
    """In plain numbers: thousands of slices ask for it, and numpy takes ten times as long for three of them."""
    a, b, c, d, e, f = orientation
    return b * f - c * e, c * d - a * f, a * e - b * d


def plane(orientation: Sequence[float]) -> Plane:
    """The plane nearest to a slice."""
    sizes = [abs(part) for part in _cross(orientation)]
    return PLANES[sizes.index(max(sizes))]


def along_normal(orientation: Sequence[float], position: Sequence[float]) -> float:
    """Distance of a slice from the patient origin along its normal, mm."""
    return float(sum(n * p for n, p in zip(_cross(orientation), position, strict=True)))


def same_orientation(one: Sequence[float], other: Sequence[float]) -> bool:
    return one == other or all(abs(a - b) <= ORIENTATION_TOLERANCE for a, b in zip(one, other, strict=True))


def is_valid_orientation(orientation: Sequence[float]) -> bool:
    """Two unit vectors at a right angle."""
    row, column = orientation[:3], orientation[3:]
    are_units = abs(math.hypot(*row) - 1) < 1e-2 and abs(math.hypot(*column) - 1) < 1e-2
    return are_units and abs(sum(r * c for r, c in zip(row, column, strict=True))) < 1e-2


def irregularity(orientations: Array, positions: Array) -> str | None:
    """Why slices are not one regular volume, in words; None if they are.

    `orientations` (N, 6) ImageOrientationPatient, `positions` (N, 3) ImagePositionPatient, in any order.
    """
    if len(positions) < FEWEST_SLICES:
        return f"only {len(positions)} slices at different positions"
    if np.abs(orientations - orientations[0]).max() > ORIENTATION_TOLERANCE:
        return "slices of different orientation"
    direction = normal(orientations[0])
    ordered = positions[np.argsort(positions @ direction, kind="stable")]
    return _uneven(ordered @ direction) or _sideways(ordered, direction)


def _uneven(height: Array) -> str | None:
    """What is wrong with the distances of slices, from their sorted heights along the normal (N,)."""
    steps = np.diff(height)
    spacing = float(np.median(steps))
    if steps.min() < SAME_POSITION_MM:
        return "a slice position occurs more than once"
    worst = float(steps[np.argmax(np.abs(steps - spacing))])
    if abs(worst - spacing) <= max(SPACING_TOLERANCE * spacing, POSITION_ROUNDING_MM):
        return None
    what = "a slice is missing" if worst > 1.5 * spacing else "uneven spacing"
    return f"{what}: {worst:.2f} mm between two slices, {spacing:.2f} mm between the others"


def _sideways(ordered: Array, direction: Array) -> str | None:
    """Whether slices, sorted along their normal, drift or jump within their plane."""
    height = ordered @ direction
    drift = ordered - np.outer(height, direction)
    slant = float(np.linalg.norm(drift[-1] - drift[0]) / (height[-1] - height[0]))
    if slant > SHEAR_TOLERANCE:
        return f"sheared: the slices drift sideways by {slant:.3f} mm per mm"
    straight = np.linspace(drift[0], drift[-1], len(drift))
    if np.abs(drift - straight).max() > SIDEWAYS_TOLERANCE * np.median(np.diff(height)):
        return "slices displaced sideways against each other"
    return None


def affine(orientation: Sequence[float], positions: Array, pixel_spacing: Sequence[float]) -> Array:
    """Voxel index (column i, row j, slice k, 1) to mm, LPS, (4, 4), of regular slices sorted along their normal.

    `positions` (N, 3); `pixel_spacing` as PixelSpacing: between rows, between columns, mm.
    """
    matrix = np.eye(4)
    matrix[:3, 0] = np.asarray(orientation[:3], float) * pixel_spacing[1]
    matrix[:3, 1] = np.asarray(orientation[3:], float) * pixel_spacing[0]
    matrix[:3, 2] = (positions[-1] - positions[0]) / (len(positions) - 1)
    matrix[:3, 3] = positions[0]
    return matrix


def corners(
    orientation: Sequence[float], positions: Array, pixel_spacing: Sequence[float], size: Sequence[int]
) -> Array:
    """Centres of the corner pixels of all slices (4 N, 3), mm; `size` is rows, columns."""
    row = np.asarray(orientation[:3], float) * pixel_spacing[1] * (size[1] - 1)
    column = np.asarray(orientation[3:], float) * pixel_spacing[0] * (size[0] - 1)
    return np.concatenate([positions, positions + row, positions + column, positions + row + column])
