"""Studies of a folder: which there are and where their images lie, without keeping headers in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom

from ..errors import NodeError
from .source import Say
from .table import AtHand, Row

TAGS = ["StudyInstanceUID", "AccessionNumber", "PatientID"]
OLD_HABITS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""How data sets begin that were written without a preamble: with group 0002 or 0008."""
FILES_TOLD = 5000


@dataclass
class _Found:
    patient: str = ""
    accession: str = ""
    files: list[str] = field(default_factory=list)
    sizes: int = 0


class Folder:
    """DICOM files in any nesting."""

    kind = "folder"

    def __init__(self, path: Path, say: Say) -> None:
        """Raises NodeError where no file below `path` belongs to a study."""
        self._studies: dict[str, _Found] = {}
        for number, file in enumerate(sorted(p for p in path.rglob("*") if p.is_file()), 1):
            self._take(file)
            if number % FILES_TOLD == 0:
                say(f"{number} files looked at, {len(self._studies)} studies")
        if not self._studies:
            raise NodeError(f"{path}: no DICOM study found.", remedy="Name the folder that holds the studies.")

    def _take(self, file: Path) -> None:
        try:
            with file.open("rb") as opened:
                start = opened.read(132)
                if start[128:] != b"DICM" and start[:2] not in OLD_HABITS:
                    return
                opened.seek(0)
                header: Any = pydicom.dcmread(opened, force=True, stop_before_pixels=True, specific_tags=TAGS)
                study, patient, accession = (str(header.get(tag) or "").strip() for tag in TAGS[::2] + TAGS[1:2])
        except Exception:  # the reading of the study says what is wrong with a file
            return
        if study:
            found = self._studies.setdefault(study, _Found())
            found.patient, found.accession = found.patient or patient, found.accession or accession
            found.files.append(str(file))
            found.sizes += file.stat().st_size

    def at_hand(self, rows: Sequence[Row]) -> list[AtHand]:
        return [
            AtHand(uid, found.patient, found.accession, _digest(found)) for uid, found in sorted(self._studies.items())
        ]

    @contextmanager
    def images(self, study: AtHand, scratch: Path) -> Iterator[list[Path]]:
        yield [Path(file) for file in self._studies[study.study].files]


def _digest(found: _Found) -> str:
    return hashlib.sha256(f"{len(found.files)} {found.sizes}".encode()).hexdigest()[:16]
