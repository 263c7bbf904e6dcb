"""Made-up checkpoints with the names and shapes of published ones: tests/data/published_tensors.json lists them."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import torch

from mome.network import is_backbone

LISTED = json.loads((Path(__file__).parents[1] / "data" / "published_tensors.json").read_text())
Tensors = dict[str, torch.Tensor]


def listed(model: str, groups: str = "-") -> dict[str, tuple[int, ...]]:
    """Names and shapes of a published checkpoint."""
    said, found = LISTED[model], {}
    found.update(said["outside"])
    for i in range(12):
        block = said["block"].format(i=i)
        for part in ("every_block", "sparse_block" if i < 9 else "soft_block"):
            for name, shape in said.get(part, {}).items():
                found |= {f"{block}.{name.format(group=g)}": shape for g in (groups if "{group}" in name else "-")}
    return {name: tuple(shape) for name, shape in found.items()}


def filled(shapes: dict[str, tuple[int, ...]]) -> Tensors:
    """One number for each name, in every place of its tensor; takes no memory."""
    return {name: torch.tensor(zlib.crc32(name.encode()) % 9973 / 1e5).expand(shape) for name, shape in shapes.items()}


def in_group(name: str, group: str) -> str:
    return re.sub(r"\.[ABC]\.", f".{group}.", name, count=1)


def checkpoint() -> Tensors:
    """Of MOME at the paper's size, its three backbones equal, as training leaves them."""
    tensors = filled(listed("mome", "ABC"))
    return {name: tensors[in_group(name, "A")] if is_backbone(name) else tensor for name, tensor in tensors.items()}


def foundation() -> Tensors:
    """Of BEiT-3 base, as its authors name them."""
    return filled(listed("beit3", "AB"))


def timm(beit3: Tensors) -> Tensors:
    """The same numbers, as timm names them: q, k and v one below the other."""
    tensors = filled(listed("timm"))
    theirs = {
        **{"norm1": "self_attn_layer_norm.A", "attn.norm": "self_attn.inner_attn_ln.A", "norm2": "final_layer_norm.A"},
        **{"attn.proj": "self_attn.out_proj.A", "mlp.norm": "ffn.A.ffn_layernorm"},
        **{f"mlp.fc{n}": f"ffn.A.fc{n}" for n in (1, 2)},
    }
    for i in range(12):
        for kind in ("weight", "bias"):
            layer = f"beit3.encoder.layers.{i}"
            rows = [beit3[f"{layer}.self_attn.{part}_proj.A.{kind}"] for part in "qkv"]
            tensors[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat(rows)
            for ours, name in theirs.items():
                tensors[f"blocks.{i}.{ours}.{kind}"] = beit3[f"{layer}.{name}.{kind}"]
    return tensors
