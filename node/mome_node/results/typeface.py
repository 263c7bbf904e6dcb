"""Letters: which font draws which character, how long a text gets, and where its lines break.

DejaVu Sans Condensed comes with the software: large small letters, and the scripts of Europe with all their accents. A
site whose texts are in another script, such as Chinese, Japanese or Korean, names a font file of its own, which is
asked for what the first one lacks. No font of the machine is ever used: the same text gives the same pixels.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

from PIL import ImageFont

from ..errors import SettingsError
from ..shipped import shipped

REGULAR = "sr_templates/fonts/DejaVuSansCondensed.ttf"
BOLD = "sr_templates/fonts/DejaVuSansCondensed-Bold.ttf"

# A piece that no line break divides: a letter of a script without spaces, or a word up to a sign that ends a part.
PIECE = re.compile(r"\s+|[\u2e80-\u9fff\uac00-\ud7af\uf900-\uffef]|[^\s\u2e80-\u9fff\uac00-\ud7af\uf900-\uffef]+")
PART = re.compile(r"[^_/,;.-]*[_/,;.-]+|[^_/,;.-]+")


@dataclass(frozen=True, slots=True)
class Typeface:
    """The fonts of one set of pages, in the order in which they are asked for a character."""

    site_font: Path | None = None
    sha256: str = ""  # of the site's font: other letters are another object

    def runs(self, text: str, size: int, bold: bool = False) -> list[tuple[str, ImageFont.FreeTypeFont]]:
        """`text` in stretches of one font each, with what no font has replaced (`_drawn`)."""
        files = self._files(bold)
        drawn = [part for character in text for part in _drawn(files, character)]
        return [
            ("".join(character for character, _ in run), _font(path, size))
            for path, run in groupby(drawn, key=lambda part: part[1])
        ]

    def length(self, text: str, size: int, bold: bool = False) -> float:
        """Pixels from the start of `text` to its end."""
        return sum(font.getlength(run) for run, font in self.runs(text, size, bold))

    def heights(self, size: int) -> tuple[int, int]:
        """Pixels above and below the line that letters stand on."""
        return _font(self._files(False)[0], size).getmetrics()

    def wrapped(self, text: str, size: int, width: float, bold: bool = False) -> list[str]:
        """Lines no wider than `width` pixels. A word that is too long breaks after a sign, else where it must."""
        lines, line = [], ""
        for piece in self._pieces(text, size, width, bold):
            if line and self.length((line + piece).rstrip(), size, bold) > width:
                lines.append(line.rstrip())
                line = ""
            line += piece if line else piece.lstrip()
        return [*lines, line.rstrip()] if line.strip() else lines

    def _pieces(self, text: str, size: int, width: float, bold: bool) -> Iterator[str]:
        for piece in PIECE.findall(text):
            if piece.isspace():
                yield " "
            elif self.length(piece, size, bold) <= width:
                yield piece
            else:
                for part in PART.findall(piece):
                    yield from [part] if self.length(part, size, bold) <= width else part

    def _files(self, bold: bool) -> tuple[Path, ...]:
        own = shipped(BOLD if bold else REGULAR)
        return (own, self.site_font) if self.site_font else (own,)


def load_typeface(site_font: Path | None = None) -> Typeface:
    """The shipped font, and a site's own for the characters that it lacks (TrueType or OpenType, .ttf, .otf, .ttc).

    Raises SettingsError where the site's file cannot be used.
    """
    if site_font is None:
        return Typeface()
    try:
        ImageFont.truetype(site_font, 12)
        return Typeface(site_font, hashlib.sha256(site_font.read_bytes()).hexdigest())
    except OSError as error:
        raise SettingsError(
            f"The font {site_font} cannot be used: {error}.", remedy="Name a TrueType or OpenType font file."
        ) from None


def refuse_unknown_letters(texts: Iterable[str], typeface: Typeface) -> None:
    """Raises SettingsError where the words of the pages need letters that no font of theirs has.

    To be asked when the node starts: a page of question marks would be the first anyone hears of it.
    """
    lacking = sorted(
        {letter for text in texts for letter in text if letter != "?" and "?" in drawable(letter, typeface)}
    )
    if lacking:
        raise SettingsError(
            f"The pages cannot be written: no font has {len(lacking)} of their letters, e.g. {''.join(lacking[:8])}.",
            remedy="Name a font file of this script, or choose another language for the results.",
        )


def drawable(text: str, typeface: Typeface) -> str:
    """`text` as it will be drawn."""
    return "".join(run for run, _ in typeface.runs(text, 12))


@cache
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    """Basic layout everywhere: another engine, where a machine has it, would set other distances."""
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _drawn(files: tuple[Path, ...], character: str) -> tuple[tuple[str, Path], ...]:
    """The character and its font; where none has it, the letter without its accent, else a question mark."""
    if character.isspace():
        return ((" ", files[0]),)
    for path in files:
        if _has_glyph(path, character):
            return ((character, path),)
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return tuple((letter, files[0]) for letter in (plain if plain.isprintable() and plain else "?"))


def _has_glyph(path: Path, character: str) -> bool:
    missing, mask = (_font(path, 16).getmask(c) for c in ("\uffff", character))
    return character.isprintable() and (mask.size != missing.size or bytes(mask) != bytes(missing))
