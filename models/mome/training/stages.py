"""Training of the demonstration weights on synthetic cohorts, in two stages; deterministic for a seed and thread count.

Stage 1: six lesions in each exam, auxiliary losses only: the tokens learn to find and to describe lesions.
Stage 2: one lesion; the score is learned from all sequences and from one random combination of fewer, so that a
missing sequence is nothing new; a third of the steps still shows six lesions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from ..attention import Attention
from ..block import Block
from ..coalitions import COALITIONS, auroc, scores
from ..cohort import Cohort, CohortError, Truth
from ..config import SEQUENCES, NetworkConfig, Sequence
from ..experts import Adapter, SoftAdapter
from ..network import Mome
from .auxiliary import AuxiliaryHeads, cells

Say = Callable[[str], None]
CODE = 24  # dimensions of the residual stream that carry the place of a token at the start


@dataclass(frozen=True, slots=True)
class Recipe:
    """What `train` does; the defaults made the demonstration weights."""

    seed: int = 1
    batch: int = 8
    first_steps: int = 850
    second_steps: int = 2700
    first_rate: float = 1.5e-3
    second_rate: float = 0.9e-3
    warm_up: int = 80
    weight_decay: float = 0.05
    clip: float = 1.0
    several: float = 0.3  # share of stage 2 steps that show six lesions
    auxiliary: float = 0.7  # weight in stage 2
    attributes: float = 0.5  # weight of the attributes read from CLS
    subset: float = 0.6  # weight of the random combination of fewer sequences


# ------------------------------------------------------------------ start
def initialise(network: Mome, seed: int) -> None:
    """Start values for training everything from nothing on small data.

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
    assert isinstance(block, Block)
    attention: Attention = block.self_attn
    for projections in (attention.q_proj, attention.k_proj):
        for linear in projections.values():
            assert isinstance(linear, nn.Linear)
            linear.weight[:width] = 0
            linear.weight[:width, :width] = 0.8 * torch.eye(width)


# ------------------------------------------------------------------ batches
def draw(
    cohort: Cohort, config: NetworkConfig, size: int, rng: np.random.Generator
) -> tuple[dict[Sequence, Tensor], Tensor, Tensor]:
    """Volumes, lesions (B, L, 9) and labels (B,); the batch mirrored and shifted at random, all sequences alike."""
    rows = np.sort(rng.choice(len(cohort), size, replace=False))
    volumes: dict[Sequence, Tensor] = {s: torch.from_numpy(cohort.batch(s, rows)) for s in SEQUENCES}
    lesions = torch.from_numpy(planted(cohort).lesions[rows]).clone()
    shift = (2 * int(rng.integers(-1, 2)), 2 * int(rng.integers(-1, 2)), int(rng.integers(-1, 2)))  # DCE voxels
    for axis in range(3):
        mirrored = axis != 1 and rng.random() < 0.5  # front and back stay
        if mirrored:
            volumes = {s: v.flip(axis + 2) for s, v in volumes.items()}
            lesions[..., axis] = 1 - lesions[..., axis]
        volumes = {
            s: moved(v, axis + 2, shift[axis] * v.shape[axis + 2] // config.dce_canvas[axis])
            for s, v in volumes.items()
        }
        lesions[..., axis] += shift[axis] / config.dce_canvas[axis]
    return volumes, lesions, torch.from_numpy(cohort.malignant[rows]).long()


def planted(cohort: Cohort) -> Truth:
    """Raises CohortError for a cohort of patients: nobody planted anything in them."""
    if cohort.truth is None:
        raise CohortError(f"{cohort.name} has no planted lesions: the auxiliary losses need a synthetic cohort.")
    return cohort.truth


def moved(volume: Tensor, axis: int, by: int) -> Tensor:
    """Shifted along an axis, zeros drawn in."""
    if by == 0:
        return volume
    result = torch.zeros_like(volume)
    n = volume.shape[axis] - abs(by)
    result.narrow(axis, max(by, 0), n).copy_(volume.narrow(axis, max(-by, 0), n))
    return result


# ------------------------------------------------------------------ losses
def first_loss(network: Mome, heads: AuxiliaryHeads, volumes: dict[Sequence, Tensor], lesions: Tensor) -> Tensor:
    prefixes: dict[Sequence, Tensor] = {s: network.prefix(s, v) for s, v in volumes.items()}
    targets = {s: cells(lesions, network.config, s) for s in SEQUENCES}
    return heads.loss(prefixes, network.mix(prefixes), targets)


def second_loss(
    network: Mome,
    heads: AuxiliaryHeads,
    volumes: dict[Sequence, Tensor],
    lesions: Tensor,
    labels: Tensor,
    fewer: tuple[Sequence, ...],
    recipe: Recipe,
) -> Tensor:
    prefixes: dict[Sequence, Tensor] = {s: network.prefix(s, v) for s, v in volumes.items()}
    targets = {s: cells(lesions, network.config, s) for s in SEQUENCES}
    fused = network.mix(prefixes)
    loss = recipe.auxiliary * heads.loss(prefixes, fused, targets)
    loss = loss + cross_entropy(network.classify(fused["A"]), labels)
    loss = loss + recipe.attributes * mse_loss(heads.cls(fused["A"][:, 0]), lesions[:, 0, 5:])
    part = network.fuse({s: prefixes[s] for s in fewer})
    return loss + recipe.subset * cross_entropy(part, labels)


# ------------------------------------------------------------------ the two stages
def train(
    network: Mome,
    single: Cohort,
    several: Cohort,
    validation: Cohort,
    recipe: Recipe,
    *,
    checkpoint: Path,
    say: Say,
) -> None:
    """Train in place; the tensors go to `checkpoint` (safetensors) after stage 1 and every 400 steps of stage 2."""
    initialise(network, recipe.seed)
    heads = AuxiliaryHeads(network.config)
    rng = np.random.default_rng(recipe.seed)

    def first(_: int) -> Tensor:
        volumes, lesions, _labels = draw(several, network.config, recipe.batch, rng)
        return first_loss(network, heads, volumes, lesions)

    def second(_: int) -> Tensor:
        if rng.random() < recipe.several:
            return recipe.auxiliary * first(0)
        volumes, lesions, labels = draw(single, network.config, recipe.batch, rng)
        fewer = COALITIONS[int(rng.integers(len(COALITIONS) - 1))]  # the last is all of them
        return second_loss(network, heads, volumes, lesions, labels, fewer, recipe)

    def look(step: int) -> None:
        save_file(network.state_dict(), checkpoint)
        found = scores(network, validation)
        say(
            f"step {step}: "
            + ", ".join(f"{'+'.join(c)} {auroc(validation.malignant, s):.3f}" for c, s in found.items())
        )

    stage("stage 1", network, heads, first, recipe.first_steps, recipe.first_rate, recipe, say, None)
    save_file(network.state_dict(), checkpoint)
    stage("stage 2", network, heads, second, recipe.second_steps, recipe.second_rate, recipe, say, look)


def stage(
    name: str,
    network: Mome,
    heads: AuxiliaryHeads,
    loss_of: Callable[[int], Tensor],
    steps: int,
    rate: float,
    recipe: Recipe,
    say: Say,
    look: Callable[[int], None] | None,
) -> None:
    """AdamW, warm-up, cosine; weight decay on matrices only."""
    parameters = [p for module in (network, heads) for p in module.parameters()]
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=rate,
        betas=(0.9, 0.98),
    )
    start, recent = time.monotonic(), 0.0
    network.train()
    for step in range(steps):
        warm = min(1.0, (step + 1) / recipe.warm_up)
        factor = warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for settings in optimiser.param_groups:
            settings["lr"] = rate * factor
        loss = loss_of(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, recipe.clip)
        optimiser.step()
        recent += 0.02 * (float(loss.detach()) - recent) if step else float(loss.detach())
        if (step + 1) % 50 == 0:
            say(f"{name} {step + 1}/{steps} loss {recent:.3f} {time.monotonic() - start:.0f} s")
        if look and ((step + 1) % 400 == 0 or step + 1 == steps):
            network.eval()
            look(step + 1)
            network.train()
    network.eval()
