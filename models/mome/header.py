"""The header of a weights file: configurations and model card, read without torch; altered files are refused.

A path given as weights is a `.safetensors` file, a model folder (`mome.bundle`) or the archive of one. Beside a file
may lie its hash, `NAME.safetensors.sha256` (`sha256sum` writes it); where it does, a file with another hash is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from .config import SEQUENCES, NetworkConfig, PreprocessingConfig, from_json
from .tasks import TASKS, TaskName

MAX_HEADER_BYTES = 16 * 2**20
METADATA = "mome"  # the entry of the header that holds configurations and card
MODEL, BACKBONE = "model", "backbone"  # kinds of files
ARCHIVE = ".zip"  # a path that ends so is the archive of a model folder
Names: TypeAlias = tuple[str, ...]


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


def weights_file(path: str | Path) -> Path:
    """The safetensors file that is meant: of a model folder or its archive, whose every file is checked, or the path.

    Raises WeightsError where such a folder was altered. A file is not looked at.
    """
    path = Path(path)
    if path.is_dir() or (path.suffix == ARCHIVE and path.is_file()):
        from .bundle import open_folder

        return open_folder(path).weights
    return path


def verify(path: str | Path) -> str:
    """SHA-256 of the weights file; raises WeightsError where the hash noted beside it, or any file of its folder, is
    another one, or no file is there."""
    path = weights_file(path)
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
    file = weights_file(path)
    return metadata_of(file, verify(file))


def metadata_of(path: Path, digest: str) -> dict[str, Any]:
    """What the header of a file says, with the file's hash entered in its card; otherwise as `read_metadata`."""
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
    path = weights_file(path)
    return header_of(read_metadata(path), path.name)


def header_of(said: Mapping[str, Any], name: str) -> Header:
    """From what the header of the file `name` says; raises WeightsError as `read_header`."""
    if said.get("kind", MODEL) == BACKBONE:
        raise WeightsError(
            f"{name} holds only the frozen backbone and no trained network: train first, starting from it, then "
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
        raise WeightsError(f"{name} is of another version: its network or preprocessing is unknown.") from error
    if disagreement := disagreement_of(header.network, header.preprocessing):
        raise WeightsError(f"{name} contradicts itself: {disagreement}.")
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
