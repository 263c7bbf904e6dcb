"""Do the breasts point to where the headers say that the patient's front is?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .coarse_exam import CoarseExam

LIMITS = {"protrusion_mm": {"low": -20.0}}
"""Anatomy, not the cohort of a model: it holds for every card. A back may have a furrow, and the chest of a patient who
lies supine no lobes, but what stands out in two lobes behind, and not in front, is no back."""
TYPICAL = 75  # percentile over the slices: some show no breast


def measure(exam: CoarseExam) -> dict[str, float]:
    """`protrusion_mm`: how far two lobes stand out in front of the patient, less the same behind.

    Well below 0 the breasts point backwards, as where a patient who lay prone was registered as supine: then left and
    right are exchanged too. About 0 where the breasts lie flat, and for one breast alone.
    """
    if not exam.body.any():
        return {}
    return {"protrusion_mm": lobes(exam) - lobes(exam.turned())}


def contradicts(protrusion_mm: float) -> bool:
    return protrusion_mm < LIMITS["protrusion_mm"]["low"]


def lobes(exam: CoarseExam) -> float:
    """How far, mm, two lobes stand out of the surface that faces the front."""
    skin = ndimage.median_filter(exam.skin(), size=3, mode="nearest")
    return float(np.percentile([two_lobes(line) for line in skin.T], TYPICAL))


def two_lobes(line: npt.NDArray[np.floating]) -> float:
    """How far, mm, the lower of two lobes stands out on both its sides, from the depth of the skin across a slice (N,).

    The valley between the lobes alone would not do: seen from behind, an open chest is a valley too, but it does not
    fall off to the sides. NaN, where there is no skin, is passed over.
    """
    line = line[np.isfinite(line)]
    if not len(line):
        return 0.0
    left, right = np.minimum.accumulate(line), np.minimum.accumulate(line[::-1])[::-1]
    valley = line - np.maximum(left, right)
    middle = int(valley.argmax())
    outer = [fall_off(side) for side in (line[: middle + 1][::-1], line[middle:])]
    return float(min(valley[middle], *outer))


def fall_off(side: npt.NDArray[np.floating]) -> float:
    """How far the skin falls off behind the top of a lobe, from the valley outwards."""
    top = int(side.argmin())
    return float(side[top:].max() - side[top])
