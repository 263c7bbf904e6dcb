"""One study to its entry of the grouping report: the steps in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...findings import Problem
from ...study import Study
from . import gate, selection
from .diffusion import Diffusion
from .dynamics import Dynamic, laterality, read_family
from .families import Family, families, overlap, same_plane_grid, same_protocol, timeline
from .images import Image, references, series_of
from .kinds import Kind, kind_of, suppressed_by_attribute
from .members import credible, named
from .problems import (
    Chosen,
    decision,
    dynamic_problems,
    geometry_problems,
    once_each,
    sequence_problems,
    study_problems,
)
from .roles import Role, irregular_series, roles
from .rules import SeriesRules, load_rules
from .stacks import Split, Stack, split
from .words import Vocabulary


def group(study: Study, rules: SeriesRules | None = None) -> dict[str, Any]:
    """Roles, selections and problems of a study: one entry of `studies` of the report's schema.

    From headers only. `rules`: words and pins of the site, None for the shipped ones.
    """
    rules = rules or load_rules()
    vocabulary = rules.vocabulary()
    series = series_of(study)
    kinds = [kind_of(s, rules, vocabulary) for s in series]
    splits = {kind.uid: split(kind.series, kind.images) for kind in kinds}
    refused = gate.refusals(series, kinds, vocabulary)

    groups = [credible(f) for f in families(s for kind in kinds if _is_t1(kind) for s in splits[kind.uid].stacks)]
    dynamics = [_refuse_wrong_pre(d, groups, vocabulary) for family in groups for d in read_family(family, vocabulary)]
    dce = _choose_dynamic(dynamics, kinds, vocabulary)
    role_of = roles(kinds, splits, dynamics, dce, vocabulary)
    usable_dwi, unusable_dwi = selection.diffusions(kinds)
    reference = dce[0].phases[0].first if dce else None
    chosen = _choose(kinds, splits, role_of, dce, usable_dwi, reference)
    irregular = irregular_series(kinds, splits, groups, unusable_dwi)

    problems = refused or [
        *dynamic_problems(dynamics, dce, role_of, kinds, splits),
        *geometry_problems(irregular),
        *sequence_problems(chosen, kinds, role_of),
        *study_problems(kinds, vocabulary),
    ]
    problems = once_each(problems)
    if any(problem.code == "INTERVENTIONAL" for problem in problems):
        role_of = _roles_of_intervention(role_of)
    rejected = any(problem.severity == "error" for problem in problems)
    if rejected:
        chosen = Chosen((), (), (), (), ())
    return {
        "StudyInstanceUID": study.study_instance_uid,
        "decision": decision(problems),
        "problems": [_as_problem(problem) for problem in problems],
        "dce": _one_or_two([_as_dce(d) for d in chosen.dce]),
        "dwi": _one_or_two([selection.as_dwi(d) for d in chosen.dwi]),
        "adc": _one_or_two([selection.as_adc(kind) for kind in chosen.adc]),
        "t2": _one_or_two([selection.as_anatomical(a) for a in chosen.t2]),
        "t1": _one_or_two([selection.as_anatomical(a) for a in chosen.t1]),
        "series": [
            _as_series(kind, role_of[kind.uid], chosen.series, rejected, irregular | unusable_dwi) for kind in kinds
        ],
    }


def _is_t1(kind: Kind) -> bool:
    return kind.is_native and kind.weighting == "t1"


# ------------------------------------------------------------------ choosing
def _choose_dynamic(dynamics: Sequence[Dynamic], kinds: Sequence[Kind], vocabulary: Vocabulary) -> list[Dynamic]:
    """Of the breast, three phases or more, not ultrafast, fat-suppressed, finer voxels, more phases; then the first."""
    suppressed = {kind.uid for kind in kinds if kind.fat_suppressed}
    elsewhere = {kind.uid for kind in kinds if gate.is_elsewhere(kind.series, vocabulary)}
    here = [d for d in dynamics if d.series[0] not in elsewhere]  # none: the words are a habit of this site

    def rank(d: Dynamic) -> tuple[Any, ...]:
        return (
            len(d.phases) < 3, d.is_ultrafast, d.series[0] not in suppressed, round(d.voxel_mm3, 2), -len(d.phases),
            d.phases[0].series.order,
        )  # fmt: skip

    usable = sorted((d for d in here or dynamics if d.is_usable), key=rank)
    if not usable:
        return []
    best = usable[0]
    for other in usable[1:]:
        if _are_two_breasts(best, other):
            return [best, other] if laterality(best.phases[0].images) == "right" else [other, best]
    return [best]


def _are_two_breasts(one: Dynamic, other: Dynamic) -> bool:
    sides = {laterality(one.phases[0].images), laterality(other.phases[0].images)}
    return sides == {"left", "right"} and same_protocol(one.phases[0].first, other.phases[0].first)


def _refuse_wrong_pre(dynamic: Dynamic, groups: Sequence[Family], vocabulary: Vocabulary) -> Dynamic:
    """Refused where the first phase is a guess and an earlier series of the same region may be the pre-contrast one.

    It is so by name, or it was acquired as the phases were, with other slices.
    """
    if not any(problem.code == "PRE_INFERRED_FROM_ORDER" for problem in dynamic.problems):
        return dynamic
    first = dynamic.phases[0]
    for stack in (s for family in groups for s in family.stacks if s not in dynamic.stacks):
        words = named(stack, vocabulary)
        if words.post or not _precedes_in_region(stack, first):
            continue
        if words.pre or same_protocol(stack.first, first.first):
            how = "is the pre-contrast phase by name, and" if words.pre else "came before the first phase, and"
            why = f'"{stack.series.description}" {how} was acquired differently'
            kept = tuple(p for p in dynamic.problems if p.code != "PRE_INFERRED_FROM_ORDER")
            return replace(dynamic, refused=why, problems=kept)
    return dynamic


def _choose(
    kinds: Sequence[Kind],
    splits: Mapping[str, Split],
    role_of: Mapping[str, Role],
    dce: Sequence[Dynamic],
    dwi: Sequence[Diffusion],
    reference: Image | None,
) -> Chosen:
    def having(*wanted: str) -> list[Kind]:
        return [kind for kind in kinds if role_of[kind.uid][0] in wanted]

    chosen_dwi = selection.choose_diffusion(dwi, reference)
    return Chosen(
        dce=dce,
        dwi=chosen_dwi,
        adc=selection.choose_adc([*having("ADC"), *selection.adc_parts(kinds)], chosen_dwi, reference),
        t2=selection.choose_anatomical(selection.anatomicals(having("T2", "T2_FS"), splits), reference),
        t1=selection.choose_anatomical(selection.anatomicals(having("T1_NFS"), splits), reference),
    )


def _precedes_in_region(stack: Stack, first: Stack) -> bool:
    return (
        same_plane_grid(stack, first)
        and overlap(stack, first)
        and suppressed_by_attribute(stack.first) == suppressed_by_attribute(first.first)
        and timeline([stack, first]).stacks[0] is stack
    )


# ------------------------------------------------------------------ the report's entries
def _as_dce(dynamic: Dynamic) -> dict[str, Any]:
    times = dynamic.seconds
    return {
        "split_key": dynamic.split_key,
        "times_known": times is not None,
        "laterality": laterality(dynamic.phases[0].images),
        "phases": [
            {
                "order": order,
                "role": "DCE_POST" if order else "DCE_PRE",
                "t_rel_s": None if times is None else times[order],
                "instances": references(stack.images),
            }
            for order, stack in enumerate(dynamic.phases)
        ],
    }


def _as_series(
    kind: Kind, role: Role, selected: set[str], rejected: bool, unusable: Mapping[str, str]
) -> dict[str, Any]:
    """One series; `native` tells images of the scanner from what was made of them."""
    is_selected = kind.uid in selected
    if is_selected:
        used = "selected"
    elif kind.uid in unusable:
        used = f"not used: {unusable[kind.uid]}"
    else:
        used = "not used: the study is rejected" if rejected else "not selected"
    description = kind.series.first.attributes.get("SeriesDescription")
    return {
        "SeriesInstanceUID": kind.uid,
        "SeriesNumber": kind.series.number,
        "SeriesDescription": None if description is None else str(description),
        "role": role[0],
        "selected": is_selected,
        "native": kind.is_native,
        "reason": f"{role[1]}; {used}.",
    }


def _as_problem(problem: Problem) -> dict[str, Any]:
    return {
        "code": problem.code,
        "severity": problem.severity,
        "message": problem.message,
        "series": list(problem.series),
    }


def _one_or_two(entries: list[dict[str, Any]]) -> Any:
    """None, one entry, or a list of right and left."""
    return entries if len(entries) > 1 else entries[0] if entries else None


def _roles_of_intervention(role_of: Mapping[str, Role]) -> dict[str, Role]:
    """Acquisitions around a needle are no diagnostic series, whatever they look like."""
    return {
        uid: role if role[0] in ("LOCALIZER", "OTHER") else ("OTHER", f"acquired for an intervention ({role[1]})")
        for uid, role in role_of.items()
    }
