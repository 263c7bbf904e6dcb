"""Pseudonyms by keyed hash: who has the key knows a patient again, in every cohort; nobody else does.

The key and the way back (`linkage.csv` beside it) stay with the hospital, never in a cohort's folder.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..analysis.inference import whole_file
from ..errors import NodeError

KEY_BYTES = 32
LINKAGE = "linkage.csv"
WAY_BACK = ("study", "patient", "study_instance_uid", "accession_number", "patient_id")


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """HMAC-SHA-256, first 16 hex digits: 64 bits, by chance equal among a million of a kind once in 30 million."""

    key: bytes

    def of(self, kind: str, identity: str) -> str:
        return hmac.new(self.key, f"{kind}\x1f{identity}".encode(), hashlib.sha256).hexdigest()[:16]


def open_key(path: Path, cohort: Path) -> Pseudonyms:
    """The key of a file, which is made, for its owner alone, where it is not there.

    Raises NodeError for a key inside the cohort's folder, one that others may read, and one that is none.
    """
    if path.resolve().is_relative_to(cohort.resolve()):
        raise NodeError(
            "The key of the pseudonyms would lie in the cohort's folder: who gets the cohort could name its patients.",
            remedy="Name a place outside of it with --pseudonym-key.",
        )
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_secret(path, secrets.token_hex(KEY_BYTES) + "\n")
    if path.stat().st_mode & 0o077:
        raise NodeError(f"Others may read the key {path}.", remedy=f"chmod 600 {path}")
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except ValueError:
        key = b""
    if len(key) < KEY_BYTES:
        raise NodeError(
            f"{path} holds no key ({2 * KEY_BYTES} hex digits).", remedy="Name another file: it is made anew."
        )
    return Pseudonyms(key)


def note_way_back(key: Path, lines: Iterable[Mapping[str, str]]) -> Path:
    """Add these (`WAY_BACK`) to the linkage beside the key; what it knows of earlier cohorts stays."""
    path = key.with_name(LINKAGE)
    known: dict[str, Mapping[str, str]] = {}
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            known = {line["study"]: line for line in csv.DictReader(file)}
    known |= {line["study"]: line for line in lines}
    with whole_file(path) as temporary:
        _write_secret(temporary, "")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, WAY_BACK, extrasaction="ignore")
            table.writeheader()
            table.writerows(known[study] for study in sorted(known))
    return path


def _write_secret(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
