"""MOME as the node calls it: `load` weights once, `predict` exam after exam. Deterministic; no files, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .coalitions import COALITIONS, probabilities
from .config import SEQUENCES, Sequence
from .explanation import integrated_gradients, shapley
from .network import Mome
from .preprocessing import Prepared, VolumeLike, prepare
from .refusal import Refused
from .weights import DEMONSTRATION_WEIGHTS, Header
from .weights import load as load_weights

NOTHING_SHOWN = 0.5
"""The score with no sequence at all: the share of malignant exams in training, where both kinds were equally many.

Not the network's answer to CLS alone: it was never trained to be shown nothing, and its answer would mean nothing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One score of the whole exam, how it was made and what moved it; `evidence` lies on the DCE canvas."""

    target: str
    score: float  # 0 to 1, not calibrated
    made: Mapping[str, Any]  # key of the operating points
    baseline: float
    contributions: Mapping[str, float]  # Shapley value of each sequence used; baseline + sum = score
    coalitions: Mapping[str, float]  # "dce", "dce+dwi", ... -> score
    completeness_gap: float | None
    measures: Mapping[str, float]  # mask_volume_ml, mask_fraction, canvas_scale, phases, attribution_steps
    evidence: Mapping[str, tuple[npt.NDArray[np.floating], npt.NDArray[np.float64]]]  # (W, H, D), affine to mm LPS


class MomeModel:
    """The network behind its preprocessing."""

    def __init__(self, network: Mome, header: Header, device: str) -> None:
        self.network, self.device = network, device
        self.preprocessing = header.preprocessing
        self.card: dict[str, Any] = header.card

    def predict(self, inputs: Mapping[str, VolumeLike]) -> list[Finding]:
        """Volumes by role ("dce", optional "dwi", "t2") to one finding of malignancy.

        DWI or T2 that do not lie over the breasts count as missing: `made["sequences"]` tells what was used. Raises
        Refused (with `code` and `remedy`) where there is no breast or no usable dynamic.
        """
        if "dce" not in inputs:
            raise Refused("NO_DCE", "There is no dynamic series.", remedy="Send the native dynamic series.")
        prepared = prepare(inputs, self.preprocessing)
        volumes = {s: torch.from_numpy(a)[None].to(self.device) for s, a in prepared.arrays.items()}
        used = tuple(s for s in SEQUENCES if s in volumes)
        values = self.coalition_scores(volumes, used)
        attribution = integrated_gradients(self.network, volumes)
        return [
            Finding(
                target="malignancy",
                score=values[frozenset(used)],
                made=made(used, self.preprocessing.hash()),
                baseline=NOTHING_SHOWN,
                contributions={str(s): v for s, v in shapley(values).items()},
                coalitions={"+".join(c): values[frozenset(c)] for c in COALITIONS if frozenset(c) in values},
                completeness_gap=attribution.completeness_gap,
                measures={**prepared.measures, "attribution_steps": float(attribution.steps)},
                evidence=evidence(prepared, attribution.saliency(prepared.mask)),
            )
        ]

    def coalition_scores(
        self, volumes: Mapping[Sequence, torch.Tensor], used: tuple[Sequence, ...]
    ) -> dict[frozenset[Sequence], float]:
        """Score of every combination of the sequences at hand, and of none."""
        values: dict[frozenset[Sequence], float] = {frozenset(): NOTHING_SHOWN}
        with torch.inference_mode():
            prefixes = {s: self.network.prefix(s, volumes[s]) for s in used}
            for coalition in COALITIONS:
                if set(coalition) <= set(used):
                    logits = self.network.fuse({s: prefixes[s] for s in coalition})
                    values[frozenset(coalition)] = float(probabilities(logits)[0])
        return values


def made(used: tuple[Sequence, ...], preprocessing: str) -> dict[str, Any]:
    """How a score was made: the key under which operating points are frozen."""
    return {
        "sequences": list(used),
        "augmentation": "none",
        "numeric_type": "float32",
        "preprocessing": preprocessing,
    }


def evidence(
    prepared: Prepared, saliency: npt.NDArray[np.float32]
) -> dict[str, tuple[npt.NDArray[np.floating], npt.NDArray[np.float64]]]:
    affine = prepared.affines["dce"]
    return {"saliency": (saliency, affine), "mask": (prepared.mask.astype(np.float32), affine)}


def load(weights: Path | None = None, *, device: str = "cpu", threads: int | None = None) -> MomeModel:
    """The model of a weights file, of the demonstration weights without one; raises WeightsError for a bad file.

    `threads` limits torch on the CPU; another number of threads may move the last digits of a score.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    network, header = load_weights(weights or DEMONSTRATION_WEIGHTS, device)
    return MomeModel(network, header, device)
