"""MOME (Luo et al., Nat Commun 16:3647, 2025): three tokenizers, sparse blocks per sequence, soft blocks over all.

The sparse blocks look at one sequence each, so `prefix` can be computed once and shared by all combinations of
sequences; `fuse` does the rest. A sequence that is missing contributes no tokens: it is dropped, never filled with
zeros. Names of modules are those of the published state dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import GROUP, GROUPS, Tokens
from .block import SoftBlock, SparseBlock
from .config import SEQUENCES, NetworkConfig, Sequence
from .tokenizer import Tokenizer

T = TypeVar("T")
BACKBONE = re.compile(
    r"beit3\.encoder\.layers\.\d+\.(self_attn|self_attn_layer_norm|ffn|final_layer_norm)\.",
)


def is_backbone(name: str) -> bool:
    """Whether the tensor of this name is one of the frozen foundation model (BEiT-3) and not trained by MOME."""
    return BACKBONE.match(name) is not None


class Encoder(nn.Module):
    """Position tables and blocks. Table A has one row more than tokens: its row 0 is never read (as published)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        rows = {"A": config.tokens("dce") + 2, "B": config.tokens("dwi"), "C": config.tokens("t2")}
        self.embed_positions = nn.ModuleDict({group: nn.Embedding(n, config.dim) for group, n in rows.items()})
        sparse = [SparseBlock(config) for _ in range(config.sparse_blocks)]
        self.layers = nn.ModuleList([*sparse, *(SoftBlock(config) for _ in range(config.soft_blocks))])


class Backbone(nn.Module):
    """Tokenizers and encoder, under the published name `beit3`."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.dce_embed = Tokenizer(config, "dce")
        self.dwi_embed = Tokenizer(config, "dwi")
        self.t2_embed = Tokenizer(config, "t2")
        self.encoder = Encoder(config)


class Mome(nn.Module):
    """Volumes of exams, each (B, C, W, H, D) or None, to logits (B, 2); index 1 = malignant.

    `checkpointing` computes blocks again for the gradient instead of keeping what is in them: less memory, more time.
    """

    checkpointing = False

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.beit3 = Backbone(config)
        self.fc_norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, 2)
        if config.shared_backbone:
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(not is_backbone(name))

    def forward(self, dce: Tensor | None = None, dwi: Tensor | None = None, t2: Tensor | None = None) -> Tensor:
        """Raises ValueError where no sequence is given, or one of another size than the configured canvas."""
        given: dict[Sequence, Tensor | None] = {"dce": dce, "dwi": dwi, "t2": t2}
        prefixes = {sequence: self.prefix(sequence, x) for sequence, x in given.items() if x is not None}
        if not prefixes:
            raise ValueError("The network needs at least one sequence.")
        return self.fuse(prefixes)

    def prefix(self, sequence: Sequence, volume: Tensor) -> Tensor:
        """One sequence through tokenizer and sparse blocks: (B, N, dim); DCE has the CLS token in front."""
        embed = {"dce": self.beit3.dce_embed, "dwi": self.beit3.dwi_embed, "t2": self.beit3.t2_embed}[sequence]
        tokens = embed(volume)
        if sequence == "dce":
            tokens = torch.cat([self.beit3.dce_embed.cls_token.expand(len(volume), -1, -1), tokens], dim=1)
        return self.sparse(sequence, tokens)

    def lone_cls(self, batch: int) -> Tensor:
        """CLS through the sparse blocks by itself, as without DCE: (B, 1, dim), the same for every exam."""
        return self.sparse("dce", self.beit3.dce_embed.cls_token.expand(batch, -1, -1))

    def sparse(self, sequence: Sequence, tokens: Tensor) -> Tensor:
        """Add positions, then the sparse blocks: tokens (B, N, dim), same out."""
        group = GROUP[sequence]
        first = 1 if group == "A" else 0
        rows = torch.arange(first, first + tokens.shape[1], device=tokens.device)
        state: Tokens = {group: tokens + self.beit3.encoder.embed_positions[group](rows)}
        return self.through(self.beit3.encoder.layers[: self.config.sparse_blocks], state)[group]

    def mix(self, prefixes: Mapping[Sequence, Tensor], batch: int | None = None) -> Tokens:
        """Prefixes of any combination of sequences, also of none, through the soft blocks: tokens of each group."""
        tokens = self.together(prefixes, batch)
        sizes = [x.shape[1] for x in tokens.values()]
        mixed = self.through(self.beit3.encoder.layers[self.config.sparse_blocks :], self.joined(tokens))
        return dict(zip(tokens, torch.split(torch.cat(list(mixed.values()), dim=1), sizes, dim=1), strict=True))

    def fuse(self, prefixes: Mapping[Sequence, Tensor], batch: int | None = None) -> Tensor:
        """Prefixes of any combination of sequences to logits (B, 2); the last block computes the CLS token only."""
        soft = self.beit3.encoder.layers[self.config.sparse_blocks :]
        tokens = self.through(soft[:-1], self.joined(self.together(prefixes, batch)))
        last = soft[-1]
        assert isinstance(last, SoftBlock)
        return self.classify(self.run(last.cls, tokens))

    def classify(self, cls: Tensor) -> Tensor:
        """Logits (B, 2) from tokens (B, N, dim) that begin with the CLS token."""
        return torch.as_tensor(self.head(self.fc_norm(cls[:, 0])))

    def together(self, prefixes: Mapping[Sequence, Tensor], batch: int | None) -> Tokens:
        """Tokens of the sequences at hand, in the order of the groups; without DCE, CLS comes by itself."""
        if batch is None:
            batch = len(next(iter(prefixes.values())))
        tokens: Tokens = {GROUP[s]: prefixes[s] for s in SEQUENCES if s in prefixes}
        if "A" not in tokens:
            tokens["A"] = self.lone_cls(batch)
        return {group: tokens[group] for group in GROUPS if group in tokens}

    def joined(self, tokens: Tokens) -> Tokens:
        """One run of tokens where all groups share their weights: soft blocks then need no parting of the groups."""
        return {"A": torch.cat(list(tokens.values()), dim=1)} if self.config.shared_backbone else tokens

    def through(self, layers: Iterable[nn.Module], tokens: Tokens) -> Tokens:
        for layer in layers:
            tokens = self.run(layer, tokens)
        return tokens

    def run(self, function: Callable[[Tokens], T], tokens: Tokens) -> T:
        if self.checkpointing and torch.is_grad_enabled():
            result: T = checkpoint(function, tokens, use_reentrant=False)
            return result
        return function(tokens)
