"""The frames of the secondary capture, each drawn for a tired reader: a summary first, then where, then why.

Frame 1 says what kind of object this is, where the model looked, the score on its scale, the advice in words, the
inputs and their quality, and what was never evaluated. What does not fit goes on to the next page; nothing is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from ..findings import Findings
from ..volume import FloatArray, Volume
from . import planes, wording
from .drawing import (
    AMBER,
    BODY,
    BOTTOM,
    DEEP,
    HEADING,
    INK,
    MARGIN,
    MUTED,
    SIDE,
    SMALL,
    STEEL,
    TOP,
    WIDTH,
    Colour,
    Page,
    coloured,
    fitted,
    font,
    heat,
    heated,
    height_of,
    line_height,
    outlined,
    resized,
    wrapped,
)
from .planes import BoolArray
from .sr_template import Vocabulary

CROP_MM = 12.0  # shown around the analysed area
CONTOUR_AT = 0.5  # share of the highest saliency
MOST_SLICES = 12


@dataclass(frozen=True, slots=True)
class Label:
    """What identifies the result on a page: no name, nothing that the viewer's own overlay shows better."""

    result: str
    study_date: str  # YYYY-MM-DD


@dataclass(frozen=True, slots=True)
class Block:
    """Lines under a heading that stay in one style."""

    heading: str
    texts: Sequence[str]
    size: int = SMALL
    colour: Colour = INK


# ------------------------------------------------------------------ summary
def summary(
    findings: Findings,
    label: Label,
    vocabulary: Vocabulary,
    dce: Volume | None,
    mask: BoolArray | None,
    *,
    saliency_follows: bool,
) -> list[Page]:
    """Frame 1, and what does not fit on it. Without saliency frames to follow the page says why."""
    say = vocabulary.say
    page = Page()
    y = _top(page, findings, label, vocabulary)
    if dce is not None:
        y = _where(page, y + 6, findings, vocabulary, dce, mask)
    y = _scale(page, y + 6, findings, vocabulary)
    footer = [say("limits.no_comparison")]
    floor = BOTTOM - height_of(footer, SMALL)
    page.lines((MARGIN, floor), footer, size=SMALL, colour=STEEL)
    heading = say("advice.heading")
    if findings.advice is not None and findings.advice.marked_demonstration:
        heading += f": {say('marking.demonstration')}"
    *_, advice = wording.advice(findings, vocabulary)  # the mark of a demonstration stands in the heading
    blocks = [
        Block(heading, [advice], BODY),
        Block("", [f"- {reason}" for reason in wording.advice_reasons(findings)]),
        Block("", wording.exclusions(findings, vocabulary), colour=MUTED),
        Block("", [f"{say('quality.heading')}: {' '.join(wording.quality(findings, vocabulary))}"]),
    ]
    if dce is None:  # otherwise the inputs stand beside the picture
        blocks.append(Block(say("inputs.heading"), wording.inputs(findings, vocabulary)))
    if not saliency_follows:
        blocks.append(Block("", [wording.no_saliency(findings, vocabulary)]))
    return _flow(page, y + 4, floor - 2, blocks, findings, label, vocabulary)


def refusal(findings: Findings, label: Label, vocabulary: Vocabulary) -> list[Page]:
    """The page of a study without result: that it is none, why, and what would help."""
    say = vocabulary.say
    page = Page()
    y = _top(page, findings, label, vocabulary)
    page.text((MARGIN, y + 26), say("refusal.heading"), 54)
    y = page.lines((MARGIN, y + 104), [say("refusal.not_a_result")], size=22, colour=STEEL)
    blocks = [
        Block(say("refusal.reasons"), wording.reasons_of_refusal(findings, vocabulary), HEADING),
        Block(say("refusal.help"), wording.remedies(findings, vocabulary), HEADING),
    ]
    return _flow(page, y + 16, BOTTOM, blocks, findings, label, vocabulary)


def _top(page: Page, findings: Findings, label: Label, vocabulary: Vocabulary) -> float:
    """What kind of object this is, in every frame: the band, the weights, the result and the exam it belongs to."""
    y = page.band(wording.band(findings, vocabulary), TOP)
    identity = vocabulary.say("marking.result", id=label.result, date=label.study_date)
    marks = [f"{wording.use(findings, vocabulary)} {wording.weights(findings, vocabulary)} {identity}"]
    return page.lines((MARGIN, y + 4), marks, size=SMALL, colour=MUTED)


def _where(
    page: Page, y: float, findings: Findings, vocabulary: Vocabulary, dce: Volume, mask: BoolArray | None
) -> float:
    """Left the axial projection with the analysed area, right what was and was not looked at; the y below both."""
    say, room = vocabulary.say, (392, 165)
    axes = planes.patient_axes(dce.affine)
    whole = planes.projection(dce, axes)
    inside = np.zeros(whole.shape, bool) if mask is None else np.asarray(axes.turn(mask).any(axis=2).T, bool)
    spacing = planes.picture_spacing(axes, through=2)
    r0, r1, c0, c1 = planes.around(inside, spacing, CROP_MM)
    size = fitted((r1 - r0, c1 - c0), spacing, room)
    limits = planes.window(planes.subtraction(dce), mask, 40, 99.9)
    picture = coloured(planes.grey(resized(whole[r0:r1, c0:c1], size), limits))
    picture = outlined(picture, resized(inside[r0:r1, c0:c1].astype(float), size) > 0.5, STEEL)
    left, top = MARGIN + (room[0] - size[0]) // 2, round(y) + line_height(SMALL)
    page.text((MARGIN, y), say("picture.mip"), SMALL, MUTED)
    page.paste(picture, (left, round(top)))
    sides = ((left + 6, "picture.right", "la"), (left + size[0] - 6, "picture.left", "ra"))
    for x, letter, anchor in sides if findings.sides_known else ():
        page.text((x, top + 4), say(letter), HEADING, INK, anchor)
    seen = say("picture.no_mask") if mask is None else say("picture.outline")
    beside, width = MARGIN + room[0] + 14, WIDTH - room[0] - 14
    below = page.lines((beside, y), [seen], size=SMALL, colour=STEEL, width=width)
    below = page.lines((beside, below), [say("picture.not_covered")], size=SMALL, colour=MUTED, width=width)
    page.text((beside, below + 6), say("inputs.heading"), BODY, STEEL)
    inputs = wording.inputs(findings, vocabulary)
    below = page.lines((beside, below + 6 + line_height(BODY)), inputs, size=SMALL, width=width)
    return max(below, top + size[1])


def _scale(page: Page, y: float, findings: Findings, vocabulary: Vocabulary) -> float:
    """The score on its scale of 0 to 100 with the operating point; one colour over the whole length: no verdict."""
    found, say = findings.score, vocabulary.say
    if found is None:
        return y
    page.text((MARGIN, y), f"{say('score.heading')}. {say('score.scope')}", SMALL, MUTED)
    y = page.lines((MARGIN, y + line_height(SMALL)), [wording.score(findings, vocabulary)], size=22)
    bar, share = y + 9, found.score
    page.pen.rectangle((MARGIN, bar, SIDE - MARGIN, bar + 12), fill=DEEP)
    at = MARGIN + share * WIDTH
    page.pen.polygon([(at, bar + 13), (at - 9, bar - 8), (at + 9, bar - 8)], fill=INK)
    ends = ((MARGIN, "score.low_end", "la"), (SIDE - MARGIN, "score.high_end", "ra"))
    below, point = bar + 18, found.operating_point
    if point is not None:
        x = MARGIN + point.threshold * WIDTH
        page.pen.line((x, bar - 4, x, bar + 20), fill=AMBER, width=3)
        name = say("score.operating_point_name", threshold=wording.out_of_100(point.threshold, wording.decimals(found)))
        left = min(max(x + 6, MARGIN + 20), SIDE - MARGIN - 240)
        page.text((left, below), name, SMALL, AMBER)
    for x, word, anchor in ends:
        page.text((x, below), say(word), SMALL, MUTED, anchor)
    lines = [" ".join(wording.operating_point(found, vocabulary))]
    return page.lines((MARGIN, below + line_height(SMALL)), lines, size=SMALL, colour=MUTED)


def _flow(
    page: Page,
    y: float,
    floor: float,
    blocks: Sequence[Block],
    findings: Findings,
    label: Label,
    vocabulary: Vocabulary,
) -> list[Page]:
    """Blocks below each other, line by line, on as many pages as they take; a page that goes on says where."""
    pages = [page]
    lines = [line for block in blocks for line in _lines(block)]
    for n, (line, size, colour, gap, keep) in enumerate(lines):
        y += gap
        rest = line_height(SMALL) if n + 1 < len(lines) else 0  # room for saying that it goes on
        if y + line_height(size) * (1 + keep) > floor - rest:
            on = vocabulary.say("picture.continued", frame=len(pages) + 1)
            pages[-1].text((SIDE - MARGIN, floor), on, SMALL, AMBER, "rd")
            pages.append(Page())
            y, floor = _top(pages[-1], findings, label, vocabulary) + 10, BOTTOM
        y = pages[-1].lines((MARGIN, y), [line], size=size, colour=colour)
    return pages


def _lines(block: Block) -> list[tuple[str, int, Colour, float, int]]:
    """(Line, size, colour, gap above, lines to keep with it)"""
    if not block.texts:
        return []
    head = [(block.heading, BODY, STEEL, 5.0, 1)] if block.heading else []
    body = [
        (line, block.size, block.colour, 0.0, 0) for text in block.texts for line in wrapped(text, block.size, WIDTH)
    ]
    return head + body


# ------------------------------------------------------------------ where: salient slices
def slices(
    findings: Findings,
    label: Label,
    vocabulary: Vocabulary,
    dce: Volume,
    saliency: FloatArray,
    mask: BoolArray | None,
) -> list[Page]:
    """Salient slices in the acquired plane, in acquired order; none where the saliency is zero everywhere."""
    axes = planes.patient_axes(dce.affine)
    difference = planes.subtraction(dce)
    limits = planes.window(difference, mask, 5, 99.7)
    turned = axes.turn(difference)
    share = axes.turn(np.maximum(saliency, 0) / max(float(saliency.max()), 1e-12))
    inside = np.ones(turned.shape, bool) if mask is None or not mask.any() else np.asarray(axes.turn(mask), bool)
    spacing = planes.picture_spacing(axes, axes.through)
    shown = np.asarray(inside.any(axis=axes.through)).T
    crop = planes.around(shown if axes.through == 2 else shown[::-1], spacing, CROP_MM)
    count = dce.voxels.shape[3]
    pages = []
    for k in planes.salient_slices(saliency, float(dce.spacing[2]), MOST_SLICES):
        index = axes.turned_index(k, count)
        picture, heat_share = (np.asarray(planes.flat(a, axes.through, index), float) for a in (turned, share))
        page = Page()
        y = _top(page, findings, label, vocabulary) + 6
        where = vocabulary.say("picture.slice", number=k + 1, slices=count, position=planes.position(dce, axes, k))
        y = page.lines((MARGIN, y), [where], size=BODY)
        y = page.lines((MARGIN, y), [vocabulary.say("picture.subtraction")], size=SMALL, colour=MUTED)
        floor = _legend(page, vocabulary)
        _draw_slice(page, (y + 6, floor - 8), picture, heat_share, crop, spacing, limits, planes.EDGES[axes.through])
        pages.append(page)
    return pages


def _draw_slice(
    page: Page,
    between: tuple[float, float],
    picture: FloatArray,
    share: FloatArray,
    crop: tuple[int, int, int, int],
    spacing: tuple[float, float],
    limits: tuple[float, float],
    edges: tuple[str, str, str, str],
) -> None:
    """One slice with its saliency, a thin contour at half of the highest, and a letter at each edge."""
    r0, r1, c0, c1 = crop
    gap = 24  # for the letters
    top, bottom = between
    room = (WIDTH - 2 * gap, round(bottom - top) - 2 * gap)
    size = fitted((r1 - r0, c1 - c0), spacing, room)
    amount = resized(share[r0:r1, c0:c1], size)
    shown = heated(coloured(planes.grey(resized(picture[r0:r1, c0:c1], size), limits)), amount)
    shown = outlined(shown, amount >= CONTOUR_AT, INK)
    left, upper = (SIDE - size[0]) // 2, round(top) + gap + (room[1] - size[1]) // 2
    page.paste(shown, (left, upper))
    right, lower = left + size[0], upper + size[1]
    middle = ((left + right) / 2, (upper + lower) / 2)
    for xy, letter, anchor in (
        ((left - 6, middle[1]), edges[0], "rm"),
        ((right + 6, middle[1]), edges[1], "lm"),
        ((middle[0], upper - 4), edges[2], "md"),
        ((middle[0], lower + 4), edges[3], "ma"),
    ):
        page.text(xy, letter, HEADING, INK, anchor)


def _legend(page: Page, vocabulary: Vocabulary) -> float:
    """The colour scale and what it does not mean; the y above it."""
    note = [vocabulary.say("limits.saliency")]
    top = BOTTOM - height_of(note, SMALL) - line_height(SMALL) - 4
    page.lines((MARGIN, top + line_height(SMALL) + 4), note, size=SMALL, colour=MUTED)
    ramp = np.repeat(np.linspace(0, 1, 160)[None], 12, axis=0)
    colour, opacity = heat(ramp)
    names = [vocabulary.say(f"picture.{key}") for key in ("legend", "legend_low", "legend_high")]
    x: float = MARGIN
    page.text((x, top), f"{names[0]}: {names[1]}", SMALL)
    x = page.pen.textlength(f"{names[0]}: {names[1]} ", font=font(SMALL)) + MARGIN + 4
    page.paste(np.asarray(colour * opacity + 40 * (1 - opacity), np.uint8), (round(x), round(top) + 3))
    page.text((x + 168, top), names[2], SMALL)
    return top


# ------------------------------------------------------------------ why: contributions
def contributions(findings: Findings, label: Label, vocabulary: Vocabulary) -> Page:
    """A waterfall from the score with no sequence to the score: what each sequence moved."""
    found, say = findings.score, vocabulary.say
    assert found is not None
    page = Page()
    y = _top(page, findings, label, vocabulary) + 14
    y = page.lines((MARGIN, y), [say("contributions.heading")], size=24) + 20
    moved = wording.contributions(findings, vocabulary)
    levels = [100 * found.baseline]
    for _, points in moved:
        levels.append(levels[-1] + points)
    low, high = min(0.0, *levels), max(100.0, *levels)
    left, width = MARGIN + 190, WIDTH - 190 - 110

    def x(points: float) -> float:
        return left + (points - low) / (high - low) * width

    def row(name: str, start: float, end: float, value: str, colour: Colour) -> None:
        page.text((left - 14, y + 17), name, BODY, INK, "rm")
        page.pen.rectangle((min(x(start), x(end)), y, max(x(start), x(end), x(start) + 2), y + 34), fill=colour)
        page.text((SIDE - MARGIN, y + 17), value, BODY, INK, "rm")

    row(say("contributions.baseline"), 0, levels[0], f"{levels[0]:.1f}", DEEP)
    for (name, points), start in zip(moved, levels, strict=False):
        y += 52
        row(name, start, start + points, f"{points:+.1f}", STEEL if points >= 0 else MUTED)
        page.pen.line((x(start), y - 18, x(start), y), fill=MUTED)
    y += 52
    row(
        say("contributions.total"), 0, 100 * found.score, wording.out_of_100(found.score, wording.decimals(found)), DEEP
    )
    if found.operating_point is not None:
        at = x(100 * found.operating_point.threshold)
        page.pen.line((at, y - 4, at, y + 44), fill=AMBER, width=3)
        text = wording.out_of_100(found.operating_point.threshold, wording.decimals(found))
        page.text((at + 8, y + 38), say("score.operating_point_name", threshold=text), SMALL, AMBER)
    page.lines((MARGIN, y + 74), [say("contributions.explained"), say("score.scope")], size=SMALL, colour=MUTED)
    return page


def summary_png(ds: Dataset, path: Path) -> None:
    """Frame 1 of a secondary capture `ds` as a PNG file, for people without a viewer at hand."""
    size = ds.Rows * ds.Columns * 3
    frame = np.frombuffer(ds.PixelData[:size], np.uint8).reshape(ds.Rows, ds.Columns, 3)
    Image.fromarray(frame).save(path, format="PNG")
