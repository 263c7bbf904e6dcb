"""DICOM files to plain headers: paths in, Studies out, and what was wrong with each file that is in none of them.

No file raises an error here, however broken: a PACS sends what it has. Pixels are not read, only looked for.
"""

from __future__ import annotations

import json
import math
import re
import struct
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from ..study import Instance, Study, UnusableFile

UID_FORM = re.compile(r"[0-9]+(\.[0-9]+)+")  # leading zeros are against PS3.5 9.1, and common
UIDS = ("SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID")
NAMED_AS_DICOM = {".dcm", ".dicom", ".dic", ".ima"}
WITH_PIXELS = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.4(\.1|\.3|\.4)?")  # the MR image classes, PS3.4 B.5
LONGEST_VALUE = 1024  # characters, numbers: longer values are protocols and look-up tables, no business of a grouping
DEEPEST = 8  # sequences within sequences, inside one functional group

_KEYWORDS = """
SpecificCharacterSet PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex PatientAge StudyID StudyDate
StudyTime StudyDescription AccessionNumber ReferringPhysicianName PatientIdentityRemoved RequestedProcedureDescription
PerformedProcedureStepDescription

Modality SeriesNumber SeriesDescription SeriesDate SeriesTime ProtocolName BodyPartExamined Laterality ImageLaterality
PatientPosition FrameOfReferenceUID Manufacturer ManufacturerModelName SoftwareVersions MagneticFieldStrength
ReceiveCoilName InstanceNumber AcquisitionNumber ContentDate ContentTime InstanceCreationDate InstanceCreationTime
NumberOfFrames Rows Columns SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored PixelRepresentation
ImageType DerivationDescription ImageComments BurnedInAnnotation SmallestImagePixelValue

ScanningSequence SequenceVariant ScanOptions SequenceName PulseSequenceName MRAcquisitionType EchoPulseSequence
EchoPlanarPulseSequence AcquisitionContrast RepetitionTime EchoTime EffectiveEchoTime InversionTime InversionTimes
InversionRecovery FlipAngle EchoNumbers EchoTrainLength SpectrallySelectedSuppression SliceThickness
SpacingBetweenSlices NumberOfTemporalPositions AcquisitionDate AcquisitionTime AcquisitionDateTime AcquisitionDuration
TriggerTime TemporalPositionIdentifier TemporalResolution ContrastBolusAgent ContrastBolusStartTime
ContrastBolusIngredient

ImagePositionPatient ImageOrientationPatient PixelSpacing RescaleSlope RescaleIntercept RescaleType FrameType
DiffusionBValue DiffusionDirectionality DiffusionGradientOrientation StackID InStackPositionNumber
TemporalPositionIndex FrameAcquisitionDateTime FrameReferenceDateTime DimensionIndexValues FrameLaterality
ComplexImageComponent RealWorldValueSlope
"""  # patient and study; series and object; acquisition; frame
KEYWORDS = frozenset(_KEYWORDS.split())

CODED = {  # code sequence -> (name here, the part of the code that is kept)
    "AnatomicRegionSequence": ("AnatomicRegion", "CodeMeaning"),
    "ProcedureCodeSequence": ("ProcedureCode", "CodeMeaning"),
    "RequestedProcedureCodeSequence": ("RequestedProcedureCode", "CodeMeaning"),
    "MeasurementUnitsCodeSequence": ("MeasurementUnits", "CodeValue"),
}
PRIVATE = {  # (group, private creator, element) -> name here
    (0x0019, "SIEMENS MR HEADER", 0x0C): "SiemensBValue",
    (0x0019, "SIEMENS MR HEADER", 0x0A): "SiemensImagesInMosaic",
    (0x0043, "GEMS_PARM_01", 0x39): "GEBValue",  # four numbers; the first is b, with an offset of 10^9 in some versions
    (0x2001, "Philips Imaging DD 001", 0x03): "PhilipsBValue",
    (0x2001, "Philips Imaging DD 001", 0x04): "PhilipsDiffusionDirection",  # "I" for isotropic
    (0x0065, "Image Private Header", 0x09): "UIHBValue",  # effective
    (0x0065, "Image Private Header", 0x0A): "UIHNominalBValue",
}
PRIVATE_GROUPS = {group for group, _, _ in PRIVATE}


class _Unusable(Exception):
    """Why a file is no object of a study; its text goes to the sender."""


# ------------------------------------------------------------------ files to studies
def read_folder(folder: Path) -> tuple[list[Study], list[UnusableFile]]:
    """All studies below a folder. Files that are neither DICOM nor named as such are passed over; so is a DICOMDIR."""
    files = [folder] if folder.is_file() else [path for path in folder.rglob("*") if path.is_file()]
    return read_files(path for path in files if _named_as_dicom(path) or _starts_as_dicom(path))


def read_files(paths: Iterable[Path]) -> tuple[list[Study], list[UnusableFile]]:
    """Studies in order of StudyInstanceUID, and every file that belongs to none, with the reason.

    An object that arrived twice is kept once; of two contents under one SOP Instance UID the first path is kept and
    the other listed as unusable.
    """
    kept: dict[str, Instance] = {}
    unusable: list[UnusableFile] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of every value against the standard
        for path in sorted(paths):
            try:
                instance = _read(path)
                if instance is None:
                    continue
                first = kept.setdefault(instance.sop_instance_uid, instance)
                if first is not instance and not _same_content(first.path, path):
                    raise _Unusable(
                        f"SOP Instance UID {instance.sop_instance_uid} came twice with different content: "
                        f"{first.path.name} was kept, {path.name} left out. Ask the sender which one is right."
                    )
            except _Unusable as reason:
                unusable.append(UnusableFile(path, str(reason)))
    _decoded.clear()
    studies: dict[str, list[Instance]] = {}
    for uid in sorted(kept):
        studies.setdefault(kept[uid].study_instance_uid, []).append(kept[uid])
    return [Study(uid, tuple(studies[uid])) for uid in sorted(studies)], unusable


def _read(path: Path) -> Instance | None:
    """None for a DICOMDIR. Raises _Unusable, and nothing else."""
    try:
        dataset = _parse(path)
        if dataset is None:
            return None
        uids = {keyword: str(dataset.get(keyword) or "") for keyword in UIDS}
        _check_uids(uids)
        frames = _frames(dataset)
        return Instance(
            path=path,
            sop_instance_uid=uids["SOPInstanceUID"],
            sop_class_uid=uids["SOPClassUID"],
            series_instance_uid=uids["SeriesInstanceUID"],
            study_instance_uid=uids["StudyInstanceUID"],
            attributes=_shared(dataset) | _attributes(dataset),
            frames=frames,
        )
    except _Unusable:
        raise
    except InvalidDicomError:
        raise _Unusable("Not a DICOM file.") from None
    except OSError as error:
        raise _Unusable(f"Cannot be read: {error.strerror or type(error).__name__}.") from None
    except RecursionError:
        raise _Unusable("Sequences are nested too deeply to be read.") from None
    except Exception as error:  # the parser meets whatever bytes a peer chose
        raise _Unusable(f"Cannot be parsed as DICOM ({type(error).__name__}).") from None


def _parse(path: Path) -> Dataset | None:
    """Everything before the pixels. Raises _Unusable for an empty file and for one that is cut short."""
    size = path.stat().st_size
    if size == 0:
        raise _Unusable("The file is empty.")
    with path.open("rb") as file:
        if not _dicom_bytes(file.read(132)):
            raise _Unusable("Not a DICOM file.")
        file.seek(0)
        dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        meta = dataset.file_meta
        if meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage or "DirectoryRecordSequence" in dataset:
            return None
        deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
        if _cut_short(dataset) or (not deflated and _pixels_cut_short(dataset, file, size)):
            raise _Unusable("The file is cut short; send it again.")
        return dataset


def _cut_short(dataset: Dataset) -> bool:
    """Whether a value holds fewer bytes than it announces."""
    raw = (element for element in dataset.values() if isinstance(element, RawDataElement))
    return any(e.length not in (0xFFFFFFFF, len(e.value or b"")) for e in raw if e.value is not None)


def _pixels_cut_short(dataset: Dataset, file: BinaryIO, size: int) -> bool:
    """Whether an MR image ends before its pixel data do; `file` stands at the pixel data element."""
    if not WITH_PIXELS.fullmatch(str(dataset.get("SOPClassUID") or "")):
        return False
    head = file.read(12)
    if len(head) < 8:
        return True
    implicit, little = dataset.original_encoding
    order: Any = "little" if little else "big"
    start, length = (8, head[4:8]) if implicit else (12, head[8:12])
    announced = int.from_bytes(length, order)
    return announced != 0xFFFFFFFF and file.tell() - len(head) + start + announced > size


def _check_uids(uids: dict[str, str]) -> None:
    for keyword, uid in uids.items():
        if not uid:
            raise _Unusable(f"{keyword} is missing.")
        if len(uid) > 64 or not UID_FORM.fullmatch(uid):
            raise _Unusable(f"{keyword} is not a valid UID.")


def _same_content(first: Path, second: Path) -> bool:
    """Whether two files hold the same data set; transfer syntax and file meta information may differ."""
    if first.read_bytes() == second.read_bytes():
        return True
    try:
        one, other = pydicom.dcmread(first, force=True), pydicom.dcmread(second, force=True)
        if one == other:
            return True
        if "PixelData" not in one or "PixelData" not in other or not np.array_equal(one.pixel_array, other.pixel_array):
            return False
        del one.PixelData, other.PixelData
        return bool(one == other)
    except Exception:  # what cannot be compared is not the same
        return False


def _named_as_dicom(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in NAMED_AS_DICOM or suffix[1:].isdigit()  # i184.MRDC.23, 1.2.840.1


def _starts_as_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _dicom_bytes(file.read(132))
    except OSError:
        return True  # let the reading say what is wrong


def _dicom_bytes(start: bytes) -> bool:
    """A preamble with DICM, or a data set that starts without one with group 0002 or 0008 (an old, bad habit)."""
    return start[128:132] == b"DICM" or start[:4] in (
        b"\x08\x00\x00\x00", b"\x08\x00\x01\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00", b"\x08\x00\x16\x00",
        b"\x02\x00\x00\x00", b"\x02\x00\x10\x00", b"\x00\x08\x00\x00", b"\x00\x08\x00\x05", b"\x00\x08\x00\x08",
    )  # fmt: skip


# ------------------------------------------------------------------ elements to plain values
def _attributes(dataset: Dataset) -> dict[str, Any]:
    """Top-level elements of one object, by keyword; what cannot be decoded is left out."""
    found: dict[str, Any] = {}
    for tag in dataset.keys():  # noqa: SIM118 - iterating over the data set itself would decode every element
        keyword = _keyword(tag)
        if keyword in KEYWORDS:
            _keep(found, keyword, dataset, tag)
        elif keyword in CODED:
            _keep_code(found, keyword, dataset, tag)
        elif tag.group in PRIVATE_GROUPS and tag.element >= 0x1000:
            _keep_private(found, dataset, tag)
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if syntax:
        found["TransferSyntaxUID"] = str(syntax)
    return found


def _shared(dataset: Dataset) -> dict[str, Any]:
    """Functional groups that all frames share (PS3.3 C.7.6.16)."""
    return _flat(dataset.get("SharedFunctionalGroupsSequence") or [])


def _frames(dataset: Dataset) -> tuple[dict[str, Any], ...]:
    """Functional groups of each frame; none where their number is not the number of frames."""
    items = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if not items or len(items) != int(dataset.get("NumberOfFrames") or 1):
        return ()
    return tuple(_flat([item]) for item in items)


def _flat(items: Iterable[Dataset]) -> dict[str, Any]:
    """Functional groups flattened to keywords; references to other objects are passed over."""
    found: dict[str, Any] = {}
    for dataset, tag in _elements(items):
        keyword = _keyword(tag)
        if keyword in CODED:
            _keep_code(found, keyword, dataset, tag)
        elif keyword in KEYWORDS:
            _keep(found, keyword, dataset, tag)
        elif tag.group in PRIVATE_GROUPS and tag.element >= 0x1000:
            _keep_private(found, dataset, tag)
    return found


def _elements(items: Iterable[Dataset], depth: int = 0) -> Iterator[tuple[Dataset, BaseTag]]:
    for item in items:
        for tag in item.keys():  # noqa: SIM118
            keyword = _keyword(tag)
            if not keyword.endswith("Sequence") or keyword in CODED:
                yield item, tag
            elif not keyword.startswith(("Referenced", "Source", "ConversionSource")) and depth < DEEPEST:
                yield from _elements(_value(item, tag) or [], depth + 1)


def _keep(found: dict[str, Any], keyword: str, dataset: Dataset, tag: BaseTag) -> None:
    raw: Any = dataset.get_item(tag)
    if not isinstance(raw, RawDataElement) or raw.value is None:
        _set_plain(found, keyword, _value(dataset, tag))
        return
    key = (tag, raw.VR, raw.value, raw.is_little_endian, str(dataset.original_character_set))
    if key not in _decoded:
        _decoded[key] = _plain(_value(dataset, tag))
    if _decoded[key] is not None:
        found[keyword] = _decoded[key]


def _keep_code(found: dict[str, Any], keyword: str, dataset: Dataset, tag: BaseTag) -> None:
    name, part = CODED[keyword]
    for item in list(_value(dataset, tag) or [])[:1]:
        _keep(found, name, item, BaseTag(pydicom.datadict.tag_for_keyword(part) or 0))


def _keep_private(found: dict[str, Any], dataset: Dataset, tag: BaseTag) -> None:
    """Private elements are known by creator and low byte: a PACS may move the block (0021,11xx to 0021,10xx)."""
    creator = _value(dataset, BaseTag(tag.group << 16 | tag.element >> 8))
    name = PRIVATE.get((tag.group, str(creator).strip(), tag.element & 0xFF))
    if name:
        value = _value(dataset, tag)
        if isinstance(value, bytes):  # the VR was lost on the way
            value = _numbers_of_bytes(value)
        _set_plain(found, name, value)


def _numbers_of_bytes(value: bytes) -> list[Any]:
    """Eight binary bytes are a double, as UIH writes; else numbers as text, as Siemens and GE do."""
    if len(value) == 8 and not value.strip(b"\0 ").replace(b"\\", b"").isdigit():
        return list(struct.unpack("<d", value))
    return value.decode("ascii", "ignore").strip("\0 ").split("\\")


def _set_plain(found: dict[str, Any], name: str, value: Any) -> None:
    plain = _plain(value)
    if plain is not None:
        found[name] = plain


def _value(dataset: Dataset, tag: BaseTag) -> Any:
    try:
        return dataset[tag].value if tag in dataset else None
    except Exception:  # one bad value does not make the object useless
        return None


def _plain(value: Any) -> Any:
    """str, int, float or a list of these; None for what is empty, too long or not finite."""
    if isinstance(value, MultiValue | list | tuple):
        if len(value) > LONGEST_VALUE:
            return None
        plain = [_plain(item) for item in value]
        return ["" if item is None else item for item in plain] if any(i is not None for i in plain) else None
    if isinstance(value, bool | bytes | Dataset) or value is None:
        return None
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    text = str(value).strip("\0 ")
    return text if 0 < len(text) <= LONGEST_VALUE else None


_keywords: dict[int, str] = {}
_decoded: dict[Any, Any] = {}  # images of a series share most values: decoded once for each run of `read_files`


def _keyword(tag: BaseTag) -> str:
    """Keyword of a tag, remembered: the dictionary look-up is half of the time otherwise."""
    known = _keywords.get(tag)
    if known is None:
        known = _keywords[tag] = "" if tag.is_private else pydicom.datadict.keyword_for_tag(tag)
    return known


# ------------------------------------------------------------------ to and from a file
def to_json(study: Study) -> str:
    """The study as one JSON document; `from_json` gives it back."""
    instances = [
        {
            "path": str(i.path),
            "uids": [i.sop_instance_uid, i.sop_class_uid, i.series_instance_uid, i.study_instance_uid],
            "attributes": i.attributes,
            "frames": i.frames,
        }
        for i in study.instances
    ]
    return json.dumps({"StudyInstanceUID": study.study_instance_uid, "instances": instances}, ensure_ascii=False)


def from_json(text: str) -> Study:
    """Inverse of `to_json`. Raises KeyError or ValueError for another document."""
    raw = json.loads(text)
    instances = []
    for item in raw["instances"]:
        sop, sop_class, series, study = item["uids"]
        path, frames = Path(item["path"]), tuple(item["frames"])
        instances.append(Instance(path, sop, sop_class, series, study, item["attributes"], frames))
    return Study(raw["StudyInstanceUID"], tuple(instances))


def transfer_syntax(instance: Instance) -> str:
    """Name of the transfer syntax for people, e.g. "JPEG Lossless, Non-Hierarchical"."""
    return UID(str(instance.attributes.get("TransferSyntaxUID", "unknown"))).name
