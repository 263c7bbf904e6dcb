"""When a study is complete, and what the list of jobs says it waits for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydicom.uid import (
    Comprehensive3DSRStorage,
    EnhancedMRImageStorage,
    KeyObjectSelectionDocumentStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from mome_node.ledger import OpenAssociation, StudyRecord
from mome_node.receive.study_assembly import LONGEST_HOLD, decide, starts_analysis
from mome_node.settings import Assembly

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
QUIET = Assembly(quiet_s=120)


def study(**changes: object) -> StudyRecord:
    """A study whose last image came at noon."""
    usual = StudyRecord(
        study_instance_uid="1.2.3",
        patient_key="",
        first_received=NOON,
        last_received=NOON,
        instances=300,
        images=300,
        last_image_at=NOON,
        last_image_seq=300,
        assembled_seq=0,
        complete_requested_at=None,
        crashes=0,
        withdrawals=0,
        retries=0,
        taken_retries=0,
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


def after(**duration: float) -> datetime:
    return NOON + timedelta(**duration)


def test_silence_completes_a_study() -> None:
    """C-STORE has no 'last image' message: quiet_s seconds without a new MR image stand for it."""
    early = decide(study(), [], QUIET, after(seconds=90))
    assert (early.complete, early.waits_for) == (False, "30 s more without a new MR image")
    assert decide(study(), [], QUIET, after(seconds=120)).complete


def test_reports_that_trickle_in_do_not_delay() -> None:
    """Only MR images restart the silence: a PACS may route key objects and reports along for an hour."""
    assert decide(study(last_received=after(seconds=119)), [], QUIET, after(seconds=120)).complete


def test_an_open_association_is_waited_for() -> None:
    """A scanner that keeps its association through the examination pauses longer than quiet_s between series."""
    scanner = OpenAssociation("a", "1.2.3", "receiver-0", "SCANNER1", "10.0.0.5", NOON)
    waiting = decide(study(), [scanner], QUIET, after(seconds=200))
    assert (waiting.complete, waiting.waits_for) == (False, "the end of the association with SCANNER1 (10.0.0.5)")


def test_an_association_that_is_never_released_holds_a_study_for_a_while_only() -> None:
    """Some routers keep one association for all studies of a day."""
    router = OpenAssociation("a", "1.2.3", "receiver-0", "ROUTER", "10.0.0.6", NOON)
    assert decide(study(), [router], QUIET, NOON + LONGEST_HOLD).complete


def test_a_person_may_declare_a_study_complete() -> None:
    """`mome-node jobs complete` does not wait for silence, nor for an association."""
    router = OpenAssociation("a", "1.2.3", "receiver-0", "ROUTER", "10.0.0.6", NOON)
    asked = study(complete_requested_at=after(seconds=5))
    assert decide(asked, [router], QUIET, after(seconds=6)).complete


def test_a_study_without_images_says_that_it_waits_for_one() -> None:
    """Reports alone, for example: stored and acknowledged, never analysed."""
    empty = study(images=0, last_image_at=None, last_image_seq=0)
    decision = decide(empty, [], QUIET, after(days=1))
    assert (decision.complete, decision.waits_for) == (
        False,
        "an MR image: what was received so far starts no analysis",
    )


def test_an_analysed_study_waits_for_a_new_image() -> None:
    """Nothing new, nothing to do."""
    assert not decide(study(assembled_seq=300), [], QUIET, after(days=1)).complete


@pytest.mark.parametrize("sop_class", [MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage])
def test_mr_images_start_an_analysis(sop_class: str) -> None:
    """Derived ones too, where a model may select them: some scanners mark their diffusion series so."""
    assert starts_analysis(sop_class, "ORIGINAL\\PRIMARY\\M")
    assert starts_analysis(sop_class, "DERIVED\\PRIMARY\\DIFFUSION")
    assert starts_analysis(sop_class, "")


@pytest.mark.parametrize(
    "sop_class",
    [
        SecondaryCaptureImageStorage,
        Comprehensive3DSRStorage,
        KeyObjectSelectionDocumentStorage,
        SegmentationStorage,
    ],
)
def test_other_objects_start_nothing(sop_class: str) -> None:
    """Reports, key objects, captures and segmentations of others are stored and acknowledged, no more."""
    assert not starts_analysis(sop_class, "ORIGINAL\\PRIMARY")


@pytest.mark.parametrize(
    "image_type",
    [
        "DERIVED\\PRIMARY\\M\\ND\\SUB",
        "DERIVED\\SECONDARY\\SUBTRACTION",
        "DERIVED\\PRIMARY\\PROJECTION IMAGE\\MIP",
        "derived\\primary\\mpr",
    ],
)
def test_what_a_console_computed_starts_nothing(image_type: str) -> None:
    """A subtraction or projection that arrives late must not supersede the analysis of the images it was made of."""
    assert not starts_analysis(MRImageStorage, image_type)
