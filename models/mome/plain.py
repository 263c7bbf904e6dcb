"""The same network once more, spelled out and slow: what the optimised one is checked and timed against.

Every sequence has its own copy of the backbone, every block computes the whole table of attention over all tokens, with
a mask where sequences must not see each other, and nothing is shared between two calls: the form that the published
code has. Works on a state dictionary; no class of `network` takes part.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import conv3d, gelu, instance_norm, layer_norm, linear, max_pool3d, relu

from .config import NetworkConfig, Sequence

Tensors = Mapping[str, Tensor]
LETTER: Mapping[Sequence, str] = {"dce": "A", "dwi": "B", "t2": "C"}
LAYERS = "beit3.encoder.layers"


def copies(tensors: Tensors) -> dict[str, Tensor]:
    """Every tensor by itself in memory, as a published checkpoint holds them: three copies of the backbone."""
    return {name: tensor.clone() for name, tensor in tensors.items()}


def logits(tensors: Tensors, config: NetworkConfig, volumes: Mapping[Sequence, Tensor]) -> Tensor:
    """Volumes (B, C, W, H, D) of the sequences at hand to logits (B, 2); absent sequences have no tokens."""
    return classify(tensors, states(tensors, config, volumes)[-1])


def states(tensors: Tensors, config: NetworkConfig, volumes: Mapping[Sequence, Tensor]) -> list[Tensor]:
    """Tokens (B, N, dim) before the first and after every block; order CLS, DCE, DWI, T2."""
    x, groups = embed(tensors, config, volumes)
    apart = separation(groups).to(x)
    found = [x]
    for i in range(config.sparse_blocks + config.soft_blocks):
        x = block(tensors, config, i, x, groups, apart if i < config.sparse_blocks else None)
        found.append(x)
    return found


def embed(tensors: Tensors, config: NetworkConfig, volumes: Mapping[Sequence, Tensor]) -> tuple[Tensor, list[str]]:
    """Tokens with their positions, and the group of each."""
    batch = len(next(iter(volumes.values())))
    parts = [tensors["beit3.dce_embed.cls_token"].expand(batch, -1, -1)]
    groups = ["A"]
    for sequence, letter in LETTER.items():
        if sequence in volumes:
            tokens = tokenise(tensors, config, sequence, volumes[sequence])
            parts.append(tokens)
            groups += [letter] * tokens.shape[1]
    placed = []
    for letter in sorted(set(groups)):
        table = tensors[f"beit3.encoder.embed_positions.{letter}.weight"]
        placed.append((table[1:] if letter == "A" else table)[: groups.count(letter)])
    return torch.cat(parts, dim=1) + torch.cat(placed), groups


def tokenise(tensors: Tensors, config: NetworkConfig, sequence: Sequence, volume: Tensor) -> Tensor:
    x = volume
    for step in (0, 3, 6):
        x = conv3d(x, tensors[f"beit3.{sequence}_embed.stem.{step}.weight"], stride=2, padding=1)
        x = relu(instance_norm(x))
    return max_pool3d(x, 3, config.pool(sequence), 1).flatten(2).transpose(1, 2)


def separation(groups: list[str]) -> Tensor:
    """(N, N): 0 where two tokens are of one group, minus infinity where not."""
    letters = torch.tensor([ord(letter) for letter in groups])
    return torch.zeros(len(groups), len(groups)).masked_fill(letters[:, None] != letters[None], float("-inf"))


def block(tensors: Tensors, config: NetworkConfig, i: int, x: Tensor, groups: list[str], mask: Tensor | None) -> Tensor:
    """One block on all tokens (B, N, dim)."""
    name = f"{LAYERS}.{i}"

    def each(layer: str, y: Tensor, apply: str) -> Tensor:
        """A layer with the weights of each token's group."""
        runs = [(letter, groups.count(letter)) for letter in sorted(set(groups))]
        pieces = torch.split(y, [n for _, n in runs], dim=1)
        call = normalised if apply == "norm" else mapped
        return torch.cat(
            [call(tensors, f"{name}.{layer.format(g=g)}", p) for (g, _), p in zip(runs, pieces, strict=True)], dim=1
        )

    h = each("self_attn_layer_norm.{g}", x, "norm")
    q, k, v = (heads(each(f"self_attn.{p}_proj.{{g}}", h, "linear"), config.heads) for p in "qkv")
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        weights = weights + mask
    mixed = (weights.float().softmax(dim=-1).to(v) @ v).transpose(1, 2).flatten(2)
    z = x + each("self_attn.out_proj.{g}", each("self_attn.inner_attn_ln.{g}", mixed, "norm"), "linear")
    h = each("final_layer_norm.{g}", z, "norm")
    hidden = each("ffn.{g}.ffn_layernorm", gelu(each("ffn.{g}.fc1", h, "linear")), "norm")
    fed = each("ffn.{g}.fc2", hidden, "linear")
    adapter = "MLP_Adapter.{g}." if mask is not None else "MLP_Adapter."
    narrow = gelu(each(f"{adapter}D_fc1", h, "linear"))
    if mask is None:
        narrow = soft_moe(tensors, f"{name}.MLP_Adapter.moe", narrow)
    adapted = each(f"{adapter}norm", each(f"{adapter}D_fc2", narrow, "linear"), "norm")
    return z + fed + adapted


def soft_moe(tensors: Tensors, name: str, x: Tensor) -> Tensor:
    phi = tensors[f"{name}.phi"].flatten(1)  # (width, experts * slots)
    table = x @ phi
    slots = table.softmax(dim=1).transpose(1, 2) @ x  # (B, experts * slots, width)
    weight, bias = tensors[f"{name}.experts.weight"], tensors[f"{name}.experts.bias"]
    per_expert = slots.view(len(slots), len(weight), -1, slots.shape[-1])
    answers = torch.stack([per_expert[:, e] @ weight[e] + bias[e] for e in range(len(weight))], dim=1).flatten(1, 2)
    return table.softmax(dim=2) @ answers


def heads(x: Tensor, number: int) -> Tensor:
    """(B, N, dim) to (B, heads, N, dim / heads)."""
    batch, n, dim = x.shape
    return x.view(batch, n, number, dim // number).transpose(1, 2)


def normalised(tensors: Tensors, name: str, x: Tensor) -> Tensor:
    return layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def mapped(tensors: Tensors, name: str, x: Tensor) -> Tensor:
    return linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def classify(tensors: Tensors, x: Tensor) -> Tensor:
    return mapped(tensors, "head", normalised(tensors, "fc_norm", x[:, 0]))
