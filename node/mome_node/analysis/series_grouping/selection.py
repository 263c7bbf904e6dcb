"""Which diffusion, T2, T1 and ADC series of a study are used beside the dynamic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from .. import slice_geometry
from .diffusion import HIGHEST_B, Diffusion, read_diffusion
from .dynamics import laterality
from .images import Image, references
from .kinds import Kind
from .stacks import Split, Stack

SMALL_FIELD = 0.5  # of the area of the largest candidate: a zoomed series is second choice


@dataclass(frozen=True, eq=False)
class Anatomical:
    """A T2- or T1-weighted series with the stack that is used of it."""

    kind: Kind
    stack: Stack


Candidate = TypeVar("Candidate")


def diffusions(kinds: Sequence[Kind]) -> tuple[list[Diffusion], dict[str, str]]:
    """Usable diffusion series, and by series why others are not."""
    usable, unusable = [], {}
    for kind in kinds:
        if kind.weighting == "diffusion" and kind.is_native:
            found = read_diffusion(kind.series, kind.images)
            if isinstance(found, str):
                unusable[kind.uid] = found
            else:
                usable.append(found)
    return usable, unusable


def anatomicals(kinds: Sequence[Kind], splits: Mapping[str, Split]) -> list[Anatomical]:
    """Series with a regular stack; of several (echoes, repeats) the one with the longest echo, then the most slices."""
    found = []
    for kind in kinds:
        regular = [stack for stack in splits[kind.uid].stacks if stack.irregular is None]
        if regular:
            found.append(Anatomical(kind, max(regular, key=lambda s: (s.first.number("EchoTime") or 0, len(s.images)))))
    return found


def choose_diffusion(found: Sequence[Diffusion], dce: Image | None) -> list[Diffusion]:
    """Full field of view first, then a b-value within the policy, the highest; trace before directions."""

    def rank(d: Diffusion) -> tuple[Any, ...]:
        allowed = d.chosen_b <= HIGHEST_B
        b = -d.chosen_b if allowed else d.chosen_b
        return not _same_frame(d.images[0], dce), not allowed, b, not d.is_trace, -len(d.images), d.series.order

    return _both_sides(_full_field(found, lambda d: d.images), rank, lambda d: d.images)


def choose_anatomical(found: Sequence[Anatomical], dce: Image | None) -> list[Anatomical]:
    """The frame of reference of the dynamic first: others are not used with it. Then fat-suppressed, plane, slices."""

    def rank(a: Anatomical) -> tuple[Any, ...]:
        same_plane = dce is None or _plane(a.stack.first) == _plane(dce)
        in_phase = a.kind.made == "in phase"
        return (
            not _same_frame(a.stack.first, dce), not a.kind.fat_suppressed, in_phase, not same_plane,
            -len(a.stack.images), a.kind.series.order,
        )  # fmt: skip

    return _both_sides(_full_field(found, lambda a: a.stack.images), rank, lambda a: a.stack.images)


def adc_parts(kinds: Sequence[Kind]) -> list[Kind]:
    """ADC maps that are a part of a diffusion series, as a kind of their own."""
    return [replace(kind, made="adc", images=kind.parts["adc"]) for kind in kinds if "adc" in kind.parts]


def choose_adc(kinds: Sequence[Kind], chosen: Sequence[Diffusion], dce: Image | None) -> list[Kind]:
    """The map on the grid of the chosen diffusion series, else of the dynamic's frame of reference."""

    def rank(kind: Kind) -> tuple[Any, ...]:
        like = [abs(_number(kind) - _number_of(d)) for d in chosen if _same_size(kind.images[0], d.images[0])]
        return not like, not _same_frame(kind.images[0], dce), min(like, default=0), kind.series.order

    return _both_sides(list(kinds), rank, lambda kind: kind.images)


def _number(kind: Kind) -> float:
    return float(kind.series.number or 0)


def _number_of(diffusion: Diffusion) -> float:
    return float(diffusion.series.number or 0)


def _both_sides(
    found: Sequence[Candidate], rank: Callable[[Candidate], Any], images: Callable[[Candidate], Sequence[Image]]
) -> list[Candidate]:
    """The best; with the best of the other side, right first, where each breast has a series of its own."""
    ordered = sorted(found, key=rank)
    if not ordered:
        return []
    best = ordered[0]
    side = laterality(images(best))
    if side in ("left", "right"):
        for other in ordered[1:]:
            if laterality(images(other)) == ("left" if side == "right" else "right"):
                return [other, best] if side == "left" else [best, other]
    return [best]


def _full_field(found: Sequence[Candidate], images: Callable[[Candidate], Sequence[Image]]) -> list[Candidate]:
    areas = [_area(images(candidate)[0]) for candidate in found]
    return [c for c, area in zip(found, areas, strict=True) if area >= SMALL_FIELD * max(areas)]


def _area(image: Image) -> float:
    spacing = image.pixel_spacing or (0.0, 0.0)
    return image.size[0] * image.size[1] * spacing[0] * spacing[1]


def _plane(image: Image) -> str | None:
    return slice_geometry.plane(image.orientation) if image.orientation else None


def _same_frame(image: Image, dce: Image | None) -> bool:
    return dce is None or image.text("FrameOfReferenceUID") == dce.text("FrameOfReferenceUID")


def _same_size(one: Image, other: Image) -> bool:
    return one.size == other.size


def as_dwi(d: Diffusion) -> dict[str, Any]:
    """The entry `dwi` of the grouping report."""
    return {
        "SeriesInstanceUID": d.series.uid,
        "b_values": [_integer(b) for b in d.b_values],
        "b_value": _integer(d.chosen_b),
        "instances": references(d.images),
    }


def as_anatomical(a: Anatomical) -> dict[str, Any]:
    """The entries `t2` and `t1`."""
    return {
        "SeriesInstanceUID": a.kind.uid,
        "fat_suppressed": a.kind.fat_suppressed,
        "instances": references(a.stack.images),
    }


def as_adc(kind: Kind) -> dict[str, Any]:
    """The entry `adc`; images are named where the map is a part of its series."""
    entry: dict[str, Any] = {"SeriesInstanceUID": kind.uid}
    if len(kind.images) < len(kind.series.images):
        entry["instances"] = references(kind.images)
    return entry


def _integer(b: float) -> float:
    return int(b) if b == int(b) else b
