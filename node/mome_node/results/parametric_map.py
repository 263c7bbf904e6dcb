"""The saliency as a Parametric Map (PS3.3 A.75): float32, share of its maximum in this exam.

It shows what the score responds to. It is not a lesion and not an extent, and its numbers compare with no other exam.
It begins with the first slice of the volume: OHIF (3.13) lays frame n over slice n, wherever the frame says it lies,
and displays nothing of a map that begins elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ParametricMapStorage

from ..findings import Findings
from ..volume import FloatArray, Volume
from . import dynamic_images, multiframe
from .identity import ResultIdentity
from .objects import coded, new_object
from .salient_region import may_be_shown
from .sr_template import Vocabulary

MOST_PIXELS = 2**24  # 64 MiB
WARM = 0.25  # of the maximum: a slice whose peak is lower shows nothing worth drawing, as on the pages
DECIMALS = 4


def build(
    findings: Findings,
    source: Dataset,
    evidence: Sequence[Dataset],
    identity: ResultIdentity,
    vocabulary: Vocabulary,
    dce: Volume,
    saliency: FloatArray,
) -> Dataset:
    """The map of `saliency` (W, H, D), >= 0, on the grid of `dce`; the same arguments give the same bytes.

    Raises ValueError for another grid, for a saliency of zero, and where no place may be named.
    """
    if saliency.shape != dce.voxels.shape[1:] or not saliency.max() > 0:
        raise ValueError(f"Saliency lies on the DCE grid {dce.voxels.shape[1:]} and is not zero everywhere.")
    if not may_be_shown(findings):
        raise ValueError("Of this exam no place may be named; there is no map of it.")
    ds = new_object(
        findings,
        source,
        identity,
        vocabulary,
        kind="pm",
        series="parametric_map",
        sop_class=ParametricMapStorage,
        modality="MR",
    )
    ds.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]
    ds.ContentQualification = "RESEARCH"
    ds.ContentLabel = "AI_SALIENCY"
    ds.ContentDescription = vocabulary.say("label.map_content")
    ds.ContentCreatorName = None
    ds.ImageComments = vocabulary.say("limits.saliency")
    ds.Laterality = None  # of both breasts: type 2C, and no value stands for that
    ds.BurnedInAnnotation = "NO"
    ds.RecognizableVisualFeatures = "NO"
    ds.PresentationLUTShape = "IDENTITY"
    ds.AcquisitionContextSequence = []
    slices = shown_slices(saliency)
    multiframe.put_frames(
        ds,
        source,
        identity,
        vocabulary,
        dce,
        slices,
        dynamic_images.by_slice(findings, evidence, dce),
        vocabulary.codes["integrated_gradients"],
    )
    _put_meaning(ds, vocabulary)
    ds.BitsAllocated = 32
    share = np.round(saliency[:, :, slices] / saliency.max(), DECIMALS).astype("<f4")
    ds.add_new("FloatPixelData", "OF", share.transpose(2, 1, 0).tobytes())
    return ds


def shown_slices(saliency: FloatArray) -> list[int]:
    """Neighbouring slices, ascending: from the first to the last warm one; of large images those around the hottest."""
    width, height, _ = saliency.shape
    most = max(1, MOST_PIXELS // (width * height))
    peaks = saliency.max(axis=(0, 1))
    last = int(np.flatnonzero(peaks >= WARM * peaks.max())[-1])
    first = max(0, min(int(peaks.argmax()) - most // 2, last - most + 1)) if last >= most else 0
    return list(range(first, min(last, first + most - 1) + 1))


def _put_meaning(ds: Dataset, vocabulary: Vocabulary) -> None:
    """What a pixel value stands for, the same in all frames (PS3.3 C.7.6.16.2.9 to .11, C.8.32.3.1)."""
    shared = ds.SharedFunctionalGroupsSequence[0]
    stored, kind, window, mapping, quantity = Dataset(), Dataset(), Dataset(), Dataset(), Dataset()
    stored.RescaleIntercept, stored.RescaleSlope, stored.RescaleType = 0, 1, "US"
    kind.FrameType = list(ds.ImageType)
    window.WindowCenter, window.WindowWidth = 0.5, 1
    quantity.ValueType = "CODE"
    quantity.ConceptNameCodeSequence = [coded(vocabulary.codes["quantity"])]
    quantity.ConceptCodeSequence = [coded(vocabulary.codes["saliency"])]
    mapping.LUTLabel = vocabulary.codes["saliency"].meaning[:16]
    mapping.LUTExplanation = vocabulary.say("label.map_explanation")
    mapping.MeasurementUnitsCodeSequence = [coded(vocabulary.units["ratio"])]
    mapping.DoubleFloatRealWorldValueFirstValueMapped = 0.0
    mapping.DoubleFloatRealWorldValueLastValueMapped = 1.0
    mapping.RealWorldValueIntercept, mapping.RealWorldValueSlope = 0.0, 1.0
    mapping.QuantityDefinitionSequence = [quantity]
    shared.PixelValueTransformationSequence = [stored]
    shared.ParametricMapFrameTypeSequence = [kind]
    shared.FrameVOILUTSequence = [window]
    shared.RealWorldValueMappingSequence = [mapping]
