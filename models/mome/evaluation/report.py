"""The report of an evaluation as one page for people: tables from the JSON document, drawings from the scores.

Form of the tables and figures: Luo et al. 2025. Every number on the page stands in the JSON document too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import drawings, wording
from .drawings import put
from .evaluate import Evaluation
from .page import Page
from .report_clinical import EXPLAINED, Drawn, Result, decisions, downgrade, explanations, others, readers
from .wording import NAMES, figure, limits, number, sequences, share

STATUS = {
    "withheld": "withheld: outside the evaluated range",
    "rejected": "rejected: a reason of the exam",
    "failed": "failed: the software could not",
}


def html(evaluation: Evaluation) -> str:
    """The whole page."""
    result = evaluation.result
    weights = result["about"]["weights"]
    page = Page(
        title=f"Evaluation of {weights['name']} {weights['version']} on {result['cohort']}",
        synthetic=result["synthetic"],
        lead=f"Weights `{result['weights_sha256'][:16]}…` — {weights['status']}",
    )
    drawn = drawings.every(evaluation)
    for part in PARTS:
        part(page, result, drawn)
    about = result["about"]
    return page.html(
        f"Intervals: {about['interval']}, {about['resamples']} resamples, seed {about['seed']}; shares: exact binomial "
        f"(Clopper and Pearson). Cohort `{about['cohort_identity'][:16]}`, "
        f"preprocessing `{about['preprocessing'][:16]}`."
    )


def first(page: Page, result: Result, drawn: Drawn) -> None:
    """What a reader wants to know before anything else."""
    found = result["figures"]
    at = f"score above {found['threshold']:g}"
    page.answers(
        [
            ("AUROC", number(found["auroc"]["estimate"]), f"95 % {limits(found['auroc'])}"),
            ("Sensitivity", number(found["sensitivity"]["estimate"]), f"95 % {limits(found['sensitivity'])}, {at}"),
            ("Specificity", number(found["specificity"]["estimate"]), f"95 % {limits(found['specificity'])}, {at}"),
            ("Exams", str(result["n"]), f"{result['malignant']} malignant, {result['n'] - result['malignant']} benign"),
        ]
    )
    if not result["separation"]["known"]:
        page.text(result["separation"]["words"], "banner")


def cohort(page: Page, result: Result, drawn: Drawn) -> None:
    page.section("Cohort and flow")
    put(page, drawn, "flow")
    flow = result["flow"]
    rows = [
        (STATUS[status], reason, str(count)) for status, why in flow["left"].items() for reason, count in why.items()
    ]
    if flow["without_answer"]:
        rows.append(("not counted", "no reference standard in the table of labels", str(flow["without_answer"])))
    if rows:
        page.table(["where it went", "why", "studies"], rows, "Studies without a score in the figures.", words=True)
    page.text(f"Sequences at hand: {listed(result['about']['sequences_at_hand'])}.")
    who = result["about"]["characteristics"]
    if who:
        page.table(["", "malignant", "benign"], people(who), "Who was scored: medians with quartiles, and numbers.")
    if result["about"]["duplicates"]:
        pairs = "; ".join(" and ".join(pair) for pair in result["about"]["duplicates"][:5])
        page.note(f"Exams that stand in the cohort twice, under two names: {pairs}. They count twice.")
    page.heading("What the weights saw before")
    page.text(result["separation"]["words"])


def people(who: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    for name, values in who.items():
        if name == "age":
            told = [
                f"{v['median']:.0f} ({v['first_quartile']:.0f} to {v['third_quartile']:.0f})" if v else wording.NONE
                for v in (values["malignant"], values["benign"])
            ]
            rows.append(("age, years", told[0], told[1]))
        else:
            for value, counts in values.items():
                rows.append((wording.group(name, value), str(counts["malignant"]), str(counts["benign"])))
    return rows


def listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{sequences(name)} {count}" for name, count in counts.items())


def figures(page: Page, result: Result, drawn: Drawn) -> None:
    page.section("How well scores separate")
    found = result["figures"]
    page.text(
        "Each exam is scored from all sequences that it has. A score larger than the threshold is called positive."
    )
    page.table(
        ["figure", "estimate", "95 % interval"],
        [(label, number(found[name]["estimate"]), limits(found[name])) for name, label in NAMES.items()],
        f"All exams with a score and an answer (n = {result['n']}); threshold {found['threshold']:g} where needed.",
    )
    if result.get("ideal_observer") is not None:
        page.note(
            f"Ideal observer: {number(result['ideal_observer'])}. It knows what was planted into the synthetic exams; "
            "no reader of the images can do better."
        )
    put(page, drawn, "separation")
    put(page, drawn, "distributions")
    page.heading("With every study in the denominators")
    counted = result["intention_to_diagnose"]
    page.text(
        "Studies that were rejected, failed or withheld have no result. Here each counts against the test: a cancer as "
        "missed, a benign exam as called (Schuetz et al. 2012)."
    )
    page.table(
        ["", "called positive", "called negative", "no result"],
        [
            (name, str(row["positive"]), str(row["negative"]), str(row["no_result"]))
            for name, row in counted["counts"].items()
        ],
        f"Three by two table, threshold {counted['threshold']:g}; "
        f"{counted['studies_without_result_and_answer']} studies without result have no reference standard either.",
    )
    page.table(
        ["share", "events of studies, 95 % exact interval"],
        [(name, share(found)) for name, found in counted["figures"].items()],
        "Intention to diagnose: shares of all studies with a reference standard.",
    )


def combinations(page: Page, result: Result, drawn: Drawn) -> None:
    page.section("Combinations of sequences")
    page.text("The same weights, shown only some of the sequences; each line counts the exams that have them all.")
    ideal = any("ideal_observer" in row for row in result["combinations"].values())
    page.table(
        ["sequences", "exams", "malignant", "AUROC", "AUPRC", *(["ideal observer"] if ideal else [])],
        [
            (
                sequences(name),
                str(row["n"]),
                str(row["malignant"]),
                figure(row if "estimate" in row else None),
                figure(row.get("figures", {}).get("auprc")),
                *([number(row.get("ideal_observer"))] if ideal else []),
            )
            for name, row in result["combinations"].items()
        ],
        "Missing sequences: their tokens are left out, nothing is put in their place.",
    )
    put(page, drawn, "combinations")


def calibration(page: Page, result: Result, drawn: Drawn) -> None:
    page.section("Calibration")
    found = result["calibration"]
    if not found["stored"]:
        page.text(
            "These weights hold no calibration for how the score was made: the score is not a probability. What "
            "follows says how far it is from one."
        )
    rows = [(NAMES[name], number(value["estimate"]), limits(value)) for name, value in found["figures"].items()]
    rows.append(("expected calibration error", number(found["expected_error"]), wording.NONE))
    page.table(["figure", "estimate", "95 % interval"], rows, f"Of the {found['of']}. Perfect: slope 1, intercepts 0.")
    put(page, drawn, "calibration")


def groups(page: Page, result: Result, drawn: Drawn) -> None:
    page.section("Subgroups")
    if not result["subgroups"]:
        page.note("The cohort says nothing by which exams could be grouped.")
        return
    page.table(
        ["", "exams", "malignant", "AUROC", "AUPRC", "sensitivity", "specificity"],
        [
            (
                wording.group(group["by"], group["group"]),
                str(group["n"]),
                str(group["positives"]),
                *(
                    (figure(group[name], 2) for name in ("auroc", "auprc", "sensitivity", "specificity"))
                    if "auroc" in group
                    else ("too few", wording.NONE, wording.NONE, wording.NONE)
                ),
            )
            for group in result["subgroups"]
        ],
        "A group needs ten exams of either class. Many groups are looked at: one interval in twenty misses by chance.",
    )
    put(page, drawn, "subgroups")


def tasks(page: Page, result: Result, drawn: Drawn) -> None:
    if not result["tasks"]:
        return
    page.section("Subtype and response")
    page.table(
        ["question", "exams", "positive", "AUROC", "AUPRC", "sensitivity", "specificity"],
        [
            (
                task["words"],
                str(task["n"]),
                str(task["positive"]),
                *(figure(task["figures"][name], 2) for name in ("auroc", "auprc", "sensitivity", "specificity")),
            )
            for task in result["tasks"].values()
        ],
        "Asked of proven cancers only. The paper reports five-fold cross-validation; this is one set of weights.",
    )
    for name in result["tasks"]:
        put(page, drawn, name)


def missing(page: Page, result: Result, drawn: Drawn) -> None:
    page.section("What was not measured")
    for text in result["not_measured"]:
        page.text(f"• {text}")
    limits_of_use = result["about"]["weights"]["limits_of_use"] or []
    if limits_of_use:
        page.heading("What the model card says of its limits")
        for text in limits_of_use:
            page.text(f"• {text}")


PARTS: tuple[Callable[[Page, Result, Drawn], None], ...] = (
    first,
    cohort,
    figures,
    combinations,
    calibration,
    groups,
    decisions,
    downgrade,
    readers,
    others,
    explanations,
    tasks,
    missing,
)


def summary(result: Result) -> str:
    """The figures for a terminal."""
    lines = [f"{result['cohort']}: {result['n']} exams, {result['malignant']} malignant", ""]
    ideal = any("ideal_observer" in row for row in result["combinations"].values())
    lines += [f"{'sequences':<14} {'exams':>6}  {'AUROC':<24}{'ideal observer' if ideal else ''}".rstrip()]
    for name, row in result["combinations"].items():
        told = figure(row if "estimate" in row else None)
        best = number(row.get("ideal_observer")) if ideal else ""
        lines.append(f"{sequences(name):<14} {row['n']:>6}  {told:<24}{best}".rstrip())
    lines.append("")
    for name in ("auroc", "auprc", "sensitivity", "specificity", "brier"):
        lines.append(f"{NAMES[name]:<14} {figure(result['figures'][name])}")
    for point in result["operating_points"]:
        lines += ["", f"{point['name']} (score ≤ {point['threshold']:g}):", f"  {point['words']}"]
    lines += [line for name, told in EXPLAINED.items() if name in result for line in ("", told(result[name]).words)]
    lines += ["", result["separation"]["words"], result["seal"]["words"]]
    if result["synthetic"]:
        lines.append("Synthetic exams: these figures say nothing about patients.")
    return "\n".join(lines)
