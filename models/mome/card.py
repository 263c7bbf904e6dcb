"""Model cards: what weights are, what they have seen, for what they must not be used."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import distributions
from .config import PreprocessingConfig
from .distributions import Groups, Values
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

SUSPECT: Mapping[str, Literal["low", "high", "both"]] = {
    "motion_mm": "high",
    "fat_signal": "high",
    "fat_unevenness": "high",
    "mask_volume_ml": "both",
    "mask_fraction": "both",
    "canvas_scale": "low",
}
"""Measures whose limits follow from a cohort, and the side on which an exam is in doubt."""

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


# ------------------------------------------------------------------ what a cohort brings
def limits_from(quality: Mapping[str, npt.ArrayLike]) -> dict[str, dict[str, float]]:
    """Limits of quality a little beyond what a cohort shows; `quality`: values (N,) of each measure.

    A limit lies beyond the 1st or 99th percentile as far as that one lies from the median, and by a tenth of the median
    at least. The phases are those of the cohort, none beyond. `CONTRAST_LIMITS` stay as they are: they tell a
    dynamic from none, which no cohort of good exams can show.
    """
    limits: dict[str, dict[str, float]] = {name: dict(limit) for name, limit in CONTRAST_LIMITS.items()}
    for name, values in quality.items():
        known = np.asarray(values, float)
        known = known[np.isfinite(known)]
        if not len(known):
            continue
        if name == "phases":
            limits[name] = {"low": float(known.min()), "high": float(known.max())}
        elif name in SUSPECT:
            low, middle, high = np.percentile(known, (1, 50, 99))
            least = 0.1 * abs(middle)
            both = {"low": max(0.0, low - max(middle - low, least)), "high": high + max(high - middle, least)}
            limits[name] = {s: float(f"{v:.3g}") for s, v in both.items() if SUSPECT[name] in (s, "both")}
    return limits


def with_distributions(
    card: Mapping[str, Any],
    *,
    cohort: Mapping[str, Any],
    scores: Mapping[str, Values],
    quality: Mapping[str, Values],
    groups: Groups,
    limits: bool = True,
) -> dict[str, Any]:
    """The card with how scores (by combination, "dce+dwi") and measures of quality were distributed, and, with `limits`
    and where there are measures, with the limits that follow from them.

    All values (N,), NaN where an exam has none. `cohort`: {"words", "identity", "synthetic", "n"}. `groups` as
    `distributions.groups_of` gives them.
    """
    told = {
        "cohort": dict(cohort),
        "score": told_of(scores, groups),
        "quality": told_of(quality, groups),
    }
    follow = limits_from(quality) if quality and limits else {}
    return {**card, "distributions": told, "quality_limits": {**card.get("quality_limits", {}), **follow}}


def told_of(measures: Mapping[str, Values], groups: Groups) -> dict[str, Any]:
    told = {name: distributions.of_groups(values, groups) for name, values in measures.items()}
    return {name: found for name, found in told.items() if found}


def with_evaluation(
    card: Mapping[str, Any], evaluation: Mapping[str, Any], *, digest: str, tensors: str, preprocessing: str
) -> dict[str, Any]:
    """The card with an evaluation bound to it: on which cohort, with which figures; no operating point comes of it.

    `digest`: SHA-256 of the report; `tensors`: of the tensors it measured; `preprocessing`: the hash. Weights count as
    evaluated on patients where the cohort is of patients and the interval of the AUROC lies above one half.
    """
    about = evaluation.get("about", {})
    bound = {
        "cohort": evaluation["cohort"],
        "cohort_identity": about.get("cohort_identity", ""),
        "synthetic": bool(evaluation["synthetic"]),
        "n": int(evaluation["n"]),
        "malignant": evaluation.get("malignant"),
        "auroc": dict(evaluation["auroc"]),
        "weights_sha256": evaluation["weights_sha256"],
        "tensors_sha256": tensors,
        "preprocessing": preprocessing,
        "evaluation_sha256": digest,
    }
    others = [e for e in card.get("evaluations", []) if e["cohort_identity"] != bound["cohort_identity"]]
    evaluations = [*others, bound]
    changed = {**card, "evaluations": evaluations}
    if card.get("status") != STATUS:  # demonstration weights stay what they are
        whose = "imported weights" if "origin" in card else "weights trained on a cohort of one's own"
        changed["status"] = evaluated_status(whose, evaluations)
        changed["evaluated_on_patients"] = any(map(shows_patients, evaluations))
    return changed


def shows_patients(bound: Mapping[str, Any]) -> bool:
    return not bound["synthetic"] and shows_something(bound)


def shows_something(bound: Mapping[str, Any]) -> bool:
    """Whether the interval of the AUROC lies above one half: a preprocessing that does not fit gives chance."""
    low = (bound["auroc"].get("ci95") or [None])[0]
    return low is not None and low > 0.5


def evaluated_status(whose: str, evaluations: Sequence[Mapping[str, Any]]) -> str:
    """ "Preprocessing unverified" until an evaluation shows that preprocessing and weights fit each other."""
    showing = [bound for bound in evaluations if shows_something(bound)]
    of = showing[-1] if showing else evaluations[-1]
    figure = (
        f"AUROC {figures_of(of['auroc'])} on {of['n']} {'synthetic ' if of['synthetic'] else ''}exams: {of['cohort']}"
    )
    if not showing:
        return f"{whose}, preprocessing unverified; not above chance: {figure}; not for clinical use"
    return f"{whose}, evaluated: {figure}; not for clinical use"


def figures_of(auroc: Mapping[str, Any]) -> str:
    """ "0.87 (0.83 to 0.91)"."""
    told = [f"{v:.2f}" if v is not None else "?" for v in (auroc["estimate"], *(auroc.get("ci95") or (None, None)))]
    return f"{told[0]} ({told[1]} to {told[2]})"
