"""Which stacks of a family are phases at all: copies, maps under an odd name and late series share its grid.

Where times are known they decide. Where they are not, a series is a phase only if it bears the name that the phases
bear, or a word that says before or after the contrast agent.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from . import clocks
from .families import Family, Timeline
from .stacks import Stack
from .words import Vocabulary, spaced

LATE_GAP, LATE_S = 3.0, 240.0  # a last phase after a gap of this many intervals and seconds is no phase of the dynamic
SESSION_GAP_S = 3600.0  # between two phases: no dynamic waits that long
FEWEST_ALIKE = 3  # stacks of one name make a dynamic against which another name is odd
PHASE_MARK = re.compile(r"\bph ?\d+ ?/|\d+")  # Ph2/dyn, dyn 3: the same name as dyn


@dataclass(frozen=True, slots=True)
class Named:
    """What the description of a stack's series says about contrast agent."""

    pre: bool
    post: bool


def named(stack: Stack, vocabulary: Vocabulary) -> Named:
    """Pre- or post-contrast by the words of the description; both where it has words of both."""
    text = vocabulary.without("no delay", stack.series.description)
    rest = vocabulary.without("pre", text)
    post = vocabulary.find("post", rest) or vocabulary.find("contrast", rest)
    return Named(vocabulary.find("pre", text) is not None, post is not None)


# ------------------------------------------------------------------ clocks that lie
def credible(family: Family) -> Family:
    """The family, without its acquisition times where these are no times: anonymisers shift them series by series.

    Of series with one phase each and one name, SeriesNumber runs with time; one of them may have been reconstructed
    again under a late number. Where more are out of place, or AcquisitionNumber sides with SeriesNumber, the times are
    wrong. Times that several series share are not looked at: copies of a phase have them.
    """
    names = {id(stack): _stem(stack) for stack in family.complete}
    single = [s for s in family.complete if sum(s.series is other.series for other in family.stacks) == 1]
    for name in set(names.values()):
        if _contradicted([stack for stack in single if names[id(stack)] == name]):
            return Family(
                *(tuple(replace(s, misdated=True) for s in part) for part in (family.complete, family.incomplete))
            )
    return family


def _contradicted(stacks: Sequence[Stack]) -> bool:
    """Whether the times of series with one phase each run against their numbers."""
    ordered = sorted((s for s in stacks if s.series.number is not None), key=lambda s: s.series.order)
    times = clocks.on_one_scale([stack.started for stack in ordered])
    if len(ordered) < FEWEST_ALIKE or times is None or not clocks.are_distinct(times) or times == sorted(times):
        return False
    numbers = [stack.first.number("AcquisitionNumber") or 0.0 for stack in ordered]
    if all(one < other for one, other in pairwise(numbers)):
        return True
    rest = (times[:n] + times[n + 1 :] for n in range(len(times)))
    return all(times_left != sorted(times_left) for times_left in rest)


# ------------------------------------------------------------------ copies
def without_copies(stacks: Sequence[Stack]) -> tuple[list[Stack], list[Stack]]:
    """Phases stored twice, e.g. with and without distortion correction: same start in another series of the grid.

    Where every stack bears the same time that says nothing, and all are kept. Of corrected and uncorrected phases those
    that cover more of the dynamic are kept; of equals the uncorrected, native ones.
    """
    moments = _moments(stacks)
    if moments is None:
        return list(stacks), []
    kept, copies = [], []
    covered = [sum(any(_is_corrected(s) is kind for s in twins) for twins in moments) for kind in (False, True)]
    corrected_first = covered[True] > covered[False]
    for twins in moments:
        ordered = sorted(twins, key=lambda s: (_is_corrected(s) is not corrected_first, *_preference(s, stacks)))
        own = [stack for stack in ordered if stack.series is ordered[0].series]
        kept += own
        copies += [stack for stack in ordered if stack.series is not ordered[0].series]
    return [stack for stack in stacks if stack in kept], copies


def _moments(stacks: Sequence[Stack]) -> list[list[Stack]] | None:
    """Stacks of one moment each; None where moments are unknown or all the same.

    Without times AcquisitionNumber tells moments apart only between corrected and uncorrected images: a pre-contrast
    series and the first of the post-contrast ones may both be number 1.
    """
    moments: dict[object, list[Stack]] = {}
    if all(stack.started is not None for stack in stacks):
        for stack in stacks:
            moments.setdefault((stack.started, stack.triggered), []).append(stack)
        return list(moments.values()) if len(moments) > 1 else None
    numbers = [stack.first.number("AcquisitionNumber") for stack in stacks]
    counted = {(number, _is_corrected(stack)) for number, stack in zip(numbers, stacks, strict=True)}
    if None in numbers or len(counted) < len(stacks) or len({_is_corrected(stack) for stack in stacks}) < 2:
        return None
    for number, stack in zip(numbers, stacks, strict=True):
        moments.setdefault(number, []).append(stack)
    return list(moments.values())


def _is_corrected(stack: Stack) -> bool:
    return bool({"DIS2D", "DIS3D"} & stack.first.types)


def _preference(stack: Stack, stacks: Sequence[Stack]) -> tuple[int, tuple[float, str]]:
    """A series of many phases before one of few, then by number."""
    return -sum(other.series is stack.series for other in stacks), stack.series.order


# ------------------------------------------------------------------ strangers
def without_strangers(stacks: Sequence[Stack], vocabulary: Vocabulary) -> list[Stack]:
    """Stacks without those of which nothing tells when they were acquired, and whose name is not that of the phases.

    A map under a name of its own inherits grid and protocol of the dynamic. The name of the phases is the commonest, of
    equals the one that came first: subtractions are as many as post-contrast phases. Where fewer share a name, words
    for before and after the contrast agent are names, too. A stack that comes before all others is kept: leaving out a
    pre-contrast series would make the first post-contrast phase the baseline.
    """
    timed = [stack for stack in stacks if _has_time(stack)]
    names = {id(stack): _stem(stack) for stack in sorted(stacks, key=lambda s: s.series.order)}
    counts = Counter(names.values())
    usual = max(counts, key=lambda name: counts[name], default="")
    alike = [stack for stack in stacks if names[id(stack)] == usual]
    if len(alike) < FEWEST_ALIKE and not (alike := _named_both_ways(stacks, vocabulary)):
        return list(stacks)
    first = min(stack.series.order for stack in alike)

    def is_stranger(stack: Stack) -> bool:
        if stack in alike or (timed and _has_time(stack)) or stack.series.order < first:
            return False
        words = named(stack, vocabulary)
        return not (words.pre or words.post)

    return [stack for stack in stacks if not is_stranger(stack)]


def _named_both_ways(stacks: Sequence[Stack], vocabulary: Vocabulary) -> list[Stack]:
    """Stacks named pre- or post-contrast; none where not both are among them."""
    words = [(stack, named(stack, vocabulary)) for stack in stacks]
    pre = [stack for stack, name in words if name.pre]
    post = [stack for stack, name in words if name.post and not name.pre]
    return [*pre, *post] if pre and post else []


def _has_time(stack: Stack) -> bool:
    return stack.started is not None or stack.triggered is not None


def _stem(stack: Stack) -> str:
    """The description without what sets phases of one dynamic apart."""
    return " ".join(PHASE_MARK.sub(" ", spaced(stack.series.description)).split())


# ------------------------------------------------------------------ sessions, late series
def sessions(stacks: Sequence[Stack]) -> list[list[Stack]]:
    """Stacks of one sitting each: an exam that was repeated on another day may stand in the same study."""
    started = clocks.on_one_scale([stack.started for stack in stacks])
    if started is None:
        return [list(stacks)]
    groups: list[list[Stack]] = []
    last = -np.inf
    for time, n in sorted((time, n) for n, time in enumerate(started)):
        if time - last > SESSION_GAP_S:
            groups.append([])
        groups[-1].append(stacks[n])
        last = time
    return [[stack for stack in stacks if stack in group] for group in groups]


def without_late(order: Timeline) -> tuple[Timeline, list[Stack]]:
    """A series of its own long after the last phase, under another description, is no phase."""
    late: list[Stack] = []
    while order.seconds and len(order.stacks) > 3:
        last = order.stacks[-1]
        steps = np.diff(order.seconds)
        before = float(np.median(steps[1:-1]))
        names = {stack.series.description for stack in order.stacks[:-1]}
        alone = sum(stack.series is last.series for stack in order.stacks) == 1
        if not (alone and last.series.description not in names and steps[-1] > max(LATE_GAP * before, LATE_S)):
            break
        late.insert(0, last)
        order = order.only(order.stacks[:-1])
    return order, late
