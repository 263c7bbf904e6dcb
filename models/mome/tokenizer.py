"""From a standardised volume to tokens: three strided convolutions and a max-pooling (paper, Methods: "tokenizer")."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from .config import NetworkConfig, Sequence


class Tokenizer(nn.Module):
    """(B, C, W, H, D) to (B, N, dim), tokens in C order over the grid of W, H, D.

    Instance statistics run over the whole canvas, also in evaluation: what else lies in the canvas matters.
    """

    def __init__(self, config: NetworkConfig, sequence: Sequence) -> None:
        super().__init__()
        widths = (config.channels(sequence), *config.stem, config.dim)
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            conv = nn.Conv3d(narrow, wide, kernel_size=3, stride=2, padding=1, bias=False)
            layers += [conv, nn.InstanceNorm3d(wide), nn.ReLU(inplace=True)]
        pool = nn.MaxPool3d(kernel_size=3, stride=config.pool(sequence), padding=1)
        self.stem = nn.Sequential(*layers, pool)
        self.shape = (config.channels(sequence), *config.canvas(sequence))
        if sequence == "dce":
            self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))

    def forward(self, volume: Tensor) -> Tensor:
        """Volumes of any numeric type. Raises ValueError for another size than the position table was made for, and
        for a batch of no exam."""
        if tuple(volume.shape[1:]) != self.shape:
            raise ValueError(f"The network takes {self.shape} (C, W, H, D), not {tuple(volume.shape[1:])}.")
        if not len(volume):
            raise ValueError("There is no exam in the batch.")
        volume = volume.to(next(self.stem.parameters()).dtype)
        return torch.as_tensor(self.stem(volume)).flatten(2).transpose(1, 2)
