"""Checkpoints of others, read without running anything in them, and recognised by the names of their tensors."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .weights import METADATA, WeightsError, is_finite

PICKLED = (".th", ".pt", ".pth")
TOP_KEYS = ("state_dict", "model", "module")  # MOME; BEiT-3; wrapped for several GPUs
Layout: TypeAlias = Literal["mome", "beit3", "timm"]
SIGNS: Mapping[Layout, str] = {
    "mome": r"beit3\.(dce|dwi|t2)_embed\.",
    "beit3": r"beit3\.(encoder\.layers|vision_embed|text_embed)\.",
    "timm": r"blocks\.\d+\.(attn|mlp)\.norm\.",  # BEiT-3's sub-LayerNorm; other vision transformers have none
}
"""Names that only checkpoints of a layout have; the first layout that fits counts."""


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """What a .safetensors, .th, .pt or .pth file holds; code in it is never run. Tensors stay mapped to the file.

    Raises WeightsError where the file is missing, damaged, of another format, or holds more than plain values.
    """
    if not path.is_file():
        raise WeightsError(f"There is no checkpoint at {path}.")
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    if path.suffix not in PICKLED:
        raise WeightsError(f"{path.name} is of no known format: .safetensors, {', '.join(PICKLED)}.")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged or hostile pickle ends in whatever it meets first
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"more than tensors and plain values ({named[1]})" if named else "no tensors that can be read safely"
        raise WeightsError(
            f"{path.name} was not opened: it holds {what}. Ask for the state dictionary alone, best as .safetensors."
        ) from error
    if not isinstance(found, Mapping):
        raise WeightsError(f"{path.name} holds no state dictionary.")
    return found


def read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            if {METADATA, "card"} & (file.metadata() or {}).keys():
                raise WeightsError(f"{path.name} is a weights file of this software already: use it as it is.")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path.name} is cut short or damaged: {error}.") from error


def unwrapped(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dictionary of a checkpoint: without what was saved beside it, without the prefix `module.`."""
    found = next((checkpoint[k] for k in TOP_KEYS if isinstance(checkpoint.get(k), Mapping)), checkpoint)
    other = [str(name) for name, value in found.items() if not isinstance(name, str) or not isinstance(value, Tensor)]
    if other or not found:
        raise WeightsError(f"The checkpoint is no state dictionary: {', '.join(other[:3]) or 'it is empty'}.")
    if all(name.startswith("module.") for name in found):
        return {name.removeprefix("module."): tensor for name, tensor in found.items()}
    return dict(found)


def layout(tensors: Mapping[str, Tensor]) -> Layout | None:
    return next((known for known, sign in SIGNS.items() if any(re.match(sign, name) for name in tensors)), None)


def single(name: str, tensor: Tensor) -> Tensor:
    """Single precision, on the CPU, without a history; not copied where it is so already.

    Raises WeightsError where it is no plain tensor of floating-point numbers, or holds values that are not numbers.
    """
    if not tensor.is_floating_point() or tensor.layout is not torch.strided:
        raise WeightsError(f"The checkpoint holds something else than floating-point numbers ({name}).")
    converted = tensor.detach().to("cpu", torch.float32)
    if not is_finite(converted):
        raise WeightsError(f"The checkpoint holds values that are not numbers ({name}).")
    return converted


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
