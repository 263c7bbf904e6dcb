"""From acquired volumes of any orientation and matrix to the canvas the network was trained on, and the way back.

Volumes are turned to the nearest patient axes without interpolation (W to the left, H to the back, D to the head),
resampled with averaging over the voxel, cropped to the breasts, subtracted and standardised. Steps and order follow the
paper (Methods, "Data preprocessing"); constants live in `PreprocessingConfig`. Deviations, all chosen because the paper
leaves them open or the small canvas needs them: statistics are those inside the breast mask; DWI and T2 are cropped to
the region of the DCE canvas, so that one place in the patient is one place in all three canvases.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .breast_mask import breast_mask
from .config import PreprocessingConfig, Sequence
from .refusal import Refused

FloatArray = npt.NDArray[np.float32]
Affine = npt.NDArray[np.float64]


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
    def seconds(self) -> tuple[float, ...] | None: ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """An exam on the model's canvases, and where these lie in the patient."""

    arrays: Mapping[Sequence, FloatArray]  # (C, W, H, D), standardised, 0 outside; missing sequences are absent
    affines: Mapping[Sequence, Affine]  # (4, 4), canvas voxel to mm, LPS
    mask: npt.NDArray[np.bool_]  # (W, H, D) on the DCE canvas: the breasts
    measures: Mapping[str, float]


def prepare(inputs: Mapping[str, VolumeLike], config: PreprocessingConfig) -> Prepared:
    """Raises Refused where no breast is found or the dynamic has too few phases.

    DWI and T2 that cover less than `min_overlap` of the breast mask are left out, as if they were missing.
    """
    phases, affine = reorient(inputs["dce"].voxels, inputs["dce"].affine)
    if len(phases) < config.min_phases:
        raise Refused(
            "TOO_FEW_PHASES",
            f"The dynamic has {len(phases)} phases, the model needs {config.min_phases}.",
            remedy="Send the complete dynamic series: pre-contrast and at least two post-contrast phases.",
        )
    working = working_grid(phases.shape[1:], affine, config.dce_spacing)
    pre = resample(phases[:1], affine, *working)[0]
    whole_mask = breast_mask(pre, config)
    centre, ratio = crop(whole_mask, working[0], config)
    canvas = canvas_affine(working[0], centre, config.dce_spacing, config.dce_canvas, ratio)
    mask = at_grid(whole_mask, working[0], canvas, config.dce_canvas) > 0.5
    dynamic = resample(phases, affine, canvas, config.dce_canvas)
    subtraction = to_channels(dynamic[1:] - dynamic[0], config.channels)
    arrays: dict[Sequence, FloatArray] = {"dce": standardised(subtraction * mask, mask, config) * mask}
    affines: dict[Sequence, Affine] = {"dce": canvas}
    others: tuple[Sequence, ...] = ("dwi", "t2")
    for sequence in others:
        if sequence in inputs:
            placed = accompany(inputs[sequence], sequence, whole_mask, working[0], centre, ratio, config)
            if placed is not None:
                arrays[sequence], affines[sequence] = placed
    voxel_ml = float(np.prod(config.dce_spacing)) / 1000
    measures = {
        "mask_volume_ml": float(whole_mask.sum()) * voxel_ml,
        "mask_fraction": float(whole_mask.mean()),
        "canvas_scale": float(ratio),
        "phases": float(len(phases)),
    }
    return Prepared(arrays, affines, mask, measures)


# ------------------------------------------------------------------ geometry
def reorient(voxels: npt.NDArray[Any], affine: Affine) -> tuple[npt.NDArray[Any], Affine]:
    """Turn (C, W, H, D) to the nearest patient axes by exchanging and flipping axes; no voxel changes its place."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    order = max(itertools.permutations(range(3)), key=lambda p: sum(abs(directions[i, p[i]]) for i in range(3)))
    turned = np.transpose(voxels, (0, *(axis + 1 for axis in order)))
    result = affine.copy()
    result[:3, :3] = affine[:3, order]
    for axis in range(3):
        if result[axis, axis] < 0:
            result[:3, 3] += result[:3, axis] * (turned.shape[axis + 1] - 1)
            result[:3, axis] *= -1
            turned = np.flip(turned, axis + 1)
    return turned, result


def working_grid(
    shape: tuple[int, ...], affine: Affine, spacing: tuple[float, float, float]
) -> tuple[Affine, tuple[int, int, int]]:
    """Grid of the working spacing over the whole field of view, along its own axes: affine and shape."""
    acquired = np.linalg.norm(affine[:3, :3], axis=0)
    w, h, d = (max(1, round(n * a / s)) for n, a, s in zip(shape, acquired, spacing, strict=True))
    directions = affine[:3, :3] / acquired
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    grid = np.eye(4)
    grid[:3, :3] = directions * spacing
    grid[:3, 3] = middle - grid[:3, :3] @ ((np.array((w, h, d)) - 1) / 2)
    return grid, (w, h, d)


def crop(
    mask: npt.NDArray[np.bool_], affine: Affine, config: PreprocessingConfig
) -> tuple[npt.NDArray[np.float64], float]:
    """Centre of the mask's bounding box, mm LPS, and the ratio (at most 1) that lets the box fit into the canvas."""
    found = np.argwhere(mask)
    low, high = found.min(axis=0), found.max(axis=0)
    size = high - low + 1 + 2 * config.crop_margin_mm / np.array(config.dce_spacing)
    ratio = min(1.0, float((np.array(config.dce_canvas) / size).min()))
    return affine[:3, :3] @ ((low + high) / 2) + affine[:3, 3], ratio


def canvas_affine(
    axes: Affine,
    centre: npt.NDArray[np.float64],
    spacing: tuple[float, float, float],
    canvas: tuple[int, int, int],
    ratio: float,
) -> Affine:
    """A canvas about `centre` along the directions of `axes`; its voxels grow where the breasts must shrink to fit."""
    result = np.eye(4)
    result[:3, :3] = axes[:3, :3] / np.linalg.norm(axes[:3, :3], axis=0) * spacing / ratio
    result[:3, 3] = centre - result[:3, :3] @ ((np.array(canvas) - 1) / 2)
    return result


def resample(voxels: npt.NDArray[Any], affine: Affine, target: Affine, shape: tuple[int, int, int]) -> FloatArray:
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


def at_grid(image: npt.NDArray[Any], affine: Affine, target: Affine, shape: tuple[int, int, int]) -> FloatArray:
    """(W, H, D) at the voxels of any other grid, linear; 0 outside."""
    matrix = np.linalg.inv(affine) @ target
    return np.asarray(
        ndimage.affine_transform(image.astype(np.float32), matrix[:3, :3], matrix[:3, 3], output_shape=shape, order=1)
    )


# ------------------------------------------------------------------ intensities
def to_channels(phases: FloatArray, channels: int) -> FloatArray:
    """(N, W, H, D) post-contrast phases to `channels` of them, linear over the phase index, first and last kept."""
    if len(phases) == channels:
        return phases
    at = np.linspace(0, len(phases) - 1, channels)
    weights = np.clip(1 - np.abs(at[:, None] - np.arange(len(phases))), 0, None).astype(np.float32)
    return np.asarray(np.tensordot(weights, phases, axes=1))


def standardised(images: FloatArray, mask: npt.NDArray[np.bool_], config: PreprocessingConfig) -> FloatArray:
    """Zero mean and unit variance inside the mask, all channels together, clipped; an even image stays zero."""
    inside = images[:, mask]
    deviation = float(inside.std())
    if deviation <= 1e-6 * float(np.abs(inside).max(initial=0.0)) or deviation == 0:
        return np.zeros_like(images)
    return np.asarray(np.clip((images - inside.mean()) / deviation, -config.clip, config.clip), dtype=np.float32)


def accompany(
    volume: VolumeLike,
    sequence: Sequence,
    mask: npt.NDArray[np.bool_],
    mask_affine: Affine,
    centre: npt.NDArray[np.float64],
    ratio: float,
    config: PreprocessingConfig,
) -> tuple[FloatArray, Affine] | None:
    """DWI or T2 over the region of the DCE canvas; None where it covers too little of the breasts."""
    voxels, affine = reorient(volume.voxels[:1], volume.affine)
    shape = config.canvas(sequence)
    canvas = canvas_affine(affine, centre, config.spacing(sequence), shape, ratio)
    breasts = at_grid(mask, mask_affine, canvas, shape) > 0.5
    covered = resample(np.ones_like(voxels, dtype=np.float32), affine, canvas, shape)[0] > 0.5
    if not breasts.any() or (breasts & covered).sum() < config.min_overlap * breasts.sum():
        return None
    image = standardised(resample(voxels, affine, canvas, shape), breasts & covered, config)
    region = np.array(config.dce_canvas) * config.dce_spacing  # mm of the DCE canvas, before `ratio`
    inside = np.ones(shape, bool)
    for axis, (n, s, extent) in enumerate(zip(shape, config.spacing(sequence), region, strict=True)):
        offset = np.abs((np.arange(n) - (n - 1) / 2) * s) <= extent / 2
        inside &= offset.reshape(np.roll((-1, 1, 1), axis))
    return image * (covered & inside), canvas
