"""The integral of gradients along a path, with the steps where they are needed. Plain functions, no torch.

Over every part of the path the slopes must add up to what the score rises by, and a network gives score and gradient
together: so the error of every part is known, and the worst parts are halved until all errors together are small.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
FIRST_NODES = 5
TOLERATED_GAP = 0.05
TOLERATED_ERRORS = 0.10


@dataclass(frozen=True, slots=True)
class Node:
    """One point of the path."""

    at: float  # 0 at the baseline, 1 at the exam
    score: float
    slopes: FloatArray  # share of each voxel in the slope of the score along the path
    slope: float  # their sum


Sample = Callable[[list[float]], list[Node]]
"""Nodes at these positions, in their order."""


@dataclass(frozen=True, slots=True)
class Integral:
    voxels: FloatArray  # integral of the slopes of each voxel
    rise: float  # of the score, end minus start
    gap: float | None  # |sum of the voxels - rise| / |rise|; None where the score does not change
    unsettled: float | None  # as the gap, but errors of different parts do not cancel: never below it
    nodes: int


def integrate(sample: Sample, *, budget: int, at_once: int = 1) -> Integral:
    """Trapezoids between the nodes, at most `budget` (2 or more) of them; a part that is halved costs one more node.

    It stops once the gap is at most 5 % and the errors of all parts, none cancelling another, are at most 10 % of the
    rise. The gap alone would be a poor reason to stop: errors of opposite signs take it through zero by chance.
    """
    if budget < 2:
        raise ValueError(f"A path has two ends: a budget of {budget} nodes is too small.")
    nodes = in_batches(sample, np.linspace(0, 1, min(FIRST_NODES, budget)).tolist(), at_once)
    while len(nodes) < budget:
        errors = np.array([error(a, b) for a, b in itertools.pairwise(nodes)])
        rise = abs(nodes[-1].score - nodes[0].score)
        if abs(errors.sum()) <= TOLERATED_GAP * rise and np.abs(errors).sum() <= TOLERATED_ERRORS * rise:
            break
        worst = np.argsort(-np.abs(errors), kind="stable")[: min(at_once, budget - len(nodes))]
        halves = [(nodes[i].at + nodes[i + 1].at) / 2 for i in sorted(worst)]
        nodes = sorted([*nodes, *sample(halves)], key=lambda node: node.at)
    return summed(nodes)


def in_batches(sample: Sample, positions: list[float], at_once: int) -> list[Node]:
    starts = range(0, len(positions), at_once)
    return [node for start in starts for node in sample(positions[start : start + at_once])]


def error(a: Node, b: Node) -> float:
    """Trapezoid between two neighbours minus the rise of the score between them."""
    return (a.slope + b.slope) / 2 * (b.at - a.at) - (b.score - a.score)


def summed(nodes: list[Node]) -> Integral:
    """The trapezoids of all parts."""
    widths = np.diff([node.at for node in nodes])
    weights = (np.append(widths, 0) + np.append(0, widths)) / 2
    voxels = np.zeros_like(nodes[0].slopes)
    for node, weight in zip(nodes, weights, strict=True):
        voxels += np.float32(weight) * node.slopes
    rise = nodes[-1].score - nodes[0].score
    gap = unsettled = None
    if rise:
        gap = abs(float(voxels.sum(dtype=np.float64)) - rise) / abs(rise)
        unsettled = sum(abs(error(a, b)) for a, b in itertools.pairwise(nodes)) / abs(rise)
    return Integral(voxels, rise, gap, unsettled, len(nodes))
