"""Where the score responds: each salient slice as it was measured, and again under the colours of the saliency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..volume import FloatArray, Volume
from . import planes
from .drawing import (
    BODY,
    BOTTOM,
    HEADING,
    INK,
    MARGIN,
    MUTED,
    SIDE,
    SMALL,
    WIDTH,
    Page,
    coloured,
    fitted,
    heat,
    heated,
    line_height,
    outlined,
    resized,
)
from .pages import CROP_MM
from .planes import BoolArray
from .sheets import Subject, opened

CONTOUR_AT = 0.5  # share of the highest saliency
MOST_SLICES = 6
GAP = 10  # between the two pictures of a page
SIDES_FROM_MM = 20.0  # nearer to the middle a sagittal slice is of neither side


@dataclass(frozen=True, slots=True)
class _Hanging:
    """How every slice of one volume is shown: which part, how wide, under which grey window and letters."""

    crop: tuple[int, int, int, int]
    spacing: tuple[float, float]
    limits: tuple[float, float]
    edges: tuple[str, str, str, str]


def slices(subject: Subject, dce: Volume, saliency: FloatArray, mask: BoolArray | None) -> list[Page]:
    """Salient slices in the acquired plane, in acquired order; none where the saliency is zero everywhere."""
    axes = planes.patient_axes(dce.affine)
    difference = planes.subtraction(dce)
    turned = axes.turn(difference)
    share = axes.turn(np.maximum(saliency, 0) / max(float(saliency.max()), 1e-12))
    inside = np.ones(turned.shape, bool) if mask is None or not mask.any() else np.asarray(axes.turn(mask), bool)
    spacing = planes.picture_spacing(axes, axes.through)
    shown = np.asarray(inside.any(axis=axes.through)).T
    hanging = _Hanging(
        planes.around(shown if axes.through == 2 else shown[::-1], spacing, CROP_MM),
        spacing,
        planes.window(difference, mask, 5, 99.7),
        planes.edges(dce.affine),
    )
    hottest = int(saliency.max(axis=(0, 1)).argmax())
    pages = []
    for k in planes.salient_slices(saliency, float(dce.spacing[2]), MOST_SLICES):
        index = axes.turned_index(k, dce.voxels.shape[3])
        picture, heat_share = (np.asarray(planes.flat(a, axes.through, index), float) for a in (turned, share))
        page, y = opened(subject)
        y = _title(page, y + 4, subject, dce, k, strongest=k == hottest)
        floor = _legend(page, subject)
        side = planes.side(dce, axes, k, SIDES_FROM_MM)
        corner = subject.say(f"picture.{side}") if side else ""
        _draw(page, (y, floor - 6), picture, heat_share, hanging, subject, corner)
        pages.append(page)
    return pages


def _title(page: Page, y: float, subject: Subject, dce: Volume, k: int, *, strongest: bool) -> float:
    """Which slice this is, and where it lies."""
    axes = planes.patient_axes(dce.affine)
    where = subject.say(
        "picture.slice", number=k + 1, slices=dce.voxels.shape[3], position=planes.position(dce, axes, k)
    )
    tilt = planes.tilt(dce.affine)
    if tilt >= planes.TILT_SHOWN_FROM:
        where += f", {subject.say('picture.tilted', degrees=round(tilt))}"
    page.text((MARGIN, y), where, HEADING, bold=True)
    if strongest:
        page.text((SIDE - MARGIN, y + 3), subject.say("picture.strongest"), BODY, MUTED, "ra")
    return y + line_height(HEADING)


def _draw(
    page: Page,
    between: tuple[float, float],
    picture: FloatArray,
    share: FloatArray,
    hanging: _Hanging,
    subject: Subject,
    corner: str,
) -> None:
    """The slice without and with its saliency, side by side or one above the other: whichever is larger."""
    r0, r1, c0, c1 = hanging.crop
    top, height = between[0], between[1] - between[0]
    captions = [subject.say("picture.plain"), subject.say("picture.with_saliency")]
    half = (WIDTH - GAP) / 2
    narrow, broad = (max(page.height_of([c], SMALL, width) for c in captions) + 2 for width in (half, WIDTH))
    beside = fitted((r1 - r0, c1 - c0), hanging.spacing, (half, height - narrow))
    above = fitted((r1 - r0, c1 - c0), hanging.spacing, (WIDTH, (height - GAP) / 2 - broad))
    size = max(beside, above)
    plain = coloured(planes.grey(resized(picture[r0:r1, c0:c1], size), hanging.limits))
    amount = resized(share[r0:r1, c0:c1], size)
    hot = outlined(heated(plain, amount), amount >= CONTOUR_AT, INK)
    if size == above:
        places = [(float(MARGIN), top + n * (broad + size[1] + GAP)) for n in (0, 1)]
        width, caption = float(WIDTH), broad
    else:
        places = [(MARGIN + n * (half + GAP), top) for n in (0, 1)]
        width, caption = half, narrow
    for (x, y), shown, text in zip(places, (plain, hot), captions, strict=True):
        page.lines((x, y), [text], size=SMALL, colour=MUTED, width=width)
        _hang(page, (round(x + (width - size[0]) / 2), round(y + caption)), shown, hanging.edges, corner)


def _hang(
    page: Page, at: tuple[int, int], picture: npt.NDArray[np.uint8], edges: tuple[str, str, str, str], corner: str
) -> None:
    """A picture with the letter of each edge on it, and in the corner the side of a sagittal slice."""
    page.paste(picture, at)
    left, top = at
    right, bottom = left + picture.shape[1], top + picture.shape[0]
    middle = ((left + right) / 2, (top + bottom) / 2)
    for xy, letter, anchor in (
        ((left + 6, middle[1]), edges[0], "lm"),
        ((right - 6, middle[1]), edges[1], "rm"),
        ((middle[0], top + 2), edges[2], "ma"),
        ((middle[0], bottom - 2), edges[3], "md"),
        ((left + 6, top + 2), corner, "la"),
    ):
        page.text(xy, letter, HEADING, INK, anchor, bold=True, halo=True)


def _legend(page: Page, subject: Subject) -> float:
    """The colour scale and what it does not mean; the y above it."""
    note = [subject.say("limits.saliency")]
    top = BOTTOM - page.height_of(note, SMALL) - line_height(SMALL) - 4
    page.lines((MARGIN, top + line_height(SMALL) + 4), note, size=SMALL, colour=INK)
    names = [subject.say(f"picture.{key}") for key in ("legend", "legend_low", "legend_high")]
    x = page.text((MARGIN, top), f"{names[0]}: {names[1]}", SMALL) + 8
    colour, opacity = heat(np.repeat(np.linspace(0, 1, 160)[None], 14, axis=0))
    page.paste(np.asarray(colour * opacity + 40 * (1 - opacity), np.uint8), (round(x), round(top) + 4))
    page.text((x + 168, top), names[2], SMALL)
    return top
