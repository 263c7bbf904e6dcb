"""What each series is, by itself: two independent questions, both answered by attributes before words.

1. Is it native, or made from other images (subtraction, projection, map, copy ...)? Derived series inherit every
   acquisition attribute, so a word that says "subtraction" contradicts none of them and is believed.
2. What is its weighting (T1, T2, diffusion, scout)? Attributes count 3 and more, words 1; the winner must lead by 2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .. import slice_geometry
from .diffusion import ADC_SEQUENCE, b_value
from .images import Image, Series, most_common
from .rules import SeriesRules
from .stacks import alike
from .words import Vocabulary, normalised

TYPES: dict[str, frozenset[str]] = {  # words of ImageType or FrameType, in the order asked
    "projection": frozenset({"MIP", "PROJECTION", "MINIP", "MNIP", "VRT"}),
    "subtraction": frozenset({"SUB", "SUBTRACT", "SUBTRACTION", "SUBTRACTED"}),
    "exponential adc": frozenset({"EADC", "EXPONENTIAL"}),
    "adc": frozenset({"ADC"}),
    "calculated b": frozenset({"CALC_BVAL", "BVAL", "SYNTHETIC"}),
    "registered": frozenset({"MOCO", "REGISTERED", "CAD"}),
    "copy": frozenset({"REFORMATTED", "MPR", "RESAMPLED", "VOLSER"}),
    "water": frozenset({"WATER", "W"}),
    "fat": frozenset({"FAT", "F"}),
    "in phase": frozenset({"IN_PHASE", "INPHASE", "IP"}),
    "opposed phase": frozenset({"OPP_PHASE", "OPPOSED", "OPP", "OP", "OUT_PHASE", "OUT_OF_PHASE", "OUTPHASE"}),
    "parametric map": frozenset(
        {"PEI", "WI", "WO", "WASHIN", "WASHOUT", "TTP", "SER", "FIELD_MAP", "FIELD", "B0", "TENSOR", "FA", "PHASE", "P"}
        | {"R", "I", "REAL", "IMAGINARY", "VELOCITY", "MAP", "COLOR", "RGB"}
    ),
}
NATIVE = ("native", "water")
NAMED = (
    "projection", "subtraction", "registered", "copy", "exponential adc", "adc", "calculated b", "silicone",
    "parametric map",
)  # fmt: skip
DIXON_NAME = re.compile(r"^(water|fat|in ?phase|out ?phase|opp ?phase|field ?map) ?[:_]|_(w|f|in|ip|opp|op)$")
DIXON = {"w": "water", "wa": "water", "f": "fat", "fa": "fat", "in": "in phase", "ip": "in phase",
         "op": "opposed phase", "ou": "opposed phase", "fi": "parametric map"}  # fmt: skip
PHILIPS_SUBTRACTION = re.compile(r"^s ?(\d+ ?- ?\d+|dyn|sub)", re.IGNORECASE)
DIFFERENCE = re.compile(  # 3-1, Ph2-Ph1, post-pre, (Ph1/dyn)-(dyn), (502-500) of series; not 1-6, which counts phases
    r"(?<![a-z0-9./-])(?:ph|post|dyn|se?|p)? ?(\d{1,2}) ?- ?(?:ph|post|dyn|se?|p)? ?(\d{1,2})(?![a-z0-9./-])"
    r"|(?<![a-z])post ?\d* ?- ?pre(?![a-z])|\) ?- ?\(|\(\d{3,5} ?- ?\d{3,5}\)"
)
PHILIPS_ADC = re.compile(r"^d(reg\b|wip|dwi|\d)", re.IGNORECASE)  # dReg - DWI_SSH, dDWI_b0_b800
SIEMENS_MAP = re.compile(r"(_|^)(wi|wo)$", re.IGNORECASE)
FAT_SATURATION = {"FS", "FATSAT", "FAT_SAT", "SPAIR", "SPIR", "FATSUP"}
PIN_WEIGHTING = {"DCE": "t1", "T1_NFS": "t1", "T2": "t2", "T2_FS": "t2", "DWI": "diffusion", "DWI_TRACE": "diffusion",
                 "LOCALIZER": "localizer"}  # fmt: skip

ATTRIBUTE, WORD, PIN, MARGIN = 3, 1, 4, 2
SHORT_TR_MS, LONG_TR_MS = 15.0, 2000.0
FEW_IMAGES = 30
THICK_MM = 8.0
MOST = 0.8  # of the images of a series: the rest is something else


@dataclass(frozen=True, eq=False)
class Kind:
    """What one series is."""

    series: Series
    made: str  # "native", "water", "subtraction", "projection", "adc", ...: see TYPES and NAMED; "object": no MR image
    weighting: str  # "t1", "t2", "diffusion", "localizer", "calibration", "flair", "unknown"
    fat_suppressed: bool
    images: tuple[Image, ...]  # of the component that counts: a series may hold water and fat, or DWI and ADC
    parts: Mapping[str, tuple[Image, ...]]  # other components of the same series, e.g. "adc" in a diffusion series
    why: str

    @property
    def is_native(self) -> bool:
        return self.made in NATIVE

    @property
    def uid(self) -> str:
        return self.series.uid


def kind_of(series: Series, rules: SeriesRules, vocabulary: Vocabulary) -> Kind:
    """What a series is, without looking at the others."""
    if not series.images:
        return Kind(series, "object", "unknown", False, (), {}, f"no MR image ({series.first.text('Modality') or '?'})")
    components: dict[str, list[Image]] = {}
    for image in series.images:
        components.setdefault(component(image), []).append(image)
    main = _main(components)
    images = _main_grid(components[main])
    made, why = _made(series, main, images, vocabulary)
    pin = rules.pinned(series.description)
    if pin == "OTHER" or (pin == "ADC" and made in (*NATIVE, "copy") and not _has_b_values(images)):
        made, why = ("adc" if pin == "ADC" else "pinned"), f"pinned by this site as {pin}"
    weighting, because = _weighting(series, images, rules, vocabulary)
    return Kind(
        series=series,
        made=made,
        weighting=weighting,
        fat_suppressed=_fat_suppressed(images[0], made, series.description, vocabulary),
        images=tuple(images),
        parts={name: tuple(part) for name, part in components.items() if name != main},
        why=f"{why}; {because}" if made in (*NATIVE, "in phase") else why,
    )


# ------------------------------------------------------------------ native or made from others
def component(image: Image) -> str:
    """What ImageType says an image was made into; "native" where it says nothing of the kind.

    ORIGINAL and DERIVED prove little: Dixon water is DERIVED, and archives re-write both values. DERIVED SECONDARY
    without a word of what it is counts as a copy.
    """
    for name, marks in TYPES.items():
        if marks & image.types:
            return name
    if ADC_SEQUENCE.search(image.text("SequenceName")) or _measures_diffusion(image):
        return "adc"
    if (image.number("SamplesPerPixel") or 1) > 1:
        return "parametric map"
    if {"DERIVED", "SECONDARY"} <= image.types and not {"DIFFUSION", "TRACE", "TRACEW"} & image.types:
        return "copy"
    return "native"


def _measures_diffusion(image: Image) -> bool:
    """Whether stored values are diffusion coefficients by their unit: mm2/s, um2/s, 10^-6 mm2/s."""
    units = image.text("RescaleType") + " " + image.text("MeasurementUnits")
    return "m2/s" in units.lower().replace("²", "2").replace("^2", "2")


def _main(components: dict[str, list[Image]]) -> str:
    for name in NATIVE[::-1]:
        if len(components.get(name, ())) >= slice_geometry.FEWEST_SLICES:
            return name
    return max(components, key=lambda name: (len(components[name]), name))


def _main_grid(images: list[Image]) -> list[Image]:
    """Without a scout that stands in the same series; a series of several planes in equal parts stays whole."""
    largest = max(alike([image for image in images if image.is_placed]), key=len, default=[])
    return largest if len(largest) >= MOST * len(images) else images


def _made(series: Series, main: str, images: Sequence[Image], vocabulary: Vocabulary) -> tuple[str, str]:
    """What a series was made into, and why. ImageType decides; a description may take "native" away, never give it."""
    if main not in (*NATIVE, "copy"):
        return main, f"ImageType says {main}"
    by_name = _philips_prefix(series) or _named(series, images, vocabulary)
    if by_name is None and main == "native":
        by_name = _dixon_name(series)
    if by_name:
        return by_name
    if words := _looks_projected(images):
        return "projection", words
    return main, {"copy": "ImageType DERIVED\\SECONDARY", "water": "ImageType says Dixon water"}.get(main, "native")


def _named(series: Series, images: Sequence[Image], vocabulary: Vocabulary) -> tuple[str, str] | None:
    """A word for a derived series; "ADC" is none where the images bear several b-values, as in "DWI with ADC"."""
    for kind in NAMED:
        word = vocabulary.find(kind, series.description)
        if word and not (kind == "adc" and _has_b_values(images)):
            return kind, f'the word "{word}" in the description'
    if (images[0].number("RepetitionTime") or 0) < LONG_TR_MS and _is_difference(series.description):
        return "subtraction", f'"{series.description}" is a difference of phases'
    is_map = SIEMENS_MAP.search(series.description)
    if is_map and (vocabulary.find("t1", series.description) or not is_map[1]):
        return "parametric map", f'"{series.description[-2:]}" at the end of a dynamic\'s description'
    return None


def _is_difference(description: str) -> bool:
    """Whether a description subtracts one phase from another: an earlier one from a later one."""
    match = DIFFERENCE.search(normalised(description))
    return match is not None and (match[1] is None or int(match[1]) > int(match[2]))


def _dixon_name(series: Series) -> tuple[str, str] | None:
    match = DIXON_NAME.search(normalised(series.description))
    if not match:
        return None
    part = match[1] or match[2]
    return DIXON[part[:2].strip()], f'"{part}" in the description of a Dixon reconstruction'


def _philips_prefix(series: Series) -> tuple[str, str] | None:
    """Derived series of Philips scanners begin with a letter: s for subtraction, d for the diffusion coefficient."""
    if "philips" not in series.first.text("Manufacturer").lower():
        return None
    if PHILIPS_SUBTRACTION.match(series.description):
        return "subtraction", f'the prefix of "{series.description}" says subtraction'
    if PHILIPS_ADC.match(series.description):
        return "adc", f'the prefix of "{series.description}" says diffusion coefficient'
    return None


def _has_b_values(images: Sequence[Image]) -> bool:
    return len({b.value for b in map(b_value, images) if b}) > 1


def _looks_projected(images: Sequence[Image]) -> str | None:
    """Projections rotate about the patient, or are one thick slab."""
    placed = [image for image in images if image.is_placed]
    turning = len(alike(placed[:60]))
    if turning > 4:
        return f"{turning} orientations, as projections that turn about the patient"
    thickness = images[0].number("SliceThickness") or 0
    return f"one slab of {thickness:.0f} mm" if thickness >= 60 else None


def _fat_suppressed(image: Image, made: str, name: str, vocabulary: Vocabulary) -> bool:
    """From attributes; from words only where the attributes are silent."""
    if made == "water" or FAT_SATURATION & set(image.text("ScanOptions").upper().split("\\")):
        return True
    if image.text("SpectrallySelectedSuppression") in ("FAT", "FAT_AND_WATER") or _is_stir(image):
        return True
    if made in ("in phase", "opposed phase") or vocabulary.find("not fat suppressed", name):
        return False
    return vocabulary.find("fat suppressed", name) is not None


def suppressed_by_attribute(image: Image) -> bool:
    """Fat suppression as attributes alone say it: phases of one dynamic agree in it, whatever they are called."""
    options = set(image.text("ScanOptions").upper().split("\\"))
    return bool(FAT_SATURATION & options) or image.text("SpectrallySelectedSuppression").startswith("FAT")


def _is_stir(image: Image) -> bool:
    inversion, repetition = image.number("InversionTime") or 0, image.number("RepetitionTime") or 0
    return 100 <= inversion <= 300 and repetition >= LONG_TR_MS


# ------------------------------------------------------------------ weighting
def _weighting(series: Series, images: Sequence[Image], rules: SeriesRules, vocabulary: Vocabulary) -> tuple[str, str]:
    """The weighting that leads the others by the margin, else "unknown"; with the attributes that speak for it."""
    image = images[len(images) // 2]
    votes = _attribute_votes(image, images)
    contradicted = _contradictions(image, images)
    names = (series.description, series.first.text("ProtocolName"))
    for kind in ("localizer", "calibration", "diffusion", "t1", "t2"):  # "IR-SPGR" is T1, "STIR DWI" diffusion
        if word := vocabulary.find(kind, *names):
            weight = WORD if votes else MARGIN
            votes.setdefault(kind, []).append((weight, f'"{word}" in the description'))
            break
    if pinned := PIN_WEIGHTING.get(rules.pinned(series.description) or ""):
        votes.setdefault(pinned, []).append((PIN, "pinned by this site"))
    if scout := _scout_word(series, votes, vocabulary):
        return scout
    ranking = sorted(((sum(w for w, _ in v), k) for k, v in votes.items() if k not in contradicted), reverse=True)
    if not ranking:
        return "unknown", "neither attributes nor words say what it is"
    lead = ranking[0][0] - (ranking[1][0] if len(ranking) > 1 else 0)
    if lead < MARGIN:
        return "unknown", f"undecided between {' and '.join(kind for _, kind in ranking[:2])}"
    winner = ranking[0][1]
    return winner, ", ".join(text for _, text in votes[winner])


Votes = dict[str, list[tuple[int, str]]]


def _scout_word(series: Series, votes: Votes, vocabulary: Vocabulary) -> tuple[str, str] | None:
    """A scout or a calibration by its name, where attributes say no more than short TR: that is true of these, too."""
    if set(votes) - {"t1", "localizer", "calibration"} or vocabulary.find("t1", series.description):
        return None
    for kind in ("localizer", "calibration"):
        if word := vocabulary.find(kind, series.description):
            return kind, f'"{word}" in the description'
    return None


def _attribute_votes(image: Image, images: Sequence[Image]) -> Votes:
    votes: Votes = {}
    repetition = image.number("RepetitionTime")
    contrast = image.text("AcquisitionContrast")

    def vote(kind: str, weight: int, text: str) -> None:
        votes.setdefault(kind, []).append((weight, text))

    if _highest_b(images) > 0:
        vote("diffusion", ATTRIBUTE + 1, "b-value above 0")
    if "DIFFUSION" in image.types or contrast == "DIFFUSION":
        vote("diffusion", ATTRIBUTE, "diffusion contrast")
    if _is_echo_planar(image) and (repetition or 0) > 3000 and not _is_gradient_echo(image):
        vote("diffusion", ATTRIBUTE, f"echo planar, TR {repetition:.0f} ms")
    if contrast in ("T1", "T2"):
        vote(contrast.lower(), ATTRIBUTE, f"AcquisitionContrast {contrast}")
    if repetition is not None and not _is_echo_planar(image) and (timed := _by_timing(image)):
        vote(*timed, _timing_words(image))
    for weight, text in _scout_signs(images):
        vote("localizer", weight, text)
    return votes


def _timing_words(image: Image) -> str:
    times = {"TR": "RepetitionTime", "TE": "EchoTime", "TI": "InversionTime"}
    known = ((name, image.number(keyword)) for name, keyword in times.items())
    return ", ".join(f"{name} {value:g}" for name, value in known if value) + " ms"


def _by_timing(image: Image) -> tuple[str, int] | None:
    """What TR, TE, TI (ms) and flip angle speak for, with its weight."""
    repetition, echo = image.number("RepetitionTime") or 0.0, image.number("EchoTime")
    flip = image.number("FlipAngle")
    if flip is not None and flip <= 3 and repetition < 300:
        return "calibration", ATTRIBUTE
    if repetition >= LONG_TR_MS:
        return _by_long_timing(echo or 0.0, image.number("InversionTime") or 0.0)
    if repetition <= SHORT_TR_MS:
        is_t1 = (echo or 0) <= 8
    elif _is_gradient_echo(image):
        is_t1 = (echo or 0) < 40 and (flip is None or flip >= 15)
    else:
        is_t1 = 200 <= repetition < 1800 and (echo or 0) < 40
    return ("t1", ATTRIBUTE) if is_t1 else None


def _by_long_timing(echo: float, inversion: float) -> tuple[str, int] | None:
    if inversion >= 1500:
        return "flair", ATTRIBUTE + 1
    if 100 <= inversion <= 300 or echo >= 70:
        return "t2", ATTRIBUTE
    return ("t2", ATTRIBUTE - 1) if echo >= 50 else None


def _scout_signs(images: Sequence[Image]) -> list[tuple[int, str]]:
    signs = []
    if "LOCALIZER" in images[0].types:
        signs.append((ATTRIBUTE + 2, "ImageType LOCALIZER"))
    planes = {slice_geometry.plane(image.orientation) for image in images if image.orientation}
    if len(planes) > 1 and len(images) < 3 * FEW_IMAGES:
        signs.append((ATTRIBUTE + 2, f"{len(images)} images in {len(planes)} planes"))
    elif len(images) < FEW_IMAGES and (most_common(i.number("SliceThickness") or 0 for i in images) or 0) >= THICK_MM:
        signs.append((ATTRIBUTE + 2, f"{len(images)} thick slices"))
    return signs


def _contradictions(image: Image, images: Sequence[Image]) -> set[str]:
    """Weightings that an attribute excludes, whatever else speaks for them."""
    found: set[str] = set()
    if _highest_b(images) > 0:
        found |= {"t1", "t2"}
    if (image.number("InversionTime") or 0) > 1500:
        found |= {"t2"}
    if (image.number("RepetitionTime") or 0) >= LONG_TR_MS:
        found |= {"t1"}
    if 0 < (image.number("RepetitionTime") or 0) < 1000 and _is_gradient_echo(image):
        found |= {"t2", "diffusion"} if _highest_b(images) == 0 else set()
    return found


def _highest_b(images: Sequence[Image]) -> float:
    return max((b.value for b in map(b_value, images) if b), default=0.0)


def _is_echo_planar(image: Image) -> bool:
    sequence = image.text("SequenceName").lstrip("*")
    return (
        "EP" in image.text("ScanningSequence").split("\\")
        or image.text("EchoPlanarPulseSequence") == "YES"
        or sequence.startswith(("ep2d", "ep_", "re_b"))
    )


def _is_gradient_echo(image: Image) -> bool:
    return "GR" in image.text("ScanningSequence").split("\\") or image.text("EchoPulseSequence") == "GRADIENT"
