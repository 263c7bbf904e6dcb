"""Slices of the dynamic volume as frames of an image in the patient: what segmentation and parametric map share.

The frames have the geometry of the volume itself, in the frame of reference of the images (PS3.3 C.7.6.16, C.7.6.17,
C.7.4.1); an image is cited as their source where its pixels are the same places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from ..volume import Volume
from .dynamic_images import DynamicImage, coincides
from .identity import ResultIdentity
from .objects import coded, evidence_by_series, reference
from .sr_template import Vocabulary

DIMENSION = ("PlanePositionSequence", "ImagePositionPatient")


def put_frames(
    ds: Dataset,
    source: Dataset,
    identity: ResultIdentity,
    vocabulary: Vocabulary,
    dce: Volume,
    slices: Sequence[int],
    images: Mapping[int, DynamicImage],
    derivation: Code,
    dimensions: Sequence[tuple[str, str]] = (DIMENSION,),
) -> None:
    """Everything about the frames of `ds` but their pixels and what they mean: one frame for each of `slices`.

    `images`: of the slices, by `dynamic_images.by_slice`. `dimensions`: functional group and keyword of each dimension;
    the last is the place, all frames have index 1 of the others.
    """
    _, ds.Columns, ds.Rows, _ = dce.voxels.shape
    ds.NumberOfFrames = len(slices)
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.LossyImageCompression = "00"
    # An image without a frame of reference is related to nothing, and so is what is made of it.
    ds.FrameOfReferenceUID = source.get("FrameOfReferenceUID") or UID(identity.uid("frame_of_reference"))
    ds.PositionReferenceIndicator = None
    _put_dimensions(ds, identity, dimensions)
    shared = Dataset()
    shared.PixelMeasuresSequence = [_pixel_measures(dce)]
    shared.PlaneOrientationSequence = [_orientation(dce)]
    ds.SharedFunctionalGroupsSequence = [shared]
    same = {k: images[k] for k in slices if k in images and coincides(images[k], dce, k)}
    ds.PerFrameFunctionalGroupsSequence = [
        _frame(dce, k, [1] * (len(dimensions) - 1) + [n], same.get(k), derivation, vocabulary)
        for n, k in enumerate(slices, 1)
    ]
    if same:
        ds.ReferencedSeriesSequence = _referenced_series(list(same.values()))


def _put_dimensions(ds: Dataset, identity: ResultIdentity, dimensions: Sequence[tuple[str, str]]) -> None:
    organization = Dataset()
    organization.DimensionOrganizationUID = UID(identity.uid(f"{ds.SOPInstanceUID}/dimensions"))
    ds.DimensionOrganizationSequence = [organization]
    ds.DimensionIndexSequence = []
    for group, keyword in dimensions:
        item = Dataset()
        item.DimensionOrganizationUID = organization.DimensionOrganizationUID
        item.DimensionIndexPointer = tag_for_keyword(keyword)
        item.FunctionalGroupPointer = tag_for_keyword(group)
        item.DimensionDescriptionLabel = keyword
        ds.DimensionIndexSequence.append(item)


def _pixel_measures(dce: Volume) -> Dataset:
    column, row, between = dce.spacing.tolist()
    item = Dataset()
    item.PixelSpacing = [_decimal(row), _decimal(column)]
    item.SliceThickness = item.SpacingBetweenSlices = _decimal(between)
    return item


def _orientation(dce: Volume) -> Dataset:
    cosines = dce.affine[:3, :2] / dce.spacing[:2]
    item = Dataset()
    item.ImageOrientationPatient = [_decimal(value) for value in cosines.T.ravel().tolist()]
    return item


def _frame(
    dce: Volume, k: int, index: list[int], image: DynamicImage | None, derivation: Code, vocabulary: Vocabulary
) -> Dataset:
    content, position, groups = Dataset(), Dataset(), Dataset()
    content.DimensionIndexValues = index
    position.ImagePositionPatient = [_decimal(v) for v in dce.to_patient(np.array([[0, 0, k]]))[0].tolist()]
    groups.FrameContentSequence = [content]
    groups.PlanePositionSequence = [position]
    groups.DerivationImageSequence = []
    if image is not None:
        derived, origin = Dataset(), image.cited()
        origin.PurposeOfReferenceCodeSequence = [coded(vocabulary.codes["source_image"])]
        origin.SpatialLocationsPreserved = "YES"
        derived.DerivationCodeSequence = [coded(derivation)]
        derived.SourceImageSequence = [origin]
        groups.DerivationImageSequence = [derived]
    return groups


def _referenced_series(images: Sequence[DynamicImage]) -> list[Dataset]:
    """Common Instance Reference module (PS3.3 C.12.2)."""
    found = []
    for uid, headers in evidence_by_series([image.header for image in images]):
        series = Dataset()
        series.SeriesInstanceUID = uid
        series.ReferencedInstanceSequence = [reference(header) for header in headers]
        found.append(series)
    return found


def _decimal(value: float) -> float:
    """What a decimal string of 16 characters holds of it (PS3.5 6.2)."""
    return round(value, 9 if abs(value) < 1 else 6) + 0.0
