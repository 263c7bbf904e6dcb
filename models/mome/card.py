"""The card of the demonstration weights: what they are, what they have seen, for what they must not be used."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from .config import PreprocessingConfig

VERSION = "0.1.0"
STATUS = "demonstration weights, trained on synthetic phantoms, not for clinical use"

QUALITY_LIMITS = {"enhancement_p99": {"low": 1.0}, "enhancement_asymmetry": {"low": 2.5}}
"""Of the node's measures of enhancement: 0.4 of the smallest value of 80 synthetic exams (2.48 and 6.1).

The same exams with pre-contrast and first post-contrast phase exchanged, or with a second post-contrast phase in place
of the pre-contrast one, reach at most 0.57 and 1.5.
"""


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
        "roles": [
            {"name": "dce", "kind": "mr-dynamic", "select": "dce", "required": True},
            {"name": "dwi", "kind": "mr-volume", "select": "dwi", "required": False},
            {"name": "t2", "kind": "mr-volume", "select": "t2", "required": False},
        ],
        "targets": [
            {
                "name": "malignancy",
                "code": ["111047", "DCM", "Probability of cancer"],
                "scope": "patient",
                "positive_label": "malignant",
            }
        ],
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
