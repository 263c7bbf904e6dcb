"""Is fat dark, and equally dark everywhere, before contrast?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .coarse_exam import CoarseExam, Mask

UNDER_SKIN_MM = (4.0, 10.0)  # behind the skin of a breast lies fat, in every breast
NEAR_MM = 60.0  # tissue this near to the skin receives the coil as the fat does
PATCH_MM = 40.0
LEAST_BLOCKS = 12  # of a patch
BRIGHT_TISSUE = 90  # percentile of the signal: glandular tissue and muscle where fat is suppressed, else fat


def measure(exam: CoarseExam) -> dict[str, float]:
    """Signal of the fat under the skin of the breasts in the pre-contrast phase, by patches of PATCH_MM.

    `fat_signal`: of the brightest tenth of the patches, relative to bright tissue nearby. `fat_unevenness`: the same
    relative to the darkest tenth of the patches: left against right, head against foot.
    """
    depth, pre = exam.depth(), exam.phases[0]
    near = exam.body & (depth > 0) & (depth < NEAR_MM)
    signals = patches(pre, near & under_skin(exam, depth), exam.spacing)
    if not len(signals):
        return {}
    dark, bright = np.percentile(signals, [10, 90])
    reference = float(np.percentile(pre[near], BRIGHT_TISSUE))
    return {
        "fat_signal": float(bright / max(reference, 1e-6)),
        "fat_unevenness": float(bright / max(float(dark), 1e-6)),
    }


def under_skin(exam: CoarseExam, depth: npt.NDArray[np.float64]) -> Mask:
    """Where a breast has its subcutaneous fat: beneath the foremost half of the skin, for over the chest it is thin."""
    skin = exam.skin()
    foremost = skin < np.nanmedian(skin) if np.isfinite(skin).any() else np.zeros(skin.shape, bool)
    low, high = UNDER_SKIN_MM
    return np.asarray(foremost[:, None, :] & (depth > low) & (depth < high))


def patches(image: npt.NDArray[np.float32], where: Mask, spacing: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Median signal of each patch of the body's front (x, z) that holds enough of `where`, (N,)."""
    index = np.argwhere(where)
    if not len(index):
        return np.zeros(0)
    x, z = (np.floor(index[:, axis] * spacing[axis] / PATCH_MM).astype(int) for axis in (0, 2))
    names = x * 1000 + z
    values = image[where]
    found = [values[names == name] for name in np.unique(names)]
    return np.array([float(np.median(part)) for part in found if len(part) >= LEAST_BLOCKS])
