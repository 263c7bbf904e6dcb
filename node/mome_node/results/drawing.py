"""Text and pictures on a square page: one palette, the same pixels on every machine of one build.

The palette is blue, grey and amber: it is told apart with every kind of colour vision, and it passes no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from .planes import BoolArray, FloatPicture
from .typeface import Typeface

SIDE = 768  # pixels
MARGIN = 42  # left and right: viewers write over the corners, and single letters at the middle of the sides
TOP, BOTTOM = 84, 684  # a ninth of the height at either end is the viewer's
WIDTH = SIDE - 2 * MARGIN

# Sizes of letters, pixels. The smallest stay legible in a viewer that shows the page at 512: small letters of 6 pixels.
SMALL, BODY, BAND, HEADING, LARGE, HUGE = 17, 19, 20, 23, 26, 56

Colour = tuple[int, int, int]
PAPER: Colour = (14, 17, 21)
PANEL: Colour = (30, 40, 54)  # behind what is read first
INK: Colour = (232, 236, 240)
MUTED: Colour = (168, 178, 188)
STEEL: Colour = (140, 172, 204)
DEEP: Colour = (46, 66, 90)
BAR: Colour = (92, 116, 144)
AMBER: Colour = (244, 196, 96)
WARNING: Colour = (62, 48, 20)  # behind amber text
WHITE: Colour = (255, 255, 255)

HEAT_LOW: Colour = (214, 104, 10)
HEAT_HIGH: Colour = (255, 240, 80)
HEAT_FROM = 0.12  # share of the highest saliency below which nothing is drawn


class Page:
    """One frame under the pen."""

    def __init__(self, typeface: Typeface) -> None:
        self.typeface = typeface
        self.image = Image.new("RGB", (SIDE, SIDE), PAPER)
        self.pen = ImageDraw.Draw(self.image)

    def pixels(self) -> npt.NDArray[np.uint8]:
        """(SIDE, SIDE, 3)"""
        return np.asarray(self.image, np.uint8)

    def text(
        self,
        xy: tuple[float, float],
        text: str,
        size: int,
        colour: Colour = INK,
        anchor: str = "la",
        *,
        bold: bool = False,
        halo: bool = False,
    ) -> float:
        """One line; where `xy` lies in it: l, m or r, then a (above), m or d (below). The x at its end.

        `halo`: a dark rim, for letters on a picture.
        """
        above, below = self.typeface.heights(size)
        x = xy[0] - {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]] * self.typeface.length(text, size, bold)
        y = xy[1] + {"a": float(above), "m": (above - below) / 2, "d": float(-below)}[anchor[1]]
        rim = 2 if halo else 0
        for run, font in self.typeface.runs(text, size, bold):
            at = (round(x), round(y))
            self.pen.text(at, run, fill=colour, font=font, anchor="ls", stroke_width=rim, stroke_fill=PAPER)
            x += font.getlength(run)
        return x

    def lines(
        self,
        xy: tuple[float, float],
        texts: Sequence[str],
        *,
        size: int = BODY,
        colour: Colour = INK,
        width: float = WIDTH,
        bold: bool = False,
    ) -> float:
        """Paragraphs below each other; the y below the last."""
        x, y = xy
        for text in texts:
            for line in self.typeface.wrapped(text, size, width, bold):
                self.text((x, y), line, size, colour, bold=bold)
                y += line_height(size)
        return y

    def height_of(self, texts: Sequence[str], size: int, width: float = WIDTH, bold: bool = False) -> float:
        """What `lines` would take."""
        return sum(len(self.typeface.wrapped(text, size, width, bold)) for text in texts) * line_height(size)

    def band(self, text: str, aside: str, y: float) -> float:
        """A bar over the width of the page, with `aside` at its right end or below `text`; the y below it."""
        room = WIDTH - 20
        one_line = self.typeface.length(text, BAND, bold=True) + self.typeface.length(aside, SMALL) + 20 <= room
        height = line_height(BAND) if one_line else self.height_of([text], BAND, room, bold=True)
        below = 0 if one_line else self.height_of([aside], SMALL, room)
        self.pen.rectangle((MARGIN, y, SIDE - MARGIN, y + height + below + 6), fill=DEEP)
        self.lines((MARGIN + 10, y + 3), [text], size=BAND, colour=WHITE, width=room, bold=True)
        if one_line:
            self.text((SIDE - MARGIN - 10, y + 3 + height / 2), aside, SMALL, INK, "rm")
        else:
            self.lines((MARGIN + 10, y + 3 + height), [aside], size=SMALL, width=room)
        return y + height + below + 6

    def paste(self, picture: npt.NDArray[np.uint8], corner: tuple[int, int]) -> None:
        self.image.paste(Image.fromarray(picture), corner)


def line_height(size: int) -> float:
    return round(size * 1.2)


def fitted(picture: tuple[int, int], spacing: tuple[float, float], room: tuple[float, float]) -> tuple[int, int]:
    """(width, height) in pixels of a picture of (rows, columns) with square millimetres, as large as `room` allows."""
    height, width = picture[0] * spacing[0], picture[1] * spacing[1]
    scale = min(room[0] / width, room[1] / height)
    return max(1, int(width * scale)), max(1, int(height * scale))


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


def outlined(
    picture: npt.NDArray[np.uint8], inside: BoolArray, colour: Colour, width: int = 1
) -> npt.NDArray[np.uint8]:
    """`picture` with a line of `width` pixels around `inside`: it hides nothing of what it surrounds."""
    edge = ndimage.binary_dilation(inside, iterations=width) & ~inside
    return np.where(edge[..., None], np.array(colour, np.uint8), picture)
