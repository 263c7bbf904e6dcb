"""Does the exam show what the model needs to see? Pixels, after the volumes and before the model.

Limits come from the model's card (the distribution of its training cohort), not from this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..findings import Problem
from ..volume import FloatArray, Volume

MOST_ASYMMETRY = 100.0  # where nothing darkens at all, the quotient says no more than this
COARSE_MM = 5.0  # voxels are averaged to about this size first: noise and single vessels do not decide


def measure(dce: Volume) -> dict[str, float]:
    """Enhancement from the pre-contrast to the first post-contrast phase, relative to the body's median signal.

    `enhancement_p99`: 99th percentile over the body (heart, vessels, skin, muscle, glandular tissue);
    `enhancement_asymmetry`: that percentile over the size of the opposite one. Contrast brightens and hardly darkens:
    noise, motion and a swapped order of the phases give about 1 or less.
    """
    pre, post = (_coarse(dce.voxels[phase], dce.spacing) for phase in (0, 1))
    body = _body(np.maximum(pre, post))
    if not body.any():
        return {"enhancement_p99": 0.0, "enhancement_asymmetry": 0.0}
    change = (post - pre)[body] / max(float(np.median(pre[body])), 1e-6)
    low, high = np.percentile(change, [1, 99])
    return {
        "enhancement_p99": float(high),
        "enhancement_asymmetry": float(min(max(high, 0.0) / max(-low, 1e-3), MOST_ASYMMETRY)),
    }


def problems(measures: Mapping[str, float], limits: Mapping[str, Any]) -> list[Problem]:
    """Coded problems for measures outside the card's limits: {measure: {"low": x}}."""
    low = [name for name, value in measures.items() if value < limits.get(name, {}).get("low", -np.inf)]
    if not low:
        return []
    found = ", ".join(f"{name} {measures[name]:.2f} (at least {limits[name]['low']:.2f})" for name in low)
    return [
        Problem.of(
            "CONTRAST_NOT_SHOWN",
            f"The first post-contrast phase does not show contrast against the pre-contrast phase: {found}. "
            "Check the injection and the order of the phases.",
        )
    ]


def _coarse(volume: FloatArray, spacing: FloatArray) -> FloatArray:
    """Mean over blocks of about COARSE_MM; a rest at the far edges is dropped."""
    steps = [max(1, min(round(COARSE_MM / s), n)) for s, n in zip(spacing, volume.shape, strict=True)]
    whole = volume[tuple(slice(0, n - n % step) for n, step in zip(volume.shape, steps, strict=True))]
    blocks = whole.reshape([part for n, step in zip(whole.shape, steps, strict=True) for part in (n // step, step)])
    return np.asarray(blocks.mean(axis=(1, 3, 5), dtype=np.float64))


def _body(image: FloatArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Voxels that are not air: above a tenth of the 98th percentile."""
    return np.asarray(image > 0.1 * np.percentile(image, 98))
