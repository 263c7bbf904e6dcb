"""A phantom patient on a grid: relative tissue maps first, then the signal of each sequence in scanner-like units.

Lesion attributes become pictures here, and only here:
kinetics k   S(t) = (1 - exp(-t / tau)) exp(-w (t - 1)), t minutes; w = 0.03 + 0.07 k,
             tau = max(0.25, 0.9 exp(-0.35 k)); divided by its mean over six minutes: brightness carries no label
morphology m surface lobed by six waves of strength 0.03 + 0.38 M, M = sigmoid(1.3 m); centre darkened (rim); texture
diffusion a  ADC = 0.5 + 1.7 sigmoid(-1.3 a), 1e-3 mm2/s; signal mono-exponential in b
t2 t         signal 0.62 exp(-0.48 t)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .patient import FINE_PITCH, GLAND_PITCH, REGION, Blob, FloatArray, Lesion, Patient, Point

UNITS = 350.0  # scanner units of one relative unit
MINUTES = np.arange(1.0, 7.0)


@dataclass(frozen=True, slots=True)
class Grid:
    """An axial acquisition: column i to the left, row j to the back, slice k to the head; mm."""

    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    origin: tuple[float, float, float]  # centre of voxel (0, 0, 0)

    @classmethod
    def covering(cls, centre: Point, extent: tuple[float, float, float], spacing: Sequence[float]) -> Grid:
        shape = [max(1, round(e / s)) for e, s in zip(extent, spacing, strict=True)]
        origin = [c - s * (n - 1) / 2 for c, s, n in zip(centre, spacing, shape, strict=True)]
        (a, b, c), (w, h, d), (x, y, z) = map(float, spacing), shape, map(float, origin)
        return cls((a, b, c), (w, h, d), (x, y, z))

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        matrix = np.diag([*self.spacing, 1.0])
        matrix[:3, 3] = self.origin
        return matrix

    def axes(self) -> list[FloatArray]:
        """Coordinates along x, y, z in mm, shaped to broadcast to the grid."""
        lines = [o + s * np.arange(n) for o, s, n in zip(self.origin, self.spacing, self.shape, strict=True)]
        return [line.astype(np.float32).reshape(np.roll((-1, 1, 1), a)) for a, line in enumerate(lines)]

    def box(self, centre: Point, reach: float) -> tuple[slice, slice, slice] | None:
        """Voxels within `reach` mm of a point along each axis; None where there are none."""
        low = [int(np.ceil((c - reach - o) / s)) for c, o, s in zip(centre, self.origin, self.spacing, strict=True)]
        high = [int(np.floor((c + reach - o) / s)) for c, o, s in zip(centre, self.origin, self.spacing, strict=True)]
        a, b, c = (slice(max(first, 0), min(last + 1, n)) for first, last, n in zip(low, high, self.shape, strict=True))
        return (a, b, c) if all(s.start < s.stop for s in (a, b, c)) else None

    def part(self, box: tuple[slice, slice, slice], finer: int = 1) -> Grid:
        """The sub-grid of a box, each voxel cut into `finer`**3."""
        spacing = [s / finer for s in self.spacing]
        shape = [(b.stop - b.start) * finer for b in box]
        first = [o + s * (b.start - 0.5) for o, s, b in zip(self.origin, self.spacing, box, strict=True)]
        origin = [f + s / 2 for f, s in zip(first, spacing, strict=True)]
        (a, b, c), (w, h, d), (x, y, z) = spacing, shape, origin
        return Grid((a, b, c), (w, h, d), (x, y, z))


def sigmoid(x: npt.NDArray[np.floating]) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))), dtype=np.float32)


def texture(coefficients: FloatArray, pitch: float, grid: Grid) -> FloatArray:
    """Smooth Gaussian noise of unit variance: a cubic B-spline over a lattice fixed in the patient."""
    field = coefficients
    for axis, ((low, _), line) in enumerate(zip(REGION, grid.axes(), strict=True)):
        distance = np.abs((line.ravel()[:, None] - low) / pitch - np.arange(coefficients.shape[axis]) + 1.5)
        near, far = 2 / 3 - distance**2 + distance**3 / 2, np.clip(2 - distance, 0, None) ** 3 / 6
        basis = np.where(distance < 1, near, far).astype(np.float32)
        field = np.moveaxis(np.tensordot(basis, field, axes=(1, axis)), 0, axis)
    return np.asarray(field / 0.332, dtype=np.float32)


def curve(kinetics: float, minutes: Point) -> FloatArray:
    """Relative uptake at minutes after injection; mean one over the first six minutes."""
    wash_out, tau = 0.03 + 0.07 * kinetics, max(0.25, 0.9 * np.exp(-0.35 * kinetics))

    def uptake(t: Point) -> Point:
        return np.asarray((1 - np.exp(-t / tau)) * np.exp(-wash_out * (t - 1)))

    return np.asarray(uptake(minutes) / uptake(MINUTES).mean(), dtype=np.float32)


def adc_of(lesion: Lesion) -> float:
    """Apparent diffusion coefficient, 1e-3 mm2/s."""
    return 0.5 + 1.7 * float(sigmoid(np.array(-1.3 * lesion.diffusion)))


def membership(lesion: Lesion, grid: Grid) -> tuple[FloatArray, FloatArray]:
    """Share of the lesion in each voxel, 0 to 1, and its relative enhancement there; both of the grid's shape."""
    strength = float(sigmoid(np.array(1.3 * lesion.morphology)))
    x, y, z = (axis - c for axis, c in zip(grid.axes(), lesion.centre, strict=True))
    offset = np.stack(np.broadcast_arrays(x, y, z), axis=-1) @ lesion.elongation.astype(np.float32)
    distance = np.linalg.norm(offset, axis=-1) + 1e-3
    lobes = np.cos(offset / distance[..., None] @ lesion.waves.T.astype(np.float32) + lesion.phases).sum(-1)
    surface = lesion.radius * (1 + (0.03 + 0.38 * strength) * lobes / np.sqrt(12))
    share = sigmoid((surface - distance) / 1.0)
    rim = 0.75 * float(sigmoid(np.array(1.6 * (lesion.morphology - 0.3))))
    inner = 1 - rim * np.exp(-((distance / (0.6 * surface)) ** 2))
    grain = np.cos(offset @ (lesion.waves.T[:, :3] * 0.22) + lesion.phases[:3]).sum(-1) / 1.22
    return share, np.asarray(share * inner * (1 + (0.05 + 0.25 * strength) * grain), dtype=np.float32)


def ball(centre: Point, radius: float, grid: Grid) -> FloatArray:
    x, y, z = (axis - c for axis, c in zip(grid.axes(), centre, strict=True))
    return sigmoid((radius - np.sqrt(x**2 + y**2 + z**2)) / 1.0)


def averaged(values: FloatArray, finer: int) -> FloatArray:
    """Mean over the `finer`**3 parts of each voxel."""
    w, h, d = (n // finer for n in values.shape)
    return np.asarray(values.reshape(w, finer, h, finer, d, finer).mean(axis=(1, 3, 5)))


class Rendering:
    """Tissue maps of one patient on one grid, and the signals made of them."""

    def __init__(self, patient: Patient, grid: Grid) -> None:
        self.patient, self.grid = patient, grid
        self.finer = 2 if max(grid.spacing[:2]) > 2 else 1  # small things are averaged over the voxel
        x, y, z = grid.axes()
        soft = float(np.hypot(1.0, 0.35 * grid.spacing[0]))
        chest = patient.chest(x, y).astype(np.float32)
        depth = np.maximum.reduce([(1 - b.depth(x, y, z)) * 62.0 for b in patient.breasts]).astype(np.float32)
        under_skin = np.maximum(depth, chest + 9)
        self.body = sigmoid(under_skin / soft)
        self.skin = self.body * sigmoid((3.0 - under_skin) / soft)
        in_chest = sigmoid(chest / soft)
        self.lung = sigmoid((chest - 18) / soft)
        self.muscle = in_chest - self.lung
        self.fine = texture(patient.fine, FINE_PITCH, grid)
        glandular = texture(patient.glandular, GLAND_PITCH, grid) + 0.3 * self.fine
        self.gland = sigmoid(3 * (glandular + patient.density)) * sigmoid((depth - 11) / 3) * (1 - in_chest)
        self.fat = np.clip(self.body - self.gland - in_chest - self.skin, 0, 1)
        self.gland *= 1 - self.skin
        self.heart = ball(patient.heart.centre, patient.heart.radius, grid)
        self.lung = self.lung * (1 - self.heart)
        self.small = [(blob, *self.local_ball(blob)) for blob in patient.blobs]
        self.lesions = [(lesion, *self.local_lesion(lesion)) for lesion in patient.lesions]

    def local_ball(self, blob: Blob) -> tuple[tuple[slice, slice, slice] | None, FloatArray]:
        box = self.grid.box(blob.centre, blob.radius + 5)
        if box is None:
            return None, np.zeros(0, np.float32)
        finer = self.finer if blob.radius < 8 else 1
        return box, averaged(ball(blob.centre, blob.radius, self.grid.part(box, finer)), finer)

    def local_lesion(self, lesion: Lesion) -> tuple[tuple[slice, slice, slice] | None, FloatArray, FloatArray]:
        box = self.grid.box(lesion.centre, 1.7 * lesion.radius + 4)
        if box is None:
            return None, np.zeros(0, np.float32), np.zeros(0, np.float32)
        share, bright = membership(lesion, self.grid.part(box, self.finer))
        return box, averaged(share, self.finer), averaged(bright, self.finer)

    # -------------------------------------------------------------- one map per sequence
    def mixed(self, fat: float, gland: float, muscle: float, skin: float, lung: float, heart: float) -> FloatArray:
        parts = zip(
            (self.fat, self.gland, self.muscle, self.skin, self.lung, self.heart),
            (fat, gland, muscle, skin, lung, heart),
            strict=True,
        )
        return np.asarray(sum(level * share for share, level in parts), dtype=np.float32)

    def dce(self, minutes: Point, rng: np.random.Generator) -> FloatArray:
        """(1 + N, W, H, D): pre-contrast, then the phases at `minutes` after injection; fat-suppressed T1."""
        patient = self.patient
        pre = self.mixed(0.34, 0.8, 0.75, 0.5, 0.07, 0.6) * (1 + 0.04 * self.fine)
        self.add_bright_fat(pre, 0.85)
        for _, box, share, _ in self.lesions:
            if box:
                pre[box] += share * (0.8 - pre[box])
        tissues = [
            patient.background * self.gland * (1 + 0.45 * self.fine),
            0.12 * self.muscle + 0.22 * self.skin + 0.02 * self.fat,
            patient.heart.enhancement * self.heart,
        ]
        curves = np.stack([curve(kinetics, minutes) for kinetics in (-1.3, -0.5, 0.8)], axis=1)
        added = np.tensordot(curves, np.stack(tissues), axes=1).astype(np.float32)
        self.add_vessels(added, minutes)
        for blob, box, share in self.small:
            if box and blob.enhancement > 0:
                add(added, box, curve(blob.kinetics, minutes), blob.enhancement * share)
        for lesion, box, share, bright in self.lesions:
            if box:
                added[(slice(None), *box)] *= 1 - 0.8 * share
                add(added, box, curve(lesion.kinetics, minutes), lesion.amplitude * bright)
        return self.acquired("dce", self.moved(pre, added), rng)

    def add_vessels(self, added: FloatArray, minutes: Point) -> None:
        for vessel in self.patient.vessels:
            wide = np.hypot(vessel.radius, 0.4 * np.array(self.grid.spacing))  # thin vessels: partial volume
            bright = 2.2 * vessel.enhancement * float((vessel.radius / wide).prod())
            uptake = curve(vessel.kinetics, minutes)
            for point in vessel.points:
                box = self.grid.box(point, 2.5 * float(wide.max()))
                if box:
                    axes = zip(self.grid.part(box).axes(), point, wide, strict=True)
                    x, y, z = (np.exp(-(((axis - c) / w) ** 2)) for axis, c, w in axes)
                    add(added, box, uptake, bright * x * y * z)

    def moved(self, pre: FloatArray, added: FloatArray) -> FloatArray:
        """Phases with a little motion each: the first term of a shift of the pre-contrast image.

        Marked motion moves the whole image, contrast included, from one phase on.
        """
        slope = np.stack([np.gradient(pre, s, axis=a) for a, s in enumerate(self.grid.spacing)])
        drift = self.patient.drift[: len(added)].astype(np.float32)
        phases = np.concatenate([pre[None], pre + added + np.tensordot(drift, slope, axes=1).astype(np.float32)])
        motion = self.patient.conditions.motion
        if motion is not None:
            voxels = motion.by / self.grid.spacing
            for phase in phases[1 + motion.from_phase :]:
                phase[:] = ndimage.shift(phase, voxels, order=1, mode="nearest")
        return phases

    def add_bright_fat(self, image: FloatArray, signal: float) -> None:
        """Fat that is not suppressed shines by `signal` more, in place; nothing where the suppression works."""
        failure = self.patient.conditions.fat_failure
        if failure is not None:
            x, y, z = (axis - c for axis, c in zip(self.grid.axes(), failure.at, strict=True))
            a, b, c = map(float, failure.towards)
            image += signal * failure.strength * self.fat * sigmoid((a * x + b * y + c * z) / 10.0)

    def t2(self, rng: np.random.Generator) -> FloatArray:
        """(1, W, H, D), fat-suppressed."""
        gland = self.patient.gland["t2"]
        image = self.mixed(0.12, gland, 0.2, 0.2, 0.04, 0.5) * (1 + 0.1 * self.fine)
        self.add_bright_fat(image, 0.7)
        for blob, box, share in self.small:
            if box and blob.t2 is not None:
                image[box] += share * (blob.t2 - image[box])
        for lesion, box, share, _ in self.lesions:
            if box:
                image[box] += share * (0.62 * np.exp(-0.48 * lesion.t2) - image[box])
        return self.acquired("t2", image[None], rng)

    def diffusion(self) -> tuple[FloatArray, FloatArray]:
        """Signal without diffusion weighting and ADC (1e-3 mm2/s), each (W, H, D), before noise."""
        gland = self.patient.gland
        s0 = self.mixed(0.16, gland["s0"], 1.1, 0.5, 0.1, 1.2) * (1 + 0.08 * self.fine)
        self.add_bright_fat(s0, 0.8)
        adc = self.mixed(0.5, gland["adc"], 1.5, 1.2, 1.0, 2.2)
        for blob, box, share in self.small:
            if box and blob.s0 is not None and blob.adc is not None:
                s0[box] += share * (blob.s0 - s0[box])
                adc[box] += share * (blob.adc - adc[box])
        for lesion, box, share, _ in self.lesions:
            if box:
                level = adc_of(lesion)
                s0[box] += share * (lesion.s0 - s0[box])
                adc[box] += share * (level - adc[box])
        return s0, adc

    def acquired(self, sequence: str, images: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Coil profile, noise (magnitude images are positive), gain: scanner units."""
        x, y, z = self.grid.axes()
        a, b, c = self.patient.bias[sequence]
        profile = (1 + a * x / 170 + b * y / 110 + c * z / 80).astype(np.float32)
        noise = self.patient.noise[sequence] * rng.standard_normal(images.shape, dtype=np.float32)
        return np.asarray(np.abs(images * profile + noise) * np.float32(UNITS * self.patient.gain[sequence]))


def add(images: FloatArray, box: tuple[slice, slice, slice], uptake: FloatArray, bright: FloatArray) -> None:
    images[(slice(None), *box)] += uptake[:, None, None, None] * bright
