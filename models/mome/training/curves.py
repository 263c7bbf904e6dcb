"""How a training went: `curves.csv`, and `curves.png` for people."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def write(folder: Path, rows: Rows, *, picture: bool) -> None:
    """Both files anew; a row has a `loss` (training) or `log_loss` and AUROC (validation)."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    partial = folder / f"curves.csv.{os.getpid()}.partial"
    with partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows)
    partial.replace(folder / "curves.csv")
    if picture and rows:
        draw(folder / "curves.png", rows)


def draw(path: Path, rows: Rows) -> None:
    """Loss above, AUROC on the validation cohort below, over the seconds of the training, stages parted by lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    minutes = [row["seconds"] / 60 for row in rows]
    learned = [(t, row) for t, row in zip(minutes, rows, strict=True) if "loss" in row]
    looked = [(t, row) for t, row in zip(minutes, rows, strict=True) if "log_loss" in row]
    above.plot([t for t, _ in learned], [row["loss"] for _, row in learned], color="black", linewidth=1)
    above.set_ylabel("training loss")
    for name in dict.fromkeys(n for _, row in looked for n in row if n.startswith("auroc ")):
        points = [(t, row[name]) for t, row in looked if name in row]
        below.plot(*zip(*points, strict=True), marker=".", linewidth=1, label=name.removeprefix("auroc "))
    below.set_ylabel("AUROC, validation")
    below.set_xlabel("minutes")
    if looked:
        below.legend(fontsize="small", ncols=2)
    for (before, one), (_, other) in itertools.pairwise(learned):
        if one["stage"] != other["stage"]:
            for axes in (above, below):
                axes.axvline(before, color="grey", linewidth=0.5)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    figure.savefig(partial, format="png", dpi=120)
    partial.replace(path)
