"""The tables of an evaluation as rows of plain values, for CSV files: estimates and limits in columns of their own."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .evaluate import Evaluation
from .wording import NAMES

Row = dict[str, Any]
RULE = ("name", "rule", "n", "left_out", "benign", "benign_downgraded", "cancers", "cancers_missed")


def tables(result: Mapping[str, Any]) -> dict[str, list[Row]]:
    """By name; tables of what was not measured are left out. Of synthetic exams every row says so."""
    found: dict[str, list[Row]] = {
        "figures": [{"figure": name, **columns(result["figures"][name])} for name in NAMES],
        "combinations": [
            {"sequences": name, "n": row["n"], "malignant": row["malignant"], "figure": figure, **columns(value)}
            for name, row in result["combinations"].items()
            for figure, value in row.get("figures", {}).items()
        ],
        "intention-to-diagnose": [
            {"share": name, "events": value["events"], "of": value["of"], **columns(value)}
            for name, value in result["intention_to_diagnose"]["figures"].items()
        ],
        "intention-to-diagnose-counts": [
            {"reference": name, **row} for name, row in result["intention_to_diagnose"]["counts"].items()
        ],
        "flow": [
            {"status": status, "reason": reason, "studies": count}
            for status, reasons in result["flow"]["left"].items()
            for reason, count in reasons.items()
        ],
        "characteristics": characteristics(result["about"]["characteristics"]),
        "subgroups": [
            {
                "by": group["by"],
                "group": group["group"],
                "n": group["n"],
                "malignant": group["positives"],
                "figure": name,
                **columns(group.get(name)),
            }
            for group in result["subgroups"]
            for name in ("auroc", "auprc", "sensitivity", "specificity")
        ],
        "calibration-bins": result["calibration"]["bins"],
        "decision-curves": [
            {"scenario": curve["scenario"], **dict(zip(names, values, strict=True))}
            for curve in result["decision_curves"]["curves"]
            for names in [("thresholds", "net_benefit", "low", "high", "treat_all", "treat_none")]
            for values in zip(*(curve[name] for name in names), strict=True)
        ],
        "operating-points": [
            {
                "name": point["name"],
                "threshold": point["threshold"],
                "population": point["population"],
                "of": of,
                "share": name,
                "events": point[of][name]["events"],
                "n": point[of][name]["of"],
                **columns(point[of][name]),
            }
            for point in result["operating_points"]
            for of in ("scored", "all_studies")
            for name in ("benign_downgraded", "cancers_missed", "cancers_among_downgraded")
        ],
        "downgrade": [
            {
                **{name: rule[name] for name in RULE},
                "share": name,
                **columns(rule[name]),
            }
            for rule in result["downgrade"]
            for name in ("sensitivity", "specificity", "cancers_among_downgraded")
        ],
        "readers": [
            {"reader": reader["reader"], "n": reader["n"], "what": what, "figure": name, **columns(value)}
            for reader in result["readers"]
            for what in ("figures", "model_minus_reader")
            for name, value in reader[what].items()
        ],
        "against": [
            {"model": other["name"], "n": other["n"], "figure": name, **columns(other[name])}
            for other in result.get("against", ())
            for name in ("auroc", "auprc", "delong")
        ],
        "shapley": [
            {"group": group, "n": part["exams"], "sequence": sequence, "figure": name, **columns(value)}
            for group, part in result.get("shapley", {}).get("groups", {}).items()
            for sequence, values in part["sequences"].items()
            for name, value in values.items()
        ],
        "tasks": [
            {"task": name, "n": task["n"], "positive": task["positive"], "figure": figure, **columns(value)}
            for name, task in result["tasks"].items()
            for figure, value in task["figures"].items()
        ],
    }
    exams = {"exams": "synthetic"} if result["synthetic"] else {}
    return {name: [{**row, **exams} for row in rows] for name, rows in found.items() if rows}


def columns(figure: Mapping[str, Any] | None) -> Row:
    """Estimate, limits and p, where it has one; empty where there is no number."""
    low, high = (figure or {}).get("ci95") or (None, None)
    found = {"estimate": (figure or {}).get("estimate"), "low_95": low, "high_95": high}
    return {**found, "p": figure["p"]} if figure and "p" in figure else found


def characteristics(who: Mapping[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for name, values in who.items():
        if name == "age":
            rows += [
                {"what": f"age, {figure}, years", **{of: (values[of] or {}).get(figure) for of in values}}
                for figure in ("n", "median", "first_quartile", "third_quartile")
            ]
        else:
            rows += [{"what": f"{name}: {value}", **counts} for value, counts in values.items()]
    return rows


def cases(evaluation: Evaluation) -> list[Row]:
    """Every study by its pseudonym: where it went, what is known of it, its scores, and whether the model was wrong."""
    scored = evaluation.malignancy
    threshold = evaluation.result["figures"]["threshold"]
    place = {case.case: index for index, case in enumerate(scored.cases)}
    rows = []
    for case in (*evaluation.cohort.cases, *evaluation.cohort.left_out):
        index = place.get(case.case)
        row: Row = {
            "case": case.case,
            "patient": case.patient,
            "status": case.status,
            "reason": case.reason,
            "sequences": "+".join(case.sequences),
            "birads": case.birads,
            "malignant": None if case.malignant is None else int(case.malignant),
            "score": None if index is None else round(float(scored.score[index]), 6),
        }
        row["wrong"] = None if index is None else int((scored.score[index] > threshold) != scored.positive[index])
        for combination, values in scored.by_combination.items():
            value = None if index is None or values[index] != values[index] else round(float(values[index]), 6)
            row[f"score {'+'.join(combination)}"] = value
        rows.append({**row, **({"exams": "synthetic"} if evaluation.result["synthetic"] else {})})
    return rows


def write(path: Path, rows: Iterable[Row]) -> None:
    """A CSV file with the columns of all rows, in the order in which they come up."""
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        table.writerows(rows)
