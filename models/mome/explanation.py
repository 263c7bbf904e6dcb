"""What moved a score: integrated gradients over the DCE, Shapley values over the sequences. Plain functions.

The tokenizer starts with a convolution without bias and an instance norm, so the network hardly notices a gain: along
the straight path from an empty volume almost all of the change lies at its very start and the path integral fails. The
baseline is therefore the volume itself, blurred; the attributions then sum to the difference of the logits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from .config import Sequence
from .network import Mome

BLUR = 3.0  # voxels, of the baseline
SMOOTHING = 2.0  # voxels, of the saliency
FIRST_STEPS, LAST_STEPS = 8, 32
TOLERATED_GAP = 0.05


@dataclass(frozen=True, slots=True)
class Attribution:
    """Integrated gradients of logit(malignant) - logit(benign) over the DCE of one exam."""

    voxels: npt.NDArray[np.float32]  # (W, H, D), summed over the channels; signed
    difference: float  # of the logit difference, exam minus baseline
    completeness_gap: float  # |sum of the attributions - difference| / |difference|
    steps: int

    def saliency(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """What speaks for malignancy, smoothed, inside the breasts: (W, H, D), not negative."""
        smooth = ndimage.gaussian_filter(np.maximum(self.voxels, 0), SMOOTHING)
        return np.asarray(smooth * mask, dtype=np.float32)


def integrated_gradients(network: Mome, volumes: Mapping[Sequence, Tensor]) -> Attribution:
    """Volumes of one exam (1, C, W, H, D), DCE among them; the others are held fixed.

    Midpoint rule; steps are doubled from 8 up to 32 while the completeness gap exceeds 5 %.
    """
    volume = volumes["dce"]
    blurred = ndimage.gaussian_filter(volume.numpy(force=True), (0, 0, BLUR, BLUR, BLUR))
    baseline = torch.from_numpy(blurred).to(volume)
    with torch.no_grad():
        fixed: dict[Sequence, Tensor] = {s: network.prefix(s, v) for s, v in volumes.items() if s != "dce"}
        ends = [float(margin(network, x, fixed)) for x in (volume, baseline)]
    difference, steps = ends[0] - ends[1], FIRST_STEPS
    while True:
        voxels = path_integral(network, volume, baseline, fixed, steps)
        gap = abs(float(voxels.sum(dtype=np.float64)) - difference) / max(abs(difference), 1e-9)
        if gap <= TOLERATED_GAP or steps >= LAST_STEPS:
            return Attribution(voxels, difference, gap, steps)
        steps *= 2


def path_integral(
    network: Mome, volume: Tensor, baseline: Tensor, fixed: Mapping[Sequence, Tensor], steps: int
) -> npt.NDArray[np.float32]:
    """(W, H, D): gradient at the midpoints of the straight path times its direction, summed over channels."""
    direction = volume - baseline
    total = torch.zeros_like(volume)
    for step in range(steps):
        point = (baseline + (step + 0.5) / steps * direction).requires_grad_()
        (gradient,) = torch.autograd.grad(margin(network, point, fixed), point)
        total += gradient / steps
    return np.asarray((total * direction)[0].sum(dim=0).numpy(force=True), dtype=np.float32)


def margin(network: Mome, dce: Tensor, fixed: Mapping[Sequence, Tensor]) -> Tensor:
    """Logit(malignant) - logit(benign) of one exam, a scalar; `fixed` holds prefixes of the other sequences."""
    logits = network.fuse({"dce": network.prefix("dce", dce), **fixed})[0]
    return logits[1] - logits[0]


def shapley(values: Mapping[frozenset[Sequence], float]) -> dict[Sequence, float]:
    """Exact Shapley value of each sequence; `values` holds the score of every coalition, the empty one included.

    The score of the empty coalition plus all values is the score of the full one (efficiency).
    """
    players: frozenset[Sequence] = max(values, key=len)
    n = len(players)
    result: dict[Sequence, float] = {}
    for player in sorted(players):
        others = sorted(players - {player})
        result[player] = sum(
            math.factorial(size)
            * math.factorial(n - 1 - size)
            / math.factorial(n)
            * (values[frozenset(part) | {player}] - values[frozenset(part)])
            for size in range(n)
            for part in itertools.combinations(others, size)
        )
    return result
