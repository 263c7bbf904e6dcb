"""Key Object Selection (PS3.3 A.35.4, TID 2010): the slice in which the score responds most, and the AI results.

Title "For Research": it was chosen by software. Archives that list key images lead a reader to it; others ignore it.
"""

from __future__ import annotations

from collections.abc import Sequence

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from ..findings import Findings
from ..volume import Volume
from . import located_region, sr_content
from .identity import ResultIdentity
from .objects import coded, new_object, reference, reference_hierarchy
from .salient_region import SalientRegion
from .sr_template import Vocabulary


def build(
    findings: Findings,
    source: Dataset,
    evidence: Sequence[Dataset],
    identity: ResultIdentity,
    vocabulary: Vocabulary,
    dce: Volume | None,
    region: SalientRegion | None,
    objects: Sequence[Dataset],
) -> Dataset:
    """The selection, ready to be saved; the same arguments give the same bytes.

    `objects`: the results to be led to, as built (overlay, segmentation, ...). `region`: None where no place may be
    named; then no image of the scanner is selected. Raises ValueError where nothing is left to select.
    """
    ds = new_object(
        findings,
        source,
        identity,
        vocabulary,
        kind="ko",
        series="key_objects",
        sop_class=KeyObjectSelectionDocumentStorage,
        modality="KO",
    )
    selected = [(result, reference(result)) for result in objects]
    if dce is not None and region is not None:
        image = located_region.key_image(findings, evidence, dce, region)
        selected.insert(0, (image.header, image.cited()))
    if not selected:
        raise ValueError("A key object selection selects at least one object.")
    codes = vocabulary.codes
    ds.ValueType = "CONTAINER"
    ds.ConceptNameCodeSequence = [coded(codes["key_objects"])]
    ds.ContinuityOfContent = "SEPARATE"
    ds.ContentTemplateSequence = [_template()]
    ds.ContentSequence = [
        *sr.LanguageOfContentItemAndDescendants(sr.CodedConcept.from_code(vocabulary.language)),
        *sr_content.observer(findings, identity, vocabulary),
        sr.TextContentItem(
            codes["key_objects_text"], vocabulary.say("limits.key_objects"), sr.RelationshipTypeValues.CONTAINS
        ),
        *[_selected(header, cited) for header, cited in selected],
    ]
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.CurrentRequestedProcedureEvidenceSequence = [reference_hierarchy([header for header, _ in selected])]
    return ds


def _template() -> Dataset:
    item = Dataset()
    item.MappingResource = "DCMR"
    item.TemplateIdentifier = "2010"
    return item


def _selected(header: Dataset, cited: Dataset) -> Dataset:
    """A selected object; TID 2010 gives it no concept name. What has no pixels is a COMPOSITE."""
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "IMAGE" if "Rows" in header else "COMPOSITE"
    item.ReferencedSOPSequence = [cited]
    return item
