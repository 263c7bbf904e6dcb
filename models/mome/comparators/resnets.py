"""3D ResNets (MONAI's), one for each sequence: alone the unimodal models of the paper, together its feature fusion.

The feature map of a ResNet has the cells of MOME's token grid, so that both can be asked the same of the same places.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from monai.networks.nets.resnet import ResNet
from pydantic import Field
from torch import Tensor, nn

from ..config import SEQUENCES, NetworkConfig, Sequence
from ..training.configuration import Section

LAYERS: Mapping[int, tuple[int, int, int, int]] = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class ResNetSizes(Section):
    """Of one ResNet, the same for all sequences; the defaults are for the canvases of the demonstration."""

    depth: Literal[10, 18, 34] = 10
    widths: tuple[int, int, int, int] = (8, 16, 48, 96)
    """Channels of the four levels; the last is the number of features."""
    kernel: int = Field(default=3, ge=1)
    """Of the first convolution."""
    norm: Literal["instance", "batch"] = "instance"
    pooling: Literal["attention", "mean"] = "attention"
    """Of the cells of the feature map."""
    hidden: int = Field(default=96, ge=1)
    """Width of the two hidden layers of the feature fusion."""


PAPER = ResNetSizes(depth=34, widths=(64, 128, 256, 512), kernel=7, hidden=512)
"""For the paper's canvases: its best single model was a ResNet34."""


class ResNets(nn.Module):
    """Volumes of some sequences, each (B, C, W, H, D), to logits (B, 2); index 1 = malignant.

    One sequence: a linear layer on its features. Several: their features side by side through a perceptron of three
    layers (paper, "Compared Methods"); those of a missing sequence are zeros.
    """

    def __init__(self, config: NetworkConfig, sequences: tuple[Sequence, ...], sizes: ResNetSizes) -> None:
        super().__init__()
        self.sequences, self.width = sequences, sizes.widths[-1]
        self.backbones = nn.ModuleDict({s: backbone(config, s, sizes) for s in sequences})
        self.pools = nn.ModuleDict({s: Pool(self.width, sizes.pooling) for s in sequences})
        wide, hidden = self.width * len(sequences), sizes.hidden
        self.body = nn.Identity() if len(sequences) == 1 else perceptron(wide, hidden)
        self.head = nn.Linear(self.width if len(sequences) == 1 else hidden, 2)

    @property
    def summary_width(self) -> int:
        return self.head.in_features

    def forward(self, dce: Tensor | None = None, dwi: Tensor | None = None, t2: Tensor | None = None) -> Tensor:
        """Raises ValueError where none of its sequences is given."""
        given = {s: v for s, v in zip(SEQUENCES, (dce, dwi, t2), strict=True) if v is not None and s in self.sequences}
        if not given:
            raise ValueError(f"This network needs {' or '.join(self.sequences)}.")
        features = {s: self.pooled(s, self.cells(s, v)) for s, v in given.items()}
        return torch.as_tensor(self.head(self.summary(features)))

    def cells(self, sequence: Sequence, volume: Tensor) -> Tensor:
        """Feature map of one sequence (B, N, width), cells in the order of MOME's tokens."""
        flat: Tensor = self.backbones[sequence](volume)
        return flat.view(len(volume), self.width, -1).transpose(1, 2)

    def pooled(self, sequence: Sequence, cells: Tensor) -> Tensor:
        """(B, N, width) to the features of the sequence (B, width)."""
        return torch.as_tensor(self.pools[sequence](cells))

    def summary(self, features: Mapping[Sequence, Tensor]) -> Tensor:
        """Features of the sequences at hand, each (B, width), to what the last layer reads (B, summary_width)."""
        nothing = torch.zeros_like(next(iter(features.values())))
        side_by_side = torch.cat([features.get(s, nothing) for s in self.sequences], dim=1)
        return torch.as_tensor(self.body(side_by_side))


class Pool(nn.Module):
    """Cells (B, N, width) to one vector (B, width): their mean, or one weighted by a learned attention.

    A lesion fills one or two cells in a hundred and drowns in a mean; MOME's CLS token can look at it, so the ResNets
    may too (attention pooling of Ilse et al. 2018, arXiv:1802.04712, without its hidden layer).
    """

    def __init__(self, width: int, kind: Literal["attention", "mean"]) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1)) if kind == "attention" else None

    def forward(self, cells: Tensor) -> Tensor:
        if self.attention is None:
            return cells.mean(dim=1)
        weights: Tensor = self.attention(cells).softmax(dim=1)
        return (weights * cells).sum(dim=1)


def perceptron(wide: int, hidden: int) -> nn.Sequential:
    """Two of its three layers; the third is the head."""
    return nn.Sequential(nn.Linear(wide, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU())


def backbone(config: NetworkConfig, sequence: Sequence, sizes: ResNetSizes) -> nn.Module:
    """(B, C, W, H, D) to (B, width x N). The first convolution has the stride of MOME's pooling, the levels 8 more."""
    stride: Any = config.pool(sequence)  # of each axis; MONAI's hint says otherwise
    network = ResNet(
        "basic",
        list(LAYERS[sizes.depth]),
        list(sizes.widths),
        n_input_channels=config.channels(sequence),
        conv1_t_size=sizes.kernel,
        conv1_t_stride=stride,
        no_max_pool=True,
        feed_forward=False,
        bias_downsample=False,
    )
    network.add_module("avgpool", nn.Identity())  # pooling is `Pool`'s
    return with_instance_norm(network) if sizes.norm == "instance" else network


def with_instance_norm(network: nn.Module) -> nn.Module:
    """Instance norm in place of batch norm, everywhere: MONAI's `norm` reaches only the first of its layers.

    Statistics of a batch would hang on which exams it holds, on its size (1 in the paper's recipe), and on whether the
    last steps showed one lesion or six; and MOME's tokenizers have instance norm too.
    """
    for module in [*network.modules()]:
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm3d):
                setattr(module, name, nn.InstanceNorm3d(child.num_features, affine=True))
    return network
