"""The paper's tables of comparison and ablation from the scores of all models: JSON, Markdown, one line per exam."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..coalitions import COALITIONS
from ..evaluation import intervals, metrics, wording
from ..training.objective import Scores
from . import roster
from .compare import WHOLE, Compared, Model, used
from .configuration import NAMES, SINGLES, Comparison, Name

COLUMNS = metrics.RANKED
WORDS = {"dce": "DCE", "dwi": "DWI", "t2": "T2"}
MULTIPARAMETRIC = "Multiparametric"


@dataclass(frozen=True, slots=True)
class Entry:
    """One column of scores: a model, shown some or all of its sequences."""

    key: str  # "resnet-dce", "mome", "mome dce+dwi"
    name: Name
    label: str
    inference: str
    score: Scores  # (N,) of the exams that count, NaN where it says nothing


# ------------------------------------------------------------------ what is in the tables
def entries(compared: Compared) -> list[Entry]:
    """Every model from all it can see, then MOME from each combination of sequences; only exams that count."""
    rows, found = used(compared.test), []
    for name in sorted(compared.models, key=NAMES.index):
        shown = WORDS[roster.SEEN[name][0]] if name in SINGLES else MULTIPARAMETRIC
        score = compared.models[name].test[WHOLE][rows]
        found.append(Entry(name, name, roster.label(name, compared.sizes), shown, score))
    if "mome" in compared.models:
        for combination in map("+".join, COALITIONS[:-1]):
            shown = "+".join(WORDS[s] for s in combination.split("+"))
            score = compared.models["mome"].test[combination][rows]
            found.append(Entry(f"mome {combination}", "mome", "MOME", shown, score))
    return found


def result(compared: Compared, comparison: Comparison) -> dict[str, Any]:
    """JSON-ready: what was compared, how it was trained, and the rows of both tables."""
    rows, test = used(compared.test), compared.test
    positive = test.answers("malignancy")[rows] == 1
    patients = np.array([test.cases[row].patient for row in rows])
    every = entries(compared)
    mome = next((entry.score for entry in every if entry.key == "mome"), None)
    found = {entry.key: row(entry, compared.models, positive, patients, mome, comparison) for entry in every}
    return {
        "cohort": {
            "name": test.name,
            "words": test.words,
            "synthetic": test.synthetic,
            "identity": test.identity,
            "n": len(rows),
            "malignant": int(positive.sum()),
            "not_counted": len(test) + len(test.left_out) - len(rows),
        },
        "ideal_observer": ideal(compared, rows, positive),
        "training": compared.training.model_dump(mode="json", exclude={"cohorts", "start"}),
        "resnet": compared.sizes.model_dump(mode="json"),
        "threshold": comparison.threshold,
        "resamples": comparison.resamples,
        "seed": comparison.seed,
        "notes": list(compared.notes),
        "comparison": [name for name in roster.COMPARED if name in found],
        "ablation": [
            *(name for name in roster.ABLATED if name in found),
            *(key for key in found if key.startswith("mome ")),
            *(["mome"] if "mome" in found else []),
        ],
        "rows": found,
    }


def row(
    entry: Entry,
    models: Mapping[Name, Model],
    positive: npt.NDArray[np.bool_],
    patients: npt.NDArray[Any],
    mome: Scores | None,
    comparison: Comparison,
) -> dict[str, Any]:
    """All figures with intervals on the exams that this entry scores, and MOME minus it on those that both score."""
    how: dict[str, Any] = {"resamples": comparison.resamples, "seed": comparison.seed}
    model, there = models[entry.name], ~np.isnan(entry.score)
    told = {name: getattr(model, name) for name in ("parameters", "trained", "steps", "seconds", "note")}
    said: dict[str, Any] = {"label": entry.label, "inference": entry.inference, "n": int(there.sum()), **told}
    if not two_classes(positive[there]):
        return {**said, "figures": None, "mome_minus": None}
    measured = intervals.bootstrap(positive[there], entry.score[there], comparison.threshold, patients[there], **how)
    said["figures"] = {name: found.json() for name, found in measured.items()}
    both = there if mome is None else there & ~np.isnan(mome)
    if mome is None or entry.key == "mome" or not two_classes(positive[both]):
        return {**said, "mome_minus": None}
    one, other, answer, whose = mome[both], entry.score[both], positive[both], patients[both]
    paired = {f: intervals.paired(answer, one, other, whose, figure=f, **how).json() for f in COLUMNS}
    said["mome_minus"] = {"n": int(both.sum()), **paired, "delong": intervals.delong(answer, one, other).json()}
    return said


def two_classes(positive: npt.NDArray[np.bool_]) -> bool:
    return bool(positive.any() and not positive.all())


def ideal(compared: Compared, rows: npt.NDArray[np.intp], positive: npt.NDArray[np.bool_]) -> dict[str, float] | None:
    """AUROC of the best possible reader of a synthetic cohort, from what was planted, by sequence; else None."""
    truth = compared.test.truth
    if truth is None or not two_classes(positive):
        return None
    return {s: metrics.auroc(positive, truth.log_odds[s][rows]) for s in ("dce", "dwi", "t2", "all")}


# ------------------------------------------------------------------ files
def write(out: Path, compared: Compared, comparison: Comparison) -> dict[str, Any]:
    """`compare.json`, `compare.md`, `scores.csv`, each whole or not at all; the first as it was written."""
    found = result(compared, comparison)
    out.mkdir(parents=True, exist_ok=True)
    whole(out / "compare.json", json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    whole(out / "compare.md", markdown(found))
    write_scores(out / "scores.csv", compared)
    return found


def whole(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_scores(path: Path, compared: Compared) -> None:
    """One line for each exam that counts, one column for each entry; empty where it says nothing."""
    every, rows = entries(compared), used(compared.test)
    answers = compared.test.answers("malignancy")
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["case", "patient", "malignant", *(entry.key for entry in every)])
        for place, number in enumerate(rows):
            case = compared.test.cases[number]
            scores = ["" if np.isnan(entry.score[place]) else f"{entry.score[place]:.6f}" for entry in every]
            table.writerow([case.case, case.patient, int(answers[number]), *scores])
    partial.replace(path)


# ------------------------------------------------------------------ Markdown
def markdown(found: Mapping[str, Any]) -> str:
    """Both tables for people, with what they are of."""
    cohort, rows = found["cohort"], found["rows"]
    kind = "synthetic exams" if cohort["synthetic"] else "exams"
    lines = [
        f"# {'Synthetic comparison' if cohort['synthetic'] else 'Comparison'}: {cohort['name']}",
        "",
        f"{cohort['n']} {kind}, {cohort['malignant']} malignant; {cohort['not_counted']} more cases are not counted "
        "(withheld, rejected, failed, or without an answer).",
        *synthetic_words(found),
        "",
        "## Comparison",
        "",
        *table((rows[key] for key in found["comparison"]), "Model"),
        "",
        "## Ablation and missing sequences",
        "",
        *table((rows[key] for key in found["ablation"]), "Model"),
        "",
        f"In brackets 95 % intervals, from {found['resamples']} resamples of the patients. MOME minus: AUROC of MOME "
        "from all sequences minus that of the row, on the exams that both score; p of the paired bootstrap and of "
        "DeLong's test, two-sided, not corrected for the number of rows. A model of one sequence scores the exams that "
        "have it; features of a missing sequence are zeros in the feature fusion, and late fusion takes the scores at "
        "hand. Partial areas are scaled so that chance is 0.5.",
        "",
        "## Models",
        "",
        *models_table(found),
        *(f"\n{note}" for note in found["notes"]),
    ]
    return "\n".join(lines) + "\n"


def synthetic_words(found: Mapping[str, Any]) -> list[str]:
    if not found["cohort"]["synthetic"]:
        return []
    words = "They say nothing about patients."
    ideal_observer = found["ideal_observer"]
    if ideal_observer:
        best = ", ".join(f"{WORDS.get(s, 'all sequences')} {value:.3f}" for s, value in ideal_observer.items())
        words += f" AUROC of an ideal observer of what was planted: {best}."
    return ["", words]


def table(rows: Iterable[Mapping[str, Any]], first: str) -> list[str]:
    head = [
        first,
        "Inference",
        "n",
        *(wording.NAMES[name] for name in COLUMNS),
        "MOME minus",
        "p, bootstrap",
        "p, DeLong",
    ]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for said in rows:
        figures, less = said["figures"], said["mome_minus"]
        cells = [wording.figure(figures and figures[name]) for name in COLUMNS]
        against = [""] * 3
        if less:
            p_values = (wording.p_value(less[test]["p"]) for test in ("auroc", "delong"))
            against = [wording.figure(less["auroc"]), *p_values]
        lines.append(f"| {' | '.join([said['label'], said['inference'], str(said['n']), *cells, *against])} |")
    return lines


def models_table(found: Mapping[str, Any]) -> list[str]:
    """What each model is and what its training took; a model shown fewer sequences is the same model."""
    lines = ["| Model | Parameters | Trained | Steps | Minutes | |", "|---|---|---|---|---|---|"]
    for key, said in found["rows"].items():
        if " " in key:
            continue
        minutes = "" if said["seconds"] is None else f"{said['seconds'] / 60:.0f}"
        numbers = ["" if said[name] is None else f"{said[name]:,}" for name in ("parameters", "trained", "steps")]
        lines.append(f"| {' | '.join([said['label'], *numbers, minutes, said['note']])} |")
    return lines
