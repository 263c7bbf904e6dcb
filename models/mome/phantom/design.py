"""Designs of synthetic cohorts: what goes wrong, how often, and how hard the lesions are to tell apart.

A design never touches the random numbers of the patient: an exam that nothing happens to is the same in all designs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Point = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Site:
    """A hospital's scanner; factors of what the scanner of site A gives."""

    name: str
    share: float = 1.0  # of the exams, relative to the other sites
    field_strength_t: float = 1.5
    noise: float = 1.0
    gain: float = 1.0
    voxel: float = 1.0  # in-plane size
    field_of_view: float = 1.0


@dataclass(frozen=True, slots=True)
class Design:
    """Shares are probabilities per exam, drawn independently of each other and of the label.

    Raises ValueError for shares outside 0 to 1, a difficulty that is not positive, or no site.
    """

    name: str
    difficulty: float = 1.0  # divides the separations of the four attributes; above 1 is harder
    normal: float = 0.0  # no lesion at all
    fat_failure: float = 0.0  # fat suppression fails over part of the breasts, in all sequences
    marked_motion: float = 0.0  # the patient moves by 3 to 8 mm once after contrast, and stays there
    missing_dwi: float = 0.0
    missing_t2: float = 0.0
    broken_off: float = 0.0  # the dynamic ends after one phase with contrast: such an exam is rejected
    sites: tuple[Site, ...] = (Site("A"),)

    def __post_init__(self) -> None:
        shares = (self.normal, self.fat_failure, self.marked_motion, self.missing_dwi, self.missing_t2, self.broken_off)
        if not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"Shares of a design are between 0 and 1; {self.name} has {shares}.")
        if self.difficulty <= 0 or not self.sites:
            raise ValueError(f"Design {self.name} needs a difficulty above 0 and at least one site.")


PLAIN = Design("plain")
"""Every exam has its lesion, every sequence, one scanner, small motion."""
CLINIC = Design(
    "clinic",
    normal=0.10,
    fat_failure=0.12,
    marked_motion=0.10,
    missing_dwi=0.06,
    missing_t2=0.06,
    broken_off=0.02,
    sites=(
        Site("A", share=0.45),
        Site("B", share=0.30, field_strength_t=3.0, noise=0.8, gain=1.6, voxel=0.9),
        Site("C", share=0.25, noise=1.5, gain=0.5, voxel=1.2, field_of_view=1.08),
    ),
)
DESIGNS: Mapping[str, Design] = {design.name: design for design in (PLAIN, CLINIC)}


@dataclass(frozen=True, slots=True)
class FatFailure:
    """Fat is not suppressed beyond a plane; full strength behind it, none before, over some 40 mm."""

    at: Point  # (3,) mm, LPS: a point of the plane
    towards: Point  # (3,) unit vector
    strength: float  # 0 to 1


@dataclass(frozen=True, slots=True)
class Motion:
    """From a phase on, the patient lies elsewhere."""

    by: Point  # (3,) mm, LPS
    from_phase: int  # of those after contrast, 0 is the first


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a design does to one exam."""

    site: Site = Site("A")
    difficulty: float = 1.0
    normal: bool = False
    fat_failure: FatFailure | None = None
    motion: Motion | None = None
    missing: tuple[str, ...] = ()  # of "dwi", "t2"
    broken_off: bool = False


UNTOUCHED = Conditions()
"""Of an exam of the plain design."""


def conditions(design: Design, seed: int, lesions: int) -> Conditions:
    """Drawn from a stream of their own, always the same number of draws: a share moves only its own exams."""
    rng = np.random.default_rng([seed, lesions, 2, 1])
    chance = dict(zip(("normal", "fat", "motion", "dwi", "t2", "broken"), rng.random(6), strict=True))
    shares = np.cumsum([site.share for site in design.sites])
    site = design.sites[int(np.searchsorted(shares / shares[-1], rng.random(), side="right"))]
    side = rng.choice((-1.0, 1.0))
    towards = rng.normal(0, 0.35, 3) + np.array([side, 0, 0])
    fat = FatFailure(
        at=np.array([side * rng.uniform(0, 60), rng.uniform(-30, 20), rng.uniform(-20, 20)]),
        towards=towards / np.linalg.norm(towards),
        strength=float(rng.uniform(0.5, 1)),
    )
    heading = rng.normal(0, 1, 3)
    motion = Motion(heading / np.linalg.norm(heading) * rng.uniform(3, 8), int(rng.integers(0, 3)))
    return Conditions(
        site=site,
        difficulty=design.difficulty,
        normal=bool(chance["normal"] < design.normal),
        fat_failure=fat if chance["fat"] < design.fat_failure else None,
        motion=motion if chance["motion"] < design.marked_motion else None,
        missing=tuple(s for s in ("dwi", "t2") if chance[s] < getattr(design, f"missing_{s}")),
        broken_off=bool(chance["broken"] < design.broken_off),
    )
