"""Checkpoints of others, read without running anything in them, and recognised by the names of their tensors."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .weights import MAX_HEADER_BYTES, METADATA, WeightsError, is_finite

PICKLED = (b"PK\x03\x04", b"\x80")  # first bytes of torch.save's files, today's and those of before 2020
TOP_KEYS = ("state_dict", "model", "module")  # MOME; BEiT-3; wrapped for several GPUs
PREFIXES = ("module.", "_orig_mod.")  # trained on several GPUs; compiled
Layout: TypeAlias = Literal["mome", "beit3", "timm"]
SIGNS: Mapping[Layout, str] = {
    "mome": r"beit3\.(dce|dwi|t2)_embed\.",
    "beit3": r"beit3\.(encoder\.layers|vision_embed|text_embed)\.",
    "timm": r"blocks\.\d+\.(attn|mlp)\.norm\.",  # BEiT-3's sub-LayerNorm; other vision transformers have none
}
"""Names that only checkpoints of a layout have; the first layout that fits counts."""


class Beside:
    """Stands where a training saved options or a best value beside the tensors: nothing of that is built or kept."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


HARMLESS = ("argparse.Namespace", "numpy.dtype", "numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar")
"""What a pickle may name besides tensors and plain values; the last as numpy 1 called it."""
STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [(Beside, name) for name in HARMLESS]


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """What a file of safetensors or of torch.save holds, whatever its suffix. Tensors stay mapped to the file.

    Code in it is never run. Raises WeightsError where the file is missing, damaged, of another format, or holds more
    than tensors, plain values and the options of a training.
    """
    if not path.is_file():
        raise WeightsError(f"There is no checkpoint at {path}.")
    with path.open("rb") as file:
        first = file.read(9)
    if first[8:] == b"{" and int.from_bytes(first[:8], "little") <= MAX_HEADER_BYTES:
        return read_safetensors(path)
    if not first.startswith(PICKLED):
        raise WeightsError(f"{path.name} is of no known format: neither safetensors nor written by torch.save.")
    mapped = zipfile.is_zipfile(path) and path.suffix != ".safetensors"  # torch.load goes by that name, not by content
    try:
        with path.open("rb") as file, torch.serialization.safe_globals(STAND_INS):
            found = torch.load(path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged or hostile pickle ends in whatever it meets first
        culprit = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"more than tensors and plain values ({culprit[1]})" if culprit else "no tensors that can be read safely"
        raise WeightsError(
            f"{path.name} was not opened: it holds {what}. Ask for the state dictionary alone, best as .safetensors."
        ) from error
    if not isinstance(found, Mapping):
        raise WeightsError(f"{path.name} holds no state dictionary.")
    return found


@contextmanager
def named(path: Path) -> Iterator[None]:
    """What is wrong with a checkpoint is said with the name of its file."""
    try:
        yield
    except WeightsError as error:
        raise error.of(path.name) from error


def read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            if {METADATA, "card"} & (file.metadata() or {}).keys():
                raise WeightsError(f"{path.name} is a weights file of this software already: use it as it is.")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path.name} is cut short or damaged: {error}.") from error


def unwrapped(checkpoint: object) -> dict[str, Tensor]:
    """The state dictionary of a checkpoint: without what was saved beside it, without the prefixes of a training."""
    if not isinstance(checkpoint, Mapping):
        raise WeightsError(f"The checkpoint is no state dictionary: it is of the type {type(checkpoint).__name__}.")
    found = next((checkpoint[k] for k in TOP_KEYS if isinstance(checkpoint.get(k), Mapping)), checkpoint)
    other = [str(name) for name, value in found.items() if not isinstance(name, str) or not isinstance(value, Tensor)]
    if other or not found:
        raise WeightsError(f"The checkpoint is no state dictionary: {', '.join(other[:3]) or 'it is empty'}.")
    tensors = dict(found)
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def layout(tensors: Mapping[str, Tensor]) -> Layout | None:
    return next((known for known, sign in SIGNS.items() if any(re.match(sign, name) for name in tensors)), None)


def single(name: str, tensor: Tensor) -> Tensor:
    """Single precision, on the CPU, without a history; not copied where it is so already.

    Raises WeightsError where it is no plain tensor of floating-point numbers, or holds values that are not numbers.
    """
    if tensor.is_meta:
        raise WeightsError(f"The checkpoint holds shapes without values: tensors on the device meta ({name}).")
    if not tensor.is_floating_point() or tensor.layout is not torch.strided:
        raise WeightsError(f"The checkpoint holds something else than floating-point numbers ({name}).")
    converted = tensor.detach().to("cpu", torch.float32)
    if not is_finite(converted):
        raise WeightsError(f"The checkpoint holds values that are not numbers ({name}).")
    return converted


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
