"""The selected region as an outline on one image, for viewers that draw reports: Comprehensive 3D SR, TID 1500.

A report of its own, because a viewer that draws (OHIF) shows nothing of a report in which any group has no outline.
One group, a planar ROI (TID 1410). It holds no score, no measurement and no side: the score is of the whole exam.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from ..findings import Findings
from ..volume import Volume
from . import dynamic_images, sr_content, wording
from .dynamic_images import DynamicImage
from .identity import ResultIdentity
from .objects import new_object, reference_hierarchy
from .salient_region import SalientRegion
from .sr_template import Vocabulary

DECIMALS = 2  # of a pixel
CENTRE = 0.5  # PS3.3 C.18.6.1.1: 0\0 is the corner of the first pixel, so its centre is 0.5\0.5


def build(
    findings: Findings,
    source: Dataset,
    evidence: Sequence[Dataset],
    identity: ResultIdentity,
    vocabulary: Vocabulary,
    dce: Volume,
    region: SalientRegion,
) -> Dataset:
    """The located region, ready to be saved; the same arguments give the same bytes.

    `evidence`: headers of the used images. Raises ValueError where none of them lies in the dynamic volume.
    """
    image = key_image(findings, evidence, dce, region)
    ds = new_object(
        findings,
        source,
        identity,
        vocabulary,
        kind="located",
        series="located_region",
        sop_class=Comprehensive3DSRStorage,
        modality="SR",
    )
    ds.update(_tree(findings, image, identity, vocabulary, region))
    ds.CompletionFlag = "COMPLETE"
    ds.VerificationFlag = "UNVERIFIED"  # VERIFIED needs a person who answers for it
    ds.PreliminaryFlag = "PRELIMINARY"
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = []
    ds.CurrentRequestedProcedureEvidenceSequence = [reference_hierarchy(evidence)]
    return ds


def key_image(findings: Findings, evidence: Sequence[Dataset], dce: Volume, region: SalientRegion) -> DynamicImage:
    """The image nearest to the slice of the salient point. Raises ValueError where no image lies in the volume."""
    images = dynamic_images.by_slice(findings, evidence, dce)
    if not images:
        raise ValueError("None of the images given as evidence is a placed image of the dynamic series.")
    return images[min(images, key=lambda k: (abs(k - region.slice_index), k))]


def pixels(region: SalientRegion, image: DynamicImage) -> np.ndarray:
    """The outline on `image`, (N, 2): column and row as SCOORD counts them; closed."""
    on_image = image.to_pixels(region.outline_mm)[:, :2] + CENTRE
    return np.round(np.clip(on_image, 0, np.array(image.size)), DECIMALS)


def _tree(
    findings: Findings,
    image: DynamicImage,
    identity: ResultIdentity,
    vocabulary: Vocabulary,
    region: SalientRegion,
) -> Dataset:
    codes, label = vocabulary.codes, vocabulary.say("label.region")
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=identity.uid("tracking/region"), identifier=f"{label} {identity.short}"
        ),
        finding_type=codes["selected_region"],
        referenced_region=sr.ImageRegion(
            graphic_type=sr.GraphicTypeValues.POLYLINE,
            graphic_data=pixels(region, image),
            source_image=sr.SourceImageForRegion(
                image.header.SOPClassUID,
                image.header.SOPInstanceUID,
                referenced_frame_numbers=None if image.frame is None else [image.frame],
            ),
        ),
        algorithm_id=sr_content.algorithm(findings, vocabulary),
    )
    for text in (vocabulary.say("limits.region"), *wording.limits(findings, vocabulary)):
        group[0].ContentSequence.append(sr.TextContentItem(codes["limits"], text, sr.RelationshipTypeValues.CONTAINS))
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr_content.observer(findings, identity, vocabulary)
        ),
        procedure_reported=codes["procedure"],
        imaging_measurements=[group],
        title=codes["region_title"],
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(
            sr.CodedConcept.from_code(vocabulary.language)
        ),
    )
    root = Dataset()
    root.update(report[0])
    sr_content.separate(root)
    return root
