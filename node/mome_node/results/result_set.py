"""All result objects of one study for the destinations of one variant, by name; a name is the file's stem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from ..findings import Findings
from ..settings import Variant
from ..volume import FloatArray, Volume
from . import (
    key_objects,
    located_region,
    parametric_map,
    plainer,
    salient_region,
    secondary_capture,
    segmentation,
    structured_report,
    wording,
)
from .identity import ResultIdentity
from .objects import Predecessor
from .planes import BoolArray
from .sr_template import Vocabulary
from .typeface import Typeface


@dataclass(frozen=True, slots=True)
class Case:
    """What the objects of one study are made of."""

    findings: Findings  # as this variant shows them
    source: Dataset  # header of one image: patient and study
    evidence: Sequence[Dataset]  # headers of the images that the result rests on
    dce: Volume | None  # voxels (P, W, H, D); None for a study without result
    saliency: FloatArray | None  # (W, H, D) on the DCE grid, >= 0
    mask: BoolArray | None  # (W, H, D), the analysed area
    predecessors: Sequence[Predecessor] = ()  # reports that this variant's report takes the place of


def build(
    case: Case, identity: ResultIdentity, vocabulary: Vocabulary, variant: Variant, typeface: Typeface | None = None
) -> Mapping[str, Dataset]:
    """Report and overlay in the classes of the variant, and of its further objects those that this study can have.

    A study without a salient region (no score, one at or below the operating point, sides unknown) has none of them.
    """
    shared = (case.findings, case.source, case.evidence, identity, vocabulary)
    sop_class = plainer.REPORT_CLASSES[variant.report]
    report = structured_report.build(*shared, predecessors=case.predecessors, further=variant.kind == "research")
    made = {"report": plainer.in_class(report, sop_class)}
    notices = wording.replaces(case.findings, vocabulary)
    pictures = (case.dce, case.saliency, case.mask)
    overlay = secondary_capture.build(*shared, *pictures, notices=notices, typeface=typeface)
    frames = plainer.plainer(overlay) if variant.overlay == "single_frames" else []
    made |= {f"overlay-{n:02d}": frame for n, frame in enumerate(frames, 1)} or {"overlay": overlay}
    if not variant.further or case.dce is None or case.saliency is None:
        return made
    region = salient_region.from_saliency(case.saliency, case.dce, case.findings)
    if region is None:
        return made
    if "segmentation" in variant.further:
        made["segmentation"] = segmentation.build(*shared, case.dce, region)
    if "located_region" in variant.further:
        made["located_region"] = plainer.in_class(located_region.build(*shared, case.dce, region), sop_class)
    if "parametric_map" in variant.further:
        made["parametric_map"] = parametric_map.build(*shared, case.dce, case.saliency)
    if "key_objects" in variant.further:
        made["key_objects"] = key_objects.build(*shared, case.dce, region, list(made.values()))
    return made
