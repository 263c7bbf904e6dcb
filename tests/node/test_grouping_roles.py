"""What the other series are, which of them are used, and which studies are refused: one test per trap."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mome_node.analysis import series_grouping
from mome_node.analysis.series_grouping import Pin, SeriesRules, group
from mome_node.errors import SettingsError
from mome_node.shipped import shipped

from .plain_study import (
    B0,
    B800,
    BESIDE,
    DCE,
    DWI,
    SECONDARY_CAPTURE,
    STIR,
    T1,
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
    phases = [series(11 + 2 * n, "dyn_ND", [TIMES[n]], kind=plain, key=n) for n in range(4)]
    twins = [series(10 + 2 * n, "dyn", [TIMES[n]], kind=corrected, key=n) for n in range(4)]
    trial = series(9000, "ISPY2: VOLSER: bi-lateral: original DCE", [{"AcquisitionNumber": n} for n in range(4)])
    grouped = group(study(*phases, *twins, trial, *BESIDE))
    assert series_of_phases(grouped, *phases) == [11, 13, 15, 17]
    assert roles(grouped)[10] == "OTHER"
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


def test_without_times_a_t1_without_contrast_agent_is_pre_contrast() -> None:
    """Its number says little: some scanners number by protocol, not by time."""
    dce = series(5, "dyn", [{"AcquisitionNumber": n} for n in range(4)], ContrastBolusAgent="GADOVIST")
    assert roles(group(study(dce, series(9, "t1", kind=T1), *BESIDE)))[9] == "T1_NFS"
    with_agent = series(9, "t1", kind=T1, ContrastBolusAgent="GADOVIST")
    assert roles(group(study(dce, with_agent, *BESIDE)))[9] == "DCE_POST"


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
        (T2, "t2_fat_sat", "T2_FS"),
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
