"""The Structured Report: what it says, what it never says, and that independent judges read it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from mome_node.findings import Findings, Problem, SeriesRejected
from mome_node.results import summary, text_report, wording
from mome_node.results.sr_template import load_vocabulary
from mome_node.results.structured_report import build
from tests import judges
from tests.node import result_fixtures as fixtures

VOCABULARY = load_vocabulary()


def report(document: Findings, source: Dataset | None = None, **identity: Any) -> Dataset:
    image = source or fixtures.source()
    return build(document, image, fixtures.evidence(image), fixtures.identity(document, **identity), VOCABULARY)


def group(ds: Dataset, finding: str) -> list[Dataset]:
    """Content of the measurement group about `finding` (a private code value); empty where there is none."""
    for found in judges.groups(ds):
        concept = next(i for i in found.ContentSequence if judges.name_of(i) == "121071").ConceptCodeSequence[0]
        if concept.CodeValue == finding:
            return list(found.ContentSequence)
    return []


def said(items: list[Dataset], name: str) -> list[Any]:
    """Values of the items called `name`: text, number, or code value."""
    found: list[Any] = []
    for item in items:
        if judges.name_of(item) == name:
            if item.ValueType == "NUM":
                found.append(float(item.MeasuredValueSequence[0].NumericValue))
            else:
                found.append(item.TextValue if item.ValueType == "TEXT" else item.ConceptCodeSequence[0].CodeValue)
    return found


def anywhere(ds: Dataset, name: str) -> list[Any]:
    return [value for g in judges.groups(ds) for value in said(list(g.ContentSequence), name)]


@pytest.mark.system
@pytest.mark.parametrize("kind", fixtures.KINDS)
def test_judges_accept_every_kind_of_report(kind: str, tmp_path: Path) -> None:
    """An archive, a viewer and a registry each read it with their own eyes; none may find an error."""
    source = fixtures.as_received(fixtures.source())
    path = tmp_path / "report.dcm"
    fixtures.saved(report(fixtures.KINDS[kind](), source), path)
    assert judges.judge(path, source) == []


@pytest.mark.system
def test_the_judges_are_awake(tmp_path: Path) -> None:
    """A judge that never complains proves nothing: each one finds the defect planted for it."""

    def complaints(spoil: Any) -> set[str]:
        ds = report(fixtures.findings())
        spoil(ds)
        fixtures.saved(ds, tmp_path / "spoiled.dcm")
        found = judges.judge(tmp_path / "spoiled.dcm", fixtures.as_received(fixtures.source()))
        return {line.partition(":")[0] for line in found}

    def wrong_relationship(ds: Dataset) -> None:
        judges.groups(ds)[0].ContentSequence[0].RelationshipType = "SELECTED FROM"

    def side(ds: Dataset) -> None:
        site = next(i for i in group(ds, "GRP_SCORE") if judges.name_of(i) == "363698007")
        site.ConceptCodeSequence[0].CodeValue = "80248007"

    def undeclared(ds: Dataset) -> None:
        del ds.CodingSchemeIdentificationSequence

    def no_evidence(ds: Dataset) -> None:
        del ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]

    assert {"dciodvfy", "dicom_validator"} <= complaints(lambda ds: delattr(ds, "PatientID"))
    assert "dsrdump" in complaints(wrong_relationship)
    for spoil in (side, undeclared, no_evidence, lambda ds: setattr(ds, "PatientID", "OTHER")):
        assert "house rules" in complaints(spoil)


def test_the_conclusion_comes_first() -> None:
    """A reader who sees one line sees the one that matters."""
    ds = report(fixtures.findings())
    texts = [i for i in judges.groups(ds)[0].ContentSequence if i.ValueType == "TEXT" and judges.name_of(i) != "112039"]
    assert texts[0].TextValue == "The whole-exam score gives no support for downgrading."


def test_the_score_stands_once_and_for_both_breasts() -> None:
    """The network scores the exam: said twice or of one side it would be a statement nobody evaluated."""
    ds = report(fixtures.findings())
    assert anywhere(ds, "AI_SCORE") == [73.1]
    assert said(group(ds, "GRP_SCORE"), "363698007") == ["63762007"]
    assert anywhere(ds, "363698007") == ["63762007"]


def test_a_percentage_only_with_a_calibration() -> None:
    """An uncalibrated score of 73 read as "73 % cancer" is wrong in every direction."""
    raw, calibrated = report(fixtures.findings()), report(fixtures.KINDS["calibrated"]())
    assert anywhere(raw, "111047") == []
    assert anywhere(calibrated, "111047") == [12.3]
    assert anywhere(calibrated, "AI_SCORE") == []


def test_a_score_of_one_imaged_breast_is_not_said_of_both() -> None:
    """After a mastectomy only one breast is there; which one, the score does not say."""
    one = fixtures.findings(problems=(Problem("UNILATERAL", "warning", "The dynamic shows one breast."),))
    site = said(group(report(one), "GRP_SCORE"), "363698007")
    assert site == ["76752008"]
    assert "one breast" in wording.score_heading(one, VOCABULARY)
    assert said(group(report(fixtures.findings()), "GRP_SCORE"), "363698007") == ["63762007"]


def test_the_operating_point_is_told_with_its_counts_and_upper_limit() -> None:
    """Zero missed of 86 is not none missed: the exact upper limit says how many it may be."""
    lines = said(group(report(fixtures.findings()), "GRP_SCORE"), "OP_TEXT")
    assert "At or below the operating point: 0 of 86 synthetic cancers; upper 95 % limit 4.2 %." in lines
    assert said(group(report(fixtures.without("dwi")), "GRP_SCORE"), "OP_THRESHOLD") == []


@pytest.mark.parametrize(("score", "threshold"), [(0.12345, 0.1234), (0.1234, 0.1234), (0.12339, 0.12341), (0.7, 0.1)])
def test_rounding_never_turns_the_comparison(score: float, threshold: float) -> None:
    """A score printed as 12.3 above a threshold printed as 12.3 reads as "at or below"."""
    point = replace(fixtures.POINT, threshold=threshold)
    ds = report(fixtures.findings(score=replace(fixtures.SCORE, score=score, operating_point=point)))
    assert (anywhere(ds, "AI_SCORE")[0] <= anywhere(ds, "OP_THRESHOLD")[0]) == (score <= threshold)


def test_contributions_add_up_to_the_score() -> None:
    """Baseline plus Shapley values is the score, also after rounding, to a tenth for each."""
    items = group(report(fixtures.findings()), "GRP_SCORE")
    parts = [said(items, f"SHAP_{name}")[0] for name in ("BASE", "DCE", "DWI", "T2")]
    assert sum(parts) == pytest.approx(said(items, "AI_SCORE")[0], abs=0.2)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("complete", "ADV_NO_SUPPORT"), ("below the operating point", "ADV_CANDIDATE"), ("no DWI", "ADV_WITHHELD")],
)
def test_advice_comes_with_all_its_reasons_and_what_headers_cannot_show(kind: str, value: str) -> None:
    """A radiologist who does not know why cannot weigh it; what excludes its use stands below every advice."""
    document = fixtures.KINDS[kind]()
    items = group(report(document), "GRP_SUMMARY")
    assert said(items, "ADVICE") == [value]
    assert document.advice is not None
    assert said(items, "ADV_REASON") == [reason.text for reason in document.advice.reasons]
    assert "neoadjuvant therapy" in said(items, "EXCLUSIONS")[0]


def test_demonstration_advice_is_marked() -> None:
    """Demonstration weights may show the advice on a synthetic patient only, and say so beside it."""
    marked = said(group(report(fixtures.below()), "GRP_SUMMARY"), "ADV_TEXT")
    assert marked[0] == "Demonstration on a synthetic patient."
    assert "Demonstration" not in " ".join(said(group(report(fixtures.findings()), "GRP_SUMMARY"), "ADV_TEXT"))


def test_a_known_category_is_told_as_somebody_elses() -> None:
    """A BI-RADS category is a person's assessment: never coded as ours, and the text names where it comes from."""
    ds = report(fixtures.findings())
    assert "MR report of this study" in said(group(ds, "GRP_SUMMARY"), "KNOWN_CAT")[0]
    schemes = {i.ConceptCodeSequence[0].CodingSchemeDesignator for g in judges.groups(ds) for i in g.ContentSequence
               if i.ValueType == "CODE"}  # fmt: skip
    assert "BI" not in schemes


def test_missing_inputs_make_the_report_partial() -> None:
    """An exam without DWI was scored on less: the flag, the status and the inputs say so."""
    complete, partial = report(fixtures.findings()), report(fixtures.without("dwi"))
    assert (complete.CompletionFlag, partial.CompletionFlag) == ("COMPLETE", "PARTIAL")
    assert partial.CompletionFlagDescription == "DWI"
    assert said(group(partial, "GRP_INPUTS"), "113043") == ["272519000"]
    assert said(group(partial, "GRP_INPUTS"), "130567") == ["52101004"]
    assert said(group(partial, "GRP_SUMMARY"), "111065") == ["111223"]


def test_inputs_are_told_with_phase_times_and_b_value() -> None:
    """Whether the right series was used can only be seen from these."""
    lines = " ".join(said(group(report(fixtures.findings()), "GRP_INPUTS"), "IN_TEXT"))
    assert "7 phases at 0, 92, 161, 230, 299, 367, 436 s" in lines
    assert "b 800 s/mm2" in lines


@pytest.mark.parametrize(("kind", "status"), [("not analysed", "111225"), ("failed", "111224")])
def test_a_study_without_result_says_so_and_why(kind: str, status: str) -> None:
    """ "AI found nothing" and "AI never ran" must never look alike: a coded status, reasons, help, and no score."""
    document = fixtures.KINDS[kind]()
    ds = report(document)
    items = group(ds, "GRP_SUMMARY")
    assert said(items, "111065") == [status]
    assert said(items, "121077")[0].startswith("Not analysed, because")
    assert said(items, "NA_REASON") == [document.problems[0].message]
    assert said(items, "NA_REMEDY")
    assert said(items, "LIMITS")[0].startswith("Not analysed is not a result")
    assert not group(ds, "GRP_SCORE")
    assert not anywhere(ds, "AI_SCORE") + anywhere(ds, "ADVICE") + anywhere(ds, "113043")
    assert ds.CompletionFlag == "PARTIAL"


def test_every_problem_is_in_the_report() -> None:
    """What reception, grouping and quality checks noted must be readable where the result is read."""
    problems = (Problem.of("UNILATERAL", "Only one breast imaged."), Problem.of("CHARSET", "Decoded."))
    items = group(report(fixtures.findings(problems=problems)), "GRP_QUALITY")
    assert said(items, "PROBLEM") == ["UNILATERAL: Only one breast imaged.", "CHARSET: Decoded."]
    assert said(items, "Q_MASK_ML") == [1312.0]
    assert said(items, "MEASURE") == ["a_new_measure: 0.25"]


def test_every_group_names_the_algorithm_and_its_weights() -> None:
    """A result without version and weights cannot be traced when they turn out wrong."""
    for found in judges.groups(report(fixtures.findings())):
        items = list(found.ContentSequence)
        assert said(items, "111001") == ["MOME"]
        (parameters,) = said(items, "111002")
        assert f"weights SHA-256 {fixtures.MODEL.weights_sha256}" in parameters


def test_weights_that_saw_no_patient_stay_research_in_every_mode() -> None:
    """The mode of the node does not make weights fit for patients."""
    document = fixtures.findings(mode="clinical")
    assert said(group(report(document), "GRP_SUMMARY"), "LIMITS")[:2] == [
        "Research use only. Not for clinical use.",
        "Model: MOME 0.1.0; demonstration weights, trained on synthetic phantoms, not for clinical use.",
    ]
    assert report(fixtures.findings()).SeriesDescription.startswith("AI-RUO Report")


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Änne"),
        (["", "ISO 2022 IR 87"], "Yamada^Hanako=山田^花子=やまだ^はなこ"),
        ("ISO_IR 192", "Ω^Ж=王^小東"),
        (None, "Plain^Ascii"),
    ],
)
@pytest.mark.system
def test_names_keep_their_letters(charset: Any, name: str, tmp_path: Path) -> None:
    """A name in another spelling is another patient to the archive."""
    source = fixtures.source(PatientName=name, SpecificCharacterSet=charset, ReferringPhysicianName="",
                             StudyDescription="Breast")  # fmt: skip
    if charset is None:
        del source.SpecificCharacterSet
    received = fixtures.as_received(source)
    path = tmp_path / "report.dcm"
    fixtures.saved(report(fixtures.findings(), received), path)
    assert str(dcmread(path).PatientName) == name
    assert judges.judge(path, received) == []


def test_coded_text_of_the_source_keeps_its_letters(tmp_path: Path) -> None:
    """Text within sequences is in the source's character set too, and the report is in another one."""
    procedure = Dataset()
    procedure.CodeValue, procedure.CodingSchemeDesignator, procedure.CodeMeaning = "MRM", "99SITE", "MR für beide"
    received = fixtures.as_received(fixtures.source(ProcedureCodeSequence=[procedure]))
    fixtures.saved(report(fixtures.findings(), received), tmp_path / "report.dcm")
    assert dcmread(tmp_path / "report.dcm").ProcedureCodeSequence[0].CodeMeaning == "MR für beide"


@pytest.mark.system
def test_a_bare_header_is_enough(tmp_path: Path) -> None:
    """Modalities leave out what they do not know; the report leaves it empty and stays conformant."""
    bare = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(bare, keyword, fixtures.source()[keyword].value)
    fixtures.saved(report(fixtures.findings(), bare), tmp_path / "report.dcm")
    assert judges.judge(tmp_path / "report.dcm", bare) == []


@pytest.mark.parametrize(
    ("created", "offset", "time"),
    [
        ("2024-05-17T10:20:30", "+0200", "20240517102030"),
        ("2024-05-17T10:20:30+00:00", "+0200", "20240517122030"),
        ("2024-05-17T23:20:30+00:00", "-0330", "20240517195030"),
        ("2024-05-17T10:20:30+00:00", None, "20240517102030"),
    ],
)
def test_times_are_in_the_zone_of_the_study(created: str, offset: str | None, time: str) -> None:
    """TimezoneOffsetFromUTC governs the copied study time too: one object, one zone."""
    source = fixtures.source(**({"TimezoneOffsetFromUTC": offset} if offset else {}))
    ds = report(fixtures.findings(created=created), source)
    assert ds.ContentDate + ds.ContentTime == time
    assert ds.get("TimezoneOffsetFromUTC") == offset


def test_the_same_work_gives_the_same_bytes(tmp_path: Path) -> None:
    """A step that is killed and run again must not make a second, different result."""
    document = fixtures.findings()
    again = Findings.from_json(document.to_json())
    first, second = (fixtures.saved(report(d), tmp_path / "report.dcm") for d in (document, again))
    assert first == second


def test_uids_change_with_whatever_changes_the_result() -> None:
    """Archives answer success to known UIDs and keep the old content: only a new UID brings a correction."""
    document = fixtures.findings()
    uid = report(document).SOPInstanceUID
    changes = [
        report(fixtures.findings(known_category="4B")),
        report(fixtures.findings(score=replace(fixtures.SCORE, score=0.7313))),
        report(fixtures.findings(software="mome-node 0.1.1")),
        report(fixtures.findings(model=replace(fixtures.MODEL, device="cuda"))),
        report(fixtures.findings(model=replace(fixtures.MODEL, weights_sha256="cd34" * 16))),
        report(document, inputs=["2.25.1"]),
        report(document, settings_hash="other"),
        report(document, variant="enhanced"),
        report(document, withdrawals=1),
        build(document, fixtures.source(), fixtures.evidence(), fixtures.identity(document),
              replace(VOCABULARY, sha256="other words")),
    ]  # fmt: skip
    uids = [uid, *[ds.SOPInstanceUID for ds in changes]]
    assert len(set(uids)) == len(uids)
    assert report(replace(document, created="2024-05-18T00:00:00")).SOPInstanceUID == uid


def test_the_order_of_the_inputs_is_no_difference() -> None:
    """Images arrive in any order; the work is the same."""
    document = fixtures.findings()
    one, other = (fixtures.identity(document, inputs=order) for order in (["2.25.1", "2.25.2"], ["2.25.2", "2.25.1"]))
    assert one == other
    assert one.uid("sr/instance") != one.uid("sr/series")


def test_the_device_is_the_weights() -> None:
    """IHE AIR: Device UID tells the algorithm; the same in every study, another when the model was trained again."""
    document = fixtures.findings()
    other = fixtures.findings(model=replace(fixtures.MODEL, weights_sha256="cd34" * 16))
    device = report(document).ContributingEquipmentSequence[0].DeviceUID
    assert report(document, inputs=["2.25.1"]).ContributingEquipmentSequence[0].DeviceUID == device
    assert report(other).ContributingEquipmentSequence[0].DeviceUID != device


def test_images_of_another_study_are_refused() -> None:
    """Evidence of somebody else in a report is a mix-up of patients."""
    document, image = fixtures.findings(), fixtures.source()
    stranger = fixtures.evidence(fixtures.source(StudyInstanceUID="2.25.999"))
    with pytest.raises(ValueError, match="Evidence must be of the study"):
        build(document, image, stranger, fixtures.identity(document), VOCABULARY)


def test_the_text_for_people_says_what_the_report_says() -> None:
    """One source of words: the console of the demonstration must not tell another story."""
    for document in (fixtures.findings(), fixtures.below(), fixtures.without("t2"), fixtures.refused()):
        text = " ".join(summary.for_people(document, VOCABULARY).split())
        for line in [wording.conclusion(document, VOCABULARY), *wording.inputs(document, VOCABULARY),
                     *wording.limits(document, VOCABULARY), *wording.advice_reasons(document)]:  # fmt: skip
            assert " ".join(line.split()) in text


def test_the_report_reads_as_text(tmp_path: Path) -> None:
    """What a text viewer shows of the object in the archive: groups, every reason, numbers with their units."""
    fixtures.saved(report(fixtures.without("dwi")), tmp_path / "report.dcm")
    lines = text_report.text(dcmread(tmp_path / "report.dcm")).splitlines()
    assert lines[0] == "Dynamic Contrast MR Measurement Report"
    assert "  Conclusion: A whole-exam score was computed; advice is withheld." in lines
    assert "    - The weights hold no operating point for these sequences." in lines
    assert "  AI score, 0 to 100 (not a probability): 73.1 points" in lines
    assert "  Volume of the analysed area: 1312 ml" in lines
    assert "  Diffusion weighted: Absent" in lines


def test_series_that_are_alike_are_rejected_in_one_line() -> None:
    """A console makes a subtraction of every phase: a reader needs the reason once, with all series numbers."""
    alike = [SeriesRejected(f"2.25.{n}", n, "dyn_SUB", "DCE_SUB", "a subtraction") for n in (7, 10, 13)]
    lines = wording.rejected(fixtures.findings(rejected=tuple(alike)), VOCABULARY)
    assert len(lines) == 1
    assert "series 7, 10, 13" in lines[0]
