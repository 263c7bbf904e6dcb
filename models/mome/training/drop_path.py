"""Drop-path (stochastic depth, arXiv:1603.09382): in training, branches of blocks are left out for some exams.

The branches are those of the published code: attention, and feed-forward network with adapter together. It is hung on
the network from outside, so that the network that serves patients knows nothing of it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..block import Block
from ..network import Mome

ATTENTION, FEED_FORWARD = 0, 1


class DropPath:
    """The share of exams grows evenly from 0 at the first block to `rate` at the last.

    One exam leaves out a branch for all sequences and in all passes of a step. The random numbers depend on nothing but
    `seed`, block and branch, so that gradient checkpointing finds the same again.
    """

    def __init__(self, network: Mome) -> None:
        self.rate = 0.0
        self.seed: tuple[int, ...] = (0,)
        blocks = [layer for layer in network.beit3.encoder.layers if isinstance(layer, Block)]
        for depth, block in enumerate(blocks):
            share = depth / max(1, len(blocks) - 1)
            block.self_attn.register_forward_hook(partial(self._hook, (depth, ATTENTION), share))
            adapter: Any = block.MLP_Adapter
            adapters = [*adapter.values()] if isinstance(adapter, nn.ModuleDict) else [adapter]
            for branch in {*block.ffn.values(), *adapters}:
                branch.register_forward_hook(partial(self._hook, (depth, FEED_FORWARD), share))

    def begin(self, rate: float, seed: tuple[int, ...]) -> None:
        """Before each pass forward; rate 0 for evaluation."""
        self.rate, self.seed = rate, seed

    def _hook(self, place: tuple[int, int], share: float, module: nn.Module, given: Any, output: Any) -> Any:
        rate = self.rate * share
        if not rate or not module.training:
            return None
        if isinstance(output, dict):
            return {group: self._left_out(x, place, rate) for group, x in output.items()}
        return self._left_out(output, place, rate)

    def _left_out(self, x: Tensor, place: tuple[int, int], rate: float) -> Tensor:
        stays = np.random.default_rng((*self.seed, *place)).random(len(x)) >= rate
        return x * torch.from_numpy(stays / (1 - rate)).to(x.device, x.dtype)[:, None, None]
