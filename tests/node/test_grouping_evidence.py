"""Clocks, numbers and names that contradict each other, or the phases that came: what is believed, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from mome_node.analysis.series_grouping import group
from mome_node.study import Instance

from .plain_study import (
    BESIDE,
    DCE,
    ENHANCED_MR,
    SECONDARY_CAPTURE,
    TIMES,
    at,
    codes,
    instance,
    roles,
    seconds,
    series,
    series_of_phases,
    study,
)

EVENLY = [60.0 * n for n in range(6)]
"""Seconds of a dynamic that runs on through the injection: no gap tells the pre-contrast phase."""


def one_each(
    names: Sequence[str], times: Sequence[float | None], *, first: int = 5, **more: Any
) -> list[list[Instance]]:
    """A series for each phase, numbered in order of the list."""
    tags = [{} if time is None else at(time) for time in times]
    return [series(first + n, name, [tags[n]], key=n, **more) for n, name in enumerate(names)]


def numbered(phases: Sequence[list[Instance]], numbers: Sequence[int]) -> list[list[Instance]]:
    """The same with AcquisitionNumbers."""
    return [
        [replace(i, attributes={**i.attributes, "AcquisitionNumber": number}) for i in phase]
        for phase, number in zip(phases, numbers, strict=True)
    ]


# ------------------------------------------------------------------ the first phase did not come
def test_temporal_positions_that_begin_at_two_have_lost_the_first() -> None:
    """The sender forwarded the dynamic but for its first phase; the second one is no pre-contrast phase."""
    phases = [{"TemporalPositionIdentifier": n + 2, **at(60.0 * n)} for n in range(5)]
    grouped = group(study(series(5, "dyn", phases), *BESIDE))
    assert grouped["decision"] == "reject"
    assert "NO_PRE" in codes(grouped)


@pytest.mark.parametrize(("first", "decision"), [(1, "accept_with_warnings"), (2, "reject")])
def test_phase_marks_that_begin_at_two_have_lost_the_first(first: int, decision: str) -> None:
    """Ph1 is pre-contrast at some sites and the first post-contrast phase at others; Ph2 is never pre-contrast."""
    names = [f"Ph{n}/Ax Vibrant" for n in range(first, first + 4)]
    grouped = group(study(*one_each(names, EVENLY[:4]), *BESIDE))
    assert grouped["decision"] == decision
    assert {"NO_PRE", "PRE_INFERRED_FROM_ORDER"} & codes(grouped)


def test_fewer_phases_than_the_name_announces_may_have_lost_the_first() -> None:
    """Five series of a dynamic "1+5" at equal intervals: nothing shows which is missing."""
    grouped = group(study(*one_each(["dyn_1+5"] * 5, EVENLY[:5]), *BESIDE))
    assert grouped["decision"] == "reject"
    assert "NO_PRE" in codes(grouped)


@pytest.mark.parametrize(
    ("times", "numbers"),
    [(EVENLY[:5], [1, 2, 3, 4, 5]), ([None] * 5, [1, 2, 3, 4, 5]), ([0, 150, 210, 270, 330], [1] * 5)],
    ids=["counted from one", "counted from one without times", "a gap after the first"],
)
def test_a_dynamic_whose_last_phase_is_missing_has_its_first(times: Any, numbers: list[int]) -> None:
    """Numbers that begin at one, or the pause of the injection, show that it is the end that did not come."""
    phases = numbered(one_each(["dyn_1+5"] * 5, times), numbers)
    grouped = group(study(*phases, *BESIDE))
    assert series_of_phases(grouped, *phases) == [5, 6, 7, 8, 9]


# ------------------------------------------------------------------ clocks that lie
SHIFTED = [5000.0, 300.0, 9000.0, 1200.0, 7000.0, 100.0]


@pytest.mark.parametrize("numbers", [None, [1, 2, 3, 4, 5, 6]], ids=["series numbers", "acquisition numbers"])
def test_times_at_random_do_not_order_the_phases(numbers: list[int] | None) -> None:
    """An anonymiser gave every series a time of its own; by them the last phase would be the pre-contrast one."""
    phases = [
        [replace(i, attributes={**i.attributes, "SeriesTime": i.attributes["AcquisitionTime"]}) for i in phase]
        for phase in one_each(["fl3d_dyn"] * 6, SHIFTED)
    ]
    phases = numbered(phases, numbers) if numbers else phases
    grouped = group(study(*phases, *BESIDE))
    assert series_of_phases(grouped, *phases) == [5, 6, 7, 8, 9, 10]
    assert set(seconds(grouped)) == {None}
    assert {"TIMES_MISSING", "PRE_INFERRED_FROM_ORDER"} <= codes(grouped)


def test_two_numbers_outweigh_the_clock() -> None:
    """Only one series is out of place by its time, and both of its numbers say otherwise."""
    phases = numbered(one_each(["fl3d_dyn"] * 4, [300, 60, 120, 180]), [1, 2, 3, 4])
    grouped = group(study(*phases, *BESIDE))
    assert series_of_phases(grouped, *phases) == [5, 6, 7, 8]
    assert "TIMES_MISSING" in codes(grouped)


@pytest.mark.parametrize("numbers", [[1, 1, 1, 1], [2, 3, 4, 1]])
def test_a_series_reconstructed_again_stays_where_its_time_is(numbers: list[int]) -> None:
    """It has a late SeriesNumber; its time, and the number of its acquisition, are those of the first phase."""
    phases = numbered(one_each(["fl3d_dyn"] * 4, [150, 220, 290, 0]), numbers)
    grouped = group(study(*phases, *BESIDE))
    assert series_of_phases(grouped, *phases) == [8, 5, 6, 7]
    assert seconds(grouped) == [0, 150, 220, 290]


def test_copies_numbered_after_all_phases_do_not_make_the_clock_a_liar() -> None:
    """Each with and without intensity normalisation under one name: the times run twice, and they are right."""
    phases = one_each(["fl3d_dyn"] * 8, [0, 150, 220, 290] * 2)
    grouped = group(study(*phases, *BESIDE))
    assert series_of_phases(grouped, *phases) == [5, 6, 7, 8]
    assert seconds(grouped) == [0, 150, 220, 290]
    assert "DERIVED_COPY_IGNORED" in codes(grouped)


# ------------------------------------------------------------------ names
ARCHIVED = {**DCE, "ImageType": ["ORIGINAL", "SECONDARY", "M", "ND"]}


@pytest.mark.parametrize("posts", [2, 3])
def test_as_many_unknown_names_as_phases_are_no_phases(posts: int) -> None:
    """Subtractions are as many as post-contrast phases, with their numbers; here without mark, time or known word."""
    names = ["T1 sans injection", *(f"T1 injection tardive {n}" for n in range(posts))]
    phases = numbered(one_each(names, [None] * (posts + 1), kind=ARCHIVED), range(1, posts + 2))
    odd = one_each(["aaa"] * posts, [None] * posts, first=20, kind=ARCHIVED)
    grouped = group(study(*phases, *numbered(odd, range(2, posts + 2)), *BESIDE))
    assert series_of_phases(grouped, *phases) == list(range(5, 6 + posts))


@pytest.mark.parametrize(
    "name",
    ["pre contrast", "T1 pre gad", "fs pré-contraste", "t1 pre mdc", "t1 före kontrast", "조영전", "до контраста"],
)
def test_a_word_for_the_contrast_agent_behind_pre_is_no_post(name: str) -> None:
    """ "Pre contrast" names one phase, not both."""
    phases = one_each([name, *["t1 fs"] * 3], EVENLY[:4])
    grouped = group(study(*phases, *BESIDE))
    assert series_of_phases(grouped, *phases) == [5, 6, 7, 8]
    assert "PRE_INFERRED_FROM_ORDER" not in codes(grouped)


@pytest.mark.parametrize("name", ["t1 pre-op", "t1 pre NACT", "t1 pre biopsy"])
def test_before_an_operation_is_not_before_contrast_agent(name: str) -> None:
    """The exam is, the phase need not be."""
    phases = one_each([name, *["t1 fs"] * 3], EVENLY[:4])
    assert "PRE_INFERRED_FROM_ORDER" in codes(group(study(*phases, *BESIDE)))


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("(502-500) Ax DISCO", "DCE_SUB"),
        ("RESTA 2", "DCE_SUB"),
        ("Differenzbild", "DCE_SUB"),
        ("вычитание", "DCE_SUB"),
        ("Farbkarte", "OTHER"),
        ("MAPA LAVADO", "OTHER"),
        ("Time to Peak", "OTHER"),
        ("rel. enhancement", "OTHER"),
    ],
)
def test_what_workstations_call_their_series(name: str, role: str) -> None:
    assert roles(group(study(series(5, "dyn", TIMES), series(9, name, [at(400)]), *BESIDE)))[9] == role


@pytest.mark.parametrize("name", ["Average DC: Ax DWI", "Avg DC"])
def test_an_adc_map_under_its_older_names(name: str) -> None:
    """GE workstations mark it DERIVED\\SECONDARY and call it the average diffusion coefficient."""
    derived = {**BESIDE[1][0].attributes, "ImageType": ["DERIVED", "SECONDARY", "COMBINED"]}
    derived = {key: value for key, value in derived.items() if key not in ("DiffusionBValue", "SeriesNumber")}
    grouped = group(study(series(5, "dyn", TIMES), *BESIDE[:2], series(9, name, kind=derived)))
    assert roles(grouped)[9] == "ADC"


# ------------------------------------------------------------------ two regions in one study
LIVER: dict[str, Any] = {"pixels": 384, "FrameOfReferenceUID": "1.2.4", "kind": {**DCE, "RepetitionTime": 3.9}}


@pytest.mark.parametrize(
    ("name", "more"), [("t1_vibe_leber_dyn", {}), ("t1_vibe_dyn", {"BodyPartExamined": "ABDOMEN"})], ids=["name", "tag"]
)
def test_a_dynamic_of_another_region_is_not_that_of_the_breast(name: str, more: dict[str, Any]) -> None:
    """Breast and liver under one StudyInstanceUID: the liver's is finer, and nothing else is wrong with it."""
    breast, liver = series(5, "dyn", TIMES), series(9, name, [at(1800 + 60 * n) for n in range(4)], **LIVER, **more)
    grouped = group(study(breast, liver, *BESIDE))
    assert series_of_phases(grouped, breast, liver) == [5, 5, 5, 5]
    assert "DCE_MULTIPLE_FAMILIES" in codes(grouped)


def test_a_breast_without_its_first_phase_is_not_replaced_by_a_liver() -> None:
    """It would be scored as a breast."""
    lost = [{"TemporalPositionIdentifier": n + 2, **at(60.0 * n)} for n in range(5)]
    liver = series(9, "t1_vibe_leber_dyn", [at(1800 + 60 * n) for n in range(4)], **LIVER)
    grouped = group(study(series(5, "dyn", lost), liver, *BESIDE))
    assert "NO_PRE" in codes(grouped)


def test_a_site_that_calls_its_breast_dynamic_after_another_region_is_served() -> None:
    """The only dynamic of a breast exam, under the name of the coil or of a copied protocol."""
    grouped = group(study(series(5, "PELVIC Sag 3D SPGR", TIMES), *BESIDE))
    assert seconds(grouped) == [0, 150, 240, 330]


# ------------------------------------------------------------------ multi-frame objects
@pytest.mark.parametrize("in_one_series", [True, False])
def test_one_multi_frame_object_for_each_phase(in_one_series: bool) -> None:
    """Siemens writes a file for every measurement; they may stand in one series or in one each."""
    objects = []
    for n, time in enumerate([0, 150, 220, 290]):
        slices = series(5 + (0 if in_one_series else n), "dyn")
        shared = {k: v for k, v in slices[0].attributes.items() if k != "ImagePositionPatient"}
        stamp = {"FrameAcquisitionDateTime": f"20260101{at(time)['AcquisitionTime']}"}
        frames = tuple({"ImagePositionPatient": i.attributes["ImagePositionPatient"], **stamp} for i in slices)
        where = (5, "dyn", None if in_one_series else n)
        objects.append(replace(instance(shared, where, "object", n, sop_class=ENHANCED_MR), frames=frames))
    grouped = group(study(objects, *BESIDE))
    assert seconds(grouped) == [0, 150, 220, 290]
    named = [phase["instances"] for phase in grouped["dce"]["phases"]]
    assert named == [[{"SOPInstanceUID": item.sop_instance_uid, "frames": None}] for item in objects]


def test_a_capture_of_a_workstation_without_birth_date_is_of_the_same_patient() -> None:
    """An empty value contradicts nothing."""
    whole = [[replace(i, attributes={**i.attributes, "PatientBirthDate": "19600101"}) for i in p] for p in BESIDE]
    capture = series(90, "Summary", slices=2, sop_class=SECONDARY_CAPTURE)
    assert "MIXED_PATIENTS" not in codes(group(study(series(5, "dyn", TIMES), *whole, capture)))
