"""Weights as one safetensors file: tensors, both configurations and the model card; altered files are refused.

The card is read without torch, from the header alone. Beside `NAME.safetensors` may lie `NAME.safetensors.sha256`
(`sha256sum` writes it); where it does, a file with another hash is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import NetworkConfig, PreprocessingConfig, from_json

if TYPE_CHECKING:
    from .network import Mome

DEMONSTRATION_WEIGHTS = Path(__file__).parent / "weights" / "demonstration.safetensors"
MAX_HEADER_BYTES = 16 * 2**20
PARTS = ("network", "preprocessing", "card")


class WeightsError(ValueError):
    """A weights file that must not be used: altered, incomplete, or of another network."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a weights file says about itself. `card` holds `weights_sha256`, the hash of the file as it lies there."""

    network: NetworkConfig
    preprocessing: PreprocessingConfig
    card: dict[str, Any]


def sha256(path: Path) -> str:
    """Hash of the file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path) -> str:
    """The file's SHA-256; raises WeightsError where the hash noted beside it is another one, or no file is there."""
    if not path.is_file():
        raise WeightsError(f"There are no weights at {path}.")
    found, note = sha256(path), path.with_name(path.name + ".sha256")
    if note.exists():
        noted = (note.read_text(encoding="ascii").split() or [""])[0].lower()
        if noted != found:
            raise WeightsError(f"{path.name} was altered: its SHA-256 is {found}, {note.name} says {noted}.")
    return found


def read_header(path: Path) -> Header:
    """Configurations and card, without torch; raises WeightsError for an altered file or one of another kind."""
    digest = verify(path)
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 2 <= size <= MAX_HEADER_BYTES:
            raise WeightsError(f"{path.name} is not a safetensors file.")
        text = file.read(size)
    try:
        said = json.loads(text)["__metadata__"]
        network, preprocessing, card = (json.loads(said[part]) for part in PARTS)
        header = Header(from_json(NetworkConfig, network), from_json(PreprocessingConfig, preprocessing), card)
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path.name} holds no MOME weights: network, preprocessing or card is missing.") from error
    header.card["weights_sha256"] = digest
    return header


def read_card(path: Path) -> dict[str, Any]:
    """The model card, without torch; errors as `read_header`."""
    return read_header(path).card


def save(path: Path, network: Mome, preprocessing: PreprocessingConfig, card: Mapping[str, Any]) -> str:
    """Write tensors in half precision with everything that belongs to them, and the note of the hash; the hash."""
    import torch
    from safetensors.torch import save as serialised

    metadata = {
        "network": json.dumps(dataclasses.asdict(network.config), sort_keys=True),
        "preprocessing": json.dumps(dataclasses.asdict(preprocessing), sort_keys=True),
        "card": json.dumps(dict(card), sort_keys=True, ensure_ascii=False),
    }
    tensors = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in network.state_dict().items()}
    path.write_bytes(serialised(tensors, metadata))
    digest = sha256(path)
    path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n", encoding="ascii")
    return digest


def load(path: Path, device: str = "cpu") -> tuple[Mome, Header]:
    """The network in single precision, in evaluation mode, without gradients, and its header.

    Raises WeightsError for an altered file, for missing, unexpected or misshapen tensors, for values not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load as deserialised

    from .network import Mome

    header = read_header(path)
    try:
        tensors = deserialised(path.read_bytes())
    except SafetensorError as error:
        raise WeightsError(f"{path.name} is cut short or damaged: {error}.") from error
    with torch.device("meta"):
        network = Mome(header.network)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    check_tensors(path.name, wanted, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise WeightsError(f"{path.name} holds values that are not numbers.")
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    return network.to(device).eval().requires_grad_(False), header


def check_tensors(name: str, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> None:
    """Raises WeightsError that names the first tensors that are missing, unexpected or of another shape."""
    problems = {
        "missing": sorted(wanted.keys() - found.keys()),
        "unexpected": sorted(found.keys() - wanted.keys()),
        "of another shape": sorted(n for n in wanted.keys() & found.keys() if wanted[n] != found[n]),
    }
    said = [f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in problems.items() if names]
    if said:
        raise WeightsError(f"{name} does not fit its network; tensors {'; '.join(said)}.")
