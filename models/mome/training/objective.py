"""What one model learns from a batch, and how it is scored: all that the training engine asks of a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from ..cohort import Cohort
from .batches import Batch

Scores: TypeAlias = npt.NDArray[np.float64]


class Objective(Protocol):
    """A model with its loss. MOME has one (`mome_objective`), and so has every network that it is compared with."""

    @property
    def network(self) -> nn.Module:
        """What is saved, with its buffers; on the device where it is trained."""

    def trained(self) -> Iterable[nn.Parameter]:
        """Parameters that change, always in the same order; also those of heads that only the training needs."""

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """A scalar, mean over the exams of the batch. All that is random in it comes from `rng` or from torch."""

    def scores(self, cohort: Cohort) -> Mapping[str, Scores]:
        """Probability of the positive class (N,), NaN where there is none; the one used for selection comes first.

        Called in evaluation mode, under `torch.inference_mode`.
        """
