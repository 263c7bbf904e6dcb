"""DICOM files to plain headers: paths in, Studies out, and what was wrong with each file that is in none of them.

No file raises an error here, however broken: a PACS sends what it has. Pixels are not read, only looked for.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from ..study import Instance, Study, UnusableFile
from . import elements, header_records

UID_FORM = re.compile(r"[0-9]+(\.[0-9]+)+")  # leading zeros are against PS3.5 9.1, and common
NAMED_AS_DICOM = {".dcm", ".dicom", ".dic", ".ima"}
SHARED_GROUPS, FRAME_GROUPS, DIRECTORY_RECORDS = 0x52009229, 0x52009230, 0x00041220
WITH_PIXELS = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.4(\.1|\.3|\.4)?")  # the MR image classes, PS3.4 B.5


class _Unusable(Exception):
    """Why a file is no object of a study; its text goes to the sender."""


class _Unreadable(_Unusable):
    """The same, for a reason that lies in the disk and may pass."""


# ------------------------------------------------------------------ files to studies
def read_folder(folder: Path) -> tuple[list[Study], list[UnusableFile]]:
    """All studies below a folder. Files that are neither DICOM nor named as such are passed over; so is a DICOMDIR."""
    files = [folder] if folder.is_file() else [path for path in folder.rglob("*") if path.is_file()]
    return read_files(path for path in files if _named_as_dicom(path) or _starts_as_dicom(path))


def read_files(paths: Iterable[Path], records: Path | None = None) -> tuple[list[Study], list[UnusableFile]]:
    """Studies in order of StudyInstanceUID, and every file that belongs to none, with the reason.

    An object that arrived twice is kept once; of two contents under one SOP Instance UID the first path is kept and
    the other listed as unusable. `records`: what `read_ahead` wrote; files that it does not hold are read now.
    """
    known = {} if records is None else header_records.load(records)
    kept: dict[str, Instance] = {}
    unusable: list[UnusableFile] = []
    with _without_warnings():
        for path in sorted(paths):
            try:
                instance = _recorded(known, records, path) or _read(path)
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
    elements.forget()
    studies: dict[str, list[Instance]] = {}
    for uid in sorted(kept):
        studies.setdefault(kept[uid].study_instance_uid, []).append(kept[uid])
    return [Study(uid, tuple(studies[uid])) for uid in sorted(studies)], unusable


def read_ahead(paths: Iterable[Path], records: Path) -> int:
    """Add the headers of files to `records`, but for those that are there; how many were read.

    To be called while a study is still coming, as often as one likes: a file is read once. Nothing here raises for a
    file; OSError where `records` cannot be written.
    """
    known, lines = header_records.known(records), []
    with _without_warnings():
        for path in sorted(paths):
            key = header_records.key(path, records)
            if key is not None and key not in known and (record := _record(path)) is not None:
                lines.append(header_records.line(key, record))
    elements.forget()
    header_records.append(records, lines)
    return len(lines)


def _record(path: Path) -> header_records.Record | None:
    """The header of a file, or why it has none, as plain data; None where another attempt may succeed."""
    try:
        instance = _read(path)
    except _Unreadable:
        return None
    except _Unusable as reason:
        return {"unusable": str(reason)}
    return {} if instance is None else {"instance": _as_record(instance)}


def _recorded(known: Mapping[str, header_records.Record], records: Path | None, path: Path) -> Instance | None:
    """A header that was read ahead; None where the file must be read. Raises _Unusable if it was no use then."""
    record = known.get(header_records.key(path, records) or "") if records else None
    if not record:
        return None
    if "unusable" in record:
        raise _Unusable(record["unusable"])
    return replace(_from_record(record["instance"]), path=path)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Pydicom warns of every value against the standard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read(path: Path) -> Instance | None:
    """None for a DICOMDIR. Raises _Unusable, and nothing else."""
    try:
        size = path.stat().st_size
        if size == 0:
            raise _Unusable("The file is empty.")
        with path.open("rb") as file:
            return _instance(path, file, size)
    except _Unusable:
        raise
    except InvalidDicomError:
        raise _Unusable("Not a DICOM file.") from None
    except OSError as error:
        raise _Unreadable(f"Cannot be read: {error.strerror or type(error).__name__}.") from None
    except RecursionError:
        raise _Unusable("Sequences are nested too deeply to be read.") from None
    except Exception as error:  # the parser meets whatever bytes a peer chose
        raise _Unusable(f"Cannot be parsed as DICOM ({type(error).__name__}).") from None


def _instance(path: Path, file: BinaryIO, size: int) -> Instance | None:
    """Everything before the pixels of an open file of `size` bytes; None for a DICOMDIR."""
    if not _dicom_bytes(file.read(132)):
        raise _Unusable("Not a DICOM file.")
    file.seek(0)
    dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    meta, top = elements.attributes(elements.whole(dataset.file_meta)), elements.whole(dataset)
    if meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage or DIRECTORY_RECORDS in dataset:
        return None
    shared = elements.find(top, SHARED_GROUPS) if SHARED_GROUPS in dataset else []
    attributes = elements.functional_groups(shared) | elements.attributes(top)
    attributes |= {keyword: value for keyword, value in meta.items() if keyword == "TransferSyntaxUID"}
    if _cut_short(dataset) or _pixels_cut_short(dataset, attributes, file, size):
        raise _Unusable("The file is cut short; send it again.")
    uids = {keyword: str(attributes.pop(keyword, "")) for keyword in elements.UIDS}
    _check_uids(uids)
    return Instance(
        path=path,
        sop_instance_uid=uids["SOPInstanceUID"],
        sop_class_uid=uids["SOPClassUID"],
        series_instance_uid=uids["SeriesInstanceUID"],
        study_instance_uid=uids["StudyInstanceUID"],
        attributes=attributes,
        frames=_frames(top, attributes) if FRAME_GROUPS in dataset else (),
    )


def _frames(top: elements.Item, attributes: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Functional groups of each frame (PS3.3 C.7.6.16); none where their number is not the number of frames."""
    items = elements.find(top, FRAME_GROUPS)
    if not items or len(items) != attributes.get("NumberOfFrames", 1):
        return ()
    return tuple(elements.functional_groups([item]) for item in items)


def _cut_short(dataset: Dataset) -> bool:
    """Whether the last value holds fewer bytes than it announces."""
    last = next(reversed(list(dataset.values())), None)
    return isinstance(last, RawDataElement) and last.length not in (0xFFFFFFFF, len(last.value or b""))


def _pixels_cut_short(dataset: Dataset, attributes: Mapping[str, Any], file: BinaryIO, size: int) -> bool:
    """Whether an MR image ends before its pixel data do; `file` stands at the pixel data element."""
    deflated = attributes.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    if deflated or not WITH_PIXELS.fullmatch(str(attributes.get("SOPClassUID"))):
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


# ------------------------------------------------------------------ to and from a file
def to_json(study: Study) -> str:
    """The study as one JSON document; `from_json` gives it back."""
    instances = [_as_record(instance) for instance in study.instances]
    return json.dumps({"StudyInstanceUID": study.study_instance_uid, "instances": instances}, ensure_ascii=False)


def from_json(text: str) -> Study:
    """Inverse of `to_json`. Raises KeyError or ValueError for another document."""
    raw = json.loads(text)
    return Study(raw["StudyInstanceUID"], tuple(_from_record(item) for item in raw["instances"]))


def _as_record(instance: Instance) -> dict[str, Any]:
    i = instance
    return {
        "path": str(i.path),
        "uids": [i.sop_instance_uid, i.sop_class_uid, i.series_instance_uid, i.study_instance_uid],
        "attributes": i.attributes,
        "frames": i.frames,
    }


def _from_record(item: Mapping[str, Any]) -> Instance:
    sop, sop_class, series, study = item["uids"]
    return Instance(Path(item["path"]), sop, sop_class, series, study, item["attributes"], tuple(item["frames"]))


def transfer_syntax(instance: Instance) -> str:
    """Name of the transfer syntax for people, e.g. "JPEG Lossless, Non-Hierarchical"."""
    return UID(str(instance.attributes.get("TransferSyntaxUID", "unknown"))).name
