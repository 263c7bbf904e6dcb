"""A volume: voxels on a regular grid, and where that grid lies in the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Volume:
    """One sequence of an exam. DCE holds its phases as channels; DWI and T2 have one channel."""

    voxels: FloatArray  # (C, W, H, D): channel or phase, column i, row j, slice k; rescaled values
    affine: npt.NDArray[np.float64]  # (4, 4): voxel index (i, j, k, 1) to mm, LPS (PS3.3 C.7.6.2.1.1)
    seconds: tuple[float, ...] | None = (
        None  # of each channel from the start of the first; None: only the order is known
    )

    @property
    def spacing(self) -> npt.NDArray[np.float64]:
        """Distance of neighbouring voxel centres along i, j, k, (3,), mm."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    def to_patient(self, indices: FloatArray) -> npt.NDArray[np.float64]:
        """Voxel indices (N, 3) to points (N, 3) in mm, LPS."""
        return np.asarray(indices, float) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_voxels(self, points: FloatArray) -> npt.NDArray[np.float64]:
        """Points (N, 3) in mm, LPS, to fractional voxel indices (N, 3)."""
        return np.asarray((np.asarray(points, float) - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T)
