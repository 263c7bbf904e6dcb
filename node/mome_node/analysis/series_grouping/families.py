"""Stacks that can be phases of one dynamic: one grid, one protocol; and in which order they were acquired."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .. import slice_geometry
from . import clocks
from .images import Image
from .kinds import component, suppressed_by_attribute
from .stacks import KEYS, Stack

POSITION_TOLERANCE = 0.1  # of the slice or pixel spacing


@dataclass(frozen=True, eq=False)
class Family:
    """Stacks of one grid and protocol: complete ones hold every slice, incomplete ones a part."""

    complete: tuple[Stack, ...]
    incomplete: tuple[Stack, ...]

    @property
    def reference(self) -> Stack:
        return self.complete[0]

    @property
    def stacks(self) -> tuple[Stack, ...]:
        return (*self.complete, *self.incomplete)


def families(stacks: Iterable[Stack]) -> list[Family]:
    """Stacks clustered by protocol and in-plane grid, then by slice positions. Largest set of equal stacks first."""
    clusters: list[list[Stack]] = []
    for stack in stacks:
        for cluster in clusters:
            if same_protocol(cluster[0].first, stack.first) and same_plane_grid(cluster[0], stack):
                cluster.append(stack)
                break
        else:
            clusters.append([stack])
    return [family for cluster in clusters for family in _by_positions(cluster)]


def same_protocol(one: Image, other: Image) -> bool:
    """TR and TE within 2 %, flip angle within 1 degree, the same fat suppression and Dixon component."""
    return (
        _near(one.number("RepetitionTime"), other.number("RepetitionTime"), 0.02, 0)
        and _near(one.number("EchoTime"), other.number("EchoTime"), 0.02, 0.05)
        and _near(one.number("FlipAngle"), other.number("FlipAngle"), 0, 1)
        and suppressed_by_attribute(one) == suppressed_by_attribute(other)
        and component(one) == component(other)
    )


def _near(one: float | None, other: float | None, relative: float, absolute: float) -> bool:
    return one is None or other is None or abs(one - other) <= max(relative * abs(one), absolute)


def same_plane_grid(one: Stack, other: Stack) -> bool:
    """Equal matrix, pixel spacing, orientation, frame of reference and place within the plane."""
    a, b = one.first, other.first
    assert a.orientation and b.orientation and a.pixel_spacing and b.pixel_spacing and a.position and b.position
    if a.size != b.size or a.text("FrameOfReferenceUID") != b.text("FrameOfReferenceUID"):
        return False
    if not slice_geometry.same_orientation(a.orientation, b.orientation):
        return False
    if any(abs(x - y) > 0.01 * y for x, y in zip(a.pixel_spacing, b.pixel_spacing, strict=True)):
        return False
    apart = np.asarray(a.position) - np.asarray(b.position)
    direction = slice_geometry.normal(a.orientation)
    sideways = np.linalg.norm(apart - (apart @ direction) * direction)
    return bool(sideways <= POSITION_TOLERANCE * min(a.pixel_spacing) + slice_geometry.SAME_POSITION_MM)


def same_positions(one: Stack, other: Stack) -> bool:
    return len(one.heights) == len(other.heights) and is_part_of(one, other)


def is_part_of(part: Stack, whole: Stack) -> bool:
    """Whether every slice of `part` lies at a slice of `whole`."""
    if not len(whole.heights):
        return False
    nearest = np.abs(part.heights[:, None] - whole.heights[None, :]).min(axis=1)
    return bool(nearest.max() <= POSITION_TOLERANCE * max(whole.spacing, 0.1))


def overlap(one: Stack, other: Stack) -> bool:
    """Whether the slices of two stacks of one plane cover the same region: half of the smaller one at least."""
    shared = min(one.heights[-1], other.heights[-1]) - max(one.heights[0], other.heights[0])
    return bool(shared >= 0.5 * min(np.ptp(one.heights), np.ptp(other.heights)))


def _by_positions(cluster: Sequence[Stack]) -> list[Family]:
    groups: list[list[Stack]] = []
    for stack in cluster:
        for group in groups:
            if same_positions(group[0], stack):
                group.append(stack)
                break
        else:
            groups.append([stack])
    groups.sort(key=lambda g: (g[0].irregular is not None, -len(g), -len(g[0].images), g[0].series.order))
    found: list[tuple[list[Stack], list[Stack]]] = []
    for group in groups:
        for complete, incomplete in found:
            if is_part_of(group[0], complete[0]):
                incomplete.extend(group)
                break
        else:
            found.append((list(group), []))
    return [Family(tuple(complete), tuple(incomplete)) for complete, incomplete in found]


# ------------------------------------------------------------------ order and time
@dataclass(frozen=True, eq=False)
class Timeline:
    """Stacks in the order of their acquisition."""

    stacks: tuple[Stack, ...]
    seconds: tuple[float, ...] | None  # on one scale, s; None: only the order is known
    absolute: bool  # whether `seconds` are times of day
    source: str  # what ordered them, in words
    frozen: bool  # acquisition times exist but are the same, or nearly so, on phases that differ

    def only(self, wanted: Sequence[Stack]) -> Timeline:
        """The same times for a part of the stacks."""
        keep = [i for i, stack in enumerate(self.stacks) if stack in wanted]
        seconds = None if self.seconds is None else tuple(self.seconds[i] for i in keep)
        return Timeline(tuple(self.stacks[i] for i in keep), seconds, self.absolute, self.source, self.frozen)


def timeline(stacks: Sequence[Stack]) -> Timeline:
    """Order by acquisition time; where that is frozen or absent by TriggerTime, else by numbers, and times are unknown.

    InstanceNumber never counts: some scanners number at random.
    """
    started = clocks.on_one_scale([stack.started for stack in stacks])
    triggered = clocks.on_one_scale([stack.triggered for stack in stacks])
    frozen = started is not None and len(stacks) > 1 and not clocks.are_distinct(started)
    one_series = len({stack.series.uid for stack in stacks}) == 1
    has_trigger = triggered is not None and clocks.are_distinct(triggered)
    if started is not None and not frozen:
        if has_trigger and triggered and one_series and _span(triggered) > 5 * _span(started):
            return _sorted(stacks, triggered, False, KEYS["TriggerTime"], frozen=True)
        return _sorted(stacks, started, True, _time_keyword(stacks), frozen=False)
    if has_trigger and triggered and (one_series or started is None or len(set(started)) == 1):
        return _sorted(stacks, triggered, False, KEYS["TriggerTime"], frozen=frozen)
    if started is not None and (combined := _started_and_triggered(stacks, started)):
        words = f"{KEYS['AcquisitionTime']} and, within a series, {KEYS['TriggerTime']}"
        return _sorted(stacks, combined, True, words, frozen=True)
    order, source = _numbers(stacks)
    ranked = sorted(range(len(stacks)), key=lambda i: order[i])
    return Timeline(tuple(stacks[i] for i in ranked), None, False, source, frozen)


def _sorted(
    stacks: Sequence[Stack], seconds: Sequence[float], absolute: bool, source: str, *, frozen: bool
) -> Timeline:
    ranked = sorted(range(len(stacks)), key=lambda i: seconds[i])
    return Timeline(tuple(stacks[i] for i in ranked), tuple(seconds[i] for i in ranked), absolute, source, frozen)


def _started_and_triggered(stacks: Sequence[Stack], started: Sequence[float]) -> list[float] | None:
    """Start of the series plus TriggerTime, for series whose phases all bear the start of the series.

    Only where TriggerTime counts from that start, i.e. is 0 for the first phase: else the sum would be an estimate.
    """
    combined = []
    for stack, start in zip(stacks, started, strict=True):
        siblings = [other for other in stacks if other.series is stack.series]
        if len(siblings) > 1 and len({sibling.started for sibling in siblings}) == 1:
            triggers = [sibling.triggered for sibling in siblings]
            if stack.triggered is None or None in triggers or min(t for t in triggers if t is not None) != 0:
                return None
            combined.append(start + stack.triggered)
        else:
            combined.append(start)
    return combined if clocks.are_distinct(combined) else None


def _numbers(stacks: Sequence[Stack]) -> tuple[list[tuple[float, ...]], str]:
    """Order without usable times: AcquisitionNumber, else SeriesTime, else SeriesNumber; within a series its key."""
    numbers = [stack.first.number("AcquisitionNumber") for stack in stacks]
    within = stacks[0].key or "series"
    if len({stack.series.uid for stack in stacks}) == 1:
        return [stack.order for stack in stacks], within
    if None not in numbers and len(set(numbers)) == len(stacks):
        return [(number or 0.0,) for number in numbers], f"series + {KEYS['AcquisitionNumber']}"
    times = clocks.on_one_scale([clocks.time_of_day(stack.series.first.text("SeriesTime")) for stack in stacks])
    series = {stack.series.uid for stack in stacks}
    if times and len(set(times)) == len(series) and not any(stack.misdated for stack in stacks):
        return [(t, *stack.order) for t, stack in zip(times, stacks, strict=True)], "series + SeriesTime (0008,0031)"
    return [(stack.series.order[0], *stack.order) for stack in stacks], "series + SeriesNumber (0020,0011)"


def _time_keyword(stacks: Sequence[Stack]) -> str:
    image = stacks[0].first
    for keyword in ("FrameAcquisitionDateTime", "AcquisitionTime", "AcquisitionDateTime"):
        if image.text(keyword):
            return KEYS[keyword]
    return KEYS["AcquisitionTime"]


def _span(times: Sequence[float]) -> float:
    return max(times) - min(times)
