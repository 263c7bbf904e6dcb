"""Synthetic exams: `exam(seed)` gives the volumes of one phantom patient, with the answer.

Coarse exams (about the model's working resolution) make cohorts cheap; fine ones look like an acquisition, for DICOM.
`leakage` measures whether simple global statistics betray the label: they must not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..cohort import Case, texts
from .design import DESIGNS, PLAIN, UNTOUCHED, Conditions, Design
from .labels import labelled
from .patient import FloatArray, Lesion, Patient, describe, log_odds
from .render import Grid, Rendering, averaged, membership

INJECTION_SECONDS = 30.0
"""Contrast reaches the breast this long after the start of the pre-contrast phase."""


NO_LABELS = ("case", "patient", "study", "pixels", "status", "reason", "sequences")
"""Columns of a case that say which exam it is, not what is known of the patient."""


@dataclass(frozen=True, slots=True)
class PhantomVolume:
    """Same shape as the volumes of the node: voxels (C, W, H, D), affine (4, 4) to mm LPS, seconds of each channel."""

    voxels: FloatArray
    affine: npt.NDArray[np.float64]
    seconds: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class PhantomExam:
    seed: int
    dce: PhantomVolume  # pre-contrast first
    dwi: Mapping[int, PhantomVolume]  # by b-value, s/mm2; coarse exams hold the highest only
    t2: PhantomVolume
    adc: PhantomVolume | None  # 1e-6 mm2/s; fine exams only
    malignant: bool
    lesions: tuple[Lesion, ...]
    log_odds: Mapping[str, float]  # of the best possible reader: "dce", "dwi", "t2", "all"
    case: Case  # what is known of it beside the volumes
    conditions: Conditions = UNTOUCHED  # what the design of its cohort did to it

    @property
    def inputs(self) -> dict[str, PhantomVolume]:
        """What the model is called with: without the sequences that were not acquired, which are drawn all the same."""
        volumes = {"dce": self.dce, "dwi": self.dwi[max(self.dwi)], "t2": self.t2}
        return {s: volume for s, volume in volumes.items() if s not in self.conditions.missing}

    @property
    def labels(self) -> dict[str, str]:
        """The labels of its case as text, as the line of a hospital's table would hold them."""
        return {name: text for name, text in texts(self.case).items() if name not in NO_LABELS}

    def lesion_share(self, affine: npt.NDArray[np.float64], shape: tuple[int, int, int]) -> FloatArray:
        """Share of lesion in each voxel of an axial grid (W, H, D) with a diagonal `affine`, 0 to 1."""
        spacing, origin = np.diag(affine)[:3], affine[:3, 3]
        (a, b, c), (x, y, z) = map(float, spacing), map(float, origin)
        grid, share = Grid((a, b, c), shape, (x, y, z)), np.zeros(shape, np.float32)
        for lesion in self.lesions:
            box = grid.box(lesion.centre, 1.7 * lesion.radius + 4)
            if box:
                share[box] = np.maximum(share[box], averaged(membership(lesion, grid.part(box, 2))[0], 2))
        return share


def exam(
    seed: int, *, malignant: bool | None = None, fine: bool = False, lesions: int = 1, design: Design | str = PLAIN
) -> PhantomExam:
    """The exam of a seed, on coarse or on acquisition-like grids; with several lesions each has its own label.

    Coarse: one grid of about 3.5 x 3.5 x 5 mm, 5 to 8 phases. Fine: DCE 7 phases 1.4 x 1.4 x 2.5 mm, T2 1.4 x 1.4 x
    5 mm, DWI 2.6 x 2.6 x 5 mm at b 50, 400, 800 with its ADC map. The site of the design scales these.
    `design`: also the name of one (`design.DESIGNS`).
    """
    design = DESIGNS[design] if isinstance(design, str) else design
    patient = describe(seed, malignant, lesions, design)
    site = patient.conditions.site
    rng = np.random.default_rng([seed, lesions, int(fine), 1])
    seconds = _phase_seconds(rng, fine)
    centre = np.array([0.0, 15.0, 0.0]) + patient.field_of_view
    extent = (336.0 * site.field_of_view, 224.0 * site.field_of_view, 145.0)
    if fine:
        dce, t2, dwi = (
            Rendering(patient, Grid.covering(centre, extent, (across * site.voxel, across * site.voxel, slices)))
            for across, slices in ((1.4, 2.5), (1.4, 5.0), (2.6, 5.0))
        )
    else:
        factor = rng.uniform(0.92, 1.12, 2)
        across = 3.5 * factor[0] * site.voxel
        spacing = (across, across, 5.0 * factor[1])
        dce = t2 = dwi = Rendering(patient, Grid.covering(centre, extent, spacing))
    minutes = (np.array(seconds[1:]) - INJECTION_SECONDS) / 60
    if patient.conditions.broken_off:
        minutes, seconds = minutes[:1], seconds[:2]
    weighted, adc = _diffusion(patient, dwi, (50, 400, 800) if fine else (800,), rng)
    return PhantomExam(
        seed=seed,
        dce=PhantomVolume(dce.dce(minutes, rng), dce.grid.affine, seconds),
        dwi=weighted,
        t2=PhantomVolume(t2.t2(rng), _shifted(t2, patient, "t2")),
        adc=adc,
        malignant=any(lesion.malignant for lesion in patient.lesions),
        lesions=patient.lesions,
        log_odds=log_odds(patient.lesions, patient.conditions.missing),
        case=labelled(patient, seed, lesions),
        conditions=patient.conditions,
    )


def _phase_seconds(rng: np.random.Generator, fine: bool) -> tuple[float, ...]:
    """Start of each phase after that of the pre-contrast one; most exams have six post-contrast phases."""
    if fine:
        return (0.0, *(90.0 + 60.0 * i for i in range(6)))
    count = int(rng.choice((4, 5, 6, 7), p=(0.1, 0.15, 0.6, 0.15)))
    first, last = rng.uniform(80, 100), rng.uniform(370, 410)
    return (0.0, *(float(s) for s in np.linspace(first, last, count)))


def _shifted(rendering: Rendering, patient: Patient, sequence: str) -> npt.NDArray[np.float64]:
    """The patient moved between the sequences: the affine says where the voxels would have been."""
    affine = rendering.grid.affine
    affine[:3, 3] += patient.shift[sequence]
    return affine


def _diffusion(
    patient: Patient, rendering: Rendering, b_values: tuple[int, ...], rng: np.random.Generator
) -> tuple[dict[int, PhantomVolume], PhantomVolume | None]:
    """Mono-exponential signal at each b-value, and the ADC map fitted to the first and the last of them."""
    s0, adc = rendering.diffusion()
    affine = _shifted(rendering, patient, "dwi")
    images = {b: rendering.acquired("dwi", (s0 * np.exp(-b * 1e-3 * adc))[None], rng) for b in b_values}
    volumes = {b: PhantomVolume(image, affine) for b, image in images.items()}
    if len(b_values) == 1:
        return volumes, None
    low, high = images[b_values[0]], images[b_values[-1]]
    fitted = np.log(np.maximum(low, 1) / np.maximum(high, 1)) / (b_values[-1] - b_values[0]) * 1e6
    seen = low > 0.1 * np.percentile(low, 99)  # a scanner masks its map where there is no signal
    return volumes, PhantomVolume(np.where(seen, np.clip(fitted, 0, 4000), 0).astype(np.float32), affine)
