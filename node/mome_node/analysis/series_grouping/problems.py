"""What a person should know about a study: the coded problems of the grouping, each with what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...findings import Problem
from .. import slice_geometry
from . import clocks
from .diffusion import Diffusion
from .dynamics import Dynamic, laterality
from .families import same_protocol
from .images import ENHANCED_CLASSES, Image
from .kinds import Kind
from .roles import Role
from .selection import Anatomical
from .stacks import Split
from .words import Vocabulary

Problems = list[Problem]
LONGEST_GAP_S = 3600.0  # between a sequence and the dynamic: nobody lies still that long


@dataclass(frozen=True, eq=False)
class Chosen:
    """What the report selects; two of a kind where each breast has a series of its own, right first."""

    dce: Sequence[Dynamic] = ()
    dwi: Sequence[Diffusion] = ()
    adc: Sequence[Kind] = ()
    t2: Sequence[Anatomical] = ()
    t1: Sequence[Anatomical] = ()

    @property
    def series(self) -> set[str]:
        return {uid for dynamic in self.dce for uid in dynamic.series} | {uid for uid, _ in self.beside}

    @property
    def beside(self) -> list[tuple[str, Image]]:
        """Series beside the dynamic, each with one of its images."""
        return [
            *((d.series.uid, d.images[0]) for d in self.dwi),
            *((kind.uid, kind.images[0]) for kind in self.adc),
            *((a.kind.uid, a.stack.first) for a in (*self.t2, *self.t1)),
        ]


def decision(problems: Iterable[Problem]) -> str:
    severities = {problem.severity for problem in problems}
    return "reject" if "error" in severities else "accept_with_warnings" if "warning" in severities else "accept"


def once_each(problems: Iterable[Problem]) -> Problems:
    """Each code once, with all series concerned; the gravest first."""
    merged: dict[str, Problem] = {}
    for problem in problems:
        known = merged.get(problem.code)
        series = tuple(dict.fromkeys((*(known.series if known else ()), *problem.series)))
        merged[problem.code] = replace(known or problem, series=series)
    order = ("error", "warning", "info")
    return sorted(merged.values(), key=lambda p: order.index(p.severity))


# ------------------------------------------------------------------ the dynamic
def dynamic_problems(
    dynamics: Sequence[Dynamic],
    chosen: Sequence[Dynamic],
    role_of: Mapping[str, Role],
    kinds: Sequence[Kind],
    splits: Mapping[str, Split],
) -> Problems:
    """Why there is no dynamic, or what is wrong with the chosen one and which others there are."""
    if not chosen:
        return [_no_dynamic(dynamics, role_of, kinds, splits)]
    found = [problem for dynamic in chosen for problem in dynamic.problems]
    found += _other_dynamics(dynamics, chosen, role_of, kinds, splits)
    if refused := [uid for d in dynamics if d.refused for uid in d.series]:
        words = "Another dynamic has no pre-contrast phase; it is listed only."
        found.append(Problem.of("DCE_MULTIPLE_FAMILIES", words, refused))
    copies = [s.series.uid for d in dynamics for s in d.copies]
    copies += [kind.uid for kind in kinds if kind.made in ("registered", "copy") and kind.weighting == "t1"]
    if copies:
        words = "Registered, corrected or trial copies of the dynamic were ignored; the native phases are used."
        found.append(Problem.of("DERIVED_COPY_IGNORED", words, list(dict.fromkeys(copies))))
    for dynamic in chosen:
        found += _temporal_tags(dynamic, splits)
    return found + _sides(chosen)


def _no_dynamic(
    dynamics: Sequence[Dynamic], role_of: Mapping[str, Role], kinds: Sequence[Kind], splits: Mapping[str, Split]
) -> Problem:
    refused = [d for d in dynamics if d.refused]
    if refused:
        words = f"No pre-contrast phase: {refused[0].refused}. Send the pre-contrast series of the same grid."
        return Problem.of("NO_PRE", words, refused[0].series)
    posts = [uid for uid, (role, _) in role_of.items() if role == "DCE_POST"]
    if posts:
        words = "Post-contrast images exist, but no pre-contrast phase on their grid. Send the pre-contrast series."
        return Problem.of("NO_PRE", words, posts)
    nowhere = [
        k.uid for k in kinds if k.is_native and k.weighting == "t1" and k.uid in splits and splits[k.uid].unplaced
    ]
    if nowhere:
        words = "Native T1 series came, but without position or orientation. Send them again with their geometry."
        return Problem.of("NO_DCE", words, nowhere)
    derived = [uid for uid, (role, _) in role_of.items() if role in ("DCE_SUB", "DCE_MIP")]
    if derived:
        missing = _missing_numbers(kinds)
        hint = f" Numbers that did not come: {missing}." if missing else ""
        words = f"Only subtractions or projections came. Send the native dynamic series.{hint}"
        return Problem.of("SUB_ONLY", words, derived)
    return Problem.of("NO_DCE", "No native dynamic series was found. Send the dynamic contrast-enhanced series.")


def _missing_numbers(kinds: Sequence[Kind]) -> str:
    """Gaps in the series numbers next to derived series: there the native ones would be."""
    numbers = {kind.series.number for kind in kinds}
    before = {
        kind.series.number - 1 for kind in kinds if kind.series.number and kind.made in ("subtraction", "projection")
    }
    return ", ".join(str(number) for number in sorted(before - numbers) if number > 0)


def _other_dynamics(
    dynamics: Sequence[Dynamic],
    chosen: Sequence[Dynamic],
    role_of: Mapping[str, Role],
    kinds: Sequence[Kind],
    splits: Mapping[str, Split],
) -> Problems:
    """Further dynamic series: one of the same protocol that was broken off, or another kind of dynamic."""
    own = {stack.series.uid for dynamic in chosen for stack in dynamic.stacks}
    aborted: list[str] = []
    others: list[str] = []
    for kind in kinds:
        if kind.uid in own or not kind.is_native or role_of[kind.uid][0] != "DCE_ALL":
            continue
        stacks = splits[kind.uid].stacks
        complete = max(len(stack.images) for stack in stacks)
        shorter = len(stacks) < len(chosen[0].phases) or any(len(s.images) < complete for s in stacks)
        alike = same_protocol(stacks[0].first, chosen[0].phases[0].first)
        earlier = kind.series.order < chosen[0].phases[-1].series.order
        (aborted if alike and shorter and earlier else others).append(kind.uid)
    others += [
        uid for d in dynamics if d.is_usable and d not in chosen for uid in d.series if role_of[uid][0] != "DCE_ALL"
    ]
    found = []
    if aborted:
        words = "A dynamic was broken off and started again; the complete one is used."
        found.append(Problem.of("DCE_ABORTED", words, aborted))
    if others:
        words = "There is more than one dynamic; the finer, else the first one is used, the other is listed only."
        found.append(Problem.of("DCE_MULTIPLE_FAMILIES", words, others))
    return found


def _temporal_tags(dynamic: Dynamic, splits: Mapping[str, Split]) -> Problems:
    found = []
    for uid in dynamic.series:
        part = splits[uid]
        if {"TemporalPositionIdentifier", "TemporalPositionIndex"} & set(part.partial_keys):
            words = f"Temporal positions are given on a part of the images only; phases are told apart by {_key(part)}."
            found.append(Problem.of("PARTIAL_TEMPORAL_TAGS", words, [uid]))
        if "TemporalPositionIndex" in part.constant_keys:
            words = f"TemporalPositionIndex is the same in all phases; phases are told apart by {_key(part)}."
            found.append(Problem.of("TEMPORAL_INDEX_INVALID", words, [uid]))
    return found


def _key(part: Split) -> str:
    return next((stack.key for stack in part.stacks if stack.key), "another attribute")


def _sides(chosen: Sequence[Dynamic]) -> Problems:
    first = chosen[0].phases[0]
    series = [uid for dynamic in chosen for uid in dynamic.series]
    found = []
    if len(chosen) > 1:
        words = "Right and left breast have dynamic series of their own; they are not joined."
        found.append(Problem.of("SPLIT_LATERALITY", words, series))
    elif laterality(first.images) != "bilateral":
        found.append(Problem.of("UNILATERAL", "The dynamic shows one breast.", series))
    if first.first.orientation and slice_geometry.plane(first.first.orientation) == "sagittal":
        found.append(Problem.of("SAGITTAL", "The dynamic was acquired in sagittal slices.", series))
    return found


# ------------------------------------------------------------------ the other sequences
def sequence_problems(chosen: Chosen, kinds: Sequence[Kind], role_of: Mapping[str, Role]) -> Problems:
    """What is missing beside the dynamic, and what is peculiar about what was chosen."""
    return [*_diffusion(chosen, kinds, role_of), *_t2(chosen, kinds, role_of), *_frame_of_reference(chosen)]


def _diffusion(chosen: Chosen, kinds: Sequence[Kind], role_of: Mapping[str, Role]) -> Problems:
    found = []
    adc = [k.uid for k in kinds if role_of[k.uid][0] == "ADC" or "adc" in k.parts]
    calculated = [k.uid for k in kinds if k.made == "calculated b" or "calculated b" in k.parts]
    diffusion = [uid for uid, (role, _) in role_of.items() if role in ("DWI", "DWI_TRACE")]
    if not chosen.dwi:
        words = "No usable diffusion series" + (" (see the reasons of the series)." if diffusion else " was sent.")
        found.append(Problem.of("NO_DWI", words, diffusion))
        if adc and not diffusion:
            found.append(Problem.of("ADC_WITHOUT_DWI", "An ADC map came without its diffusion images.", adc))
    if not adc:
        found.append(Problem.of("NO_ADC", "No ADC map of the vendor was sent."))
    if calculated:
        words = "Calculated (not acquired) b-value images were ignored."
        found.append(Problem.of("CALC_B_IGNORED", words, calculated))
    for d in chosen.dwi:
        if not d.is_trace:
            words = "Diffusion directions without a trace; their mean is used."
            found.append(Problem.of("DWI_DIRECTIONS_ONLY", words, [d.series.uid]))
        if not d.from_standard_tag:
            words = f"b-values are taken from {d.source}; DiffusionBValue (0018,9087) is absent."
            found.append(Problem.of("B_VALUE_FALLBACK", words, [d.series.uid]))
        if d.b0_implied:
            words = "Images without a b-value are taken as b = 0."
            found.append(Problem.of("B0_IMPLIED", words, [d.series.uid]))
    return found


def _t2(chosen: Chosen, kinds: Sequence[Kind], role_of: Mapping[str, Role]) -> Problems:
    candidates = [kind for kind in kinds if role_of[kind.uid][0] in ("T2", "T2_FS")]
    if not candidates:
        return [Problem.of("NO_T2", "No T2-weighted series was sent.")]
    if not chosen.t2:
        return [Problem.of("NO_T2", "No T2-weighted series has a regular geometry.", [k.uid for k in candidates])]
    found = []
    dixon = [k for k in kinds if k.weighting == "t2" and k.made in ("water", "fat", "in phase", "opposed phase")]
    dixon += [k for k in kinds if k.weighting == "t2" and k.made == "parametric map" and dixon]
    if len(dixon) > 1 or any(k.parts for k in dixon):
        words = "The Dixon T2 came as several reconstructions; water is used, fat and field map are not."
        found.append(Problem.of("T2_DIXON_MULTI_RECON", words, [k.uid for k in dixon]))
    reconstructions = {kind.uid for kind in dixon}
    acquisitions = [k for k in candidates if k.uid not in reconstructions]
    if len(acquisitions) + bool(reconstructions & {k.uid for k in candidates}) > len(chosen.t2):
        words = "There are several T2-weighted series; a fat-suppressed one is preferred."
        found.append(Problem.of("T2_MULTIPLE", words, [k.uid for k in candidates]))
    return found


def _frame_of_reference(chosen: Chosen) -> Problems:
    """Series whose coordinates are not those of the dynamic, because the patient may have moved between."""
    if not chosen.dce:
        return []
    firsts = [d.phases[0].first for d in chosen.dce]
    apart = {uid: words for uid, image in chosen.beside if (words := _apart(image, firsts))}
    if not apart:
        return []
    words = "; ".join(sorted(set(apart.values())))
    return [Problem.of("FOR_MISMATCH", f"Series are not used together with the dynamic: {words}.", list(apart))]


def _apart(image: Image, dynamics: Sequence[Image]) -> str | None:
    """Why an image cannot be laid over the dynamic by its coordinates, in words; None if it can."""
    frames = {first.text("FrameOfReferenceUID") for first in dynamics} - {""}
    if frames and image.text("FrameOfReferenceUID") not in frames:
        return "the patient was re-registered between (another FrameOfReferenceUID)"
    lying = {first.text("PatientPosition") for first in dynamics} - {""}
    if lying and image.text("PatientPosition") and image.text("PatientPosition") not in lying:
        return "the patient lay in another position (PatientPosition)"
    times = clocks.on_one_scale([clocks.acquired(image), *(clocks.acquired(first) for first in dynamics)])
    if times and min(abs(times[0] - time) for time in times[1:]) > LONGEST_GAP_S:
        return f"more than {LONGEST_GAP_S / 60:.0f} minutes lie between"
    return None


# ------------------------------------------------------------------ the study
def geometry_problems(irregular: Mapping[str, str]) -> Problems:
    if not irregular:
        return []
    reasons = "; ".join(sorted(set(irregular.values())))
    words = f"Series without a regular geometry are not used ({reasons}). Send them again completely."
    return [Problem.of("GEOMETRY_IRREGULAR", words, list(irregular))]


def study_problems(kinds: Sequence[Kind], vocabulary: Vocabulary) -> Problems:
    """Peculiarities of the objects and of their descriptions."""
    images = [kind for kind in kinds if kind.series.images]
    found = []
    if images and not any(kind.series.description for kind in images):
        words = "All series descriptions are empty; the series were told apart by their attributes only."
        found.append(Problem.of("EMPTY_DESCRIPTIONS", words))
    beyond_latin = [k.uid for k in images if any(ord(char) > 255 for char in k.series.description)]
    if beyond_latin:
        words = "Descriptions in another script were decoded through SpecificCharacterSet."
        found.append(Problem.of("CHARSET", words, beyond_latin))
    enhanced = [k.uid for k in images if k.series.images[0].instance.sop_class_uid in ENHANCED_CLASSES]
    if enhanced:
        words = "Multi-frame objects; their frames were grouped by functional groups."
        found.append(Problem.of("ENHANCED_MR", words, enhanced))
    silicone = [k.uid for k in images if vocabulary.find("silicone", k.series.description)]
    if silicone:
        found.append(Problem.of("IMPLANT_SERIES", "There are series for breast implants.", silicone))
    return found
