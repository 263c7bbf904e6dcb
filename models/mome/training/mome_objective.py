"""What MOME learns: the answer of a task from all sequences at hand, and, from synthetic exams, what lies where."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from ..attention import Tokens
from ..coalitions import COALITIONS, Coalition, coalition_logits, probabilities
from ..cohort import Cohort
from ..config import SEQUENCES, Sequence
from ..network import Mome
from .auxiliary import AuxiliaryHeads, cells
from .batches import Batch
from .drop_path import DropPath
from .objective import Scores
from .processes import rank

BATCH_VOXELS = 2**21
"""Of the DCE canvases that are scored together, where one alone is not larger."""


class MomeObjective:
    """Cross-entropy of the answer, with whatever the lesson of a batch asks beside it; see `configuration.Lesson`."""

    def __init__(self, network: Mome, heads: AuxiliaryHeads | None = None, *, drop_path: bool = False) -> None:
        """`heads` where a lesson needs them; frozen parameters of the network are those that need no gradient."""
        self.network, self.heads = network, heads
        self.drop_path = DropPath(network) if drop_path else None

    def trained(self) -> Iterable[nn.Parameter]:
        modules = (self.network,) if self.heads is None else (self.network, self.heads)
        return [p for module in modules for p in module.parameters() if p.requires_grad]

    # -------------------------------------------------------------- loss
    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        chance, seed = rng.random(), int(rng.integers(2**31))
        if self.drop_path:
            self.drop_path.begin(batch.drop_path, (seed, rank()))
        parts = [self.of_part(part, there, chance) * (len(part) / len(batch)) for there, part in batch.by_sequences()]
        return batch.lesson.weight * torch.stack(parts).sum()

    def of_part(self, batch: Batch, there: Coalition, chance: float) -> Tensor:
        """Exams that all have the sequences `there`; `chance` (0 to 1) chooses fewer of them."""
        lesson = batch.lesson
        prefixes: dict[Sequence, Tensor] = {s: self.network.prefix(s, batch.volumes[s]) for s in there}
        if lesson.objective == "lesions":
            return self.of_lesions(batch, prefixes, self.network.mix(prefixes))
        if lesson.needs_truth:
            tokens = self.network.mix(prefixes)
            loss = weighted(self.network.classify(tokens["A"]), batch)
            if lesson.lesions:
                loss = loss + lesson.lesions * self.of_lesions(batch, prefixes, tokens)
            if lesson.attributes:
                loss = loss + lesson.attributes * self.of_attributes(batch, tokens["A"])
        else:
            loss = weighted(self.network.fuse(prefixes), batch)
        proper = [part for part in COALITIONS if {*part} < {*there}]
        if lesson.fewer and proper:
            fewer = proper[int(chance * len(proper))]
            loss = loss + lesson.fewer * weighted(self.network.fuse({s: prefixes[s] for s in fewer}), batch)
        return loss

    def of_lesions(self, batch: Batch, prefixes: dict[Sequence, Tensor], tokens: Tokens) -> Tensor:
        assert self.heads is not None and batch.lesions is not None
        targets = {s: cells(batch.lesions, self.network.config, s) for s in prefixes}
        return self.heads.loss(prefixes, tokens, targets)

    def of_attributes(self, batch: Batch, tokens: Tensor) -> Tensor:
        """Of the first lesion, asked of CLS; exams without one have none."""
        assert self.heads is not None and batch.lesions is not None
        first = batch.lesions[:, 0]
        there = first[:, 3] > 0
        if not there.any():
            return tokens.sum() * 0
        return mse_loss(self.heads.cls(tokens[:, 0])[there], first[there, 5:])

    # -------------------------------------------------------------- scores
    def scores(self, cohort: Cohort) -> dict[str, Scores]:
        """From all sequences that an exam has ("at hand"), then from each combination, NaN where one is missing."""
        if self.drop_path:
            self.drop_path.begin(0, (0,))
        device = next(self.network.parameters()).device
        found = {name: np.full(len(cohort), np.nan) for name in ("at hand", *map("+".join, COALITIONS))}
        size = max(1, BATCH_VOXELS // int(np.prod(self.network.config.dce_canvas)))
        codes = cohort.present @ (4, 2, 1)
        for code in np.unique(codes):
            same = np.flatnonzero(codes == code)
            there = [s for s, bit in zip(SEQUENCES, (4, 2, 1), strict=True) if code & bit]
            for rows in np.split(same, range(size, len(same), size)):
                volumes = {s: torch.from_numpy(cohort.batch(s, rows)).to(device) for s in there}
                prefixes: dict[Sequence, Tensor] = {s: self.network.prefix(s, v) for s, v in volumes.items()}
                logits = coalition_logits(self.network, prefixes)
                for coalition, values in logits.items():
                    found["+".join(coalition)][rows] = probabilities(values)
                found["at hand"][rows] = found["+".join(there)][rows]
        return found


def weighted(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy, each exam times its importance, over B.

    Not over the sum of the importances: in batches of one exam, as in the paper, they would cancel.
    """
    each = cross_entropy(logits.float(), batch.answers, reduction="none")
    return (each if batch.importance is None else each * batch.importance).mean()
