"""One transformer block: pre-LayerNorm attention, then feed-forward network and adapter side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from .attention import Attention, PerGroup, Tokens, per_group
from .config import NetworkConfig
from .experts import Adapter, SoftAdapter


class FeedForward(nn.Module):
    """(B, N, dim) to (B, N, dim), sub-LayerNorm before the second map (BEiT-3)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.ffn_layernorm = nn.LayerNorm(hidden)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.fc2(self.ffn_layernorm(gelu(self.fc1(x)))))


class Block(nn.Module):
    """Tokens of each group (B, N, dim) to the same shapes (paper, eqs. 3-7)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.self_attn_layer_norm = per_group(config, nn.LayerNorm, config.dim)
        self.ffn = per_group(config, FeedForward, config.dim, config.ffn)
        self.final_layer_norm = per_group(config, nn.LayerNorm, config.dim)

    def attend(self, tokens: Tokens, *, joint: bool) -> tuple[Tokens, Tokens]:
        """The state after attention, and the same normalised: what feed-forward network and adapter see."""
        attended = self.self_attn(self.self_attn_layer_norm.of(tokens), joint=joint)
        state = {g: x + attended[g] for g, x in tokens.items()}
        return state, self.final_layer_norm.of(state)


class SparseBlock(Block):
    """Every group by itself: attention within it, an adapter of its own."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.MLP_Adapter = PerGroup((Adapter(config), Adapter(config), Adapter(config)))

    def forward(self, tokens: Tokens) -> Tokens:
        state, h = self.attend(tokens, joint=False)
        fed, adapted = self.ffn.of(h), self.MLP_Adapter.of(h)
        return {g: state[g] + fed[g] + adapted[g] for g in tokens}


class SoftBlock(Block):
    """All groups together: joint attention, one soft mixture of experts over all tokens."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.MLP_Adapter = SoftAdapter(config)

    def forward(self, tokens: Tokens) -> Tokens:
        state, h = self.attend(tokens, joint=True)
        every = self.MLP_Adapter(torch.cat(list(h.values()), dim=1))
        adapted = dict(zip(h, every.split([x.shape[1] for x in h.values()], dim=1), strict=True))
        fed = self.ffn.of(h)
        return {g: state[g] + fed[g] + adapted[g] for g in tokens}

    def cls(self, tokens: Tokens) -> Tensor:
        """What `forward` gives for the CLS token alone, (B, 1, dim): enough for the last block, at half the cost.

        Every token still takes part in the attention and in the slots of the experts.
        """
        state, h = self.attend(tokens, joint=True)
        every = torch.cat(list(h.values()), dim=1)  # CLS is the first token of group A, and A comes first
        return torch.as_tensor(state["A"][:, :1] + self.ffn["A"](h["A"][:, :1]) + self.MLP_Adapter(every, answers=1))
