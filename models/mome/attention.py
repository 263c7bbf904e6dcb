"""Multi-head self-attention, its weights chosen by token group, sub-LayerNorm as in BEiT-3.

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


class PerGroup(nn.ModuleDict):
    """One layer for each group under the published key names: three layers, or one under three names (`shared`)."""

    def __init__(self, layers: tuple[nn.Module, nn.Module, nn.Module]) -> None:
        super().__init__(dict(zip(GROUPS, layers, strict=True)))

    def of(self, tokens: Tokens) -> Tokens:
        return {group: self[group](x) for group, x in tokens.items()}


def per_group(config: NetworkConfig, layer: type[nn.Module], *sizes: int) -> PerGroup:
    """A layer of the frozen backbone: held once where the configuration says that the groups share it."""
    first = layer(*sizes)
    if config.shared_backbone:
        return PerGroup((first, first, first))
    return PerGroup((first, layer(*sizes), layer(*sizes)))


class Attention(nn.Module):
    """Tokens of each group (B, N, dim) to the same shapes; `joint` lets every token see every group."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.k_proj = per_group(config, nn.Linear, config.dim, config.dim)
        self.v_proj = per_group(config, nn.Linear, config.dim, config.dim)
        self.q_proj = per_group(config, nn.Linear, config.dim, config.dim)
        self.out_proj = per_group(config, nn.Linear, config.dim, config.dim)
        self.inner_attn_ln = per_group(config, nn.LayerNorm, config.dim)

    def forward(self, tokens: Tokens, *, joint: bool) -> Tokens:
        query, key, value = (
            {group: self.split(x) for group, x in projection.of(tokens).items()}
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
        return self.out_proj.of(self.inner_attn_ln.of(merged))

    def split(self, x: Tensor) -> Tensor:
        """(B, N, dim) to (B, heads, N, dim / heads)."""
        batch, n, dim = x.shape
        return x.view(batch, n, self.heads, dim // self.heads).transpose(1, 2)
