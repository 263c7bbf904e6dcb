"""The few pieces of Markdown that the statement is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

HEADING = re.compile(r"^(#{2,4}) (.+)$", re.MULTILINE)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; a bar within a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def contents(text: str) -> str:
    """The headings of `text` as a list of links, as code hosts make their anchors."""
    lines = []
    for marks, title in HEADING.findall(text):
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        lines.append(f"{'  ' * (len(marks) - 2)}- [{title}](#{anchor})")
    return "\n".join(lines)
