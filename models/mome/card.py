"""Model cards: what weights are, what they have seen, for what they must not be used."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from .config import PreprocessingConfig
from .tasks import MALIGNANCY, TASKS, TaskName

VERSION = "0.1.0"
STATUS = "demonstration weights, trained on synthetic phantoms, not for clinical use"
IMPORTED = "imported weights, preprocessing unverified, not evaluated; not for clinical use"

CONTRAST_LIMITS = {
    "enhancement_p99": {"low": 1.0},
    "enhancement_asymmetry": {"low": 2.5},
    "enhancement_median": {"high": 0.5},
}
"""Of the node's measures of enhancement: 0.4 of the smallest value of 60 synthetic exams, three times the largest.

Contrast that did not arrive, exchanged phases, a subtraction in place of the pre-contrast phase each break one of them.
"""
IMPORTED_LIMITS = {**CONTRAST_LIMITS, "phases": {"low": 5.0, "high": 7.0}}
"""The paper trained on one pre-contrast phase and six others (DS1), or five phases in all or after contrast (DS2, DS3).

An exam with another number is scored and marked; how long the phases last, the paper does not say for all centres."""
QUALITY_LIMITS = {
    **CONTRAST_LIMITS,
    "motion_mm": {"high": 2.0},
    "fat_signal": {"high": 0.65},
    "fat_unevenness": {"high": 1.4},
    "mask_volume_ml": {"low": 250.0, "high": 2500.0},
    "mask_fraction": {"low": 0.02, "high": 0.25},
    "canvas_scale": {"low": 0.8},
    "phases": {"low": 5.0, "high": 8.0},
}
"""A little beyond what 60 synthetic training exams show; docs/synthetic-phantoms.md has the table."""

ROLES = [
    {"name": "dce", "kind": "mr-dynamic", "select": "dce", "required": True},
    {"name": "dwi", "kind": "mr-volume", "select": "dwi", "required": False},
    {"name": "t2", "kind": "mr-volume", "select": "t2", "required": False},
]


def demonstration_card(
    preprocessing: PreprocessingConfig,
    operating_points: Sequence[dict[str, Any]],
    *,
    single: int,
    several: int,
    evaluated: int,
    recipe: dict[str, Any],
) -> dict[str, Any]:
    """JSON-ready; `single` and `several` count training phantoms with one and with six lesions, `evaluated` those of
    the tuning cohort. Keys of the evaluated range are facts of an exam: {"min", "max"} or {"values"}."""
    return {
        "name": "MOME",
        "version": VERSION,
        "status": STATUS,
        "trained_on": (
            f"{single + several} synthetic phantoms ({single} with one lesion, {several} with six). "
            "Lesion masks and the planted attributes (kinetics, morphology, diffusion, T2) were auxiliary targets of "
            "the training."
        ),
        "evaluated_on_patients": False,
        "roles": ROLES,
        "targets": [MALIGNANCY.target()],
        "preprocessing": {**dataclasses.asdict(preprocessing), "hash": preprocessing.hash()},
        "operating_points": list(operating_points),
        "evaluated_range": {
            "vendor": {"values": ["mome-node synthetic phantom"]},
            "field_strength_t": {"values": [1.5]},
            "plane": {"values": ["axial"]},
            "laterality": {"values": ["bilateral"]},
            "phases": {"min": 5, "max": 8},
            "last_phase_seconds": {"min": 370.0, "max": 410.0},
            "b_value": {"values": [800]},
            "age": None,
            "n": evaluated,
            "note": "Synthetic phantoms: they have no field strength and no age; 1.5 is what their DICOM header says.",
        },
        "quality_limits": QUALITY_LIMITS,
        "limits_of_use": [
            "Demonstration weights: the score says nothing about a patient.",
            "Trained and evaluated on synthetic phantoms only.",
            "The score is of the whole exam; it names no side and no place, and it is not a probability.",
            "Not evaluated for extent, lymph nodes, implants, treated breasts or response to therapy.",
        ],
        "recipe": recipe,
    }


def imported_card(preprocessing: PreprocessingConfig, origin: Mapping[TaskName, Mapping[str, str]]) -> dict[str, Any]:
    """Of weights that came from elsewhere; `origin`: file name and SHA-256 of the checkpoint of each task.

    Nothing is claimed: no operating point, no evaluated range, so every advice is withheld. That contrast arrived is
    demanded of any exam.
    """
    tasks = [task for name, task in TASKS.items() if name in origin]
    return {
        "name": "MOME",
        "version": f"imported {origin['malignancy']['sha256'][:12]}",
        "status": IMPORTED,
        "trained_on": "Not known to this software: the checkpoint does not say it.",
        "origin": {name: dict(source) for name, source in origin.items()},
        "evaluated_on_patients": False,
        "roles": ROLES,
        "targets": [task.target() for task in tasks],
        "preprocessing": {**dataclasses.asdict(preprocessing), "hash": preprocessing.hash()},
        "operating_points": [],
        "evaluated_range": {},
        "quality_limits": IMPORTED_LIMITS,
        "limits_of_use": [
            "Imported weights: what they were trained on is as their source says, and was not checked.",
            "The preprocessing is rebuilt from the words of the paper; it was not compared with that of the training.",
            "The score is of the whole exam; it names no side and no place, and it is not a probability.",
            *(f"{task.in_the_paper}: asked of {task.asked_of}." for task in tasks if task is not MALIGNANCY),
        ],
    }


def backbone_card(origin: Mapping[str, str]) -> dict[str, Any]:
    """Of a backbone file; `origin`: file name and SHA-256 of the checkpoint."""
    return {
        "name": "BEiT-3 base, vision branch",
        "status": "frozen backbone for the training of MOME; not a model of breast MRI",
        "trained_on": "As its source says: images and text of general content, not breast MRI.",
        "origin": dict(origin),
    }
