"""One transformer block: pre-LayerNorm attention, then feed-forward network and adapter side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from .attention import GROUPS, Attention, Tokens, per_group
from .config import NetworkConfig
from .experts import Adapter, SoftAdapter


class FeedForward(nn.Module):
    """(B, N, dim) to (B, N, dim), sub-LayerNorm before the second map (BEiT-3)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.dim, config.ffn)
        self.fc2 = nn.Linear(config.ffn, config.dim)
        self.ffn_layernorm = nn.LayerNorm(config.ffn)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.fc2(self.ffn_layernorm(gelu(self.fc1(x)))))


class Block(nn.Module):
    """Sparse: every group by itself. Soft: joint attention and one mixture of experts over all groups."""

    def __init__(self, config: NetworkConfig, *, soft: bool) -> None:
        super().__init__()
        self.soft = soft
        self.self_attn = Attention(config)
        self.self_attn_layer_norm = per_group(nn.LayerNorm, config.dim)
        self.MLP_Adapter: nn.Module = (
            SoftAdapter(config) if soft else nn.ModuleDict({group: Adapter(config) for group in GROUPS})
        )
        self.ffn = nn.ModuleDict({group: FeedForward(config) for group in GROUPS})
        self.final_layer_norm = per_group(nn.LayerNorm, config.dim)

    def forward(self, tokens: Tokens) -> Tokens:
        attended = self.self_attn({g: self.self_attn_layer_norm[g](x) for g, x in tokens.items()}, joint=self.soft)
        z = {g: x + attended[g] for g, x in tokens.items()}
        h = {g: self.final_layer_norm[g](x) for g, x in z.items()}
        adapted = self.adapt(h)
        return {g: z[g] + self.ffn[g](h[g]) + adapted[g] for g in tokens}

    def adapt(self, h: Tokens) -> Tokens:
        if isinstance(self.MLP_Adapter, nn.ModuleDict):
            return {g: self.MLP_Adapter[g](x) for g, x in h.items()}
        every = self.MLP_Adapter(torch.cat(list(h.values()), dim=1))
        return dict(zip(h, every.split([x.shape[1] for x in h.values()], dim=1), strict=True))
