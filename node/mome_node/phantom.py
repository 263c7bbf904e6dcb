"""Synthetic breast MRI studies as DICOM: the arrays of the model package's phantom, written as a scanner would.

Siemens-like: one series per dynamic phase, automatic subtractions and MIPs between them, T2, DWI with three b-values
and ADC, a localizer. Every object says that it is synthetic: in the patient's name, the manufacturer, the comments.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, ExplicitVRLittleEndian, MRImageStorage

from .errors import NodeError
from .study import OWN_PHANTOM
from .volume import FloatArray, Volume

START = datetime(2024, 1, 15, 9, 30, 0)
CATEGORIES = ("3", "4A", "4B", "4C", "5")


@dataclass(frozen=True, slots=True)
class Written:
    """A study that was written: its files and the truth that was planted."""

    study_instance_uid: str
    patient_id: str
    files: tuple[Path, ...]
    malignant: bool
    lesion_mm: tuple[float, float, float]  # centre, LPS; not numbers where the exam is a normal one
    log_odds: Mapping[str, float]  # of the exact ideal observer, by sequence and "all"
    labels: Mapping[str, str] = field(default_factory=dict)  # columns of a table of labels, as text

    @property
    def kind(self) -> str:
        """What was planted."""
        if self.malignant:
            return "malignant lesion"
        return "no lesion" if np.isnan(self.lesion_mm[0]) else "benign lesion"


@dataclass(frozen=True, slots=True)
class _Series:
    number: int
    description: str
    image_type: tuple[str, ...]
    volume: Volume  # one channel
    started: datetime
    tags: Mapping[str, Any] = field(default_factory=dict)
    acquisition: int = 1


def write_study(
    folder: Path,
    seed: int,
    *,
    malignant: bool | None = None,
    category: str | None = "4A",
    design: str = "plain",
) -> Written:
    """One synthetic study below `folder`/<StudyInstanceUID>/; the same seed gives the same bytes.

    `malignant`: None draws it. `category`: BI-RADS category written into the request, as a referring department would;
    None takes age and category from the labels that the phantom has. `design`: the kind of cohort it comes from.
    """
    exam = _generator()(seed, malignant=malignant, fine=True, design=design)
    of = (seed,) if design == "plain" else (seed, design)  # other images, so another study
    study, patient = _uid("study", *of), f"SYNTHETIC-{seed:05d}"
    base = _base(study, patient, seed, exam.labels, category)
    base.FrameOfReferenceUID = _uid("frame of reference", *of)
    files = []
    for series in _protocol(exam):
        place = folder / study / f"{series.number:03d}"
        place.mkdir(parents=True, exist_ok=True)
        for image in _images(base, series, of):
            path = place / f"{image.InstanceNumber:04d}.dcm"
            dcmwrite(path, image, enforce_file_format=True)
            files.append(path)
    x, y, z = map(float, exam.lesions[0].centre) if exam.lesions else (float("nan"),) * 3
    return Written(study, patient, tuple(files), bool(exam.malignant), (x, y, z), dict(exam.log_odds), exam.labels)


def write_labels(path: Path, studies: Iterable[Written]) -> None:
    """The table of labels that `mome-node cohort --table` reads, one line for each study."""
    lines = [{"patient_id": s.patient_id, "study_instance_uid": s.study_instance_uid, **s.labels} for s in studies]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(dict.fromkeys(name for line in lines for name in line)))
        table.writeheader()
        table.writerows(lines)


def _generator() -> Any:
    found = list(entry_points(group="mome_node.phantoms"))
    if not found:
        raise NodeError("No model package with a phantom generator is installed.", remedy="Install mome-node again.")
    return found[0].load()


# ------------------------------------------------------------------ the scan protocol
def _protocol(exam: Any) -> Iterator[_Series]:
    """The series of one exam in the order of the scanner's list."""
    t1 = {
        "ScanningSequence": "GR", "SequenceVariant": ["SP", "OSP"], "ScanOptions": "FS", "MRAcquisitionType": "3D",
        "SequenceName": "*fl3d1", "RepetitionTime": 4.5, "EchoTime": 1.7, "FlipAngle": 10.0,
    }  # fmt: skip
    t2 = {
        "ScanningSequence": ["SE", "IR"], "SequenceVariant": ["SK", "SP", "OSP"], "ScanOptions": "FS",
        "MRAcquisitionType": "2D", "SequenceName": "*tir2d1_11", "RepetitionTime": 5600.0, "EchoTime": 59.0,
        "InversionTime": 170.0, "FlipAngle": 150.0,
    }  # fmt: skip
    diffusion = {
        "ScanningSequence": "EP", "SequenceVariant": ["SK", "SP"], "ScanOptions": ["PFP", "FS"],
        "MRAcquisitionType": "2D", "RepetitionTime": 6200.0, "EchoTime": 76.0, "FlipAngle": 90.0,
    }  # fmt: skip
    scout = {**t1, "ScanOptions": "", "MRAcquisitionType": "2D", "SequenceName": "*fl2d1", "RepetitionTime": 8.6}
    pre, *posts = _phases(exam.dce)
    yield _Series(1, "localizer", ("ORIGINAL", "PRIMARY", "M", "ND", "NORM"), _scout(pre), START, scout)
    if "t2" in exam.inputs:
        yield _Series(2, "t2_tirm_tra", ("ORIGINAL", "PRIMARY", "M", "ND", "NORM"), exam.t2, _after(60), t2)
    if "dwi" in exam.inputs:
        yield from _diffusion(exam, diffusion)
    contrast = {**t1, "ContrastBolusAgent": "synthetic"}
    name = "t1_fl3d_tra_dynaVIEWS_spair_1+6"
    seconds = exam.dce.seconds
    yield _Series(5, name, ("ORIGINAL", "PRIMARY", "M", "ND", "NORM"), pre, _after(600), t1)
    for index, post in enumerate(posts, 1):
        number, started = 3 + 3 * index, _after(600 + seconds[index])
        native = ("ORIGINAL", "PRIMARY", "M", "ND", "NORM")
        yield _Series(number, name, native, post, started, contrast)
        difference = Volume(np.maximum(post.voxels - pre.voxels, 0), post.affine)
        derived = ("DERIVED", "PRIMARY", "M", "SUB", "ND", "NORM")
        yield _Series(number + 1, f"{name}_SUB", derived, difference, started, contrast)
        projection = Volume(difference.voxels.max(axis=3, keepdims=True), post.affine)
        yield _Series(number + 2, f"{name}_SUB_MIP_TRA", (*derived[:3], "SUB", "MIP", "ND"), projection, started,
                      contrast)  # fmt: skip


def _diffusion(exam: Any, tags: Mapping[str, Any]) -> Iterator[_Series]:
    """DWI at each b-value in one series, and the ADC map."""
    for index, (b, volume) in enumerate(sorted(exam.dwi.items()), 1):
        of_b = {**tags, "SequenceName": f"*ep_b{b:.0f}t", "DiffusionBValue": float(b)}
        kind = ("ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "TRACEW", "ND", "NORM")
        yield _Series(3, "ep2d_diff_b50_400_800_tra_TRACEW", kind, volume, _after(300 + index), of_b, index)
    adc = {**tags, "SequenceName": "*ep_b50_800"}
    yield _Series(4, "ep2d_diff_b50_400_800_tra_ADC", ("DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND", "NORM"),
                  exam.adc, _after(310), adc)  # fmt: skip


def _phases(dce: Volume) -> list[Volume]:
    return [Volume(dce.voxels[i : i + 1], dce.affine) for i in range(len(dce.voxels))]


def _scout(volume: Volume) -> Volume:
    """Seven thick slices of the pre-contrast phase."""
    keep = np.linspace(0, volume.voxels.shape[3] - 1, 7).round().astype(int)
    affine = volume.affine.copy()
    affine[:3, 2] *= (volume.voxels.shape[3] - 1) / 6
    return Volume(volume.voxels[:, :, :, keep], affine)


def _after(seconds: float) -> datetime:
    return START + timedelta(seconds=float(seconds))


# ------------------------------------------------------------------ the objects
def _base(study: str, patient: str, seed: int, labels: Mapping[str, str], category: str | None) -> Dataset:
    """What all images of the study share."""
    age = 54 if category else round(float(labels["age"]))
    field_strength = float(labels["field_strength_t"])
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = MRImageStorage
    ds.PatientName, ds.PatientID = f"Synthetic^Phantom {seed}", patient
    ds.IssuerOfPatientID, ds.PatientSex = "mome-node", "F"
    ds.PatientBirthDate, ds.PatientAge = f"{START.year - age}0101", f"{age:03d}Y"
    ds.StudyInstanceUID, ds.StudyID, ds.AccessionNumber = study, str(seed), f"SYN{seed:05d}"
    ds.StudyDate, ds.StudyTime = f"{START:%Y%m%d}", f"{START:%H%M%S}"
    ds.StudyDescription, ds.ReferringPhysicianName = "MRI BREAST BILATERAL WITH CONTRAST", "Synthetic^Referrer"
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "MR", OWN_PHANTOM, "phantom"
    ds.MagneticFieldStrength, ds.BodyPartExamined = field_strength, "BREAST"
    ds.ImagingFrequency = round(42.4 * field_strength, 1)
    ds.ImagedNucleus, ds.EchoNumbers, ds.NumberOfAverages, ds.EchoTrainLength = "1H", 1, 1, 1
    ds.Laterality = ""  # both breasts in one image: neither L nor R (PS3.3 C.7.3.1)
    ds.PatientPosition, ds.ReceiveCoilName = "HFP", "Breast coil"
    ds.PositionReferenceIndicator = ""
    ds.ImageComments = "Synthetic phantom, no patient. Not for clinical use."
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = str(seed), str(seed)
    request.ReasonForTheRequestedProcedure = f"Synthetic request: BI-RADS {category or labels['birads']}"
    ds.RequestAttributesSequence = [request]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    return ds


def _images(base: Dataset, series: _Series, of: tuple[object, ...]) -> Iterator[Dataset]:
    """One MR image per slice of a series."""
    voxels, affine = series.volume.voxels[0], series.volume.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    row, column = affine[:3, 0] / spacing[0], affine[:3, 1] / spacing[1]
    shared = Dataset()
    shared.update(base)
    for name, value in series.tags.items():
        setattr(shared, name, value)
    shared.SeriesInstanceUID = _uid("series", *of, series.number)
    shared.SeriesNumber, shared.SeriesDescription = series.number, series.description
    shared.ProtocolName, shared.ImageType = series.description, list(series.image_type)
    shared.SeriesDate, shared.SeriesTime = f"{series.started:%Y%m%d}", f"{series.started:%H%M%S}"
    shared.AcquisitionDate, shared.AcquisitionTime = shared.SeriesDate, f"{series.started:%H%M%S.%f}"
    shared.ContentDate, shared.ContentTime = shared.SeriesDate, shared.AcquisitionTime
    shared.AcquisitionNumber = series.acquisition
    shared.Rows, shared.Columns = voxels.shape[1], voxels.shape[0]
    shared.PixelSpacing = [_mm(spacing[1]), _mm(spacing[0])]
    shared.SliceThickness = shared.SpacingBetweenSlices = _mm(spacing[2])
    shared.ImageOrientationPatient = [round(float(v), 6) for v in (*row, *column)]
    number = voxels.shape[2]
    for k in range(number):
        ds = Dataset()
        ds.update(shared)
        ds.InstanceNumber = (series.acquisition - 1) * number + k + 1
        ds.SOPInstanceUID = _uid("image", *of, series.number, ds.InstanceNumber)
        ds.ImagePositionPatient = [_mm(v) for v in affine[:3, 3] + k * affine[:3, 2]]
        pixels = _stored(voxels[:, :, k])
        ds.SmallestImagePixelValue, ds.LargestImagePixelValue = int(pixels.min()), int(pixels.max())
        ds.PixelData = pixels.T.tobytes()
        ds["PixelData"].VR = "OW"
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
        yield ds


def _stored(image: FloatArray) -> np.ndarray[Any, np.dtype[np.uint16]]:
    return np.clip(np.rint(image), 0, 4095).astype("<u2")


def _mm(value: Any) -> float:
    return round(float(value), 4)


def _uid(*parts: object) -> str:
    text = "\x1f".join(map(str, ("mome-node phantom", *parts)))
    return "2.25." + str(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))
