"""One HTML page that needs nothing else: style, tables and drawings are inside, no script, no reference to anywhere.

It forbids itself to load anything (its own Content Security Policy), prints on A4, and where the exams are synthetic it
says so in its title, in a banner and under every table and figure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --quiet: #59636e; --line: #d5dae0; --accent: #0b5394; --warn: #8a3b00; }
* { box-sizing: border-box; }
html { font: 16px/1.55 system-ui, "Segoe UI", "Helvetica Neue", Arial, "Liberation Sans", sans-serif;
  color: var(--ink); }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.5rem 4rem; background: #fff; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .4rem; font-weight: 650; }
h2 { font-size: 1.25rem; margin: 2.8rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--line);
  font-weight: 650; }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; font-weight: 650; }
p { margin: .5rem 0; max-width: 46rem; }
.lead { color: var(--quiet); margin-bottom: 1.2rem; }
.banner { border: 1px solid #e3b98a; border-left: .45rem solid var(--warn); background: #fff7ee; padding: .7rem 1rem;
  margin: 1rem 0; max-width: none; }
.banner strong { color: var(--warn); }
.note { border-left: .25rem solid var(--line); padding-left: .9rem; color: var(--quiet); }
nav { columns: 2; column-gap: 2rem; font-size: .92rem; margin: 1.2rem 0; padding: .8rem 1rem; background: #f6f8fa; }
nav a { display: block; padding: .08rem 0; color: var(--accent); text-decoration: none; }
nav a:hover { text-decoration: underline; }
.answers { display: grid; grid-template-columns: repeat(auto-fit, minmax(12.5rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.answers div { border: 1px solid var(--line); border-radius: .3rem; padding: .7rem .9rem; }
.answers b { display: block; font-size: 1.7rem; font-weight: 650; line-height: 1.2;
  font-variant-numeric: tabular-nums; }
.answers span { color: var(--quiet); font-size: .88rem; display: block; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; margin: .8rem 0 1.2rem; font-variant-numeric: tabular-nums; }
td small { display: inline-block; white-space: nowrap; font-size: .86em; color: var(--quiet); }
caption { caption-side: top; text-align: left; color: var(--quiet); font-size: .88rem; padding-bottom: .35rem; }
th, td { text-align: right; padding: .3rem .75rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; border-bottom: 2px solid #9aa4af; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
table.words th, table.words td { text-align: left; }
tbody tr:nth-child(even) { background: #fafbfc; }
figure { margin: 1rem 0 1.6rem; }
figure svg { max-width: 100%; height: auto; display: block; }
figcaption { color: var(--quiet); font-size: .88rem; max-width: 46rem; margin-top: .3rem; }
code { font: .88em ui-monospace, "SF Mono", Consolas, "Liberation Mono", monospace; overflow-wrap: anywhere; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .8rem; color: var(--quiet);
  font-size: .85rem; }
@media print {
  html { font-size: 10.5pt; } body { max-width: none; padding: 0; } nav { display: none; }
  h2, h3 { break-after: avoid; }
  figure, table, .answers, .banner { break-inside: avoid; } table { font-size: 9pt; } .wide { overflow: visible; }
  @page { size: A4; margin: 16mm 14mm; }
}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
SYNTHETIC = "Synthetic exams"
BANNER = (
    "<strong>Synthetic exams.</strong> Every figure on this page was measured on computed phantoms. It shows whether "
    "the software learns, locates and adds up; it says nothing about patients."
)


@dataclass(slots=True)
class Page:
    """A page as it grows: sections in order, each with what it holds."""

    title: str
    synthetic: bool
    lead: str = ""
    body: list[str] = field(default_factory=list)
    headings: list[tuple[str, str]] = field(default_factory=list)

    def section(self, heading: str) -> None:
        anchor = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
        self.headings.append((anchor, heading))
        self.body.append(f'<h2 id="{anchor}">{escape(heading)}</h2>')

    def heading(self, text: str) -> None:
        self.body.append(f"<h3>{escape(text)}</h3>")

    def text(self, text: str, kind: str = "") -> None:
        """A paragraph; `code` between backticks."""
        self.body.append(f"<p{f' class={kind!r}' if kind else ''}>{marked(text)}</p>")

    def note(self, text: str) -> None:
        self.text(text, "note")

    def answers(self, cells: Iterable[tuple[str, str, str]]) -> None:
        """What a reader looks for first: name, value, and what it is of."""
        of = "<span>synthetic exams</span>" if self.synthetic else ""
        told = "".join(
            f"<div><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(about)}</span>{of}</div>"
            for name, value, about in cells
        )
        self.body.append(f'<div class="answers">{told}</div>')

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]], caption: str, *, words: bool = False) -> None:
        """`words`: all columns are text and stand left."""
        top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
        lines = "".join(f"<tr>{''.join(f'<td>{bracketed(cell)}</td>' for cell in row)}</tr>" for row in rows)
        self.body.append(
            f'<div class="wide"><table{" class=words" if words else ""}><caption>{escape(self.said(caption))}</caption>'
            f"<thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>"
        )

    def figure(self, svg: str, caption: str) -> None:
        self.body.append(f"<figure>{svg}<figcaption>{escape(self.said(caption))}</figcaption></figure>")

    def said(self, caption: str) -> str:
        """The caption; of synthetic exams it always begins with that."""
        return f"{SYNTHETIC}. {caption}" if self.synthetic else caption

    def html(self, footer: str) -> str:
        links = "".join(f'<a href="#{anchor}">{escape(heading)}</a>' for anchor, heading in self.headings)
        banner = f'<p class="banner" role="note">{BANNER}</p>' if self.synthetic else ""
        title = f"{self.title} (synthetic)" if self.synthetic and "synthetic" not in self.title.lower() else self.title
        return "\n".join(
            [
                '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
                f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                '<meta name="referrer" content="no-referrer">',
                f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
                f'<h1>{escape(title)}</h1><p class="lead">{marked(self.lead)}</p>{banner}',
                f'<nav aria-label="Contents">{links}</nav>',
                *self.body,
                f"<footer>{marked(footer)}{' Synthetic exams only.' if self.synthetic else ''}</footer></body></html>",
            ]
        )


def bracketed(text: str) -> str:
    """A figure with its interval: what stands in brackets at the end is smaller, and never broken."""
    return re.sub(r" (\([^()]*\))$", r" <small>\1</small>", marked(text))


def marked(text: str) -> str:
    """Escaped; what stands between backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))
