"""TOML that ships with the software and that a site may change: its entries laid over ours, table by table.

A site's file holds only what it changes. A complaint names the file that holds the entry, and its line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import SettingsError

TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")
ENTRY = re.compile(r"""\s*["']?([\w.-]+)["']?\s*=""")


class LayeredFile:
    """The file `name` of several folders, later over earlier, as one document.

    Raises SettingsError where none of them has it, or where one is no TOML in UTF-8 (tomllib names the line).
    """

    def __init__(self, name: str, folders: Sequence[Path]) -> None:
        self.paths = [folder / name for folder in folders if (folder / name).is_file()]
        if not self.paths:
            places = " or ".join(map(str, folders))
            raise SettingsError(f"There is no {name} in {places}.", remedy="Name one that is there.")
        layers = [_read(path) for path in self.paths]
        self.texts = [text for text, _ in layers]
        self._parsed = [tables for _, tables in layers]
        self.tables: Mapping[str, Any] = _laid_over(self._parsed)

    @property
    def raw(self) -> bytes:
        """Every byte that the document comes from."""
        return "\0".join(self.texts).encode()

    # -------------------------------------------------------------- complaints
    def refuse(self, key: str, what: str) -> SettingsError:
        """The complaint about entry `key`, "table.name": at its file and line, else where it should stand."""
        table, _, name = key.rpartition(".")
        having = [n for n, layer in enumerate(self._parsed) if name in (layer.get(table, {}) if table else layer)]
        near = [n for n, layer in enumerate(self._parsed) if table in layer]
        layer = (having or near or [len(self.paths) - 1])[-1]
        line = line_of(self.texts[layer], key)
        where = f"{self.paths[layer]}, line {line}" if line else f"{self.paths[layer]}"
        return SettingsError(f"{where}: {key}: {what}.", remedy="Correct this entry.")

    # -------------------------------------------------------------- what must be there
    def table(self, name: str) -> Mapping[str, Any]:
        """A table by its name; "" for the whole document."""
        table = self.tables.get(name) if name else self.tables
        if not isinstance(table, Mapping):
            raise self.refuse(name, "the table is missing")
        return table

    def has(self, table: str, names: Collection[str]) -> list[str]:
        """The table's keys, of which `names` are there."""
        for name in sorted(set(names) - set(self.table(table))):
            raise self.refuse(joined(table, name), "the entry is missing")
        return list(self.table(table))

    def has_exactly(self, table: str, names: Collection[str]) -> list[str]:
        """The table's keys, which are `names` and no others."""
        for name in sorted(set(self.table(table)) - set(names)):
            raise self.refuse(joined(table, name), "the software knows no such entry")
        return self.has(table, names)

    def text(self, table: str, name: str, longest: int) -> str:
        """A text of 1 to `longest` characters."""
        value = self.table(table).get(name)
        if not isinstance(value, str) or not 0 < len(value) <= longest:
            raise self.refuse(joined(table, name), f"must be a text of 1 to {longest} characters")
        return value


def joined(table: str, name: str) -> str:
    """The key of an entry: "table.name", or "name" at the top."""
    return f"{table}.{name}" if table else name


def line_of(text: str, key: str) -> int | None:
    """Line, from 1, of the entry or table `key` in TOML; of its table where the entry is not there."""
    table, _, _ = key.rpartition(".")
    inside, near = "", None
    for number, line in enumerate(text.splitlines(), 1):
        if header := TABLE.match(line):
            inside = header[1].strip("\"'")
            found = inside
        elif entry := ENTRY.match(line):
            found = joined(inside, entry[1])
        else:
            continue
        if found == key:
            return number
        if found == table:
            near = number
    return near


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of some desktops put a byte order mark before it
        return text, tomllib.loads(text)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.", remedy="Mend the file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML in UTF-8: {error}.", remedy="Correct the line named.") from None


def _laid_over(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            both = isinstance(value, dict) and isinstance(merged.get(name), dict)
            merged[name] = {**merged[name], **value} if both else value
    return merged
