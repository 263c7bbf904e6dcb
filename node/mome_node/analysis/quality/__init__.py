"""Does the exam show what the model needs to see? Pixels, after the volumes and before the model.

Limits come from the model's card (the distribution of its training cohort), not from this package; only where breasts
are is a matter of anatomy, and no card alters it. A measure without a limit is reported and judged by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...findings import Problem
from ...volume import Volume
from . import contrast, fat_suppression, motion, position
from .coarse_exam import coarse

WORDS: Mapping[str, str] = {
    "CONTRAST_NOT_SHOWN": (
        "The first post-contrast phase does not show contrast against the pre-contrast phase: {found}. "
        "Check the injection and the order of the phases."
    ),
    "MOTION_BETWEEN_PHASES": (
        "The breasts moved between the pre-contrast phase and phase {phase:.0f} of the dynamic: {found}. "
        "Subtractions show edges there that are no enhancement."
    ),
    "FAT_SUPPRESSION_POOR": (
        "The fat under the skin of the breasts is bright, or unevenly so, before contrast: {found}. "
        "What looks like gland or enhancement may be fat."
    ),
    "PATIENT_POSITION_CONTRADICTS_ANATOMY": (
        "As the exam is registered, the breasts point to the patient's back: {found}. Left and right cannot be "
        "trusted. Check the patient position entered at the scanner."
    ),
    "BREAST_MASK_UNUSUAL": (
        "The analysed region is unlike those of the model's training: {found}. Look at its outline on the images."
    ),
    "PHASES_OUTSIDE_RANGE": "The dynamic is unlike those of the model's training: {found}.",
}
"""What was found, and what to do about it, by problem code."""

MEASURES: Mapping[str, tuple[str, str]] = {
    "enhancement_p99": ("CONTRAST_NOT_SHOWN", "strongest enhancement"),
    "enhancement_asymmetry": ("CONTRAST_NOT_SHOWN", "enhancement over darkening"),
    "enhancement_median": ("CONTRAST_NOT_SHOWN", "share of all signal that is new"),
    "motion_mm": ("MOTION_BETWEEN_PHASES", "displacement in mm"),
    "fat_signal": ("FAT_SUPPRESSION_POOR", "brightest fat over bright tissue"),
    "fat_unevenness": ("FAT_SUPPRESSION_POOR", "brightest over darkest fat"),
    "protrusion_mm": ("PATIENT_POSITION_CONTRADICTS_ANATOMY", "lobes in front less those behind, in mm"),
    "mask_volume_ml": ("BREAST_MASK_UNUSUAL", "volume in ml"),
    "mask_fraction": ("BREAST_MASK_UNUSUAL", "share of the field of view"),
    "canvas_scale": ("BREAST_MASK_UNUSUAL", "scale at which it fits the canvas"),
    "phases": ("PHASES_OUTSIDE_RANGE", "phases"),
}
"""The problem that a measure outside its limits means, and its name for people. The last four a model takes itself."""


def measure(dce: Volume) -> dict[str, float]:
    """Everything that can be measured of a dynamic; what needs a patient in the picture is absent where there is none.

    Motion and fat are measured where the breasts are, also where that is not the front that the headers state.
    """
    exam = coarse(dce)
    measures = contrast.measure(exam) | position.measure(exam)
    if position.contradicts(measures.get("protrusion_mm", 0.0)):
        exam = exam.turned()
    return measures | motion.measure(exam) | fat_suppression.measure(exam)


def problems(measures: Mapping[str, float], limits: Mapping[str, Any]) -> list[Problem]:
    """Coded problems for measures, of the exam or of the model, outside limits {measure: {"low": x, "high": y}}."""
    limits = {**limits, **position.LIMITS}
    found: dict[str, list[str]] = {}
    for name, value in measures.items():
        if name in MEASURES and (words := outside(value, limits.get(name, {}))):
            code, meaning = MEASURES[name]
            found.setdefault(code, []).append(f"{meaning} {value:.2f} ({words})")
    phase = measures.get("motion_phase", 0.0)
    return [Problem.of(code, WORDS[code].format(found=", ".join(f), phase=phase)) for code, f in found.items()]


def outside(value: float, limits: Mapping[str, float]) -> str | None:
    """Which limit a value breaks, in words; None inside."""
    if value < limits.get("low", value):
        return f"at least {limits['low']:g}"
    if value > limits.get("high", value):
        return f"at most {limits['high']:g}"
    return None
