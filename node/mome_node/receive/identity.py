"""What a received file is: its UIDs and the few attributes that reception decides on; whole, or refused in words.

The file is walked element by element to its end without reading values, so that a data set that was cut anywhere, even
by one byte of its pixels, is noticed before it is acknowledged.
"""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset, dcmread
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from ..errors import UnreadableDicom

VALID_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
"""PS3.5 9.1 without its ban on leading zeros, which some scanners' UIDs have. Nothing that matches is a path."""

DEEPEST_SEQUENCE = 64
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD  # PS3.5 7.5
LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}  # PS3.5 7.1.2
TRANSFER_SYNTAX, PIXEL_DATA = 0x00020010, 0x7FE00010
WANTED = {
    0x00080008: "ImageType",
    0x00080016: "SOPClassUID",
    0x00080018: "SOPInstanceUID",
    0x00080060: "Modality",
    0x00100020: "PatientID",
    0x00100021: "IssuerOfPatientID",
    0x0020000D: "StudyInstanceUID",
    0x0020000E: "SeriesInstanceUID",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """The attributes that reception decides on, as sent."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    modality: str
    image_type: str  # values joined by a backslash
    patient: bytes  # PatientID and issuer; never logged


@dataclass(frozen=True, slots=True)
class _Encoding:
    endian: str = "<"
    implicit: bool = False


def is_valid_uid(uid: str) -> bool:
    """At most 64 characters, components of digits (PS3.5 9.1)."""
    return len(uid) <= 64 and VALID_UID.fullmatch(uid) is not None


def read_identity(path: Path, *, max_bytes: int = 1 << 31) -> Identity:
    """Identity of a Part 10 file that is whole.

    Raises UnreadableDicom for a file that is not DICOM, is cut short, expands beyond `max_bytes`, or lacks a valid
    SOP Class, SOP Instance, Study Instance or Series Instance UID.
    """
    with path.open("rb") as file:
        syntax = _read_meta(file)
        size = path.stat().st_size
        body: BinaryIO = file
        if syntax == DeflatedExplicitVRLittleEndian:
            body = _inflated(file.read(), max_bytes)
            size = len(body.getbuffer())
        values = _walk(body, size, _encoding(body, syntax))
    return _identity(values, syntax)


def _identity(values: Mapping[str, bytes], syntax: str) -> Identity:
    uids = {}
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        uid = _text(values.get(keyword, b""))
        if not is_valid_uid(uid):
            what = "has an invalid" if uid else "lacks the"
            raise UnreadableDicom(f"The data set {what} {keyword}.", remedy="Have the sender's object mended.")
        uids[keyword] = uid
    if "Image Storage" in UID(uids["SOPClassUID"]).name and "PixelData" not in values:
        raise _cut()  # exactly between two elements
    return Identity(
        sop_class_uid=uids["SOPClassUID"],
        sop_instance_uid=uids["SOPInstanceUID"],
        series_instance_uid=uids["SeriesInstanceUID"],
        study_instance_uid=uids["StudyInstanceUID"],
        transfer_syntax_uid=syntax,
        modality=_text(values.get("Modality", b""))[:16],
        image_type=_text(values.get("ImageType", b"")),
        patient=b"\x1f".join(values.get(keyword, b"").strip(b" \0") for keyword in ("PatientID", "IssuerOfPatientID")),
    )


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").strip(" \0")


def _cut() -> UnreadableDicom:
    return UnreadableDicom("The data set is cut short.", remedy="Send the object again.")


def _read_meta(file: BinaryIO) -> str:
    """Transfer syntax UID; leaves the file at the first element after group 0002 (PS3.10 7.1)."""
    if file.read(132)[128:] != b"DICM":
        raise UnreadableDicom("The file is not DICOM (PS3.10).", remedy="Send DICOM files only.")
    syntax = ""
    while True:
        start = file.tell()
        header = _header(file, _Encoding())
        if header is None or header[0] >> 16 != 0x0002:
            file.seek(start)
            break
        tag, _, length = header
        value = file.read(length) if length < 65536 else b""
        if len(value) < length:
            raise _cut()
        if tag == TRANSFER_SYNTAX:
            syntax = _text(value)
    if not is_valid_uid(syntax):
        raise UnreadableDicom("The file does not name its transfer syntax.", remedy="Send DICOM files only.")
    return syntax


def _inflated(data: bytes, max_bytes: int) -> io.BytesIO:
    """The data set of a deflated file, bounded: a few kilobytes can expand to gigabytes (PS3.5 A.5)."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflate.decompress(data, max_bytes)
    except zlib.error as error:
        raise _cut() from error
    if inflate.unconsumed_tail:
        raise UnreadableDicom(
            f"The deflated object expands to more than {max_bytes >> 20} MB.", remedy="Raise receiver.max_object_mb."
        )
    if not inflate.eof:
        raise _cut()
    return io.BytesIO(plain)


def _encoding(body: BinaryIO, syntax: str) -> _Encoding:
    """By the transfer syntax, except where the first element shows that the sender wrote explicit VRs all the same."""
    if syntax == ExplicitVRBigEndian:
        return _Encoding(endian=">")
    if syntax != ImplicitVRLittleEndian:
        return _Encoding()
    first = body.read(6)
    body.seek(-len(first), os.SEEK_CUR)
    return _Encoding(implicit=not _is_vr(first[4:6]))


def _is_vr(letters: bytes) -> bool:
    return len(letters) == 2 and letters.isalpha() and letters.isupper()


def _header(file: BinaryIO, encoding: _Encoding) -> tuple[int, bytes, int] | None:
    """(tag, VR or b"", length of the value), or None at the end; up to seven zero bytes of padding are an end too."""
    raw = file.read(8)
    if len(raw) < 8:
        if raw.strip(b"\0"):
            raise _cut()
        return None
    group, element = struct.unpack(f"{encoding.endian}HH", raw[:4])
    vr = raw[4:6]
    if encoding.implicit or group == 0xFFFE or not _is_vr(vr):
        return group << 16 | element, b"", struct.unpack(f"{encoding.endian}L", raw[4:])[0]
    if vr not in LONG_VRS:
        return group << 16 | element, vr, struct.unpack(f"{encoding.endian}H", raw[6:])[0]
    extended = file.read(4)
    if len(extended) < 4:
        raise _cut()
    return group << 16 | element, vr, struct.unpack(f"{encoding.endian}L", extended)[0]


def _walk(file: BinaryIO, size: int, encoding: _Encoding, depth: int = 0) -> dict[str, bytes]:
    """Go to the end of a data set or, below the top level, of an item of undefined length; values of the wanted tags.

    Raises UnreadableDicom where an element reaches beyond the end of the file.
    """
    values: dict[str, bytes] = {}
    while True:
        header = _header(file, encoding)
        if header is None:
            if depth:
                raise _cut()
            return values
        tag, vr, length = header
        if tag == ITEM_END and depth:
            return values
        if tag == PIXEL_DATA:
            values["PixelData"] = b"present"
        if length == UNDEFINED:
            # UN of undefined length is a sequence in implicit VR (PS3.5 6.2.2 note 2)
            _skip_items(file, size, _Encoding(implicit=True) if vr == b"UN" else encoding, depth + 1)
        elif depth == 0 and tag in WANTED and length < 65536:
            values[WANTED[tag]] = file.read(length)
            _stay_inside(file.tell() if len(values[WANTED[tag]]) == length else size + 1, size)
        else:
            _stay_inside(file.seek(length, os.SEEK_CUR), size)


def _skip_items(file: BinaryIO, size: int, encoding: _Encoding, depth: int) -> None:
    """Go behind the delimiter of a sequence, or of encapsulated pixel data, of undefined length."""
    if depth > DEEPEST_SEQUENCE:
        raise UnreadableDicom(f"Sequences are nested more than {DEEPEST_SEQUENCE} deep.", remedy="Mend the object.")
    while True:
        header = _header(file, encoding)
        if header is None:
            raise _cut()
        tag, _, length = header
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise UnreadableDicom("A sequence holds something that is not an item.", remedy="Mend the object.")
        if length == UNDEFINED:
            _walk(file, size, encoding, depth)
        else:
            _stay_inside(file.seek(length, os.SEEK_CUR), size)


def _stay_inside(position: int, size: int) -> None:
    if position > size:
        raise _cut()


# ------------------------------------------------------------------ two objects under one UID
def same_data_set(one: Path, other: Path) -> bool:
    """True where the files differ at most in their file meta information."""
    with one.open("rb") as first, other.open("rb") as second:
        if _read_meta(first) != _read_meta(second):
            return False
        while True:
            chunk = first.read(1 << 20)
            if chunk != second.read(1 << 20):
                return False
            if not chunk:
                return True


def same_pixels(one: Path, other: Path) -> bool:
    """True where both show the same image, however compressed; False where either has no pixels or cannot be decoded.

    An object without pixels, such as a report, has nothing but its words: other words are another object.
    """
    first, second = dcmread(one), dcmread(other)
    if "PixelData" not in first or "PixelData" not in second:
        return False
    if _shape(first) != _shape(second):
        return False
    if first.file_meta.TransferSyntaxUID == second.file_meta.TransferSyntaxUID:
        return bool(first.PixelData == second.PixelData)
    try:
        return bool((first.pixel_array == second.pixel_array).all())
    except Exception:  # whatever a decoder raises: not shown to be the same is not the same
        return False


def _shape(ds: Dataset) -> tuple[object, ...]:
    keywords = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "PixelRepresentation")
    return tuple(ds.get(keyword) for keyword in keywords)
