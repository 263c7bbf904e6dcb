"""What is known of a synthetic exam beside its volumes: the labels of a `Case`, drawn from a stream of their own.

All follow from the seed without rendering. Subtype and response hang on the planted attributes, in ways that are
plausible and simple; each attribute is taken about its mean among cancers:

TNBC  log odds = -1.5 + 1.6 morphology (rim enhancement) - 1.6 T2 (bright on T2)
pCR   log odds = -1.3 + 1.4 diffusion (restricted) + 1.0 kinetics (fast, wash-out) + 1.2 if TNBC

An observer who knows the attributes reaches the AUROC that `mome phantom` reports.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from ..cohort import Case
from ..config import SEQUENCES, Sequence
from .design import PLAIN, Conditions, Design
from .patient import CERTAIN, SEPARATION, Lesion, Patient, describe
from .readers import (
    BIRADS_NUMBERS,
    READERS,
    REFERRAL,
    category,
    category_without_lesion,
    impression,
    measured_adc,
    read_kaiser,
)

Kind: TypeAlias = Literal["malignant", "benign", "normal"]
VENDOR = "mome-node synthetic phantom"
BPE_LIMITS = (0.15, 0.23, 0.36)
"""Background enhancement, relative units, at which the next of the four grades begins."""
BPE = ("minimal", "mild", "moderate", "marked")
AGE = {"malignant": 54.0, "benign": 48.0, "normal": 48.0}
"""Mean, years; standard deviation 11, between 22 and 85."""
TNBC = {"intercept": -1.5, "morphology": 1.6, "t2": -1.6}
PCR = {"intercept": -1.3, "diffusion": 1.4, "kinetics": 1.0}
PCR_IF_TNBC = 1.2


def case_of(seed: int, *, malignant: bool | None = None, lesions: int = 1, design: Design = PLAIN) -> Case:
    """The labels of `exam(seed, ...)` with the same arguments."""
    return labelled(describe(seed, malignant, lesions, design), seed, lesions)


def labelled(patient: Patient, seed: int, lesions: int = 1) -> Case:
    """The labels of a patient that `describe` made of this seed. Each kind of exam takes the same draws."""
    rng = np.random.default_rng([seed, lesions, 3, 1])
    errors = {name: float(rng.standard_normal()) for name in ("age", "category", "adc", *READERS)}
    seen = (*map(float, rng.standard_normal(4)),)
    chances = {name: float(rng.random()) for name in ("tnbc", "pcr", "oedema", "category", *READERS)}
    lesion, kind, name = index_lesion(patient.lesions), kind_of(patient.lesions), f"phantom-{seed}"
    case = Case(
        case=name,
        patient=name,
        study=name,
        sequences=sequences(patient.conditions),
        malignant=kind == "malignant",
        age=float(round(min(max(AGE[kind] + 11 * errors["age"], 22), 85))),
        bpe=BPE[int(np.searchsorted(BPE_LIMITS, patient.background, side="right"))],
        field_strength_t=patient.conditions.site.field_strength_t,
        vendor=VENDOR,
        site=patient.conditions.site.name,
    )
    if lesion is None:
        said = {reader: category_without_lesion(chances[reader]) for reader in READERS}
        return replace(case, birads=category_without_lesion(chances["category"]), readers=numbers(said))
    said = {reader: category(impression(lesion, errors[reader], noise)) for reader, noise in READERS.items()}
    tnbc, pcr = None, None
    if lesion.malignant:
        tnbc = chances["tnbc"] < probability(tnbc_log_odds(lesion))
        pcr = chances["pcr"] < probability(pcr_log_odds(lesion, tnbc))
    return replace(
        case,
        birads=category(impression(lesion, errors["category"], REFERRAL)),
        tnbc=tnbc,
        pcr=pcr,
        adc=measured_adc(lesion, errors["adc"]),
        kaiser=read_kaiser(lesion, (seen[0], seen[1], seen[2], seen[3]), chances["oedema"]),
        readers=numbers(said),
    )


def numbers(said: Mapping[str, str]) -> dict[str, float]:
    return {reader: BIRADS_NUMBERS[category] for reader, category in said.items()}


def sequences(conditions: Conditions) -> tuple[Sequence, ...]:
    return tuple(s for s in SEQUENCES if s not in conditions.missing)


def kind_of(lesions: tuple[Lesion, ...]) -> Kind:
    if not lesions:
        return "normal"
    return "malignant" if any(lesion.malignant for lesion in lesions) else "benign"


def index_lesion(lesions: tuple[Lesion, ...]) -> Lesion | None:
    """The one that the labels are about: the most suspicious cancer, else the most suspicious lesion."""
    return max(lesions, key=lambda lesion: (lesion.malignant, sum(lesion.log_odds.values())), default=None)


# ------------------------------------------------------------------ subtype and response
def centred(lesion: Lesion, name: str) -> float:
    """An attribute about its mean among cancers: a unit Gaussian."""
    return float(getattr(lesion, name)) - SEPARATION[name] / lesion.difficulty / 2


def linear(lesion: Lesion, weights: Mapping[str, float]) -> float:
    terms = (weight * centred(lesion, name) for name, weight in weights.items() if name != "intercept")
    return weights["intercept"] + sum(terms)


def probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def tnbc_log_odds(lesion: Lesion) -> float:
    """That a cancer is triple-negative, given its attributes."""
    return linear(lesion, TNBC)


def pcr_log_odds(lesion: Lesion, tnbc: bool | None = None) -> float:
    """That a cancer responds completely, given its attributes, and its subtype where it is known."""
    base = linear(lesion, PCR)
    if tnbc is not None:
        return base + PCR_IF_TNBC * tnbc
    share = probability(tnbc_log_odds(lesion))
    responds = (1 - share) * probability(base) + share * probability(base + PCR_IF_TNBC)
    return math.log(responds / (1 - responds))


def observer_log_odds(lesions: tuple[Lesion, ...]) -> dict[str, float]:
    """Log odds "tnbc" and "pcr" of an observer who sees the attributes but not the subtype; of cancers only."""
    lesion = index_lesion(lesions)
    if lesion is None:
        return {"tnbc": CERTAIN, "pcr": CERTAIN}
    return {"tnbc": tnbc_log_odds(lesion), "pcr": pcr_log_odds(lesion)}
