"""Elements of a data set to plain values, by keyword: what the grouping reads of a header, decoded once for a series.

Images of one series share most values, so a decoded value is remembered by its bytes. Nothing is validated here: what
is no number stays text, and what cannot be decoded is left out.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pydicom
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

LONGEST_VALUE = 1024  # characters, numbers: longer values are protocols and look-up tables, no business of a grouping
DEEPEST = 8  # sequences within sequences, inside one functional group

UIDS = ("SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID")
FILE_META = ("MediaStorageSOPClassUID", "TransferSyntaxUID")
_KEYWORDS = """
SpecificCharacterSet PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex PatientAge StudyID StudyDate
StudyTime StudyDescription AccessionNumber ReferringPhysicianName PatientIdentityRemoved RequestedProcedureDescription
PerformedProcedureStepDescription

Modality SeriesNumber SeriesDescription SeriesDate SeriesTime ProtocolName BodyPartExamined Laterality ImageLaterality
PatientPosition FrameOfReferenceUID Manufacturer ManufacturerModelName SoftwareVersions MagneticFieldStrength
ReceiveCoilName InstanceNumber AcquisitionNumber ContentDate ContentTime InstanceCreationDate InstanceCreationTime
NumberOfFrames Rows Columns SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored PixelRepresentation
ImageType DerivationDescription ImageComments BurnedInAnnotation

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
STANDARD = {
    int(tag): (keyword, dictionary_VR(tag))
    for keyword in (*UIDS, *FILE_META, *_KEYWORDS.split())
    if (tag := tag_for_keyword(keyword)) is not None
}
CODED = {  # code sequence -> (name here, the part of the code that is kept)
    tag_for_keyword("AnatomicRegionSequence"): ("AnatomicRegion", "CodeMeaning"),
    tag_for_keyword("ProcedureCodeSequence"): ("ProcedureCode", "CodeMeaning"),
    tag_for_keyword("RequestedProcedureCodeSequence"): ("RequestedProcedureCode", "CodeMeaning"),
    tag_for_keyword("MeasurementUnitsCodeSequence"): ("MeasurementUnits", "CodeValue"),
}
PRIVATE = {  # (group, private creator in lower case, element) -> name here, VR: that is lost in implicit encodings
    (0x0019, "siemens mr header", 0x0C): ("SiemensBValue", "IS"),
    (0x0019, "siemens mr header", 0x0A): ("SiemensImagesInMosaic", "US"),
    (0x0029, "siemens csa header", 0x10): ("SiemensCSA", "OB"),
    (0x0043, "gems_parm_01", 0x39): ("GEBValue", "IS"),  # four numbers; the first is b, in some versions plus 10^9
    (0x2001, "philips imaging dd 001", 0x03): ("PhilipsBValue", "FL"),
    (0x2001, "philips imaging dd 001", 0x04): ("PhilipsDiffusionDirection", "CS"),  # "I" for isotropic
    (0x0065, "image private header", 0x09): ("UIHBValue", "FD"),  # effective
    (0x0065, "image private header", 0x0A): ("UIHNominalBValue", "FD"),
}
PRIVATE_GROUPS = {group for group, _, _ in PRIVATE}

IN_CHARACTER_SET = {
    "LO",
    "LT",
    "PN",
    "SH",
    "ST",
    "UC",
    "UT",
}  # VRs whose text SpecificCharacterSet encodes, PS3.5 6.1.2
ONE_TEXT = {"LT", "ST", "UT", "UR"}  # a backslash is no separator in them
BINARY = {"FD": "d", "FL": "f", "SL": "l", "SS": "h", "SV": "q", "UL": "L", "US": "H", "UV": "Q"}
OPAQUE = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ"}

Element: TypeAlias = DataElement | RawDataElement
Encodings: TypeAlias = tuple[str, ...]

_decoded: dict[Any, Any] = {}


def forget() -> None:
    """Let go of the remembered values: call it when the files of a study have been read."""
    _decoded.clear()


# ------------------------------------------------------------------ a data set, an item of a sequence
@dataclass(frozen=True, slots=True)
class Item:
    """Elements of one level, of a data set or of an item of a sequence, and what its texts are encoded in."""

    elements: Sequence[Element]
    encodings: Encodings


def whole(dataset: Dataset) -> Item:
    """The top level of a data set."""
    encodings = dataset.original_character_set
    known = tuple(encodings) if isinstance(encodings, list | MultiValue) else (encodings,)
    return Item(list(dataset.values()), known)


def attributes(item: Item) -> dict[str, Any]:
    """Wanted elements of one level by keyword, without empty ones and those that cannot be decoded."""
    found: dict[str, Any] = {}
    private = []
    for element in item.elements:
        tag = int(element.tag)
        if tag in STANDARD:
            keyword, vr = STANDARD[tag]
            if (value := _plain(element, vr, item.encodings)) is not None:
                found[keyword] = value
        elif tag in CODED:
            found |= _code(item, element)
        elif tag >> 16 in PRIVATE_GROUPS:
            private.append(element)
    return found | _private(private, item.encodings) if private else found


def functional_groups(items: Iterable[Item], depth: int = 0) -> dict[str, Any]:
    """Functional groups (PS3.3 C.7.6.16) flattened to keywords; references to other objects are passed over."""
    found: dict[str, Any] = {}
    for item in items:
        found |= attributes(item)
        for element in item.elements:
            if depth < DEEPEST and _is_group(int(element.tag)):
                found |= _nested(item, element, depth)
    return found


def _nested(item: Item, element: Element, depth: int) -> dict[str, Any]:
    """Most groups are the same, byte for byte, in all frames."""
    if not isinstance(element, RawDataElement):
        return functional_groups(items_of(item, element), depth + 1)
    key = (element.tag, element.value, element.is_implicit_VR, element.is_little_endian, item.encodings)
    if key not in _decoded:
        _decoded[key] = functional_groups(items_of(item, element), depth + 1)
    found: dict[str, Any] = _decoded[key]
    return found


_groups: dict[int, bool] = {}


def _is_group(tag: int) -> bool:
    """Whether a tag is a sequence to look into; remembered: the dictionary is slow to ask."""
    if tag not in _groups:
        keyword = "" if BaseTag(tag).is_private else keyword_for_tag(tag)
        passed_over = keyword.startswith(("Referenced", "Source", "ConversionSource")) or tag in CODED
        _groups[tag] = keyword.endswith("Sequence") and not passed_over
    return _groups[tag]


def _code(item: Item, element: Element) -> dict[str, Any]:
    name, part = CODED[int(element.tag)]
    wanted = tag_for_keyword(part)
    for first in items_of(item, element)[:1]:
        for inner in first.elements:
            if inner.tag == wanted and (value := _plain(inner, dictionary_VR(part), first.encodings)) is not None:
                return {name: value}
    return {}


def _private(elements: Iterable[Element], encodings: Encodings) -> dict[str, Any]:
    """Private elements are known by creator and low byte: a PACS may move a block (0021,11xx to 0021,10xx).

    Of two blocks of one creator the first that holds the element counts.
    """
    creators: dict[int, str] = {}
    found: dict[str, Any] = {}
    for element in elements:
        group, number = element.tag >> 16, element.tag & 0xFFFF
        if 0x10 <= number <= 0xFF:
            creators[group << 8 | number] = str(_plain(element, "LO", encodings)).strip().lower()
        creator = creators.get(group << 8 | number >> 8, "")
        name, vr = PRIVATE.get((group, creator, number & 0xFF), ("", ""))
        if name == "SiemensCSA":
            found = _csa(element.value) | found
        elif name and (value := _plain(element, vr, encodings)) is not None:
            found.setdefault(name, value)
    return found


# ------------------------------------------------------------------ items of a sequence
CHARACTER_SET = 0x00080005
ITEM = b"\xfe\xff\x00\xe0"
LONG_LENGTH = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}


def items_of(parent: Item, element: Element) -> list[Item]:
    """Items of a sequence; none where it is empty or cannot be parsed.

    Thousands of frames are items: those of defined length, little endian, are cut from their bytes. pydicom reads the
    rest, and what is not as it should be.
    """
    if isinstance(element, RawDataElement) and element.is_little_endian and element.VR in (None, "SQ"):
        try:
            return _cut(element.value or b"", element.is_implicit_VR, parent.encodings)
        except (struct.error, ValueError):
            pass  # undefined lengths, or broken ones
    try:
        if isinstance(element, RawDataElement):
            element = convert_raw_data_element(element, encoding=list(parent.encodings))
        return [_inside(list(dataset.values()), parent.encodings) for dataset in element.value or []]
    except Exception:  # one bad sequence does not make the object useless
        return []


def find(item: Item, tag: int) -> list[Item]:
    """Items of the sequence with this tag; none where it is absent or cannot be parsed."""
    return next((items_of(item, element) for element in item.elements if int(element.tag) == tag), [])


def _inside(elements: list[Element], inherited: Encodings) -> Item:
    """An item; one may bring a character set of its own (PS3.3 C.12.1.1.2)."""
    own = next((e for e in elements[:1] if e.tag == CHARACTER_SET and e.value), None)
    if own is None:
        return Item(elements, inherited)
    value = own.value.decode("ascii", "ignore").strip("\0 ").split("\\") if isinstance(own.value, bytes) else own.value
    return Item(elements, tuple(convert_encodings(value)))


def _cut(data: bytes, implicit: bool, encodings: Encodings) -> list[Item]:
    """Items of the value of a sequence (PS3.5 7.5). Raises ValueError or struct.error for anything irregular."""
    items, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<L", data, at + 4)
        if data[at : at + 4] != ITEM or at + 8 + length > len(data):
            raise ValueError
        items.append(_inside(_elements(data[at + 8 : at + 8 + length], implicit), encodings))
        at += 8 + length
    return items


def _elements(data: bytes, implicit: bool) -> list[Element]:
    """Elements of one item (PS3.5 7.1). Raises ValueError or struct.error for anything irregular."""
    found: list[Element] = []
    at = 0
    while at < len(data):
        group, number, short = struct.unpack_from("<HH2xH", data, at)
        vr = None if implicit else data[at + 4 : at + 6]
        start, length = at + 8, short
        if vr is None:
            (length,) = struct.unpack_from("<L", data, at + 4)
        elif vr in LONG_LENGTH:
            start += 4
            (length,) = struct.unpack_from("<L", data, at + 8)
        at = start + length
        if at > len(data):
            raise ValueError
        name = None if vr is None else vr.decode("ascii")
        tag = BaseTag(group << 16 | number)
        found.append(RawDataElement(tag, name, length, data[start:at], start, implicit, True))
    return found


# ------------------------------------------------------------------ the Siemens CSA header
CSA_NAMES = {b"B_value\0": "SiemensCSABValue", b"NumberOfImagesInMosaic\0": "SiemensImagesInMosaic"}
CSA_MARK = b"SV10"
CSA_LONGEST_NUMBER = 64


def _csa(header: Any) -> dict[str, Any]:
    """The b-value and the mosaic's size from a CSA image header: all that is left where (0019,100C) was removed.

    An entry is a name (64 bytes), four numbers (VM, VR, type, count of items), and a check number; an item is four
    numbers, the second of which is its length, and its text.
    """
    found: dict[str, Any] = {}
    if not isinstance(header, bytes) or not header.startswith(CSA_MARK):
        return found
    for name, keyword in CSA_NAMES.items():
        at = header.find(name)
        if at < 0 or len(header) < at + 100:
            continue
        length = int.from_bytes(header[at + 88 : at + 92], "little")
        text = header[at + 100 : at + 100 + min(length, CSA_LONGEST_NUMBER)].decode("ascii", "ignore")
        if (number := _number(text.strip("\0 "), "IS")) is not None and not isinstance(number, str):
            found[keyword] = number
    return found


# ------------------------------------------------------------------ one value
def _plain(element: Element, vr: str, encodings: Encodings) -> Any:
    """str, int, float or a list of these; None for what is empty, too long or cannot be decoded.

    `vr`: of the dictionary, for elements that came without theirs.
    """
    if not isinstance(element, RawDataElement):
        return _simplified(element.value)
    if not element.value:
        return None
    known = element.VR if element.VR not in (None, "UN") else vr
    key = (known, element.value, element.is_little_endian, encodings if known in IN_CHARACTER_SET else None)
    if key not in _decoded:
        try:
            _decoded[key] = _decode(element, known, encodings)
        except Exception:  # one bad value does not make the object useless
            _decoded[key] = None
    return _decoded[key]


def _decode(element: RawDataElement, vr: str, encodings: Encodings) -> Any:
    value: Any = element.value
    if vr in OPAQUE:
        return None
    if vr in BINARY:
        size = struct.calcsize(f"={BINARY[vr]}")
        order = "<" if element.is_little_endian else ">"
        return _listed(list(struct.unpack(f"{order}{len(value) // size}{BINARY[vr]}", value)))
    delimiters = set(b"\r\n\t\f\\^=")
    text = decode_bytes(value, encodings, delimiters) if vr in IN_CHARACTER_SET else value.decode("latin-1")
    if len(text) > LONGEST_VALUE:
        return None
    parts = [text] if vr in ONE_TEXT else text.split("\\")
    return _listed([_number(part.strip("\0 "), vr) for part in parts])


def _number(text: str, vr: str) -> Any:
    """A DS or IS as a number, and as text where it is none; other texts as they are. None for an empty one."""
    if vr not in ("DS", "IS") or not text:
        return text or None
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return None
    return int(number) if vr == "IS" and number.is_integer() else number


def _simplified(value: Any) -> Any:
    """The value of an element that pydicom decoded already."""
    if isinstance(value, MultiValue | list | tuple):
        return _listed([_simplified(item) for item in value])
    if isinstance(value, bool | bytes | Dataset | pydicom.Sequence) or value is None:
        return None
    if isinstance(value, int | float):
        return value if isinstance(value, int) else float(value)
    text = re.sub(r"^[\0 ]+|[\0 ]+$", "", str(value))
    return text if 0 < len(text) <= LONGEST_VALUE else None


def _listed(values: list[Any]) -> Any:
    """One value, or a list in which "" stands for an empty one."""
    values = [None if isinstance(value, float) and not math.isfinite(value) else value for value in values]
    if not 0 < len(values) <= LONGEST_VALUE or all(value is None for value in values):
        return None
    return values[0] if len(values) == 1 else ["" if value is None else value for value in values]
