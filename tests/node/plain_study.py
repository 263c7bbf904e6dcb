"""Studies as plain headers, without files: what a test of the grouping says about a series is all that it has.

A `series` is a list of phases; a phase is the attributes of its images. Defaults are those of a fat-suppressed 3-D
gradient echo of both breasts; `T2`, `DWI` ... are attributes of other kinds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mome_node.study import Instance, Study

AXIAL, SAGITTAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]
MR, ENHANCED_MR, SECONDARY_CAPTURE = (f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in ("4", "4.1", "7"))

BREAST = {"Modality": "MR", "BodyPartExamined": "BREAST", "PatientID": "A", "FrameOfReferenceUID": "1.2.3"}
DCE = {
    "ScanningSequence": "GR",
    "MRAcquisitionType": "3D",
    "RepetitionTime": 4.5,
    "EchoTime": 1.8,
    "FlipAngle": 10.0,
    "ScanOptions": "FS",
    "ImageType": ["ORIGINAL", "PRIMARY", "M"],
}
T1 = {**DCE, "ScanOptions": "NONE"}
T2 = {"ScanningSequence": "SE", "RepetitionTime": 4200.0, "EchoTime": 90.0, "ImageType": ["ORIGINAL", "PRIMARY", "M"]}
STIR = {**T2, "EchoTime": 60.0, "InversionTime": 180.0}
DWI = {"ScanningSequence": "EP", "RepetitionTime": 6500.0, "EchoTime": 70.0, "ImageType": ["ORIGINAL", "PRIMARY", "M"]}
ADC = {"ImageType": ["DERIVED", "PRIMARY", "ADC"]}


def uid(*parts: object) -> str:
    return "2.25." + str(int(hashlib.sha256(repr(parts).encode()).hexdigest()[:24], 16))


def at(seconds: float) -> dict[str, str]:
    """Acquisition time, `seconds` after ten o'clock."""
    hours, rest = divmod(36_000 + seconds, 3600)
    return {"AcquisitionTime": f"{int(hours):02d}{int(rest // 60):02d}{rest % 60:06.3f}"}


def series(
    number: int | None,
    description: str | None,
    phases: Sequence[dict[str, Any]] = ({},),
    *,
    kind: dict[str, Any] = DCE,
    slices: int | Sequence[int] = 12,
    first_mm: float = -12.0,
    spacing_mm: float = 2.0,
    orientation: Sequence[float] = AXIAL,
    pixels: int = 256,
    field_mm: float = 340.0,
    centre_mm: Sequence[float] = (0.0, 0.0, 0.0),
    sop_class: str = MR,
    key: object = None,
    **attributes: Any,
) -> list[Instance]:
    """One object per slice. `slices`: of every phase, or of each; slice k lies at first_mm + k * spacing_mm."""
    counts = [slices] * len(phases) if isinstance(slices, int) else list(slices)
    shared = {**BREAST, **kind, **attributes}
    if number is not None:
        shared["SeriesNumber"] = number
    if description is not None:
        shared["SeriesDescription"] = description
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    pixel_mm = field_mm / pixels
    corner = np.array(centre_mm) - (row + column) * pixel_mm * (pixels - 1) / 2
    instances = []
    for phase, (tags, count) in enumerate(zip(phases, counts, strict=True)):
        for k in range(count):
            place = corner + np.cross(row, column) * (first_mm + k * spacing_mm)
            header = {
                "Rows": pixels,
                "Columns": pixels,
                "PixelSpacing": [pixel_mm, pixel_mm],
                "SliceThickness": spacing_mm,
                "ImageOrientationPatient": list(map(float, orientation)),
                "ImagePositionPatient": [round(float(p), 4) for p in place],
                "InstanceNumber": len(instances) + 1,
                **shared,
                **tags,
            }
            instances.append(instance(header, (number, description, key), phase, k, sop_class=sop_class))
    return instances


def instance(header: dict[str, Any], in_series: object, *parts: object, sop_class: str = MR) -> Instance:
    name = uid(in_series, *parts)
    header = {keyword: value for keyword, value in header.items() if value is not None}
    return Instance(Path(f"{name}.dcm"), name, sop_class, uid(in_series), uid("study"), header)


def series_uid(number: int | None, description: str | None, key: object = None) -> str:
    return uid((number, description, key))


def study(*parts: Iterable[Instance]) -> Study:
    """The study of several series."""
    instances = [item for part in parts for item in part]
    return Study(uid("study"), tuple(sorted(instances, key=lambda i: i.sop_instance_uid)))


# ------------------------------------------------------------------ parts of studies, and what an answer says
TIMES = [at(0), at(150), at(240), at(330)]
B0, B800 = {"DiffusionBValue": 0.0}, {"DiffusionBValue": 800.0}
BESIDE = [series(2, "t2_tirm", kind=STIR), series(3, "dwi", [B0, B800], kind=DWI), series(4, "adc", kind=ADC)]
RIGHT: dict[str, Any] = {"orientation": SAGITTAL, "first_mm": 40.0, "slices": 15, "spacing_mm": 5.0, "field_mm": 200.0}
LEFT = {**RIGHT, "first_mm": -110.0}


def codes(grouped: dict[str, Any]) -> set[str]:
    return {problem["code"] for problem in grouped["problems"]}


def roles(grouped: dict[str, Any]) -> dict[int, str]:
    return {s["SeriesNumber"]: s["role"] for s in grouped["series"]}


def seconds(grouped: dict[str, Any]) -> list[float | None]:
    return [phase["t_rel_s"] for phase in grouped["dce"]["phases"]]


def series_of_phases(grouped: dict[str, Any], *parts: list[Instance]) -> list[int]:
    """SeriesNumber of each phase."""
    number = {i.sop_instance_uid: i.attributes["SeriesNumber"] for part in parts for i in part}
    return [number[phase["instances"][0]["SOPInstanceUID"]] for phase in grouped["dce"]["phases"]]
