"""Sizes and constants: of the network (the paper's, and the small one of the demonstration) and of the preprocessing.

Both travel with the weights: a network is only itself together with the preprocessing it was trained behind.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

Sequence: TypeAlias = Literal["dce", "dwi", "t2"]
SEQUENCES: tuple[Sequence, ...] = ("dce", "dwi", "t2")
Size: TypeAlias = tuple[int, int, int]
Millimetres: TypeAlias = tuple[float, float, float]
C = TypeVar("C", "NetworkConfig", "PreprocessingConfig")


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Sizes of the network; the defaults are those of the paper (Luo et al. 2025, Methods) and its published code."""

    dim: int = 768
    heads: int = 12
    ffn: int = 3072
    sparse_blocks: int = 9  # attention within one sequence
    soft_blocks: int = 3  # attention over all sequences, soft mixture of experts
    adapter: int = 192
    experts: int = 128
    slots: int = 1  # of each expert
    stem: tuple[int, int] = (64, 128)  # channels of the first two convolutions; the third gives `dim`
    dce_channels: int = 6
    dce_canvas: Size = (384, 256, 128)
    dwi_canvas: Size = (256, 128, 32)
    t2_canvas: Size = (384, 256, 48)
    dce_pool: Size = (2, 2, 2)  # stride of the tokenizer's max-pooling, after three convolutions of stride 2
    dwi_pool: Size = (2, 2, 2)
    t2_pool: Size = (2, 2, 2)
    shared_backbone: bool = True  # attention, feed-forward network and their norms: one for all sequences, frozen

    def canvas(self, sequence: Sequence) -> Size:
        return {"dce": self.dce_canvas, "dwi": self.dwi_canvas, "t2": self.t2_canvas}[sequence]

    def channels(self, sequence: Sequence) -> int:
        return self.dce_channels if sequence == "dce" else 1

    def pool(self, sequence: Sequence) -> Size:
        return {"dce": self.dce_pool, "dwi": self.dwi_pool, "t2": self.t2_pool}[sequence]

    def grid(self, sequence: Sequence) -> Size:
        """Tokens along W, H, D."""
        w, h, d = (c // (8 * p) for c, p in zip(self.canvas(sequence), self.pool(sequence), strict=True))
        return w, h, d

    def tokens(self, sequence: Sequence) -> int:
        w, h, d = self.grid(sequence)
        return w * h * d


DEMONSTRATION = NetworkConfig(
    dim=96,
    heads=4,
    ffn=192,
    sparse_blocks=4,
    soft_blocks=2,
    adapter=24,
    experts=16,
    stem=(16, 32),
    dce_canvas=(96, 48, 32),
    dwi_canvas=(48, 24, 32),
    t2_canvas=(96, 48, 32),
    dce_pool=(2, 2, 1),
    dwi_pool=(1, 1, 1),
    t2_pool=(2, 2, 1),
    shared_backbone=False,
)
"""The small network of the demonstration weights: about 1.8 million parameters; all three token grids are 6 x 3 x 4.

It was trained from scratch, without a foundation model, so every sequence has a backbone of its own.
"""


CHOICES: Mapping[str, tuple[str, ...]] = {
    "grid": ("millimetres", "matrix"),
    "dwi_region": ("dce", "whole"),
    "oversize": ("resample", "zoom"),
    "statistics": ("mask", "crop"),
    "phase_statistics": ("together", "each"),
    "zeroed": ("before", "after"),
}
"""Words of the preprocessing; they come from a weights file, where a misspelt one must not pass for another."""


@dataclass(frozen=True, slots=True)
class PreprocessingConfig:
    """Constants from acquired volumes to the canvas. Axes W, H, D = left, posterior, head (LPS); lengths in mm.

    The defaults are the demonstration's; `PAPER_PREPROCESSING` is the paper's. Raises ValueError for a combination
    that means nothing.
    """

    grid: Literal["millimetres", "matrix"] = "millimetres"  # one voxel size, or one number of voxels, for all exams
    dce_spacing: Millimetres = (3.5, 3.5, 5.0)  # of the canvases; grid "millimetres" only
    dwi_spacing: Millimetres = (7.0, 7.0, 5.0)
    t2_spacing: Millimetres = (3.5, 3.5, 5.0)
    dce_matrix: Size = (384, 384, 128)  # over the whole field of view, before the crop; grid "matrix" only
    t2_matrix: Size = (384, 384, 32)  # DWI keeps the matrix it was acquired with
    dce_canvas: Size = (96, 48, 32)
    dwi_canvas: Size = (48, 24, 32)
    t2_canvas: Size = (96, 48, 32)
    channels: int = 6  # post-contrast subtractions, interpolated over the phase index
    min_phases: int = 3  # pre-contrast included
    dwi_region: Literal["dce", "whole"] = "dce"  # cropped to the region of the DCE, or its whole field of view
    oversize: Literal["resample", "zoom"] = "resample"  # too large a crop: sampled coarser, or shrunk when standardised
    statistics: Literal["mask", "crop"] = "mask"  # zero mean and unit variance inside the mask, or over the whole crop
    phase_statistics: Literal["together", "each"] = "together"  # one pair for the subtractions of all phases, or each
    zeroed: Literal["before", "after"] = "after"  # standardising: what lies outside the mask of the DCE
    clip: float | None = 12.7  # of the standardised values
    min_overlap: float = 0.5  # share of the mask that DWI or T2 must cover, else they count as missing
    crop_margin_mm: float = 7.0  # around the bounding box of the mask
    mask_spacing: Millimetres = (3.5, 3.5, 5.0)  # of the grid on which the mask is found
    mask_smoothing_mm: float = 5.0  # sigma of the Gaussian that closes the mask
    valley_mm: float = 15.0  # the breasts stand at least this far out of the skin between them
    wall_margin_mm: float = 4.0  # of the posterior boundary behind the skin over the sternum
    wall_radius_mm: float = 285.0  # curvature of the chest wall from side to side
    min_breast_ml: float = 80.0
    max_breast_ml: float = 8000.0

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}.")
        if self.grid == "millimetres" and self.oversize == "zoom":
            raise ValueError("On a grid of millimetres the crop is the canvas: there is nothing to zoom.")

    def spacing(self, sequence: Sequence) -> Millimetres:
        return {"dce": self.dce_spacing, "dwi": self.dwi_spacing, "t2": self.t2_spacing}[sequence]

    def canvas(self, sequence: Sequence) -> Size:
        return {"dce": self.dce_canvas, "dwi": self.dwi_canvas, "t2": self.t2_canvas}[sequence]

    def hash(self) -> str:
        """SHA-256 (hex) of the canonical JSON: the same constants give the same hash on every machine."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


PAPER_PREPROCESSING = PreprocessingConfig(
    grid="matrix",
    dce_canvas=(384, 256, 128),
    dwi_canvas=(256, 128, 32),
    t2_canvas=(384, 256, 48),
    dwi_region="whole",
    oversize="zoom",
    statistics="crop",
    zeroed="before",
    clip=None,
    crop_margin_mm=0.0,
)
"""As the paper says (Methods, "Data preprocessing"), for `NetworkConfig()`.

The paper leaves open over what the statistics are taken and says nothing of crops larger than a canvas: here over the
masked crop in the order of its sentences, all phases together; and shrunk as by the published loader.
"""


def from_json(kind: type[C], record: Mapping[str, Any]) -> C:
    """A configuration from its JSON object; raises TypeError for unknown members."""
    members: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in record.items()}
    return kind(**members)
