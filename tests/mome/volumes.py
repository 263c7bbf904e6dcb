"""Volumes for the tests of the model: the same synthetic patient, acquired in other planes."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from mome.phantom import PhantomVolume

PLANES = {
    "axial": ((0, 1, 2), (1, 1, 1)),
    "axial, rows from back to front": ((0, 1, 2), (1, -1, 1)),
    "axial, columns to the right": ((0, 1, 2), (-1, 1, 1)),
    "axial, slices from head to feet": ((0, 1, 2), (1, 1, -1)),
    "sagittal": ((1, 2, 0), (1, -1, -1)),
    "coronal": ((0, 2, 1), (1, -1, 1)),
    "coronal, all axes against the patient's": ((0, 2, 1), (-1, 1, -1)),
}
"""Which patient axis columns, rows and slices follow, and in which direction."""


def acquired(volume: PhantomVolume, plane: str) -> PhantomVolume:
    """The same voxels at the same places in the patient, stored as a scanner stores them for this plane."""
    order, signs = PLANES[plane]
    voxels = np.transpose(volume.voxels, (0, *(axis + 1 for axis in order)))
    affine = volume.affine.copy()
    affine[:3, :3] = volume.affine[:3, order]
    for axis, sign in enumerate(signs):
        if sign < 0:
            affine[:3, 3] += affine[:3, axis] * (voxels.shape[axis + 1] - 1)
            affine[:3, axis] *= -1
            voxels = np.flip(voxels, axis + 1)
    return dataclasses.replace(volume, voxels=voxels, affine=affine)


def with_marker(volume: PhantomVolume, point: np.ndarray, radius: float, brightness: float) -> PhantomVolume:
    """A bright ball about `point` (mm, LPS) in every phase after the first."""
    axes = np.ix_(*(np.arange(n) for n in volume.voxels.shape[1:]))
    places = np.stack(np.broadcast_arrays(*axes), -1) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    voxels = volume.voxels.copy()
    voxels[1:, np.linalg.norm(places - point, axis=-1) <= radius] += brightness
    return dataclasses.replace(volume, voxels=voxels)


def subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All subsets that are not empty."""
    return [part for n in range(1, len(names) + 1) for part in itertools.combinations(names, n)]
