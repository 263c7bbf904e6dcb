"""Made-up weights and inputs that anyone can make again, and what the published implementation answers to them."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mome.config import SEQUENCES, NetworkConfig
from mome.network import Mome, is_backbone

RECORD: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "mome_record.json").read_text())


def values(key: str, shape: tuple[int, ...], scale: float = 0.02) -> np.ndarray:
    """The stream of numbers that belongs to a name."""
    seed = int(hashlib.sha256(key.encode()).hexdigest()[:16], 16)
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(shape) * scale


def config(size: str, *, copies: str) -> NetworkConfig:
    """Full width; `size` is "small" or "paper" (canvases), `copies` "tied" (one backbone) or "untied" (three)."""
    canvases = {f"{s}_canvas": tuple(v) for s, v in RECORD[size]["canvases"].items()}
    return NetworkConfig(**canvases, shared_backbone=copies == "tied")


@functools.cache
def parameter(name: str, shape: tuple[int, ...], norm: bool) -> torch.Tensor:
    """Kept: networks of other sizes and with shared copies have most of the 290 million numbers in common."""
    return torch.from_numpy((values(name, shape) + norm).astype(np.float32))


def state_dict(made: NetworkConfig) -> dict[str, torch.Tensor]:
    """All 926 tensors; with a shared backbone those of B and C are those of A, the very same ones."""
    with torch.device("meta"):
        network = Mome(made)
    layers = network.named_modules(remove_duplicate=False)
    norms = {f"{name}.weight" for name, layer in layers if isinstance(layer, torch.nn.LayerNorm)}
    tensors: dict[str, torch.Tensor] = {}
    for name, empty in network.state_dict().items():
        tied = made.shared_backbone and is_backbone(name)
        source = re.sub(r"\.[BC]\.", ".A.", name) if tied else name
        tensors[name] = parameter(source, tuple(empty.shape), name in norms)
    return tensors


def network(size: str, *, copies: str) -> Mome:
    made = config(size, copies=copies)
    with torch.device("meta"):
        result = Mome(made)
    result.load_state_dict(state_dict(made), assign=True)
    return result.eval().requires_grad_(False)


def inputs(made: NetworkConfig, scale: float) -> dict[str, torch.Tensor]:
    shapes = {s: (1, made.channels(s), *made.canvas(s)) for s in SEQUENCES}
    return {s: torch.from_numpy(values(f"input.{s}", shapes[s], scale).astype(np.float32)) for s in SEQUENCES}
