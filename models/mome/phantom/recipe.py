"""What was planted in a synthetic cohort, and how far the best possible observer gets: figures, and a page of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..coalitions import COALITIONS, auroc
from ..cohort import Cohort, Truth
from ..tasks import TaskName
from .leakage import LIMIT, leak_of
from .readers import BIRADS_NUMBERS

LABELS = ("malignant", "tnbc", "pcr", "birads", "bpe", "site", "field_strength_t", "kaiser")


def figures(cohort: Cohort) -> dict[str, Any]:
    """JSON-ready; raises ValueError for a cohort without a planted truth. AUROC that cannot be computed is null."""
    if cohort.truth is None:
        raise ValueError(f"{cohort.words}: nothing was planted in it, so there is no ideal observer.")
    has_lesion = cohort.truth.lesions[:, :, 3].max(axis=1) > 0
    return {
        "cohort": cohort.words,
        "synthetic": cohort.synthetic,
        "identity": cohort.identity,
        "origin": dict(cohort.origin),
        "exams": len(cohort),
        "left_out": dict(Counter(case.status for case in cohort.left_out)),
        "normal": int((~has_lesion).sum()),
        "sequences": dict(Counter("+".join(case.sequences) for case in cohort.cases)),
        "labels": {name: counted([getattr(case, name) for case in cohort.cases]) for name in LABELS},
        "age": spread([case.age for case in cohort.cases]),
        "ideal_observer": ideal_observer(cohort.malignant, cohort.truth),
        "ideal_observer_of_lesions": ideal_observer(cohort.malignant, cohort.truth, has_lesion),
        "ideal_observer_tnbc": of_task(cohort, "tnbc"),
        "ideal_observer_pcr": of_task(cohort, "pcr"),
        "readers": readers(cohort),
        "leak_auroc": leak_of(cohort),
        "leak_limit": LIMIT,
    }


def counted(values: list[Any]) -> dict[str, int]:
    """How often each value occurs; "-" where there is none."""
    words = {None: "-", True: "yes", False: "no", "": "-"}
    told = [words[v] if v is None or v is True or v is False or v == "" else f"{v}" for v in values]
    return dict(sorted(Counter(told).items(), key=lambda item: (len(item[0]), item[0])))


def spread(values: list[float | None]) -> list[float]:
    known = [value for value in values if value is not None]
    return [round(float(v), 1) for v in np.percentile(known, (0, 50, 100))] if known else []


def ideal_observer(
    malignant: npt.NDArray[np.bool_], truth: Truth, rows: npt.NDArray[np.bool_] | None = None
) -> dict[str, float | None]:
    """AUROC of an observer who knows the planted attributes, for each combination of sequences."""
    kept = np.ones(len(malignant), bool) if rows is None else rows
    totals = {"+".join(c): sum((truth.log_odds[s] for s in c), np.zeros(len(malignant))) for c in COALITIONS}
    return {name: known(malignant[kept], total[kept]) for name, total in totals.items()}


def known(positive: npt.NDArray[np.bool_], score: npt.NDArray[np.floating]) -> float | None:
    """AUROC to four digits, None where one class is missing."""
    value = auroc(positive, score)
    return None if np.isnan(value) else round(value, 4)


def of_task(cohort: Cohort, task: TaskName) -> float | None:
    """AUROC of the observer for triple-negative subtype or response, among the exams that have an answer."""
    answers = cohort.answers(task)
    asked = ~np.isnan(answers)
    odds = cohort.truth.log_odds.get(task) if cohort.truth else None
    return None if odds is None else known(answers[asked] == 1, odds[asked])


def readers(cohort: Cohort) -> dict[str, float | None]:
    """AUROC of what readers said, where they said something."""
    columns: dict[str, list[float | None]] = {
        "BI-RADS before biopsy": [BIRADS_NUMBERS.get(case.birads) for case in cohort.cases],
        "ADC": [None if case.adc is None else -case.adc for case in cohort.cases],
        "Kaiser score": [None if case.kaiser is None else float(case.kaiser) for case in cohort.cases],
    }
    for name in sorted({name for case in cohort.cases for name in case.readers}):
        columns[name] = [case.readers.get(name) for case in cohort.cases]
    found = {}
    for name, column in columns.items():
        said = np.array([value is not None for value in column])
        score = np.array([value for value in column if value is not None], np.float64)
        found[name] = known(cohort.malignant[said], score)
    return found


# ------------------------------------------------------------------ for people
def summary(found: Mapping[str, Any]) -> str:
    """The figures as a few lines of text."""
    left = ", ".join(f"{count} {status}" for status, count in found["left_out"].items())
    lines = [found["cohort"] + (f"; left out: {left}" if left else ""), ""]
    for name, counts in found["labels"].items():
        lines.append(f"{name:<18} " + ", ".join(f"{value}: {count}" for value, count in counts.items()))
    lines += ["", f"{'AUROC of the ideal observer':<30} {'all exams':>10} {'with lesion':>12}"]
    lines += [
        f"{name:<30} {shown(value):>10} {shown(found['ideal_observer_of_lesions'][name]):>12}"
        for name, value in found["ideal_observer"].items()
    ]
    lines += ["", "AUROC of others"]
    others = {"ideal observer, TNBC": found["ideal_observer_tnbc"], "ideal observer, pCR": found["ideal_observer_pcr"]}
    lines += [f"{name:<30} {shown(value):>10}" for name, value in (found["readers"] | others).items()]
    leak = found["leak_auroc"]
    said = "too few exams to tell" if leak is None else f"AUROC {leak:.3f}, limit {found['leak_limit']:.2f}"
    return "\n".join([*lines, "", f"label told by simple global statistics: {said}"])


def shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def page(found: Mapping[str, Any], command: str) -> str:
    """The text of `recipe.md`."""
    return f"""# Synthetic cohort

These exams are **synthetic**: arithmetic, no patients. Figures on them show that software learns, locates and adds up;
they say nothing about patients, and weights trained on them are not evaluated on patients.

Made by

    {command}

Identity: {found["identity"]}

What was planted: the label moves four attributes of the lesion and nothing else, each a unit Gaussian about plus or
minus half a separation (kinetics 1.10, morphology 0.95, diffusion 1.40, T2 1.15, divided by the difficulty). Kinetics
and morphology are seen on DCE, diffusion on DWI, T2 on T2. The ideal observer knows these attributes themselves.

    {summary(found).replace(chr(10), chr(10) + "    ").replace("    " + chr(10), chr(10))}

Leak check: logistic regression on ten global statistics of the volumes as the network sees them, ten-fold
cross-validated, exams with a lesion and all sequences only.
"""
