"""Where the breasts are, from the pre-contrast volume: boundaries per slice, morphology, 3-D smoothing.

After the method that the paper uses (Zhou et al. 2019), for patients lying prone. The skin between the breasts marks
the chest wall of each axial slice; what stands out in front of it is breast. Nothing depends on the intensity scale.
A single breast ends at its foot beside the sternum. Breasts that point to the back, or that the field of view cuts
there, are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .config import PreprocessingConfig
from .refusal import Refused

Mask: TypeAlias = npt.NDArray[np.bool_]
Line: TypeAlias = npt.NDArray[np.float64]
Place: TypeAlias = tuple[float, float]
"""Column, and depth in mm behind the front edge of the field of view."""

LEAST_SLICES = 0.2
"""Share of the slices in which breasts must stand out."""
AIR_MM = 10.0
"""Air in front of a breast; tissue nearer to the edge is cut by the field of view."""
STEEP = 0.8
"""Slope of the skin against the coronal plane, mm per mm: of a breast, not of the chest beside the sternum."""
MOST_TISSUE_IN_FRONT = 0.3
"""Share of the front rows of the field of view that tissue may fill: breasts may touch the edge, a chest may not."""


def breast_mask(pre: npt.NDArray[np.float32], config: PreprocessingConfig) -> Mask:
    """Breasts in the pre-contrast volume (W, H, D) on the working grid; axes left, back, head.

    Raises Refused (BREAST_MASK_IMPLAUSIBLE) where nothing, or nothing of plausible size and place, is found.
    """
    spacing = np.array(config.mask_spacing)
    smooth = ndimage.gaussian_filter(np.sqrt(np.clip(pre, 0, np.percentile(pre, 99.5))), 0.7)
    if not np.ptp(smooth) > 1e-6 * float(smooth.max()):
        raise implausible("the volume is empty")
    lower, upper = thresholds(smooth)
    check_front(smooth > lower, spacing[1], config)
    body = body_mask(smooth, (lower, upper))
    skin = skin_depth(body, spacing[1])  # (W, D) mm behind the front edge of the field of view
    wall = chest_wall(skin, spacing[0], config)
    depth = np.arange(body.shape[1])[None, :, None] * spacing[1]
    mask = body & (depth < wall[:, None, :])
    mask = ndimage.binary_opening(mask, ndimage.generate_binary_structure(3, 1), iterations=2)
    mask = large_parts(mask)
    closed = ndimage.gaussian_filter(mask.astype(np.float32), config.mask_smoothing_mm / spacing) > 0.5
    mask = closed & (depth < wall[:, None, :])
    check_plausible(mask, body, float(spacing.prod()) / 1000, config)
    return np.asarray(mask)


def body_mask(smooth: npt.NDArray[np.floating], levels: tuple[float, float]) -> Mask:
    """Tissue against air, in square-root intensities. Fat-suppressed fat is dim, so the lower of two thresholds parts
    them; where that leaves no air in front of the patient it has parted lung from air, and the upper one is taken."""
    candidates = (smooth > level for level in levels)
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


def chest_wall(skin: Line, spacing: float, config: PreprocessingConfig) -> Line:
    """Depth of the boundary behind the breasts, (W, D) mm: the sternum's skin, curving back to both sides."""
    slices = [skin[:, k] for k in range(skin.shape[1])]
    found = known(valley(line, config.valley_mm) for line in slices)
    if len(found) < LEAST_SLICES * len(slices):  # one breast alone
        found = known(medial_feet(slices, spacing, config.valley_mm))
    if len(found) < LEAST_SLICES * len(slices):
        raise implausible("nothing stands out in front of the chest")
    columns, depths = np.array(list(found.values())).T
    levels = np.interp(np.arange(len(slices)), list(found), depths)
    levels = ndimage.gaussian_filter1d(ndimage.median_filter(levels, size=5, mode="nearest"), 1.5, mode="nearest")
    across = (np.arange(skin.shape[0]) - np.median(columns)) * spacing
    return np.asarray(levels[None, :] + config.wall_margin_mm + (across**2 / (2 * config.wall_radius_mm))[:, None])


def known(places: Iterable[Place | None]) -> dict[int, Place]:
    """By slice, without the slices where nothing was found."""
    return {k: place for k, place in enumerate(places) if place is not None}


def valley(line: Line, least: float) -> Place | None:
    """The skin between two breasts in one slice; None where it does not lie `least` mm deep."""
    left = np.minimum.accumulate(line)
    right = np.minimum.accumulate(line[::-1])[::-1]
    deep = line - np.maximum(left, right)
    best = deep.max()
    if best < least:
        return None
    return float(np.mean(np.flatnonzero(deep >= best - 1e-6))), float(line[int(deep.argmax())])


def feet(line: Line, least: float) -> tuple[Place, Place] | None:
    """The deepest skin on either side of a single breast in one slice; None where it does not slope on both sides."""
    peak, last = int(line.argmin()), len(line) - 1
    left = int(line[: peak + 1].argmax())
    right = last - int(line[peak:][::-1].argmax())  # of places equally deep the one farthest from the breast
    if min(line[left], line[right]) - line[peak] < least:
        return None
    return (float(left), float(line[left])), (float(right), float(line[right]))


def medial_feet(slices: list[Line], spacing: float, least: float) -> list[Place | None]:
    """The foot of a single breast towards the sternum in every slice, None where there is no breast.

    The chest falls back to the side of the body, so the medial foot is the shallower one; it is the same side in all
    slices. Above and below the breast the chest slopes to one side only. Raises Refused where the skin still slopes
    steeply at the edge of the field of view: the foot lies outside, and how far the breast reaches is not known.
    """
    both = [feet(line, least) for line in slices]
    nearer = [left[1] < right[1] for left, right in (pair for pair in both if pair is not None)]
    medial = 0 if 2 * sum(nearer) > len(nearer) else 1
    found = [None if pair is None else pair[medial] for pair in both]
    reach = max(1, round(AIR_MM / spacing))
    edge, inside = (0, reach) if medial == 0 else (-1, -1 - reach)
    rise = [line[edge] - line[inside] for line, place in zip(slices, found, strict=True) if place is not None]
    if rise and float(np.median(rise)) > STEEP * reach * spacing:
        raise implausible("the field of view cuts through the breast")
    return found


def check_front(tissue: Mask, spacing: float, config: PreprocessingConfig) -> None:
    """Raises Refused where the breasts point to the back: the exam was registered in another position than it was made.

    The chest is cut by the edge of the field of view, breasts stand in air; where air lies on both sides, breasts are
    on the side with the valley between them.
    """
    front, back = (skin_depth(side, spacing) for side in (tissue, tissue[:, ::-1]))
    cut, cut_behind = (float((skin < AIR_MM).mean()) for skin in (front, back))
    if cut > cut_behind + 0.1:
        raise misplaced("the chest is cut by the front edge of the field of view, the air lies behind it")
    if valleys(front, config) < LEAST_SLICES <= valleys(back, config):
        raise misplaced("the breasts stand out towards the back")


def valleys(skin: Line, config: PreprocessingConfig) -> float:
    """Share of the slices with a valley between two breasts that have air in front of them."""
    found = [valley(line, config.valley_mm) is not None and line.min() >= AIR_MM for line in skin.T]
    return float(np.mean(found))


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
        remedy="Check that the dynamic series shows the whole breasts of a prone patient, with air in front of them.",
    )


def misplaced(what: str) -> Refused:
    return Refused(
        "BREAST_MASK_IMPLAUSIBLE",
        f"Front and back of the dynamic series look exchanged: {what}.",
        remedy="Check the patient position registered at the scanner (prone); left and right cannot be trusted either.",
    )
