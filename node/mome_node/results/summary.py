"""The result as plain text, in the words of the report and in its order: what the radiologist would read."""

from __future__ import annotations

import textwrap

from ..findings import ExamScore, Findings
from . import wording
from .sr_template import Vocabulary

WIDTH = 100


def for_people(findings: Findings, vocabulary: Vocabulary) -> str:
    """The text, lines of at most 100 characters; ends with a line break."""
    say = vocabulary.say
    lines = [wording.band(findings, vocabulary), *_wrapped(wording.replaces(findings, vocabulary))]
    lines += _wrapped([wording.conclusion(findings, vocabulary)])
    if findings.status != "analysed":
        lines += _section(say("refusal.help"), wording.remedies(findings, vocabulary))
    if findings.score is not None:
        point = wording.operating_point(findings.score, vocabulary)
        score = [wording.score(findings, vocabulary), *point, say("score.scope")]
        lines += _section(wording.score_heading(findings, vocabulary), score)
        lines += _section(say("advice.heading"), wording.advice(findings, vocabulary))
        lines += _wrapped(wording.advice_reasons(findings), "  - ")
        lines += _wrapped(wording.exclusions(findings, vocabulary), "  ")
        lines += _section(say("contributions.heading"), _moved(findings.score, findings, vocabulary))
    inputs = wording.inputs(findings, vocabulary) + wording.rejected(findings, vocabulary)
    lines += _section(say("inputs.heading"), inputs)
    lines += _section(say("quality.heading"), wording.quality(findings, vocabulary))
    lines += ["", *_wrapped(wording.limits(findings, vocabulary))]
    return "\n".join(lines) + "\n"


def _moved(score: ExamScore, findings: Findings, vocabulary: Vocabulary) -> list[str]:
    """The score with no sequence, then how far each moved it: they add up to the score."""
    say, moved = vocabulary.say, wording.contributions(findings, vocabulary)
    parts = [f"{name}: {say('contributions.points', points=f'{points:+.1f}')}" for name, points in moved]
    start = say("contributions.points", points=wording.out_of_100(score.baseline))
    return [f"{say('contributions.baseline')}: {start}", *parts] if parts else []


def _section(heading: str, lines: list[str]) -> list[str]:
    return ["", heading, *_wrapped(lines, "  ")] if lines else []


def _wrapped(lines: list[str], indent: str = "") -> list[str]:
    later = " " * len(indent)
    return [
        part for line in lines for part in textwrap.wrap(line, WIDTH, initial_indent=indent, subsequent_indent=later)
    ]
