"""The clinical half of the report: decisions, downgrades, readers, other models, and what moved the score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import explained
from .drawings import Drawing, put
from .page import Page
from .wording import figure, p_value, share

Result = Mapping[str, Any]
Drawn = Mapping[str, Drawing]
EXPLAINED: Mapping[str, Callable[[Result], explained.Told]] = {
    "shapley": explained.shapley,
    "saliency": explained.saliency,
}


def decisions(page: Page, result: Result, drawn: Drawn) -> None:
    page.section("Decision curves")
    page.text(
        "What acting on the score is worth, by how many needless interventions one found cancer is worth: at a "
        f"threshold of 0.1, nine. Read from the {result['decision_curves']['of']}."
    )
    put(page, drawn, "decisions")


def downgrade(page: Page, result: Result, drawn: Drawn) -> None:
    page.section("BI-RADS 4: downgrade and operating points")
    points = result["operating_points"]
    page.text(result["seal"]["words"])
    for key, what in (("scored", "exams with a score, inside the evaluated range"), ("all_studies", "all studies")):
        if points:
            page.table(
                [
                    "operating point",
                    "score",
                    "exams",
                    "benign downgraded",
                    "cancers missed",
                    "cancers among downgraded",
                ],
                [
                    (
                        f"{point['name']} ({point['population']})",
                        f"≤\u00a0{point['threshold']:g}",
                        str(point[key]["exams"]),
                        share(point[key]["benign_downgraded"]),
                        share(point[key]["cancers_missed"]),
                        share(point[key]["cancers_among_downgraded"]),
                    )
                    for point in points
                ],
                f"As frozen, on {what}; exact binomial 95 % intervals in per cent.",
            )
    for point in points:
        if point["use"] == "downgrade":
            name = point["name"][:1].upper() + point["name"][1:]
            page.text(f"{name}: {point['words']} {point['claim']['words']}")
    if points:
        page.note(f"Frozen on: {'; '.join(sorted({str(point['frozen_on']) for point in points}))}.")
    if rules := result["downgrade"]:
        page.heading("Beside ADC, Kaiser score and readers")
        page.table(
            ["rule", "downgraded when", "exams", "benign downgraded", "cancers missed", "cancers among downgraded"],
            [
                (
                    rule["name"],
                    rule["rule"],
                    f"{rule['n']}" + (f" ({rule['left_out']} without)" if rule["left_out"] else ""),
                    share(counted(rule["benign_downgraded"], rule["benign"], rule["specificity"])),
                    f"{rule['cancers_missed']} of {rule['cancers']}",
                    share(
                        counted(
                            rule["cancers_missed"],
                            rule["cancers_missed"] + rule["benign_downgraded"],
                            rule["cancers_among_downgraded"],
                        )
                    ),
                )
                for rule in rules
            ],
            "BI-RADS 4 exams; each rule on those that have what it asks. Exact binomial 95 % intervals in per cent.",
        )
    put(page, drawn, "trade-off")


def counted(events: int, of: int, interval: Mapping[str, Any]) -> Mapping[str, Any]:
    """A share as `wording.share` takes it."""
    return {**interval, "events": events, "of": of}


def readers(page: Page, result: Result, drawn: Drawn) -> None:
    page.section("Readers and the model")
    if not result["readers"]:
        page.note("The cohort holds no scores of readers.")
        return
    page.table(
        [
            "reader",
            "exams",
            "sensitivity",
            "specificity",
            "F1",
            "MCC",
        ],
        [
            (
                reader["reader"],
                str(reader["n"]),
                *(figure(reader["figures"][name], 2) for name in ("sensitivity", "specificity", "f1", "mcc")),
            )
            for reader in result["readers"]
        ],
        f"A reader's answer counts as positive {points_of(result['readers'])}; the model's above "
        f"{result['figures']['threshold']:g}.",
    )
    page.table(
        ["reader", "F1, model − reader", "p", "MCC, model − reader", "p"],
        [
            (
                reader["reader"],
                *difference(reader["model_minus_reader"]["f1"]),
                *difference(reader["model_minus_reader"]["mcc"]),
            )
            for reader in result["readers"]
        ],
        "Differences on the same exams; p: paired bootstrap, not corrected for the number of readers.",
    )
    page.table(
        ["reader", "sensitivity at the reader's specificity", "p", "specificity at the reader's sensitivity", "p"],
        [
            (
                reader["reader"],
                *difference(reader["sensitivity_at_equal_specificity"]),
                *difference(reader["specificity_at_equal_sensitivity"]),
            )
            for reader in result["readers"]
        ],
        "Model minus reader, the model at the reader's own errors.",
    )
    put(page, drawn, "readers")


def points_of(read: list[Mapping[str, Any]]) -> str:
    return " and ".join(sorted({f"from {r['operating_point']:g} on ({r['scale']})" for r in read}))


def difference(found: Mapping[str, Any], digits: int = 2) -> tuple[str, str]:
    return figure(found, digits), p_value(found["p"])


def others(page: Page, result: Result, drawn: Drawn) -> None:
    page.section("Other models on the same exams")
    if "against" not in result:
        page.note("None was named.")
        return
    page.table(
        ["model", "exams", "its AUROC", "AUROC, this − it", "p", "DeLong p", "AUPRC, this − it", "p"],
        [
            (
                other["name"],
                str(other["n"]),
                figure(other["theirs"]["auroc"]),
                *difference(other["auroc"], 3),
                p_value(other["delong"]["p"]),
                *difference(other["auprc"], 3),
            )
            for other in result["against"]
        ],
        "Exam by exam; p: paired bootstrap over patients, and DeLong's test.",
    )


def explanations(page: Page, result: Result, drawn: Drawn) -> None:
    page.section("What moved the score")
    for name, told in EXPLAINED.items():
        if name in result:
            found = told(result[name])
            page.heading(found.title)
            page.text(found.words)
            page.table(found.head, found.rows, found.caption)
            put(page, drawn, name)
    if "shapley" not in result and "saliency" not in result:
        page.note("Not measured.")
