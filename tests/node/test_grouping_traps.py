"""What passes for a phase, a DWI or a breast and is none: one test per trap, each with its reason."""

from __future__ import annotations

from typing import Any

import pytest

from mome_node.analysis.series_grouping import group

from .plain_study import (
    B0,
    B800,
    BESIDE,
    DCE,
    DWI,
    STIR,
    T2,
    TIMES,
    at,
    codes,
    roles,
    seconds,
    series,
    series_of_phases,
    series_uid,
    study,
)

ARCHIVED = {**DCE, "ImageType": ["ORIGINAL", "SECONDARY", "M", "ND"]}


def reason(grouped: dict[str, Any], number: int) -> str:
    return next(s["reason"] for s in grouped["series"] if s["SeriesNumber"] == number)


# ------------------------------------------------------------------ what is no phase
@pytest.mark.parametrize("number", [1, 2, 9])
def test_a_map_under_a_name_of_its_own_is_no_phase(number: int) -> None:
    """An archive without times and without derived marks: grid and protocol are those of the dynamic, the number is
    that of a phase or the next one. Only the name is not that of the phases, and it comes after them."""
    phases = [series(5 + n, "fl3d_dyn", [{"AcquisitionNumber": n + 1}], kind=ARCHIVED, key=n) for n in range(5)]
    odd = series(20, "result_a7", [{"AcquisitionNumber": number}], kind=ARCHIVED)
    grouped = group(study(*phases, odd, *BESIDE))
    assert series_of_phases(grouped, *phases) == [5, 6, 7, 8, 9]
    assert not next(s["selected"] for s in grouped["series"] if s["SeriesNumber"] == 20)


def test_a_series_before_the_phases_is_kept_whatever_its_name() -> None:
    """Leaving it out would make the first post-contrast phase the baseline: the worst error of all."""
    phases = [series(5 + n, "fl3d_dyn", [{"AcquisitionNumber": n + 1}], kind=ARCHIVED, key=n) for n in range(1, 5)]
    first = series(4, "fl3d_tra", [{"AcquisitionNumber": 1}], kind=ARCHIVED)
    grouped = group(study(first, *phases, *BESIDE))
    assert series_of_phases(grouped, first, *phases) == [4, 6, 7, 8, 9]
    assert "PRE_INFERRED_FROM_ORDER" in codes(grouped)


def test_a_series_without_a_time_is_no_phase_of_a_dynamic_with_times() -> None:
    """Nothing tells where it belongs; with it, the times of all phases would be lost."""
    grouped = group(study(series(5, "dyn", TIMES), series(9, "normalized"), *BESIDE))
    assert seconds(grouped) == [0, 150, 240, 330]
    assert roles(grouped)[9] == "DCE_POST"


@pytest.mark.parametrize(("name", "role"), [("localizer", "LOCALIZER"), ("scout", "LOCALIZER"), ("svs", "OTHER")])
def test_short_times_do_not_make_a_scout_a_phase(name: str, role: str) -> None:
    """TR and TE of a scout are those of a dynamic: they contradict its name in nothing."""
    assert roles(group(study(series(5, "dyn", TIMES), series(9, name, [at(400)]), *BESIDE)))[9] == role


@pytest.mark.parametrize(
    "name", ["dyn 2-1", "Ph2-Ph1", "SE5-SE4", "post1-pre", "dyn post - pre", "(Ph1/dyn)-(dyn)", "dyn minus", "SubDyn"]
)
def test_a_difference_of_phases_is_a_subtraction(name: str) -> None:
    """Workstations name subtractions by what they subtract, and archives take the mark from ImageType."""
    grouped = group(study(series(5, "dyn", TIMES), series(9, name, [at(420)], kind=ARCHIVED), *BESIDE))
    assert roles(grouped)[9] == "DCE_SUB"
    assert seconds(grouped) == [0, 150, 240, 330]


@pytest.mark.parametrize("name", ["dyn 1-6", "dyn 12-05-2024", "post-contrast", "dyn pre-post"])
def test_other_hyphens_are_no_subtraction(name: str) -> None:
    """Phases counted, a date, a compound word: refusing these would refuse native dynamics."""
    assert roles(group(study(series(5, name, TIMES), *BESIDE)))[5] in ("DCE_ALL", "DCE_POST")


def test_an_exam_repeated_on_another_day_is_another_dynamic() -> None:
    """Two exams under one StudyInstanceUID: eight phases on one grid, two months between the fourth and the fifth."""
    parts = [
        series(10 * day + n, "dyn", [{**time, "AcquisitionDate": f"20240{day}01"}], key=(day, n))
        for day in (1, 3)
        for n, time in enumerate(TIMES)
    ]
    grouped = group(study(*parts, *BESIDE))
    assert seconds(grouped) == [0, 150, 240, 330]
    assert "DCE_MULTIPLE_FAMILIES" in codes(grouped)


def test_corrected_twins_without_times_are_told_by_their_numbers() -> None:
    """With and without distortion correction under one name: ten series are five phases, not ten."""
    marks = ({**DCE, "ImageType": ["ORIGINAL", "SECONDARY", "M", mark]} for mark in ("ND", "DIS2D"))
    plain, corrected = (
        [
            series(5 + 2 * n + k, "fl3d_dyn", [{"AcquisitionNumber": n + 1}], kind=kind, key=(k, n))
            for n in range(5)
        ]
        for k, kind in enumerate(marks)
    )  # fmt: skip
    grouped = group(study(*plain, *corrected, *BESIDE))
    assert series_of_phases(grouped, *plain, *corrected) == [5, 7, 9, 11, 13]
    assert "DERIVED_COPY_IGNORED" in codes(grouped)


def test_a_pre_contrast_series_with_the_number_of_the_first_post_is_no_copy_of_it() -> None:
    """AcquisitionNumber starts again in the series of the post-contrast phases."""
    pre = series(5, "dyn pre", [{"AcquisitionNumber": 1}], kind=ARCHIVED)
    post = series(6, "dyn post", [{"AcquisitionNumber": n} for n in (1, 2, 3, 4)], kind=ARCHIVED)
    grouped = group(study(pre, post, *BESIDE))
    assert series_of_phases(grouped, pre, post) == [5, 6, 6, 6, 6]


# ------------------------------------------------------------------ the pre-contrast phase
def test_a_pre_contrast_series_with_other_slices_forbids_to_guess_one() -> None:
    """Fourteen slices before, twelve after: the grids differ, and the first phase of the later series is post."""
    for name in ("dyn pre", "dyn 1"):
        pre = series(4, name, [at(-200)], slices=14)
        grouped = group(study(pre, series(5, "dyn", [at(0), at(60), at(120), at(180)]), *BESIDE))
        assert grouped["decision"] == "reject"
        assert "NO_PRE" in codes(grouped)


def test_a_series_put_in_after_the_first_post_contrast_phase_moves_no_baseline() -> None:
    """pre, post, a sagittal series, post, post: that gap is half as long again as the others, no more."""
    grouped = group(study(series(5, "dyn", [at(0), at(120), at(300), at(420), at(540)]), *BESIDE))
    assert seconds(grouped)[0] == 0
    assert len(seconds(grouped)) == 5
    assert "PRE_INFERRED_FROM_ORDER" in codes(grouped)


# ------------------------------------------------------------------ diffusion
@pytest.mark.parametrize(
    "mark", [{"SequenceName": "*ep_b50_800"}, {"RescaleType": "10^-6 mm2/s"}, {"MeasurementUnits": "um2/s"}]
)
def test_a_map_that_only_its_sequence_or_unit_betrays_is_no_dwi(mark: dict[str, Any]) -> None:
    """Archives drop the token ADC and leave the description of the protocol, which names b-values."""
    dwi = series(3, "ep2d_diff_b800", [B0, B800], kind=DWI)
    adc = series(8, "ep2d_diff_b800", kind={**DWI, "ImageType": ["ORIGINAL", "SECONDARY", "M"]}, **mark, key="map")
    grouped = group(study(series(5, "dyn", TIMES), dwi, adc))
    assert roles(grouped)[8] == "ADC"
    assert grouped["dwi"]["SeriesInstanceUID"] == series_uid(3, "ep2d_diff_b800")


def test_values_of_the_directions_that_scatter_are_one_b_value() -> None:
    """995, 1000 and 1005: taken apart, one direction would pass for the trace; and 5 is how Siemens writes 0."""
    values = [{"SiemensBValue": b} for b in (5, 995, 1000, 1000, 1005)]
    grouped = group(study(series(5, "dyn", TIMES), series(3, "dwi", values, kind=DWI)))
    assert grouped["dwi"]["b_values"] == [0, 1000]
    assert len(grouped["dwi"]["instances"]) == 48


def test_the_csa_header_is_the_last_of_the_siemens_sources() -> None:
    """The element outranks it; both outrank the name of the sequence."""
    for tags, b in (
        ({"SiemensCSABValue": 800}, 800),
        ({"SiemensBValue": 750, "SiemensCSABValue": 800}, 750),
        ({"SiemensCSABValue": 800, "SequenceName": "*ep_b400t"}, 800),
    ):
        grouped = group(study(series(5, "dyn", TIMES), series(3, "dwi", [B0, tags], kind=DWI)))
        assert grouped["dwi"]["b_value"] == b


@pytest.mark.parametrize(
    "mark", [{"ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION", "VFRAME"]}, {"SiemensImagesInMosaic": 36}]
)
def test_a_mosaic_is_refused_in_words(mark: dict[str, Any]) -> None:
    """One image holds a whole volume: its position is that of no slice. The sender can send single slices."""
    grouped = group(study(series(5, "dyn", TIMES), series(3, "dwi", [B0, B800], kind={**DWI, **mark})))
    assert grouped["dwi"] is None
    assert "mosaic" in reason(grouped, 3)


# ------------------------------------------------------------------ what may be laid over the dynamic
@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"FrameOfReferenceUID": "9.9"}, "re-registered"),
        ({"PatientPosition": "HFS"}, "another position"),
        (at(-4000), "60 minutes"),
    ],
)
def test_a_patient_who_moved_between_is_said(attributes: dict[str, Any], words: str) -> None:
    """Coordinates mean the same place only while the patient lies still."""
    t2 = series(2, "t2_tirm", kind=STIR, **attributes)
    grouped = group(study(series(5, "dyn", TIMES, PatientPosition="HFP"), t2, *BESIDE[1:]))
    problem = next(p for p in grouped["problems"] if p["code"] == "FOR_MISMATCH")
    assert problem["series"] == [series_uid(2, "t2_tirm")]
    assert words in problem["message"]


def test_a_t2_of_the_same_frame_of_reference_outranks_a_fat_suppressed_one_of_another() -> None:
    """The latter would be left out afterwards, and the exam be read without any T2."""
    apart = series(2, "t2_tirm", kind=STIR, FrameOfReferenceUID="9.9")
    grouped = group(study(series(5, "dyn", TIMES), apart, series(6, "t2_tse", kind=T2), *BESIDE[1:]))
    assert grouped["t2"]["SeriesInstanceUID"] == series_uid(6, "t2_tse")


# ------------------------------------------------------------------ is it a breast?
@pytest.mark.parametrize("name", ["MR Enterographie", "MRCP", "MRT Oberbauch", "MR Pankreas", "Angio femoral thigh"])
def test_other_exams_in_prone_position_are_refused(name: str) -> None:
    """The bowel is examined prone, too, with a wide field of view and a dynamic."""
    there = {"BodyPartExamined": None, "StudyDescription": name, "PatientPosition": "HFP"}
    parts = [series(5, "dyn", TIMES, **there), series(2, "t2_tirm", kind=STIR, **there)]
    assert codes(group(study(*parts))) == {"NOT_BREAST"}
