"""Did contrast arrive between the pre-contrast and the first post-contrast phase?"""

from __future__ import annotations

import numpy as np

from .coarse_exam import CoarseExam, Mask

MOST_ASYMMETRY = 100.0  # where nothing darkens at all, the quotient says no more than this
DARK = 0.5  # of the median signal: what is darker is not divided by its own signal, but by this


def measure(exam: CoarseExam) -> dict[str, float]:
    """Change from the pre-contrast to the first post-contrast phase over the body.

    `enhancement_p99`: 99th percentile (heart, vessels, skin, glandular tissue), relative to the pre-contrast signal
    of the same place: bright fat, where it was not suppressed, hides no contrast. `enhancement_asymmetry`: that
    percentile over the size of the opposite one, both relative to the median signal. Contrast brightens and hardly
    darkens: noise, motion and a swapped order of the phases give about 1 or less. `enhancement_median`: median,
    relative to the post-contrast signal. Most tissue hardly enhances; where nearly all signal is new, the first phase
    is no image of the patient before contrast but a subtraction.
    """
    body = lit(exam)
    if not body.any():
        return {"enhancement_p99": 0.0, "enhancement_asymmetry": 0.0, "enhancement_median": 0.0}
    pre, post = (phase[body].astype(np.float64) for phase in exam.phases[:2])
    change, median = post - pre, max(float(np.median(pre)), 1e-6)
    low, high = np.percentile(change, [1, 99]) / median
    return {
        "enhancement_p99": float(np.percentile(change / np.maximum(pre, DARK * median), 99)),
        "enhancement_asymmetry": float(min(max(high, 0.0) / max(-low, 1e-3), MOST_ASYMMETRY)),
        "enhancement_median": float(np.median(change) / max(float(np.median(post)), 1e-6)),
    }


def lit(exam: CoarseExam) -> Mask:
    """Blocks that are not air in one phase or the other; also the heart, which lung parts from the rest of the body."""
    if len(exam.phases) < 2:
        return np.zeros(exam.body.shape, bool)
    brighter = exam.phases[:2].max(axis=0)
    return np.asarray(brighter > 0.1 * np.percentile(brighter, 98))
