"""The configuration files of a model folder, each made from the header of its weights and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from ..config import SEQUENCES, Sequence
from ..header import Header
from ..tasks import TASKS, Task

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
PAPER = (
    "Luo et al. A large model for non-invasive and personalized management of breast cancer from multiparametric MRI. "
    "Nature Communications 16:3647 (2025)."
)
IN_WORDS: Mapping[Sequence, str] = {
    "dce": "dynamic contrast-enhanced MRI, subtractions of the pre-contrast phase",
    "dwi": "diffusion-weighted MRI",
    "t2": "T2-weighted MRI",
}
INPUTS: Mapping[Sequence, str] = {"dce": "image", "dwi": "dwi", "t2": "t2"}
"""Names in `network_data_format`: MONAI's checks give the network one input, "image"; the DCE alone is one that it
takes."""
METADATA = "configs/metadata.json"
BINDING = ("name", "version", "network_data_format")
"""Members of `metadata.json` that must be what the header says; others are words, or versions of libraries on the
machine that wrote the folder, and a later release may choose other ones."""


def documents(said: Mapping[str, Any], header: Header) -> dict[str, Any]:
    """JSON by file name, from what the header says, as it stands there and as it was understood."""
    return {
        METADATA: metadata(header),
        "configs/inference.json": inference(),
        **stated(said, header),
    }


def stated(said: Mapping[str, Any], header: Header) -> dict[str, Any]:
    """The files that repeat the header."""
    return {
        "configs/network.json": dict(said["network"]),
        "configs/preprocessing.json": dict(said["preprocessing"]),
        "configs/labels.json": labels(header),
        "configs/card.json": card_of(header),
    }


def card_of(header: Header) -> dict[str, Any]:
    """The card as it stands in the header: without the hash, which a file cannot hold of itself."""
    return {name: value for name, value in header.card.items() if name != "weights_sha256"}


def tasks_of(header: Header) -> list[Task]:
    return [TASKS[name] for name in header.tasks]


def labels(header: Header) -> dict[str, Any]:
    """What the classes of each task mean: index of the network's output by name, the coded concept, of whom asked."""
    return {
        task.name: {
            "classes": {"0": task.negative_label, "1": task.positive_label},
            "score": f"softmax of class 1, {task.positive_label}",
            "code": dict(zip(("value", "scheme", "meaning"), task.code, strict=True)),
            "scope": "patient",
            "asked_of": task.asked_of,
        }
        for task in tasks_of(header)
    }


def metadata(header: Header) -> dict[str, Any]:
    """MONAI's `metadata.json`; its schema demands the versions and descriptions."""
    card, tasks = card_of(header), tasks_of(header)
    asked = "; ".join(task.in_the_paper for task in tasks)
    evaluations = card.get("evaluations", [])
    return {
        "schema": SCHEMA,
        "version": str(card.get("version", "0")),
        "changelog": {str(card.get("version", "0")): str(card.get("status", ""))},
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {"mome-node": version("mome-node"), "safetensors": version("safetensors")},
        "name": str(card.get("name", "MOME")),
        "task": f"Breast MRI: {asked}",
        "description": f"MOME, a mixture of modality experts for multiparametric breast MRI. {card.get('status', '')}.",
        "authors": "The network is described by Luo et al. (2025); this folder was written by mome-node",
        "copyright": "As the weights' source says",
        "data_source": str(card.get("trained_on", "")),
        "data_type": "volumes prepared by mome-node from DICOM",
        "image_classes": "; ".join(IN_WORDS.values()),
        "label_classes": "; ".join(f"{t.name}: 0 {t.negative_label}, 1 {t.positive_label}" for t in tasks),
        "pred_classes": f"two logits of the whole exam; index 1: {tasks[0].positive_label}",
        "eval_metrics": {e["cohort"]: {"n": e["n"], "auroc": e["auroc"]["estimate"]} for e in evaluations},
        "intended_use": intended_use(card),
        "references": [PAPER],
        "network_data_format": network_data_format(header),
    }


def intended_use(card: Mapping[str, Any]) -> str:
    """Whatever the card says, this is research software."""
    who = "Research. Not for clinical use."
    return " ".join([who, *card.get("limits_of_use", [])])


def network_data_format(header: Header) -> dict[str, Any]:
    """The three inputs, of which any may be missing but one, and the output."""
    config, clip = header.network, header.preprocessing.clip
    inputs = {}
    for sequence in SEQUENCES:
        channels = config.channels(sequence)
        inputs[INPUTS[sequence]] = {
            "type": "image",
            "format": "magnitude",
            "modality": "MR",
            "num_channels": channels,
            "spatial_shape": list(config.canvas(sequence)),
            "dtype": "float32",
            "value_range": [] if clip is None else [-clip, clip],
            "is_patch_data": False,
            "channel_def": {
                str(c): IN_WORDS[sequence] + (f", {c + 1} of {channels} in the order of time" if channels > 1 else "")
                for c in range(channels)
            },
        }
    first = tasks_of(header)[0]
    output = {
        "type": "probabilities",
        "format": "classes",
        "num_channels": 2,
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {"0": first.negative_label, "1": first.positive_label},
    }
    return {"inputs": inputs, "outputs": {"pred": output}}


def inference() -> dict[str, Any]:
    """For `monai.bundle`: `network_def` is the network of malignancy; `run` scores the cohort in `dataset_dir`.

    The network is opened through the folder, so that one that was altered is refused here, too.
    """
    return {
        "imports": [
            *("$import json", "$import pathlib", "$import torch"),
            *("$from mome.bundle.scoring import network", "$from mome.bundle.scoring import scores"),
        ],
        "bundle_root": ".",
        "dataset_dir": "cohort",
        "output_file": "scores.json",
        "device": "$'cuda' if torch.cuda.is_available() else 'cpu'",
        "network_def": "$network(@bundle_root, @device)",
        "scores": "$scores(@network_def, @dataset_dir)",
        "run": ["$pathlib.Path(@output_file).write_text(json.dumps(@scores, indent=1))"],
    }


def differences(said: Mapping[str, Any], header: Header, found: Mapping[str, Any]) -> list[str]:
    """Where files of a folder (JSON by name) say something else than the header: "file: members"."""
    of_header = metadata(header)
    wanted = {METADATA: {name: of_header[name] for name in BINDING}, **stated(said, header)}
    told = []
    for name, there in ((name, found.get(name)) for name in wanted):
        if not isinstance(there, dict):
            told.append(f"{name}: not there")
            continue
        compared = BINDING if name == METADATA else sorted(wanted[name].keys() | there.keys())
        if members := [member for member in compared if wanted[name].get(member) != there.get(member)]:
            told.append(f"{name}: {', '.join(members)}")
    return told
