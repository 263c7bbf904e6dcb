"""The selected region as a binary Segmentation (PS3.3 A.51), so that a viewer can lay it over the dynamic series.

It says in every text that it can hold: not a lesion, not an extent. It has no side: its place says that by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, SegmentationStorage

from ..findings import Findings
from ..volume import Volume
from . import dynamic_images, multiframe, wording
from .identity import ResultIdentity
from .objects import coded, new_object
from .salient_region import SalientRegion
from .sr_template import Vocabulary

AMBER_CIELAB = (52200, 35300, 49700)  # L* 80, a* 9, b* 65 as PS3.3 C.10.7.1.1 scales them: the amber of the pages


def build(
    findings: Findings,
    source: Dataset,
    evidence: Sequence[Dataset],
    identity: ResultIdentity,
    vocabulary: Vocabulary,
    dce: Volume,
    region: SalientRegion,
) -> Dataset:
    """The segmentation of `region`, ready to be saved; the same arguments give the same bytes.

    `source`: header of one image, for patient, study and frame of reference. `evidence`: headers of the used images.
    """
    ds = new_object(
        findings,
        source,
        identity,
        vocabulary,
        kind="seg",
        series="segmentation",
        sop_class=SegmentationStorage,
        modality="SEG",
    )
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.ContentLabel = "AI_REGION"
    ds.ContentDescription = vocabulary.say("label.region")
    ds.ContentCreatorName = None
    ds.SegmentationType = "BINARY"
    ds.SegmentSequence = [_segment(findings, identity, vocabulary)]
    multiframe.put_frames(
        ds,
        source,
        identity,
        vocabulary,
        dce,
        region.slices,
        dynamic_images.by_slice(findings, evidence, dce),
        vocabulary.codes["segmentation"],
        dimensions=(("SegmentIdentificationSequence", "ReferencedSegmentNumber"), multiframe.DIMENSION),
    )
    for groups in ds.PerFrameFunctionalGroupsSequence:
        shown = Dataset()
        shown.ReferencedSegmentNumber = 1
        groups.SegmentIdentificationSequence = [shown]
    _put_pixels(ds, region)
    return ds


def _segment(findings: Findings, identity: ResultIdentity, vocabulary: Vocabulary) -> Dataset:
    """Segment Description Macro (PS3.3 Table C.8.20-4); tracked under the same UID as in the located region."""
    codes, label = vocabulary.codes, vocabulary.say("label.region")
    item = Dataset()
    item.SegmentNumber = 1
    item.SegmentLabel = label
    limits = [vocabulary.say("limits.region"), wording.use(findings, vocabulary), wording.weights(findings, vocabulary)]
    item.SegmentDescription = " ".join(limits)[:1024]
    item.SegmentAlgorithmType = "AUTOMATIC"
    item.SegmentAlgorithmName = findings.model.name[:64]
    item.SegmentationAlgorithmIdentificationSequence = [_algorithm(findings, vocabulary)]
    item.SegmentedPropertyCategoryCodeSequence = [coded(codes["region_category"])]
    item.SegmentedPropertyTypeCodeSequence = [coded(codes["selected_region"])]
    item.TrackingID = f"{label} {identity.short}"
    item.TrackingUID = UID(identity.uid("tracking/region"))
    item.RecommendedDisplayCIELabValue = list(AMBER_CIELAB)
    return item


def _algorithm(findings: Findings, vocabulary: Vocabulary) -> Dataset:
    """Algorithm Identification Macro (PS3.3 Table 10-19)."""
    model = findings.model
    item = Dataset()
    item.AlgorithmFamilyCodeSequence = [coded(vocabulary.codes["algorithm_family"])]
    item.AlgorithmName = model.name[:64]
    item.AlgorithmVersion = model.version[:64]
    item.AlgorithmParameters = f"weights SHA-256 {model.weights_sha256}; device {model.device}; {findings.software}"
    return item


def _put_pixels(ds: Dataset, region: SalientRegion) -> None:
    """One bit for each pixel, frames without gaps, first pixel in the lowest bit (PS3.5 8.1.1)."""
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = 0
    ds.PixelRepresentation = 0
    frames = region.mask[:, :, list(region.slices)].transpose(2, 1, 0)
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    ds.add_new("PixelData", "OB", packed + b"\0" * (len(packed) % 2))
