"""The frozen backbone by itself: the vision branch of BEiT-3 base, which a training of MOME starts from.

A backbone file is a safetensors file like one of weights, of another kind: it holds no network, and is refused as one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from . import weights
from .card import backbone_card
from .checkpoints import layout, named, read_checkpoint, shapes, single, unwrapped
from .config import NetworkConfig
from .network import Mome, is_backbone
from .weights import BACKBONE, WeightsError, check_tensors, in_group_a, shapes_in, shapes_of, tensors_in

TIMM: Mapping[str, str] = {
    "norm1": "self_attn_layer_norm.A",
    "attn.norm": "self_attn.inner_attn_ln.A",
    "attn.proj": "self_attn.out_proj.A",
    "norm2": "final_layer_norm.A",
    "mlp.fc1": "ffn.A.fc1",
    "mlp.norm": "ffn.A.ffn_layernorm",
    "mlp.fc2": "ffn.A.fc2",
}
"""Modules of a block in timm's `beit3_base_patch16_224` -> in BEiT-3; there, q, k and v are rows of one `attn.qkv`."""


def import_backbone(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """The 240 tensors of the frozen backbone under the names of group A, from BEiT-3 base (its authors', or timm's).

    Taken is the vision branch (A). Text branch, embeddings, positions, last norm and heads are left out on purpose:
    MOME has no such parts, or its own. Raises WeightsError as `import_reference`.
    """
    tensors = unwrapped(state_dict)
    known = layout(tensors)
    if known not in ("beit3", "timm"):
        raise WeightsError("The checkpoint is not BEiT-3 base, in the layout of its authors or of timm.")
    if known == "timm":
        tensors = from_timm(tensors)
    wanted = backbone_shapes(NetworkConfig())
    taken = {name: tensor for name, tensor in tensors.items() if name in wanted}
    check_tensors("The checkpoint", wanted, shapes(taken), "The checkpoint is not the whole of BEiT-3 base.")
    return {name: single(name, taken[name]) for name in wanted}


def backbone_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Of one copy of the backbone, under the names of group A."""
    return {name: s for name, s in shapes_of(config).items() if is_backbone(name) and in_group_a(name) == name}


def from_timm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Blocks under BEiT-3's names; what is no block stays out."""
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        block = re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias)", name)
        if block is None:
            continue
        layer, module, kind = f"beit3.encoder.layers.{block[1]}", block[2], block[3]
        if module == "attn.qkv" and tensor.ndim and len(tensor) % 3 == 0:
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                named[f"{layer}.self_attn.{part}_proj.A.{kind}"] = rows
        elif module in TIMM:
            named[f"{layer}.{TIMM[module]}.{kind}"] = tensor
    return named


# ------------------------------------------------------------------ files
def import_file(path: Path, out: Path) -> tuple[str, list[str]]:
    """Write a backbone file from a BEiT-3 checkpoint: its SHA-256, and what of the checkpoint stays out."""
    with named(path):
        there = unwrapped(read_checkpoint(path))
        taken = import_backbone(there)
    card = backbone_card({"file": path.name, "sha256": weights.sha256(path)})
    return save(out, taken, card), [n for n in there if n not in taken and not n.startswith("blocks.")]


def is_foundation(path: Path) -> bool:
    """Whether a checkpoint file is BEiT-3; raises WeightsError that names the file where it cannot be read."""
    with named(path):
        return layout(unwrapped(read_checkpoint(path))) in ("beit3", "timm")


def save(path: Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> str:
    """Write a backbone file in single precision; its SHA-256."""
    copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    return weights.write(path, copies, {"kind": BACKBONE, "card": dict(card)})


def read(path: Path) -> dict[str, Tensor]:
    """Tensors of a backbone file under the names of group A; raises WeightsError for any other or an altered file."""
    if weights.read_metadata(path).get("kind") != BACKBONE:
        raise WeightsError(f"{path.name} is not a backbone file: `mome weights import` makes one from BEiT-3.")
    found = shapes_in(path)
    check_tensors(path.name, backbone_shapes(NetworkConfig()), found)
    return dict(tensors_in(path, list(found)))


def start_from(network: Mome, path: Path) -> None:
    """Put the backbone of a file into a network, for all sequences alike; everything else keeps its values.

    Raises WeightsError where the network is of another size than BEiT-3 base.
    """
    tensors = read(path)
    check_tensors(path.name, backbone_shapes(network.config), shapes(tensors))
    for name, tensor in network.state_dict().items():
        if is_backbone(name):
            tensor.copy_(tensors[in_group_a(name)])
