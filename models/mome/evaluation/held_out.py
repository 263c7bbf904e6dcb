"""How well weights separate synthetic cancers from synthetic benign lesions, beside the best any reader could do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..coalitions import COALITIONS, Coalition, auroc, coalition_logits, interval, probabilities
from ..config import SEQUENCES
from ..model import MomeModel, load
from ..network import Mome
from ..phantom.cohorts import SEEDS, rows
from ..phantom.exams import exam

Progress = Callable[[int, int], None]
BATCH = 10


def evaluate(
    weights: Path | None,
    *,
    n: int = 300,
    seed: int | None = None,
    fine: bool = False,
    processes: int = 2,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """JSON-ready figures on `n` held-out synthetic exams: AUROC with a 95 % bootstrap interval for all combinations."""
    model = load(weights)
    first = SEEDS["held-out"] if seed is None else seed
    scores, malignant, ideal = scored(model.network, range(first, first + n), fine, processes, progress)
    combinations = {
        "+".join(coalition): {
            **estimate(malignant, scores[coalition]),
            "ideal_observer": auroc(malignant, sum((ideal[s] for s in coalition), np.zeros(n))),
        }
        for coalition in COALITIONS
    }
    return {
        "auroc": estimate(malignant, scores[COALITIONS[-1]]),
        "ideal_observer": auroc(malignant, ideal["all"]),
        "combinations": combinations,
        "cohort": f"synthetic phantoms, {'fine' if fine else 'coarse'} grids, seeds {first} to {first + n - 1}",
        "n": n,
        "malignant": int(malignant.sum()),
        "weights_sha256": model.card["weights_sha256"],
    }


def estimate(malignant: npt.NDArray[np.bool_], score: npt.NDArray[np.floating]) -> dict[str, Any]:
    return {"estimate": auroc(malignant, score), "ci95": list(interval(malignant, score))}


def scored(
    network: Mome, seeds: range, fine: bool, processes: int, progress: Progress | None
) -> tuple[dict[Coalition, npt.NDArray[np.float64]], npt.NDArray[np.bool_], Mapping[str, npt.NDArray[np.float64]]]:
    """Scores (N,) of the seven combinations, labels (N,), log odds (N,) of the ideal observer by sequence."""
    found: dict[Coalition, list[npt.NDArray[np.float64]]] = {coalition: [] for coalition in COALITIONS}
    answers, waiting = [], []
    for index, row in enumerate(rows(seeds, fine=fine, processes=processes)):
        answers.append(row)
        waiting.append(row.volumes or {})
        if len(waiting) == BATCH or index + 1 == len(seeds):
            with torch.inference_mode():
                stacked = {s: torch.from_numpy(np.stack([v[s] for v in waiting])) for s in SEQUENCES}
                prefixes = {s: network.prefix(s, volume) for s, volume in stacked.items()}
                for coalition, logits in coalition_logits(network, prefixes).items():
                    found[coalition].append(probabilities(logits))
            waiting = []
        if progress:
            progress(index + 1, len(seeds))
    malignant = np.array([row.case.malignant for row in answers], bool)
    ideal = {name: np.array([(row.log_odds or {})[name] for row in answers]) for name in ("dce", "dwi", "t2", "all")}
    return {c: np.concatenate(parts) for c, parts in found.items()}, malignant, ideal


def saliency_hits(model: MomeModel, *, n: int, seed: int, progress: Progress | None = None) -> dict[str, Any]:
    """Of `n` synthetic cancers: how often the hottest voxel lies in the lesion, or within two voxels; median gap."""
    inside = near = 0
    gaps = []
    for index in range(n):
        made = exam(seed + index, malignant=True)
        finding = model.predict(made.inputs)[0]  # malignancy; further tasks have no pictures
        saliency, affine = finding.evidence["saliency"]
        w, h, d = saliency.shape
        hot = np.array(np.unravel_index(int(saliency.argmax()), saliency.shape))
        lesion = np.argwhere(made.lesion_share(affine, (w, h, d)) > 0.5)
        distance = float(np.abs(lesion - hot).max(axis=1).min()) if len(lesion) else np.inf
        inside, near = inside + (distance == 0), near + (distance <= 2)
        if finding.completeness_gap is not None:
            gaps.append(finding.completeness_gap)
        if progress:
            progress(index + 1, n)
    return {
        "cancers": n,
        "hottest_voxel_inside": int(inside),
        "within_two_voxels": int(near),
        "median_completeness_gap": float(np.median(gaps)),
        "largest_completeness_gap": float(np.max(gaps)),
    }
