"""What moved a score: integrated gradients over the DCE, Shapley values over the sequences. Plain functions.

The tokenizer starts with a convolution without bias and an instance norm, so the network hardly notices a gain: along
the straight path from an empty volume almost all of the change lies at its very start. The baseline is therefore the
volume itself, blurred: the path leads from the coarse picture of the breasts to the details (`baselines` compares).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import interpolate

from .config import Sequence
from .network import Mome
from .path_integral import Node, integrate

BLUR = (
    1 / 12
)  # sigma of the baseline, as a share of the canvas's width: 8 voxels of the demonstration's, 32 of the paper's
SMOOTHING = 1 / 48  # of the saliency, likewise: 2 voxels
BUDGET = 48  # nodes of the path, each one forward and one backward pass
VOXELS_AT_ONCE = 300_000  # of the canvases in one batch: two of the demonstration's size, one of the paper's
FINE_SIGMA = 8  # voxels up to which the baseline is blurred on the canvas's own grid
TOKENS_KEPT = 1000  # a network with more DCE tokens computes its blocks again for the gradient instead of keeping them


@dataclass(frozen=True, slots=True)
class Attribution:
    """Integrated gradients of logit(malignant) - logit(benign) over the DCE of one exam.

    The gap is relative: where the difference is a few hundredths of a logit it may be wide; the map explains little.
    """

    voxels: npt.NDArray[np.float32]  # (W, H, D), summed over the channels; signed
    difference: float  # of the logit difference, exam minus baseline
    completeness_gap: float | None  # |sum of the attributions - difference| / |difference|; None: no difference
    unsettled: float | None  # the same with the errors of all parts of the path counted as positive
    steps: int

    def saliency(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """What speaks for malignancy, smoothed, inside the breasts: (W, H, D), not negative."""
        smooth = ndimage.gaussian_filter(np.maximum(self.voxels, 0), SMOOTHING * self.voxels.shape[0])
        return np.asarray(smooth * mask, dtype=np.float32)


def integrated_gradients(
    network: Mome,
    volumes: Mapping[Sequence, Tensor],
    *,
    region: npt.NDArray[np.bool_] | None = None,
    baseline: Tensor | None = None,
    budget: int = BUDGET,
) -> Attribution:
    """Volumes of one exam (1, C, W, H, D), DCE among them; the others are held fixed (Sundararajan et al. 2017).

    The straight path from `baseline` (as the DCE; default: the DCE blurred inside `region` (W, H, D), the breasts) is
    sampled at up to `budget` nodes, each where the attributions match the score least. Memory: one gradient step and
    one canvas per node.
    """
    with torch.inference_mode(False), torch.enable_grad(), economical(network):
        given = {s: v.clone() if v.is_inference() else v.detach() for s, v in volumes.items()}
        volume = given["dce"]
        start = blurred(volume, BLUR * volume.shape[2], region) if baseline is None else baseline
        direction = volume - start
        at_once = max(1, VOXELS_AT_ONCE // volume[0, 0].numel())
        with torch.no_grad():
            fixed: dict[Sequence, Tensor] = {s: network.prefix(s, v) for s, v in given.items() if s != "dce"}

        def sample(positions: list[float]) -> list[Node]:
            steps = torch.tensor(positions, dtype=volume.dtype, device=volume.device).view(-1, 1, 1, 1, 1)
            scores, gradients = slopes(network, start + steps * direction, fixed)
            shares = (gradients * direction).sum(dim=1).numpy(force=True)
            return [
                Node(at, score, share, float(share.sum(dtype=np.float64)))
                for at, score, share in zip(positions, scores, shares, strict=True)
            ]

        found = integrate(sample, budget=budget, at_once=at_once)
    return Attribution(found.voxels, found.rise, found.gap, found.unsettled, found.nodes)


def blurred(volume: Tensor, sigma: float, region: npt.NDArray[np.bool_] | None = None) -> Tensor:
    """(1, C, W, H, D) smoothed in space by a Gaussian of `sigma` voxels inside `region`; outside it stays as it is.

    What lies outside takes no part: else the edge of the breasts would count as a detail of the exam. Without a region
    it is where the volume is not zero. A wide Gaussian is taken on a coarser grid.
    """
    inside = (volume != 0).any(dim=1, keepdim=True) if region is None else torch.from_numpy(region).to(volume.device)
    held = inside.to(volume).expand(1, 1, *volume.shape[2:])
    coarser = max(1, int(sigma // FINE_SIGMA))
    size = [max(1, n // coarser) for n in volume.shape[2:]]

    def smooth(images: Tensor) -> Tensor:
        small = interpolate(images, size=size, mode="area") if coarser > 1 else images
        sigmas = (0, 0, *(sigma / coarser for _ in size))
        filtered = torch.from_numpy(ndimage.gaussian_filter(small.numpy(force=True), sigmas)).to(volume)
        return interpolate(filtered, size=volume.shape[2:], mode="trilinear") if coarser > 1 else filtered

    return torch.where(held > 0, smooth(volume * held) / smooth(held).clamp(min=1e-6), volume)


def slopes(network: Mome, dce: Tensor, fixed: Mapping[Sequence, Tensor]) -> tuple[list[float], Tensor]:
    """Margins of N DCE volumes beside the same other sequences, and their gradients (N, C, W, H, D)."""
    points = dce.detach().requires_grad_()
    margins = margin(network, network.prefix("dce", points), fixed)
    (gradients,) = torch.autograd.grad(margins.sum(), points)  # of the volumes alone, never of the parameters
    return margins.tolist(), gradients


def margin(network: Mome, dce: Tensor, fixed: Mapping[Sequence, Tensor]) -> Tensor:
    """Logit(malignant) - logit(benign) (N,) of N prefixes of the DCE beside the prefixes of one exam's others."""
    logits = network.fuse({"dce": dce, **{s: prefix.expand(len(dce), -1, -1) for s, prefix in fixed.items()}})
    return logits[:, 1] - logits[:, 0]


@contextmanager
def economical(network: Mome) -> Iterator[None]:
    """No parameter keeps what its own gradient would need, and a large network recomputes its blocks."""
    wanted = [parameter for parameter in network.parameters() if parameter.requires_grad]
    before = network.checkpointing
    for parameter in wanted:
        parameter.requires_grad_(False)
    network.checkpointing = before or network.config.tokens("dce") > TOKENS_KEPT
    try:
        yield
    finally:
        network.checkpointing = before
        for parameter in wanted:
            parameter.requires_grad_(True)


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
