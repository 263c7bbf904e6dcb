"""What readers say of a synthetic lesion: its ADC, the Kaiser score, BI-RADS categories; from the planted attributes.

Every function takes the reader's errors as arguments, so that one seed gives one answer.
"""

from __future__ import annotations

import math

import numpy as np

from .patient import SEPARATION, Lesion
from .render import adc_of, curve

BIRADS = ("3", "4A", "4B", "4C", "5")
BIRADS_LIMITS = (0.02, 0.10, 0.50, 0.95)
"""Chance of cancer at which the next category begins (ACR BI-RADS Atlas, 5th edition)."""
BIRADS_NUMBERS = {"1": 1.0, "2": 2.0, "3": 3.0, "4A": 4.1, "4B": 4.2, "4C": 4.3, "5": 5.0}
"""As numbers in a reader's column: in order, and 4B or above from 4.2."""
READERS = {"synthetic junior": 3.0, "synthetic general": 2.0, "synthetic senior": 1.2}
"""Standard deviation of a reader's error in log odds, by name."""
REFERRAL = 1.6
"""The same of whoever gave the category before biopsy."""
ADC_ERROR = 0.09
"""Standard deviation of a region of interest, relative."""


def impression(lesion: Lesion, error: float, noise: float) -> float:
    """Chance of cancer (prior one half) of a reader who sees all attributes, blurred by `error`, a unit Gaussian, times
    `noise`, and who knows how much that is.

    The log odds L of a lesion are Gaussian about plus or minus D/2 with variance D, the sum of the squared separations;
    given L + noise they are (L + noise) D / (D + noise squared).
    """
    spread = sum((d / lesion.difficulty) ** 2 for d in SEPARATION.values())
    seen = sum(lesion.log_odds.values()) + error * noise
    return float(1 / (1 + math.exp(-seen * spread / (spread + noise**2))))


def category(chance: float) -> str:
    """BI-RADS category of a lesion, 3 to 5, by its chance of cancer."""
    return BIRADS[int(np.searchsorted(BIRADS_LIMITS, chance, side="right"))]


def category_without_lesion(chance: float) -> str:
    """BI-RADS category of a normal exam: 1 or 2, rarely 3; `chance` is uniform in 0 to 1."""
    return "1" if chance < 0.55 else "2" if chance < 0.95 else "3"


def measured_adc(lesion: Lesion, error: float) -> float:
    """1e-3 mm2/s, from a region of interest; `error` is a unit Gaussian."""
    return round(max(0.1, adc_of(lesion) * (1 + ADC_ERROR * error)), 2)


# ------------------------------------------------------------------ Kaiser score
def kaiser_score(*, root_sign: bool, course: str, circumscribed: bool, homogeneous: bool, oedema: bool) -> int:
    """Kaiser score, 1 to 11 (Baltzer et al. 2013, Eur Radiol 23:2051; flow chart as in Dietzel and Baltzer 2018,
    Insights Imaging 9:325). `course` is "persistent", "plateau" or "wash-out".

    Every one of the eleven leaves has a number of its own; above 4 a biopsy is advised.
    """
    if root_sign:
        if course == "persistent":
            return 6
        return {"plateau": (7, 10), "wash-out": (9, 11)}[course][oedema]
    if course == "wash-out":
        return 4 if homogeneous else 8
    return {"persistent": (3, 1), "plateau": (5, 2)}[course][circumscribed]


def course_of(kinetics: float) -> str:
    """Type of the time-signal curve: more than a tenth up or down between the second and the last phase."""
    early, late = curve(kinetics, np.array([1.5, 6.5]))
    change = float(late / early) - 1
    return "persistent" if change > 0.1 else "wash-out" if change < -0.1 else "plateau"


def read_kaiser(lesion: Lesion, errors: tuple[float, float, float, float], chance: float) -> int:
    """The score that a reader finds; `errors` are unit Gaussians for spicules, curve, margins, inner enhancement.

    Spicules, margins and inner enhancement are seen in the morphology, the curve in the kinetics. The phantom draws no
    oedema around a lesion: `chance`, uniform, decides it, three times in ten with a cancer, else once.
    """
    spicules, uptake, margins, inner = (0.4 * error for error in errors)
    return kaiser_score(
        root_sign=lesion.morphology + spicules > 0.9,
        course=course_of(lesion.kinetics + uptake),
        circumscribed=lesion.morphology + margins < 0.0,
        homogeneous=lesion.morphology + inner < 0.3,  # from there on the centre is darker than the rim
        oedema=chance < (0.3 if lesion.malignant else 0.1),
    )
