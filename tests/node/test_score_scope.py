"""A score is of the whole exam: in no report does one stand with a side, a region, a point or a segment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from mome.tasks import TASKS
from mome_node.findings import Findings
from mome_node.results.sr_template import load_vocabulary
from mome_node.results.structured_report import build
from tests import judges
from tests.node import result_fixtures as fixtures

VOCABULARY = load_vocabulary()
STANDS_WITH_A_PLACE = "stands with a side, a region, a point or a segment"
MADE = {**fixtures.SCORE.made, "sequences": ["dce"]}
FURTHER = tuple(
    replace(fixtures.SCORE, target=t, score=s, made=MADE, operating_point=None)
    for t, s in (("tnbc", 0.3), ("pcr", 0.6))
)
KINDS: dict[str, Callable[[], Findings]] = {
    **fixtures.KINDS,
    "further targets": lambda: fixtures.findings(further_scores=FURTHER),
}


def report(document: Findings, *, further: bool = True) -> Dataset:
    return build(
        document, fixtures.source(), fixtures.evidence(), fixtures.identity(document), VOCABULARY, further=further
    )


def score_groups(ds: Dataset) -> list[Dataset]:
    return [g for g in judges.groups(ds) if judges.SCORES & {judges.name_of(item) for item in g.ContentSequence}]


def content(group: Dataset, name: str) -> Dataset:
    return next(item for item in group.ContentSequence if judges.name_of(item) == name)


def test_no_target_of_the_weights_claims_a_side_or_a_region() -> None:
    """Were there one, its card would declare the scope, and the rule of these tests would have to know it."""
    assert {task.target()["scope"] for task in TASKS.values()} == {"patient"}


@pytest.mark.parametrize("kind", KINDS)
def test_no_score_stands_with_a_place(kind: str) -> None:
    """Every kind of report that the node writes, group by group."""
    ds = report(KINDS[kind]())
    assert not [line for line in judges.house_rules(ds) if STANDS_WITH_A_PLACE in line]
    assert bool(score_groups(ds)) == (KINDS[kind]().score is not None)
    for group in score_groups(ds):
        assert content(group, "363698007").ConceptCodeSequence[0].CodeValue == "63762007"  # both breasts


def _side(group: Dataset) -> None:
    content(group, "363698007").ConceptCodeSequence[0].CodeValue = "80248007"


def _laterality(group: Dataset) -> None:
    left = sr.CodeContentItem(Code("272741003", "SCT", "Laterality"), Code("7771000", "SCT", "Left"), "HAS CONCEPT MOD")
    content(group, "363698007").ContentSequence = [left]


def _region(group: Dataset) -> None:
    name = Code("111030", "DCM", "Image Region")
    outline = np.array([[1.0, 1.0], [2.0, 1.0], [1.0, 1.0]])
    group.ContentSequence.append(sr.ScoordContentItem(name, "POLYLINE", outline, relationship_type="CONTAINS"))


def _point(group: Dataset) -> None:
    name, where = Code("111010", "DCM", "Center"), np.array([[1.0, 2.0, 3.0]])
    point = sr.Scoord3DContentItem(name, "POINT", where, "2.25.1", relationship_type="CONTAINS")
    group.ContentSequence.append(point)


def _segment(group: Dataset) -> None:
    name = Code("121191", "DCM", "Referenced Segment")
    segment = sr.ImageContentItem(name, "1.2.840.10008.5.1.4.1.1.66.4", "2.25.1", referenced_segment_numbers=1,
                                  relationship_type="CONTAINS")  # fmt: skip
    group.ContentSequence.append(segment)


@pytest.mark.parametrize("spoil", [_side, _laterality, _region, _point, _segment])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_rule_sees_every_way_to_name_a_place(spoil: Callable[[Dataset], None], number: int) -> None:
    """A rule that never complains proves nothing: each place, planted beside each score, is found."""
    ds = report(KINDS["further targets"]())
    spoil(score_groups(ds)[number])
    assert sum(STANDS_WITH_A_PLACE in line for line in judges.house_rules(ds)) == 1


# ------------------------------------------------------------------ further targets
def test_further_targets_are_for_research_destinations_only() -> None:
    """Subtype and response have a meaning for a proven cancer only; elsewhere their scores would be misread."""
    document = KINDS["further targets"]()
    findings = [content(g, "121071").ConceptCodeSequence[0].CodeValue for g in score_groups(report(document))]
    assert findings == ["GRP_SCORE", "706970001", "PCR"]
    assert len(score_groups(report(document, further=False))) == 1
    assert "706970001" not in str(report(document, further=False))


def test_a_further_score_says_what_it_is() -> None:
    """A private score and no probability, the limits beside it, and the algorithm with what the score was made from."""
    _, tnbc, pcr = score_groups(report(KINDS["further targets"]()))
    for group, value in ((tnbc, 30), (pcr, 60)):
        number = content(group, "AI_SCORE").MeasuredValueSequence[0]
        assert (float(number.NumericValue), number.MeasurementUnitsCodeSequence[0].CodeValue) == (value, "{points}")
        assert "only for a proven cancer" in content(group, "121077").TextValue
        names = [judges.name_of(item) for item in group.ContentSequence]
        assert names.index("121077") < names.index("AI_SCORE") < names.index("111001")  # read before the score
        assert not {"ADVICE", "OP_THRESHOLD", "111047"} & {judges.name_of(item) for item in group.ContentSequence}
        assert content(group, "111001").TextValue == "MOME"
        assert "; sequences dce" in content(group, "111002").TextValue + ";"  # its own, not those of malignancy
        assert "dwi" not in content(group, "111002").TextValue


def test_a_calibrated_further_score_is_a_probability_and_not_of_cancer() -> None:
    """122157 is the general probability; 111047 is that of cancer and belongs to the malignancy score alone."""
    calibrated = tuple(replace(score, calibrated_percent=42.0) for score in FURTHER)
    _, tnbc, _ = score_groups(report(fixtures.findings(further_scores=calibrated)))
    assert float(content(tnbc, "122157").MeasuredValueSequence[0].NumericValue) == 42.0
    assert not [i for i in tnbc.ContentSequence if judges.name_of(i) in ("AI_SCORE", "111047")]
