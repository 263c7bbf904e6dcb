"""Where the breasts are, from the pre-contrast volume: boundaries per slice, morphology, 3-D smoothing.

After the method that the paper uses (Zhou et al. 2019), for patients lying prone. The skin between the breasts marks
the chest wall of each axial slice; what stands out in front of it is breast. Nothing depends on the intensity scale.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .config import PreprocessingConfig
from .refusal import Refused

Mask = npt.NDArray[np.bool_]
Line = npt.NDArray[np.float64]
MOST_TISSUE_IN_FRONT = 0.3
"""Share of the front rows of the field of view that tissue may fill: breasts may touch the edge, a chest may not."""


def breast_mask(pre: npt.NDArray[np.float32], config: PreprocessingConfig) -> Mask:
    """Breasts in the pre-contrast volume (W, H, D) on the working grid; axes left, back, head.

    Raises Refused (BREAST_MASK_IMPLAUSIBLE) where nothing, or nothing of plausible size and place, is found.
    """
    spacing = np.array(config.dce_spacing)
    body = body_mask(pre)
    skin = skin_depth(body, spacing[1])  # (W, D) mm behind the front edge of the field of view
    wall = chest_wall(skin, spacing[0], body.shape[1] * spacing[1], config)
    depth = np.arange(body.shape[1])[None, :, None] * spacing[1]
    mask = body & (depth < wall[:, None, :])
    mask = ndimage.binary_opening(mask, ndimage.generate_binary_structure(3, 1), iterations=2)
    mask = large_parts(mask)
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), config.mask_smoothing_mm / spacing)
    mask = (smooth > 0.5) & (depth < wall[:, None, :])
    check_plausible(mask, body, float(spacing.prod()) / 1000, config)
    return np.asarray(mask)


def body_mask(pre: npt.NDArray[np.float32]) -> Mask:
    """Tissue against air. Fat-suppressed fat is dim, so the lower of two thresholds, on square-root intensities, parts
    them; where that leaves no air in front of the patient it has parted lung from air, and the upper one is taken."""
    smooth = ndimage.gaussian_filter(np.sqrt(np.clip(pre, 0, np.percentile(pre, 99.5))), 0.7)
    if not np.ptp(smooth) > 1e-6 * float(smooth.max()):
        raise implausible("the volume is empty")
    candidates = (smooth > threshold for threshold in thresholds(smooth))
    tissue = next((t for t in candidates if t[:, :2].mean() < MOST_TISSUE_IN_FRONT), None)
    if tissue is None:
        raise implausible("no air lies in front of the breasts")
    if tissue.mean() < 0.02 or smooth[~tissue].mean() > 0.6 * smooth[tissue].mean():
        raise implausible("no tissue stands out from air")
    labels, _ = ndimage.label(tissue)
    sizes = np.bincount(labels.ravel())[1:]
    return np.asarray(np.isin(labels, 1 + np.flatnonzero(sizes > 0.05 * sizes.max())))


def thresholds(values: npt.NDArray[np.floating], bins: int = 96) -> tuple[float, float]:
    """The two thresholds that best part the histogram into three classes (Otsu's criterion), lower first."""
    counts, edges = np.histogram(values, bins)
    middles = (edges[:-1] + edges[1:]) / 2
    weight = np.concatenate([[0.0], np.cumsum(counts, dtype=float)])
    moment = np.concatenate([[0.0], np.cumsum(counts * middles)])

    def between(first: npt.NDArray[np.int_], last: npt.NDArray[np.int_]) -> Line:
        w, m = weight[last] - weight[first], moment[last] - moment[first]
        return np.asarray(np.where(w > 0, m**2 / np.maximum(w, 1), 0.0))

    i, j = np.triu_indices(bins - 1, k=1)
    i, j = i + 1, j + 1
    zero, end = np.zeros_like(i), np.full_like(i, bins)
    best = int(np.argmax(between(zero, i) + between(i, j) + between(j, end)))
    return float(edges[i[best]]), float(edges[j[best]])


def skin_depth(body: Mask, spacing: float) -> Line:
    """Distance of the first tissue from the front edge, (W, D) mm; the whole depth where a column holds none."""
    first = np.where(body.any(axis=1), body.argmax(axis=1), body.shape[1]) * spacing
    return np.asarray(ndimage.median_filter(first, size=(3, 3)), dtype=float)


def chest_wall(skin: Line, spacing: float, depth: float, config: PreprocessingConfig) -> Line:
    """Depth of the boundary behind the breasts, (W, D) mm: the sternum's skin, curving back to both sides."""
    valleys = [valley(skin[:, k], config.valley_mm) for k in range(skin.shape[1])]
    found = [k for k, v in enumerate(valleys) if v is not None]
    if len(found) < 0.2 * len(valleys):  # one breast alone: its own foot
        valleys = [foot(skin[:, k], depth, config.valley_mm) for k in range(skin.shape[1])]
        found = [k for k, v in enumerate(valleys) if v is not None]
    if len(found) < 0.2 * len(valleys):
        raise implausible("nothing stands out in front of the chest")
    at = np.array([valleys[k] for k in found], float)
    middle = np.median(at[:, 0])
    levels = np.interp(np.arange(skin.shape[1]), found, at[:, 1])
    levels = ndimage.gaussian_filter1d(ndimage.median_filter(levels, size=5, mode="nearest"), 1.5, mode="nearest")
    across = (np.arange(skin.shape[0]) - middle) * spacing
    return np.asarray(levels[None, :] + config.wall_margin_mm + (across**2 / (2 * config.wall_radius_mm))[:, None])


def valley(line: Line, least: float) -> tuple[float, float] | None:
    """Column and depth of the skin between two breasts in one slice; None where it does not lie deep enough."""
    left = np.minimum.accumulate(line)
    right = np.minimum.accumulate(line[::-1])[::-1]
    deep = line - np.maximum(left, right)
    best = deep.max()
    if best < least:
        return None
    return float(np.mean(np.flatnonzero(deep >= best - 1e-6))), float(line[int(deep.argmax())])


def foot(line: Line, depth: float, least: float) -> tuple[float, float] | None:
    """Column and depth of the nearer foot of a single breast in one slice: the deepest skin of its shallower side."""
    peak = int(line.argmin())
    sides = [part for part in (range(0, peak), range(peak + 1, len(line))) if len(part) > 0]
    ends = [max(part, key=lambda column: line[column]) for part in sides]
    ends = [end for end in ends if line[end] - line[peak] >= least and line[end] < depth] or [
        end for end in ends if line[end] - line[peak] >= least
    ]
    if not ends:
        return None
    nearer = min(ends, key=lambda column: line[column])
    return float(nearer), float(line[nearer])


def large_parts(mask: Mask) -> Mask:
    """Connected parts of at least a sixth of the largest."""
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())[1:]
    return np.asarray(np.isin(labels, 1 + np.flatnonzero(sizes >= sizes.max(initial=1) / 6)))


def check_plausible(mask: Mask, body: Mask, voxel_ml: float, config: PreprocessingConfig) -> None:
    volume = float(mask.sum()) * voxel_ml
    if not config.min_breast_ml <= volume <= config.max_breast_ml:
        raise implausible(f"the region in front of the chest holds {volume:.0f} ml")
    if mask.sum() > 0.97 * body.sum():
        raise implausible("no chest lies behind it")


def implausible(what: str) -> Refused:
    return Refused(
        "BREAST_MASK_IMPLAUSIBLE",
        f"No plausible breast in the pre-contrast volume: {what}.",
        remedy="Check that the dynamic series shows the breasts of a patient lying prone, with air in front of them.",
    )
