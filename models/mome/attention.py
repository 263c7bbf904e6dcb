"""Multi-head self-attention with separate weights per token group, sub-LayerNorm as in BEiT-3.

A group is a sequence: A = CLS and DCE, B = DWI, C = T2. Sparse blocks attend within a group, soft blocks over all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from .config import NetworkConfig, Sequence

Group: TypeAlias = Literal["A", "B", "C"]
GROUPS: tuple[Group, ...] = ("A", "B", "C")
GROUP: Mapping[Sequence, Group] = {"dce": "A", "dwi": "B", "t2": "C"}
Tokens: TypeAlias = dict[Group, Tensor]
"""Tokens (B, N, dim) of the groups that are present, in the order A, B, C."""


def per_group(layer: type[nn.Module], *sizes: int) -> nn.ModuleDict:
    """One layer of its own for each group, under the published key names."""
    return nn.ModuleDict({group: layer(*sizes) for group in GROUPS})


class Attention(nn.Module):
    """Tokens of each group (B, N, dim) to the same shapes; `joint` lets every token see every group."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.k_proj = per_group(nn.Linear, config.dim, config.dim)
        self.v_proj = per_group(nn.Linear, config.dim, config.dim)
        self.q_proj = per_group(nn.Linear, config.dim, config.dim)
        self.out_proj = per_group(nn.Linear, config.dim, config.dim)
        self.inner_attn_ln = per_group(nn.LayerNorm, config.dim)

    def forward(self, tokens: Tokens, *, joint: bool) -> Tokens:
        query, key, value = (
            {group: self.split(projection[group](x)) for group, x in tokens.items()}
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        if joint:
            q, k, v = (torch.cat(list(part.values()), dim=2) for part in (query, key, value))
            sizes = [x.shape[1] for x in tokens.values()]
            parts = torch.split(scaled_dot_product_attention(q, k, v), sizes, dim=2)
            mixed = dict(zip(tokens, parts, strict=True))
        else:
            mixed = {g: scaled_dot_product_attention(query[g], key[g], value[g]) for g in tokens}
        merged = {g: x.transpose(1, 2).flatten(2) for g, x in mixed.items()}
        return {g: self.out_proj[g](self.inner_attn_ln[g](x)) for g, x in merged.items()}

    def split(self, x: Tensor) -> Tensor:
        """(B, N, dim) to (B, heads, N, dim / heads)."""
        batch, n, dim = x.shape
        return x.view(batch, n, self.heads, dim // self.heads).transpose(1, 2)
