"""Exams as a stage shows them: moved, mirrored, their values changed. Arrays of one batch in, the same out.

What must hold with the lesions that lie in them is done here in plain arrays; for changes of the values MONAI serves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..augmentation import FLIPS, Placement, put, size_of
from ..config import Sequence, Size
from ..geometry import Box
from .configuration import ConfigurationError, Intensity

Arrays = dict[Sequence, npt.NDArray[np.float32]]
STEPS: Size = (2, 2, 1)
"""Voxels of the DCE canvas, along W, H, D, by which "mirrored-shifted" moves a batch, or not, to either side."""
Change = tuple[tuple[bool, bool, bool], Size]


# ------------------------------------------------------------------ mirrored-shifted
def drawn_change(rng: np.random.Generator) -> Change:
    """Which axes are mirrored, and the shift after it in voxels of the DCE canvas; front and back stay."""
    w, h, d = (step * int(rng.integers(-1, 2)) for step in STEPS)
    left, head = rng.random(2) < 0.5
    return (bool(left), False, bool(head)), (w, h, d)


def changed(volumes: Arrays, change: Change, canvas: Size) -> Arrays:
    """All sequences (B, C, W, H, D) alike, zeros drawn in; `canvas` is that of the DCE."""
    mirrored, shift = change
    axes = tuple(axis + 2 for axis in range(3) if mirrored[axis])
    return {
        s: moved(np.flip(v, axes), [by * n // of for by, n, of in zip(shift, v.shape[2:], canvas, strict=True)])
        for s, v in volumes.items()
    }


def moved(volume: npt.NDArray[np.float32], shift: list[int]) -> npt.NDArray[np.float32]:
    """(B, C, W, H, D), shifted along W, H, D."""
    result = np.zeros(volume.shape, np.float32)
    w, h, d = (slice(max(by, 0), n + min(by, 0)) for by, n in zip(shift, volume.shape[2:], strict=True))
    x, y, z = (slice(max(-by, 0), n - max(by, 0)) for by, n in zip(shift, volume.shape[2:], strict=True))
    result[:, :, w, h, d] = volume[:, :, x, y, z]
    return result


def changed_lesions(lesions: Tensor, change: Change, canvas: Size) -> Tensor:
    """Lesions (B, L, 9) where `changed` puts them."""
    lesions = lesions.clone()
    for axis, (mirrored, by) in enumerate(zip(*change, strict=True)):
        if mirrored:
            lesions[..., axis] = 1 - lesions[..., axis]
        lesions[..., axis] += by / canvas[axis]
    return lesions


# ------------------------------------------------------------------ paper
def scattered(exam: Arrays, rng: np.random.Generator) -> Arrays:
    """Sequences (C, W, H, D) of one exam: the content of each anywhere on its canvas, then one flip for all.

    As the published loader does it: the places of the sequences have nothing to do with each other.
    """
    flip = FLIPS[int(rng.integers(len(FLIPS)))]
    found: Arrays = {}
    for sequence, array in exam.items():
        there = np.any(array, axis=0)
        if not there.any():  # an exam that lacks it
            found[sequence] = array
            continue
        box = Box.around(there)
        w, h, d = (int(rng.integers(n - size + 1)) for n, size in zip(size_of(array), box.size, strict=True))
        found[sequence] = put(array, box, Placement((w, h, d), flip))
    return found


# ------------------------------------------------------------------ values
class Intensities:
    """Random transforms of MONAI, each with random numbers of the exam; what is zero, outside the breast, stays so."""

    def __init__(self, wanted: tuple[Intensity, ...]) -> None:
        self.transforms: list[Any] = []
        if wanted:
            import monai.transforms

            for intensity in wanted:
                kind, given = getattr(monai.transforms, intensity.transform), intensity.model_extra or {}
                try:
                    self.transforms.append(kind(**given))
                except TypeError as error:
                    raise ConfigurationError(
                        f"`intensities`: {intensity.transform} of MONAI refuses: {error}."
                    ) from error

    def __call__(self, exam: Arrays, rng: np.random.Generator) -> Arrays:
        for transform in self.transforms:
            for sequence in exam:
                transform.set_random_state(seed=int(rng.integers(2**31)))
                before = exam[sequence]
                after = transform(torch.from_numpy(before)).numpy(force=True)
                exam = {**exam, sequence: np.where(before == 0, before, after).astype(np.float32)}
        return exam
