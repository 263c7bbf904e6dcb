"""Whether a study is a diagnostic breast MRI of one patient at all. Refusals only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...findings import Problem
from .images import Series, most_common
from .kinds import Kind
from .words import Vocabulary

IDENTITY = ("PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
STUDY_TEXTS = (
    "StudyDescription", "RequestedProcedureDescription", "PerformedProcedureStepDescription", "ProcedureCode",
    "RequestedProcedureCode",
)  # fmt: skip
ENOUGH = 2
WIDE_MM = (260.0, 480.0)  # field of view of both breasts


def refusals(series: Sequence[Series], kinds: Sequence[Kind], vocabulary: Vocabulary) -> list[Problem]:
    """MIXED_PATIENTS, INTERVENTIONAL, NOT_BREAST: at most one, the gravest first."""
    if differing := _differing_identity(series):
        words = f"Objects of different patients stand under one StudyInstanceUID ({', '.join(differing)} differ)."
        return [Problem.of("MIXED_PATIENTS", f"{words} Correct the identity in the PACS and send the study again.")]
    images = [s for s in series if s.images]
    if not images:
        return []
    if why := _other_body_part(images, vocabulary):
        return [Problem.of("NOT_BREAST", f"Not a breast MRI: {why}. Correct the routing rule.")]
    if why := _interventional(images, vocabulary):
        return [Problem.of("INTERVENTIONAL", f"An intervention, not a diagnostic exam: {why}.")]
    if not _breast_evidence(images, kinds, vocabulary):
        words = "Nothing shows that this is a breast MRI: neither body part, descriptions, coil nor prone position."
        return [Problem.of("NOT_BREAST", f"{words} Correct the routing rule.")]
    return []


def _differing_identity(series: Sequence[Series]) -> list[str]:
    """Patient attributes of which two different values stand in the study; an empty one contradicts nothing."""
    found = []
    for keyword in IDENTITY:
        values = {str(i.attributes.get(keyword, "")).strip() for s in series for i in s.instances} - {""}
        if len(values) > 1:
            found.append(keyword)
    return found


def _other_body_part(images: Sequence[Series], vocabulary: Vocabulary) -> str | None:
    """Another body part in BodyPartExamined of most series, or in the study's description and not the breast."""
    part = most_common(text for s in images if (text := s.first.text("BodyPartExamined")))
    if part and vocabulary.find("other body", part) and not vocabulary.find("breast", part):
        return f"BodyPartExamined is {part}"
    texts = _texts(images, STUDY_TEXTS)
    if (word := vocabulary.find("other body", *texts)) and not vocabulary.find("breast", *texts):
        return f'"{word}" in the description of the study'
    sex = most_common(text for s in images if (text := s.first.text("PatientSex")))
    words = [s.description for s in images]
    if sex == "M" and any("prostat" in word.lower() for word in words):
        return "prostate in the descriptions of the series"
    return None


def is_elsewhere(series: Series, vocabulary: Vocabulary) -> bool:
    """Whether a series says of itself that it shows another part of the body: breast and liver may share a study."""
    texts = (series.first.text("BodyPartExamined"), series.description)
    return vocabulary.find("other body", *texts) is not None and vocabulary.find("breast", series.description) is None


def _interventional(images: Sequence[Series], vocabulary: Vocabulary) -> str | None:
    """Words for a biopsy or a localisation in the study's description, or in those of several series."""
    for text in _texts(images, STUDY_TEXTS):
        if word := vocabulary.find("intervention", vocabulary.without("after intervention", text)):
            return f'"{word}" in the description of the study'
    found = [
        word
        for s in images
        if (word := vocabulary.find("intervention", vocabulary.without("after intervention", s.description)))
    ]
    return f'"{found[0]}" in the descriptions of {len(found)} series' if len(found) > 1 else None


def _breast_evidence(images: Sequence[Series], kinds: Sequence[Kind], vocabulary: Vocabulary) -> bool:
    evidence = 0
    parts = _texts(images, ("BodyPartExamined", "AnatomicRegion"))
    evidence += ENOUGH * bool(vocabulary.find("breast", *parts))
    evidence += ENOUGH * bool(vocabulary.find("breast", *_texts(images, STUDY_TEXTS)))
    evidence += ENOUGH * bool(vocabulary.find("breast", *_texts(images, ("ReceiveCoilName",))))
    names = _texts(images, ("SeriesDescription", "ProtocolName"))
    evidence += bool(vocabulary.find("breast", *names)) + bool(vocabulary.find("breast sequence", *names))
    evidence += any(s.first.text("PatientPosition") in ("HFP", "FFP") for s in images)
    evidence += any(kind.weighting == "t1" and _is_wide(kind) for kind in kinds)
    return evidence >= ENOUGH


def _is_wide(kind: Kind) -> bool:
    image = kind.images[0]
    if not image.pixel_spacing:
        return False
    return WIDE_MM[0] <= image.pixel_spacing[1] * image.size[1] <= WIDE_MM[1]


def _texts(images: Iterable[Series], keywords: Sequence[str]) -> list[str]:
    return sorted({text for s in images for keyword in keywords if (text := s.first.text(keyword))})
