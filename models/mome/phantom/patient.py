"""Synthetic breast MRI exams with a known answer: a seed in, the volumes of one prone patient out.

The patient is described once in continuous patient coordinates (mm, LPS; the breasts point to -y) and then rendered
on any axis-aligned grid, so that coarse training arrays and acquisition-like arrays of one seed show one patient.
Whether a lesion is malignant moves four hidden attributes and nothing else; from them the best possible reader's
log odds are exact (`PhantomExam.log_odds`). What the attributes do to the picture is in `render.py`; what a cohort's
design does to the exam in `design.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .design import PLAIN, UNTOUCHED, Conditions, Design, conditions

FloatArray = npt.NDArray[np.float32]
Point = npt.NDArray[np.float64]

SEPARATION: Mapping[str, float] = {"kinetics": 1.10, "morphology": 0.95, "diffusion": 1.40, "t2": 1.15}
"""Distance of the means of malignant and benign lesions, in standard deviations; 0 would be chance."""
SEEN_BY: Mapping[str, tuple[str, ...]] = {"dce": ("kinetics", "morphology"), "dwi": ("diffusion",), "t2": ("t2",)}
CERTAIN = -20.0
"""Log odds of an exam without a lesion, for each sequence: the best possible reader sees that there is none."""
REGION = ((-185.0, 185.0), (-130.0, 150.0), (-100.0, 100.0))
"""Where textures are defined, mm along x, y, z."""
THORAX_RADII = (190.0, 125.0)


# ------------------------------------------------------------------ the patient
@dataclass(frozen=True, slots=True)
class Lesion:
    """The finding that matters; `radius` mm; attributes are unit Gaussians about plus or minus half a separation,
    which is that of `SEPARATION` divided by the difficulty."""

    centre: Point  # (3,) mm, LPS
    radius: float
    malignant: bool
    kinetics: float  # fast uptake and wash-out
    morphology: float  # spicules, rim enhancement, inner texture
    diffusion: float  # restricted diffusion
    t2: float  # dark on T2
    amplitude: float  # says nothing about malignancy, as does all below
    elongation: Point  # (3, 3) inverse stretch, determinant 1
    waves: Point  # (6, 3) wave vectors over the unit sphere: the lobes of the surface
    phases: Point  # (6,)
    s0: float
    difficulty: float = 1.0

    @property
    def log_odds(self) -> Mapping[str, float]:
        """Of malignancy against benignity given what each sequence can show at best (prior one half)."""
        return {
            sequence: sum(SEPARATION[name] / self.difficulty * getattr(self, name) for name in names)
            for sequence, names in SEEN_BY.items()
        }


@dataclass(frozen=True, slots=True)
class Blob:
    """A ball that says nothing about malignancy: focus, node, cyst, nipple, organ; None leaves tissue as it is."""

    centre: Point
    radius: float
    enhancement: float
    kinetics: float
    t2: float | None = None
    s0: float | None = None
    adc: float | None = None


@dataclass(frozen=True, slots=True)
class Vessel:
    points: Point  # (N, 3) mm
    radius: float
    enhancement: float
    kinetics: float


@dataclass(frozen=True, slots=True)
class Breast:
    centre: Point
    radii: Point

    def depth(self, x: npt.NDArray[np.floating], y: npt.NDArray[np.floating], z: npt.NDArray[np.floating]) -> Point:
        """Ellipsoidal distance: 0 in the centre, 1 on the skin."""
        (cx, cy, cz), (rx, ry, rz) = self.centre, self.radii
        return np.asarray(np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2))


@dataclass(frozen=True, slots=True)
class Patient:
    wall: float  # y of the chest wall at the midline, mm
    breasts: tuple[Breast, Breast]
    density: float
    glandular: FloatArray  # lattice of the parenchyma
    fine: FloatArray  # lattice of finer texture
    background: float  # background parenchymal enhancement
    heart: Blob
    blobs: tuple[Blob, ...]
    vessels: tuple[Vessel, ...]
    lesions: tuple[Lesion, ...]
    gland: Mapping[str, float]  # t2, s0, adc of this patient's parenchyma
    gain: Mapping[str, float]  # of each sequence
    noise: Mapping[str, float]  # standard deviation, of the relative units of the drawing
    bias: Mapping[str, Point]
    drift: Point  # (phases, 3) mm, motion of each phase
    shift: Mapping[str, Point]  # mm, DWI and T2 against DCE
    field_of_view: Point  # (3,) mm, shift of the imaged box
    conditions: Conditions = UNTOUCHED

    def chest(self, x: npt.NDArray[np.floating], y: npt.NDArray[np.floating]) -> Point:
        """Depth below the surface of the chest wall, mm; negative in front of it."""
        across, along = THORAX_RADII
        return np.asarray((1 - np.sqrt((x / across) ** 2 + ((y - self.wall - along) / along) ** 2)) * along)


def log_odds(lesions: tuple[Lesion, ...], missing: Collection[str] = ()) -> dict[str, float]:
    """That any lesion is malignant, by sequence and for "all" that were acquired; a missing sequence tells nothing.

    For one lesion simply its own log odds, for none `CERTAIN`.
    """
    told = [s for s in SEEN_BY if s not in missing]
    if not lesions:
        return {s: CERTAIN if s in told else 0.0 for s in SEEN_BY} | {"all": CERTAIN}
    result = {}
    for name, sequences in (*((s, [s]) for s in SEEN_BY), ("all", told)):
        each = [sum(lesion.log_odds[s] for s in sequences) for lesion in lesions]
        none = -sum(np.logaddexp(0, odds) for odds in each)  # log probability that all are benign
        result[name] = float(np.log(-np.expm1(none)) - none)
    return result | dict.fromkeys(missing, 0.0)


GLAND_PITCH, FINE_PITCH = 15.0, 6.0


def lattice(rng: np.random.Generator, pitch: float) -> FloatArray:
    shape = [math.ceil((high - low) / pitch) + 4 for low, high in REGION]
    return rng.standard_normal(shape).astype(np.float32)


def describe(seed: int, malignant: bool | None = None, lesions: int = 1, design: Design = PLAIN) -> Patient:
    """The patient of a seed. Never more draws for one kind of lesion than for the other: anatomy hides no label.

    Where the design makes a normal exam the lesions are taken out again, unless `malignant` asks for a cancer.
    """
    held = conditions(design, seed, lesions)
    rng = np.random.default_rng([seed, lesions])
    wall = float(rng.uniform(25, 45))
    breasts = _breasts(rng, wall)
    glandular, fine = lattice(rng, GLAND_PITCH), lattice(rng, FINE_PITCH)
    density = float(rng.uniform(-0.9, 0.7))
    heart_at = np.array([rng.uniform(25, 45), wall + rng.uniform(62, 75), rng.uniform(-35, -5)])
    heart = Blob(heart_at, float(rng.uniform(38, 50)), float(rng.uniform(1.2, 3.0)), 0.8)
    blobs = [*_distractors(rng, wall, breasts), *_outside(rng, wall)]
    vessels = [v for b in breasts for v in _vessels(rng, b)]
    found: list[Lesion] = []
    for index in range(lesions):
        label = bool(rng.random() < 0.5)
        if malignant is not None and index == 0:
            label = malignant
        found.append(_lesion(rng, wall, breasts, found, label, 1.25 if lesions > 1 else 1.0, held.difficulty))
    if malignant:
        held = dataclasses.replace(held, normal=False)
    gland = {"t2": float(rng.uniform(0.35, 0.6)), "s0": float(rng.uniform(1.1, 2.4)), "adc": 1.9}
    noise = {"dce": rng.uniform(0.03, 0.09), "dwi": rng.uniform(0.03, 0.07), "t2": rng.uniform(0.03, 0.07)}
    return Patient(
        wall=wall,
        breasts=breasts,
        density=density,
        glandular=glandular,
        fine=fine,
        background=float(min(np.exp(rng.normal(-1.5, 0.5)), 0.6)),
        heart=heart,
        blobs=tuple(blobs),
        vessels=tuple(vessels),
        lesions=() if held.normal else tuple(found),
        gland=gland,
        gain={s: float(np.exp(rng.normal(0, 0.25))) * held.site.gain for s in ("dce", "dwi", "t2")},
        noise={s: float(v) * held.site.noise for s, v in noise.items()},
        bias={s: rng.uniform(-0.12, 0.12, 3) for s in ("dce", "dwi", "t2")},
        drift=np.cumsum(rng.normal(0, 0.12, (12, 3)), axis=0),
        shift={s: rng.uniform(-1, 1, 3) * (3.5, 3.5, 3.0) for s in ("dwi", "t2")},
        field_of_view=rng.uniform(-4, 4, 3),
        conditions=held,
    )


def _breasts(rng: np.random.Generator, wall: float) -> tuple[Breast, Breast]:
    radius = np.array([rng.uniform(54, 74), rng.uniform(58, 100), rng.uniform(52, 70)])
    gap = rng.uniform(5, 12)
    left, right = (radius * rng.uniform(0.92, 1.06, 3) for _ in range(2))
    z = rng.uniform(-5, 5)
    return (
        Breast(np.array([left[0] + gap, wall + 16.0, z]), left),
        Breast(np.array([-right[0] - gap, wall + 16.0, z]), right),
    )


def _site(
    rng: np.random.Generator, wall: float, breasts: tuple[Breast, Breast], margin: float, edge: float = 0.78
) -> Point:
    """A point inside a breast, at least `margin` mm in front of the chest wall."""
    while True:
        breast = breasts[int(rng.integers(2))]
        point = breast.centre + rng.uniform(-1, 1, 3) * breast.radii
        x, y = point[0], point[1]
        surface = (1 - math.hypot(x / THORAX_RADII[0], (y - wall - THORAX_RADII[1]) / THORAX_RADII[1])) * 125
        if float(breast.depth(*point)) < edge and surface < -margin:
            return np.asarray(point)


def _lesion(
    rng: np.random.Generator,
    wall: float,
    breasts: tuple[Breast, Breast],
    others: list[Lesion],
    malignant: bool,
    grown: float,
    difficulty: float,
) -> Lesion:
    radius = float(rng.uniform(8.5, 17.0)) * (1.0 if grown == 1.0 else 0.95)
    for _ in range(200):
        centre = _site(rng, wall, breasts, margin=radius + 4)
        if all(np.linalg.norm(centre - o.centre) > radius + o.radius + 5 for o in others):
            break
    sign = 0.5 if malignant else -0.5
    k, m, a, t = (rng.normal(sign * separation / difficulty, 1) for separation in SEPARATION.values())
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    stretch = np.array([rng.uniform(1.0, 1.35), 1.0, 1.0])
    stretch /= stretch.prod() ** (1 / 3)
    return Lesion(
        centre=centre,
        radius=radius,
        malignant=malignant,
        kinetics=float(k),
        morphology=float(m),
        diffusion=float(a),
        t2=float(t),
        amplitude=float(np.exp(rng.normal(0.0, 0.33))) * grown,
        elongation=np.asarray(axes @ np.diag(1 / stretch) @ axes.T),
        waves=rng.normal(0, 4.0, (6, 3)),
        phases=rng.uniform(0, 2 * np.pi, 6),
        s0=float(1.8 * np.exp(rng.normal(0, 0.1))),
        difficulty=difficulty,
    )


def _distractors(rng: np.random.Generator, wall: float, breasts: tuple[Breast, Breast]) -> list[Blob]:
    """Inside the breasts: foci, intramammary nodes, cysts, nipples."""
    blobs = []
    for _ in range(rng.integers(1, 5)):  # foci
        size, bright = rng.uniform(2.5, 5.0), np.exp(rng.normal(0.1, 0.4))
        blobs.append(Blob(_site(rng, wall, breasts, 6), size, float(bright), float(rng.normal(-0.6, 0.8))))
    for _ in range(rng.integers(0, 4)):  # lymph nodes: bright, wash-out, restricted diffusion
        size, bright = rng.uniform(3.5, 6.5), np.exp(rng.normal(0.45, 0.4))
        kinetics, adc = float(rng.normal(0.7, 1.0)), float(rng.uniform(0.5, 1.5))
        blobs.append(Blob(_site(rng, wall, breasts, 7, 0.92), size, float(bright), kinetics, 0.6, 2.0, adc))
    for _ in range(rng.integers(0, 4)):  # cysts
        size, t2 = rng.uniform(3.0, 9.0), rng.uniform(1.0, 2.2)
        blobs.append(Blob(_site(rng, wall, breasts, 10), size, 0.0, 0.0, float(t2), 2.6, float(rng.uniform(1.7, 2.6))))
    for _ in range(rng.integers(0, 3)):  # proteinaceous or haemorrhagic: bright on DWI only
        size, adc = rng.uniform(3.0, 6.5), rng.uniform(0.3, 1.2)
        blobs.append(Blob(_site(rng, wall, breasts, 7), size, 0.0, 0.0, 0.5, float(rng.uniform(1.5, 2.8)), float(adc)))
    for breast in breasts:
        at = breast.centre - (rng.uniform(-8, 8), 0.96 * breast.radii[1], rng.uniform(-8, 8))
        blobs.append(Blob(at, float(rng.uniform(3, 5)), float(np.exp(rng.normal(0.3, 0.5))), float(rng.normal(0, 0.7))))
    return blobs


def _outside(rng: np.random.Generator, wall: float) -> list[Blob]:
    """Behind the breasts: axillary nodes, organs and effusions, hot spots at the chest wall."""
    blobs = []
    for _ in range(rng.integers(1, 5)):
        at = np.array([rng.choice((-1, 1)) * rng.uniform(115, 150), wall + rng.uniform(30, 75), rng.uniform(10, 70)])
        size, bright = float(rng.uniform(5, 10)), float(rng.uniform(0.6, 2.0))
        blobs.append(Blob(at, size, bright, float(rng.normal(1, 0.8)), 0.8, 2.0, float(rng.uniform(0.5, 1.2))))
    for _ in range(rng.integers(0, 3)):
        at = np.array([rng.uniform(-120, 120), wall + rng.uniform(55, 100), rng.uniform(-70, 70)])
        levels = rng.uniform(0.2, 2.2), rng.uniform(0.5, 3.5), rng.uniform(0.3, 2.5)
        blobs.append(Blob(at, float(rng.uniform(14, 32)), float(rng.uniform(0, 0.4)), -1.0, *map(float, levels)))
    for _ in range(rng.integers(0, 3)):
        at = np.array([rng.uniform(-110, 110), wall + rng.uniform(12, 30), rng.uniform(-60, 60)])
        blobs.append(Blob(at, float(rng.uniform(5, 10)), 0.0, 0.0, None, float(rng.uniform(2, 4)), 0.5))
    return blobs


def _vessels(rng: np.random.Generator, breast: Breast) -> list[Vessel]:
    found = []
    for _ in range(rng.integers(1, 4)):
        at = breast.centre + rng.uniform(-0.6, 0.6, 3) * breast.radii
        heading = rng.normal(0, 1, 3) + np.array([0, -1, 0])
        points = []
        for _ in range(int(rng.integers(14, 30))):
            heading = heading / np.linalg.norm(heading) + rng.normal(0, 0.35, 3)
            at = at + 3.5 * heading / np.linalg.norm(heading)
            if float(breast.depth(*at)) > 0.93:
                heading, at = -heading, at - 7.0 * heading / np.linalg.norm(heading)
            points.append(at)
        bright = float(np.exp(rng.normal(0.5, 0.4)))
        found.append(Vessel(np.array(points), float(rng.uniform(1.2, 2.2)), bright, float(rng.normal(0.5, 0.7))))
    return found
