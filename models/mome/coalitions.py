"""Scores of every combination of sequences, sharing what they have in common, and how well scores separate.

A coalition is a set of sequences the network is shown; the sparse blocks of each sequence run once for all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .cohort import Cohort
from .config import SEQUENCES, Sequence
from .network import Mome

Coalition = tuple[Sequence, ...]
COALITIONS: tuple[Coalition, ...] = tuple(
    part for size in (1, 2, 3) for part in itertools.combinations(SEQUENCES, size)
)
"""The seven non-empty combinations; all sequences come last."""
Scores = npt.NDArray[np.float64]


def probabilities(logits: Tensor) -> Scores:
    """Logits (B, 2) to the softmax of index 1, malignant (B,)."""
    return np.asarray(logits.double().softmax(dim=1)[:, 1].numpy(force=True))


def coalition_logits(network: Mome, prefixes: Mapping[Sequence, Tensor]) -> dict[Coalition, Tensor]:
    """Logits (B, 2) of every combination of the sequences at hand, from their prefixes (B, N, dim).

    What one sequence costs by itself is paid once; each combination then costs its soft blocks.
    """
    alone = network.lone_cls(len(next(iter(prefixes.values()))))  # stands for DCE where the combination lacks it
    return {
        part: network.fuse({"dce": alone, **{s: prefixes[s] for s in part}})
        for part in COALITIONS
        if set(part) <= prefixes.keys()
    }


def scores(network: Mome, cohort: Cohort, batch: int = 16) -> dict[Coalition, Scores]:
    """Score of every exam (N,) for each of the seven combinations."""
    found: dict[Coalition, list[Scores]] = {coalition: [] for coalition in COALITIONS}
    with torch.inference_mode():
        for start in range(0, len(cohort), batch):
            rows = slice(start, start + batch)
            prefixes = {s: network.prefix(s, torch.from_numpy(cohort.batch(s, rows))) for s in SEQUENCES}
            for coalition, logits in coalition_logits(network, prefixes).items():
                found[coalition].append(probabilities(logits))
    return {coalition: np.concatenate(parts) for coalition, parts in found.items()}


def auroc(positive: npt.NDArray[np.bool_], score: npt.NDArray[np.floating]) -> float:
    """Probability that a positive exam scores higher than a negative one; ties count half."""
    order = np.argsort(score, kind="stable")
    _, first, counts = np.unique(score[order], return_index=True, return_counts=True)
    ranks = np.empty(len(score))
    ranks[order] = np.repeat(first + (counts + 1) / 2, counts)
    m, n = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - m * (m + 1) / 2) / (m * n)) if m and n else float("nan")


def interval(
    positive: npt.NDArray[np.bool_], score: npt.NDArray[np.floating], resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of the AUROC, percentiles over resampled exams."""
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        rows = rng.integers(0, len(score), len(score))
        draws.append(auroc(positive[rows], score[rows]))
    low, high = np.nanpercentile(draws, (2.5, 97.5))
    return float(low), float(high)


def named(values: Mapping[Coalition, float]) -> dict[str, float]:
    """Keys as text: "dce", "dce+dwi", ..."""
    return {"+".join(coalition): value for coalition, value in values.items()}
