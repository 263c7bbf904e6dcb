"""Optimiser, learning rate and numeric type of a stage."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .configuration import Stage

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def optimiser_of(stage: Stage, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam or AdamW, one group of parameters that decay and one of those that do not."""
    every = list(parameters)
    decaying = [p for p in every if stage.decay_vectors or p.ndim > 1]
    others = [p for p in every if not stage.decay_vectors and p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decaying, "weight_decay": stage.weight_decay}]
    if others:
        groups.append({"params": others, "weight_decay": 0.0})
    kind = torch.optim.Adam if stage.optimiser == "adam" else torch.optim.AdamW
    return kind(groups, lr=stage.rate, betas=stage.betas, fused=True)


def rate_at(stage: Stage, step: int, steps: int) -> float:
    """Warm-up over steps, then a cosine over steps, or over epochs where the stage counts those."""
    done = step / steps if stage.epochs is None else step * stage.epochs // steps / stage.epochs
    warm = min(1.0, (step + 1) / stage.warm_up) if stage.warm_up else 1.0
    return warm * (stage.final_rate + (stage.rate - stage.final_rate) * 0.5 * (1 + math.cos(math.pi * done)))


def scaler_of(stage: Stage, device: torch.device) -> torch.amp.GradScaler:
    """Keeps small gradients of half precision from vanishing; does nothing for the other types."""
    return torch.amp.GradScaler(device.type, enabled=stage.precision == "fp16")


def computed_in(stage: Stage, device: torch.device) -> torch.autocast:
    """The context in which the loss is computed."""
    return torch.autocast(device.type, DTYPES[stage.precision], enabled=stage.precision != "fp32")


# ------------------------------------------------------------------ kept between runs
def tensors_of(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimiser remembers: "number of the parameter/name"; nothing of parameters that had no gradient yet."""
    state: dict[int, dict[str, Tensor]] = optimiser.state_dict()["state"]
    return {f"{index}/{name}": tensor for index, kept in state.items() for name, tensor in kept.items()}


def restore(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, what = name.split("/")
        state.setdefault(int(index), {})[what] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
