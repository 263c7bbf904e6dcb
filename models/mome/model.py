"""MOME as the node calls it: `load` weights once, `predict` exam after exam. Deterministic; no files, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch

from . import augmentation as augmentations
from .augmentation import Augmented
from .config import SEQUENCES, Sequence
from .explanation import integrated_gradients, shapley
from .network import Mome
from .preprocessing import Prepared, VolumeLike, prepare
from .tasks import TaskName
from .weights import DEMONSTRATION_WEIGHTS, Header, load_family

NumericType: TypeAlias = Literal["float32", "bfloat16"]
"""In what the scores are computed; gradients are always in float32. bfloat16 moves logits by hundredths, and is fast
only where the processor has instructions for it."""

NOTHING_SHOWN = 0.5
"""The score with no sequence at all, by convention: undecided. In the training of the demonstration weights it is also
the share of malignant exams; of imported weights that share is not known.

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
    measures: Mapping[str, float]  # mask_volume_ml, mask_fraction, canvas_scale, phases, attribution_steps, ...
    evidence: Mapping[str, tuple[npt.NDArray[np.floating], npt.NDArray[np.float64]]]  # (W, H, D), affine to mm LPS


class MomeModel:
    """The networks of one weights file behind their preprocessing."""

    def __init__(
        self,
        networks: Mapping[TaskName, Mome],
        header: Header,
        *,
        device: str = "cpu",
        augmentation: str = "none",
        numeric_type: NumericType = "float32",
    ) -> None:
        """Raises ValueError for an unknown augmentation (`augmentation.SETS` has their names) or numeric type."""
        for word, known in ((augmentation, augmentations.SETS), (numeric_type, get_args(NumericType))):
            if word not in known:
                raise ValueError(f"{word!r} is unknown; there are {', '.join(known)}.")
        self.networks, self.device = networks, device
        self.network = networks["malignancy"]
        self.augmentation, self.numeric_type = augmentation, numeric_type
        self.preprocessing = header.preprocessing
        self.card: dict[str, Any] = header.card

    def predict(self, inputs: Mapping[str, VolumeLike | None]) -> list[Finding]:
        """Volumes by role ("dce", optional "dwi", "t2") to one finding for each task of the weights, malignancy first.

        DWI or T2 that do not lie over the breasts, or hold what is no number, count as missing: `made["sequences"]`
        tells what was used. Raises Refused (with `code` and `remedy`) where there is no breast or no usable dynamic.
        """
        prepared = prepare(inputs, self.preprocessing)
        return [self.finding(task, prepared) for task in self.networks]

    def finding(self, task: TaskName, prepared: Prepared) -> Finding:
        """Scores of all combinations; of malignancy also where the exam moved the score."""
        used = tuple(s for s in SEQUENCES if s in prepared.arrays)
        with self.precision():
            scores = augmentations.scores(self.networks[task], prepared, self.augmentation)
        values: dict[frozenset[Sequence], float] = {frozenset(): NOTHING_SHOWN}
        values |= {frozenset(coalition): score for coalition, score in scores.mean.items()}
        gap, measures, evidence = self.explanation(prepared) if task == "malignancy" else (None, {}, {})
        return Finding(
            target=task,
            score=scores.mean[used],
            made=made(used, self.preprocessing.hash(), self.augmentation, self.numeric_type),
            baseline=NOTHING_SHOWN,
            contributions={str(s): v for s, v in shapley(values).items()},
            coalitions={"+".join(c): score for c, score in scores.mean.items()},
            completeness_gap=gap,
            measures={**prepared.measures, **spread(scores, used), **measures},
            evidence=evidence,
        )

    def precision(self) -> AbstractContextManager[object]:
        if self.numeric_type == "bfloat16":
            return torch.autocast(self.device.split(":")[0], dtype=torch.bfloat16)
        return nullcontext()

    def explanation(
        self, prepared: Prepared
    ) -> tuple[float | None, dict[str, float], Mapping[str, tuple[npt.NDArray[np.floating], npt.NDArray[np.float64]]]]:
        """Completeness gap, measures and pictures of the integrated gradients, of the exam as it lies."""
        volumes = {s: torch.from_numpy(a)[None].to(self.device) for s, a in prepared.arrays.items()}
        attribution = integrated_gradients(self.network, volumes, region=prepared.mask)
        affine = prepared.affines["dce"]
        evidence = {
            "saliency": (attribution.saliency(prepared.mask), affine),
            "mask": (prepared.mask.astype(np.float32), affine),
        }
        return attribution.completeness_gap, {"attribution_steps": float(attribution.steps)}, evidence


def made(
    used: tuple[Sequence, ...], preprocessing: str, augmentation: str = "none", numeric_type: NumericType = "float32"
) -> dict[str, Any]:
    """How a score was made: the key under which operating points are frozen."""
    return {
        "sequences": list(used),
        "augmentation": augmentation,
        "numeric_type": numeric_type,
        "preprocessing": preprocessing,
    }


def spread(scores: Augmented, used: tuple[Sequence, ...]) -> dict[str, float]:
    """Standard deviation of the score over the variants of the exam, where there are several."""
    return {"augmentation_spread": scores.spread[used]} if len(scores.values) > 1 else {}


def load(
    weights: str | Path | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    augmentation: str = "none",
    numeric_type: NumericType = "float32",
) -> MomeModel:
    """The model of a weights file, of the demonstration weights without one.

    `device` as torch names it, or "auto": a GPU where there is one. Raises WeightsError for a bad file, ValueError for
    a GPU that is not there.
    `threads` limits torch on the CPU; another number of threads may move the last digits of a score.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"There is no device {device!r} here: this torch sees no GPU. Use cpu or auto.")
    networks, header = load_family(Path(weights or DEMONSTRATION_WEIGHTS), device)
    return MomeModel(networks, header, device=device, augmentation=augmentation, numeric_type=numeric_type)
