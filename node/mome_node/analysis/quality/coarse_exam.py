"""An exam in blocks of about 4 mm along the patient's axes: enough to judge it by, and quick to look through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ...volume import FloatArray, Volume

Mask = npt.NDArray[np.bool_]

BLOCK_MM = 4.0
LEAST_TISSUE = 0.02  # share of the blocks; below it there is no patient
LEAST_PART = 0.3  # of the largest part of the body: the breasts may be two slabs, but a heart between lungs is none
BINS = 96  # of the histogram that parts tissue from air


@dataclass(frozen=True, slots=True)
class CoarseExam:
    """The phases of a dynamic, and where its pre-contrast phase shows tissue. Axes x, y, z: left, back, head."""

    phases: npt.NDArray[np.float32]  # (P, X, Y, Z)
    spacing: npt.NDArray[np.float64]  # (3,) mm
    body: Mask  # (X, Y, Z)

    def turned(self) -> CoarseExam:
        """Half a turn about the head-foot axis: what lay behind lies in front."""
        return CoarseExam(self.phases[:, ::-1, ::-1], self.spacing, self.body[::-1, ::-1])

    def skin(self) -> npt.NDArray[np.float64]:
        """Depth of the first tissue behind the front edge of the field of view, (X, Z) mm; NaN where there is none."""
        first = self.body.argmax(axis=1) * self.spacing[1]
        return np.where(self.body.any(axis=1), first, np.nan)

    def depth(self) -> npt.NDArray[np.float64]:
        """Distance behind the skin that faces the front, (X, Y, Z) mm, negative in the air before it.

        Also at the sides of a breast it is the shortest way to that air, not the way along y. Infinite where there is
        no such air, and where nothing of the patient was imaged, as between two slabs.
        """
        imaged = self.body.any(axis=1, keepdims=True)
        air = imaged & ~np.logical_or.accumulate(self.body, axis=1)
        if not air.any():
            return np.full(air.shape, np.inf)
        behind, before = (ndimage.distance_transform_edt(part, sampling=self.spacing) for part in (~air, air))
        half = self.spacing.min() / 2
        return np.asarray(np.where(air, half - before, np.where(imaged, behind - half, np.inf)))


def coarse(dce: Volume) -> CoarseExam:
    """Mean over blocks of about BLOCK_MM, turned to the nearest patient axes without interpolation."""
    steps = [max(1, min(round(BLOCK_MM / s), n)) for s, n in zip(dce.spacing, dce.voxels.shape[1:], strict=True)]
    phases = np.stack([_blocks(phase, steps) for phase in dce.voxels])
    directions = dce.affine[:3, :3] / dce.spacing
    order = max(permutations(range(3)), key=lambda p: sum(abs(directions[axis, p[axis]]) for axis in range(3)))
    flips = [slice(None, None, -1 if directions[axis, order[axis]] < 0 else 1) for axis in range(3)]
    turned = phases.transpose(0, *(axis + 1 for axis in order))[(slice(None), *flips)]
    spacing = (dce.spacing * steps)[list(order)]
    return CoarseExam(np.ascontiguousarray(turned), spacing, tissue(turned[0]))


def _blocks(volume: npt.NDArray[Any], steps: Sequence[int]) -> npt.NDArray[np.float32]:
    """Mean over blocks of `steps` voxels; a rest at the far edges is dropped. One axis after the other: quick."""
    result: npt.NDArray[Any] = volume
    for axis, step in enumerate(steps):
        whole = result.shape[axis] // step * step
        parts = [result[(slice(None),) * axis + (slice(first, whole, step),)] for first in range(step)]
        total = parts[0].astype(np.float32)
        for part in parts[1:]:
            total += part
        result = total / np.float32(step)
    return np.asarray(result, np.float32)


def tissue(image: FloatArray) -> Mask:
    """Patient against air, (X, Y, Z): the large parts of what is brighter than the lower of two thresholds.

    Suppressed fat is dim: of three classes of brightness (square roots) the darkest alone is air.
    """
    smooth = ndimage.gaussian_filter(np.sqrt(np.clip(image, 0, np.percentile(image, 99.5))), 0.7)
    if not np.ptp(smooth) > 1e-6 * float(np.abs(smooth).max()):
        return np.zeros(image.shape, bool)
    labels, _ = ndimage.label(smooth > lower_threshold(smooth))
    sizes = np.bincount(labels.ravel())[1:]
    if sizes.max(initial=0) < LEAST_TISSUE * image.size:
        return np.zeros(image.shape, bool)
    return np.asarray(np.isin(labels, 1 + np.flatnonzero(sizes >= sizes.max() * LEAST_PART)))


def lower_threshold(values: FloatArray) -> float:
    """The lower of the two thresholds that best part the histogram into three classes (Otsu 1979)."""
    counts, edges = np.histogram(values, BINS)
    weight = np.concatenate([[0.0], np.cumsum(counts, dtype=float)])
    moment = np.concatenate([[0.0], np.cumsum(counts * (edges[:-1] + edges[1:]) / 2)])

    def spread(first: npt.NDArray[np.intp], last: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        share, sum_ = weight[last] - weight[first], moment[last] - moment[first]
        return np.asarray(np.divide(sum_**2, share, out=np.zeros(len(share)), where=share > 0))

    low, high = (index + 1 for index in np.triu_indices(BINS - 1, k=1))
    between = spread(np.zeros_like(low), low) + spread(low, high) + spread(high, np.full_like(high, BINS))
    return float(edges[low[between.argmax()]])
