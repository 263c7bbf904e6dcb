"""The selected region: where the score responds most, as voxels and as an outline. Saliency and findings in.

It is half of the maximum of a saliency and nothing else: not a lesion, not a segmentation of a tumour, not an extent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.measure import find_contours

from ..findings import Findings
from ..volume import FloatArray, Volume
from . import wording
from .planes import BoolArray

SHARE_OF_MAXIMUM = 0.5  # of the saliency, for a voxel to belong to the region


@dataclass(frozen=True, slots=True, eq=False)
class SalientRegion:
    """The voxels around the salient point that respond at least half as much as it does."""

    mask: BoolArray  # (W, H, D) on the grid of the dynamic series
    volume_ml: float  # of the voxels; for checks, in no report: a number would be read as a size of something
    slices: tuple[int, ...]  # along k, ascending
    slice_index: int  # k of the salient point
    outline: FloatArray  # (N, 2): columns i and rows j on slice `slice_index`, pixel centres at whole numbers; closed
    outline_mm: FloatArray  # (N, 3): the same in mm, LPS


def may_be_shown(findings: Findings) -> bool:
    """A place may be named: there is one, the sides are known, and the score lies above its operating point."""
    return findings.salient is not None and findings.sides_known and not wording.is_below(findings)


def from_saliency(saliency: FloatArray, dce: Volume, findings: Findings) -> SalientRegion | None:
    """The region around the salient point of `findings`; None where no place may be named, or nothing is salient.

    `saliency` (W, H, D), >= 0, on the grid of `dce`. Raises ValueError for another grid, and where the salient point
    of the findings is not a maximum of this saliency.
    """
    if saliency.shape != dce.voxels.shape[1:]:
        raise ValueError(f"Saliency lies on the DCE grid {dce.voxels.shape[1:]}; shape {saliency.shape} does not.")
    if findings.salient is None or not may_be_shown(findings) or not saliency.max() > 0:
        return None
    i, j, k = np.rint(dce.to_voxels(np.array([findings.salient.point]))[0]).astype(int).tolist()
    hot = saliency >= SHARE_OF_MAXIMUM * saliency.max()
    if not hot[i, j, k]:
        raise ValueError(f"The salient point of the findings, voxel {i, j, k}, is not salient here.")
    mask = _part(hot, (i, j, k))
    outline = _outline(_part(mask[:, :, k], (i, j)))
    return SalientRegion(
        mask=mask,
        volume_ml=float(mask.sum() * abs(np.linalg.det(dce.affine[:3, :3])) / 1000),
        slices=tuple(np.flatnonzero(mask.any(axis=(0, 1))).tolist()),
        slice_index=k,
        outline=outline,
        outline_mm=dce.to_patient(np.column_stack([outline, np.full(len(outline), float(k))])),
    )


def _part(inside: BoolArray, index: tuple[int, ...]) -> BoolArray:
    """The connected part that holds `index`; voxels that touch by a corner are connected."""
    parts, _ = ndimage.label(inside, structure=np.ones([3] * inside.ndim))
    return np.asarray(parts == parts[index])


def _outline(part: BoolArray) -> FloatArray:
    """The outer border of one connected part (W, H), halfway between pixels inside and outside: (N, 2), closed."""
    padded = np.pad(part, 1).astype(float)
    borders = find_contours(padded, 0.5, fully_connected="high")  # type: ignore[no-untyped-call]
    return np.asarray(max(borders, key=len) - 1.0)
