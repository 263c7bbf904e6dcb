"""What a site may add to the grouping: its words and its pins (config/series_rules.toml)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ...errors import SettingsError
from ...shipped import shipped
from .words import PATTERNS, Vocabulary, normalised

PINNED_ROLES = ("DCE", "T1_NFS", "T2", "T2_FS", "DWI", "DWI_TRACE", "ADC", "LOCALIZER", "OTHER")


@dataclass(frozen=True, slots=True)
class Pin:
    """A site's own name for a series: breaks ties, never overrides an attribute that contradicts it."""

    description: str  # of the whole SeriesDescription; * stands for any text, case does not matter
    role: str  # one of PINNED_ROLES; "DCE" for every series of a dynamic

    def fits(self, description: str | None) -> bool:
        return fnmatchcase(normalised(description or ""), normalised(self.description))


@dataclass(frozen=True, slots=True)
class SeriesRules:
    """Words and pins of a site; empty: the built-in words only."""

    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pins: tuple[Pin, ...] = ()

    def vocabulary(self) -> Vocabulary:
        return Vocabulary(self.words)

    def pinned(self, description: str | None) -> str | None:
        """Role that the first fitting pin gives a series."""
        return next((pin.role for pin in self.pins if pin.fits(description)), None)


def load_rules(path: Path | None = None) -> SeriesRules:
    """Rules from a TOML file; None: the shipped one. Raises SettingsError for what it cannot mean."""
    path = path or shipped("config/series_rules.toml")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"The series rules {path} cannot be read: {error}.", remedy="Mend the file.") from error
    _refuse_unknown(path, raw, {"words", "pins"}, "key")
    words, pins = raw.get("words", {}), raw.get("pins", [])
    _refuse_unknown(path, words, set(PATTERNS), "class of words")
    if not isinstance(pins, list):
        raise SettingsError(f"{path}: pins is no list of tables.", remedy="Begin each pin with [[pins]].")
    for name, entries in words.items():
        if not (isinstance(entries, list) and all(isinstance(entry, str) and entry.strip() for entry in entries)):
            raise SettingsError(f"{path}: words.{name} is no list of words.", remedy='Write ["one", "two"].')
    return SeriesRules(
        {name: tuple(entries) for name, entries in words.items()}, tuple(_pin(path, pin) for pin in pins)
    )


def _pin(path: Path, raw: Any) -> Pin:
    if not isinstance(raw, dict) or not isinstance(raw.get("description"), str) or not raw["description"].strip("* "):
        raise SettingsError(f"{path}: a pin has no description.", remedy="Give the SeriesDescription that it is for.")
    _refuse_unknown(path, raw, {"description", "role"}, "key of a pin")
    if raw.get("role") not in PINNED_ROLES:
        raise SettingsError(
            f"{path}: {raw.get('role')!r} is no role for a pin.", remedy=f"Use one of {', '.join(PINNED_ROLES)}."
        )
    return Pin(raw["description"], raw["role"])


def _refuse_unknown(path: Path, given: Any, known: set[str], what: str) -> None:
    if not isinstance(given, dict):
        raise SettingsError(
            f"{path}: {given!r} stands where a table should.", remedy="See the shipped series_rules.toml."
        )
    if unknown := sorted(set(given) - known):
        raise SettingsError(
            f"{path}: unknown {what} {', '.join(map(repr, unknown))}.", remedy=f"Known are {', '.join(sorted(known))}."
        )
