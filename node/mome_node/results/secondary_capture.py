"""The secondary capture, because every viewer shows it: Multi-frame True Color (PS3.3 A.8.5).

A summary page, the salient slices in colour, and what moved the score; for a study without result one page that says
so, as a plain Secondary Capture (A.8.1), which even archives take that know no multi-frame ones. It lies in no frame
of reference: it is a picture of findings, not an image to measure on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage, SecondaryCaptureImageStorage

from ..findings import Findings
from ..volume import FloatArray, Volume
from . import pages, planes, wording
from .drawing import SIDE, Page
from .identity import ResultIdentity
from .objects import coded, evidence_by_series, new_object, reference
from .planes import BoolArray
from .sr_template import Vocabulary

FRAME_LABEL_VECTOR = Tag("FrameLabelVector")
MULTI_FRAME = MultiFrameTrueColorSecondaryCaptureImageStorage
SECONDARY_CAPTURE = SecondaryCaptureImageStorage  # for one page: PS3.3 C.7.6.6 and C.8.6.3 disagree about one frame


def build(
    findings: Findings,
    source: Dataset,
    evidence: Sequence[Dataset],
    identity: ResultIdentity,
    vocabulary: Vocabulary,
    dce: Volume | None,
    saliency: FloatArray | None,
    mask: BoolArray | None,
) -> Dataset:
    """The secondary capture of one study, ready to be saved; the same arguments give the same bytes.

    `dce`: voxels (P, W, H, D), pre-contrast phase first. `saliency`, >= 0, and `mask` of the analysed area, both
    (W, H, D) on its grid. All three are None for a study without result. Raises ValueError where the grids differ.
    """
    for array in (saliency, mask):
        if array is not None and (dce is None or array.shape != dce.voxels.shape[1:]):
            raise ValueError(f"Saliency and mask lie on the DCE grid; shape {array.shape} does not.")
    made = identity.worded(vocabulary.sha256)
    label = pages.Label(made.short, _date(source))
    frames = _frames(findings, label, vocabulary, dce, saliency, mask)
    ds = new_object(
        findings,
        source,
        identity,
        vocabulary,
        kind="sc",
        series="overlay",
        sop_class=SECONDARY_CAPTURE if len(frames) == 1 else MULTI_FRAME,
        modality="OT",
    )
    ds.ConversionType = "WSD"
    ds.BodyPartExamined = "BREAST"
    ds.ImageLaterality = "B"
    ds.ImageType = ["DERIVED", "SECONDARY", "AI_OVERLAY" if dce is not None else "AI_NOTICE"]
    axial = dce is not None and planes.patient_axes(dce.affine).through == 2
    ds.PatientOrientation = ["L", "P"] if axial and findings.sides_known else None
    ds.BurnedInAnnotation = "YES"
    ds.RecognizableVisualFeatures = "NO"
    ds.ImageComments = " ".join(wording.limits(findings, vocabulary))
    if findings.status == "analysed":
        _derivation(ds, evidence, vocabulary)
    _pixels(ds, frames)
    return ds


def _frames(
    findings: Findings,
    label: pages.Label,
    vocabulary: Vocabulary,
    dce: Volume | None,
    saliency: FloatArray | None,
    mask: BoolArray | None,
) -> list[tuple[str, Page]]:
    """(Frame label, page) in order."""
    if findings.score is None:
        return [("NOT ANALYSED", page) for page in pages.refusal(findings, label, vocabulary)]
    where: list[Page] = []
    if dce is not None and saliency is not None and findings.sides_known and not wording.is_below(findings):
        where = pages.slices(findings, label, vocabulary, dce, saliency, mask)
    first = pages.summary(findings, label, vocabulary, dce, mask, saliency_follows=bool(where))
    frames = [*[("SUMMARY", page) for page in first], *[("SALIENCY", page) for page in where]]
    if findings.score.contributions:
        frames.append(("CONTRIBUTIONS", pages.contributions(findings, label, vocabulary)))
    return frames


def _derivation(ds: Dataset, evidence: Sequence[Dataset], vocabulary: Vocabulary) -> None:
    """General Reference module: which images the pictures were made from, and how."""
    ds.DerivationDescription = vocabulary.say("picture.subtraction")
    ds.DerivationCodeSequence = [coded(vocabulary.codes["subtraction"])]
    ds.SourceImageSequence = []
    for _, images in evidence_by_series(evidence):
        for image in images:
            item = reference(image)
            item.PurposeOfReferenceCodeSequence = [coded(vocabulary.codes["source_image"])]
            ds.SourceImageSequence.append(item)


def _pixels(ds: Dataset, frames: Sequence[tuple[str, Page]]) -> None:
    """Image Pixel, Multi-frame, and SC Multi-frame Image and Vector modules (PS3.3 C.7.6.6, C.8.6.3, C.8.6.4)."""
    if len(frames) > 1:
        ds.NumberOfFrames = len(frames)
        ds.FrameIncrementPointer = FRAME_LABEL_VECTOR
        ds.FrameLabelVector = [name for name, _ in frames]
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.Rows = ds.Columns = SIDE
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelRepresentation = 0
    ds.add_new("PixelData", "OB", np.stack([page.pixels() for _, page in frames]).tobytes())


def _date(source: Dataset) -> str:
    """StudyDate for people, or a dash."""
    date = str(source.get("StudyDate") or "")
    return f"{date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) == 8 else "-"
