"""What takes a result back: a note that tells an archive to hide it, and a page for archives that do not.

The note is a Key Object Selection (IHE IOCM; PS3.16 TID 2010). An archive that knows the profile hides what it names;
one that does not goes on showing it, so the page says in large letters that the result is withdrawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from ..findings import Findings
from . import secondary_capture, wording
from .identity import ResultIdentity
from .objects import coded, new_object, reference, reference_hierarchy
from .sr_template import Vocabulary
from .typeface import Typeface

REASONS = {
    "patient-safety": "rejected_patient_safety",
    "replaced": "rejected_patient_safety",
    "wrong-patient": "rejected_wrong_patient",
}
"""Why, as a person says it, and the code of the note's title. Rejection for quality is not among them: an archive may
go on showing what is rejected for that."""


def note(
    findings: Findings,
    rejected: Sequence[Dataset],
    reason: str,
    identity: ResultIdentity,
    vocabulary: Vocabulary,
    decided: str,
) -> Dataset:
    """The note about `rejected`, headers of the objects of one study that an archive has; same arguments, same bytes.

    `findings` of the result that they are of. `identity`: of this withdrawal, `decided`: its local date and time,
    ISO 8601: the content date. Raises KeyError for a reason that is
    none of `REASONS`.
    """
    ds = new_object(
        replace(findings, created=decided),
        rejected[0],
        identity,
        vocabulary,
        kind="rejection",
        series="rejection",
        sop_class=KeyObjectSelectionDocumentStorage,
        modality="KO",
    )
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.CurrentRequestedProcedureEvidenceSequence = [reference_hierarchy(rejected)]
    ds.ValueType = "CONTAINER"
    ds.ConceptNameCodeSequence = [coded(vocabulary.codes[REASONS[reason]])]
    ds.ContinuityOfContent = "SEPARATE"
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    ds.ContentTemplateSequence = [template]
    ds.ContentSequence = [
        _described(vocabulary.say("withdrawn.note"), vocabulary),
        *[_named(one) for one in sorted(rejected, key=lambda one: str(one.SOPInstanceUID))],
    ]
    return ds


def page(
    findings: Findings,
    source: Dataset,
    result: str,
    reason: str,
    identity: ResultIdentity,
    vocabulary: Vocabulary,
    decided: str,
    typeface: Typeface | None = None,
) -> Dataset:
    """One page, a Secondary Capture in a series of its own: which result (`result`: its eight characters) and why.

    `source`: header of one of its objects. `decided`: as for the note. Same arguments, same bytes.
    """
    notice = wording.withdrawn(findings, result, reason, vocabulary)
    dated = replace(findings, created=decided)
    return secondary_capture.withdrawal(dated, source, identity, vocabulary, result, notice, typeface=typeface)


def _described(text: str, vocabulary: Vocabulary) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "TEXT"
    item.ConceptNameCodeSequence = [coded(vocabulary.codes["key_objects_text"])]
    item.TextValue = text
    return item


def _named(one: Dataset) -> Dataset:
    """TID 2010 rows 4 to 6: IMAGE for what has pixels, COMPOSITE for the rest; without a concept name."""
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "IMAGE" if "Rows" in one else "COMPOSITE"
    item.ReferencedSOPSequence = [reference(one)]
    return item
