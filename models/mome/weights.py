"""Weights as one safetensors file: tensors, both configurations and the model card; altered files are refused.

What needs no torch is in `header` and may be imported from here.

A file may hold networks of several tasks. That of malignancy is complete; of another task only the tensors that differ
are there, under `TASK/`. A backbone that all sequences share is there once, under the names of group A.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .config import NetworkConfig, PreprocessingConfig, Sequence, Size
from .header import (
    BACKBONE,
    MAX_HEADER_BYTES,
    METADATA,
    MODEL,
    Header,
    WeightsError,
    disagreement_of,
    note_of,
    read_card,
    read_header,
    read_metadata,
    sha256,
    verify,
    weights_file,
)
from .tasks import TASKS, TaskName

if TYPE_CHECKING:
    from torch import Tensor

    from .network import Mome

DEMONSTRATION_WEIGHTS = Path(__file__).parent / "weights" / "demonstration"
GROUP_IN_NAME = re.compile(r"\.[ABC]\.")
Dtype: TypeAlias = Literal["float16", "float32"]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
NAMED = 10  # tensors of each kind that a message names

__all__ = [
    "BACKBONE",
    "DEMONSTRATION_WEIGHTS",
    "MAX_HEADER_BYTES",
    "METADATA",
    "MODEL",
    "Header",
    "WeightsError",
    "disagreement_of",
    "load",
    "load_family",
    "note_of",
    "read_card",
    "read_header",
    "read_metadata",
    "rewrite",
    "save",
    "sha256",
    "tensors_sha256",
    "verify",
    "weights_file",
]
"""What other parts import from here; that of `header` among it."""


# ------------------------------------------------------------------ writing
def save(
    path: Path,
    networks: Mome | Mapping[TaskName, Mome],
    preprocessing: PreprocessingConfig,
    card: Mapping[str, Any],
    *,
    dtype: Dtype = "float16",
) -> str:
    """Write the network of malignancy, or those of several tasks, with everything that belongs to them; the SHA-256.

    Raises ValueError for networks of different configurations, for a preprocessing that makes other volumes than they
    take, and where the card's targets are not these tasks.
    """
    family: Mapping[TaskName, Mome] = networks if isinstance(networks, Mapping) else {"malignancy": networks}
    check_family(family, card)
    if disagreement := disagreement_of(family["malignancy"].config, preprocessing):
        raise ValueError(f"Network and preprocessing of one file must agree: {disagreement}.")
    tensors: dict[str, Tensor] = {}
    counts: dict[TaskName, int] = {}
    for task in (task for task in TASKS if task in family):
        own = own_tensors(family[task], task, tensors, dtype)
        tensors |= own
        counts[task] = len(own)
    metadata = {
        "kind": MODEL,
        "network": dataclasses.asdict(family["malignancy"].config),
        "preprocessing": dataclasses.asdict(preprocessing),
        "card": dict(card),
        "tasks": counts,
    }
    return write(path, tensors, metadata)


def check_family(family: Mapping[TaskName, Mome], card: Mapping[str, Any]) -> None:
    if "malignancy" not in family or not family.keys() <= TASKS.keys():
        raise ValueError(f"Networks of {', '.join(family)}: malignancy must be there; known are {', '.join(TASKS)}.")
    if any(network.config != family["malignancy"].config for network in family.values()):
        raise ValueError("Networks of one file must have one configuration.")
    declared = {target["name"] for target in card.get("targets", [])}
    if declared and declared != family.keys():
        raise ValueError(f"The card declares {', '.join(sorted(declared))}, the networks are {', '.join(family)}.")


def own_tensors(network: Mome, task: TaskName, before: Mapping[str, Tensor], dtype: Dtype) -> dict[str, Tensor]:
    """Copies of the tensors to store: all of malignancy, of another task those that differ from malignancy's."""
    import torch

    prefix = "" if task == "malignancy" else f"{task}/"
    own: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        if is_repeated(name, network.config):
            continue
        stored = tensor.detach().to("cpu", getattr(torch, dtype), copy=True).contiguous()
        if not is_finite(stored):
            raise WeightsError(f"{name} holds values that are no numbers in {dtype}.")
        if not prefix or not torch.equal(stored, before[name]):
            own[prefix + name] = stored
    return own


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    """The file and the note of its hash, each whole or not at all, never one beside another's note; the SHA-256."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    partial, note = path.with_name(f"{path.name}.{os.getpid()}.partial"), note_of(path)
    said = json.dumps(metadata, sort_keys=True, ensure_ascii=False)
    try:
        partial.touch()
        rights = partial.stat().st_mode  # of any new file; safetensors makes one that the writer alone may read
        save_file(dict(tensors), partial, metadata={METADATA: said})  # several entries would be in random order
        partial.chmod(rights)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        digest = sha256(partial)
        note.unlink(missing_ok=True)
        partial.replace(path)
        partial.write_text(f"{digest}  {path.name}\n", encoding="ascii")
        partial.replace(note)
    finally:
        partial.unlink(missing_ok=True)
    return digest


def rewrite(source: str | Path, out: Path, card: Mapping[str, Any]) -> str:
    """The weights of `source`, every tensor as it is there, with another card; the SHA-256 of `out`.

    `out` may be `source`, where that is a file. Raises WeightsError for an altered source.
    """
    from safetensors import safe_open

    file = weights_file(source)
    said = read_metadata(file)
    with safe_open(file, framework="pt") as stored:
        tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
    return write(out, tensors, {**said, "card": {k: v for k, v in card.items() if k != "weights_sha256"}})


def tensors_sha256(path: str | Path) -> str:
    """Of names, types, shapes and values of all tensors: the same under any card."""
    with weights_file(path).open("rb") as file:
        index = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        index.pop("__metadata__", None)
        digest = hashlib.sha256(json.dumps(index, sort_keys=True).encode())
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


# ------------------------------------------------------------------ reading
def load(path: str | Path, device: str = "cpu") -> tuple[Mome, Header]:
    """The network of malignancy in single precision, in evaluation mode, without gradients, and the file's header.

    Raises WeightsError for an altered file, for missing, unexpected or misshapen tensors, for values not finite.
    """
    file = weights_file(path)
    header = read_header(file)
    return read_networks(file, header, ["malignancy"], device)["malignancy"], header


def load_family(path: str | Path, device: str = "cpu") -> tuple[dict[TaskName, Mome], Header]:
    """The networks of all tasks in the file, malignancy first; otherwise as `load`.

    Tensors that are equal are one object: a further task costs the memory of what differs, without the backbone.
    """
    file = weights_file(path)
    header = read_header(file)
    return read_networks(file, header, list(header.tasks), device), header


def read_networks(path: Path, header: Header, tasks: list[TaskName], device: str) -> dict[TaskName, Mome]:
    from torch.nn import Parameter

    shapes, found = shapes_of(header.network), shapes_in(path)
    further = {f"{task}/{name}": shape for task in header.tasks for name, shape in shapes.items()}
    check_tensors(path.name, {**shapes, **{n: s for n, s in further.items() if n in found}}, found)
    for task, count in header.tasks.items():
        if task != "malignancy" and count != (there := sum(name.startswith(f"{task}/") for name in found)):
            raise WeightsError(f"{path.name} holds {there} tensors of the task {task}; it says that there are {count}.")
    first = {name: Parameter(read, requires_grad=False) for name, read in tensors_in(path, list(shapes), device)}
    networks: dict[TaskName, Mome] = {}
    for task in tasks:
        names = [f"{task}/{name}" for name in shapes if f"{task}/{name}" in found]
        own = {n.removeprefix(f"{task}/"): Parameter(read, False) for n, read in tensors_in(path, names, device)}
        networks[task] = assembled(header.network, first | own)
    return networks


def tensors_in(path: Path, names: list[str], device: str = "cpu") -> Iterator[tuple[str, Tensor]]:
    """Name and values in single precision of each; nothing of the file stays mapped. WeightsError if not finite."""
    import torch
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        for name in names:
            tensor = file.get_tensor(name).to(device, torch.float32, copy=True)
            if not is_finite(tensor):
                raise WeightsError(f"{path.name} holds values that are not numbers ({name}).")
            yield name, tensor


def is_finite(tensor: Tensor) -> bool:
    """No NaN and no infinity: both come through to the least or greatest value, which takes one pass and no memory."""
    least, greatest = tensor.aminmax()
    return math.isfinite(least) and math.isfinite(greatest)


def shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    """Raises WeightsError for a file that is cut short or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise WeightsError(f"{path.name} is cut short or damaged: {error}.") from error


def shapes_of(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that a file of such a network holds."""
    return {name: tuple(t.shape) for name, t in outline(config).state_dict().items() if not is_repeated(name, config)}


def outline(config: NetworkConfig) -> Mome:
    """The network without values and without memory."""
    import torch

    from .network import Mome

    with torch.device("meta"):
        return Mome(config)


def assembled(config: NetworkConfig, tensors: Mapping[str, Tensor]) -> Mome:
    """The network that consists of these very tensors, in evaluation mode, without gradients."""
    network = outline(config)
    names = {name: in_group_a(name) if is_repeated(name, config) else name for name in network.state_dict()}
    network.load_state_dict({name: tensors[stored] for name, stored in names.items()}, assign=True)
    return network.eval().requires_grad_(False)


def is_repeated(name: str, config: NetworkConfig) -> bool:
    """Whether this tensor is that of group A under another name: the backbone is shared."""
    from .network import is_backbone

    return config.shared_backbone and is_backbone(name) and in_group_a(name) != name


def in_group_a(name: str) -> str:
    """The name of the same tensor of group A (CLS and DCE), where the name has a group."""
    return GROUP_IN_NAME.sub(".A.", name, count=1)


def check_tensors(name: str, wanted: Shapes, found: Shapes, words: str = "") -> None:
    """Raises WeightsError that names the tensors that are missing, unexpected or of another shape.

    `words`: a sentence that says better than "does not fit" what `name` is.
    """
    missing, unexpected = tuple(sorted(wanted.keys() - found.keys())), tuple(sorted(found.keys() - wanted.keys()))
    misshapen = tuple(sorted(n for n in wanted.keys() & found.keys() if wanted[n] != found[n]))
    differ = [f"{n}: {found[n]}, wanted {wanted[n]}" for n in misshapen]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": differ}
    said = [f"{len(names)} {kind} ({first_of(names)})" for kind, names in kinds.items() if names]
    if said:
        message = f"{words or f'{name} does not fit its network.'} Tensors: {'; '.join(said)}."
        raise WeightsError(message, missing=missing, unexpected=unexpected, misshapen=misshapen)


def first_of(names: Collection[str]) -> str:
    further = len(names) - NAMED
    return ", ".join([*names][:NAMED]) + (f" and {further} more" if further > 0 else "")


# ------------------------------------------------------------------ of others
def import_reference(
    state_dict: Mapping[str, Any], *, sizes: Mapping[Sequence, Size] | None = None, copy: bool = True
) -> Mome:
    """The network of a checkpoint of the published code, `mome.importing.import_reference`."""
    from .importing import PAPER_SIZES
    from .importing import import_reference as imported

    return imported(state_dict, sizes=PAPER_SIZES if sizes is None else sizes, copy=copy)
