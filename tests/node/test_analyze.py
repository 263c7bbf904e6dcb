"""The whole pipeline on folders: every study ends as results or as a reason, never as a traceback."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pydicom
import pytest

from mome_node import pipeline
from mome_node.analyze import Outcome, analyze_folder
from mome_node.findings import Findings
from mome_node.phantom import Written, write_study
from mome_node.settings import Model, Results, Settings
from mome_node.shipped import PACKAGE
from tests import judges
from tests.node import make_study

EXAMPLES = Path(__file__).parents[1] / "data" / "grouping_examples.json"
SETTINGS = Settings(model=Model(threads=1))
SCHEMA = json.loads((PACKAGE / "findings.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_study(tmp_path_factory.mktemp("phantom"), 41, malignant=True)


def analyzed(path: Path, out: Path, settings: Settings = SETTINGS, **given: str) -> Outcome:
    (outcome,) = analyze_folder(path, out, settings, say=lambda _: None, **given)
    if outcome.folder is not None:
        jsonschema.validate(json.loads((outcome.folder / "findings.json").read_text(encoding="utf-8")), SCHEMA)
    return outcome


def findings(outcome: Outcome) -> Findings:
    assert outcome.folder is not None
    return Findings.from_json((outcome.folder / "findings.json").read_text(encoding="utf-8"))


def copy(study: Written, folder: Path) -> Path:
    return Path(shutil.copytree(study.files[0].parents[1], folder))


def test_a_study_ends_as_report_overlay_page_and_findings(written: Written, tmp_path: Path) -> None:
    """Everything used is cited, everything said stands in findings.json, and the judges accept both objects."""
    outcome = analyzed(written.files[0].parents[1], tmp_path)
    assert outcome.status == "analysed"
    assert outcome.folder == tmp_path / written.study_instance_uid
    assert {p.name for p in outcome.folder.iterdir()} == {"report.dcm", "overlay.dcm", "summary.png", "findings.json"}
    source = pydicom.dcmread(written.files[0], stop_before_pixels=True)
    for name in ("report.dcm", "overlay.dcm"):
        assert judges.judge(outcome.folder / name, source) == []
    found = findings(outcome)
    assert found.score is not None
    assert [use.role for use in found.used] == ["dce", "dwi", "t2"]
    assert found.used[0].phase_seconds == pytest.approx((0, 90, 150, 210, 270, 330, 390), abs=31)
    total = found.score.baseline + sum(found.score.contributions.values())
    assert total == pytest.approx(found.score.score, abs=1e-5)
    assert not list(tmp_path.glob(".work*"))


def test_demonstration_weights_advise_only_on_own_phantoms_and_only_when_asked(
    written: Written, tmp_path: Path
) -> None:
    """The demo's showing: allowed by a setting, for the generator's studies, and marked."""
    withheld = findings(analyzed(written.files[0].parents[1], tmp_path / "plain"))
    assert withheld.advice is not None
    assert withheld.advice.value == "WITHHELD"
    assert "NOT_EVALUATED_ON_PATIENTS" in {reason.code for reason in withheld.advice.reasons}

    asked = SETTINGS.model_copy(update={"results": Results(demonstrate_advice=True)})
    shown = findings(analyzed(written.files[0].parents[1], tmp_path / "shown", asked))
    assert shown.advice is not None
    assert shown.advice.value in ("CANDIDATE", "NO_SUPPORT")
    assert shown.advice.marked_demonstration

    foreign = copy(written, tmp_path / "foreign")
    for path in foreign.rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        ds.Manufacturer = "SIEMENS"
        ds.save_as(path, enforce_file_format=True)
    refused = findings(analyzed(foreign, tmp_path / "patient", asked))
    assert refused.advice is not None
    assert refused.advice.value == "WITHHELD"


def test_a_word_of_an_operated_breast_in_a_request_withholds_the_advice(written: Written, tmp_path: Path) -> None:
    """One series tells it, in German: "after breast-conserving therapy". The model was never evaluated for that."""
    operated = copy(written, tmp_path / "operated")
    for path in (operated / "002").iterdir():
        ds = pydicom.dcmread(path)
        ds.RequestedProcedureDescription = "MRM, Z.n. BET links"
        ds.save_as(path, enforce_file_format=True)
    asked = SETTINGS.model_copy(update={"results": Results(demonstrate_advice=True)})
    found = findings(analyzed(operated, tmp_path / "out", asked))
    assert found.advice is not None
    assert found.advice.value == "WITHHELD"
    assert "EXCLUDED_SURGERY_OR_RADIOTHERAPY" in {reason.code for reason in found.advice.reasons}


def test_a_person_names_the_category_on_the_command_line(written: Written, tmp_path: Path) -> None:
    found = findings(analyzed(written.files[0].parents[1], tmp_path, category="2"))
    assert found.known_category == "2"
    assert found.advice is not None
    assert "CATEGORY_NOT_4" in {reason.code for reason in found.advice.reasons}


def test_without_contrast_there_is_no_score(written: Written, tmp_path: Path) -> None:
    """Every phase shows the pre-contrast pixels: an injection that failed. The report says so and is not a result."""
    flat = copy(written, tmp_path / "flat")
    pre = sorted((flat / "005").iterdir())
    for number in (6, 9, 12, 15, 18, 21):
        for source, path in zip(pre, sorted((flat / f"{number:03d}").iterdir()), strict=True):
            ds = pydicom.dcmread(path)
            ds.PixelData = pydicom.dcmread(source).PixelData
            ds.save_as(path, enforce_file_format=True)
    outcome = analyzed(flat, tmp_path / "out")
    assert (outcome.status, outcome.reasons) == ("not_analysed", ("CONTRAST_NOT_SHOWN",))
    assert outcome.folder is not None
    assert "not a result" in outcome.words
    for name in ("report.dcm", "overlay.dcm"):
        assert judges.judge(outcome.folder / name) == []


# ------------------------------------------------------------------ studies of other generators
def study_of(identifier: str, folder: Path, size: int = 128) -> Path:
    spec = next(s for s in json.loads(EXAMPLES.read_text(encoding="utf-8"))["studies"] if s["id"] == identifier)
    make_study.write_study(spec, folder, size, size)
    return folder / identifier


@pytest.mark.slow
@pytest.mark.parametrize("identifier", ["EX02", "EX03", "EX06"])
def test_other_vendors_studies_are_answered(identifier: str, tmp_path: Path) -> None:
    """Siemens, Philips and Enhanced MR, written by another generator: a result, or a reason with its code."""
    outcome = analyzed(study_of(identifier, tmp_path / "in"), tmp_path / "out")
    assert outcome.status in ("analysed", "not_analysed")
    assert outcome.status == "analysed" or outcome.reasons


def test_a_prostate_is_refused(tmp_path: Path) -> None:
    outcome = analyzed(study_of("EX05", tmp_path / "in", 32), tmp_path / "out")
    assert (outcome.status, outcome.reasons) == ("not_analysed", ("NOT_BREAST",))
    assert not findings(outcome).for_readers


def test_a_matrix_that_is_too_small_is_refused(tmp_path: Path) -> None:
    """32 x 32 pixels: no lesion of clinical size could be seen."""
    outcome = analyzed(study_of("EX01", tmp_path / "in", 32), tmp_path / "out")
    assert outcome.reasons == ("MATRIX_TOO_SMALL",)


# ------------------------------------------------------------------ bad input
def test_what_is_not_dicom_is_named_and_the_rest_goes_on(written: Written, tmp_path: Path) -> None:
    """An empty file, a text, a truncated image: each named; the study is analysed without them where that is sound."""
    folder = copy(written, tmp_path / "in")
    (folder / "empty.dcm").touch()
    (folder / "notes.dcm").write_text("scanned on Monday")
    (folder / "cut.dcm").write_bytes(written.files[0].read_bytes()[:200])
    said: list[str] = []
    outcomes = analyze_folder(folder, tmp_path / "out", SETTINGS, say=said.append)
    assert [outcome.status for outcome in outcomes] == ["analysed"]
    for name in ("empty.dcm", "notes.dcm", "cut.dcm"):
        assert any(name in line for line in said)


def test_a_truncated_slice_costs_its_phase_and_the_advice(written: Written, tmp_path: Path) -> None:
    """Pixel data cut short in one slice: the file is named, its phase is not used, and the report says so."""
    folder = copy(written, tmp_path / "in")
    victim = sorted((folder / "009").iterdir())[30]
    victim.write_bytes(victim.read_bytes()[:-1000])
    said: list[str] = []
    (outcome,) = analyze_folder(folder, tmp_path / "out", SETTINGS, say=said.append)
    found = findings(outcome)
    assert any(victim.name in line for line in said)
    assert found.used[0].phases == 6
    assert "PHASE_INCOMPLETE_DROPPED" in {problem.code for problem in found.problems}
    assert found.advice is not None
    assert "PHASE_INCOMPLETE_DROPPED" in {reason.code for reason in found.advice.reasons}


def test_mixed_patients_are_refused_without_an_object(written: Written, tmp_path: Path) -> None:
    """Whose report would it be? Nothing is written into anybody's study."""
    folder = copy(written, tmp_path / "in")
    for path in (folder / "002").iterdir():
        ds = pydicom.dcmread(path)
        ds.PatientID, ds.PatientBirthDate = "SOMEBODY-ELSE", "19500505"
        ds.save_as(path, enforce_file_format=True)
    outcome = analyzed(folder, tmp_path / "out")
    assert outcome.reasons == ("MIXED_PATIENTS",)
    assert outcome.folder is not None
    assert {p.name for p in outcome.folder.iterdir()} == {"findings.json"}


def test_missing_positions_are_refused(written: Written, tmp_path: Path) -> None:
    """Without a place in the patient an image is no part of a volume."""
    folder = copy(written, tmp_path / "in")
    for number in (5, 6, 9, 12, 15, 18, 21):
        for path in (folder / f"{number:03d}").iterdir():
            ds = pydicom.dcmread(path)
            del ds.ImagePositionPatient
            ds.save_as(path, enforce_file_format=True)
    outcome = analyzed(folder, tmp_path / "out")
    assert outcome.status == "not_analysed"
    assert "NO_DCE" in outcome.reasons


def test_one_phase_alone_is_refused(written: Written, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    shutil.copytree(written.files[0].parents[1] / "005", folder / "005")
    outcome = analyzed(folder, tmp_path / "out")
    assert outcome.status == "not_analysed"
    assert outcome.reasons


def test_an_empty_folder_has_no_study(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert analyze_folder(tmp_path / "in", tmp_path / "out", SETTINGS, say=lambda _: None) == []


def test_whatever_the_model_refuses_is_a_reason(tmp_path: Path) -> None:
    """A code that is a warning of a T2 ends the analysis here; without it the report would name no reason."""
    (tmp_path / "input.json").write_text(json.dumps({"problems": []}))
    refused = {"refused": {"code": "GEOMETRY_IRREGULAR", "message": "The dynamic is tilted by 46 degrees."}}
    (tmp_path / "prediction.json").write_text(json.dumps(refused))
    assert [problem.code for problem in pipeline.refusals(tmp_path)] == ["GEOMETRY_IRREGULAR"]
