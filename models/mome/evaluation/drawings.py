"""Which drawings an evaluation has, each with its caption: for the page, and as files for a paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..config import SEQUENCES
from . import plots, wording
from .decision_curves import in_birads_4
from .evaluate import Evaluation
from .explained import GROUPS
from .page import Page
from .scoring import Scored
from .wording import sequences

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure and what it shows; the caption does not say that exams are synthetic, whoever shows it must."""

    figure: Figure
    caption: str

    def svg(self, name: str) -> str:
        return plots.svg(self.figure, name, self.caption)

    def png(self) -> bytes:
        return plots.png(self.figure)


def every(evaluation: Evaluation) -> dict[str, Drawing]:
    """By name, in the order of the report; only what was measured."""
    result, scored = evaluation.result, evaluation.malignancy
    found: dict[str, Drawing | None] = {
        "flow": flow(result),
        "separation": separation(result, scored),
        "distributions": distributions(result, scored),
        "combinations": combinations(result),
        "calibration": calibration(result),
        "subgroups": subgroups(result),
        "decisions": decisions(result),
        "trade-off": trade_off(result, scored),
        "readers": readers(result),
        "shapley": shapley(result),
        **{task: curves(part) for task, part in evaluation.scored.items() if task in result["tasks"]},
    }
    drawn = {name: drawing for name, drawing in found.items() if drawing is not None}
    if result["synthetic"]:
        for drawing in drawn.values():
            plots.mark(drawing.figure, "synthetic exams")
    return drawn


def flow(result: Result) -> Drawing:
    told = result["flow"]
    left = told["left"]

    def gone(status: str, words: str) -> list[str]:
        reasons = left.get(status, {})
        if not reasons:
            return []
        lines = [f"{words}: {sum(reasons.values())}"]
        lines += [f"    {shortened(why)}: {count}" for why, count in list(reasons.items())[:5]]
        return [*lines, *([f"    {len(reasons) - 5} further reasons"] if len(reasons) > 5 else [])]

    without = [*gone("rejected", "rejected"), *gone("failed", "failed")]
    outside = gone("withheld", "withheld, outside the evaluated range")
    unanswered = [f"no reference standard: {told['without_answer']}"] if told["without_answer"] else []
    analysed = told["studies"] - sum(sum(left.get(status, {}).values()) for status in ("rejected", "failed"))
    inside = analysed - sum(left.get("withheld", {}).values())
    boxes = [
        (f"{told['studies']} studies\nof {told['patients']} patients", "\n".join(without)),
        (f"{analysed} analysed", "\n".join(outside)),
        (f"{inside} inside the evaluated range", "\n".join(unanswered)),
        (f"{told['scored']} in the figures\n{told['malignant']} malignant, {told['benign']} benign", ""),
    ]
    kept = [
        box for box, after in zip(boxes, [*boxes[1:], None], strict=True) if box[1] or after is None or box is boxes[0]
    ]
    return Drawing(plots.flow(kept), "From all studies of the cohort to those in the figures.")


def shortened(text: str, most: int = 52) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def put(page: Page, drawn: Mapping[str, Drawing], name: str) -> None:
    """The drawing of this name onto a page, where there is one."""
    if name in drawn:
        page.figure(drawn[name].svg(name), drawn[name].caption)


def separation(result: Result, scored: Scored) -> Drawing:
    dots = {
        reader["reader"]: (
            1 - reader["figures"]["specificity"]["estimate"],
            reader["figures"]["sensitivity"]["estimate"],
        )
        for reader in result["readers"]
    }
    area, recall = (wording.figure(result["figures"][name]) for name in ("auroc", "auprc"))
    caption = f"AUROC {area}, AUPRC {recall}. Bands: pointwise 95 %, patients drawn anew. Dotted: chance." + (
        " Dots: readers." if dots else ""
    )
    return Drawing(plots.separation(scored.positive, scored.score, scored.patients, dots=dots), caption)


def distributions(result: Result, scored: Scored) -> Drawing:
    at = {"positive above": result["figures"]["threshold"]}
    full = [point for point in result["operating_points"] if tuple(point["sequences"]) == SEQUENCES]
    if full:
        at["operating point, all sequences"] = full[0]["threshold"]
    return Drawing(plots.distributions(scored.positive, scored.score, at), "Scores of malignant and of benign exams.")


def combinations(result: Result) -> Drawing | None:
    rows = {
        sequences(name): row
        for name, row in result["combinations"].items()
        if row.get("estimate") is not None and None not in row["ci95"]
    }
    if not rows:
        return None
    ideal = {name: row["ideal_observer"] for name, row in rows.items() if row.get("ideal_observer") is not None}
    figure = plots.intervals(
        [(name, row["estimate"], *row["ci95"]) for name, row in rows.items()],
        "AUROC",
        ticks=ideal if len(ideal) == len(rows) else None,
        tick_name="ideal observer",
    )
    return Drawing(figure, "AUROC of each combination of sequences with its 95 % interval.")


def calibration(result: Result) -> Drawing | None:
    found = result["calibration"]
    slope, intercept = (found["figures"][f"calibration_{name}"]["estimate"] for name in ("slope", "intercept"))
    line = None
    if slope is not None and intercept is not None:
        at = np.linspace(0.005, 0.995, 200)
        line = at, 1 / (1 + np.exp(-(intercept + slope * np.log(at / (1 - at)))))
    figure = plots.calibration(found["bins"], line)
    return Drawing(
        figure, f"Share of malignant exams by {found['of']}, in ten bins of equal width; empty ones left out."
    )


def subgroups(result: Result) -> Drawing | None:
    figures = (("auroc", "AUROC"), ("auprc", "AUPRC"), ("sensitivity", "sensitivity"), ("specificity", "specificity"))
    cancers, n = result["malignant"], result["n"]
    rows = [{"group": "all exams", "malignant": cancers, "benign": n - cancers, **triples(result["figures"], figures)}]
    rows += [
        {
            "group": wording.group(group["by"], group["group"]),
            "malignant": group["positives"],
            "benign": group["n"] - group["positives"],
            **triples(group, figures),
        }
        for group in result["subgroups"]
    ]
    if len(rows) == 1:
        return None
    return Drawing(
        plots.forest(rows, figures),
        "Figures in groups of patients, 95 % intervals; dotted: all exams. Groups without an interval are too small.",
    )


def triples(found: Result, figures: tuple[tuple[str, str], ...]) -> dict[str, tuple[float, float, float] | None]:
    return {name: triple(found.get(name)) for name, _ in figures}


def triple(figure: Result | None) -> tuple[float, float, float] | None:
    """Estimate and limits; None where any is missing."""
    if not figure or figure["estimate"] is None or None in figure["ci95"]:
        return None
    return figure["estimate"], *figure["ci95"]


def decisions(result: Result) -> Drawing:
    panels = []
    for curve in result["decision_curves"]["curves"]:
        arrays = {
            name: np.array([np.nan if v is None else v for v in curve[name]])
            for name in ("thresholds", "net_benefit", "low", "high", "treat_all", "treat_none")
        }
        treating = curve["scenario"] == "treat"
        title = f"Treat, all exams (n = {curve['n']})" if treating else f"Avoid biopsy, BI-RADS 4 (n = {curve['n']})"
        names = ("treat all", "treat none") if treating else ("biopsy all", "biopsy none")
        strategies = {names[0]: arrays["treat_all"], names[1]: arrays["treat_none"]}
        panels.append((title, arrays, strategies))
    return Drawing(
        plots.decision(panels),
        "Net benefit per exam against the threshold probability; bands: pointwise 95 %, patients drawn anew.",
    )


def trade_off(result: Result, scored: Scored) -> Drawing | None:
    in_4 = in_birads_4(scored.cases)
    of_4 = bool(scored.positive[in_4].any() and not scored.positive[in_4].all())
    part = scored.part(in_4) if of_4 else scored
    full = [point for point in result["operating_points"] if tuple(point["sequences"]) == SEQUENCES]
    figure = plots.trade_off(part.positive, part.score, {point["name"]: point["threshold"] for point in full})
    which = "BI-RADS 4 exams" if of_4 else "all exams"
    return Drawing(figure, f"Every threshold, on {which}: benign exams spared against cancers kept. Dots: as frozen.")


def readers(result: Result) -> Drawing | None:
    names = {"f1": "F1", "mcc": "Matthews correlation"}
    rows = [
        (reader["reader"], {label: triple(reader["figures"][name]) for name, label in names.items()})
        for reader in result["readers"]
    ]
    model = {label: triple(result["figures"][name]) for name, label in names.items()}
    told = [
        (name, {label: value for label, value in values.items() if value is not None})
        for name, values in [("model", model), *rows]
        if None not in values.values()
    ]
    if len(told) < 2:
        return None
    return Drawing(plots.readers(told, list(names.values())), "The model and the readers with 95 % intervals.")


def shapley(result: Result) -> Drawing | None:
    if "shapley" not in result:
        return None
    groups = {
        GROUPS[name]: {s: triple(values["mean"]) for s, values in group["sequences"].items()}
        for name, group in result["shapley"]["groups"].items()
        if group["exams"]
    }
    return Drawing(
        plots.contributions(groups, "mean Shapley value"),
        "Mean Shapley value of each sequence, signed: above zero it speaks for malignancy. Bars with 95 % intervals.",
    )


def curves(scored: Scored) -> Drawing:
    return Drawing(
        plots.separation(scored.positive, scored.score, scored.patients, dots={}),
        "ROC, partial areas, precision and recall. Bands: pointwise 95 %, patients drawn anew.",
    )
