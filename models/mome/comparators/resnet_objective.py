"""What ResNets learn: the answer, and from synthetic exams what MOME learns of lesions, asked of their own cells."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ..coalitions import COALITIONS, Coalition, probabilities
from ..cohort import Cohort
from ..config import SEQUENCES, NetworkConfig, Sequence
from ..phantom.cohorts import ATTRIBUTES
from ..phantom.patient import SEEN_BY
from ..training.auxiliary import cell_loss, cells
from ..training.batches import Batch
from ..training.mome_objective import BATCH_VOXELS, weighted
from ..training.objective import Scores
from .resnets import ResNets


def shown_by(sequences: Iterable[str]) -> list[int]:
    """Which of the planted attributes these sequences can show, as indices."""
    return sorted(ATTRIBUTES.index(name) for s in sequences for name in SEEN_BY[s])


class ResNetHeads(nn.Module):
    """Of every cell of a feature map: lesion, malignant, attributes; of the summary: attributes. Training only."""

    def __init__(self, network: ResNets) -> None:
        super().__init__()

        def read_out(width: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))

        self.cells = nn.ModuleDict({s: read_out(network.width, 2 + len(ATTRIBUTES)) for s in network.sequences})
        self.summary = read_out(network.summary_width, len(ATTRIBUTES))


class ResNetObjective:
    """As `MomeObjective`: an exam teaches through those of the network's sequences that it has, or not at all.

    A cell is asked for the attributes that its sequence can show, the summary for those that the network can see.
    """

    def __init__(self, network: ResNets, config: NetworkConfig, heads: ResNetHeads | None = None) -> None:
        """`heads` where a lesson needs them."""
        self.network, self.config, self.heads = network, config, heads

    def trained(self) -> Iterable[nn.Parameter]:
        modules = (self.network,) if self.heads is None else (self.network, self.heads)
        return [p for module in modules for p in module.parameters()]

    # -------------------------------------------------------------- loss
    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        chance = rng.random()
        parts = [self.untouched()]
        for there, part in batch.by_sequences():
            own = tuple(s for s in there if s in self.network.sequences)
            if own:
                parts.append(self.of_part(part, own, chance) * (len(part) / len(batch)))
        return batch.lesson.weight * torch.stack(parts).sum()

    def untouched(self) -> Tensor:
        """Zero, with gradients of zero: what a batch teaches in which no exam has a sequence of this network."""
        return torch.stack([p.sum() for p in self.network.parameters()]).sum() * 0

    def of_part(self, batch: Batch, there: Coalition, chance: float) -> Tensor:
        """Exams that all have the sequences `there`; `chance` (0 to 1) chooses fewer of them."""
        lesson, network = batch.lesson, self.network
        maps = {s: network.cells(s, batch.volumes[s]) for s in there}
        if lesson.objective == "lesions":
            return self.of_lesions(batch, maps)
        features = {s: network.pooled(s, found) for s, found in maps.items()}
        summary = network.summary(features)
        loss = weighted(network.head(summary), batch)
        if lesson.lesions:
            loss = loss + lesson.lesions * self.of_lesions(batch, maps)
        if lesson.attributes:
            loss = loss + lesson.attributes * self.of_attributes(batch, summary)
        proper = [part for part in COALITIONS if {*part} < {*there}]
        if lesson.fewer and proper:
            fewer = proper[int(chance * len(proper))]
            part = network.head(network.summary({s: features[s] for s in fewer}))
            loss = loss + lesson.fewer * weighted(part, batch)
        return loss

    def of_lesions(self, batch: Batch, maps: dict[Sequence, Tensor]) -> Tensor:
        assert self.heads is not None and batch.lesions is not None
        parts = [
            cell_loss(self.heads.cells[s](found), cells(batch.lesions, self.config, s), shown_by([s]))
            for s, found in maps.items()
        ]
        return torch.stack(parts).mean()

    def of_attributes(self, batch: Batch, summary: Tensor) -> Tensor:
        """Of the first lesion; exams without one have none."""
        assert self.heads is not None and batch.lesions is not None
        first, shown = batch.lesions[:, 0], shown_by(self.network.sequences)
        there = first[:, 3] > 0
        if not there.any():
            return summary.sum() * 0
        return mse_loss(self.heads.summary(summary)[there][:, shown], first[there, 5:][:, shown])

    # -------------------------------------------------------------- scores
    def scores(self, cohort: Cohort) -> dict[str, Scores]:
        """From those of the network's sequences that an exam has ("at hand"); NaN where it has none of them."""
        device = next(self.network.parameters()).device
        found = np.full(len(cohort), np.nan)
        size = max(1, BATCH_VOXELS // int(np.prod(self.config.dce_canvas)))
        patterns = cohort.present
        for pattern in np.unique(patterns, axis=0):
            there = [s for s, has in zip(SEQUENCES, pattern, strict=True) if has]
            same = np.flatnonzero((patterns == pattern).all(axis=1))
            own = [s for s in self.network.sequences if s in there]
            for rows in np.split(same, range(size, len(same), size)) if own else []:
                volumes = {s: torch.from_numpy(cohort.batch(s, rows)).to(device) for s in own}
                found[rows] = probabilities(self.network(**volumes))
        return {"at hand": found}
