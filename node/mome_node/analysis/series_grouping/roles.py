"""The role of every series, with its reason. T1 series get theirs from the dynamics and from time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import clocks
from .dynamics import Dynamic
from .families import Family
from .kinds import Kind
from .members import named
from .stacks import Split, Stack
from .words import Vocabulary

Role = tuple[str, str]  # role of the contract, reason

MADE_ROLES = {"subtraction": "DCE_SUB", "projection": "DCE_MIP", "adc": "ADC"}
WEIGHTING_ROLES = {"localizer": "LOCALIZER", "calibration": "OTHER", "flair": "OTHER", "unknown": "UNKNOWN"}


def roles(
    kinds: Sequence[Kind],
    splits: Mapping[str, Split],
    dynamics: Sequence[Dynamic],
    chosen: Sequence[Dynamic],
    vocabulary: Vocabulary,
) -> dict[str, Role]:
    """Role and reason by SeriesInstanceUID."""
    found = {kind.uid: _by_itself(kind, splits, vocabulary) for kind in kinds}
    moments = _moments(dynamics)
    for kind in kinds:
        if kind.is_native and kind.weighting == "t1":
            found[kind.uid] = moments.get(kind.uid) or _loose_t1(kind, splits[kind.uid], chosen, vocabulary)
    return found


def _by_itself(kind: Kind, splits: Mapping[str, Split], vocabulary: Vocabulary) -> Role:
    if kind.made in MADE_ROLES:
        return MADE_ROLES[kind.made], kind.why
    if kind.made == "copy" and len(splits[kind.uid].stacks) > 1 and kind.weighting == "t1":
        return "DCE_ALL", f"copy of a whole dynamic, not used: {kind.why}"
    if kind.weighting == "t2" and (kind.is_native or kind.made == "in phase"):
        suppressed = "fat suppression" if kind.fat_suppressed else "no fat suppression"
        return "T2_FS" if kind.fat_suppressed else "T2", f"{kind.why}; {suppressed}"
    if not kind.is_native:
        return "OTHER", kind.why if kind.made == "object" else f"{kind.made}: {kind.why}"
    if kind.weighting == "diffusion":
        marked = {"TRACE", "TRACEW"} & kind.images[0].types or vocabulary.find("trace", kind.series.description)
        return "DWI_TRACE" if marked else "DWI", kind.why
    return WEIGHTING_ROLES.get(kind.weighting, "UNKNOWN"), kind.why


def _moments(dynamics: Sequence[Dynamic]) -> dict[str, Role]:
    """Roles of series that are part of a dynamic: their phases lie before the injection, after it, or both."""
    sides: dict[str, dict[str, str]] = {}

    def note(stacks: Sequence[Stack], side: str, reason: str) -> None:
        for stack in stacks:
            sides.setdefault(stack.series.uid, {}).setdefault(side, reason)

    for dynamic in dynamics:
        if dynamic.refused:
            note(dynamic.phases, "post", f"no pre-contrast phase: {dynamic.refused}")
        else:
            note(dynamic.phases[:1], "pre", f"pre-contrast phase: {dynamic.why_pre}")
            note(dynamic.phases[1:], "post", f"post-contrast phase {_numbers(dynamic)}")
        note(dynamic.earlier, "pre", "pre-contrast phase, repeated later")
        note(dynamic.late, "post", "long after the last phase of the dynamic, under another name")
        note(dynamic.incomplete, "post", "phase with missing slices")
        note(dynamic.aborted, "pre", "attempt that was broken off")
    return {uid: _moment(found) for uid, found in sides.items()} | {
        stack.series.uid: ("OTHER", "copy of a phase of the dynamic, same start in another series")
        for dynamic in dynamics
        for stack in dynamic.copies
        if stack.series.uid not in sides
    }


def _moment(found: Mapping[str, str]) -> Role:
    role = "DCE_ALL" if len(found) > 1 else "DCE_PRE" if "pre" in found else "DCE_POST"
    return role, "; ".join(found[side] for side in ("pre", "post") if side in found)


def _numbers(dynamic: Dynamic) -> str:
    if dynamic.seconds is None:
        return "by order only"
    return f"at {dynamic.seconds[1]:.0f} s" + (f" to {dynamic.seconds[-1]:.0f} s" if len(dynamic.seconds) > 2 else "")


def _loose_t1(kind: Kind, split: Split, chosen: Sequence[Dynamic], vocabulary: Vocabulary) -> Role:
    """A T1 series that belongs to no dynamic: before the contrast agent or after it?"""
    if split.not_understood:
        return "UNKNOWN", f"{kind.why}; {split.not_understood}"
    if sum(stack.key != "" for stack in split.stacks) > 1:
        return "DCE_ALL", f"{kind.why}; several phases, not used"
    after, why = _is_after_contrast(kind, split, chosen, vocabulary)
    if after:
        return "DCE_POST", f"{kind.why}; {why}"
    if not kind.fat_suppressed:
        return "T1_NFS", f"{kind.why}; no fat suppression; {why}"
    if after is None:
        return "UNKNOWN", f"{kind.why}; fat suppression, and {why}"
    return "DCE_PRE", f"{kind.why}; fat suppression; {why}, not on the grid of the dynamic"


def _is_after_contrast(
    kind: Kind, split: Split, chosen: Sequence[Dynamic], vocabulary: Vocabulary
) -> tuple[bool | None, str]:
    """By time; by words; by contrast agent and number. None: nothing tells."""
    started = clocks.started(kind.images)
    for dynamic in chosen:
        times = clocks.on_one_scale([started, dynamic.phases[0].started, dynamic.phases[1].started])
        if times and clocks.are_distinct(times[1:]):
            after = times[0] >= times[2] - 1
            return after, f"acquired {'after the contrast agent' if after else 'before the contrast agent'} by time"
    words = named(Stack(kind.series, kind.images, "", ()), vocabulary)
    if words.pre != words.post:
        return words.post, f"named {'post' if words.post else 'pre'}-contrast"
    if chosen:
        agent = kind.images[0].text("ContrastBolusAgent")
        with_agent = all(stack.first.text("ContrastBolusAgent") for stack in chosen[0].phases)
        if with_agent and not agent:
            return False, "no contrast agent named in it"
        after = kind.series.order > max(stack.series.order for stack in chosen[0].phases)
        return after, f"numbered {'after' if after else 'before'} the dynamic"
    return None, "nothing tells whether contrast agent had been given"


def irregular_series(
    kinds: Sequence[Kind],
    splits: Mapping[str, Split],
    groups: Sequence[Family],
    unusable_diffusion: Mapping[str, str],
) -> dict[str, str]:
    """Series that could have been used, and why their geometry forbids it; by SeriesInstanceUID."""
    found: dict[str, str] = {}
    part_of_regular = {s.series.uid for f in groups if not f.reference.irregular for s in f.stacks}
    for kind in kinds:
        if not kind.is_native or kind.weighting not in ("t1", "t2") or len(kind.images) < 3:
            continue
        split = splits[kind.uid]
        if kind.uid in part_of_regular or any(stack.irregular is None for stack in split.stacks):
            continue
        if split.not_understood:
            found[kind.uid] = split.not_understood
        elif split.stacks:
            found[kind.uid] = max(split.stacks, key=lambda s: len(s.images)).irregular or ""
        else:
            found[kind.uid] = "its images lack position or orientation"
    geometric = {uid: why for uid, why in unusable_diffusion.items() if "b-value" not in why}
    return found | geometric
