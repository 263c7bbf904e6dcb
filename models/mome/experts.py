"""The trainable parts beside the backbone: adapters, and the soft mixture of experts over all sequences.

Parallel to the feed-forward network, on the same normalised input (paper, eqs. 4-7).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from .config import NetworkConfig


class Adapter(nn.Module):
    """Sparse expert of one sequence: (B, N, dim) to (B, N, dim) through a bottleneck; LayerNorm at the end."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.D_fc1 = nn.Linear(config.dim, config.adapter)
        self.D_fc2 = nn.Linear(config.adapter, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.norm(self.D_fc2(gelu(self.D_fc1(x)))))


class Experts(nn.Module):
    """One affine map per expert: slots (B, E, S, width) to (B, E, S, width)."""

    def __init__(self, experts: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, width, width).uniform_(-1 / width, 1 / width))
        self.bias = nn.Parameter(torch.empty(experts, width).uniform_(-1 / width, 1 / width))

    def forward(self, slots: Tensor) -> Tensor:
        return torch.einsum("besi,eij->besj", slots, self.weight) + self.bias[:, None]


class SoftMoE(nn.Module):
    """Soft mixture of experts (arXiv:2308.00951), logits without normalisation or scale.

    (B, N, width), same out; with `answers`, only for the first tokens, though every token speaks to the experts.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        bound = 1 / math.sqrt(config.experts * config.slots)
        shape = (config.adapter, config.experts, config.slots)
        self.phi = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.experts = Experts(config.experts, config.adapter)

    def forward(self, x: Tensor, answers: int | None = None) -> Tensor:
        logits = torch.einsum("bnd,des->bnes", x, self.phi)
        slots = torch.einsum("bnd,bnes->besd", x, logits.softmax(dim=1))  # a slot is a mean of the tokens present
        asked = logits[:, :answers]
        combine = asked.flatten(2).softmax(dim=2).view_as(asked)
        return torch.einsum("besd,bnes->bnd", self.experts(slots), combine)


class SoftAdapter(nn.Module):
    """Adapter whose bottleneck is a soft mixture of experts over the tokens of all sequences.

    (B, N, dim), same out; `answers` as in `SoftMoE`.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.D_fc1 = nn.Linear(config.dim, config.adapter)
        self.moe = SoftMoE(config)
        self.D_fc2 = nn.Linear(config.adapter, config.dim)

    def forward(self, x: Tensor, answers: int | None = None) -> Tensor:
        return torch.as_tensor(self.norm(self.D_fc2(self.moe(gelu(self.D_fc1(x)), answers))))
