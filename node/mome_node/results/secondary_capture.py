"""The secondary capture, because every viewer shows it: Multi-frame True Color (PS3.3 A.8.5).

A summary page, the salient slices in colour, and what moved the score; for a study without result one page that says
so, as a plain Secondary Capture (A.8.1), which even archives take that know no multi-frame ones; `single_frames` makes
such plain ones of all pages. It lies in no frame of reference: it is a picture of findings, not an image to measure on.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID, MultiFrameTrueColorSecondaryCaptureImageStorage, SecondaryCaptureImageStorage

from ..findings import Findings
from ..volume import FloatArray, Volume
from . import pages, planes, score_pages, slice_pages, wording
from .drawing import SIDE, Page
from .identity import ResultIdentity, derived_uid
from .objects import coded, evidence_by_series, new_object, reference
from .planes import BoolArray
from .sheets import Label, Subject
from .sr_template import Vocabulary
from .typeface import Typeface

FRAME_LABEL_VECTOR = Tag("FrameLabelVector")
MULTI_FRAME = MultiFrameTrueColorSecondaryCaptureImageStorage
SECONDARY_CAPTURE = SecondaryCaptureImageStorage  # for one page: PS3.3 C.7.6.6 and C.8.6.3 disagree about one frame
OF_MANY_FRAMES = frozenset({"NumberOfFrames", "FrameIncrementPointer", "FrameLabelVector", "PixelData"})
UPRIGHT_AXIAL = ("R", "L", "A", "P")  # letters at left, right, top, bottom


def build(
    findings: Findings,
    source: Dataset,
    evidence: Sequence[Dataset],
    identity: ResultIdentity,
    vocabulary: Vocabulary,
    dce: Volume | None,
    saliency: FloatArray | None,
    mask: BoolArray | None,
    *,
    notices: Sequence[str] = (),
    typeface: Typeface | None = None,
) -> Dataset:
    """The secondary capture of one study, ready to be saved; the same arguments give the same bytes.

    `dce`: voxels (P, W, H, D), pre-contrast phase first. `saliency`, >= 0, and `mask` of the analysed area, both
    (W, H, D) on its grid. All three are None for a study without result. `notices`: what frame 1 says before anything
    else. Raises ValueError where the grids differ.
    """
    for array in (saliency, mask):
        if array is not None and (dce is None or array.shape != dce.voxels.shape[1:]):
            raise ValueError(f"Saliency and mask lie on the DCE grid; shape {array.shape} does not.")
    typeface = typeface or Typeface()
    identity = _lettered(identity, typeface)
    label = Label(identity.worded(vocabulary.sha256).short, _date(source))
    frames = _frames(Subject(findings, label, vocabulary, typeface, tuple(notices)), dce, saliency, mask)
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
    upright = dce is not None and planes.edges(dce.affine) == UPRIGHT_AXIAL
    _image(ds, "AI_OVERLAY" if dce is not None else "AI_NOTICE", upright=upright and findings.sides_known)
    ds.ImageComments = " ".join(wording.limits(findings, vocabulary))
    if findings.status == "analysed":
        _derivation(ds, evidence, vocabulary)
    _pixels(ds, frames)
    return ds


def withdrawal(
    findings: Findings,
    source: Dataset,
    identity: ResultIdentity,
    vocabulary: Vocabulary,
    result: str,
    notice: Sequence[str],
    *,
    typeface: Typeface | None = None,
) -> Dataset:
    """The page "WITHDRAWN" in a series of its own, for an archive that still shows the result.

    `result`: eight characters, as printed on its pages; `notice`: which, when and why, in words; `identity`: of the
    withdrawal.
    """
    typeface = typeface or Typeface()
    frames = [
        ("WITHDRAWN", page) for page in pages.withdrawn(notice, Label(result, _date(source)), vocabulary, typeface)
    ]
    ds = new_object(
        findings,
        source,
        _lettered(identity, typeface),
        vocabulary,
        kind="withdrawn",
        series="withdrawn",
        sop_class=SECONDARY_CAPTURE,
        modality="OT",
    )
    _image(ds, "AI_NOTICE", upright=False)
    ds.ImageComments = f"{vocabulary.say('withdrawn.heading')}. {vocabulary.say('withdrawn.do_not_use')}"
    _pixels(ds, frames)
    return ds


def single_frames(ds: Dataset) -> list[Dataset]:
    """The frames of a multi-frame capture as plain Secondary Captures, one series of them, for an archive that takes no
    multi-frame ones; a capture of one page is one already, and comes in that series too."""
    count = int(ds.get("NumberOfFrames", 1))
    size = ds.Rows * ds.Columns * ds.SamplesPerPixel
    series = UID(derived_uid(ds.SeriesInstanceUID, "sc-single/series"))
    frames = []
    for n in range(count):
        frame = Dataset()
        for element in ds:
            if element.keyword not in OF_MANY_FRAMES:
                frame.add(copy.deepcopy(element))
        frame.SOPClassUID = SECONDARY_CAPTURE
        frame.SOPInstanceUID = UID(derived_uid(ds.SOPInstanceUID, f"sc/instance/{n + 1}"))
        frame.SeriesInstanceUID = series
        frame.InstanceNumber = n + 1
        frame.add_new("PixelData", "OB", ds.PixelData[n * size : (n + 1) * size])
        frames.append(frame)
    return frames


def _lettered(identity: ResultIdentity, typeface: Typeface) -> ResultIdentity:
    """The identity of the same result in the letters of a site's own font: other pixels are another object."""
    return identity.worded(typeface.sha256) if typeface.sha256 else identity


def _image(ds: Dataset, kind: str, *, upright: bool) -> None:
    """What the pixels are. `upright`: pictures show the patient's left on the right and anterior above."""
    ds.ConversionType = "WSD"
    ds.BodyPartExamined = "BREAST"
    ds.ImageLaterality = "B"
    ds.ImageType = ["DERIVED", "SECONDARY", kind]
    ds.PatientOrientation = ["L", "P"] if upright else None
    ds.BurnedInAnnotation = "YES"
    ds.RecognizableVisualFeatures = "NO"


def _frames(
    subject: Subject, dce: Volume | None, saliency: FloatArray | None, mask: BoolArray | None
) -> list[tuple[str, Page]]:
    """(Frame label, page) in order."""
    findings = subject.findings
    if findings.score is None:
        return [("NOT ANALYSED", page) for page in pages.refusal(subject)]
    first = pages.summary(subject, dce, mask)
    where: list[Page] = []
    if dce is not None and saliency is not None and findings.sides_known and not wording.is_below(findings):
        where = slice_pages.slices(subject, dce, saliency, mask)
    why = score_pages.contributions(subject, saliency_shown=bool(where))
    return [
        *[("SUMMARY", page) for page in first],
        *[("SALIENCY", page) for page in where],
        *[("DETAILS", page) for page in why[:-1]],
        ("CONTRIBUTIONS" if findings.score.contributions else "DETAILS", why[-1]),
    ]


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
