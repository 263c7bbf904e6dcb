"""A series to its stacks: images on one grid at one time. The key that separates them is tested, not looked up.

Which attribute tells two phases of one series apart depends on vendor, software and archive. A key is accepted when all
images have it and every group by it holds each slice position once; time and order come later, from the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from .. import slabs, slice_geometry
from . import clocks
from .images import Image, Series, positions

KEYS: Mapping[str, str] = {
    "TemporalPositionIdentifier": "TemporalPositionIdentifier (0020,0100)",
    "TemporalPositionIndex": "TemporalPositionIndex (0020,9128) in FrameContentSequence",
    "AcquisitionNumber": "AcquisitionNumber (0020,0012)",
    "TriggerTime": "TriggerTime (0018,1060)",
    "AcquisitionTime": "AcquisitionTime (0008,0032)",
    "FrameAcquisitionDateTime": "FrameAcquisitionDateTime (0018,9074)",
    "AcquisitionDateTime": "AcquisitionDateTime (0008,002A)",
    "ContentTime": "ContentTime (0008,0033)",
}
"""What may separate the phases of one series, in the order tried."""
DIMENSIONS = 5  # of DimensionIndexValues, tried after the keys
MOST_REPEATED = 0.25  # share of images re-sent at a position that is taken; more is a series not understood

Key = Callable[[Image], Any]


@dataclass(frozen=True, eq=False)
class Stack:
    """Images of one series on one grid at one time, one per slice position, along their normal."""

    series: Series
    images: tuple[Image, ...]
    key: str  # what separated it from its siblings, in words; "" where it has none
    order: tuple[float, ...]  # value of the key, for order only
    repeated: int = 0  # images left out because their position occurred twice
    irregular: str | None = None  # why its slices are no regular volume
    misdated: bool = False  # its acquisition time contradicts other witnesses and is not read

    @property
    def first(self) -> Image:
        return self.images[0]

    @cached_property
    def heights(self) -> np.ndarray:
        """Slice positions along the normal (N,), mm, increasing."""
        return np.array([image.height for image in self.images])

    @cached_property
    def started(self) -> float | None:
        return None if self.misdated else clocks.started(self.images)

    @cached_property
    def triggered(self) -> float | None:
        return clocks.triggered(self.images)

    @property
    def spacing(self) -> float:
        """Distance of neighbouring slices, mm."""
        return float(np.median(np.diff(self.heights))) if len(self.images) > 1 else 0.0


@dataclass(frozen=True, eq=False)
class Split:
    """A series taken apart."""

    stacks: tuple[Stack, ...]
    unplaced: int = 0  # images without position or orientation
    partial_keys: tuple[str, ...] = ()  # temporal keys that only a part of the images carries
    constant_keys: tuple[str, ...] = ()  # temporal keys that are the same on all although positions repeat
    not_understood: str | None = None  # why positions repeat: no key separates them


def split(series: Series, images: Iterable[Image]) -> Split:
    """Stacks of images that are alike in kind (see `alike`), separated by time."""
    all_images = list(images)
    placed = [image for image in all_images if image.is_placed]
    if not placed:
        return Split((), unplaced=len(all_images))
    stacks: list[Stack] = []
    partial: set[str] = set()
    constant: set[str] = set()
    not_understood = None
    for group in alike(placed):
        part = _split_in_time(series, group)
        stacks += part.stacks
        partial |= set(part.partial_keys)
        constant |= set(part.constant_keys)
        not_understood = not_understood or part.not_understood
    return Split(
        tuple(stacks), len(all_images) - len(placed), tuple(sorted(partial)), tuple(sorted(constant)), not_understood
    )


def alike(images: Sequence[Image]) -> list[list[Image]]:
    """Images of one matrix, pixel spacing, orientation and echo time: a scout in the same series is kept apart."""
    groups: list[list[Image]] = []
    for image in images:
        for group in groups:
            if _alike(group[0], image):
                group.append(image)
                break
        else:
            groups.append([image])
    return groups


def _alike(one: Image, other: Image) -> bool:
    assert one.orientation and other.orientation and one.pixel_spacing and other.pixel_spacing
    echoes = one.number("EchoTime"), other.number("EchoTime")
    return (
        one.size == other.size
        and slice_geometry.same_orientation(one.orientation, other.orientation)
        and (
            one.pixel_spacing == other.pixel_spacing
            or all(abs(a - b) <= 0.01 * b for a, b in zip(one.pixel_spacing, other.pixel_spacing, strict=True))
        )
        and (None in echoes or abs((echoes[0] or 0) - (echoes[1] or 0)) <= 0.1)
        and one.text("FrameOfReferenceUID") == other.text("FrameOfReferenceUID")
    )


def slots(images: Sequence[Image]) -> list[int]:
    """Number of the slice position of each image, counted along the normal."""
    order = sorted(range(len(images)), key=lambda i: images[i].height)
    numbers, slot, last = [0] * len(images), -1, -np.inf
    for i in order:
        if images[i].height - last > slice_geometry.SAME_POSITION_MM:
            slot, last = slot + 1, images[i].height
        numbers[i] = slot
    return numbers


def _split_in_time(series: Series, images: list[Image]) -> Split:
    at = dict(zip(map(id, images), slots(images), strict=True))
    count = max(at.values()) + 1
    if count == len(images):
        return Split((_stack(series, images, at, "", ()),))
    keys = {name: key for name, key in _keys(images).items() if any(key(image) is not None for image in images)}
    whole = {name: key for name, key in keys.items() if all(key(image) is not None for image in images)}
    partial = tuple(name for name in keys if name not in whole)
    constant = tuple(name for name, key in whole.items() if len({key(image) for image in images}) == 1)
    found = _best_key(images, at, {name: key for name, key in whole.items() if name not in constant})
    if found:
        name, groups = found
        stacks = tuple(_stack(series, groups[value], at, name, value) for value in sorted(groups))
        return Split(stacks, partial_keys=partial, constant_keys=constant)
    if (len(images) - count) / len(images) <= MOST_REPEATED:
        return Split((_stack(series, images, at, "", ()),), partial_keys=partial, constant_keys=constant)
    why = "slice positions occur several times and no attribute tells the images apart"
    return Split((), partial_keys=partial, constant_keys=constant, not_understood=why)


def _keys(images: Sequence[Image]) -> dict[str, Key]:
    keys: dict[str, Key] = {name: _key(name) for name in KEYS}
    return keys | {f"DimensionIndexValues, item {n + 1}": _dimension(n) for n in range(DIMENSIONS)}


def _key(name: str) -> Key:
    if name.endswith("DateTime"):
        return lambda image: clocks.date_time(image.text(name))
    if name.endswith("Time") and name != "TriggerTime":
        return lambda image: clocks.time_of_day(image.text(name))
    return lambda image: image.number(name)


def _dimension(index: int) -> Key:
    def value(image: Image) -> Any:
        values = image.attributes.get("DimensionIndexValues", [])
        return values[index] if isinstance(values, list) and index < len(values) else None

    return value


Groups = dict[tuple[float, ...], list[Image]]


def _best_key(images: list[Image], at: Mapping[int, int], keys: Mapping[str, Key]) -> tuple[str, Groups] | None:
    """The first key, else pair of keys, that splits cleanly; else the one that leaves least over."""
    tolerable: list[tuple[int, int, str, Groups]] = []
    for size in (1, 2):
        for names in combinations(keys, size):
            groups: Groups = {}
            for image in images:
                groups.setdefault(tuple(keys[name](image) for name in names), []).append(image)
            flaws = _flaws(groups, at)
            words = " and ".join(KEYS.get(name, name) for name in names)
            if flaws == (0, 0):
                return words, groups
            if flaws is not None:
                tolerable.append((*flaws, words, groups))
    if not tolerable:
        return None
    return min(tolerable, key=lambda t: t[:2])[2:]


def _flaws(groups: Groups, at: Mapping[int, int]) -> tuple[int, int] | None:
    """Repeated images and incomplete groups of a split; None where it is no split in time.

    A split in time has groups that cover the same positions. A group that covers others is not a phase of them.
    """
    if len(groups) < 2:
        return None
    covered = [{at[id(image)] for image in group} for group in groups.values()]
    repeated = sum(len(group) for group in groups.values()) - sum(map(len, covered))
    largest = max(covered, key=len)
    if any(not slots <= largest for slots in covered):
        return None
    incomplete = sum(slots != largest for slots in covered)
    images = sum(len(group) for group in groups.values())
    if repeated / images > MOST_REPEATED or incomplete > len(covered) / 2:
        return None
    return repeated, incomplete


def _stack(series: Series, images: Sequence[Image], at: Mapping[int, int], key: str, order: tuple[float, ...]) -> Stack:
    """Of images at one position the first by UID is kept: re-sent copies. InstanceNumber may be random."""
    chosen: dict[int, Image] = {}
    for image in sorted(images, key=lambda i: (i.uid, i.frame or 0)):
        chosen.setdefault(at[id(image)], image)
    kept = tuple(chosen[slot] for slot in sorted(chosen))
    return Stack(series, kept, key, order, len(images) - len(kept), irregularity(kept))


def irregularity(images: Sequence[Image]) -> str | None:
    """Why images are no regular volume; two sagittal slabs, one per breast, are two regular ones."""
    orientations = np.array([image.orientation for image in images], float).reshape(-1, 6)
    places = positions(images)
    words = slice_geometry.irregularity(orientations, places)
    return None if words is None or slabs.sides(orientations, places) else words
