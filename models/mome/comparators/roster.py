"""The models of a comparison by name: what the tables call them, and what trains each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from .. import backbone
from ..config import SEQUENCES, NetworkConfig, Sequence
from ..network import Mome, is_backbone
from ..training import initialisation, start
from ..training.auxiliary import AuxiliaryHeads
from ..training.configuration import Configuration
from ..training.mome_objective import MomeObjective
from ..training.objective import Objective
from .ablations import plain_transformer, without_experts, without_soft_experts
from .configuration import SINGLES, Name
from .resnet_objective import ResNetHeads, ResNetObjective
from .resnets import ResNets, ResNetSizes

SEEN: Mapping[Name, tuple[Sequence, ...]] = {
    "resnet-dce": ("dce",),
    "resnet-dwi": ("dwi",),
    "resnet-t2": ("t2",),
    "feature-fusion": SEQUENCES,
}
"""Sequences of the ResNets."""
REDUCED: Mapping[Name, Callable[[NetworkConfig], Mome]] = {
    "plain-transformer": plain_transformer,
    "without-experts": without_experts,
    "without-soft-experts": without_soft_experts,
}
LABELS: Mapping[Name, str] = {
    "late-fusion": "Late fusion, mean",
    "stacked-fusion": "Late fusion, logistic regression",
    "feature-fusion": "Feature fusion",
    "plain-transformer": "Transformer without experts, joint attention",
    "mome": "MOME",
    "without-experts": "w/o MOME",
    "without-soft-experts": "w/o MOME-Soft",
    "without-pretraining": "w/o pretraining",
}
COMPARED: tuple[Name, ...] = (*SINGLES, "late-fusion", "stacked-fusion", "feature-fusion", "plain-transformer", "mome")
"""Rows of the table of comparison."""
ABLATED: tuple[Name, ...] = ("without-experts", "without-soft-experts", "without-pretraining")
"""Rows of the table of ablation, above those of MOME itself."""


def label(name: Name, sizes: ResNetSizes) -> str:
    """As the tables call it: "ResNet10-DCE"."""
    return f"ResNet{sizes.depth}-{name.removeprefix('resnet-').upper()}" if name in SINGLES else LABELS[name]


def objective(name: Name, config: Configuration, sizes: ResNetSizes, device: torch.device) -> Objective:
    """The model at its start, with the heads that the lessons of the training ask for."""
    torch.manual_seed(config.seed)
    if name in SEEN:
        network = ResNets(config.sizes, SEEN[name], sizes).to(device)
        return ResNetObjective(network, config.sizes, ResNetHeads(network).to(device) if asks_more(config) else None)
    if name in REDUCED:
        reduced = started(REDUCED[name](config.sizes), config).to(device)
        torch.manual_seed(config.seed)
        heads = AuxiliaryHeads(config.sizes).to(device) if asks_more(config) else None
        return MomeObjective(reduced, heads, drop_path=any(stage.drop_path for stage in config.stages))
    if name == "without-pretraining":
        config = config.model_copy(update={"start": config.start.model_copy(update={"backbone": None})})
    return start.objective(config, device)


def asks_more(config: Configuration) -> bool:
    """Whether a lesson asks for what was planted, beside the answer."""
    return any(lesson.needs_truth for stage in config.stages for lesson in stage.lessons)


def started(network: Mome, config: Configuration) -> Mome:
    """As `training.start.network_of` begins with MOME: a backbone from a file is frozen, else everything is trained."""
    begin = initialisation.demonstration if config.start.initialisation == "demonstration" else initialisation.published
    begin(network, config.seed)
    frozen = config.start.backbone is not None
    if config.start.backbone is not None:
        backbone.start_from(network, config.start.backbone)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not (frozen and is_backbone(name)))
    return network


def identity(name: Name, described: Mapping[str, Any], sizes: ResNetSizes) -> dict[str, Any]:
    """What makes a training this one, so that its state is found again; MOME's is that of `mome train`."""
    if name == "mome":
        return dict(described)
    return {**described, "model": name, **({"resnet": sizes.model_dump(mode="json")} if name in SEEN else {})}
