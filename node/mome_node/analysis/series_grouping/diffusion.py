"""Diffusion: the b-value of every image, wherever its vendor wrote it, and the images that the model is given.

The b-value used is the highest acquired one not above 1000 s/mm2, as in the MOME paper; never a calculated one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .images import Image, Series
from .stacks import alike, irregularity, slots

GE_OFFSET = 1_000_000_000  # some software versions write b + 10^9
HIGHEST_B = 1000.0  # s/mm2
NEARLY_ZERO = 10.0  # below it is b = 0: Philips writes 0.001 ... 0.004, Siemens 5
SAME_B = 0.02  # relative: actual values of the directions scatter about the nominal one
STANDARD = "DiffusionBValue (0018,9087)"
PRIVATE = {
    "SiemensBValue": "private (0019,100C)",
    "SiemensCSABValue": "B_value of the CSA header, private (0029,1010)",
    "GEBValue": "private (0043,1039)",
    "PhilipsBValue": "private (2001,1003)",
    "UIHNominalBValue": "private (0065,100A)",  # before the effective value, which is 929.75 for a nominal 1000
    "UIHBValue": "private (0065,1009)",
}
SEQUENCE_B = re.compile(r"_b(\d+)(?:t|#\d+)?$")  # *ep_b800t, *ep_b800#3; an ADC map has *ep_b50_800, no b-value
TRACE_SEQUENCE = re.compile(r"_b\d+t$")
ADC_SEQUENCE = re.compile(r"_b\d+_\d+$")
COMMENT_B = re.compile(r"\bb=(\d+)(?=\(|\s*$)")
DESCRIBED_B = re.compile(
    r"(?<![^\W_])b ?=? ?(\d{2,4})(?![^\W_])|(?<![^\W_])(?:dwi|diff) ?(\d{2,4})(?![^\W_])", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class BValue:
    value: float  # s/mm2, to the nearest integer; nearly zero is 0
    source: str  # where it stood


def b_value(image: Image) -> BValue | None:
    """The b-value that an image carries; None where it carries none."""
    standard = image.number("DiffusionBValue")
    if standard is not None:
        return _rounded(standard, STANDARD)
    for name, source in PRIVATE.items():
        value = image.number(name)
        if value is not None and value >= 0:
            return _rounded(value % GE_OFFSET if name == "GEBValue" else value, source)
    for keyword, pattern in (("ImageComments", COMMENT_B), ("SequenceName", SEQUENCE_B)):
        if match := pattern.search(image.text(keyword) or image.text("PulseSequenceName")):
            return _rounded(float(match[1]), keyword)
    return _rounded(0, STANDARD) if image.text("DiffusionDirectionality") == "NONE" else None


def _rounded(value: float, source: str) -> BValue:
    return BValue(float(round(value)) if value >= NEARLY_ZERO else 0.0, source)


def is_isotropic(image: Image) -> bool:
    """Whether an image is the trace over directions, by any mark."""
    return (
        image.text("DiffusionDirectionality") == "ISOTROPIC"
        or bool({"TRACE", "TRACEW"} & image.types)
        or image.text("PhilipsDiffusionDirection") == "I"
        or TRACE_SEQUENCE.search(image.text("SequenceName")) is not None
    )


@dataclass(frozen=True, eq=False)
class Diffusion:
    """What a diffusion series offers."""

    series: Series
    b_values: tuple[float, ...]  # s/mm2, acquired, increasing
    chosen_b: float
    images: tuple[Image, ...]  # of the chosen b-value: the trace if there is one, else all directions
    source: str  # of the b-values
    is_trace: bool  # one image per slice position
    b0_implied: bool

    @property
    def from_standard_tag(self) -> bool:
        return self.source == STANDARD


def read_diffusion(series: Series, images: Sequence[Image]) -> Diffusion | str:
    """b-values and images of a diffusion series, or why it cannot be used.

    `images`: those acquired; ADC and calculated images of the same series are left out before.
    """
    placed = [image for image in images if image.is_placed]
    if not placed and any(image.is_mosaic for image in images):
        return "its images are mosaics, each of a whole volume; send the series as single slices"
    if not placed:
        return "its images lack position or orientation"
    largest = max(alike(placed), key=len)
    found = [b_value(image) for image in largest]
    known = [b for b in found if b is not None]
    if not any(b.value > 0 for b in known):
        described = _described_b(series, largest)
        if described is None:
            return "no image carries a b-value above 0"
        known, found = [described], [described] * len(largest)
    nominal = _nominal(b.value if b else 0.0 for b in found)
    by_b: dict[float, list[Image]] = {}
    for image, b in zip(largest, found, strict=True):
        by_b.setdefault(nominal[b.value if b else 0.0], []).append(image)
    chosen_b = choose_b(tuple(by_b))
    chosen, is_trace = _one_kind(by_b[chosen_b])
    one_each = _one_per_position(chosen)
    if words := irregularity(one_each):
        return words
    if not is_trace and len(chosen) % len(one_each):
        return "not every slice has all diffusion directions"
    return Diffusion(
        series=series,
        b_values=tuple(sorted(by_b)),
        chosen_b=chosen_b,
        images=tuple(one_each if is_trace else chosen),
        source=next((b.source for b in known if b.source != STANDARD and b.value > 0), STANDARD),
        is_trace=is_trace,
        b0_implied=None in found,
    )


def _nominal(values: Iterable[float]) -> dict[float, float]:
    """Each b-value to the commonest of its neighbours: 995, 1000 and 1005 are one."""
    counts = Counter(values)
    groups: list[list[float]] = []
    for value in sorted(counts):
        if groups and value - groups[-1][0] <= SAME_B * value:
            groups[-1].append(value)
        else:
            groups.append([value])
    return {value: max(group, key=lambda b: (counts[b], -b)) for group in groups for value in group}


def choose_b(b_values: Sequence[float]) -> float:
    """The highest b-value above 0 and not above 1000 s/mm2; if all are above, the lowest of them."""
    acquired = [b for b in b_values if b > 0]
    allowed = [b for b in acquired if b <= HIGHEST_B]
    return max(allowed) if allowed else min(acquired)


def _one_kind(images: list[Image]) -> tuple[list[Image], bool]:
    """The trace images, else all; and whether they are one image per slice."""
    isotropic = [image for image in images if is_isotropic(image)]
    if isotropic:
        return isotropic, True
    distinct = len(set(slots(images)))
    return images, len(images) - distinct <= 0.1 * distinct  # a few re-sent images are no directions


def _one_per_position(images: Sequence[Image]) -> list[Image]:
    at = slots(images)
    chosen: dict[int, Image] = {}
    for slot, image in sorted(zip(at, images, strict=True), key=lambda p: (p[0], p[1].uid, p[1].frame or 0)):
        chosen.setdefault(slot, image)
    return list(chosen.values())


def _described_b(series: Series, images: Sequence[Image]) -> BValue | None:
    """The b-value of the description, where it names one and every slice occurs once: else it names the protocol."""
    named = {first or second for first, second in DESCRIBED_B.findall(series.description)}
    if len(named) != 1 or len(set(slots(images))) != len(images):
        return None
    value = float(named.pop())
    return BValue(value, "SeriesDescription") if value > 0 else None
