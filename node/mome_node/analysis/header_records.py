"""Headers that were read while their study was still coming, kept in one file beside it: one record on each line.

A line is the key of a file and, after a tab, what its header said. Lines are only added. A file that changed has a new
key, and a line that a crash tore is no JSON: such files are read again when their headers are needed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__

Record = Mapping[str, Any]


def key(path: Path, records: Path) -> str | None:
    """Path from the records, size, time of change, and version of the reader; None where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return json.dumps([os.path.relpath(path, records.parent), status.st_size, status.st_mtime_ns, __version__])


def line(key: str, record: Record) -> str:
    """One line. It begins with the line break: so it is whole even after one that a crash left without an end."""
    return f"\n{key}\t{json.dumps(record)}"


def known(records: Path) -> set[str]:
    """Keys of the files that have a record; none where there is no such file of records."""
    return {text.partition("\t")[0] for text in _lines(records)}


def load(records: Path) -> dict[str, Record]:
    """Records by key, without those that are torn."""
    found: dict[str, Record] = {}
    for text in _lines(records):
        name, _, record = text.partition("\t")
        try:
            found[name] = json.loads(record)
        except ValueError:
            continue
    return found


def append(records: Path, lines: Sequence[str]) -> None:
    """Add lines at once. Raises OSError where they cannot be written."""
    if lines:
        records.parent.mkdir(parents=True, exist_ok=True)
        with records.open("a", encoding="utf-8", newline="") as file:
            file.write("".join(lines))


def _lines(records: Path) -> list[str]:
    if not records.exists():
        return []
    return records.read_text(encoding="utf-8", errors="replace").split("\n")
