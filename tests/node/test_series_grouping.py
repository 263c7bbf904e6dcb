"""Which series are the dynamic, in which order, and which phase is pre-contrast: one test per layout and trap."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mome_node.analysis import series_grouping
from mome_node.analysis.series_grouping import group
from mome_node.study import Instance

from .plain_study import (
    BESIDE,
    DCE,
    DWI,
    ENHANCED_MR,
    LEFT,
    RIGHT,
    SAGITTAL,
    STIR,
    T2,
    TIMES,
    at,
    codes,
    instance,
    roles,
    seconds,
    series,
    series_of_phases,
    series_uid,
    study,
    uid,
)

SCHEMA = json.loads((Path(__file__).parents[1] / "data" / "grouping_report.schema.json").read_text(encoding="utf-8"))


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
    alone = [replace(i, attributes={k: v for k, v in i.attributes.items() if k != "TriggerTime"}) for i in dce]
    assert roles(group(study(alone, *BESIDE)))[5] == "UNKNOWN"


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
