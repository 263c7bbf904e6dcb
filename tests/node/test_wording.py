"""What is said about an exam: the sentences that a radiologist acts on, word by word, and their order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mome_node.findings import Advice, Reason
from mome_node.results import summary, wording
from mome_node.results.sr_template import load_vocabulary
from tests.node import result_fixtures as fixtures

ENGLISH = load_vocabulary()
EXCLUSIONS = (
    "surgery or radiotherapy", "recent biopsy", "implant", "pregnancy or lactation", "neoadjuvant therapy",
    "known cancer", "palpable or other-modality finding",
)  # fmt: skip


def text(kind: str) -> str:
    """The text for people on one line."""
    return " ".join(summary.for_people(fixtures.KINDS[kind](), ENGLISH).split())


def test_a_candidate_is_told_what_it_is_and_what_it_never_does() -> None:
    """Where the score lies, under which condition it may be weighed, and that it cancels no biopsy; no category."""
    said = " ".join(wording.advice(fixtures.below(), ENGLISH))
    assert "lies at or below the operating point" in said
    assert "If, after your own reading, BI-RADS 4A or 4B is the highest category in either breast" in said
    assert "none of the listed exclusions applies, you may weigh" in said
    assert "never cancels a biopsy indicated by another modality or by palpation" in said


def test_no_support_does_not_raise_the_category() -> None:
    """A high score is no reason to biopsy what the reader would not."""
    said = " ".join(wording.advice(fixtures.findings(), ENGLISH))
    assert "gives no support for downgrading and does not raise the category" in said


@pytest.mark.parametrize("kind", ["complete", "below the operating point", "advice withheld", "no DWI"])
def test_below_every_advice_stands_what_the_ai_cannot_see(kind: str) -> None:
    """No header knows them reliably: the reader checks each, whatever the advice is."""
    said = text(kind)
    after = said[said.index("Advice") :]
    for exclusion in EXCLUSIONS:
        assert exclusion in after


def test_withheld_advice_names_every_reason() -> None:
    """A reader who mends one must not meet the next one afterwards; a word found in the request is one of them."""
    reasons = (
        Reason("NO_DWI", "No usable DWI series was received."),
        Reason("EXCLUDED_IMPLANT", 'Exclusion in words: implant ("implantat" in StudyDescription).'),
    )
    said = summary.for_people(fixtures.findings(advice=Advice("WITHHELD", reasons)), ENGLISH)
    assert "  Advice is withheld, because:\n  - No usable DWI" in said
    assert '  - Exclusion in words: implant ("implantat" in StudyDescription).' in said


def test_the_counts_say_what_they_are_compared_with() -> None:
    """ "Scored this low" beside a high score read as if the cancers had scored like this exam."""
    lines = wording.operating_point(fixtures.SCORE, ENGLISH)
    assert lines[1] == "At or below the operating point: 0 of 86 synthetic cancers; upper 95 % limit 4.2 %."
    assert lines[2] == "At or below the operating point: 61 of 214 other synthetic exams."
    patients = replace(fixtures.POINT, cohort="1,200 exams of two hospitals")
    assert "synthetic" not in " ".join(
        wording.operating_point(replace(fixtures.SCORE, operating_point=patients), ENGLISH)
    )


def test_the_order_is_conclusion_score_advice_and_then_the_rest() -> None:
    """Read in five seconds: what it is, where it lies, what it is good for."""
    said = text("complete")
    order = ["NOT A REPORT", "gives no support", "AI score (not a probability)", "Advice", "What moved this score",
             "Inputs", "Quality checks", "Research use only"]  # fmt: skip
    places = [said.index(part) for part in order]
    assert places == sorted(places)


def test_what_moved_the_score_adds_up_before_the_reader() -> None:
    """Start and steps are told together: a step alone says nothing."""
    lines = summary.for_people(fixtures.findings(), ENGLISH).splitlines()
    start = lines.index("What moved this score") + 1
    parts = [float(line.split(": ")[1].split()[0]) for line in lines[start : start + 4]]
    assert sum(parts) == pytest.approx(100 * fixtures.SCORE.score, abs=0.2)


@pytest.mark.parametrize("kind", fixtures.KINDS)
def test_every_result_says_for_whom_and_with_which_weights(kind: str) -> None:
    """Also a refusal, which must not look like a result that found nothing."""
    said = text(kind)
    assert "Research use only. Not for clinical use." in said
    assert "demonstration weights, trained on synthetic phantoms" in said
    if fixtures.KINDS[kind]().status == "analysed":
        assert "No comparison with prior exams. Not evaluated for extent, nodes or response." in said
    else:
        assert "Not analysed is not a result" in said
        assert "Advice" not in said


def test_further_targets_are_in_no_text_for_readers() -> None:
    """Subtype and response go to reports of research destinations only."""
    further = (replace(fixtures.SCORE, target="tnbc", score=0.3),)
    said = summary.for_people(fixtures.findings(further_scores=further), ENGLISH)
    assert said == summary.for_people(fixtures.findings(), ENGLISH)
