"""The selected series as volumes: pixels decoded, rescaled, sorted along the slice normal, placed in mm (LPS).

Strict: slices that are missing, repeated, sheared or unevenly spaced refuse the dynamic and leave out a DWI or T2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.pixels.utils import iter_pixels

from ..errors import StudyRefused
from ..findings import Problem
from ..study import Attributes, Instance, Study
from ..volume import Volume
from . import headers, slabs, slice_geometry
from .series_grouping.images import MR_CLASSES, Image
from .series_grouping.kinds import NATIVE, component

SMALLEST_MATRIX = 64  # rows and columns
SMALLEST_OVERLAP = 0.5  # share of the dynamic's field of view that a DWI or T2 must cover
SAMPLES_PER_AXIS = 16  # of the dynamic's field of view, to measure the overlap

SELECTABLE = ("DCE_PRE", "DCE_POST", "DCE_ALL", "DWI", "DWI_TRACE", "T2", "T2_FS")


def build(study: Study, grouped: Mapping[str, Any]) -> tuple[dict[str, Volume], list[Problem]]:
    """Volumes "dce" (phases as channels), "dwi" and "t2" of an accepted study, and why one of the latter is left out.

    `grouped` is the study's entry of the grouping report. Raises StudyRefused where the dynamic cannot be built.
    """
    dce = grouped["dce"]
    if isinstance(dce, list):
        raise StudyRefused(
            "TWO_DYNAMICS_NOT_ANALYSED",
            "Right and left breast have dynamic series of their own; the model scores one exam of both breasts.",
            remedy="Read this exam without the model.",
        )
    if dce is None:
        raise StudyRefused("NO_DCE", "The grouping selected no dynamic.", remedy="See the problems of the grouping.")
    instances = {instance.sop_instance_uid: instance for instance in study.instances}
    volumes = {"dce": _dynamic(dce, instances)}
    problems: list[Problem] = []
    mismatched = {uid for p in grouped["problems"] if p["code"] == "FOR_MISMATCH" for uid in p["series"]}
    for role in ("dwi", "t2"):
        selection = grouped[role]
        if selection is None or (isinstance(selection, Mapping) and selection["SeriesInstanceUID"] in mismatched):
            continue
        found = _beside(role, selection, instances, volumes["dce"])
        if isinstance(found, Problem):
            problems.append(found)
        else:
            volumes[role] = found
    return volumes, problems


def model_instances(study: Study, grouped: Mapping[str, Any]) -> tuple[str, ...]:
    """SOP Instance UIDs, sorted, of the native MR images that a model selects or could select.

    They make the generation of a study: reports, captures, segmentations and derived series never start an analysis.
    """
    series = {s["SeriesInstanceUID"] for s in grouped["series"] if s["role"] in SELECTABLE and s.get("native", True)}
    return tuple(
        sorted(
            instance.sop_instance_uid
            for instance in study.instances
            if instance.series_instance_uid in series and instance.sop_class_uid in MR_CLASSES and _is_native(instance)
        )
    )


def _is_native(instance: Instance) -> bool:
    """Whether any frame is native: an ADC image in a diffusion series is not, a mixed multi-frame object is."""
    frames: Sequence[Attributes] = instance.frames or ({},)
    return any(component(Image(instance, None, {**instance.attributes, **f})) in (*NATIVE, "in phase") for f in frames)


# ------------------------------------------------------------------ one volume per sequence
def _dynamic(dce: Mapping[str, Any], instances: Mapping[str, Instance]) -> Volume:
    phases = [_slices(phase["instances"], instances) for phase in dce["phases"]]
    series = tuple(dict.fromkeys(s.instance.series_instance_uid for phase in phases for s in phase))
    size = phases[0][0].size
    if min(size) < SMALLEST_MATRIX:
        raise StudyRefused(
            "MATRIX_TOO_SMALL",
            f"The dynamic has images of {size[0]} x {size[1]} pixels.",
            remedy=f"The model needs at least {SMALLEST_MATRIX} x {SMALLEST_MATRIX}.",
            series=series,
        )
    try:
        stacks = [_stacks(phase) for phase in phases]
        for stack in stacks[1:]:
            _check_same_grid(stacks[0], stack)
    except _Irregular as reason:
        raise StudyRefused(
            "GEOMETRY_IRREGULAR",
            f"The dynamic is no regular volume: {reason}.",
            remedy="Send the series again completely.",
            series=series,
        ) from None
    try:
        channels, affines = zip(*(_placed(stack) for stack in stacks), strict=True)
    except _Undecodable as reason:
        raise StudyRefused(
            "PIXELS_UNREADABLE",
            f"Pixel data of the dynamic cannot be decoded: {reason}.",
            remedy="Send the series again, uncompressed (Explicit VR Little Endian).",
            series=series,
        ) from None
    times = [phase["t_rel_s"] for phase in dce["phases"]]
    seconds = None if None in times else tuple(float(time) for time in times)
    return Volume(_joined(channels), affines[0], seconds)


def _beside(role: str, selection: Any, instances: Mapping[str, Instance], dce: Volume) -> Volume | Problem:
    """A DWI or T2 on its own grid, or the problem for which it is left out."""
    if isinstance(selection, list):
        series = [part["SeriesInstanceUID"] for part in selection]
        words = f"The {role.upper()} came as one series for each breast; it is not used."
        return Problem.of("SEQUENCE_UNREADABLE", words, series)
    series = [selection["SeriesInstanceUID"]]
    try:
        slices = _slices(selection["instances"], instances)
        volume = _mean_over_directions(slices) if role == "dwi" else _single(slices)
    except (_Irregular, _Undecodable) as reason:
        words = f"The {role.upper()} is not used: {reason}. Send the series again, complete and uncompressed."
        return Problem.of("SEQUENCE_UNREADABLE", words, series)
    share = covered(dce, volume)
    if share < SMALLEST_OVERLAP:
        words = f"The {role.upper()} covers {share:.0%} of the dynamic's field of view; it is not used."
        return Problem.of("FIELD_OF_VIEW_SMALL", words, series)
    return volume


def covered(dce: Volume, other: Volume) -> float:
    """Share of the dynamic's field of view that another volume covers, 0 to 1."""
    axes = [(np.arange(SAMPLES_PER_AXIS) + 0.5) / SAMPLES_PER_AXIS * n - 0.5 for n in dce.voxels.shape[1:]]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = other.to_voxels(dce.to_patient(points))
    size = np.array(other.voxels.shape[1:])
    return float(np.mean(np.all((inside >= -0.5) & (inside <= size - 0.5), axis=1)))


def _single(slices: Sequence[Image]) -> Volume:
    voxels, affine = _placed(_stacks(slices))
    return Volume(_joined([voxels]), affine)


def _mean_over_directions(slices: Sequence[Image]) -> Volume:
    """The trace, or the mean of the diffusion directions: one image per position leaves."""
    directions = _by_position(slices)
    counts = {len(group) for group in directions}
    if len(counts) > 1:
        raise _Irregular("not every slice has the same number of diffusion directions")
    stacks = [_stacks([group[n] for group in directions]) for n in range(counts.pop())]
    total, affine = _placed(stacks[0])
    if len(stacks) == 1:
        return Volume(_joined([total]), affine)
    for stack in stacks[1:]:
        total = total.astype(np.float32) + _placed(stack)[0]
    return Volume((total / len(stacks))[None], affine)


# ------------------------------------------------------------------ slices
class _Irregular(Exception):
    """Why slices are no volume."""


class _Undecodable(Exception):
    """Why pixels cannot be decoded."""


@dataclass(frozen=True, slots=True, eq=False)
class RegularStack:
    """Slices along their normal, on one regular grid."""

    slices: list[Image]
    affine: npt.NDArray[np.float64]


def _slices(references: Sequence[Mapping[str, Any]], instances: Mapping[str, Instance]) -> list[Image]:
    found: list[Image] = []
    for reference in references:
        instance = instances[reference["SOPInstanceUID"]]
        if not instance.frames:
            found.append(Image(instance, None, instance.attributes))
            continue
        numbers = reference["frames"] or range(1, len(instance.frames) + 1)
        found += [Image(instance, n, {**instance.attributes, **instance.frames[n - 1]}) for n in numbers]
    return found


def _stacks(slices: Sequence[Image]) -> list[RegularStack]:
    """One regular volume, or two sagittal slabs. Raises _Irregular for anything else."""
    if not all(s.is_placed for s in slices):
        raise _Irregular("images without position, orientation or pixel spacing")
    positions = np.array([s.position for s in slices], float)
    orientations = np.array([s.orientation for s in slices], float)
    if len({s.size for s in slices}) > 1:
        raise _Irregular("images of different size")
    spacings = np.array([s.pixel_spacing for s in slices], float)
    if np.abs(spacings - spacings[0]).max() > 0.01 * spacings[0].min():
        raise _Irregular("images of different pixel spacing")
    parts = [np.ones(len(slices), bool)]
    if words := slice_geometry.irregularity(orientations, positions):
        if (found := slabs.sides(orientations, positions)) is None:
            raise _Irregular(words)
        parts = found
    stacks = []
    for part in parts:
        order = np.flatnonzero(part)[np.argsort(positions[part] @ slice_geometry.normal(orientations[0]))]
        affine = slice_geometry.affine(orientations[order[0]], positions[order], spacings[order[0]])
        stacks.append(RegularStack([slices[i] for i in order], affine))
    return stacks


def _placed(stacks: Sequence[RegularStack]) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Voxels (W, H, D) and affine (4, 4) of a volume, or of two slabs on one grid."""
    voxels = [_pixels(stack.slices) for stack in stacks]
    if len(stacks) == 1:
        return voxels[0], stacks[0].affine
    return slabs.joined(voxels, [stack.affine for stack in stacks])


def _check_same_grid(some: Sequence[RegularStack], others: Sequence[RegularStack]) -> None:
    """Raises _Irregular unless the grids agree to a tenth of a voxel."""
    if len(some) != len(others):
        raise _Irregular("phases of different size")
    for one, other in zip(some, others, strict=True):
        size = one.slices[0].size
        if (len(one.slices), size) != (len(other.slices), other.slices[0].size):
            raise _Irregular("phases of different size")
        corner = np.array([size[1] - 1, size[0] - 1, len(one.slices) - 1, 1.0])
        for index in (np.array([0, 0, 0, 1.0]), corner):
            apart = np.linalg.inv(one.affine) @ (other.affine @ index) - index
            if np.abs(apart[:3]).max() > 0.1:
                raise _Irregular("phases on different grids")


def _by_position(slices: Sequence[Image]) -> list[list[Image]]:
    """Slices grouped by position along the normal."""
    if not all(s.is_placed for s in slices):
        raise _Irregular("images without position, orientation or pixel spacing")
    groups: list[list[Image]] = []
    last = -np.inf
    for item in sorted(slices, key=lambda s: (s.height, s.uid, s.frame or 0)):
        if item.height - last > slice_geometry.SAME_POSITION_MM:
            groups.append([])
            last = item.height
        groups[-1].append(item)
    return groups


# ------------------------------------------------------------------ pixels
def _pixels(slices: Sequence[Image]) -> npt.NDArray[Any]:
    """Rescaled values (W, H, D): column i, row j, slice k. int16 where nothing is rescaled and the values fit."""
    scales = [_rescale(s) for s in slices]
    planes = _decoded(slices)
    if set(scales) != {(1.0, 0.0)}:
        planes = [
            plane.astype(np.float32) * np.float32(slope) + np.float32(intercept)
            for plane, (slope, intercept) in zip(planes, scales, strict=True)
        ]
    volume = np.stack(planes, axis=-1).transpose(1, 0, 2)
    if volume.dtype.kind in "iu" and volume.dtype != np.int16:
        fits = volume.min() >= np.iinfo(np.int16).min and volume.max() <= np.iinfo(np.int16).max
        volume = volume.astype(np.int16 if fits else np.float32)
    return volume


def _rescale(image: Image) -> tuple[float, float]:
    """Slope and intercept (PS3.3 C.11.1); values are as stored where they are absent."""
    slope, intercept = image.number("RescaleSlope"), image.number("RescaleIntercept")
    if (slope is None and image.text("RescaleSlope")) or (intercept is None and image.text("RescaleIntercept")):
        raise _Undecodable("the rescale slope or intercept is no number")
    return 1.0 if slope is None else slope, intercept or 0.0


def _decoded(slices: Sequence[Image]) -> list[npt.NDArray[Any]]:
    """Stored values (rows, columns) of each slice; a multi-frame file is opened once."""
    wanted: dict[str, list[int]] = {}
    for n, item in enumerate(slices):
        wanted.setdefault(item.uid, []).append(n)
    planes: list[npt.NDArray[Any]] = [np.zeros((0, 0))] * len(slices)
    for numbers in wanted.values():
        frames = [(slices[n].frame or 1) - 1 for n in numbers]
        decoded = _decode(slices[numbers[0]].instance, frames)
        for n, plane in zip(numbers, decoded, strict=True):
            if plane.shape != slices[n].size:
                raise _Undecodable(f"an image of {plane.shape} where {slices[n].size} was announced")
            planes[n] = plane
    return planes


def _decode(instance: Instance, frames: Sequence[int]) -> list[npt.NDArray[Any]]:
    """Frames (from 0) of an object."""
    try:
        if not instance.frames:
            return [pydicom.dcmread(instance.path).pixel_array]
        return list(iter_pixels(instance.path, indices=frames))
    except Exception as error:  # decoders raise whatever the bytes lead them to
        syntax = headers.transfer_syntax(instance)
        why = "no decoder is installed" if "missing dependencies" in str(error) else type(error).__name__
        raise _Undecodable(f"transfer syntax {syntax}, {why}, object {instance.sop_instance_uid}") from None


def _joined(channels: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Channels (C, W, H, D) of one type: int16 if all are, else float32."""
    if any(channel.dtype != np.int16 for channel in channels):
        channels = [channel.astype(np.float32, copy=False) for channel in channels]
    joined = np.empty((len(channels), *channels[0].shape), channels[0].dtype)
    for n, channel in enumerate(channels):
        joined[n] = channel
    return joined
