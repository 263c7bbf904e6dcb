"""The dynamic: native phases on one grid in order of time, and which of them is pre-contrast.

A wrong pre-contrast phase spoils every later number without a sign, so a family whose first phase cannot be
pre-contrast is refused (NO_PRE), and one whose first phase is so only by its place says it (PRE_INFERRED_FROM_ORDER).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...findings import Problem
from .. import slice_geometry
from . import clocks
from .families import Family, Timeline, timeline
from .images import Image, positions
from .members import named, sessions, without_copies, without_late, without_strangers
from .stacks import KEYS, Stack
from .words import Vocabulary, normalised

CLEARLY_LONGER = 1.3  # times the median interval: the injection lies in this gap
MUCH_LONGER = 1.6  # the same after the second phase: another sequence may have been put in after the first post phase
REGULAR = 1.15  # times the median interval: no more than the usual scatter
ULTRAFAST_S = 15.0  # per phase
BOTH_SIDES_MM = 30.0  # a volume of both breasts reaches this far to either side of the midline
ONE_BREAST_MM = 230.0  # an axial field of view below this width shows one breast
PHASE_NUMBER = re.compile(r"(?<![a-z0-9])ph ?(\d{1,2})(?!\d)")  # Ph2/Ax dyn
PLANNED = re.compile(r"(?<!\d)(\d{1,2}) ?\+ ?(\d{1,2})(?!\d)")  # "dynaVIEWS_1+5"


@dataclass(frozen=True, eq=False)
class Dynamic:
    """One dynamic acquisition."""

    phases: tuple[Stack, ...]  # pre-contrast first; fewer than two: none was found
    seconds: tuple[float, ...] | None  # of the phases from the start of the first
    split_key: str
    why_pre: str
    refused: str | None  # why its first phase is not pre-contrast
    problems: tuple[Problem, ...]
    earlier: tuple[Stack, ...] = ()  # pre-contrast too, repeated
    late: tuple[Stack, ...] = ()  # after the dynamic
    incomplete: tuple[Stack, ...] = ()
    copies: tuple[Stack, ...] = ()
    aborted: tuple[Stack, ...] = ()  # of an attempt before

    @property
    def is_usable(self) -> bool:
        return len(self.phases) > 1 and self.refused is None

    @property
    def stacks(self) -> tuple[Stack, ...]:
        return (*self.phases, *self.earlier, *self.late, *self.incomplete, *self.copies, *self.aborted)

    @property
    def series(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(stack.series.uid for stack in self.phases))

    @property
    def is_ultrafast(self) -> bool:
        """A phase every few seconds, or so many phases that it must be."""
        if self.seconds is None or len(self.seconds) < 3:
            return len(self.phases) > 12
        return float(np.median(np.diff(self.seconds))) < ULTRAFAST_S

    @property
    def voxel_mm3(self) -> float:
        image = self.phases[0].first
        assert image.pixel_spacing
        return image.pixel_spacing[0] * image.pixel_spacing[1] * self.phases[0].spacing


def read_family(family: Family, vocabulary: Vocabulary) -> list[Dynamic]:
    """The dynamics that a family holds; more than one where it was started again, none where it is no dynamic.

    Series of one phase, such as a pre-contrast one, go with the longest.
    """
    if family.reference.irregular:
        return []
    members = sessions(without_strangers(family.stacks, vocabulary))
    return [d for session in members for d in _read_session(_part(family, session), vocabulary)]


def _part(family: Family, stacks: Sequence[Stack]) -> Family:
    return Family(*(tuple(s for s in part if s in stacks) for part in (family.complete, family.incomplete)))


def _read_session(family: Family, vocabulary: Vocabulary) -> list[Dynamic]:
    """The dynamics among stacks of one grid and one sitting."""
    kept, copies = without_copies(family.complete)
    several = [uid for uid in _series(family.stacks) if sum(s.series.uid == uid for s in family.stacks) > 1]
    if len(several) < 2 or _parts_of_one(kept, several, vocabulary):
        return _read(kept, family.incomplete, copies, vocabulary)
    longest = max(several, key=lambda uid: sum(s.series.uid == uid for s in kept))
    runs = []
    for uid in several:
        others = set(several) - {uid}
        joined = {uid} if uid != longest else {s.series.uid for s in family.stacks} - others
        own = [stack for stack in kept if stack.series.uid in joined]
        broken = [stack for stack in family.incomplete if stack.series.uid in joined]
        runs += _read(own, broken, copies if uid == longest else (), vocabulary)
    return runs


def _read(
    complete: Sequence[Stack], incomplete: Sequence[Stack], copies: Sequence[Stack], vocabulary: Vocabulary
) -> list[Dynamic]:
    if not _is_dynamic(complete, vocabulary):
        return []
    whole = timeline([*complete, *incomplete])
    aborted, rest = _aborted(whole, incomplete)
    order = timeline([stack for stack in rest if stack not in incomplete])
    dropped = [stack for stack in rest if stack in incomplete]
    order, late = without_late(order)
    problems: list[Problem] = []
    if aborted:
        problems.append(_problem("DCE_ABORTED", "An attempt before was broken off; the complete one is used.", aborted))
    if dropped:
        problems.append(
            _problem("PHASE_INCOMPLETE_DROPPED", "A phase with missing slices was dropped; send it again.", dropped)
        )
    first_was_dropped = bool(dropped) and whole.stacks[len(aborted)] in dropped
    pre = _find_pre(order, vocabulary, first_was_dropped)
    if pre.inferred and (why := _first_did_not_come(whole.stacks)):
        pre = Pre(0, "", refused=why)
    phases, earlier = order.stacks[pre.index :], order.stacks[: pre.index]
    if earlier:
        words = f"{len(earlier) + 1} pre-contrast phases; the last one is used."
        problems.append(_problem("PRE_DUPLICATE", words, order.stacks[: pre.index + 1]))
    if pre.inferred and not pre.refused:
        words = "The pre-contrast phase is known only by being the first in order; check it before relying on kinetics."
        problems.append(_problem("PRE_INFERRED_FROM_ORDER", words, phases[:1]))
    return [
        Dynamic(
            phases=tuple(phases),
            seconds=_relative(order, pre.index),
            split_key=_split_key(order),
            why_pre=pre.why,
            refused=pre.refused,
            problems=(*problems, *_time_problems(order, phases), *_key_problems(phases)),
            earlier=tuple(earlier),
            late=tuple(late),
            incomplete=tuple(dropped),
            copies=tuple(copies),
            aborted=tuple(aborted),
        )
    ]


def _is_dynamic(complete: Sequence[Stack], vocabulary: Vocabulary) -> bool:
    """Three stacks or more, several in one series, or two of which one is named pre-contrast and one not."""
    if len(complete) < 2:
        return False
    if len(complete) > 2 or len(_series(complete)) == 1:
        return True
    names = [named(stack, vocabulary) for stack in complete]
    return any(n.pre and not n.post for n in names) and any(n.post and not n.pre for n in names)


# ------------------------------------------------------------------ attempts and plans
def _parts_of_one(stacks: Sequence[Stack], several: Sequence[str], vocabulary: Vocabulary) -> bool:
    """Whether series that hold several phases each continue one another: all are named post, or one of them pre."""
    firsts = [next((stack for stack in stacks if stack.series.uid == uid), None) for uid in several]
    names = [named(stack, vocabulary) for stack in firsts if stack]
    only_pre = [n.pre and not n.post for n in names]
    return sum(only_pre) <= 1 and all(n.post or pre for n, pre in zip(names, only_pre, strict=True))


def _aborted(order: Timeline, incomplete: Sequence[Stack]) -> tuple[list[Stack], list[Stack]]:
    """The attempt before an incomplete stack, where the protocol's planned number of phases follows it."""
    planned = _planned(order.stacks)
    for i, stack in enumerate(order.stacks):
        if stack in incomplete and planned and len(order.stacks) - i - 1 == planned:
            return list(order.stacks[: i + 1]), list(order.stacks[i + 1 :])
    return [], list(order.stacks)


def _planned(stacks: Sequence[Stack]) -> int | None:
    """Number of phases of the protocol: NumberOfTemporalPositions, or "1+5" in the description."""
    number = stacks[0].first.number("NumberOfTemporalPositions")
    if number and number > 1:
        return int(number)
    match = PLANNED.search(stacks[0].series.description)
    return int(match[1]) + int(match[2]) if match else None


def _first_did_not_come(stacks: Sequence[Stack]) -> str | None:
    """Why the first phase that came is not the first that was acquired, by its number or by their count."""
    for keyword in ("TemporalPositionIdentifier", "TemporalPositionIndex"):
        if (begin := _begin(stack.first.number(keyword) for stack in stacks)) and begin > 1:
            return f"{KEYS[keyword]} begins at {begin:.0f}"
    marks = (PHASE_NUMBER.search(normalised(stack.series.description)) for stack in stacks)
    if (begin := _begin(float(mark[1]) if mark else None for mark in marks)) and begin > 1:
        return f"the phases begin with Ph{begin:.0f}"
    counted = _begin(stack.first.number("AcquisitionNumber") for stack in stacks) == 1
    plan = PLANNED.search(stacks[0].series.description)
    if plan and len(stacks) < int(plan[1]) + int(plan[2]) and not counted:
        return f'of the {plan[0]} phases of "{stacks[0].series.description}" {len(stacks)} came, and any may be missing'
    return None


def _begin(numbers: Iterable[float | None]) -> float | None:
    """The lowest of numbers that tell phases apart; None where they do not."""
    known = list(numbers)
    return min(n for n in known if n is not None) if len(set(known)) == len(known) and None not in known else None


# ------------------------------------------------------------------ the pre-contrast phase
@dataclass(frozen=True, slots=True)
class Pre:
    index: int
    why: str
    inferred: bool = False
    refused: str | None = None


def _find_pre(order: Timeline, vocabulary: Vocabulary, first_was_dropped: bool) -> Pre:
    """The last phase before the injection, by bolus time, words, or the gap; else the first in order."""
    if (by_bolus := _by_bolus(order)) is not None:
        return by_bolus
    if (by_words := _by_words(order, vocabulary)) is not None:
        return by_words
    if (by_plan := _by_plan(order)) is not None:
        return by_plan
    if first_was_dropped:
        return Pre(0, "", refused="the first phase is incomplete, and nothing shows that the next one is pre-contrast")
    if (by_gap := _by_gap(order)) is not None:
        return by_gap
    return Pre(0, "the first phase in order", inferred=True)


def _by_bolus(order: Timeline) -> Pre | None:
    """ContrastBolusStartTime between two phases; before all of them, there is no pre-contrast phase."""
    injections = {clocks.injected(stack.first) for stack in order.stacks} - {None}
    if not (order.seconds and order.absolute and len(injections) == 1):
        return None
    injection = next(time for time in injections if time is not None)
    times = [seconds % clocks.DAY_S for seconds in order.seconds]
    before = [i for i, time in enumerate(times) if time < injection]
    if not before:
        if times[0] - injection < 1:
            return None  # the start of the series, copied
        return Pre(0, "", refused="the contrast agent was given before the first phase (ContrastBolusStartTime)")
    if len(before) == len(times) or before != list(range(len(before))):
        return None
    return Pre(before[-1], "starts before ContrastBolusStartTime")


def _by_words(order: Timeline, vocabulary: Vocabulary) -> Pre | None:
    """Words of the descriptions, as far as they set phases apart: a protocol named "+C" is so before it, too."""
    names = [named(stack, vocabulary) for stack in order.stacks]
    strongly_post = [
        n.post
        and not n.pre
        and vocabulary.find("post", vocabulary.without("no delay", s.series.description)) is not None
        for n, s in zip(names, order.stacks, strict=True)
    ]
    if strongly_post[0]:
        return Pre(0, "", refused=f'the first phase is named "{order.stacks[0].series.description}"')
    several_series = len(_series(order.stacks)) > 1
    pre = [
        n.pre and not n.post and several_series and _speaks_for(order, i, strongly_post) for i, n in enumerate(names)
    ]
    if not any(pre) or all(pre):
        return None
    last = max(i for i, is_pre in enumerate(pre) if is_pre)
    if any(strongly_post[:last]):
        return Pre(0, "", refused="a phase named pre-contrast comes after one named post-contrast")
    return Pre(last, f'named "{order.stacks[last].series.description}"')


def _speaks_for(order: Timeline, index: int, post: Sequence[bool]) -> bool:
    """Whether a description may call this phase pre-contrast: its series holds no other, or all others are named post.

    Technologists start a series as "pre" and let it run: six phases under that name are not six pre-contrast ones.
    """
    own = [i for i, stack in enumerate(order.stacks) if stack.series is order.stacks[index].series]
    return len(own) == 1 or (own == [0, 1] and len(post) > 3 and all(post[2:]))


def _by_plan(order: Timeline) -> Pre | None:
    """More phases than the protocol plans: the last ones are the dynamic, if a gap follows the first of them."""
    planned = _planned(order.stacks)
    if planned is None or planned < 3 or len(order.stacks) <= planned or order.seconds is None:
        return None
    index = len(order.stacks) - planned
    steps = np.diff(order.seconds[index:])
    if steps[0] < CLEARLY_LONGER * float(np.median(steps[1:])):
        return None
    return Pre(index, f"first of the {planned} phases that the protocol plans, followed by a gap of {steps[0]:.0f} s")


def _by_gap(order: Timeline) -> Pre | None:
    """The injection takes time: the interval after the pre-contrast phase is clearly longer than the others."""
    if order.seconds is None or len(order.seconds) < 3:
        return None
    steps = np.diff(order.seconds)
    first, later = steps[0], steps[1:]
    if first >= CLEARLY_LONGER * float(np.median(later)):
        return Pre(0, f"followed by a gap of {first:.0f} s, the others {float(np.median(later)):.0f} s")
    if len(steps) < 3:
        return None
    usual = float(np.median(np.delete(steps, 1)))
    others_regular = np.all(np.delete(steps, 1) <= REGULAR * usual)
    if steps[1] >= MUCH_LONGER * usual and others_regular:
        return Pre(1, f"followed by a gap of {steps[1]:.0f} s, the others {usual:.0f} s")
    return None


# ------------------------------------------------------------------ what it says about itself
def _relative(order: Timeline, first: int) -> tuple[float, ...] | None:
    if order.seconds is None:
        return None
    return tuple(round(time - order.seconds[first], 3) + 0.0 for time in order.seconds[first:])


def _split_key(order: Timeline) -> str:
    several = len(_series(order.stacks)) > 1
    keys = [stack.key for stack in order.stacks if stack.key]
    parts = (["series"] if several else []) + list(dict.fromkeys(keys))
    if order.source not in parts and not order.source.startswith("series"):
        return f"{' + '.join(parts)}; times from {order.source}" if parts else order.source
    return order.source if order.source.startswith("series") else " + ".join(parts)


def _time_problems(order: Timeline, phases: Sequence[Stack]) -> list[Problem]:
    problems = []
    if order.seconds is None:
        what = "Acquisition times are missing, all the same or out of order"
        words = f"{what}; the order is that of {order.source}, seconds are unknown."
        problems.append(_problem("TIMES_MISSING", words, phases))
    if order.frozen:
        words = f"AcquisitionTime does not change between phases; order and times are taken from {order.source}."
        problems.append(_problem("TIMES_UNRELIABLE", words, phases))
    return problems


def _key_problems(phases: Sequence[Stack]) -> list[Problem]:
    repeated = [stack for stack in phases if stack.repeated]
    if not repeated:
        return []
    count = sum(stack.repeated for stack in repeated)
    words = f"{count} images repeat a slice position inside one phase; one of each was kept."
    return [_problem("DUPLICATE_POSITIONS", words, repeated)]


def laterality(images: Sequence[Image]) -> str | None:
    """Side(s) that images cover, from patient coordinates: x > 0 is the patient's left. None: undecided."""
    placed = [image for image in images if image.is_placed]
    if not placed:
        return None
    image = placed[0]
    assert image.orientation and image.pixel_spacing
    x = slice_geometry.corners(image.orientation, positions(placed), image.pixel_spacing, image.size)[:, 0]
    low, high = float(x.min()), float(x.max())
    if low > -BOTH_SIDES_MM and high > 2 * BOTH_SIDES_MM:
        return "left"
    if high < BOTH_SIDES_MM and low < -2 * BOTH_SIDES_MM:
        return "right"
    wide = slice_geometry.plane(image.orientation) == "sagittal" or high - low >= ONE_BREAST_MM
    return "bilateral" if wide and low < -BOTH_SIDES_MM and high > BOTH_SIDES_MM else None


def _series(stacks: Sequence[Stack]) -> list[str]:
    return list(dict.fromkeys(stack.series.uid for stack in stacks))


def _problem(code: str, words: str, stacks: Sequence[Stack]) -> Problem:
    return Problem.of(code, words, _series(stacks))
