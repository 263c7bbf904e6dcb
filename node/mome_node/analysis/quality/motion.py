"""How far has the patient moved between the pre-contrast phase and each later one?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .coarse_exam import CoarseExam

SHELL_MM = 14.0  # on both sides of the skin: air, skin and the fat below it, but neither heart nor chest
KNEE = 0.5  # of the median signal: brighter tissue is compressed
ROUNDS_MM = (7.0, 7.0, 4.0, 4.0, 4.0)  # smoothing (sigma) of each round of the estimate: far first, then exact
FARTHEST_MM = 30.0
LEAST_BLOCKS = 200  # of one half of the shell

Vector = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


def measure(exam: CoarseExam) -> dict[str, float]:
    """`motion_mm`: the longest displacement of the skin of either half of the front against the pre-contrast phase;
    `motion_phase`: the number of the phase that moved so far, the pre-contrast one being 1.
    """
    found = [(mm, phase) for half in halves(exam) for phase, mm in enumerate(displacements(exam, half), 2)]
    if not found:
        return {}
    farthest, phase = max(found)
    return {"motion_mm": farthest, "motion_phase": float(phase)}


def halves(exam: CoarseExam) -> list[Places]:
    """Blocks (N, 3) near the skin that faces the front, of each half of the body: breasts move one by one."""
    shell = np.argwhere(np.abs(exam.depth()) < SHELL_MM)
    if not len(shell):
        return []
    middle = float(np.argwhere(exam.body)[:, 0].mean())
    left, right = shell[shell[:, 0] >= middle], shell[shell[:, 0] < middle]
    return [half for half in (left, right) if len(half) >= LEAST_BLOCKS]


def displacements(exam: CoarseExam, places: Places) -> Iterator[float]:
    """Length, mm, of the translation at `places` from the pre-contrast phase to each later one.

    It is the one that best explains the difference of both by the slope of the image (Lucas and Kanade 1981), beside a
    change of brightness and of the thickness of the skin. Brightness is compressed, so that what enhances changes
    little, and the edge between tissue and air decides, which contrast does not move.
    """
    phases = np.maximum(exam.phases, 0)
    phases = phases / (phases + KNEE * float(np.median(exam.phases[0][exam.body])))
    smoothed = {mm: [ndimage.gaussian_filter(p, mm / exam.spacing) for p in phases] for mm in set(ROUNDS_MM)}
    solvers = {mm: solver(images[0], places, exam.spacing) for mm, images in smoothed.items()}
    for phase in range(1, len(phases)):
        shift = np.zeros(3)
        for mm in ROUNDS_MM:
            before, inverse = solvers[mm]
            at = places + shift / exam.spacing
            after = ndimage.map_coordinates(smoothed[mm][phase], at.T, order=1, mode="nearest")
            shift = shift - (inverse @ (after - before))[:3]
        yield min(float(np.linalg.norm(shift)), FARTHEST_MM)


def solver(image: npt.NDArray[np.float32], places: Places, spacing: Vector) -> tuple[Vector, Vector]:
    """The image at `places` (N,), and the matrix (6, N) that gives what explains a difference there: displacement (3),
    a thicker skin, brighter tissue, a brighter image. Skin that enhances looks like skin that has grown outwards."""
    slopes = np.array(np.gradient(image, *spacing), np.float64)[(slice(None), *places.T)]
    before = image[tuple(places.T)].astype(np.float64)
    columns = [*slopes, np.linalg.norm(slopes, axis=0), before * (1 - before), np.ones(len(before))]
    return before, np.linalg.pinv(np.stack(columns, axis=1))
