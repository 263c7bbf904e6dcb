"""Heads and losses that exist only during training: where the lesion is and what it is like, asked of every token.

A binary label says little per exam; the planted attributes say much. Weights trained this way have seen lesion masks
and planted attributes, and their card says so. The heads are thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ..attention import GROUP, Tokens
from ..config import SEQUENCES, NetworkConfig, Sequence
from ..phantom.cohorts import ATTRIBUTES
from ..phantom.patient import SEEN_BY

PRESENT, ABSENT = 0.40, 0.05  # share of the lesion's best cell above which a cell holds it, below which it does not
POSITIVE_WEIGHT = 3.0


class AuxiliaryHeads(nn.Module):
    """Per token of each group, after the sparse and after the soft blocks: lesion, malignant, four attributes."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        outputs = 2 + len(ATTRIBUTES)

        def heads() -> nn.ModuleDict:
            return nn.ModuleDict(
                {s: nn.Sequential(nn.LayerNorm(config.dim), nn.Linear(config.dim, outputs)) for s in SEQUENCES}
            )

        self.sparse, self.soft = heads(), heads()
        self.cls = nn.Sequential(nn.LayerNorm(config.dim), nn.Linear(config.dim, len(ATTRIBUTES)))

    def loss(self, prefixes: Mapping[Sequence, Tensor], fused: Tokens, targets: Mapping[Sequence, Cells]) -> Tensor:
        """Mean over sequences and both depths; before the soft blocks only attributes that the sequence can show."""
        parts = []
        for sequence, cells in targets.items():
            first = 1 if sequence == "dce" else 0  # CLS
            shown = [ATTRIBUTES.index(a) for a in SEEN_BY[sequence]]
            parts.append(cell_loss(self.sparse[sequence](prefixes[sequence][:, first:]), cells, shown))
            everything = list(range(len(ATTRIBUTES)))
            parts.append(cell_loss(self.soft[sequence](fused[GROUP[sequence]][:, first:]), cells, everything))
        return torch.stack(parts).mean()


@dataclass(frozen=True, slots=True)
class Cells:
    """Targets of the tokens of one sequence, (B, N)."""

    known: Tensor  # False where a cell holds a little of a lesion
    present: Tensor
    malignant: Tensor
    attributes: Tensor  # (B, N, 4), of the lesion that fills most of the cell


def cells(lesions: Tensor, config: NetworkConfig, sequence: Sequence) -> Cells:
    """Lesions (B, L, 9) as in `Cohort` to targets on the token grid; a lesion counts as a Gaussian of its size."""
    grid, canvas = config.grid(sequence), config.dce_canvas
    centre, radius = lesions[..., :3], lesions[..., 3:4]
    there = radius[..., 0] > 0  # a place without a lesion has radius 0
    share: Tensor | None = None
    for axis, n in enumerate(grid):
        spread = radius.clamp_min(1e-6) * canvas[0] / canvas[axis] / 5**0.5
        if axis == 2:
            spread = spread * 0.7  # slices are thicker than pixels
        edges = torch.linspace(0, 1, n + 1, device=lesions.device)
        below = torch.special.ndtr((edges - centre[..., axis : axis + 1]) / spread)  # (B, L, n + 1)
        part = below.diff(dim=-1)
        share = part if share is None else (share[..., None] * part[:, :, None]).flatten(2)
    assert share is not None
    share = share / share.amax(dim=-1, keepdim=True).clamp_min(1e-6) * there[..., None]  # (B, L, N)
    best, which = share.max(dim=1)
    index = which[..., None].expand(-1, -1, lesions.shape[-1])
    owner = lesions.gather(1, index)
    return Cells((best > PRESENT) | (best < ABSENT), best > PRESENT, owner[..., 4], owner[..., 5:])


def cell_loss(output: Tensor, target: Cells, shown: list[int]) -> Tensor:
    """Lesion present + malignant + attributes, the latter two in lesion cells only, if there are any."""
    output = output.float()
    weight = torch.where(target.present, POSITIVE_WEIGHT, 1.0) * target.known
    where = binary_cross_entropy_with_logits(output[..., 0], target.present.float(), weight, reduction="sum")
    here = target.present
    if not here.any():
        return where / weight.sum()
    what = binary_cross_entropy_with_logits(output[..., 1][here], target.malignant[here])
    like = (output[..., 2:][here][:, shown] - target.attributes[here][:, shown]).square().mean()
    return where / weight.sum() + what + like
