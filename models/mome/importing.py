"""Networks of the published code: checkpoints of 926 tensors, with three copies of the backbone, brought in exactly.

The published loader prints what does not fit and goes on with random weights in its place; here nothing is left over
and nothing is made up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import weights
from .card import imported_card
from .checkpoints import layout, named, read_checkpoint, shapes, single, unwrapped
from .config import PAPER_PREPROCESSING, SEQUENCES, NetworkConfig, Sequence, Size
from .network import Mome, is_backbone
from .tasks import TASKS, TaskName
from .weights import Shapes, WeightsError, assembled, check_tensors, in_group_a, shapes_of

PAPER_SIZES: Mapping[Sequence, Size] = {sequence: NetworkConfig().canvas(sequence) for sequence in SEQUENCES}
SUBTYPES = 4  # classes of the published subtyping networks


def import_reference(
    state_dict: Mapping[str, Any], *, sizes: Mapping[Sequence, Size] = PAPER_SIZES, copy: bool = True
) -> Mome:
    """The network of a published checkpoint: its state dictionary, also inside what was saved around it.

    `sizes`: canvas (W, H, D) of each sequence, multiples of 16; a sequence left out has the paper's. Where the copies
    B and C of the backbone equal A, or are not there, the network holds the backbone once; else three times. Float
    tensors of any width become single precision. Without `copy`, those that are it already are used as they are: what
    then changes them changes the network. In evaluation mode, without gradients. Raises WeightsError that names what is
    missing, unexpected, misshapen or not finite, and for sizes that mean nothing.
    """
    tensors, config = unwrapped(state_dict), reference_config(sizes)
    copies = {name for name in tensors if is_backbone(name) and in_group_a(name) != name}
    wanted = shapes_of(dataclasses.replace(config, shared_backbone=not copies))
    check_tensors("The checkpoint", wanted, shapes(tensors), what_else(tensors, config))
    numbers = {name: single(name, tensor) for name, tensor in tensors.items()}
    tied = all(torch.equal(numbers[name], numbers[in_group_a(name)]) for name in copies)
    if tied:
        numbers = {name: tensor for name, tensor in numbers.items() if name not in copies}
    if copy:
        numbers = {name: n.clone() if n.data_ptr() == tensors[name].data_ptr() else n for name, n in numbers.items()}
    return assembled(dataclasses.replace(config, shared_backbone=tied), numbers)


def reference_config(sizes: Mapping[Sequence, Size]) -> NetworkConfig:
    """The paper's network for other canvases. Raises WeightsError for sizes that the tokenizers do not divide."""
    canvas = {**PAPER_SIZES, **sizes} if isinstance(sizes, Mapping) else {}
    if canvas.keys() != PAPER_SIZES.keys() or not all(is_canvas(size) for size in canvas.values()):
        raise WeightsError(f"Sizes of {', '.join(SEQUENCES)} are three multiples of 16 each, not {sizes}.")
    dce, dwi, t2 = ((w, h, d) for w, h, d in (canvas[sequence] for sequence in SEQUENCES))
    return NetworkConfig(dce_canvas=dce, dwi_canvas=dwi, t2_canvas=t2)


def is_canvas(size: object) -> bool:
    lengths: Collection[object] = size if isinstance(size, tuple | list) else ()
    return len(lengths) == 3 and all(isinstance(n, int) and n >= 16 and n % 16 == 0 for n in lengths)


def what_else(tensors: Mapping[str, Tensor], config: NetworkConfig) -> str:
    """In words, what is mistaken for MOME most easily; empty where nothing of that is known."""
    known, found = layout(tensors), shapes(tensors)
    classes, width = found.get("head.weight", (2,))[:1], found.get("fc_norm.weight", (config.dim,))
    if known in ("beit3", "timm"):
        return "The checkpoint is the foundation model BEiT-3, not MOME: it can be the backbone of a training."
    if known is None:
        return f"The checkpoint is not of MOME: its {len(tensors)} tensors are {', '.join([*tensors][:3])} ..."
    if classes == (SUBTYPES,):
        return (
            "The checkpoint has four classes: it is of the molecular subtypes. Networks with two are run here: "
            "malignancy, triple-negative, complete response."
        )
    if "beit3.dce_embed.stem.1.weight" in tensors:
        return "The checkpoint has tokenizers with BatchNorm; the paper's, with InstanceNorm, are run here."
    if width != (config.dim,):
        return f"The checkpoint is of width {width[0] if width else 0}, the paper's network of {config.dim}."
    return other_sizes(found, config)


def other_sizes(found: Shapes, config: NetworkConfig) -> str:
    """Sequences whose table of positions belongs to another canvas, and how to give the right one."""
    said, options = [], []
    for sequence, group in zip(SEQUENCES, "ABC", strict=True):
        rows = config.tokens(sequence) + (2 if group == "A" else 0)
        there = found.get(f"beit3.encoder.embed_positions.{group}.weight", (rows,))[:1]
        if there != (rows,):
            size = " x ".join(map(str, config.canvas(sequence)))
            here = there[0] if there else 0
            said.append(f"{sequence.upper()} of {size} has {rows} positions, the table in the checkpoint {here}")
            options.append(f"--{sequence} WxHxD")
    if not said:
        return ""
    return (
        f"The checkpoint was trained at another size: {'; '.join(said)}. Say which: {' '.join(options)} of "
        "`mome weights import`, `sizes` of import_reference."
    )


# ------------------------------------------------------------------ files
def import_files(sources: Mapping[TaskName, Path], out: Path, *, sizes: Mapping[Sequence, Size] = PAPER_SIZES) -> str:
    """Write `out` from published checkpoints, one for each task, malignancy among them; the SHA-256 of `out`.

    Single precision, so that the logits stay those of the checkpoint. `sizes` as of `import_reference`, for all; the
    preprocessing in `out` is the paper's with these canvases. Raises WeightsError that begins with the name of the file
    at fault.
    """
    config = reference_config(sizes)
    preprocessing = dataclasses.replace(
        PAPER_PREPROCESSING, dce_canvas=config.dce_canvas, dwi_canvas=config.dwi_canvas, t2_canvas=config.t2_canvas
    )
    networks = {task: import_file(sources[task], sizes) for task in TASKS if task in sources}
    shared = all(network.config.shared_backbone for network in networks.values())
    if not shared:
        networks = {task: apart(network) for task, network in networks.items()}
    origin = {task: {"file": sources[task].name, "sha256": weights.sha256(sources[task])} for task in networks}
    return weights.save(out, networks, preprocessing, imported_card(preprocessing, origin), dtype="float32")


def import_file(path: Path, sizes: Mapping[Sequence, Size] = PAPER_SIZES) -> Mome:
    """The network of one checkpoint file; its tensors stay mapped to the file."""
    with named(path):
        return import_reference(read_checkpoint(path), sizes=sizes, copy=False)


def apart(network: Mome) -> Mome:
    """The same network, said to have three backbones: networks of one file have one configuration."""
    return assembled(dataclasses.replace(network.config, shared_backbone=False), network.state_dict())
