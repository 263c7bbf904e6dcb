"""What `configs/inference.json` of a model folder calls: the network, and its scores of a cohort."""

from __future__ import annotations

from pathlib import Path

from .. import cohort, weights
from ..evaluation.scoring import from_what_is_there, scored_cohort
from ..network import Mome


def network(folder: str, device: str = "cpu") -> Mome:
    """The network of malignancy of a model folder, every file of it checked; raises WeightsError."""
    return weights.load(folder, device)[0]


def scores(network: Mome, folder: str) -> dict[str, float]:
    """The score of every exam with volumes by its pseudonym, from all sequences that it has."""
    exams = cohort.load(Path(folder))
    found = from_what_is_there(scored_cohort(network, exams))
    return {case.case: float(score) for case, score in zip(exams.cases, found, strict=True)}
