"""Networks of the published code: checkpoints of 926 tensors, with three copies of the backbone, brought in exactly.

The published loader prints what does not fit and goes on with random weights in its place; here nothing is left over
and nothing is made up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import weights
from .card import imported_card
from .checkpoints import layout, read_checkpoint, shapes, single, unwrapped
from .config import PAPER_PREPROCESSING, SEQUENCES, NetworkConfig, Sequence, Size
from .network import Mome, is_backbone
from .tasks import TASKS, TaskName
from .weights import WeightsError, assembled, check_tensors, in_group_a, shapes_of

PAPER_SIZES: Mapping[Sequence, Size] = {sequence: NetworkConfig().canvas(sequence) for sequence in SEQUENCES}
SUBTYPES = 4  # classes of the published subtyping networks


def import_reference(state_dict: Mapping[str, Any], *, sizes: Mapping[Sequence, Size] = PAPER_SIZES) -> Mome:
    """The network of a published checkpoint: its state dictionary, also inside what was saved around it.

    `sizes`: canvas (W, H, D) of each sequence, multiples of 16; a sequence left out has the paper's. Where the copies
    B and C of the backbone equal A, or are not there, the network holds the backbone once; else three times. Float
    tensors of any width become single precision; those that are it already are used, not copied. In evaluation mode,
    without gradients. Raises WeightsError that names what is missing, unexpected, misshapen or not finite.
    """
    tensors, config = unwrapped(state_dict), reference_config(sizes)
    refuse_others(tensors, config)
    copies = [name for name in tensors if is_backbone(name) and in_group_a(name) != name]
    wanted = shapes_of(dataclasses.replace(config, shared_backbone=not copies))
    check_tensors("The checkpoint", wanted, shapes(tensors))
    numbers = {name: single(name, tensor) for name, tensor in tensors.items()}
    tied = all(torch.equal(numbers[name], numbers[in_group_a(name)]) for name in copies)
    return assembled(dataclasses.replace(config, shared_backbone=tied), numbers)


def reference_config(sizes: Mapping[Sequence, Size]) -> NetworkConfig:
    """The paper's network for other canvases. Raises ValueError for sizes that the tokenizers do not divide."""
    canvas: dict[Sequence, Size] = {**PAPER_SIZES, **{s: (w, h, d) for s, (w, h, d) in sizes.items()}}
    if canvas.keys() != PAPER_SIZES.keys() or any(n < 16 or n % 16 for size in canvas.values() for n in size):
        raise ValueError(f"Sizes of {', '.join(SEQUENCES)} are three multiples of 16 each, not {dict(sizes)}.")
    return NetworkConfig(dce_canvas=canvas["dce"], dwi_canvas=canvas["dwi"], t2_canvas=canvas["t2"])


def refuse_others(tensors: Mapping[str, Tensor], config: NetworkConfig) -> None:
    """WeightsError in words for what is mistaken for MOME most easily; the exact check of all tensors comes after."""
    known = layout(tensors)
    if known in ("beit3", "timm"):
        raise WeightsError(
            "The checkpoint is the foundation model BEiT-3, not MOME: it can be the backbone of a training."
        )
    if known is None:
        raise WeightsError(
            f"The checkpoint is not of MOME: its {len(tensors)} tensors are {', '.join([*tensors][:3])} ..."
        )
    found = shapes(tensors)
    classes = found.get("head.weight", (2,))[:1]
    if classes == (SUBTYPES,):
        raise WeightsError(
            "The checkpoint has four classes: it is of the molecular subtypes. Networks with two are run here: "
            "malignancy, triple-negative, complete response."
        )
    if "beit3.dce_embed.stem.1.weight" in tensors:
        raise WeightsError(
            "The checkpoint has tokenizers with BatchNorm; the paper's, with InstanceNorm, are run here."
        )
    width = found.get("fc_norm.weight", (config.dim,))
    if width != (config.dim,):
        raise WeightsError(
            f"The checkpoint is of width {width[0] if width else 0}, the paper's network of {config.dim}."
        )
    for sequence, group in zip(SEQUENCES, "ABC", strict=True):
        rows = config.tokens(sequence) + (2 if group == "A" else 0)
        there = found.get(f"beit3.encoder.embed_positions.{group}.weight", (rows,))[:1]
        if there != (rows,):
            size = " x ".join(map(str, config.canvas(sequence)))
            raise WeightsError(
                f"The checkpoint was trained at another size: {sequence.upper()} of {size} has {rows} positions, the "
                f"table in the checkpoint {there[0] if there else 0}."
            )


# ------------------------------------------------------------------ files
def import_files(sources: Mapping[TaskName, Path], out: Path) -> str:
    """Write `out` from published checkpoints, one for each task, malignancy among them; the SHA-256 of `out`.

    Single precision, so that the logits stay those of the checkpoint. Raises WeightsError that begins with the name of
    the file at fault.
    """
    networks = {task: import_file(sources[task]) for task in TASKS if task in sources}
    shared = all(network.config.shared_backbone for network in networks.values())
    if not shared:
        networks = {task: apart(network) for task, network in networks.items()}
    origin = {task: {"file": sources[task].name, "sha256": weights.sha256(sources[task])} for task in networks}
    card = imported_card(PAPER_PREPROCESSING, origin)
    return weights.save(out, networks, PAPER_PREPROCESSING, card, dtype="float32")


def import_file(path: Path) -> Mome:
    """The network of one checkpoint file; its tensors stay mapped to the file."""
    try:
        return import_reference(read_checkpoint(path))
    except WeightsError as error:
        raise WeightsError(str(error).replace("The checkpoint", path.name, 1)) from error


def apart(network: Mome) -> Mome:
    """The same network, said to have three backbones: networks of one file have one configuration."""
    return assembled(dataclasses.replace(network.config, shared_backbone=False), network.state_dict())
