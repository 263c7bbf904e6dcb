"""Phases in the order of time, as many as the model takes; images without unit to zero mean and unit variance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .config import PreprocessingConfig
from .geometry import FloatArray, Mask
from .refusal import Refused

LARGEST_VALUE = 1e15
"""No scanner's; far larger ones have no variance in single precision."""


def readable(images: npt.NDArray[Any]) -> bool:
    """Whether all values (C, W, H, D) are numbers that a scanner can have sent: NaN compares as neither."""
    return all(float(i.min()) > -LARGEST_VALUE and float(i.max()) < LARGEST_VALUE for i in images)


def in_time_order(phases: npt.NDArray[Any], seconds: Sequence[float] | None) -> npt.NDArray[Any]:
    """Phases (N, W, H, D) by their seconds; as they are where no clock came with them.

    Raises Refused (PHASES_NOT_ORDERED) for a clock that orders nothing: which phase is pre-contrast is never guessed.
    """
    if seconds is None:
        return phases
    clock = np.asarray(seconds, float)
    if len(clock) != len(phases) or not np.isfinite(clock).all() or len(np.unique(clock)) < len(clock):
        raise Refused(
            "PHASES_NOT_ORDERED",
            f"The times of the {len(phases)} phases do not order them, so none is known to be pre-contrast.",
            remedy="Send the dynamic with an acquisition time for each phase.",
        )
    order = np.argsort(clock)
    return phases if (np.diff(order) == 1).all() else phases[order]


def to_channels(phases: FloatArray, channels: int) -> FloatArray:
    """(N, W, H, D) post-contrast phases to `channels` of them, linear over the phase index, first and last kept.

    The paper's first-order B-spline: its mode "grid-constant" concerns places beyond the ends, where none is asked for.
    """
    if len(phases) == channels:
        return phases
    at = np.linspace(0, len(phases) - 1, channels)
    weights = np.clip(1 - np.abs(at[:, None] - np.arange(len(phases))), 0, None).astype(np.float32)
    return np.asarray(np.tensordot(weights, phases, axes=1))


def standardised(images: FloatArray, where: Mask, config: PreprocessingConfig) -> FloatArray:
    """Images (C, W, H, D) to zero mean and unit variance over `where` (W, H, D), clipped; an even image stays zero."""
    if config.phase_statistics == "each":
        return np.concatenate([_standardised(image[None], where, config.clip) for image in images])
    return _standardised(images, where, config.clip)


def _standardised(images: FloatArray, where: Mask, clip: float | None) -> FloatArray:
    inside = images[:, where]
    deviation = float(inside.std()) if inside.size else 0.0
    if deviation <= 1e-6 * float(np.abs(inside).max(initial=0.0)):
        return np.zeros_like(images)
    result = (images - inside.mean()) / deviation
    return np.asarray(result if clip is None else np.clip(result, -clip, clip), dtype=np.float32)
