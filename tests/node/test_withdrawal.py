"""Taking a result back: the rejection note, the page for archives that go on showing it, and the plainer classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
)

from mome_node.findings import Findings, ReplacedResult
from mome_node.results import identity, result_set, withdrawal, wording
from mome_node.results.objects import Predecessor, save
from mome_node.results.plainer import in_class, plainer
from mome_node.results.sr_template import load_vocabulary
from mome_node.settings import Variant
from tests import judges
from tests.node import result_fixtures as fixtures

EARLIER = ReplacedResult("AB12CD34", "2024-01-15T10:20:30", "analysed", "CANDIDATE", False)


PLAIN = Variant()
DECIDED = "2024-06-01T08:30:00"
DCE = fixtures.volume()
SALIENCY = fixtures.saliency(DCE)
IMAGES = fixtures.dynamic(DCE)


def exam(**changes: Any) -> Findings:
    """The usual synthetic result, with its salient place."""
    return fixtures.made_of(IMAGES, DCE, SALIENCY, **changes)


def results(
    document: Findings, variant: Variant = PLAIN, predecessors: tuple[Predecessor, ...] = ()
) -> dict[str, Dataset]:
    """Every object of a variant, of the usual synthetic study."""
    pictures = (DCE, SALIENCY, fixtures.mask(DCE)) if document.score else (None, None, None)
    case = result_set.Case(document, fixtures.source(), IMAGES, *pictures, predecessors)
    return dict(result_set.build(case, fixtures.identity(document), load_vocabulary(), variant))


def taken_back(reason: str = "patient-safety") -> tuple[Dataset, Dataset]:
    """Rejection note and page of the usual study's report and overlay."""
    document, words = exam(), load_vocabulary()
    rejected = [fixtures.as_received(one) for one in results(document).values()]
    names = identity.of_withdrawal("0" * 64, [one.SOPInstanceUID for one in rejected], "pacs-20240115")
    note = withdrawal.note(document, rejected, reason, names, words, DECIDED)
    return note, withdrawal.page(document, rejected[0], "AB12CD34", reason, names, words, DECIDED)


def texts(report: Dataset) -> list[str]:
    """Every TEXT of a report in reading order."""
    found = [report.TextValue] if report.get("ValueType") == "TEXT" else []
    for child in report.get("ContentSequence", []):
        found += texts(child)
    return found


# ------------------------------------------------------------------ the note and the page
@pytest.mark.system
@pytest.mark.parametrize("kind", ["note", "page"])
def test_the_judges_accept_what_takes_a_result_back(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"{kind}.dcm"
    save(taken_back()[kind == "page"], path)
    assert judges.judge(path) == []


def test_the_note_names_every_object_and_only_those() -> None:
    """An archive hides what the note names (IHE IOCM); what it does not name stays in sight."""
    note, _ = taken_back()
    named = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in note.ContentSequence[1:]}
    assert named == {one.SOPInstanceUID for one in results(exam()).values()}
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    cited = [one for series in study.ReferencedSeriesSequence for one in series.ReferencedSOPSequence]
    assert {one.ReferencedSOPInstanceUID for one in cited} == named


def test_the_note_is_for_patient_safety() -> None:
    """What is rejected for its quality may stay in an archive's default view."""
    assert taken_back()[0].ConceptNameCodeSequence[0].CodeValue == "113037"
    assert taken_back("wrong-patient")[0].ConceptNameCodeSequence[0].CodeValue == "113038"


def test_note_and_page_lie_in_series_of_their_own() -> None:
    """In the result's own series an archive might hide them with it."""
    own = {one.SeriesInstanceUID for one in results(exam()).values()}
    assert len(own | {one.SeriesInstanceUID for one in taken_back()}) == len(own) + 2


def test_the_page_says_which_result_and_not_to_use_it() -> None:
    _, page = taken_back()
    assert page.SOPClassUID == SecondaryCaptureImageStorage
    assert "WITHDRAWN" in page.SeriesDescription[:18]
    assert wording.withdrawn(exam(), "AB12CD34", "patient-safety", load_vocabulary())[0].startswith(
        "AI result AB12CD34 of "
    )


def test_taking_back_twice_makes_the_same_objects() -> None:
    """A step that was killed in the middle sends the same note again, not a second one."""
    assert taken_back() == taken_back()


# ------------------------------------------------------------------ the result that takes its place
def test_a_first_result_says_nothing_of_an_earlier_one() -> None:
    report = results(exam())["report"]
    assert "PredecessorDocumentsSequence" not in report
    assert not any("Replaces" in text for text in texts(report))


def test_the_first_line_says_what_is_replaced_and_that_the_advice_changed() -> None:
    """Who has read the earlier result must see at once whether it matters."""
    document = exam(replaces=EARLIER)
    assert document.advice is not None
    assert document.advice.value != EARLIER.advice
    said = next(text for text in texts(results(document)["report"]) if text.startswith("Replaces"))
    assert "Replaces result AB12CD34 of 2024-01-15 10:20." in said
    assert "THE ADVICE HAS CHANGED." in said


@pytest.mark.parametrize(
    ("earlier", "sentence"),
    [
        (replace(EARLIER, below=True), "The score now lies on the other side of the operating point."),
        (replace(EARLIER, below=False), "The score lies on the same side of the operating point as before."),
        (ReplacedResult("AB12CD34", "2024-01-15T10:20:30", "failed", None, None), "the exam had not been analysed"),
    ],
)
def test_the_line_tells_whether_the_score_crossed_the_operating_point(earlier: ReplacedResult, sentence: str) -> None:
    document = exam(replaces=earlier)
    assert document.below is False
    assert sentence in " ".join(wording.replaces(document, load_vocabulary()))


def test_where_no_advice_is_shown_none_is_compared() -> None:
    """A destination that never sees the advice must not learn it from the line about its change."""
    hidden = exam(replaces=EARLIER, advice=None)
    assert "advice" not in " ".join(wording.replaces(hidden, load_vocabulary())).lower()


def test_a_report_cites_the_report_that_it_replaces() -> None:
    old = Predecessor(Variant().name, "2.25.11", Comprehensive3DSRStorage, "2.25.12")
    (study,) = results(exam(), predecessors=(old,))["report"].PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "2.25.11"
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.12"


# ------------------------------------------------------------------ plainer classes
def test_a_report_steps_down_to_the_class_that_the_oldest_archives_know() -> None:
    """Comprehensive 3D, Comprehensive, Enhanced: the same tree, each time under UIDs of its own."""
    report = results(exam())["report"]
    (comprehensive,) = plainer(report)
    (enhanced,) = plainer(comprehensive)
    assert [one.SOPClassUID for one in (comprehensive, enhanced)] == [ComprehensiveSRStorage, EnhancedSRStorage]
    assert len({one.SOPInstanceUID for one in (report, comprehensive, enhanced)}) == 3
    assert texts(enhanced) == texts(report)
    assert plainer(enhanced) == []


def test_a_report_with_coordinates_in_space_stays_what_it_is() -> None:
    """Only a Comprehensive 3D SR may hold them (PS3.3 A.35.13)."""
    report = fixtures.as_received(results(exam())["report"])
    report.ContentSequence[-1].ContentSequence[-1].ValueType = "SCOORD3D"
    assert plainer(report) == []


@pytest.mark.system
@pytest.mark.parametrize("sop_class", [ComprehensiveSRStorage, EnhancedSRStorage])
def test_the_judges_accept_the_report_in_every_class(sop_class: str, tmp_path: Path) -> None:
    path = tmp_path / "report.dcm"
    save(in_class(results(exam())["report"], sop_class), path)
    assert judges.judge(path) == []


def test_a_multi_frame_overlay_becomes_single_pages() -> None:
    overlay = results(exam())["overlay"]
    frames = plainer(overlay)
    assert len(frames) == overlay.NumberOfFrames
    assert b"".join(frame.PixelData for frame in frames) == overlay.PixelData
    assert [frame.InstanceNumber for frame in frames] == list(range(1, len(frames) + 1))


def test_a_variant_of_single_frames_and_an_older_report_is_made_so_at_once() -> None:
    """For a PACS that is known to take nothing else."""
    made = results(exam(), Variant(report="enhanced", overlay="single_frames"))
    assert made["report"].SOPClassUID == EnhancedSRStorage
    assert {ds.SOPClassUID for name, ds in made.items() if name != "report"} == {SecondaryCaptureImageStorage}


def test_further_objects_come_only_where_a_destination_asks_for_them() -> None:
    assert set(results(exam())) == {"report", "overlay"}
    every = ("key_objects", "located_region", "parametric_map", "segmentation")
    assert set(results(exam(), Variant(further=every))) == {"report", "overlay", *every}


def test_a_study_without_a_result_has_no_region_to_show() -> None:
    made = results(fixtures.refused(), Variant(further=("segmentation", "parametric_map", "key_objects")))
    assert set(made) == {"report", "overlay"}


def test_written_objects_can_be_made_plainer_after_they_were_read_again(tmp_path: Path) -> None:
    """A destination refuses a class when it is sent to: what lies on disk is then the only source."""
    overlay = results(exam())["overlay"]
    save(overlay, tmp_path / "overlay.dcm")
    read = pydicom.dcmread(tmp_path / "overlay.dcm")
    assert [frame.SOPInstanceUID for frame in plainer(read)] == [frame.SOPInstanceUID for frame in plainer(overlay)]
