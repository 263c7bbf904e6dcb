"""What all pages have in common: their head, and text that flows over as many of them as it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

from ..findings import Findings
from . import wording
from .drawing import (
    AMBER,
    BODY,
    BOTTOM,
    INK,
    MARGIN,
    MUTED,
    SIDE,
    SMALL,
    STEEL,
    TOP,
    WARNING,
    WIDTH,
    Colour,
    Page,
    line_height,
)
from .sr_template import Vocabulary
from .typeface import Typeface

INDENT = 14  # of text on a panel
MOST_KEPT = 4  # lines of a paragraph that stay together on one page


@dataclass(frozen=True, slots=True)
class Label:
    """What identifies the result on a page: no name, nothing that the viewer's own overlay shows better."""

    result: str
    study_date: str  # YYYY-MM-DD


@dataclass(frozen=True, slots=True)
class Subject:
    """What the pages of one object are about, and in which words and letters."""

    findings: Findings
    label: Label
    vocabulary: Vocabulary
    typeface: Typeface
    notices: tuple[str, ...] = ()  # what a reader must see before anything else: which result this one replaces

    def say(self, key: str, **values: object) -> str:
        return self.vocabulary.say(key, **values)


@dataclass(frozen=True, slots=True)
class Block:
    """Paragraphs of one style. A heading stands above them, a lead at the start of the first."""

    texts: Sequence[str]
    heading: str = ""
    lead: str = ""
    size: int = SMALL
    colour: Colour = INK
    heading_colour: Colour = STEEL
    bold: bool = False
    panel: Colour | None = None  # behind the text, with a bar in the colour of the heading at its left
    gap: float = 6.0  # above


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    size: int
    colour: Colour
    bold: bool
    gap: float
    block: Block
    lead: str = ""
    kept: bool = False  # on one page with the next line


# ------------------------------------------------------------------ head
def opened(subject: Subject) -> tuple[Page, float]:
    """A page that says what kind of object this is, of which weights, which result and of which exam; the y below."""
    findings, vocabulary, label = subject.findings, subject.vocabulary, subject.label
    result = subject.say("marking.result", id=label.result, date=label.study_date)
    page = Page(subject.typeface)
    y = page.band(wording.band(findings, vocabulary), result, TOP)
    marks = f"{wording.use(findings, vocabulary)} {wording.weights(findings, vocabulary)}"
    return page, page.lines((MARGIN, y + 4), [marks], size=SMALL, colour=MUTED)


def notices(page: Page, y: float, texts: Sequence[str]) -> float:
    """Amber on a panel: what comes before everything else. The y below."""
    blocks = [Block([text], size=BODY, colour=AMBER, heading_colour=AMBER, bold=True, panel=WARNING) for text in texts]
    for n, line in enumerate(_lines(page.typeface, blocks)):
        y = _draw(page, y, line, joined=n > 0)
    return y + 2 if texts else y


# ------------------------------------------------------------------ flow
def height_of(typeface: Typeface, blocks: Sequence[Block]) -> float:
    """What the blocks take, all on one page."""
    return sum(line.gap + line_height(line.size) for line in _lines(typeface, blocks))


def flow(subject: Subject, page: Page, y: float, floor: float, blocks: Sequence[Block]) -> list[Page]:
    """Blocks below each other, line by line, on as many pages as they take; a page that goes on says where."""
    pages = [page]
    lines = _lines(page.typeface, blocks)
    before: Block | None = None
    for n, line in enumerate(lines):
        after = [later for _, later in takewhile(lambda pair: pair[0].kept, pairwise(lines[n:]))]
        following = sum(line_height(later.size) for later in after)
        rest = line_height(SMALL) if n + 1 + len(after) < len(lines) else 0  # room for saying that it goes on
        if y + line.gap + line_height(line.size) + following > floor - rest:
            on = subject.say("picture.continued", frame=len(pages) + 1)
            pages[-1].text((SIDE - MARGIN, floor), on, SMALL, AMBER, "rd")
            page, y = opened(subject)
            pages.append(page)
            y, floor, before = y + 8, BOTTOM, None
        joined = before is not None and before.panel is not None and before.panel == line.block.panel
        y = _draw(pages[-1], y, line, joined=joined)
        before = line.block
    return pages


def _lines(typeface: Typeface, blocks: Sequence[Block]) -> list[_Line]:
    lines = []
    for block in blocks:
        if not block.texts:
            continue
        width = WIDTH - 2 * INDENT if block.panel else WIDTH
        gap = block.gap
        if block.heading:
            for text in typeface.wrapped(block.heading, BODY, width, bold=True):
                lines.append(_Line(text, BODY, block.heading_colour, True, gap, block, kept=True))
                gap = 0.0
        for n, text in enumerate(block.texts):
            lead = f"{block.lead}: " if block.lead and n == 0 else ""
            paragraph = typeface.wrapped(lead + text, block.size, width, block.bold)
            for m, whole in enumerate(paragraph):
                mine = lead if lead and whole.startswith(lead) else ""
                kept = m + 1 < len(paragraph) <= MOST_KEPT
                rest = whole.removeprefix(mine)
                lines.append(_Line(rest, block.size, block.colour, block.bold, gap, block, lead=mine, kept=kept))
                gap, lead = 0.0, ""
    return lines


def _draw(page: Page, y: float, line: _Line, *, joined: bool) -> float:
    """One line, on its panel where it has one; a joined panel goes on without a gap. The y below."""
    top = y + line.gap
    below = top + line_height(line.size)
    x: float = MARGIN
    if line.block.panel:
        upper = y if joined else top - 3
        page.pen.rectangle((MARGIN, upper, SIDE - MARGIN, below + 2), fill=line.block.panel)
        page.pen.rectangle((MARGIN, upper, MARGIN + 4, below + 2), fill=line.block.heading_colour)
        x += INDENT
    if line.lead:
        x = page.text((x, top), line.lead, line.size, line.block.heading_colour)
    page.text((x, top), line.text, line.size, line.colour, bold=line.bold)
    return below
