"""Both breasts as two sagittal slabs of one series: found as such, and put on one grid with nothing between them.

Each slab is a volume of its own; the space between was not imaged and holds zeros, as air does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import slice_geometry

GAP_MM = 20.0  # between the slabs, at least: less is a missing slice
LONGEST_GAP_MM = 200.0


def sides(orientations: slice_geometry.Array, positions: slice_geometry.Array) -> list[npt.NDArray[np.bool_]] | None:
    """Which slices (N,) belong to the right and which to the left slab; None where they are no two regular slabs.

    `orientations` (N, 6), `positions` (N, 3): mm, LPS; x > 0 is the patient's left.
    """
    if slice_geometry.plane(orientations[0]) != "sagittal":
        return None
    right, left = positions[:, 0] < 0, positions[:, 0] >= 0
    if not (right.any() and left.any()):
        return None
    gap = positions[left, 0].min() - positions[right, 0].max()
    if not GAP_MM < gap < LONGEST_GAP_MM:
        return None
    slabs = [slice_geometry.irregularity(orientations[side], positions[side]) for side in (right, left)]
    return [right, left] if slabs == [None, None] else None


def joined(
    voxels: Sequence[npt.NDArray[Any]], affines: Sequence[npt.NDArray[np.float64]]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Two slabs (W, H, D) with their affines (4, 4) on the grid of the first along the slice direction; float32.

    The second is interpolated linearly where its slices or pixels lie between those of the grid.
    """
    from scipy import ndimage

    (near, far), (grid, other) = voxels, affines
    if (np.linalg.inv(grid) @ other)[2, 3] < 0:
        (near, far), (grid, other) = (far, near), (other, grid)
    to_grid = np.linalg.inv(grid) @ other  # voxel of the far slab to voxel of the grid
    last = to_grid @ np.array([0, 0, far.shape[2] - 1, 1.0])
    whole = np.zeros((*near.shape[:2], round(last[2]) + 1), np.float32)
    back = np.linalg.inv(to_grid)
    ndimage.affine_transform(
        far.astype(np.float32), back[:3, :3], back[:3, 3], output=whole, order=1, mode="constant", cval=0
    )
    whole[:, :, : near.shape[2]] = near
    return whole, grid
