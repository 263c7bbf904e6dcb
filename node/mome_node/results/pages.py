"""The pages that a reader opens first: the summary of a result, a refusal, a withdrawal.

The summary is read in five seconds from top to bottom: what kind of object this is, where the model looked, the score
on its scale, the advice in words, what it rests on, and what was never evaluated. What does not fit goes on to the next
page; nothing is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from ..findings import InputUsed
from ..volume import Volume
from . import planes, wording
from .drawing import (
    AMBER,
    BODY,
    BOTTOM,
    HEADING,
    HUGE,
    INK,
    LARGE,
    MARGIN,
    MUTED,
    PANEL,
    SMALL,
    STEEL,
    TOP,
    WHITE,
    WIDTH,
    Page,
    coloured,
    fitted,
    line_height,
    outlined,
    resized,
)
from .planes import BoolArray
from .score_pages import scale, scale_height
from .sheets import Block, Label, Subject, flow, height_of, notices, opened
from .sr_template import Vocabulary
from .typeface import Typeface

CROP_MM = 12.0  # shown around the analysed area
PICTURE_WIDTH = 344
PICTURE_HEIGHTS = (106.0, 210.0)  # what the picture may shrink to, or grow to where there are few words
SMALLEST_ROW = PICTURE_HEIGHTS[0] + 20  # with the line above it
GAPS = 14  # between the parts of the page
SHORT_ADVICE = 2  # lines up to which the advice is said in large letters


# ------------------------------------------------------------------ summary
def summary(subject: Subject, dce: Volume | None, mask: BoolArray | None) -> list[Page]:
    """Frame 1, and what does not fit on it."""
    page, y = opened(subject)
    y = notices(page, y + 4, [*subject.notices, *_sides(subject)])
    footer = [subject.say("limits.no_comparison")]
    floor = BOTTOM - page.height_of(footer, SMALL)
    page.lines((MARGIN, floor), footer, size=SMALL, colour=STEEL)
    blocks = [*_advice(subject), *_inputs(subject), *_checks(subject)]
    room = floor - y - scale_height(page, subject) - height_of(subject.typeface, blocks) - GAPS
    said = [" ".join(_evidence(subject))]
    if room - page.height_of(said, SMALL) < SMALLEST_ROW:
        # Beside a low score stands how many cancers scored as low; less urgent words go on to the next page.
        said = _evidence(subject)[:1] if subject.findings.below else []
    y = _where(page, y + 6, subject, dce, mask, height=room - page.height_of(said, SMALL))
    y = scale(page, y + 4, subject)
    y = page.lines((MARGIN, y), said, size=SMALL, colour=MUTED)
    return flow(subject, page, y + 2, floor - 2, blocks)


def _sides(subject: Subject) -> list[str]:
    """Where left and right cannot be trusted, that comes before everything else."""
    return [] if subject.findings.sides_known else [wording.no_saliency(subject.findings, subject.vocabulary)]


def _advice(subject: Subject) -> list[Block]:
    """The advice on a panel, large where it is short, with what the headers cannot know below it."""
    findings, vocabulary = subject.findings, subject.vocabulary
    given = findings.advice
    heading, colour = subject.say("advice.heading"), STEEL
    if given is not None and given.marked_demonstration:
        heading, colour = f"{heading}: {subject.say('marking.demonstration')}", AMBER
    *_, text = wording.advice(findings, vocabulary)  # the mark of a demonstration stands in the heading
    short = len(subject.typeface.wrapped(text, HEADING, WIDTH - 28, bold=True)) <= SHORT_ADVICE
    said = Block([text], size=HEADING if short else BODY, bold=short, colour=WHITE, panel=PANEL, heading_colour=colour)
    blocks = [replace(said, heading=heading)]
    if given is not None and given.value == "WITHHELD":
        reasons = [f"\N{EN DASH} {reason}" for reason in wording.advice_reasons(findings)]
        blocks.append(replace(said, texts=reasons, size=BODY, bold=False, colour=INK, gap=0))
    exclusions = [" ".join(wording.exclusions(findings, vocabulary))]
    return [*blocks, replace(said, texts=exclusions, size=SMALL, bold=False, colour=MUTED, gap=2)]


def _inputs(subject: Subject) -> list[Block]:
    """What the score rests on, in short; the names of the series stand on the last page. What is missing is amber."""
    findings, vocabulary = subject.findings, subject.vocabulary
    short = replace(findings, used=tuple(map(_in_short, findings.used)))
    lines = wording.inputs(short, vocabulary)
    used, missing = lines[: len(findings.used)], lines[len(findings.used) :]
    return [
        Block([" \N{MIDDLE DOT} ".join(used)] if used else [], lead=subject.say("inputs.heading")),
        Block(missing, colour=AMBER, gap=0),
    ]


def _checks(subject: Subject) -> list[Block]:
    """What the quality checks found, without what stands among the reasons of the advice or the inputs already."""
    findings, vocabulary = subject.findings, subject.vocabulary
    said = "\n".join([*wording.advice_reasons(findings), *wording.inputs(findings, vocabulary)])
    found = [line for line in wording.quality(findings, vocabulary) if line not in said]
    problems = any(problem.severity != "info" for problem in findings.problems)
    lead, colour = subject.say("quality.heading"), AMBER if problems else INK
    return [Block([" ".join(found)], lead=lead, colour=colour, gap=0)] if found else []


def _in_short(used: InputUsed) -> InputUsed:
    """Without the name of its series, where phases, b-value or contrast tell what it is."""
    told = used.phases or used.phase_seconds or used.b_value is not None or used.fat_suppressed is not None
    return replace(used, description="") if told else used


def _evidence(subject: Subject) -> list[str]:
    """How the set that the operating point was frozen on scored, and what the score is not of: where there is room,
    for the last page says both in full."""
    found = subject.findings.score
    if found is None:
        return []
    frozen_on, *counts = wording.operating_point(found, subject.vocabulary)
    return [counts[0] if counts else frozen_on, subject.say("score.scope")]


def _where(
    page: Page, y: float, subject: Subject, dce: Volume | None, mask: BoolArray | None, *, height: float
) -> float:
    """Left the axial projection with the analysed area, right the score in words; the y below both."""
    beside, width = (float(MARGIN), float(WIDTH)) if dce is None else (MARGIN + PICTURE_WIDTH + 16.0, 0.0)
    width = width or WIDTH - PICTURE_WIDTH - 16
    lowest, highest = PICTURE_HEIGHTS
    below = y
    if dce is not None:
        page.text((MARGIN, y), subject.say("picture.mip"), SMALL, MUTED)
        room = (float(PICTURE_WIDTH), min(max(height - line_height(SMALL), lowest), highest))
        below = _projection(page, y + line_height(SMALL), subject, dce, mask, room)
    y = page.lines(
        (beside, y),
        [wording.score_heading(subject.findings, subject.vocabulary)],
        size=SMALL,
        colour=MUTED,
        width=width,
    )
    said = wording.score(subject.findings, subject.vocabulary)
    y = page.lines((beside, y + 2), [said], size=LARGE, colour=WHITE, width=width, bold=True) + 4
    if dce is not None:
        seen = subject.say("picture.no_mask" if mask is None else "picture.outline").rstrip(".")
        covered = f"{seen}. {subject.say('picture.not_covered')}"
        y = page.lines((beside, y), [covered], size=SMALL, colour=STEEL, width=width)
    return max(y, below)


def _projection(
    page: Page, top: float, subject: Subject, dce: Volume, mask: BoolArray | None, room: tuple[float, float]
) -> float:
    """The axial projection of the subtraction, the patient's right on the left; the y below it."""
    turned, (x_mm, y_mm, _) = planes.upright(planes.subtraction(dce), dce.affine)
    whole, spacing = np.asarray(turned.max(axis=2).T), (y_mm, x_mm)
    inside = np.zeros(whole.shape, bool)
    if mask is not None:
        inside = np.asarray((planes.upright(mask.astype(np.float32), dce.affine)[0] > 0.5).any(axis=2).T)
    r0, r1, c0, c1 = planes.around(inside, spacing, CROP_MM)
    size = fitted((r1 - r0, c1 - c0), spacing, room)
    limits = planes.window(planes.subtraction(dce), mask, 40, 99.9)
    picture = coloured(planes.grey(resized(whole[r0:r1, c0:c1], size), limits))
    picture = outlined(picture, resized(inside[r0:r1, c0:c1].astype(float), size) > 0.5, STEEL, width=2)
    left = MARGIN + (round(room[0]) - size[0]) // 2
    page.paste(picture, (left, round(top)))
    sides = ((left + 7, "picture.right", "la"), (left + size[0] - 7, "picture.left", "ra"))
    for x, letter, anchor in sides if subject.findings.sides_known else ():
        page.text((x, top + 3), subject.say(letter), HEADING, INK, anchor, bold=True, halo=True)
    return top + size[1]


# ------------------------------------------------------------------ no result
def refusal(subject: Subject) -> list[Page]:
    """The page of a study without result: that it is none, why, and what would help."""
    page, y = opened(subject)
    y = notices(page, y + 4, subject.notices)
    y = page.lines((MARGIN, y + 20), [subject.say("refusal.heading")], size=HUGE, colour=WHITE, bold=True)
    y = page.lines((MARGIN, y + 6), [subject.say("refusal.not_a_result")], size=HEADING, colour=STEEL)
    why = wording.reasons_of_refusal(subject.findings, subject.vocabulary)
    helps = wording.remedies(subject.findings, subject.vocabulary)
    return flow(subject, page, y + 10, BOTTOM, [
        Block(why, subject.say("refusal.reasons"), size=HEADING, gap=10),
        Block(helps, subject.say("refusal.help"), size=HEADING, gap=16),
    ])  # fmt: skip


def withdrawn(
    notice: Sequence[str], label: Label, vocabulary: Vocabulary, typeface: Typeface | None = None
) -> list[Page]:
    """The page that says that the result of this `label` no longer holds. `notice`: when it was withdrawn, and why."""
    page, say = Page(typeface or Typeface()), vocabulary.say
    y = page.band(say("marking.band_clinical"), say("marking.result", id=label.result, date=label.study_date), TOP)
    y = page.lines((MARGIN, y + 24), [say("withdrawn.heading")], size=HUGE, colour=AMBER, bold=True)
    y = page.lines((MARGIN, y + 14), notice, size=HEADING, colour=WHITE)
    notices(page, y + 18, [say("withdrawn.do_not_use")])
    return [page]


def summary_png(ds: Dataset, path: Path) -> None:
    """Frame 1 of a secondary capture `ds` as a PNG file, for people without a viewer at hand."""
    size = ds.Rows * ds.Columns * 3
    frame = np.frombuffer(ds.PixelData[:size], np.uint8).reshape(ds.Rows, ds.Columns, 3)
    Image.fromarray(frame).save(path, format="PNG")
