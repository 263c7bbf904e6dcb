"""The model card for people: what the weights are, what is known of them, for what they must not be used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..config import SEQUENCES
from ..header import Header
from ..tasks import TASKS

FIGURES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "brier": "Brier score",
}
"""Of an evaluation report, those that the card shows; the report has the others."""
NOT_SAID = "not said"


def page(header: Header, evaluations: Sequence[Mapping[str, Any]], seen: bool) -> str:
    """Markdown; `seen`: whether the folder has the record of the exams that the weights saw."""
    card = header.card
    parts: list[Iterable[str]] = [
        identity(card),
        questions(header),
        inputs(header),
        training(card, seen),
        measured(card, evaluations),
        operating_points(card),
        evaluated_range(card),
        limits(card),
        distributions(card),
        ["## Limits of use", "", *(f"- {limit}" for limit in card.get("limits_of_use", [])), ""],
        check(),
    ]
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of a table; cells as text, a bar in one would end it."""
    lines = [[str(cell).replace("|", "/").replace("\n", " ") for cell in row] for row in [head, *rows]]
    lines.insert(1, ["---"] * len(head))
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def identity(card: Mapping[str, Any]) -> Iterator[str]:
    patients = "yes" if card.get("evaluated_on_patients") else "no"
    yield from (f"# {card.get('name', 'MOME')} {card.get('version', '')}".rstrip(), "")
    yield from (f"**{sentence(card.get('status', NOT_SAID))}**", "")
    yield from ("Research. Not for clinical use.", "")
    yield from (f"- SHA-256 of the weights: `{card['weights_sha256']}`", f"- Evaluated on patients: {patients}", "")


def sentence(text: str) -> str:
    return text.rstrip(".")[:1].upper() + text.rstrip(".")[1:] + "."


def questions(header: Header) -> Iterator[str]:
    yield from ("## What it answers", "", "A score of the whole exam from 0 to 1: no side, no place.", "")
    tasks = [TASKS[name] for name in header.tasks]
    rows = [(t.name, t.negative_label, t.positive_label, " ".join((t.code[1], t.code[0])), t.asked_of) for t in tasks]
    yield from table(("question", "low score", "high score", "code", "asked of"), rows)


def inputs(header: Header) -> Iterator[str]:
    yield from ("## What it looks at", "")
    config, roles = header.network, {role["name"]: role for role in header.card.get("roles", [])}
    rows = [
        (s.upper(), "yes" if roles.get(s, {}).get("required", s == "dce") else "no", config.channels(s),
         " × ".join(map(str, config.canvas(s))), f"{config.tokens(s)}")
        for s in SEQUENCES
    ]  # fmt: skip
    yield from table(("sequence", "required", "channels", "canvas (left, posterior, head)", "tokens"), rows)
    yield f"Preprocessing `{header.preprocessing.hash()[:16]}`; its constants are in `configs/preprocessing.json`, the"
    yield from ("sizes of the network in `configs/network.json`.", "")


def training(card: Mapping[str, Any], seen: bool) -> Iterator[str]:
    yield from ("## Trained on", "", str(card.get("trained_on", NOT_SAID)), "")
    for task, origin in card.get("origin", {}).items():
        if isinstance(origin, Mapping):
            yield f"- {task}: from {origin.get('file')}, SHA-256 `{origin.get('sha256')}`"
    yield (
        "`seen.csv` holds hashes of every exam that training and tuning used: `mome evaluate` refuses these again."
        if seen
        else "There is no record of the exams that they saw: that an evaluation used other ones cannot be checked."
    )
    yield ""


# ------------------------------------------------------------------ evidence
def measured(card: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from ("## How well it does", "")
    bound = card.get("evaluations", [])
    if not evaluations and not bound:
        yield from ("Not evaluated: no report is in this folder.", "")
    for report in evaluations:
        kind = "synthetic exams, no patients" if report.get("synthetic") else "exams of patients"
        yield from (f"### {report.get('cohort', NOT_SAID)}: {report.get('n')} {kind}", "")
        figures = {**report.get("figures", {}), "auroc": report.get("auroc")}
        rows = [(meaning, *spelled(figures[name])) for name, meaning in FIGURES.items() if figures.get(name)]
        rows += [
            (f"AUROC, {name.replace('+', ' + ').upper()}", *spelled(row.get("auroc", row)))
            for name, row in report.get("combinations", {}).items()
        ]
        yield from table(("figure", "value", "95 % interval"), rows)
    for entry in bound:
        auroc = " ".join(spelled(entry["auroc"]))
        yield from (f"Bound into the weights: {entry['cohort']}, {entry['n']} exams, AUROC {auroc}.", "")


def spelled(figure: Mapping[str, Any]) -> tuple[str, str]:
    """Value and interval of {"estimate", "ci95"}."""
    low, high = figure.get("ci95") or (None, None)
    return number(figure.get("estimate")), f"{number(low)} to {number(high)}" if low is not None else ""


def number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


def operating_points(card: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Operating points", "")
    points = card.get("operating_points", [])
    if not points:
        yield from ("None: no advice is given with these weights.", "")
        return
    rows = [
        (p["name"], f"{p['threshold']:.4f}", f"{p.get('cancers_at_or_below')} of {p.get('cancers')}",
         f"{p.get('benign_at_or_below')} of {p.get('benign')}", p.get("cohort", NOT_SAID))
        for p in points
    ]  # fmt: skip
    yield from table(("name", "threshold", "cancers at or below", "benign at or below", "frozen on"), rows)


def evaluated_range(card: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Evaluated range", "")
    ranges = card.get("evaluated_range", {})
    if not ranges:
        yield from ("None is stated: every exam counts as outside, and advice is withheld.", "")
        return
    facts = {name: value for name, value in ranges.items() if name not in ("n", "note")}
    yield from table(("fact of the exam", "range"), [(name, ranged(value)) for name, value in facts.items()])
    yield from (f"n = {ranges.get('n', NOT_SAID)}. {ranges.get('note', '')}".rstrip(), "")


def ranged(value: Any) -> str:
    if isinstance(value, Mapping):
        if "values" in value:
            return ", ".join(map(str, value["values"])) or "none"
        return f"{value.get('min')} to {value.get('max')}"
    return NOT_SAID if value is None else str(value)


def limits(card: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Limits of quality", "", "An exam beyond one of them is marked, and advice is withheld.", "")
    rows = [
        (name, limit.get("low", ""), limit.get("high", "")) for name, limit in card.get("quality_limits", {}).items()
    ]
    yield from table(("measure", "at least", "at most"), rows)


def distributions(card: Mapping[str, Any]) -> Iterator[str]:
    found = card.get("distributions")
    if not found:
        return
    cohort = found["cohort"]
    yield from ("## Distributions", "", f"Of {cohort['words']}; 1st, 50th and 99th percentile. The card has more.", "")
    rows = [
        (f"{kind}{name}", group, of["n"], *(f"{of['quantiles'][level]:.4g}" for level in ("0.01", "0.5", "0.99")))
        for kind, measures in (("score, ", found["score"]), ("", found["quality"]))
        for name, entry in measures.items()
        for group, of in {"all": entry, **entry["by"]}.items()
    ]
    yield from table(("measure", "exams", "n", "1 %", "50 %", "99 %"), rows)


def check() -> Iterator[str]:
    yield from (
        "## Check",
        "",
        "`mome bundle verify FOLDER` hashes every file and compares them with the header of the",
    )
    yield from ("weights. The SHA-256 of `manifest.json` is the identity of this folder.", "")
