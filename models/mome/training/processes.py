"""One training in several processes, as `torchrun` starts them: each computes its part of every batch."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from .batches import Batch
from .objective import Objective


def rank() -> int:
    """Of this process, 0 in a training of one."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextlib.contextmanager
def together(device: str) -> Iterator[torch.device]:
    """The device of this process, and the group of all of them where `torchrun` made several.

    `device`: "cpu", "cuda", or "auto" for CUDA where there is one. Processes speak over NCCL on CUDA, gloo on the CPU.
    """
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield torch.device(kind)
        return
    place = torch.device(kind, int(os.environ["LOCAL_RANK"])) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(place)
    patience = datetime.timedelta(hours=6)  # the first process makes the cohorts
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=patience)
    try:
        yield place
    finally:
        dist.destroy_process_group()


def wait() -> None:
    """Until all processes are here."""
    if processes() > 1:
        dist.barrier()


class Learner(nn.Module):
    """An objective as one module whose `forward` is its loss, which is what DistributedDataParallel wraps."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.network = objective.network
        inside = {id(p) for p in objective.network.parameters()}
        self.beside = nn.ParameterList([p for p in objective.trained() if id(p) not in inside])
        self.objective = [objective]  # in a list: not a module of this one

    def forward(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        return self.objective[0].loss(batch, rng)


def shared(learner: Learner) -> nn.Module:
    """The learner, its gradients averaged over all processes; parameters that a step does not use are allowed."""
    return DistributedDataParallel(learner, find_unused_parameters=True) if processes() > 1 else learner


def in_step(module: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
    """Around each of the accumulated batches: gradients are exchanged with the last."""
    if isinstance(module, DistributedDataParallel) and not last:
        return module.no_sync()
    return contextlib.nullcontext()
