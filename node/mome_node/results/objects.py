"""What every result object shares: patient and study as the source has them, who made it, when, and how it is saved.

Nothing here asks a clock or draws a number: the same findings and the same source give the same bytes.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pydicom import charset
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian

from ..findings import Findings
from . import wording
from .identity import ResultIdentity
from .sr_template import Vocabulary

# pydicom 3.0 leaves the escape sequences of GB 2312 in the text; Python's codec does not take them either.
charset.handled_encodings = tuple(name for name in charset.handled_encodings if name != "iso_ir_58")  # type: ignore[assignment]

IMPLEMENTATION_UID = UID("2.25.226187348211905817436519027364418827561")
IMPLEMENTATION_VERSION = "MOME_NODE_1"

# Modules Patient, Patient Study, General Study and the identification of the request (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2).
REQUIRED_EVEN_IF_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)
COPIED_IF_PRESENT = (
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "OtherPatientIDsSequence",
    "PatientBirthTime",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "StudyDescription",
    "ProcedureCodeSequence",
    "IssuerOfAccessionNumberSequence",
    "TimezoneOffsetFromUTC",
    "InstitutionName",
)


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A report that an archive has and that a new one takes the place of."""

    variant: str  # of the destination that has it
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


def new_object(
    findings: Findings,
    source: Dataset,
    identity: ResultIdentity,
    vocabulary: Vocabulary,
    *,
    kind: str,
    series: str,
    sop_class: str,
    modality: str,
) -> Dataset:
    """A data set with everything but its content. `kind`: "sr", "sc", for the UIDs; `series`: "report" or "overlay".

    `source`: header of one image of the study. One object per series: some viewers show only the last of a series.
    """
    made = identity.worded(vocabulary.sha256)
    ds = copy_patient_and_study(source)
    when = content_time(findings, ds.get("TimezoneOffsetFromUTC"))
    ds.SOPClassUID = UID(sop_class)
    ds.SOPInstanceUID = UID(made.uid(f"{kind}/instance"))
    ds.SeriesInstanceUID = UID(made.uid(f"{kind}/series"))
    ds.SeriesNumber = vocabulary.series_numbers[series]
    ds.SeriesDescription = wording.series_description(series, findings, vocabulary)
    ds.Modality = modality
    ds.InstanceNumber = 1
    for element in ("InstanceCreation", "Content", "Series"):
        setattr(ds, f"{element}Date", when.strftime("%Y%m%d"))
        setattr(ds, f"{element}Time", when.strftime("%H%M%S"))
    ds.InstanceCreatorUID = UID(identity.uid("device"))
    ds.Manufacturer = vocabulary.manufacturer
    ds.ManufacturerModelName = vocabulary.model
    ds.DeviceSerialNumber = identity.weights_sha256[:16]
    ds.SoftwareVersions = [findings.software, f"{findings.model.name} {findings.model.version}"]
    ds.ContributingEquipmentSequence = [_algorithm(findings, identity, vocabulary, when)]
    ds.CodingSchemeIdentificationSequence = [_private_scheme(vocabulary)]
    return ds


def copy_patient_and_study(source: Dataset) -> Dataset:
    """Patient and study of `source`, unchanged in meaning, with all text in UTF-8.

    Decoding first matters: text written under another character set would otherwise be read under the new one.
    """
    kept = Dataset()
    kept.SpecificCharacterSet = source.get("SpecificCharacterSet", "ISO_IR 6")
    for keyword in ("StudyInstanceUID", *REQUIRED_EVEN_IF_EMPTY, *COPIED_IF_PRESENT):
        if keyword in source:
            kept[keyword] = copy.deepcopy(source[keyword])
        elif keyword in REQUIRED_EVEN_IF_EMPTY:
            setattr(kept, keyword, None)
    kept.decode()
    kept.SpecificCharacterSet = "ISO_IR 192"
    return kept


def content_time(findings: Findings, offset: str | None) -> datetime:
    """`findings.created` as the object says it, without zone.

    TimezoneOffsetFromUTC (0008,0201) governs every time of an object, also the copied ones: so ours is expressed in
    the source's zone where both are known, and is local time otherwise.
    """
    when = datetime.fromisoformat(findings.created)
    if when.tzinfo is None:
        return when
    if offset:
        sign = -1 if offset.startswith("-") else 1
        digits = offset.lstrip("+-").zfill(4)
        when = when.astimezone(timezone(sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:4]))))
    return when.replace(tzinfo=None)


def evidence_by_series(evidence: Sequence[Dataset]) -> list[tuple[str, list[Dataset]]]:
    """(SeriesInstanceUID, its instances), both sorted, each instance once."""
    series: dict[str, dict[str, Dataset]] = defaultdict(dict)
    for image in evidence:
        series[image.SeriesInstanceUID][image.SOPInstanceUID] = image
    return [(uid, [found[key] for key in sorted(found)]) for uid, found in sorted(series.items())]


def reference(image: Dataset) -> Dataset:
    """SOP Instance Reference Macro (PS3.3 Table 10-11)."""
    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return item


def reference_hierarchy(evidence: Sequence[Dataset]) -> Dataset:
    """Hierarchical SOP Instance Reference Macro (PS3.3 Table C.17-3): every object of one study that is referred to."""
    study = Dataset()
    study.StudyInstanceUID = evidence[0].StudyInstanceUID
    study.ReferencedSeriesSequence = []
    for uid, images in evidence_by_series(evidence):
        series = Dataset()
        series.SeriesInstanceUID = uid
        series.ReferencedSOPSequence = [reference(image) for image in images]
        study.ReferencedSeriesSequence.append(series)
    return study


def coded(code: Code) -> Dataset:
    """Code Sequence Macro (PS3.3 Table 8.8-1)."""
    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def save(ds: Dataset, path: Path) -> None:
    """Write `ds` as a Part 10 file, Explicit VR Little Endian, with the node's own implementation identity."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    ds.file_meta = meta
    dcmwrite(path, ds, implicit_vr=False, little_endian=True, enforce_file_format=True)


def _algorithm(findings: Findings, identity: ResultIdentity, vocabulary: Vocabulary, when: datetime) -> Dataset:
    """Contributing Equipment (0018,A001): the algorithm (IHE AIR 6.5.3.1); a changed model has another Device UID."""
    model = findings.model
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [coded(vocabulary.codes["processing_equipment"])]
    item.Manufacturer = vocabulary.manufacturer
    item.ManufacturerModelName = model.name
    item.DeviceSerialNumber = model.weights_sha256[:16]
    item.SoftwareVersions = [model.version, findings.software]
    item.DeviceUID = UID(identity.uid("device"))
    item.ContributionDateTime = when.strftime("%Y%m%d%H%M%S")
    item.ContributionDescription = f"Weights SHA-256 {model.weights_sha256}. {model.status}"[:1024]
    return item


def _private_scheme(vocabulary: Vocabulary) -> Dataset:
    scheme = vocabulary.scheme
    item = Dataset()
    item.CodingSchemeDesignator = scheme.designator
    item.CodingSchemeUID = scheme.uid
    item.CodingSchemeName = scheme.name
    item.CodingSchemeVersion = scheme.version
    item.CodingSchemeResponsibleOrganization = scheme.organization
    return item
