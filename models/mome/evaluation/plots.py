"""The drawings of an evaluation: matplotlib figures from plain arrays; nothing here opens a window or a file.

Form: Luo et al. 2025, figures 2 to 6. Colours: Okabe and Ito, told apart also by people who see few of them.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from .intervals import resampling
from .metrics import cumulated

P = ParamSpec("P")
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.floating]
BLUE, ORANGE, GREEN, GREY, SKY = "#0072B2", "#D55E00", "#009E73", "#7A828A", "#56B4E9"
MALIGNANT, BENIGN = ORANGE, BLUE
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", SKY, "#8C6D1F", "#333333")
WIDTH = 9.6  # inches, of the page's column
RESAMPLES = 500  # of the bands
DOTS_PER_INCH = 300  # of pictures for print
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#59636e",
    "axes.labelcolor": "#1b1f24",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ed",
    "xtick.color": "#59636e",
    "ytick.color": "#59636e",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "svg.fonttype": "path",  # looks the same everywhere; the caption and the tables carry the words
}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """A drawing in the style of the reports, whatever the settings of the process."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def canvas(columns: int = 1, *, height: float = 3.6, width: float = WIDTH, **kwargs: Any) -> tuple[Figure, list[Axes]]:
    """A figure with its axes side by side."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False, **kwargs)[0])


def svg_file(figure: Figure, name: str) -> str:
    """A whole SVG document, the same bytes for the same drawing."""
    file = io.StringIO()
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return file.getvalue()


def svg(figure: Figure, name: str, words: str) -> str:
    """For a page: no prologue, no outside name, ids of its own; `words` for those who cannot see it."""
    drawn = svg_file(figure, name)
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.S)
    drawn = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", drawn).replace("xlink:href", "href")
    mark = re.sub(r"\W", "-", name)
    drawn = re.sub(r'\bid="', f'id="{mark}-', drawn)
    drawn = re.sub(r'(href="#|url\(#)', rf"\g<1>{mark}-", drawn)
    label = words.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return drawn.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def png(figure: Figure) -> bytes:
    file = io.BytesIO()
    with rc_context(STYLE):
        FigureCanvasAgg(figure).print_figure(file, dpi=DOTS_PER_INCH, metadata={"Software": None})
    return file.getvalue()


# ------------------------------------------------------------------ how well scores separate
@styled
def separation(positive: Bools, score: Floats, patients: npt.NDArray[np.str_], *, dots: Mapping[str, Any]) -> Figure:
    """ROC curve, the same with its two partial areas, precision and recall; bands from patients drawn anew.

    `dots`: readers' (1 - specificity, sensitivity) by name.
    """
    figure, (roc, partial, recall) = canvas(3, height=3.5)
    grid = np.linspace(0, 1, 201)
    rates, hits, _ = roc_curve(positive, score)
    low, high = bands(positive, score, patients, grid)
    for axes in (roc, partial):
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":")
        axes.fill_between(grid, low, high, color=BLUE, alpha=0.15, lw=0)
        axes.plot(rates, hits, color=BLUE)
        axes.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    for (name, spot), shape in zip(dots.items(), itertools.cycle("osD^vP"), strict=False):
        roc.plot(*spot, shape, color=ORANGE, mec="white", ms=6.5, label=name, ls="")
    if dots:
        roc.legend(loc="lower right", fontsize=8, handletextpad=0.2)
    line = np.interp(grid, rates, hits)
    partial.fill_between(grid, 0.9, np.maximum(line, 0.9), color=GREEN, alpha=0.35, lw=0, label="sensitivity ≥ 90 %")
    inside = grid <= 0.1
    partial.fill_between(grid[inside], 0, line[inside], color=ORANGE, alpha=0.35, lw=0, label="specificity ≥ 90 %")
    partial.legend(loc="lower right")
    precision, sensitivity, _ = precision_recall_curve(positive, score)
    recall.plot(sensitivity, precision, color=BLUE, drawstyle="steps-post")
    recall.axhline(positive.mean(), color=GREY, lw=1, ls=":")
    recall.set(xlabel="sensitivity", ylabel="positive predictive value", xlim=(-0.01, 1.01), ylim=(-0.01, 1.03))
    for axes, title in ((roc, "ROC"), (partial, "Partial areas"), (recall, "Precision and recall")):
        axes.set_title(title)
    return figure


def bands(positive: Bools, score: Floats, patients: npt.NDArray[np.str_], grid: Floats) -> tuple[Floats, Floats]:
    """2.5th and 97.5th percentile of the sensitivity at each 1 - specificity of `grid`; patients are drawn anew."""
    lines = []
    for weights in resampling(patients, RESAMPLES, 0):
        for tp, fp in zip(*cumulated(positive, score, weights), strict=True):
            if tp[-1] and fp[-1]:
                lines.append(np.interp(grid, fp / fp[-1], tp / tp[-1]))
    low, high = np.percentile(lines, (2.5, 97.5), axis=0)
    return low, high


@styled
def distributions(positive: Bools, score: Floats, thresholds: Mapping[str, float]) -> Figure:
    """How scores of either class lie; `thresholds` as lines."""
    figure, (axes,) = canvas(height=2.9)
    edges = np.linspace(0, 1, 41).tolist()
    for rows, colour, name in ((~positive, BENIGN, "benign"), (positive, MALIGNANT, "malignant")):
        axes.hist(score[rows], edges, color=colour, alpha=0.55, label=f"{name} ({int(rows.sum())})")
    for index, (name, at) in enumerate(thresholds.items()):
        axes.axvline(at, color="#333333", lw=1.1, ls=("--", ":", "-.")[index % 3], label=f"{name}: {at:.3g}")
    axes.set(xlabel="score", ylabel="exams", xlim=(0, 1))
    axes.legend(loc="upper center", ncols=2)
    return figure


@styled
def intervals(
    rows: Sequence[tuple[str, float, float, float]],
    label: str,
    *,
    ticks: Mapping[str, float] | None = None,
    tick_name: str = "",
) -> Figure:
    """One line for each name with its interval; `ticks` of the same names stand beside as open marks."""
    figure, (axes,) = canvas(height=0.65 + 0.33 * len(rows) + (0.3 if ticks else 0))
    at = np.arange(len(rows))[::-1]
    for y, (_, middle, low, high) in zip(at, rows, strict=True):
        axes.plot([low, high], [y, y], color=BLUE, lw=2, solid_capstyle="butt")
        axes.plot(middle, y, "o", color=BLUE, ms=6)
    if ticks:
        axes.plot([ticks[name] for name, *_ in rows], at, "D", mfc="white", mec=GREY, ms=5, ls="", label=tick_name)
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16 - 0.5 / len(rows)), borderaxespad=0)
    axes.set_yticks(at, [name for name, *_ in rows])
    axes.set(xlabel=label, ylim=(-0.7, len(rows) - 0.3))
    axes.grid(axis="y", visible=False)
    return figure


# ------------------------------------------------------------------ groups, calibration, decisions
@styled
def forest(rows: Sequence[Mapping[str, Any]], figures: Sequence[tuple[str, str]]) -> Figure:
    """Groups of patients: a panel for each figure, and how many there are (Luo et al. 2025, figure 4).

    Rows: `group`, `malignant`, `benign` and for each figure (estimate, low, high) or None where it has none.
    """
    figure, axes = canvas(
        len(figures) + 1, height=0.9 + 0.28 * len(rows), sharey=True, width_ratios=[*[3] * len(figures), 2.2]
    )
    at = np.arange(len(rows))[::-1]
    for panel, (key, label) in zip(axes, figures, strict=False):
        for y, row in zip(at, rows, strict=True):
            if row[key] is not None:
                middle, low, high = row[key]
                panel.plot([low, high], [y, y], color=BLUE, lw=1.8, solid_capstyle="butt")
                panel.plot(middle, y, "o", color=BLUE, ms=5)
        first = rows[0][key]
        if first is not None:
            panel.axvline(first[0], color=GREY, lw=1, ls=":")
        panel.set_title(label)
        panel.set_xlim(max(0, min([0.5, *(row[key][1] - 0.05 for row in rows if row[key] is not None)])), 1.02)
        panel.grid(axis="y", visible=False)
    axes[0].set_yticks(at, [row["group"] for row in rows])
    axes[0].set_ylim(-0.7, len(rows) - 0.3)
    counts = axes[-1]
    counts.barh(at + 0.18, [row["malignant"] for row in rows], 0.34, color=MALIGNANT, label="malignant")
    counts.barh(at - 0.18, [row["benign"] for row in rows], 0.34, color=BENIGN, label="benign")
    counts.set_title("Exams")
    counts.grid(axis="y", visible=False)
    counts.legend(fontsize=8, loc="upper left", bbox_to_anchor=(-0.1, -0.35 / len(rows) - 0.03), borderaxespad=0)
    return figure


@styled
def calibration(bins: Sequence[Mapping[str, float]], line: tuple[Floats, Floats] | None = None) -> Figure:
    """Bins: `predicted` (mean score), `observed`, `low`, `high`, `n`; the diagonal is perfect."""
    figure, (axes, counts) = canvas(2, height=3.6, width=WIDTH, width_ratios=[1.15, 1])
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="perfect")
    middle = np.array([b["predicted"] for b in bins])
    observed = np.array([b["observed"] for b in bins])
    axes.vlines(middle, [b["low"] for b in bins], [b["high"] for b in bins], color=BLUE, lw=1.6)
    axes.plot(middle, observed, "o", color=BLUE, ms=5, label="exams by score, 95 % interval")
    if line is not None:
        axes.plot(*line, color=ORANGE, lw=1.4, label="logistic calibration")
    axes.set(xlabel="score", ylabel="share malignant", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.legend(loc="upper left")
    axes.set_title("Calibration")
    counts.bar(np.arange(len(bins)), [b["n"] for b in bins], color=SKY)
    counts.set(xlabel="bin, by rising score", ylabel="exams", xticks=np.arange(len(bins)))
    counts.set_title("Exams in each bin")
    counts.grid(axis="x", visible=False)
    return figure


@styled
def decision(curves: Sequence[tuple[str, Mapping[str, Floats], Mapping[str, Floats]]]) -> Figure:
    """Net benefit against the threshold probability: for each panel a title, the model's `thresholds`, `net_benefit`,
    `low`, `high`, and the strategies beside it (Vickers and Elkin 2006)."""
    figure, panels = canvas(len(curves), height=3.6)
    for axes, (title, model, others) in zip(panels, curves, strict=True):
        at = model["thresholds"]
        axes.fill_between(at, model["low"], model["high"], color=BLUE, alpha=0.15, lw=0)
        axes.plot(at, model["net_benefit"], color=BLUE, label="by the score")
        for (name, line), style in zip(others.items(), ("--", ":"), strict=False):
            axes.plot(at, line, color=GREY, ls=style, lw=1.4, label=name)
        top = max(float(np.nanmax(line)) for line in (model["net_benefit"], *others.values()))
        axes.set(xlabel="threshold probability", ylabel="net benefit", ylim=(-0.25 * top - 0.01, 1.15 * top + 0.01))
        axes.set_title(title)
        axes.legend()
    return figure


@styled
def trade_off(positive: Bools, score: Floats, frozen: Mapping[str, float]) -> Figure:
    """Benign exams at or below a threshold against cancers still above it, for every threshold."""
    figure, (axes,) = canvas(height=3.2)
    at = np.unique(score)
    kept = [(score[positive] > t).mean() for t in at]
    freed = [(score[~positive] <= t).mean() for t in at]
    axes.plot(freed, kept, color=BLUE)
    for index, (name, t) in enumerate(frozen.items()):
        spot = float((score[~positive] <= t).mean()), float((score[positive] > t).mean())
        axes.plot(*spot, "o", color=COLOURS[(index + 1) % len(COLOURS)], ms=7, label=f"{name} (≤ {t:.4g})")
    axes.set(xlabel="benign exams at or below the threshold", ylabel="cancers above it", xlim=(-0.01, 1.01))
    if frozen:
        axes.legend(loc="lower left")
    return figure


# ------------------------------------------------------------------ readers, sequences, places
@styled
def readers(rows: Sequence[tuple[str, Mapping[str, tuple[float, float, float]]]], figures: Sequence[str]) -> Figure:
    """The model and the readers, one panel for each figure, in the order given (Luo et al. 2025, figure 2)."""
    figure, panels = canvas(len(figures), height=0.9 + 0.32 * len(rows), sharey=True)
    at = np.arange(len(rows))[::-1]
    for panel, name in zip(panels, figures, strict=True):
        for index, (y, (_, values)) in enumerate(zip(at, rows, strict=True)):
            middle, low, high = values[name]
            colour = BLUE if index == 0 else ORANGE
            panel.plot([low, high], [y, y], color=colour, lw=1.8, solid_capstyle="butt")
            panel.plot(middle, y, "o", color=colour, ms=6)
        panel.set_title(name)
        panel.grid(axis="y", visible=False)
    panels[0].set_yticks(at, [name for name, _ in rows])
    panels[0].set_ylim(-0.6, len(rows) - 0.4)
    return figure


@styled
def contributions(groups: Mapping[str, Mapping[str, tuple[float, float, float] | None]], label: str) -> Figure:
    """Mean contribution of each sequence with its interval, by group of exams (Luo et al. 2025, figures 5m and 5n)."""
    figure, panels = canvas(len(groups), height=2.7, sharey=True)
    for axes, (group, values) in zip(panels, groups.items(), strict=True):
        there = {name: value for name, value in values.items() if value is not None}
        middle = [value[0] for value in there.values()]
        errors = [[v[0] - v[1] for v in there.values()], [v[2] - v[0] for v in there.values()]]
        at = range(len(there))
        axes.bar(at, middle, 0.6, yerr=errors, color=COLOURS[: len(there)], error_kw={"elinewidth": 1.2, "capsize": 3})
        axes.axhline(0, color="#59636e", lw=0.8)
        axes.set_xticks(at, [name.upper() for name in there])
        axes.set_title(group)
        axes.grid(axis="x", visible=False)
    panels[0].set_ylabel(label)
    return figure


@styled
def flow(boxes: Sequence[tuple[str, str]]) -> Figure:
    """Studies from the first box down; what leaves after a box stands to its right (empty: nothing left)."""
    lines = [max(text.count("\n"), left.count("\n")) + 1 for text, left in boxes]
    height = sum(lines) + 2.2 * len(boxes)
    figure, (axes,) = canvas(height=0.2 + 0.17 * height, width=8.2)
    axes.set(xlim=(0, 10), ylim=(-height, 0))
    axes.axis("off")
    style = {"boxstyle": "round,pad=0.5,rounding_size=0.25", "fc": "white", "ec": "#59636e", "lw": 1}
    arrow = {"arrowstyle": "-|>", "color": "#59636e", "lw": 1, "shrinkA": 0, "shrinkB": 0}
    top, before = 0.0, None
    for (text, left), count in zip(boxes, lines, strict=True):
        y = top - count / 2 - 0.9
        top -= count + 2.2
        box = axes.text(2.2, y, text, ha="center", va="center", bbox=style, fontsize=9.5)
        if before is not None:
            ends = {"patchA": before.get_bbox_patch(), "patchB": box.get_bbox_patch()}
            axes.annotate("", box.get_position(), before.get_position(), arrowprops={**arrow, **ends})
        if left:
            aside = axes.text(5.0, y, left, ha="left", va="center", bbox={**style, "fc": "#f6f8fa"}, fontsize=9)
            ends = {"patchA": box.get_bbox_patch(), "patchB": aside.get_bbox_patch()}
            axes.annotate("", (5.2, y), (2.2, y), arrowprops={**arrow, **ends})
        before = box
    return figure


def mark(figure: Figure, words: str) -> None:
    """Words in the corner of a drawing that it must not be seen without."""
    figure.suptitle(words, x=0.995, ha="right", fontsize=8.5, color="#8a3b00")
