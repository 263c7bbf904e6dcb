"""The Structured Report: Comprehensive 3D SR, TID 1500 "Measurement Report" (PS3.16), without coordinates.

Groups (TID 1501) in the order of the vocabulary: summary, the whole-exam score once, inputs, quality. A score of the
whole exam never stands in a group that has a side, a point, a region or a segment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage

from ..findings import ExamScore, Findings
from . import wording
from .identity import ResultIdentity
from .objects import Predecessor, new_object, reference_hierarchy
from .sr_content import algorithm, observer, separate
from .sr_template import Vocabulary

CONTAINS = sr.RelationshipTypeValues.CONTAINS
LONGEST_LO = 64
ALGORITHM_NAME = "111001"  # DCM; the first row of TID 4019

Content = tuple[list[Code], list[sr.ContentItem]]
"""Finding sites of a group and what the group says."""


def build(
    findings: Findings,
    source: Dataset,
    evidence: Sequence[Dataset],
    identity: ResultIdentity,
    vocabulary: Vocabulary,
    *,
    predecessors: Sequence[Predecessor] = (),
    further: bool = False,
) -> Dataset:
    """The report of one study, ready to be saved; the same arguments give the same bytes.

    `source`: header of one image, for patient and study. `evidence`: headers of the images that the result rests on,
    for a refusal at least one image of the study. `predecessors`: reports of the study that it replaces.
    `further`: with the scores of further targets that have a code; for research destinations only, under an identity
    of their own. Raises ValueError where an image of `evidence` is of another study.
    """
    strangers = {image.StudyInstanceUID for image in evidence} - {source.StudyInstanceUID}
    if strangers or not evidence:
        raise ValueError(f"Evidence must be of the study {source.StudyInstanceUID}; it is of {sorted(strangers)}.")
    ds = new_object(
        findings,
        source,
        identity,
        vocabulary,
        kind="sr",
        series="report",
        sop_class=Comprehensive3DSRStorage,
        modality="SR",
    )
    ds.update(_tree(findings, evidence, identity, vocabulary, further))
    missing = ", ".join(vocabulary.sequence(m.role) for m in findings.missing)
    ds.CompletionFlag = "COMPLETE" if findings.status == "analysed" and not missing else "PARTIAL"
    if ds.CompletionFlag == "PARTIAL":
        ds.CompletionFlagDescription = (missing or findings.status)[:LONGEST_LO]
    ds.VerificationFlag = "UNVERIFIED"  # VERIFIED needs a person who answers for it
    ds.PreliminaryFlag = "PRELIMINARY"
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = []
    ds.CurrentRequestedProcedureEvidenceSequence = [reference_hierarchy(evidence)]
    if predecessors:
        ds.PredecessorDocumentsSequence = [
            reference_hierarchy([_identifiers(source, report) for report in predecessors])
        ]
    return ds


# ------------------------------------------------------------------ the tree
def _tree(
    findings: Findings, evidence: Sequence[Dataset], identity: ResultIdentity, vocabulary: Vocabulary, further: bool
) -> Dataset:
    contents: Mapping[str, Callable[[], Content]] = {
        "summary": lambda: _summary(findings, vocabulary),
        "score": lambda: _score(findings, vocabulary),
        "inputs": lambda: _inputs(findings, evidence, vocabulary),
        "quality": lambda: _quality(findings, vocabulary),
    }
    groups = []
    for name in vocabulary.groups:
        sites, items = contents[name]()
        if items:
            groups.append(_group(name, sites, items, findings, identity, vocabulary))
    for found in [f for f in findings.further_scores if further and f"group_{f.target}" in vocabulary.codes]:
        breasts = vocabulary.codes["breast" if wording.is_unilateral(findings) else "both_breasts"]
        sites, items = _further(found, breasts, vocabulary)
        groups.append(_group(found.target, sites, items, replace(findings, score=found), identity, vocabulary))
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer(findings, identity, vocabulary)),
        procedure_reported=vocabulary.codes["procedure"],
        imaging_measurements=groups,
        title=vocabulary.codes["title"],
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(
            sr.CodedConcept.from_code(vocabulary.language)
        ),
    )
    root = Dataset()
    root.update(report[0])
    separate(root)
    return root


def _group(
    name: str,
    sites: Sequence[Code],
    items: Sequence[sr.ContentItem],
    findings: Findings,
    identity: ResultIdentity,
    vocabulary: Vocabulary,
) -> sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501: tracking, finding, site, what the group says, and last, for machines, the algorithm (TID 4019)."""
    finding = vocabulary.codes[f"group_{name}"]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=identity.uid(f"tracking/{name}"), identifier=f"{finding.meaning} {identity.short}"
        ),
        finding_type=finding,
        finding_sites=[sr.FindingSite(site) for site in sites],
        algorithm_id=algorithm(findings, vocabulary),
    )
    said = group[0].ContentSequence
    begin = next(n for n, item in enumerate(said) if item.name.value == ALGORITHM_NAME)
    for n, item in enumerate(items):
        said.insert(begin + n, item)
    return group


# ------------------------------------------------------------------ what the groups say
def _summary(findings: Findings, vocabulary: Vocabulary) -> Content:
    codes = vocabulary.codes
    items = [
        *_texts(codes["replaces"], wording.replaces(findings, vocabulary)),
        _text(codes["conclusion"], wording.conclusion(findings, vocabulary)),
        _code(codes["status"], codes[f"status_{_status(findings)}"]),
    ]
    if findings.status != "analysed":
        items += _texts(codes["reason_not_analysed"], wording.reasons_of_refusal(findings, vocabulary))
        items += _texts(codes["remedy"], wording.remedies(findings, vocabulary))
    elif findings.advice is not None:
        items.append(_code(codes["advice"], codes[f"advice_{wording.CONCLUSIONS[findings.advice.value]}"]))
        items += _texts(codes["advice_text"], wording.advice(findings, vocabulary))
        items += _texts(codes["advice_reason"], wording.advice_reasons(findings))
        exclusions, *category = wording.exclusions(findings, vocabulary)
        items.append(_text(codes["exclusions"], exclusions))
        items += _texts(codes["known_category"], category)
    return [], items + _texts(codes["limits"], wording.limits(findings, vocabulary))


def _score(findings: Findings, vocabulary: Vocabulary) -> Content:
    found, codes, points = findings.score, vocabulary.codes, vocabulary.units["points"]
    if found is None:
        return [], []
    decimals = wording.decimals(found)
    if found.calibrated_percent is not None:
        percent = vocabulary.units["percent"]
        items = [_number(codes["probability_of_cancer"], found.calibrated_percent, percent, 1)]
    else:
        items = [_number(codes["ai_score"], 100 * found.score, points, decimals)]
    items.append(_text(codes["score_scope"], vocabulary.say("score.scope")))
    if found.operating_point is not None:
        items.append(_number(codes["operating_point"], 100 * found.operating_point.threshold, points, decimals))
    items += _texts(codes["operating_point_text"], wording.operating_point(found, vocabulary))
    items.append(_number(codes["contribution_baseline"], 100 * found.baseline, points, 1))
    items += [
        _number(codes[f"contribution_{role}"], 100 * found.contributions[role], points, 1)
        for role in vocabulary.sequences
        if role in found.contributions
    ]
    return [codes["breast" if wording.is_unilateral(findings) else "both_breasts"]], items


def _further(found: ExamScore, site: Code, vocabulary: Vocabulary) -> Content:
    """A further target, subtype or response: research, and of a proven cancer only."""
    codes = vocabulary.codes
    if found.calibrated_percent is not None:
        score = _number(codes["probability"], found.calibrated_percent, vocabulary.units["percent"], 1)
    else:
        score = _number(codes["ai_score"], 100 * found.score, vocabulary.units["points"], 1)
    warning = _text(codes["conclusion"], vocabulary.say("further.limits"))  # first: the group is named like a finding
    return [site], [warning, score]


def _inputs(findings: Findings, evidence: Sequence[Dataset], vocabulary: Vocabulary) -> Content:
    codes = vocabulary.codes
    used = {item.role: item for item in findings.used}
    items = []
    missing = {item.role for item in findings.missing}
    for role in vocabulary.sequences:  # of a refused study nobody knows: neither present nor absent
        if role in used or role in missing:
            items.append(_code(codes[f"input_{role}"], codes["present" if role in used else "absent"]))
    items += _texts(codes["input_text"], wording.inputs(findings, vocabulary))
    items += _texts(codes["input_rejected"], wording.rejected(findings, vocabulary))
    images = {image.SOPInstanceUID: image for image in evidence}
    for role in vocabulary.sequences:
        shown = [images[uid] for uid in (used[role].instances if role in used else ()) if uid in images]
        if shown:
            items.append(sr.SourceImageForMeasurementGroup(shown[0].SOPClassUID, shown[0].SOPInstanceUID))
    return [], items


def _quality(findings: Findings, vocabulary: Vocabulary) -> Content:
    codes = vocabulary.codes
    measures = dict(findings.measures)
    if findings.completeness_gap is not None:
        measures.setdefault("completeness_gap", findings.completeness_gap)
    items = []
    for name, value in sorted(measures.items()):
        known = vocabulary.measures.get(name)
        if known is not None:
            items.append(_number(known.code, value, known.unit, known.decimals))
        else:
            items.append(_text(codes["measure"], vocabulary.say("quality.measure", name=name, value=f"{value:.4g}")))
    items += [_text(codes["problem"], f"{p.code}: {p.message}") for p in findings.problems]
    if not findings.problems:
        items += _texts(codes["quality_text"], wording.quality(findings, vocabulary))
    return [], items


def _status(findings: Findings) -> str:
    return "partly_analysed" if findings.status == "analysed" and findings.missing else findings.status


# ------------------------------------------------------------------ content items
def _text(name: Code, text: str) -> sr.ContentItem:
    return sr.TextContentItem(name, text, CONTAINS)


def _texts(name: Code, texts: Sequence[str]) -> list[sr.ContentItem]:
    return [_text(name, text) for text in texts]


def _code(name: Code, value: Code) -> sr.ContentItem:
    return sr.CodeContentItem(name, value, CONTAINS)


def _number(name: Code, value: float, unit: Code, decimals: int) -> sr.ContentItem:
    """A NUM item, rounded to what means something; without FloatingPointValue, which would say more than that."""
    rounded = round(float(value), decimals) + 0.0  # never -0
    item = sr.NumContentItem(name, rounded, unit, relationship_type=CONTAINS)
    measured = item.MeasuredValueSequence[0]
    measured.NumericValue = f"{rounded:.{decimals}f}"
    del measured.FloatingPointValue
    return item


def _identifiers(source: Dataset, report: Predecessor) -> Dataset:
    """The identifiers of an earlier report of the same study."""
    ds = Dataset()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = source.StudyInstanceUID, report.series_instance_uid
    ds.SOPClassUID, ds.SOPInstanceUID = report.sop_class_uid, report.sop_instance_uid
    return ds
