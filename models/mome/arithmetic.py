"""How this process computes while it trains: threads, denormal numbers, algorithms that repeat themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def repeatable(threads: int, device: str = "cpu") -> Iterator[None]:
    """`threads` of the CPU, denormal numbers as zero (they are slow), deterministic algorithms on CUDA.

    All of it belongs to the whole process, so it is taken back at the end: whoever computes next expects IEEE 754.
    """
    before, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if device != "cpu" and torch.cuda.is_available():
        torch.use_deterministic_algorithms(True, warn_only=True)  # max-pooling has no deterministic gradient there
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
