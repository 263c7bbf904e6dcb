"""Which series is what: one test per layout and trap, each with its reason."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mome_node.analysis import series_grouping
from mome_node.analysis.series_grouping import Pin, SeriesRules, group
from mome_node.errors import SettingsError
from mome_node.shipped import shipped
from mome_node.study import Instance

from .plain_study import (
    ADC,
    DCE,
    DWI,
    ENHANCED_MR,
    SAGITTAL,
    SECONDARY_CAPTURE,
    STIR,
    T1,
    T2,
    at,
    instance,
    series,
    series_uid,
    study,
    uid,
)

SCHEMA = json.loads((Path(__file__).parents[1] / "data" / "grouping_report.schema.json").read_text(encoding="utf-8"))

TIMES = [at(0), at(150), at(240), at(330)]
B0, B800 = {"DiffusionBValue": 0.0}, {"DiffusionBValue": 800.0}
BESIDE = [series(2, "t2_tirm", kind=STIR), series(3, "dwi", [B0, B800], kind=DWI), series(4, "adc", kind=ADC)]
RIGHT: dict[str, Any] = {"orientation": SAGITTAL, "first_mm": 40.0, "slices": 15, "spacing_mm": 5.0, "field_mm": 200.0}
LEFT = {**RIGHT, "first_mm": -110.0}


def codes(grouped: dict[str, Any]) -> set[str]:
    return {problem["code"] for problem in grouped["problems"]}


def roles(grouped: dict[str, Any]) -> dict[int, str]:
    return {s["SeriesNumber"]: s["role"] for s in grouped["series"]}


def seconds(grouped: dict[str, Any]) -> list[float | None]:
    return [phase["t_rel_s"] for phase in grouped["dce"]["phases"]]


def series_of_phases(grouped: dict[str, Any], *parts: list[Instance]) -> list[int]:
    """SeriesNumber of each phase."""
    number = {i.sop_instance_uid: i.attributes["SeriesNumber"] for part in parts for i in part}
    return [number[phase["instances"][0]["SOPInstanceUID"]] for phase in grouped["dce"]["phases"]]


# ------------------------------------------------------------------ layouts of a dynamic
def test_a_pre_contrast_series_joins_a_series_of_all_post_contrast_phases() -> None:
    """37 of 145 studies of TCGA-BRCA are stored so: neither series alone is a dynamic."""
    pre = series(5, "SAG 3D PRE", [at(0)])
    post = series(6, "SAG 3D POST-CONTRAST", [at(300), at(400), at(500)])
    grouped = group(study(pre, post, *BESIDE))
    assert series_of_phases(grouped, pre, post) == [5, 6, 6, 6]
    assert seconds(grouped) == [0, 300, 400, 500]
    assert grouped["decision"] == "accept"


def test_a_frozen_start_time_with_trigger_times_still_gives_seconds() -> None:
    """The posts bear the start of their series; TriggerTime counts from there, so the sum is a time and no estimate."""
    pre = series(5, "SAG 3D PRE", [at(0)])
    post = series(6, "SAG 3D POST", [{**at(300), "TriggerTime": t} for t in (0.0, 100_000.0, 200_000.0)])
    grouped = group(study(pre, post, *BESIDE))
    assert seconds(grouped) == [0, 300, 400, 500]
    assert "TIMES_UNRELIABLE" in codes(grouped)


def test_posts_alone_are_refused() -> None:
    """The first of three post-contrast phases is not the pre-contrast one, whatever its place."""
    grouped = group(study(series(6, "SAG 3D POST-CONTRAST", [at(300), at(400), at(500)]), *BESIDE))
    assert grouped["decision"] == "reject"
    assert "NO_PRE" in codes(grouped)
    assert roles(grouped)[6] == "DCE_POST"


def test_the_series_without_a_phase_prefix_is_the_pre_contrast_one_if_it_is_earlier() -> None:
    """GE splits a dynamic as PhN/<name>; what Ph1 means depends on the site, so time decides and not the number."""
    split = [series(500 + i, f"Ph{i}/dyn Ax Vibrant 5p", [at(100 + 60 * i)]) for i in range(1, 6)]
    with_pre = group(study(series(500, "dyn Ax Vibrant 5p", [at(0)]), *split, *BESIDE))
    assert roles(with_pre)[500] == "DCE_PRE"
    assert roles(with_pre)[501] == "DCE_POST"
    assert "PRE_INFERRED_FROM_ORDER" not in codes(with_pre)
    without = group(study(*split, *BESIDE))
    assert roles(without)[501] == "DCE_PRE"
    assert "PRE_INFERRED_FROM_ORDER" in codes(without)


def test_an_archive_without_times_and_without_primary_images() -> None:
    """Archives re-write ImageType and empty the times: value 2 is SECONDARY everywhere, AcquisitionNumber orders the
    phases, subtractions are ORIGINAL, maps share the grid, and the b-value stands in SequenceName only."""
    kind = {**DCE, "ImageType": ["ORIGINAL", "SECONDARY", "M"]}
    subtraction = {**DCE, "ImageType": ["ORIGINAL", "SECONDARY", "M", "SUB"]}
    phases = [series(10 + 2 * i, "fl3d_dyn", [{"AcquisitionNumber": i + 1}], kind=kind, key=i) for i in range(6)]
    subtractions = [
        series(11 + 2 * i, "fl3d_dyn_SUB", [{"AcquisitionNumber": 1}], kind=subtraction, key=i) for i in range(1, 6)
    ]
    maps = [series(30, "fl3d_dyn_PEI", kind=kind), series(31, "Wash_in_map (W___, C___)", kind=kind)]
    late = series(40, "fl3d_tra_KM", slices=24, spacing_mm=1.0, kind=kind)
    dwi_kind = {**DWI, "ImageType": ["ORIGINAL", "SECONDARY", "M"]}
    dwi = series(3, "ep2d", [{"SequenceName": f"*ep_b{b}t"} for b in (50, 400, 800)], kind=dwi_kind)
    adc = series(33, "ep2d_ADC", kind={"ImageType": ["ORIGINAL", "SECONDARY", "ADC"], "SequenceName": "*ep_b50_800"})
    grouped = group(study(*phases, *subtractions, *maps, late, dwi, adc, BESIDE[0]))
    assert series_of_phases(grouped, *phases) == [10, 12, 14, 16, 18, 20]
    assert seconds(grouped) == [None] * 6
    assert codes(grouped) == {"TIMES_MISSING", "PRE_INFERRED_FROM_ORDER", "B_VALUE_FALLBACK"}
    assert {roles(grouped)[n] for n in (13, 15, 17, 19, 21)} == {"DCE_SUB"}
    assert (roles(grouped)[30], roles(grouped)[31], roles(grouped)[40]) == ("OTHER", "OTHER", "DCE_POST")
    assert grouped["dwi"]["b_values"] == [50, 400, 800]
    assert grouped["adc"]["SeriesInstanceUID"] == series_uid(33, "ep2d_ADC")


def test_temporal_tags_on_a_part_of_the_images_split_nothing() -> None:
    """Seen in I-SPY2: TemporalPositionIdentifier on some slices only; AcquisitionNumber is whole and splits."""
    dce = series(5, "Ax Vibrant PRE/POST", [{"AcquisitionNumber": n, **at(90 * n)} for n in range(1, 8)])
    dce = [
        replace(i, attributes={**i.attributes, "TemporalPositionIdentifier": i.attributes["AcquisitionNumber"]})
        if n % 3
        else i
        for n, i in enumerate(dce)
    ]
    grouped = group(study(dce, *BESIDE))
    assert [len(p["instances"]) for p in grouped["dce"]["phases"]] == [12] * 7
    assert "PARTIAL_TEMPORAL_TAGS" in codes(grouped)


def test_two_keys_together_where_neither_splits_alone() -> None:
    """Seen in TCGA: acquisition 1 is the pre-contrast phase, acquisition 2 holds two phases, TriggerTime restarts."""
    phases = [
        {"AcquisitionNumber": 1, "TriggerTime": 0.0},
        {"AcquisitionNumber": 2, "TriggerTime": 0.0},
        {"AcquisitionNumber": 2, "TriggerTime": 90_000.0},
    ]
    grouped = group(study(series(5, "IR-SPGR-SAG", phases), *BESIDE))
    assert [len(p["instances"]) for p in grouped["dce"]["phases"]] == [12, 12, 12]


def test_a_key_that_cuts_a_volume_in_two_is_no_phase() -> None:
    """AcquisitionNumber may count the two halves of each volume; what it separates must overlap in space."""
    dce = series(5, "dyn", [{"TriggerTime": t} for t in (0.0, 150_000.0, 240_000.0)])
    dce = [
        replace(i, attributes={**i.attributes, "AcquisitionNumber": 2 * (n // 12) + (n % 12 >= 6)})
        for n, i in enumerate(dce)
    ]
    grouped = group(study(dce, *BESIDE))
    assert [len(p["instances"]) for p in grouped["dce"]["phases"]] == [12, 12, 12]


def test_acquisition_numbers_outrank_series_numbers() -> None:
    """Archives renumber series; the scanner's AcquisitionNumber is what is left of the order without times."""
    phases = [series(20 - n, "dyn", [{"AcquisitionNumber": n}], key=n) for n in range(1, 6)]
    assert series_of_phases(group(study(*phases, *BESIDE)), *phases) == [19, 18, 17, 16, 15]


def test_nearly_frozen_acquisition_times_give_way_to_trigger_times() -> None:
    """Derived copies bear times of seconds apart where the phases are minutes apart."""
    phases = [{**at(3 * n), "TriggerTime": t} for n, t in enumerate((0.0, 150_000.0, 240_000.0, 330_000.0))]
    grouped = group(study(series(5, "dyn", phases), *BESIDE))
    assert seconds(grouped) == [0, 150, 240, 330]
    assert "TIMES_UNRELIABLE" in codes(grouped)


def test_water_and_in_phase_images_interleaved_in_one_series() -> None:
    """Philips mDIXON: DERIVED water images are the dynamic; the in-phase ones are not phases of it."""
    phases = [
        {**time, "ImageType": ["DERIVED", "PRIMARY", part, part], "TemporalPositionIdentifier": n}
        for n, time in enumerate(TIMES)
        for part in ("W", "IP")
    ]
    dce = series(5, "mDIXON dyn", phases)
    grouped = group(study(dce, *BESIDE))
    water = {i.sop_instance_uid for i in dce if "W" in i.attributes["ImageType"]}
    assert {r["SOPInstanceUID"] for p in grouped["dce"]["phases"] for r in p["instances"]} == water


def test_a_series_of_another_dixon_component_is_no_phase() -> None:
    """Same grid and timing, but not water: as pre-contrast phase it would show fat vanishing."""
    water = {**DCE, "ImageType": ["DERIVED", "PRIMARY", "DIXON", "WATER"]}
    phases = [series(5 + n, "vibe_W", [TIMES[n]], kind=water, key=n) for n in range(4)]
    plain = series(4, "vibe", [at(-200)])
    assert series_of_phases(group(study(plain, *phases, *BESIDE)), plain, *phases) == [5, 6, 7, 8]


def test_right_and_left_breast_in_series_of_their_own_are_two_dynamics() -> None:
    """They share neither grid nor time zero; the side is read from coordinates (x > 0 is left), never from a name."""
    right, left = series(5, "L", TIMES, **RIGHT), series(6, "R", [at(1000), at(1150), at(1240)], **LEFT)
    grouped = group(study(right, left, *BESIDE))
    assert [dce["laterality"] for dce in grouped["dce"]] == ["right", "left"]
    assert [len(dce["phases"]) for dce in grouped["dce"]] == [4, 3]
    assert {"SPLIT_LATERALITY", "SAGITTAL"} <= codes(grouped)


def test_right_and_left_taken_in_turn_are_sorted_out() -> None:
    """pre R, pre L, post R, post L ...: eight series, two dynamics."""
    parts = [
        series(5 + 2 * n + side, f"{'post' if n else 'pre'} {side}", [at(100 * n + 50 * bool(n) + 20 * side)], **where)
        for n in range(4)
        for side, where in enumerate((RIGHT, LEFT))
    ]
    grouped = group(study(*parts, *BESIDE))
    assert [[p["t_rel_s"] for p in dce["phases"]] for dce in grouped["dce"]] == [[0, 150, 250, 350]] * 2


def test_one_breast_alone_is_said() -> None:
    """A model for both breasts must not score one as if the other were healthy."""
    grouped = group(study(series(5, "fl3d_sag_uni", TIMES, **LEFT), *BESIDE))
    assert grouped["dce"]["laterality"] == "left"
    assert {"UNILATERAL", "SAGITTAL"} <= codes(grouped)


def test_two_slabs_in_one_sagittal_series_are_both_breasts() -> None:
    """StackID does not split a phase: the slabs do not overlap, they are the two sides of one acquisition."""
    both = [
        instance({**i.attributes, "StackID": name}, (5, "IR SAG", None), name, n)
        for name, side in (("1", RIGHT), ("2", LEFT))
        for n, i in enumerate(series(5, "IR SAG", TIMES[:3], **side))
    ]
    grouped = group(study(both, *BESIDE))
    assert grouped["dce"]["laterality"] == "bilateral"
    assert [len(p["instances"]) for p in grouped["dce"]["phases"]] == [30, 30, 30]


def enhanced(instances: list[Instance], per_frame: tuple[str, ...]) -> list[Instance]:
    """One multi-frame object of the slices of a series."""
    per_frame = ("ImagePositionPatient", "InstanceNumber", *per_frame)
    frames = tuple({k: v for k, v in i.attributes.items() if k in per_frame} for i in instances)
    shared = {k: v for k, v in instances[0].attributes.items() if k not in per_frame}
    return [replace(instances[0], sop_class_uid=ENHANCED_MR, attributes=shared, frames=frames)]


def test_a_temporal_index_that_never_changes_is_passed_over() -> None:
    """Canon's enhanced files may say TemporalPositionIndex 1 on every volume; the frames' times are right."""
    times = [
        {"TemporalPositionIndex": 1, "FrameAcquisitionDateTime": f"202401011000{s:02d}"} for s in (0, 25, 35, 45, 55)
    ]
    dce = enhanced(series(5, "dyn", times), ("TemporalPositionIndex", "FrameAcquisitionDateTime"))
    grouped = group(study(dce, *BESIDE))
    assert seconds(grouped) == [0, 25, 35, 45, 55]
    assert grouped["dce"]["phases"][1]["instances"][0]["frames"] == list(range(13, 25))
    assert {"TEMPORAL_INDEX_INVALID", "ENHANCED_MR"} <= codes(grouped)


def test_an_exam_across_midnight_keeps_its_order() -> None:
    times = [{"AcquisitionTime": t} for t in ("235800", "000030", "000200", "000330")]
    assert seconds(group(study(series(5, "dyn", times), *BESIDE))) == [0, 150, 240, 330]


# ------------------------------------------------------------------ which phase is pre-contrast
def test_an_equal_interval_after_the_first_phase_proves_nothing() -> None:
    """Some sites inject while the scanner runs on. Then the first phase is pre-contrast by its place only."""
    grouped = group(study(series(5, "dyn", [at(90 * n) for n in range(5)]), *BESIDE))
    assert "PRE_INFERRED_FROM_ORDER" in codes(grouped)
    longer = group(study(series(5, "dyn", [at(0), at(120), at(210), at(300)]), *BESIDE))
    assert "PRE_INFERRED_FROM_ORDER" not in codes(longer)


def test_the_bolus_time_tells_pre_from_post() -> None:
    """Two phases before ContrastBolusStartTime: the last of them is used, and the repeat is said."""
    times = [{**at(60 * n), "ContrastBolusStartTime": "100130", "TemporalPositionIdentifier": n} for n in range(5)]
    grouped = group(study(series(5, "dyn", times), *BESIDE))
    assert seconds(grouped) == [0, 60, 120, 180]
    assert "PRE_DUPLICATE" in codes(grouped)


def test_a_bolus_before_every_phase_leaves_no_pre_contrast_phase() -> None:
    times = [{**at(60 * n), "ContrastBolusStartTime": "095800"} for n in range(5)]
    assert "NO_PRE" in codes(group(study(series(5, "dyn", times), *BESIDE)))


def test_of_two_pre_contrast_phases_the_last_before_the_gap_is_used() -> None:
    """Seen in TCGA: two pre-contrast sets in one series, told apart by TriggerTime; the second is the right one."""
    times = [{"TriggerTime": t} for t in (0.0, 74_996.0, 230_000.0, 305_000.0, 380_000.0)]
    grouped = group(study(series(5, "dyn", times), *BESIDE))
    assert seconds(grouped) == pytest.approx([0, 155.004, 230.004, 305.004])
    assert "PRE_DUPLICATE" in codes(grouped)


def test_a_repeated_pre_contrast_series_is_not_a_post_contrast_phase() -> None:
    pre, again = series(5, "dyn pre", [at(0)]), series(6, "dyn pre repeat", [at(90)])
    post = series(7, "dyn post", [at(240), at(330), at(420)])
    grouped = group(study(pre, again, post, *BESIDE))
    assert series_of_phases(grouped, again, post) == [6, 7, 7, 7]
    assert roles(grouped)[5] == "DCE_PRE"
    assert "PRE_DUPLICATE" in codes(grouped)


def test_a_dynamic_named_pre_as_a_whole_has_one_pre_contrast_phase() -> None:
    """Technologists start a series as "pre" and let it run: its six phases are not six pre-contrast ones."""
    run = series(5, "dyn pre", [at(t) for t in (0, 150, 240, 330, 420)])
    grouped = group(study(run, series(6, "dyn post delay", [at(520)]), *BESIDE))
    assert seconds(grouped) == [0, 150, 240, 330, 420, 520]


def test_more_phases_than_planned_begin_with_a_repeat() -> None:
    """ "1+3" plans four phases; five came because the first was repeated after motion."""
    phases = [series(5 + n, "t1_dyn_1+3", [at(t)], key=n) for n, t in enumerate((0, 300, 450, 540, 630))]
    grouped = group(study(*phases, *BESIDE))
    assert series_of_phases(grouped, *phases) == [6, 7, 8, 9]
    assert "PRE_DUPLICATE" in codes(grouped)


def test_a_series_named_pre_in_another_protocol_forbids_to_guess_one() -> None:
    """The posts look complete in themselves; taking the first of them as pre-contrast would be the worst error."""
    pre = series(4, "t1 pre", [at(-300)], RepetitionTime=6.0)
    grouped = group(study(pre, series(5, "dyn", [at(0), at(60), at(120), at(180)]), *BESIDE))
    assert "NO_PRE" in codes(grouped)


def test_a_pre_contrast_series_of_another_frame_of_reference_is_none() -> None:
    """The patient got up between: equal coordinates are other places."""
    pre = series(5, "dyn pre", [at(0)], FrameOfReferenceUID="9.9")
    grouped = group(study(pre, series(6, "dyn post", [at(300), at(400), at(500)]), *BESIDE))
    assert "NO_PRE" in codes(grouped)


def test_no_delay_is_not_a_delayed_phase() -> None:
    phases = [series(5 + n, f"Ph{n + 1}/Ax dyn NO DELAY", [TIMES[n]]) for n in range(4)]
    assert "NO_PRE" not in codes(group(study(*phases, *BESIDE)))


def test_a_protocol_named_with_contrast_agent_is_so_before_it_too() -> None:
    """GE: "Dyn Ax Vibrant+C" is the pre-contrast series of Ph1/Dyn Ax Vibrant+C."""
    phases = [series(5 + n, f"{f'Ph{n}/' if n else ''}Dyn Ax Vibrant+C", [TIMES[n]]) for n in range(4)]
    grouped = group(study(*phases, *BESIDE))
    assert roles(grouped)[5] == "DCE_PRE"
    assert grouped["decision"] == "accept"


# ------------------------------------------------------------------ incomplete, repeated, aborted
def test_an_incomplete_last_phase_is_dropped_not_padded() -> None:
    """Seen in TCGA: 136, 136, 92 slices."""
    times = [{"TemporalPositionIdentifier": n, **TIMES[n]} for n in range(4)]
    grouped = group(study(series(5, "dyn", times, slices=[12, 12, 12, 8]), *BESIDE))
    assert seconds(grouped) == [0, 150, 240]
    assert "PHASE_INCOMPLETE_DROPPED" in codes(grouped)


def test_an_incomplete_first_phase_takes_the_pre_contrast_phase_with_it() -> None:
    """Dropping it would make the first post-contrast phase the baseline."""
    times = [{"TemporalPositionIdentifier": n, **TIMES[n]} for n in range(4)]
    grouped = group(study(series(5, "dyn", times, slices=[8, 12, 12, 12]), *BESIDE))
    assert grouped["decision"] == "reject"
    assert "NO_PRE" in codes(grouped)


def test_a_dynamic_that_was_broken_off_is_not_mixed_with_its_repeat() -> None:
    broken = series(5, "dyn", [{"AcquisitionNumber": n, **at(60 * n)} for n in (1, 2)], slices=[12, 5])
    whole = series(6, "dyn", [{"AcquisitionNumber": n, **at(400 + 60 * n + 60 * (n > 1))} for n in range(1, 6)])
    grouped = group(study(broken, whole, *BESIDE))
    assert set(series_of_phases(grouped, broken, whole)) == {6}
    assert roles(grouped)[5] == "DCE_ALL"
    assert "DCE_ABORTED" in codes(grouped)


def test_an_attempt_broken_off_in_series_of_one_phase_is_left_out() -> None:
    """The protocol plans 1+3 phases: four complete ones follow an incomplete one."""
    broken = series(5, "t1_dyn_1+3", [at(-100)], slices=5)
    phases = [series(6 + n, "t1_dyn_1+3", [TIMES[n]], key=n) for n in range(4)]
    grouped = group(study(broken, *phases, *BESIDE))
    assert series_of_phases(grouped, *phases) == [6, 7, 8, 9]
    assert "DCE_ABORTED" in codes(grouped)
    assert "NO_PRE" not in codes(grouped)


def test_images_sent_twice_under_new_uids_are_kept_once() -> None:
    dce = series(5, "dyn", TIMES)
    again = [instance(dict(i.attributes), (5, "dyn", None), "again", n) for n, i in enumerate(dce[:3])]
    grouped = group(study(dce, again, *BESIDE))
    assert [len(p["instances"]) for p in grouped["dce"]["phases"]] == [12, 12, 12, 12]
    assert "DUPLICATE_POSITIONS" in codes(grouped)


def test_positions_that_repeat_without_any_key_are_not_taken_apart_by_instance_number() -> None:
    """InstanceNumber is random on some scanners: a series that only it could split stays UNKNOWN."""
    grouped = group(study(series(5, "dyn", [{}, {}, {}]), *BESIDE))
    assert roles(grouped)[5] == "UNKNOWN"
    assert {"NO_DCE", "GEOMETRY_IRREGULAR"} <= codes(grouped)


def test_a_scout_stored_in_the_same_series_is_left_out() -> None:
    """One library put such a scout into the volume: a silent error of 16.7 % in the spacing."""
    dce = series(5, "dyn", TIMES)
    scout = series(5, "dyn", orientation=SAGITTAL, slices=3, spacing_mm=20.0)
    scout = [replace(i, sop_instance_uid=uid("scout", n)) for n, i in enumerate(scout)]
    grouped = group(study(dce, scout, *BESIDE))
    assert {r["SOPInstanceUID"] for p in grouped["dce"]["phases"] for r in p["instances"]} == {
        i.sop_instance_uid for i in dce
    }


@pytest.mark.parametrize("fault", ["missing slice", "no position", "sheared"])
def test_a_dynamic_without_a_regular_geometry_is_refused(fault: str) -> None:
    """Most readers close the gap or straighten the stack without a word, and every later voxel is misplaced."""
    dce = series(5, "dyn", TIMES)
    if fault == "missing slice":
        dce = [i for n, i in enumerate(dce) if n % 12 != 5]
    elif fault == "no position":
        dce = [replace(i, attributes={**i.attributes, "ImagePositionPatient": [0.0, 0.0]}) for i in dce]
    else:
        for n, i in enumerate(dce):
            x, y, z = i.attributes["ImagePositionPatient"]
            dce[n] = replace(i, attributes={**i.attributes, "ImagePositionPatient": [x, y + 0.017 * z, z]})
    grouped = group(study(dce, *BESIDE))
    assert {"NO_DCE", "GEOMETRY_IRREGULAR"} <= codes(grouped)


def test_a_t2_with_a_missing_slice_is_not_used() -> None:
    t2 = [i for n, i in enumerate(series(2, "t2", kind=T2)) if n != 5]
    grouped = group(study(series(5, "dyn", TIMES), t2, *BESIDE[1:]))
    assert grouped["t2"] is None
    assert {"GEOMETRY_IRREGULAR", "NO_T2"} <= codes(grouped)


# ------------------------------------------------------------------ derived series
@pytest.mark.parametrize(
    ("description", "role"),
    [
        ("dyn_SUB_MIP_TRA", "DCE_MIP"),
        ("SUB4", "DCE_SUB"),
        ("减影", "DCE_SUB"),
        ("soustraction", "DCE_SUB"),
        ("dyn_PEI", "OTHER"),
        ("Dynamic-3dfgre SER", "OTHER"),
        ("t1_fl3d_dyn_WI", "OTHER"),
        ("dyn_MOCO", "OTHER"),
        ("CAD~ REG dyn eTHRIVE", "OTHER"),
    ],
)
def test_a_word_for_a_derived_series_beats_its_inherited_attributes(description: str, role: str) -> None:
    """Derived series carry TR, TE and contrast agent of their parents; a subtraction as a phase corrupts everything."""
    grouped = group(study(series(5, "dyn", TIMES), series(9, description, [at(335)]), *BESIDE))
    assert roles(grouped)[9] == role
    assert seconds(grouped) == [0, 150, 240, 330]


@pytest.mark.parametrize(
    ("description", "role"), [("s3-1dyn_eTHRIVE_7DYN", "DCE_SUB"), ("sDYN_SUB2", "DCE_SUB"), ("dReg - DWI_SSH", "ADC")]
)
def test_philips_marks_derived_series_by_their_first_letter(description: str, role: str) -> None:
    grouped = group(study(series(5, "dyn", TIMES), series(9, description, Manufacturer="Philips"), *BESIDE[:2]))
    assert roles(grouped)[9] == role


def test_subtractions_alone_are_refused_with_the_numbers_that_are_missing() -> None:
    """The sender forwarded the subtractions only; the message says what to send."""
    subtraction = {**DCE, "ImageType": ["DERIVED", "PRIMARY", "M", "SUB"]}
    parts = [series(n, "dyn_SUB", kind=subtraction, key=n) for n in (11, 13)]
    grouped = group(study(*parts, *BESIDE))
    problem = next(p for p in grouped["problems"] if p["code"] == "SUB_ONLY")
    assert "10, 12" in problem["message"]
    assert grouped["t2"] is None


def test_copies_of_the_dynamic_are_ignored() -> None:
    """Distortion-corrected twins and trial copies hold the same phases; mixing them would repeat each."""
    plain, corrected = ({**DCE, "ImageType": ["ORIGINAL", "PRIMARY", "M", mark]} for mark in ("ND", "DIS2D"))
    phases = [series(10 + 2 * n, "dyn_ND", [TIMES[n]], kind=plain, key=n) for n in range(4)]
    twins = [series(11 + 2 * n, "dyn", [TIMES[n]], kind=corrected, key=n) for n in range(4)]
    trial = series(9000, "ISPY2: VOLSER: bi-lateral: original DCE", [{"AcquisitionNumber": n} for n in range(4)])
    grouped = group(study(*phases, *twins, trial, *BESIDE))
    assert series_of_phases(grouped, *phases) == [10, 12, 14, 16]
    assert roles(grouped)[11] == "OTHER"
    assert roles(grouped)[9000] == "DCE_ALL"
    assert "DERIVED_COPY_IGNORED" in codes(grouped)


# ------------------------------------------------------------------ other sequences
def test_the_high_resolution_dynamic_is_preferred_to_the_ultrafast_one() -> None:
    ultrafast = series(5, "twist", [at(4 * n) for n in range(15)], field_mm=330.0)
    grouped = group(study(ultrafast, series(6, "dyn", [at(-60), at(90), at(180), at(270)]), *BESIDE))
    assert seconds(grouped) == [0, 150, 240, 330]
    assert roles(grouped)[5] == "DCE_ALL"
    assert "DCE_MULTIPLE_FAMILIES" in codes(grouped)


def test_t1_series_are_told_apart_by_time() -> None:
    """Before the agent without fat suppression: T1. After it: post-contrast, whatever it is called."""
    before = series(4, "T1 non fs", [at(-500)], kind=T1)
    high_resolution = series(3, "t1_fl3d_VIEWS", [at(-300)], slices=24, spacing_mm=1.0, key="hr")
    after = series(9, "t1 nativ KM spät", [at(600)], kind=T1)
    grouped = group(study(before, high_resolution, series(5, "dyn", TIMES), after, BESIDE[0]))
    by_name = {s["SeriesDescription"]: s["role"] for s in grouped["series"]}
    assert by_name["T1 non fs"] == "T1_NFS"
    assert by_name["t1_fl3d_VIEWS"] == "DCE_PRE"
    assert by_name["t1 nativ KM spät"] == "DCE_POST"
    assert grouped["t1"]["SeriesInstanceUID"] == series_uid(4, "T1 non fs")


def test_a_late_series_of_the_same_protocol_is_no_phase() -> None:
    """Ten minutes after the last phase, under another name: the washout between is not the dynamic's."""
    late = series(9, "t1 KM late", [at(920)])
    grouped = group(study(*[series(5, "dyn", [time], key=n) for n, time in enumerate(TIMES)], late, *BESIDE))
    assert seconds(grouped) == [0, 150, 240, 330]
    assert roles(grouped)[9] == "DCE_POST"


def test_a_fat_suppressed_t1_is_no_t2() -> None:
    """ "T1 SPAIR post2" holds "t2" and "SPAIR": 29 patients of I-SPY2 got it as their T2."""
    post = series(6, "T1 SPAIR post2", [at(150), at(250), at(350)])
    grouped = group(study(series(5, "T1 SPAIR pre", [at(0)]), post, *BESIDE[1:]))
    assert grouped["t2"] is None
    assert roles(grouped)[6] == "DCE_POST"


@pytest.mark.parametrize(
    ("kind", "description", "role"),
    [
        (STIR, "x", "T2_FS"),
        (T2, "x", "T2"),
        ({**T2, "ScanOptions": "FS"}, "x", "T2_FS"),
        (T2, "T2 SPAIR", "T2_FS"),
        (T2, "dwi", "T2"),
        (T2, "t2 不压脂", "T2"),
        (T2, "T2 non fat sat", "T2"),
        ({**T2, "InversionTime": 1900.0}, "t2 flair", "OTHER"),
        ({**T2, "ImageType": ["DERIVED", "PRIMARY", "DIXON", "FAT"]}, "t2", "OTHER"),
    ],
)
def test_t2_and_its_fat_suppression(kind: dict[str, Any], description: str, role: str) -> None:
    """Attributes first; words only where they are silent; "non fat sat" holds "fat sat"."""
    grouped = group(study(series(5, "dyn", TIMES), series(8, description, kind=kind)))
    assert roles(grouped)[8] == role


def test_attributes_that_speak_for_two_weightings_leave_it_unknown() -> None:
    """A wrong role is worse than none."""
    odd = {"AcquisitionContrast": "T1", "RepetitionTime": 1500.0, "EchoTime": 90.0, "ScanningSequence": "SE"}
    grouped = group(
        study(series(5, "dyn", TIMES), series(8, "x", kind={**odd, "ImageType": ["ORIGINAL", "LOCALIZER"]}))
    )
    assert roles(grouped)[8] == "LOCALIZER"
    torn = {**odd, "RepetitionTime": 3000.0, "AcquisitionContrast": "DIFFUSION"}
    grouped = group(study(series(5, "dyn", TIMES), series(8, "x", kind=torn)))
    assert roles(grouped)[8] == "UNKNOWN"
    assert "undecided" in next(s["reason"] for s in grouped["series"] if s["SeriesNumber"] == 8)


def test_images_that_turn_about_the_patient_are_projections() -> None:
    """No word and no ImageType says so, but no acquisition turns by a few degrees from image to image."""
    turned = [
        image
        for n in range(12)
        for image in series(
            9, "", slices=1, orientation=[round(math.cos(n / 4), 6), round(math.sin(n / 4), 6), 0, 0, 0, -1], key="turn"
        )
    ]
    turned = [replace(i, sop_instance_uid=uid("turn", n)) for n, i in enumerate(turned)]
    assert roles(group(study(series(5, "dyn", TIMES), turned, *BESIDE)))[9] == "DCE_MIP"


def test_of_several_t2_series_the_fat_suppressed_one_is_used() -> None:
    """As in the exams that the model was made for."""
    plain = series(8, "t2_tse", kind=T2, slices=24, spacing_mm=1.0)
    grouped = group(study(series(5, "dyn", TIMES), plain, *BESIDE))
    assert grouped["t2"]["SeriesInstanceUID"] == series_uid(2, "t2_tirm")
    assert grouped["t2"]["fat_suppressed"]
    assert "T2_MULTIPLE" in codes(grouped)


def test_a_silicone_series_is_never_the_t2() -> None:
    grouped = group(study(series(5, "dyn", TIMES), series(8, "STIR silicone only", kind=STIR), *BESIDE[1:]))
    assert grouped["t2"] is None
    assert "IMPLANT_SERIES" in codes(grouped)


def test_another_frame_of_reference_is_said() -> None:
    """The patient got up: coordinates of the T2 are not those of the dynamic."""
    t2 = series(2, "t2_tirm", kind=STIR, FrameOfReferenceUID="9.9")
    grouped = group(study(series(5, "dyn", TIMES), t2, *BESIDE[1:]))
    problem = next(p for p in grouped["problems"] if p["code"] == "FOR_MISMATCH")
    assert problem["series"] == [series_uid(2, "t2_tirm")]


# ------------------------------------------------------------------ diffusion
def diffusion(phases: list[dict[str, Any]], description: str = "dwi", **more: Any) -> dict[str, Any]:
    """What is selected of a diffusion series, beside a plain dynamic."""
    return group(study(series(5, "dyn", TIMES), series(3, description, phases, kind={**DWI, **more})))


@pytest.mark.parametrize(
    ("tags", "b_value"),
    [
        ({"DiffusionBValue": 800.0}, 800),
        ({"SiemensBValue": 800}, 800),
        ({"GEBValue": [1_000_000_800, 8, 0, 0]}, 800),
        ({"GEBValue": [800, 8, 0, 0]}, 800),
        ({"PhilipsBValue": 800.0}, 800),
        ({"UIHBValue": 729.75, "UIHNominalBValue": 800.0}, 800),
        ({"ImageComments": "b=800(1.0,0.0,0.0)"}, 800),
        ({"SequenceName": "*ep_b800t"}, 800),
        ({"SequenceName": "*ep_b800#3"}, 800),
    ],
)
def test_the_b_value_is_found_where_its_vendor_writes_it(tags: dict[str, Any], b_value: int) -> None:
    """GE adds 10^9 in some versions; UIH writes the effective value beside the nominal one."""
    assert diffusion([tags])["dwi"]["b_value"] == b_value


def test_the_highest_acquired_b_value_up_to_1000_is_used() -> None:
    """As in the MOME paper; if all are above, the lowest of them."""
    values = [{"DiffusionBValue": float(b)} for b in (0, 50, 800, 1500)]
    assert diffusion(values)["dwi"]["b_value"] == 800
    assert diffusion(values[:1] + values[3:])["dwi"]["b_value"] == 1500


def test_nearly_zero_is_zero() -> None:
    """Philips writes 0.001 ... 0.004 for repeats of b = 0; they are not five b-values."""
    values = [{"DiffusionBValue": b} for b in (0.0, 0.001, 0.004, 800.0)]
    assert diffusion(values)["dwi"]["b_values"] == [0, 800]


def test_calculated_b_values_are_never_chosen() -> None:
    calculated = {**DWI, "ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "CALC_BVAL"]}
    parts = [
        series(8, "ep2d_CALC_BVAL", [{"DiffusionBValue": 900.0}], kind=calculated),
        series(9, "DW_Synthetic: Ax DWI B-1000", [{"DiffusionBValue": 1000.0}], kind=DWI),
    ]
    grouped = group(study(series(5, "dyn", TIMES), *parts, *BESIDE))
    assert grouped["dwi"]["b_value"] == 800
    assert (roles(grouped)[8], roles(grouped)[9]) == ("OTHER", "OTHER")
    assert "CALC_B_IGNORED" in codes(grouped)


def test_images_without_a_b_value_beside_others_are_b_zero() -> None:
    """GE from version 27 and Canon omit the value at b = 0."""
    grouped = diffusion([{}, B800])
    assert grouped["dwi"]["b_values"] == [0, 800]
    assert "B0_IMPLIED" in codes(grouped)


def test_directions_are_all_given_where_there_is_no_trace() -> None:
    grouped = diffusion([B0, B800, B800, B800])
    assert len(grouped["dwi"]["instances"]) == 36
    assert "DWI_DIRECTIONS_ONLY" in codes(grouped)


def test_trace_directions_and_map_in_one_series() -> None:
    """Philips: the isotropic images are used, the directions and the ADC images of the same series are not."""
    phases = [
        {**B0, "DiffusionDirectionality": "NONE"},
        *[{**B800, "DiffusionDirectionality": "DIRECTIONAL"}] * 3,
        {**B800, "DiffusionDirectionality": "ISOTROPIC"},
        {"ImageType": ["DERIVED", "PRIMARY", "ADC", "ADC"]},
    ]
    dwi = series(3, "DWI", phases, kind=DWI)
    grouped = group(study(series(5, "dyn", TIMES), dwi))
    by_uid = {i.sop_instance_uid: i.attributes for i in dwi}
    chosen = [by_uid[r["SOPInstanceUID"]] for r in grouped["dwi"]["instances"]]
    assert [c.get("DiffusionDirectionality") for c in chosen] == ["ISOTROPIC"] * 12
    assert len(grouped["adc"]["instances"]) == 12
    assert "DWI_DIRECTIONS_ONLY" not in codes(grouped)


def test_a_trace_series_is_preferred_to_its_directions() -> None:
    directions = series(7, "ep2d_diff", [B0, B800, B800, B800], kind=DWI)
    trace = series(8, "ep2d_diff_TRACEW", [B0, B800], kind={**DWI, "ImageType": ["DERIVED", "PRIMARY", "TRACEW"]})
    grouped = group(study(series(5, "dyn", TIMES), directions, trace))
    assert grouped["dwi"]["SeriesInstanceUID"] == series_uid(8, "ep2d_diff_TRACEW")


def test_a_zoomed_diffusion_series_is_second_choice() -> None:
    """It shows one breast or a part of it, however high its b-value."""
    zoomed = series(8, "zoomit", [B0, {"DiffusionBValue": 1000.0}], kind=DWI, field_mm=150.0)
    assert group(study(series(5, "dyn", TIMES), zoomed, *BESIDE))["dwi"]["b_value"] == 800


def test_a_series_named_for_its_map_that_holds_b_values_is_diffusion() -> None:
    """ "DWI_ADC" may be the protocol: images with several b-values are no map."""
    grouped = diffusion([B0, B800], description="DWI_ADC_protocol")
    assert grouped["dwi"]["b_value"] == 800


def test_a_mosaic_is_not_one_slice() -> None:
    grouped = diffusion([B0, B800], ImageType=["ORIGINAL", "PRIMARY", "DIFFUSION", "MOSAIC"])
    assert grouped["dwi"] is None
    assert "NO_DWI" in codes(grouped)


def test_a_b_value_of_zero_makes_no_diffusion_series() -> None:
    """Philips writes b = 0 into functional and other series."""
    grouped = group(study(series(5, "dyn", [{**time, **B0} for time in TIMES]), *BESIDE))
    assert roles(grouped)[5] == "DCE_ALL"


# ------------------------------------------------------------------ is it this kind of study at all?
@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"BodyPartExamined": "BRAIN"}, "NOT_BREAST"),
        ({"BodyPartExamined": None, "field_mm": 220.0}, "NOT_BREAST"),
        ({"BodyPartExamined": None, "PatientPosition": "HFS"}, "NOT_BREAST"),
        ({"BodyPartExamined": None, "StudyDescription": "MRT Prostata"}, "NOT_BREAST"),
        ({"StudyDescription": "MR guided breast biopsy"}, "INTERVENTIONAL"),
        ({"StudyDescription": "Mamma Vakuumbiopsie links"}, "INTERVENTIONAL"),
    ],
)
def test_other_studies_are_refused(attributes: dict[str, Any], code: str) -> None:
    """A routing rule that sends a brain or a biopsy must not start an analysis; the code says which."""
    grouped = group(study(series(5, "dyn", TIMES, **attributes)))
    assert grouped["decision"] == "reject"
    assert codes(grouped) == {code}
    assert not any(s["selected"] for s in grouped["series"])


@pytest.mark.parametrize(
    "attributes",
    [
        {"StudyDescription": "MRI breast, status post biopsy"},
        {"BodyPartExamined": None, "StudyDescription": "乳腺MRI"},
        {"BodyPartExamined": None, "PatientPosition": "HFP"},
        {"BodyPartExamined": "CHEST", "StudyDescription": "IRM des seins"},
        {"PatientSex": "M"},
    ],
)
def test_breast_exams_are_recognised_without_the_usual_words(attributes: dict[str, Any]) -> None:
    """Two pieces of evidence serve: prone position and a wide field of view need no language."""
    attributes = {"BodyPartExamined": "BREAST", **attributes}
    known = {keyword: value for keyword, value in attributes.items() if value is not None}
    plain = [[{k: v for k, v in i.attributes.items() if k not in attributes} for i in part] for part in BESIDE]
    beside = [
        [replace(i, attributes={**header, **known}) for i, header in zip(part, headers, strict=True)]
        for part, headers in zip(BESIDE, plain, strict=True)
    ]
    assert group(study(series(5, "dyn", TIMES, **attributes), *beside))["decision"] == "accept"


def test_two_patients_under_one_study_uid_are_refused() -> None:
    """Merged by mistake: a report would tell one patient about the other's breast."""
    grouped = group(study(series(5, "dyn", TIMES), series(2, "t2", kind=T2, PatientID="B")))
    assert codes(grouped) == {"MIXED_PATIENTS"}
    missing = group(study(series(5, "dyn", TIMES, PatientSex="F"), series(2, "t2", kind=T2)))
    assert "MIXED_PATIENTS" not in codes(missing)


def test_a_study_without_images_is_refused_cleanly() -> None:
    """Reports, captures and our own results come back by query or by a loop in the routing."""
    capture = instance({"Modality": "OT", "SeriesNumber": 1, "PatientID": "A"}, ("c",), 1, sop_class=SECONDARY_CAPTURE)
    grouped = group(study([capture]))
    assert grouped["decision"] == "reject"
    assert "NO_DCE" in codes(grouped)
    assert roles(grouped) == {1: "OTHER"}


def test_empty_descriptions_are_no_obstacle() -> None:
    grouped = group(study(series(5, None, TIMES), series(2, "", kind=STIR), series(3, None, [B0, B800], kind=DWI)))
    assert roles(grouped) == {5: "DCE_ALL", 2: "T2_FS", 3: "DWI"}
    assert "EMPTY_DESCRIPTIONS" in codes(grouped)


def test_descriptions_in_other_scripts_are_understood() -> None:
    """増強, 造影前 and 压脂 are words as good as "post", "pre" and "fat sat"."""
    pre, post = series(5, "T1 造影前", [at(0)]), series(6, "T1 造影後", [at(90), at(180), at(270)])
    grouped = group(study(pre, post, *BESIDE))
    assert series_of_phases(grouped, pre, post) == [5, 6, 6, 6]
    assert codes(grouped) == {"CHARSET"}


# ------------------------------------------------------------------ order of arrival
@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_neither_order_of_arrival_nor_instance_numbers_matter(random: Any) -> None:
    """Some scanners number their images at random, and a network delivers as it likes."""
    whole = study(series(5, "dyn", TIMES), *BESIDE)
    shuffled = list(whole.instances)
    random.shuffle(shuffled)
    numbers = random.sample(range(1, 1000), len(shuffled))
    renumbered = [
        replace(i, attributes={**i.attributes, "InstanceNumber": n}) for i, n in zip(shuffled, numbers, strict=True)
    ]
    assert group(replace(whole, instances=tuple(renumbered))) == group(whole)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["dyn", "t2", "_SUB", "pre", "post", "MIP", "adc", "dwi", ""]), min_size=4, max_size=4))
def test_no_description_makes_a_subtraction_a_phase(words: list[str]) -> None:
    """Whatever the native series are called, ImageType says SUB and a phase is never taken from it."""
    name = " ".join(words)
    kind = {**DCE, "ImageType": ["ORIGINAL", "PRIMARY", "M", "SUB"]}
    subtractions = [series(10 + n, name, [TIMES[n]], kind=kind, key=n) for n in range(4)]
    grouped = group(study(*subtractions, series(5, "dyn", TIMES), *BESIDE))
    assert {roles(grouped)[10 + n] for n in range(4)} == {"DCE_SUB"}


# ------------------------------------------------------------------ the site's rules
def test_a_site_adds_words() -> None:
    """ "Leermessung" is one clinic's word for the pre-contrast phase."""
    pre, post = series(5, "Leermessung", [at(0)]), series(6, "dyn post", [at(60), at(120), at(180)])
    rules = SeriesRules(words={"pre": ("leermessung",)})
    assert "PRE_INFERRED_FROM_ORDER" in codes(group(study(pre, post, *BESIDE)))
    assert "PRE_INFERRED_FROM_ORDER" not in codes(group(study(pre, post, *BESIDE), rules))


def test_a_pin_breaks_a_tie_but_never_overrides_an_attribute() -> None:
    """A pinned name is worth little on a day when the technologist picked another protocol under it."""
    rules = SeriesRules(pins=(Pin("MAMMA *", "T2"),))
    nothing = {"ImageType": ["ORIGINAL", "PRIMARY", "M"]}
    unknown = study(series(5, "dyn", TIMES), series(8, "MAMMA 7", kind=nothing))
    assert roles(group(unknown))[8] == "UNKNOWN"
    assert roles(group(unknown, rules))[8] == "T2"
    contradicted = study(series(5, "dyn", TIMES), series(8, "MAMMA 7", [B0, B800], kind=T2))
    assert roles(group(contradicted, rules))[8] == "DWI"
    subtraction = {**T2, "ImageType": ["DERIVED", "PRIMARY", "SUB"]}
    assert roles(group(study(series(8, "MAMMA 7", kind=subtraction)), rules))[8] == "DCE_SUB"


def test_the_shipped_rules_are_valid_and_empty() -> None:
    assert series_grouping.load_rules(shipped("config/series_rules.toml")) == SeriesRules()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[wrods]\n", "unknown key 'wrods'"),
        ('[words]\nprae = ["x"]\n', "unknown class of words 'prae'"),
        ('[words]\npre = "x"\n', "no list of words"),
        ('[[pins]]\ndescription = "x"\nrole = "DCE_PRE"\n', "no role for a pin"),
        ('[[pins]]\ndescription = "*"\nrole = "T2"\n', "no description"),
        ("pins = 3\n", "pins"),
        ("[words\n", "cannot be read"),
    ],
)
def test_a_mistake_in_the_rules_is_an_error(tmp_path: Path, text: str, complaint: str) -> None:
    """A misspelt key that is passed over is a rule that silently does nothing."""
    file = tmp_path / "rules.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=complaint):
        series_grouping.load_rules(file)


GARBAGE = st.one_of(
    st.text(max_size=5), st.floats(), st.integers(-5, 5), st.lists(st.floats(width=32), max_size=7), st.just("inf")
)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_header_ends_in_a_traceback(data: Any) -> None:
    """Any attribute may hold anything: the answer is a refusal or a smaller selection, and fits the schema."""
    parts = [series(5, "dyn", TIMES, slices=4), series(2, "t2_tirm", kind=STIR, slices=4), *BESIDE[1:]]
    instances = [i for part in parts for i in part]
    keywords = sorted(
        {keyword for i in instances for keyword in i.attributes} | {"DimensionIndexValues", "TriggerTime"}
    )
    for keyword in data.draw(st.lists(st.sampled_from(keywords), min_size=1, max_size=3)):
        value, every = data.draw(GARBAGE), data.draw(st.sampled_from([1, 2, 5]))
        instances = [
            replace(i, attributes={**i.attributes, keyword: value}) if n % every == 0 else i
            for n, i in enumerate(instances)
        ]
    jsonschema.validate(series_grouping.report([study(instances)], [], Path()), SCHEMA)
