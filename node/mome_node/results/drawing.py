"""Text and pictures on a square page: one font, one palette, the same pixels on every machine of one build.

The palette is blue, grey and amber: it is told apart with every kind of colour vision, and it passes no verdict.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from .planes import BoolArray, FloatPicture

SIDE = 768  # pixels; the smallest text stays legible when a viewer shows the page at 512
MARGIN = 46  # left and right
TOP, BOTTOM = 82, 694  # viewers write over the corners, a tenth of the height
WIDTH = SIDE - 2 * MARGIN

BODY, SMALL, HEADING = 16, 14, 18

Colour = tuple[int, int, int]
PAPER: Colour = (14, 17, 21)
INK: Colour = (228, 232, 236)
MUTED: Colour = (160, 170, 180)
STEEL: Colour = (126, 158, 190)
DEEP: Colour = (46, 66, 90)
AMBER: Colour = (240, 190, 90)

HEAT_LOW: Colour = (214, 104, 10)
HEAT_HIGH: Colour = (255, 240, 80)
HEAT_FROM = 0.12  # share of the highest saliency below which nothing is drawn

Box = tuple[int, int, int, int]  # left, top, right, bottom


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow: no machine needs one of its own."""
    found = ImageFont.load_default(size=size)
    assert isinstance(found, ImageFont.FreeTypeFont)  # Pillow is built with FreeType wherever it has wheels
    return found


@cache
def _has_glyph(character: str) -> bool:
    missing = font(BODY).getmask("\uffff")
    return character.isspace() or bytes(font(BODY).getmask(character)) != bytes(missing)


def drawable(text: str) -> str:
    """`text` in letters that the font has: without accents, a question mark for scripts it lacks."""
    return "".join(c if _has_glyph(c) else _without_accent(c) for c in text)


def _without_accent(character: str) -> str:
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain if plain and all(map(_has_glyph, plain)) else "?"


def wrapped(text: str, size: int, width: float) -> list[str]:
    """Lines no wider than `width` pixels; a word that is too long is cut."""
    lines, line = [], ""
    for word in drawable(text).split():
        candidate = f"{line} {word}".strip()
        if font(size).getlength(candidate) <= width:
            line = candidate
            continue
        if line:
            lines.append(line)
        line = word
        while font(size).getlength(line) > width:
            fits = next(n for n in range(len(line) - 1, 0, -1) if font(size).getlength(line[:n]) <= width)
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line] if line else lines


class Page:
    """One frame under the pen."""

    def __init__(self) -> None:
        self.image = Image.new("RGB", (SIDE, SIDE), PAPER)
        self.pen = ImageDraw.Draw(self.image)

    def pixels(self) -> npt.NDArray[np.uint8]:
        """(SIDE, SIDE, 3)"""
        return np.asarray(self.image, np.uint8)

    def text(self, xy: tuple[float, float], text: str, size: int, colour: Colour = INK, anchor: str = "la") -> None:
        self.pen.text(xy, drawable(text), fill=colour, font=font(size), anchor=anchor)

    def lines(
        self,
        xy: tuple[float, float],
        texts: Sequence[str],
        *,
        size: int = BODY,
        colour: Colour = INK,
        width: float = WIDTH,
    ) -> float:
        """Paragraphs below each other; the y below the last."""
        x, y = xy
        for text in texts:
            for line in wrapped(text, size, width):
                self.text((x, y), line, size, colour)
                y += line_height(size)
        return y

    def band(self, text: str, y: float) -> float:
        """A bar over the width of the page; the y below it."""
        self.pen.rectangle((MARGIN, y, SIDE - MARGIN, y + 32), fill=DEEP)
        size = next(s for s in range(22, 8, -1) if font(s).getlength(text) <= WIDTH - 16)
        self.text((SIDE / 2, y + 16), text, size, (255, 255, 255), "mm")
        return y + 32

    def paste(self, picture: npt.NDArray[np.uint8], corner: tuple[int, int]) -> None:
        self.image.paste(Image.fromarray(picture), corner)


def line_height(size: int) -> float:
    return round(size * 1.24)


def height_of(texts: Sequence[str], size: int, width: float = WIDTH) -> float:
    """What `Page.lines` would take."""
    return sum(len(wrapped(text, size, width)) for text in texts) * line_height(size)


def fitted(picture: tuple[int, int], spacing: tuple[float, float], room: tuple[int, int]) -> tuple[int, int]:
    """(width, height) in pixels of a picture of (rows, columns) with square millimetres, as large as `room` allows."""
    height, width = picture[0] * spacing[0], picture[1] * spacing[1]
    scale = min(room[0] / width, room[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def resized(picture: FloatPicture, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Linear resampling to (width, height)."""
    image = Image.fromarray(np.ascontiguousarray(picture, np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def coloured(grey: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Grey values of 0 to 1 as RGB."""
    return np.repeat(np.round(255 * grey)[..., None], 3, axis=2).astype(np.uint8)


def heat(amount: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Colour (..., 3) and opacity (..., 1) of saliency as a share of the highest: from clear to orange to yellow."""
    share = np.clip((amount - HEAT_FROM) / (1 - HEAT_FROM), 0, 1)[..., None]
    return np.array(HEAT_LOW) + share * (np.array(HEAT_HIGH) - np.array(HEAT_LOW)), 0.8 * np.sqrt(share)


def heated(picture: npt.NDArray[np.uint8], amount: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """`picture` (rows, columns, 3) under the colours of the saliency `amount` (rows, columns; 1 is the highest)."""
    colour, opacity = heat(amount)
    return np.asarray(np.round(picture * (1 - opacity) + colour * opacity), np.uint8)


def outlined(picture: npt.NDArray[np.uint8], inside: BoolArray, colour: Colour) -> npt.NDArray[np.uint8]:
    """`picture` with a line of one pixel along the edge of `inside`."""
    edge = inside & ~ndimage.binary_erosion(inside)
    return np.where(edge[..., None], np.array(colour, np.uint8), picture)
