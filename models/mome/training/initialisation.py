"""Values that a network has before it has learned anything."""

from __future__ import annotations

import torch
from torch import nn

from ..attention import Attention
from ..block import Block
from ..experts import Adapter, SoftAdapter
from ..network import Mome

CODE = 24  # dimensions of the residual stream that carry the place of a token at the start


def published(network: Mome, seed: int) -> None:
    """As in the published code: linear maps trunc-normal (sd 0.02, cut at one sd), biases 0, head x 0.001, last map of
    the adapters 0, positions N(0, 1); convolutions and experts as torch makes them.

    The factors that torchscale puts on sub-LN networks (arXiv:2210.06423) come before these and are overwritten there,
    so they are not here either.
    """
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02, a=-0.02, b=0.02)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight)
    for module in network.modules():
        if isinstance(module, Adapter | SoftAdapter):
            nn.init.zeros_(module.D_fc2.weight)
    with torch.no_grad():
        network.head.weight.mul_(0.001)


def demonstration(network: Mome, seed: int) -> None:
    """For training everything from nothing on small data.

    Tokens of one place get the same code in all sequences, and one head of the first soft block starts out looking at
    the same place in every sequence: with random tables this is learned slowly or never.
    """
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.05)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.1)
        elif isinstance(module, Adapter | SoftAdapter):
            nn.init.constant_(module.norm.weight, 0.1)
    config = network.config
    code = 1.5 * torch.randn(config.tokens("dce"), min(CODE, config.dim // config.heads))
    if config.grid("dce") == config.grid("dwi") == config.grid("t2"):
        with torch.no_grad():
            for group, table in network.beit3.encoder.embed_positions.items():
                assert isinstance(table, nn.Embedding)
                table.weight[2 if group == "A" else 0 :, : code.shape[1]] = code
            look_at_own_place(network.beit3.encoder.layers[config.sparse_blocks], code.shape[1])


def look_at_own_place(block: nn.Module, width: int) -> None:
    """Its first head attends to the tokens with the same first `width` dimensions."""
    assert isinstance(block, Block)
    attention: Attention = block.self_attn
    for projections in (attention.q_proj, attention.k_proj):
        for linear in projections.values():
            assert isinstance(linear, nn.Linear)
            linear.weight[:width] = 0
            linear.weight[:width, :width] = 0.8 * torch.eye(width)
