"""A few synthetic studies as a hospital's folder would hold them, made of one phantom: writing one takes seconds."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from mome_node.phantom import Written, write_study

SEED = 41
FIELD_STRENGTH = b"\x18\x00\x87\x00DS\x04\x00"  # (0018,0087), explicit VR, little endian, four bytes


@dataclass(frozen=True, slots=True)
class Copy:
    """A study of another patient with the same pixels."""

    study: str
    patient: str
    accession: str


@dataclass(frozen=True, slots=True)
class Hospital:
    folder: Path
    good: Copy  # a complete exam
    strong: Copy  # the same at 3 T
    poor: Copy  # T2 only
    stray: Copy  # a localizer that no table speaks of
    written: Written  # the good one, as the generator tells of it


def hospital(folder: Path) -> Hospital:
    written = write_study(folder / "written", SEED, malignant=True)
    source = written.files[0].parents[1]
    first = Copy(written.study_instance_uid, written.patient_id, f"SYN{SEED:05d}")

    def another(number: int, series: list[str], *replacements: tuple[bytes, bytes]) -> Copy:
        """Files of some series under other identifiers of the same length."""
        made = Copy(f"{first.study[:-2]}{number}{number}", f"SYNTHETIC-{number:05d}", f"SYN{number:05d}")
        for name in series:
            for path in sorted((source / name).iterdir()):
                data = path.read_bytes()
                for old, new in zip(
                    (first.study, first.patient, first.accession),
                    (made.study, made.patient, made.accession),
                    strict=True,
                ):
                    data = data.replace(old.encode(), new.encode())
                for old_bytes, new_bytes in replacements:
                    data = data.replace(old_bytes, new_bytes)
                place = folder / "images" / f"disc {number}" / name
                place.mkdir(parents=True, exist_ok=True)
                (place / path.name).write_bytes(data)
        return made

    natives = ["002", "003", "004", "005", *(f"{n:03d}" for n in range(6, 22, 3))]
    good = another(1, natives)
    made = Hospital(
        folder / "images",
        good=good,
        strong=another(2, natives, (FIELD_STRENGTH + b"1.5 ", FIELD_STRENGTH + b"3.0 ")),
        poor=another(3, ["002"]),
        stray=another(4, ["001"]),
        written=replace(written, study_instance_uid=good.study, patient_id=good.patient),
    )
    shutil.rmtree(folder / "written")
    return made
