"""MOME with parts taken out (paper, "Ablation investigation"); what is left trains and scores as MOME does."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from ..attention import PerGroup
from ..block import Block, SoftBlock
from ..config import NetworkConfig
from ..experts import Adapter
from ..network import Mome


class TokenAdapter(Adapter):
    """In the place of the soft mixture of experts: the same bottleneck, each token by itself."""

    def forward(self, x: Tensor, answers: int | None = None) -> Tensor:
        return super().forward(x[:, :answers])


class NoAdapter(nn.Module):
    """In the place of an expert: nothing."""

    def forward(self, x: Tensor, answers: int | None = None) -> Tensor:
        return torch.zeros_like(x[:, :answers])


def blocks_of(network: Mome) -> list[Block]:
    return [layer for layer in network.beit3.encoder.layers if isinstance(layer, Block)]


def without_soft_experts(config: NetworkConfig) -> Mome:
    """The last blocks still attend over all sequences, and have a plain adapter ("w/o MOME-Soft")."""
    network = Mome(config)
    for block in blocks_of(network):
        if isinstance(block, SoftBlock):
            block.add_module("MLP_Adapter", TokenAdapter(config))
    return network


def without_experts(config: NetworkConfig) -> Mome:
    """No adapters and one set of weights for all sequences ("w/o MOME"); each keeps its tokenizer and positions."""
    network = Mome(dataclasses.replace(config, shared_backbone=True))
    for block in blocks_of(network):
        nothing = NoAdapter()
        soft = isinstance(block, SoftBlock)
        block.add_module("MLP_Adapter", nothing if soft else PerGroup((nothing, nothing, nothing)))
    return network


def plain_transformer(config: NetworkConfig) -> Mome:
    """The paper's comparison "BEiT3": without experts, and all tokens attend to all from the first block on."""
    depth = config.sparse_blocks + config.soft_blocks
    return without_experts(dataclasses.replace(config, sparse_blocks=0, soft_blocks=depth))
