"""Grids in the patient: turning, resampling and cropping volumes without losing where their voxels lie.

Volumes (C, W, H, D) are turned to the nearest patient axes without interpolation (W to the left, H to the back, D to
the head); what is resampled afterwards stays along these axes and is averaged over the voxel.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .config import Millimetres, Size

FloatArray = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Affine = npt.NDArray[np.float64]
Point = npt.NDArray[np.float64]

VOXEL_MM = (0.01, 50.0)
"""Smallest and largest side of a voxel of an MR image."""
LARGEST_FIELD_MM = 2000.0
"""No scanner's bore is longer, along any axis."""
LEAST_VOLUME = 0.9
"""Of three unit vectors along the axes: 1 at right angles, 0 where they lie in one plane."""
LARGEST_TILT = 40.0
"""Degrees between an axis and the patient's nearest; from 45 on, left could as well be back."""


@dataclass(frozen=True, slots=True)
class Box:
    """Voxels `low` (included) to `high` (excluded) of a grid."""

    low: Size
    high: Size

    @property
    def size(self) -> Size:
        w, h, d = (b - a for a, b in zip(self.low, self.high, strict=True))
        return w, h, d

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        w, h, d = (slice(a, b) for a, b in zip(self.low, self.high, strict=True))
        return w, h, d

    @classmethod
    def around(cls, mask: Mask, margin: Sequence[int] = (0, 0, 0)) -> Box:
        """Bounding box of what is true in (W, H, D), `margin` voxels wider but within the grid.

        Raises ValueError where nothing is true.
        """
        if not mask.any():
            raise ValueError("There is nothing to put a box around.")
        low, high = [], []
        for axis, (n, m) in enumerate(zip(mask.shape, margin, strict=True)):
            found = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
            low.append(max(0, int(found[0]) - m))
            high.append(min(n, int(found[-1]) + 1 + m))
        return cls((low[0], low[1], low[2]), (high[0], high[1], high[2]))


@dataclass(frozen=True, slots=True)
class Grid:
    """Voxels at regular places in the patient."""

    affine: Affine  # (4, 4), voxel index to mm, LPS
    shape: Size

    @property
    def spacing(self) -> npt.NDArray[np.float64]:
        """(3,) mm."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    def at(self, index: npt.ArrayLike) -> Point:
        """Voxel index (3,), also fractional, to mm, LPS."""
        return np.asarray(self.affine[:3, :3] @ np.asarray(index, float) + self.affine[:3, 3])

    @property
    def middle(self) -> Point:
        return self.at((np.array(self.shape) - 1) / 2)

    def about(self, centre: Point, spacing: npt.ArrayLike, shape: Size) -> Grid:
        """Another grid along the same directions."""
        affine = np.eye(4)
        affine[:3, :3] = self.affine[:3, :3] / self.spacing * np.asarray(spacing)
        affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
        return Grid(affine, shape)

    def every(self, spacing: Millimetres) -> Grid:
        """The same field of view in voxels of this size, mm, as nearly as whole voxels can."""
        w, h, d = (max(1, round(n * a / s)) for n, a, s in zip(self.shape, self.spacing, spacing, strict=True))
        return self.about(self.middle, spacing, (w, h, d))

    def divided(self, matrix: Size) -> Grid:
        """The same field of view in this number of voxels."""
        return self.about(self.middle, self.spacing * self.shape / np.array(matrix), matrix)

    def part(self, box: Box) -> Grid:
        affine = self.affine.copy()
        affine[:3, 3] = self.at(box.low)
        return Grid(affine, box.size)


def irregularity(affine: Affine, shape: Size) -> str | None:
    """Why a volume (W, H, D) with this affine cannot be laid along the patient's axes, in words; None where it can."""
    if not np.isfinite(affine).all() or 0 in shape:
        return "its place in the patient is not known"
    spacing = Grid(affine, shape).spacing
    if spacing.min() < VOXEL_MM[0] or spacing.max() > VOXEL_MM[1]:
        return f"its voxels measure {' x '.join(f'{s:.3g}' for s in spacing)} mm"
    if (spacing * shape).max() > LARGEST_FIELD_MM:
        return f"its field of view measures {' x '.join(f'{s:.0f}' for s in spacing * shape)} mm"
    directions = affine[:3, :3] / spacing
    if abs(np.linalg.det(directions)) < LEAST_VOLUME:
        return "its axes are not at right angles"
    cosine = np.abs(np.diag(directions[:, nearest_axes(affine)])).min()
    tilt = float(np.degrees(np.arccos(min(1.0, cosine))))
    return f"it is tilted by {tilt:.0f} degrees against the patient's axes" if tilt > LARGEST_TILT else None


def nearest_axes(affine: Affine) -> tuple[int, ...]:
    """Which of a volume's axes lies nearest to each of the patient's."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return max(itertools.permutations(range(3)), key=lambda p: sum(abs(directions[i, p[i]]) for i in range(3)))


def reorient(voxels: npt.NDArray[Any], affine: Affine) -> tuple[npt.NDArray[Any], Affine]:
    """Turn (C, W, H, D) to the nearest patient axes by exchanging and flipping axes; no voxel changes its place."""
    order = nearest_axes(affine)
    turned = np.transpose(voxels, (0, *(axis + 1 for axis in order)))
    result = affine.copy()
    result[:3, :3] = affine[:3, order]
    for axis in range(3):
        if result[axis, axis] < 0:
            result[:3, 3] += result[:3, axis] * (turned.shape[axis + 1] - 1)
            result[:3, axis] *= -1
            turned = np.flip(turned, axis + 1)
    return turned, result


def resample(voxels: npt.NDArray[Any], affine: Affine, target: Affine, shape: Size) -> FloatArray:
    """(C, W, H, D) onto a grid along the same directions: linear between voxels, averaging where they are finer.

    A triangle as wide as the coarser of the two spacings, per axis; 0 outside the field of view.
    """
    first = np.linalg.solve(affine[:3, :3], target[:3, 3] - affine[:3, 3])
    steps = np.linalg.norm(target[:3, :3], axis=0) / np.linalg.norm(affine[:3, :3], axis=0)
    result = voxels
    for axis in (2, 1, 0):  # slices first: they shrink most
        n = voxels.shape[axis + 1]
        at = first[axis] + steps[axis] * np.arange(shape[axis])
        weights = np.clip(1 - np.abs(at[:, None] - np.arange(n)) / max(1.0, steps[axis]), 0, None)
        weights *= ((at > -0.5 - 1e-6) & (at < n - 0.5 + 1e-6))[:, None]
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
        result = np.moveaxis(np.tensordot(weights.astype(np.float32), result, axes=(1, axis + 1)), 0, axis + 1)
    return np.ascontiguousarray(result, dtype=np.float32)


def at_grid(image: npt.NDArray[Any], grid: Grid, target: Grid) -> FloatArray:
    """(W, H, D) at the voxels of any other grid, linear; 0 outside."""
    matrix = np.linalg.inv(grid.affine) @ target.affine
    return np.asarray(
        ndimage.affine_transform(
            image.astype(np.float32), matrix[:3, :3], matrix[:3, 3], output_shape=target.shape, order=1
        )
    )


def covered(grid: Grid, target: Grid) -> Mask:
    """Which voxels of a grid along the same directions lie in the field of view of another."""
    return np.asarray(
        resample(np.ones((1, *grid.shape), np.float32), grid.affine, target.affine, target.shape)[0] > 0.5
    )


def share_within(mask: Mask, grid: Grid, other: Grid) -> float:
    """Share of the mask's voxels, on `grid`, that lie in the field of view of the other grid, 0 to 1."""
    places = np.argwhere(mask) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    index = (places - other.affine[:3, 3]) @ np.linalg.inv(other.affine[:3, :3]).T
    inside = np.all((index > -0.5) & (index < np.array(other.shape) - 0.5), axis=1)
    return float(inside.mean()) if inside.size else 0.0
