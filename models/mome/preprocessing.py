"""From acquired volumes of any orientation and matrix to the canvas the network was trained on, and the way back.

Volumes are turned to the patient's axes, cropped to the breasts, subtracted, standardised and laid into a canvas of
zeros. Steps and order follow the paper (Methods, "Data preprocessing"); `PreprocessingConfig` says how each is done:
`PAPER_PREPROCESSING` as the paper says it; by default as the demonstration's small canvases need it, where all exams
have one voxel size and DWI and T2 show the region of the DCE, so that one place is one place in all three canvases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .breast_mask import breast_mask
from .config import PreprocessingConfig, Sequence, Size
from .geometry import (
    Affine,
    Box,
    FloatArray,
    Grid,
    Mask,
    Point,
    at_grid,
    covered,
    irregularity,
    reorient,
    resample,
    share_within,
)
from .intensities import in_time_order, readable, standardised, to_channels
from .refusal import Refused


class VolumeLike(Protocol):
    """A sequence of an exam; the node's volumes satisfy it."""

    @property
    def voxels(self) -> npt.NDArray[Any]:
        """(C, W, H, D): DCE phases or one channel; columns, rows, slices as acquired."""
        ...

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """(4, 4), voxel index to mm, LPS."""
        ...

    @property
    def seconds(self) -> tuple[float, ...] | None:
        """Of each DCE phase; None where only their order is known."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """An exam on the model's canvases, and where these lie in the patient."""

    arrays: Mapping[Sequence, FloatArray]  # (C, W, H, D), standardised, 0 outside; missing sequences are absent
    affines: Mapping[Sequence, Affine]  # (4, 4), canvas voxel to mm, LPS
    boxes: Mapping[Sequence, Box]  # of the canvas, that hold all that is not 0
    mask: Mask  # (W, H, D) on the DCE canvas: the breasts
    measures: Mapping[str, float]  # mask_volume_ml, mask_fraction, phases; canvas_scale: see `canvas_scales`


@dataclass(frozen=True, slots=True)
class Breasts:
    """The breast mask and its bounding box."""

    mask: Mask  # (W, H, D)
    grid: Grid
    box: Box

    @property
    def centre(self) -> Point:
        """Of the bounding box, mm, LPS."""
        return self.grid.at((np.array(self.box.low) + np.array(self.box.high) - 1) / 2)


@dataclass(frozen=True, slots=True)
class Placed:
    """One sequence on its canvas; `scale` is the ratio, at most 1, by which it had to shrink to fit."""

    array: FloatArray  # (C, W, H, D)
    affine: Affine
    box: Box
    mask: Mask  # (W, H, D)
    scale: float


def prepare(inputs: Mapping[str, VolumeLike | None], config: PreprocessingConfig) -> Prepared:
    """Volumes by role; None is a missing one. Raises Refused where no breast is found, or there is no usable dynamic.

    DWI and T2 that cover less than `min_overlap` of the breast mask, whose geometry is irregular or whose values are
    not numbers are left out, as if they were missing.
    """
    dynamic = inputs.get("dce")
    if dynamic is None:
        raise Refused("NO_DCE", "There is no dynamic series.", remedy="Send the native dynamic series.")
    check_dynamic(dynamic, config)
    phases, affine = reorient(in_time_order(dynamic.voxels, dynamic.seconds), dynamic.affine)
    breasts = find_breasts(phases[:1], affine, config)
    placed: dict[Sequence, Placed] = {"dce": place_dynamic(phases, affine, breasts, config)}
    others: tuple[Sequence, ...] = ("dwi", "t2")
    for sequence in others:
        volume = inputs.get(sequence)
        other = None if volume is None else place_other(volume, sequence, breasts, config)
        if other is not None:
            placed[sequence] = other
    return Prepared(
        arrays={s: p.array for s, p in placed.items()},
        affines={s: p.affine for s, p in placed.items()},
        boxes={s: p.box for s, p in placed.items()},
        mask=placed["dce"].mask,
        measures={
            "mask_volume_ml": float(breasts.mask.sum()) * float(np.prod(config.mask_spacing)) / 1000,
            "mask_fraction": float(breasts.mask.mean()),
            **canvas_scales(placed),
            "phases": float(len(phases)),
        },
    )


def check_dynamic(volume: VolumeLike, config: PreprocessingConfig) -> None:
    """Raises Refused for too few phases, a geometry that is not one of a patient, or values that are not numbers."""
    if len(volume.voxels) < config.min_phases:
        raise Refused(
            "TOO_FEW_PHASES",
            f"The dynamic has {len(volume.voxels)} phases, the model needs {config.min_phases}: "
            "one post-contrast phase shows no kinetics.",
            remedy="Send the complete dynamic series: pre-contrast and at least two post-contrast phases.",
        )
    irregular = irregularity(volume.affine, volume_shape(volume.voxels))
    if irregular is not None:
        raise Refused(
            "GEOMETRY_IRREGULAR",
            f"The dynamic is no regular volume in the patient: {irregular}.",
            remedy="Send the series again as acquired, near the axial, sagittal or coronal plane.",
        )
    if not readable(volume.voxels):
        raise Refused(
            "PIXELS_UNREADABLE",
            "The dynamic series holds values that are not numbers, or larger than any scanner's.",
            remedy="Send the series again as acquired.",
        )


def canvas_scales(placed: Mapping[Sequence, Placed]) -> dict[str, float]:
    """The scale of the DCE as `canvas_scale`, of DWI and T2 as `canvas_scale_dwi`, `_t2` where they shrank, too."""
    others = {f"canvas_scale_{s}": p.scale for s, p in placed.items() if s != "dce" and p.scale < 1}
    return {"canvas_scale": placed["dce"].scale, **others}


def find_breasts(pre: npt.NDArray[Any], affine: Affine, config: PreprocessingConfig) -> Breasts:
    """From the pre-contrast volume (1, W, H, D) along the patient's axes; raises Refused where there is no breast."""
    grid = Grid(affine, volume_shape(pre)).every(config.mask_spacing)
    mask = breast_mask(resample(pre, affine, grid.affine, grid.shape)[0], config)
    return Breasts(mask, grid, Box.around(mask))


# ------------------------------------------------------------------ the sequences
def place_dynamic(phases: npt.NDArray[Any], affine: Affine, breasts: Breasts, config: PreprocessingConfig) -> Placed:
    """Subtractions of the pre-contrast phase, masked and standardised."""
    crop, scale = crop_of("dce", Grid(affine, volume_shape(phases)), breasts, config)
    mask = at_grid(breasts.mask, breasts.grid, crop) > 0.5
    images = resample(phases, affine, crop.affine, crop.shape)
    subtractions = to_channels(images[1:] - images[0], config.channels) * mask
    everywhere = np.ones_like(mask)
    standard = standardised(subtractions, mask if config.statistics == "mask" else everywhere, config)
    kept = mask if config.zeroed == "after" else everywhere
    return laid_in(config.dce_canvas, standard * kept, crop, kept, mask, scale)


def place_other(volume: VolumeLike, sequence: Sequence, breasts: Breasts, config: PreprocessingConfig) -> Placed | None:
    """DWI or T2, cropped but not masked; None where it is unusable or covers too little of the breasts."""
    image = volume.voxels[:1]
    if not len(image) or irregularity(volume.affine, volume_shape(image)) is not None or not readable(image):
        return None
    voxels, affine = reorient(image, volume.affine)
    acquired = Grid(affine, volume_shape(voxels))
    if share_within(breasts.mask, breasts.grid, acquired) < config.min_overlap:
        return None
    crop, scale = crop_of(sequence, acquired, breasts, config)
    seen = covered(acquired, crop)
    mask = (at_grid(breasts.mask, breasts.grid, crop) > 0.5) & seen
    kept = seen if config.grid == "matrix" or is_whole(sequence, config) else seen & within_dce(sequence, crop, config)
    sampled = resample(voxels, affine, crop.affine, crop.shape)
    standard = standardised(sampled, mask if config.statistics == "mask" else kept, config)
    return laid_in(config.canvas(sequence), standard * kept, crop, kept, mask, scale)


def is_whole(sequence: Sequence, config: PreprocessingConfig) -> bool:
    return sequence == "dwi" and config.dwi_region == "whole"


def volume_shape(voxels: npt.NDArray[Any]) -> Size:
    w, h, d = voxels.shape[1:]
    return w, h, d


# ------------------------------------------------------------------ crop and canvas
def crop_of(sequence: Sequence, acquired: Grid, breasts: Breasts, config: PreprocessingConfig) -> tuple[Grid, float]:
    """The grid of what is kept of a sequence, and the ratio, at most 1, by which it was made coarser to fit."""
    if config.grid == "matrix":
        return matrix_crop(sequence, acquired, breasts, config)
    spacing, canvas = np.array(config.spacing(sequence)), config.canvas(sequence)
    if is_whole(sequence, config):
        centre, ratio = acquired.middle, fitting_ratio(acquired.shape * acquired.spacing / spacing, canvas)
    else:  # as the DCE, so that all sequences keep the same scale
        size = np.array(breasts.box.size) * config.mask_spacing + 2 * config.crop_margin_mm
        centre, ratio = breasts.centre, fitting_ratio(size / config.dce_spacing, config.dce_canvas)
    return acquired.about(centre, spacing / ratio, canvas), ratio


def matrix_crop(
    sequence: Sequence, acquired: Grid, breasts: Breasts, config: PreprocessingConfig
) -> tuple[Grid, float]:
    """As the paper: the field of view resized to a matrix, of that the bounding box of the breasts."""
    matrix = {"dce": config.dce_matrix, "t2": config.t2_matrix, "dwi": acquired.shape}[sequence]
    grid = acquired.divided(matrix)
    if not is_whole(sequence, config):
        margin = np.ceil(config.crop_margin_mm / grid.spacing).astype(int)
        grid = grid.part(Box.around(at_grid(breasts.mask, breasts.grid, grid) > 0.5, margin.tolist()))
    canvas = config.canvas(sequence)
    ratio = fitting_ratio(grid.shape, canvas)
    if ratio == 1 or config.oversize == "zoom":
        return grid, 1.0
    w, h, d = (min(c, max(1, round(n * ratio))) for n, c in zip(grid.shape, canvas, strict=True))
    return grid.about(grid.middle, grid.spacing / ratio, (w, h, d)), ratio


def within_dce(sequence: Sequence, crop: Grid, config: PreprocessingConfig) -> Mask:
    """Which voxels of a canvas of millimetres show the region of the DCE canvas."""
    region = np.array(config.dce_canvas) * config.dce_spacing  # mm, before both shrink by one ratio
    inside = np.ones(crop.shape, bool)
    for axis, (n, s, extent) in enumerate(zip(crop.shape, config.spacing(sequence), region, strict=True)):
        offset = np.abs((np.arange(n) - (n - 1) / 2) * s) <= extent / 2
        inside &= offset.reshape(np.roll((-1, 1, 1), axis))
    return inside


def fitting_ratio(size: npt.ArrayLike, canvas: Size) -> float:
    """The one ratio, at most 1, by which all axes of a crop of `size` voxels (3,) shrink to fit into the canvas."""
    return min(1.0, float((np.array(canvas) / np.asarray(size)).min()))


def laid_in(canvas: Size, content: FloatArray, crop: Grid, kept: Mask, mask: Mask, scale: float) -> Placed:
    """Content (C, W, H, D) of a crop in the middle of a canvas of zeros, shrunk first where it does not fit.

    The published loader's way: `shrunk`, then inserted at floor((canvas - size) / 2).
    """
    ratio = fitting_ratio(crop.shape, canvas)
    if ratio < 1:
        content = shrunk(content, ratio)
        kept, mask = (shrunk(m[None].astype(np.float32), ratio)[0] > 0.5 for m in (kept, mask))
        crop = corner_to_corner(crop, volume_shape(content))
    low = tuple((c - n) // 2 for c, n in zip(canvas, crop.shape, strict=True))
    w, h, d = (slice(a, a + n) for a, n in zip(low, crop.shape, strict=True))

    def whole(part: npt.NDArray[Any]) -> npt.NDArray[Any]:
        result = np.zeros((*part.shape[:-3], *canvas), part.dtype)
        result[..., w, h, d] = part
        return result

    affine = crop.affine.copy()
    affine[:3, 3] = crop.at(-np.array(low))
    return Placed(whole(content), affine, Box.around(whole(kept)), whole(mask), scale * ratio)


def shrunk(images: FloatArray, ratio: float) -> FloatArray:
    """(C, W, H, D), all axes by one ratio, linear, first and last voxels stay in place: scipy.ndimage.zoom of order 1.

    MONAI does it ten times faster, but is slow to import; few exams need it.
    """
    import torch
    from monai.transforms.spatial.array import Resize

    size = [max(1, round(n * ratio)) for n in images.shape[1:]]
    resize = Resize(size, mode="trilinear", align_corners=True)
    return np.asarray(resize(torch.from_numpy(np.ascontiguousarray(images, np.float32))), dtype=np.float32)


def corner_to_corner(grid: Grid, shape: Size) -> Grid:
    """A grid of fewer voxels whose first and last voxels lie where those of `grid` do."""
    affine = grid.affine.copy()
    affine[:3, :3] *= (np.array(grid.shape) - 1) / np.maximum(np.array(shape) - 1, 1)
    return Grid(affine, shape)
