"""Weights as one safetensors file: tensors, both configurations and the model card; altered files are refused.

The card is read without torch, from the header alone. Beside `NAME.safetensors` may lie `NAME.safetensors.sha256`
(`sha256sum` writes it); where it does, a file with another hash is refused.

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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .config import SEQUENCES, NetworkConfig, PreprocessingConfig, Sequence, Size, from_json
from .tasks import TASKS, TaskName

if TYPE_CHECKING:
    from torch import Tensor

    from .network import Mome

DEMONSTRATION_WEIGHTS = Path(__file__).parent / "weights" / "demonstration.safetensors"
MAX_HEADER_BYTES = 16 * 2**20
METADATA = "mome"  # the entry of the header that holds configurations and card
MODEL, BACKBONE = "model", "backbone"  # kinds of files
GROUP_IN_NAME = re.compile(r"\.[ABC]\.")
Dtype: TypeAlias = Literal["float16", "float32"]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
Names: TypeAlias = tuple[str, ...]
NAMED = 10  # tensors of each kind that a message names


class WeightsError(ValueError):
    """A weights file that must not be used: altered, incomplete, or of another network.

    `missing`, `unexpected` and `misshapen` name all tensors that do not fit; the message names the first of them.
    """

    def __init__(self, message: str, *, missing: Names = (), unexpected: Names = (), misshapen: Names = ()) -> None:
        super().__init__(message)
        self.missing, self.unexpected, self.misshapen = missing, unexpected, misshapen

    def of(self, file: str) -> WeightsError:
        """The same about a file, which is named where the message says "The checkpoint"."""
        message = str(self).replace("The checkpoint", file)
        return WeightsError(message, missing=self.missing, unexpected=self.unexpected, misshapen=self.misshapen)


@dataclass(frozen=True, slots=True)
class Header:
    """What a weights file says about itself. `card` holds `weights_sha256`, the hash of the file as it lies there."""

    network: NetworkConfig
    preprocessing: PreprocessingConfig
    card: dict[str, Any]
    tasks: Mapping[TaskName, int]  # malignancy first; of each, the number of tensors that are its own


# ------------------------------------------------------------------ without torch
def sha256(path: Path) -> str:
    """Hash of the file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: str | Path) -> str:
    """The file's SHA-256; raises WeightsError where the hash noted beside it is another one, or no file is there."""
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"There are no weights at {path}.")
    found, note = sha256(path), note_of(path)
    if note.exists():
        noted = (note.read_text(encoding="ascii", errors="replace").split() or [""])[0].lower()
        if noted != found:
            raise WeightsError(f"{path.name} was altered: its SHA-256 is {found}, {note.name} says {noted}.")
    return found


def note_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def read_metadata(path: str | Path) -> dict[str, Any]:
    """What the header says, of every kind of file; raises WeightsError for an altered file or a foreign one."""
    path = Path(path)
    digest = verify(path)
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 2 <= size <= MAX_HEADER_BYTES:
            raise WeightsError(f"{path.name} is not a safetensors file.")
        text = file.read(size)
    try:
        entries = dict(json.loads(text)["__metadata__"])
        if METADATA in entries:
            said: dict[str, Any] = json.loads(entries[METADATA])
        else:  # version 0.1 wrote the parts by themselves
            said = {part: json.loads(value) for part, value in entries.items()}
        said["card"]["weights_sha256"] = digest
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path.name} was not written by this software: it has no model card. Weights of the published code and "
            "of BEiT-3 are brought in with `mome weights import`."
        ) from error
    return said


def read_header(path: str | Path) -> Header:
    """Configurations and card of networks, without torch; raises WeightsError for any other or an altered file."""
    path = Path(path)
    said = read_metadata(path)
    if said.get("kind", MODEL) == BACKBONE:
        raise WeightsError(
            f"{path.name} holds only the frozen backbone and no trained network: train first, starting from it, then "
            "use the file that the training writes."
        )
    try:
        tasks = said.get("tasks", {"malignancy": 0})
        header = Header(
            network=from_json(NetworkConfig, {"shared_backbone": False} | said["network"]),  # older files do not say
            preprocessing=from_json(PreprocessingConfig, said["preprocessing"]),
            card=said["card"],
            tasks={task: int(tasks[task]) for task in TASKS if task in tasks},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path.name} is of another version: its network or preprocessing is unknown.") from error
    if disagreement := disagreement_of(header.network, header.preprocessing):
        raise WeightsError(f"{path.name} contradicts itself: {disagreement}.")
    return header


def disagreement_of(network: NetworkConfig, preprocessing: PreprocessingConfig) -> str:
    """Where the preprocessing makes other volumes than the network takes; empty where they agree."""
    sizes = {f"{s}_canvas": (network.canvas(s), preprocessing.canvas(s)) for s in SEQUENCES}
    there = {**sizes, "channels of the DCE": (network.dce_channels, preprocessing.channels)}
    return "; ".join(
        f"{name} of the network {wanted}, of the preprocessing {made}"
        for name, (wanted, made) in there.items()
        if wanted != made
    )


def read_card(path: str | Path) -> dict[str, Any]:
    """The card, also that of a backbone, without torch; errors as `read_metadata`."""
    card: dict[str, Any] = read_metadata(path)["card"]
    return card


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


# ------------------------------------------------------------------ reading
def load(path: str | Path, device: str = "cpu") -> tuple[Mome, Header]:
    """The network of malignancy in single precision, in evaluation mode, without gradients, and the file's header.

    Raises WeightsError for an altered file, for missing, unexpected or misshapen tensors, for values not finite.
    """
    header = read_header(path)
    return read_networks(Path(path), header, ["malignancy"], device)["malignancy"], header


def load_family(path: str | Path, device: str = "cpu") -> tuple[dict[TaskName, Mome], Header]:
    """The networks of all tasks in the file, malignancy first; otherwise as `load`.

    Tensors that are equal are one object: a further task costs the memory of what differs, without the backbone.
    """
    header = read_header(path)
    return read_networks(Path(path), header, list(header.tasks), device), header


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
