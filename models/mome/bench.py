"""How long the parts of a study take, against the plain form of the same network and each other, in one run.

Times of one run are comparable with each other only: every figure that is worth keeping is a ratio. Weights and inputs
are made up; what they are does not change the time.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from . import augmentation as augmentations
from . import plain
from .coalitions import COALITIONS, coalition_logits
from .config import DEMONSTRATION, SEQUENCES, NetworkConfig, Sequence, Size
from .explanation import integrated_gradients
from .geometry import Box
from .network import Mome
from .preprocessing import Prepared

SIZES: Mapping[str, NetworkConfig] = {
    "paper": NetworkConfig(),
    "small": NetworkConfig(dce_canvas=(96, 64, 32), dwi_canvas=(64, 32, 32), t2_canvas=(96, 64, 48)),
    "demonstration": DEMONSTRATION,
}
"""The paper's network; the same network on small canvases; the network of the demonstration weights."""
Say = Callable[[str], None]
Volumes = dict[Sequence, Tensor]


def made_up(config: NetworkConfig, device: str, batch: int = 1) -> tuple[Mome, Volumes]:
    """A network and an exam for it; the same at every call."""
    torch.manual_seed(0)
    network = Mome(config).to(device).eval().requires_grad_(False)
    shapes = {s: (batch, config.channels(s), *config.canvas(s)) for s in SEQUENCES}
    return network, {s: torch.randn(shape).to(device) for s, shape in shapes.items()}


def bench(
    size: str, *, device: str, rounds: int, steps: int, augmentation: str, bfloat16: bool, compiled: bool, say: Say
) -> dict[str, Any]:
    """Seconds of each part and the ratios between them.

    Forwards take turns over several rounds; augmentation and explanation, which are many of them, run once.
    """
    config = SIZES[size]
    network, volumes = made_up(config, device)
    tensors = plain.copies(network.state_dict())
    parts: dict[str, Callable[[], Any]] = {
        "plain forward": lambda: plain.logits(tensors, config, volumes),
        "forward": lambda: network(**volumes),
        "seven combinations": lambda: coalition_logits(network, {s: network.prefix(s, v) for s, v in volumes.items()}),
        "seven combinations, one by one": lambda: [network(**{s: volumes[s] for s in c}) for c in COALITIONS],
    }
    if bfloat16:
        parts["forward, bfloat16"] = lambda: in_bfloat16(network, volumes, device)
    if compiled:
        faster = torch.compile(network, dynamic=False)
        parts["forward, compiled"] = lambda: faster(**volumes)
    with torch.inference_mode():
        seconds, answers = timed(parts, device, rounds, say)
    many: dict[str, Callable[[], Any]] = {
        f"augmentation {augmentation}": lambda: augmentations.scores(network, as_prepared(volumes), augmentation),
        f"explanation, {steps} gradients": lambda: integrated_gradients(network, volumes, budget=steps),
    }
    seconds |= timed(many, device, 0, say)[0]
    seconds["whole study"] = seconds["seven combinations"] + seconds[f"explanation, {steps} gradients"]
    exact = answers["plain forward"].double()
    return {
        "size": size,
        "device": named(device),
        "rounds": rounds,
        "seconds": seconds,
        "ratios": ratios(seconds),
        "logit_difference": {
            part: float((answers[part].double() - exact).abs().max())
            for part in ("forward", "forward, bfloat16", "forward, compiled")
            if part in answers
        },
        "peak_memory_gib": peak_memory_gib(device),
    }


def study(size: str, *, device: str, steps: int, augmentation: str, say: Say) -> dict[str, Any]:
    """One explained study: all combinations under an augmentation, then up to `steps` gradients.

    Seconds and peak memory of this process; raises ValueError for an unknown augmentation.
    """
    network, volumes = made_up(SIZES[size], device)
    started = time.monotonic()
    scored = augmentations.scores(network, as_prepared(volumes), augmentation)
    finish(device)
    scores = time.monotonic() - started
    say(f"{len(scored.values)} x {len(scored.coalitions)} scores: {scores:.1f} s")
    attribution = integrated_gradients(network, volumes, budget=steps)
    finish(device)
    return {
        "size": size,
        "device": named(device),
        "augmentation": augmentation,
        "variants": len(scored.values),
        "gradients": attribution.steps,
        "seconds_of": {"scores": scores, "explanation": time.monotonic() - started - scores},
        "peak_memory_gib": peak_memory_gib(device),
    }


def as_prepared(volumes: Volumes) -> Prepared:
    """The volumes as an exam whose content leaves a tenth of each canvas free, so that it can be moved."""
    arrays = {s: v[0].numpy(force=True) for s, v in volumes.items()}
    boxes = {s: Box((0, 0, 0), size_in(a)) for s, a in arrays.items()}
    nowhere = {s: np.eye(4) for s in arrays}
    return Prepared(arrays, nowhere, boxes, np.ones(arrays["dce"].shape[1:], bool), {})


def size_in(canvas: npt.NDArray[np.float32]) -> Size:
    w, h, d = (n * 9 // 10 for n in canvas.shape[1:])
    return w, h, d


def named(device: str) -> str:
    return (
        torch.cuda.get_device_name(device) if device.startswith("cuda") else f"cpu, {torch.get_num_threads()} threads"
    )


def in_bfloat16(network: Mome, volumes: Volumes, device: str) -> Tensor:
    with torch.autocast(device.split(":", maxsplit=1)[0], dtype=torch.bfloat16):
        return torch.as_tensor(network(**volumes))


def timed(
    parts: Mapping[str, Callable[[], Any]], device: str, rounds: int, say: Say
) -> tuple[dict[str, float], dict[str, Any]]:
    """Median seconds of each part over rounds in which all parts take turns, and the last answer of each."""
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    answers: dict[str, Any] = {}
    for turn in range(rounds + 1):  # the first of several warms up: memory, compilation
        for name, part in parts.items():
            started = time.monotonic()
            answers[name] = part()
            finish(device)
            say(f"round {turn} of {rounds}, {name}: {time.monotonic() - started:.3g} s")
            if turn > 0 or rounds == 0:
                seconds[name].append(time.monotonic() - started)
    return {name: statistics.median(taken) for name, taken in seconds.items()}, answers


def ratios(seconds: Mapping[str, float]) -> dict[str, float]:
    """What the figures are kept as: the plain forward, and every part, in forwards of this network."""
    forward = seconds["forward"]
    return {f"{part} / forward": taken / forward for part, taken in seconds.items() if part != "forward"}


def finish(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def peak_memory_gib(device: str) -> float:
    """Of the GPU where there is one, else of this process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
