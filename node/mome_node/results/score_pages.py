"""The score on its scale, and what moved it: numbers as lengths, in one colour that passes no verdict."""

from __future__ import annotations

from dataclasses import dataclass

from . import wording
from .drawing import (
    AMBER,
    BAR,
    BODY,
    BOTTOM,
    INK,
    LARGE,
    MARGIN,
    MUTED,
    PAPER,
    SIDE,
    SMALL,
    STEEL,
    WIDTH,
    Colour,
    Page,
    line_height,
)
from .sheets import Block, Subject, flow, height_of, opened

BAR_HEIGHT = 14
ROW, ROW_HEIGHT = 38, 28  # of the waterfall: from one bar to the next, and the bar itself


def scale_height(page: Page, subject: Subject) -> float:
    """What `scale` takes."""
    if subject.findings.score is None:
        return 0.0
    return 16 + BAR_HEIGHT + 4 + line_height(SMALL) * (1 if _labels(page, subject).one_row else 2)


def scale(page: Page, y: float, subject: Subject) -> float:
    """The score on its scale of 0 to 100 with the operating point and the spread over augmentation; the y below."""
    found = subject.findings.score
    if found is None:
        return y
    bar = y + 16
    page.pen.rectangle((MARGIN, bar, SIDE - MARGIN, bar + BAR_HEIGHT), fill=BAR)
    spread = subject.findings.measures.get("augmentation_spread")
    if spread is not None:
        _whisker(page, bar + BAR_HEIGHT / 2, found.score - spread, found.score + spread)
    if found.operating_point is not None:
        at = _x(found.operating_point.threshold)
        page.pen.rectangle((at - 2, bar - 6, at + 2, bar + BAR_HEIGHT + 6), fill=AMBER)
    at = _x(found.score)
    page.pen.polygon([(at, bar + BAR_HEIGHT), (at - 11, bar - 15), (at + 11, bar - 15)], fill=INK, outline=PAPER)
    labels, below = _labels(page, subject), bar + BAR_HEIGHT + 4
    page.text((MARGIN, below), subject.say("score.low_end"), SMALL, MUTED)
    page.text((SIDE - MARGIN, below), subject.say("score.high_end"), SMALL, MUTED, "ra")
    page.text((labels.point_at, below), labels.point, SMALL, AMBER)
    if labels.one_row:
        page.text((labels.end, below), labels.spread, SMALL, MUTED, "ra")
    else:
        page.text((MARGIN, below + line_height(SMALL)), labels.spread, SMALL, MUTED)
    return y + scale_height(page, subject)


@dataclass(frozen=True, slots=True)
class _Labels:
    """The words below the scale, and whether all of them have room in one row."""

    point: str
    point_at: float
    spread: str
    end: float  # where the row ends, before the number at the end of the scale
    one_row: bool


def _labels(page: Page, subject: Subject) -> _Labels:
    found, length = subject.findings.score, page.typeface.length
    assert found is not None
    name, left, end = "", MARGIN + 20.0, SIDE - MARGIN - length(subject.say("score.high_end"), SMALL) - 14
    if found.operating_point is not None:
        threshold = found.operating_point.threshold
        number = wording.out_of_100(threshold, wording.decimals(found))
        name = subject.say("score.operating_point_name", threshold=number)
        left = max(min(_x(threshold) + 8, end - length(name, SMALL)), left)
    spread = subject.findings.measures.get("augmentation_spread")
    words = "" if spread is None else subject.say("score.spread", points=f"{100 * spread:.1f}")
    free = end - left - length(name, SMALL) - 14
    return _Labels(name, left, words, end, one_row=length(words, SMALL) <= free)


def _x(share: float) -> float:
    return MARGIN + min(max(share, 0.0), 1.0) * WIDTH


def _whisker(page: Page, y: float, low: float, high: float) -> None:
    """A line from `low` to `high` with an upright end at either side."""
    page.pen.line((_x(low), y, _x(high), y), fill=PAPER, width=3)
    for end in (low, high):
        page.pen.line((_x(end), y - 6, _x(end), y + 6), fill=PAPER, width=3)


def contributions(subject: Subject, *, saliency_shown: bool) -> list[Page]:
    """What moved the score as a waterfall, and all that the score rests on, in full: on one page where both have room,
    else the waterfall last. Where no saliency was shown it says why."""
    found = subject.findings.score
    assert found is not None
    details = _details(subject)
    if not saliency_shown:
        details.append(Block([wording.no_saliency(subject.findings, subject.vocabulary)]))
    page, y = opened(subject)
    if not found.contributions:
        return flow(subject, page, y + 4, BOTTOM, details)
    y = _waterfall(page, y + 10, subject)
    explained = [subject.say("contributions.explained")]
    y = page.lines((MARGIN, y + 6), explained, size=SMALL, colour=MUTED)
    if y + height_of(subject.typeface, details) <= BOTTOM:
        return flow(subject, page, y, BOTTOM, details)
    before, top = opened(subject)
    return [*flow(subject, before, top + 4, BOTTOM, details), page]


def _details(subject: Subject) -> list[Block]:
    findings, vocabulary, found = subject.findings, subject.vocabulary, subject.findings.score
    assert found is not None
    given = findings.advice is not None and findings.advice.value != "WITHHELD"
    reasons = wording.advice_reasons(findings) if given else []
    return [
        Block(
            [" ".join(wording.operating_point(found, vocabulary)), *reasons],
            wording.score_heading(subject.findings, subject.vocabulary),
        ),
        Block(wording.inputs(findings, vocabulary), subject.say("inputs.heading")),
        Block([subject.say("score.scope")], colour=STEEL),
    ]


def _waterfall(page: Page, y: float, subject: Subject) -> float:
    """One bar for each sequence, from where the one before ended; the y below."""
    found, say = subject.findings.score, subject.say
    assert found is not None
    y = page.lines((MARGIN, y), [say("contributions.heading")], size=LARGE, bold=True) + 8
    moved = wording.contributions(subject.findings, subject.vocabulary)
    levels = [100 * found.baseline]
    for _, points in moved:
        levels.append(levels[-1] + points)
    low, high = min(0.0, *levels), max(100.0, *levels)
    total = wording.out_of_100(found.score, wording.decimals(found))
    names = [say("contributions.baseline"), *[name for name, _ in moved], say("contributions.total")]
    left = MARGIN + max(page.typeface.length(name, BODY) for name in names) + 14
    width = SIDE - MARGIN - 84 - left

    def x(points: float) -> float:
        return left + (points - low) / (high - low) * width

    def row(name: str, start: float, end: float, value: str, colour: Colour) -> None:
        page.text((left - 12, y + ROW_HEIGHT / 2), name, BODY, INK, "rm")
        ends = (min(x(start), x(end)), max(x(start), x(end), x(start) + 2))
        page.pen.rectangle((ends[0], y, ends[1], y + ROW_HEIGHT), fill=colour)
        page.text((SIDE - MARGIN, y + ROW_HEIGHT / 2), value, BODY, INK, "rm", bold=True)

    row(names[0], 0, levels[0], f"{levels[0]:.1f}", BAR)
    for (name, points), start in zip(moved, levels, strict=False):
        y += ROW
        row(name, start, start + points, f"{points:+.1f}", STEEL if points >= 0 else MUTED)
        page.pen.line((x(start), y - ROW + ROW_HEIGHT, x(start), y), fill=MUTED, width=2)
    y += ROW
    row(names[-1], 0, 100 * found.score, total, BAR)
    if found.operating_point is not None:
        at = x(100 * found.operating_point.threshold)
        page.pen.rectangle((at - 2, y - 4, at + 2, y + ROW_HEIGHT + 8), fill=AMBER)
        text = wording.out_of_100(found.operating_point.threshold, wording.decimals(found))
        page.text((at + 8, y + ROW_HEIGHT + 2), say("score.operating_point_name", threshold=text), SMALL, AMBER)
    return y + ROW_HEIGHT + 6 + line_height(SMALL)
