"""Which baseline integrated gradients should start from: candidates, measured on the same held-out synthetic exams.

For each: how often the attributions add up, what that costs, and how often the hottest voxel inside the breasts lies in
the lesion of a synthetic cancer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from .config import PreprocessingConfig, Sequence
from .explanation import BUDGET, Attribution, blurred, economical, integrated_gradients, margin
from .network import Mome
from .path_integral import TOLERATED_GAP, Node, integrate
from .phantom import exam
from .phantom.cohorts import SEEDS
from .preprocessing import prepare
from .weights import DEMONSTRATION_WEIGHTS, load

FIRST_SEED = SEEDS["held-out"] + 700_000
BLURS = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0)  # voxels
REFERENCES = 6  # other exams that stand as baselines; each gets its part of the budget
Progress = Callable[[int, int], None]
Volumes = Mapping[Sequence, Tensor]
Method = Callable[[Mome, Volumes, int], Attribution]
"""Network, volumes of one exam, budget."""


@dataclass(frozen=True, slots=True)
class Case:
    """A held-out synthetic exam on the canvas."""

    volumes: Volumes  # (1, C, W, H, D)
    mask: npt.NDArray[np.bool_]  # (W, H, D): the breasts
    lesion: npt.NDArray[np.bool_]
    malignant: bool

    def hit(self, attribution: Attribution) -> bool:
        """Whether the hottest voxel that would be drawn lies in the lesion."""
        saliency = attribution.saliency(self.mask)
        return bool(self.lesion.flat[int(saliency.argmax())])


def compared(
    weights: Path | None, *, n: int, seed: int = FIRST_SEED, budget: int = BUDGET, progress: Progress | None = None
) -> dict[str, Any]:
    """JSON-ready rows, one for each candidate, on `n` exams from `seed` on; raises WeightsError for a bad file."""
    network, header = load(weights or DEMONSTRATION_WEIGHTS)
    references = [case(seed + n + i, header.preprocessing).volumes["dce"] for i in range(REFERENCES)]
    candidates = methods(references)
    found: dict[str, list[Attribution]] = {name: [] for name in candidates}
    hits: dict[str, list[bool]] = {name: [] for name in candidates}
    malignant, called = [], []
    for index in range(n):
        one = case(seed + index, header.preprocessing)
        with torch.inference_mode():
            logits = network(one.volumes["dce"], one.volumes.get("dwi"), one.volumes.get("t2"))[0]
        malignant.append(one.malignant)
        called.append(one.malignant and bool(logits[1] > logits[0]))
        for name, method in candidates.items():
            found[name].append(method(network, one.volumes, budget))
            hits[name].append(one.hit(found[name][-1]))
        if progress:
            progress(index + 1, n)
    return {
        "cohort": f"synthetic phantoms, coarse grids, seeds {seed} to {seed + n - 1}",
        "n": n,
        "malignant": sum(malignant),
        "true_positives": sum(called),
        "budget": budget,
        "baselines": {
            name: {
                **summary(attributions),
                "hit_malignant": sum(h and m for h, m in zip(hits[name], malignant, strict=True)),
                "hit_true_positives": sum(h and c for h, c in zip(hits[name], called, strict=True)),
            }
            for name, attributions in found.items()
        },
    }


def summary(attributions: list[Attribution]) -> dict[str, float]:
    """Of one candidate; an exam whose score does not differ from its baseline's has no gap and counts as not closed."""
    gaps = np.array([np.inf if a.completeness_gap is None else a.completeness_gap for a in attributions])
    return {
        "gap_closed": float((gaps <= TOLERATED_GAP).mean()),
        "median_gap": float(np.median(gaps)),
        "median_difference": float(np.median([abs(a.difference) for a in attributions])),
        "median_steps": float(np.median([a.steps for a in attributions])),
    }


def case(seed: int, config: PreprocessingConfig) -> Case:
    made = exam(seed)
    canvas = prepare(made.inputs, config)
    w, h, d = canvas.mask.shape
    lesion = made.lesion_share(canvas.affines["dce"], (w, h, d)) > 0.5
    return Case({s: torch.from_numpy(a)[None] for s, a in canvas.arrays.items()}, canvas.mask, lesion, made.malignant)


# ------------------------------------------------------------------ candidates
def methods(references: list[Tensor]) -> dict[str, Method]:
    """The candidates by name; `references` are DCE volumes of other exams."""

    def path(baseline: Callable[[Tensor], Tensor]) -> Method:
        return lambda network, volumes, budget: integrated_gradients(
            network, volumes, baseline=baseline(volumes["dce"]), budget=budget
        )

    return {
        "empty volume": path(torch.zeros_like),
        **{f"blurred, sigma {sigma:g}": path(smoothing(sigma)) for sigma in BLURS},
        "blurred, sigma 8, over the edge": path(over_the_edge),
        "noise": path(noise),
        f"{len(references)} other exams, mean": lambda network, volumes, budget: expected_gradients(
            network, volumes, references, budget
        ),
        "no tokens": from_tokens,
    }


def smoothing(sigma: float) -> Callable[[Tensor], Tensor]:
    return lambda volume: blurred(volume, sigma)


def over_the_edge(volume: Tensor) -> Tensor:
    """Blurred with the zeros around the breasts: the edge of the mask becomes a detail."""
    return torch.from_numpy(ndimage.gaussian_filter(volume.numpy(force=True), (0, 0, 8, 8, 8))).to(volume)


def noise(volume: Tensor) -> Tensor:
    """Standard normal where the exam has its breasts: same mean and variance, no structure; always the same draw."""
    drawn = np.random.default_rng(0).standard_normal(tuple(volume.shape)).astype(np.float32)
    return torch.from_numpy(drawn).to(volume) * (volume != 0)


def expected_gradients(network: Mome, volumes: Volumes, references: list[Tensor], budget: int) -> Attribution:
    """Mean over baselines that are other exams (Erion et al. 2021), each with its part of the budget."""
    each = [
        integrated_gradients(network, volumes, baseline=reference, budget=max(2, budget // len(references)))
        for reference in references
    ]
    voxels = np.asarray(np.mean([a.voxels for a in each], axis=0), np.float32)
    difference = float(np.mean([a.difference for a in each]))
    gap = abs(float(voxels.sum(dtype=np.float64)) - difference) / abs(difference)
    unsettled = float(np.mean([(a.unsettled or 0) * abs(a.difference) for a in each])) / abs(difference)
    return Attribution(voxels, difference, gap, unsettled, sum(a.steps for a in each))


def from_tokens(network: Mome, volumes: Volumes, budget: int) -> Attribution:
    """Path over the DCE tokens from zero to the exam's; a token's share is spread evenly over its cell."""
    with torch.no_grad():
        fixed: dict[Sequence, Tensor] = {s: network.prefix(s, v) for s, v in volumes.items() if s != "dce"}
        tokens = network.beit3.dce_embed(volumes["dce"])
        cls = network.beit3.dce_embed.cls_token
    grid = network.config.grid("dce")

    def sample(positions: list[float]) -> list[Node]:
        nodes = []
        for at in positions:
            point = (at * tokens).requires_grad_()
            state = network.sparse("dce", torch.cat([cls, point], dim=1))
            score = margin(network, state, fixed)[0]
            (gradient,) = torch.autograd.grad(score, point)
            share = (gradient * tokens).sum(dim=2).view(grid).numpy(force=True)
            nodes.append(Node(at, score.item(), share, float(share.sum(dtype=np.float64))))
        return nodes

    with economical(network):
        found = integrate(sample, budget=budget)
    cell = [c // g for c, g in zip(network.config.dce_canvas, grid, strict=True)]
    spread = np.kron(found.voxels, np.ones(cell, np.float32)) / np.float32(np.prod(cell))
    return Attribution(spread, found.rise, found.gap, found.unsettled, found.nodes)
