"""The state of a training between two steps: one safetensors file, whole or not at all, and never code in it.

It holds no random state: the random numbers of a step are made from seed, stage and step (`batches`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .configuration import ConfigurationError, differences
from .objective import Objective

STATE = "state.safetensors"
VERSION = 1
Tensors = dict[str, Tensor]


@dataclass(slots=True)
class Progress:
    """Where a training stands. `rows`: those of `curves.csv`."""

    stage: int = 0  # of the configuration, counted from 0
    step: int = 0  # done in this stage
    losses: list[float] = field(default_factory=list)  # since the last row
    rows: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None  # figure, stage, step
    scaler: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0  # spent, over all runs
    begun: list[dict[str, Any]] = field(default_factory=list)  # of each run: where it began, and on what
    finished: bool = False


def learned(objective: Objective) -> Tensors:
    """Everything that a training changes: trained parameters, buffers, and parameters beside the network.

    Frozen parameters are not here: they come from where they came from at the start.
    """
    trained = {id(p): p for p in objective.trained()}
    network: nn.Module = objective.network
    inside = {name: p for name, p in network.named_parameters() if id(p) in trained}
    known = {id(p) for p in inside.values()}
    beside = [p for p in trained.values() if id(p) not in known]
    tensors = {**inside, **dict(network.named_buffers())}
    return {f"network/{n}": t for n, t in tensors.items()} | {f"beside/{i}": p for i, p in enumerate(beside)}


def copied(tensors: Mapping[str, Tensor]) -> Tensors:
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def put_back(objective: Objective, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in learned(objective).items():
        tensor.detach().copy_(tensors[name])


# ------------------------------------------------------------------ file
def save(folder: Path, progress: Progress, described: Mapping[str, Any], parts: Mapping[str, Tensors]) -> None:
    """`described`: what the training is; `parts`: "learned", "optimiser", "best"."""
    path, partial = folder / STATE, folder / f"{STATE}.{os.getpid()}.partial"
    said = {"version": VERSION, "progress": asdict(progress), "described": described}
    tensors = {f"{part}:{name}": tensor for part, those in parts.items() for name, tensor in copied(those).items()}
    try:
        save_file(tensors, partial, metadata={"training": json.dumps(said)})
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read(folder: Path, described: Mapping[str, Any]) -> tuple[Progress, dict[str, Tensors]] | None:
    """What `save` wrote; None where there is no state. Raises ConfigurationError for that of another training."""
    path = folder / STATE
    for left in folder.glob(f"{STATE}.*.partial"):  # of a process that was killed while it wrote
        left.unlink(missing_ok=True)
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads(file.metadata()["training"])
            tensors: dict[str, Tensors] = {"learned": {}, "optimiser": {}, "best": {}}
            for name in file.keys():  # noqa: SIM118
                part, what = name.split(":", 1)
                tensors[part][what] = file.get_tensor(name)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ConfigurationError(f"{path} is no state of a training: train into another folder.") from error
    if said["version"] != VERSION:
        raise ConfigurationError(f"{path} is of another version of this software: train into another folder.")
    if differ := differences(said["described"], json.loads(json.dumps(described))):
        raise ConfigurationError(
            f"{folder} holds a training of another configuration: {'; '.join(differ)}. Take that one again, or train "
            "into another folder."
        )
    return Progress(**said["progress"]), tensors
