"""Cross-validation by patient, as the paper reports the small tasks: every exam is scored by a network that never
saw its patient."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..cohort import Cohort
from .objective import Scores
from .run import known_auroc

OUT_OF_FOLD = "out_of_fold.csv"
Rows = npt.NDArray[np.intp]


def folds(cohort: Cohort, answers: Scores, n: int, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """Rows to learn from and rows to score, n times; answers (N,), exams without one are in neither.

    Patients are never parted, both classes are spread evenly, and the same seed gives the same folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    known = np.flatnonzero(~np.isnan(answers))
    patients = np.array([cohort.cases[row].patient for row in known])
    splitter = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
    for learning, scored in splitter.split(known, answers[known], patients):
        yield known[learning], known[scored]


def write(
    folder: Path, cohort: Cohort, answers: Scores, fold: npt.NDArray[np.int64], score: Scores
) -> dict[str, float]:
    """`out_of_fold.csv` and `folds.json`: AUROC of each fold, mean and sd over folds, and over all exams together.

    `fold` (N,): which scored an exam, -1 none. The sd is that of a sample (n - 1).
    """
    partial = folder / f"{OUT_OF_FOLD}.{os.getpid()}.partial"
    with partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["case", "patient", "fold", "answer", "score"])
        for row in np.flatnonzero(fold >= 0):
            case = cohort.cases[row]
            table.writerow([case.case, case.patient, int(fold[row]), int(answers[row]), f"{score[row]:.6f}"])
    partial.replace(folder / OUT_OF_FOLD)
    each = [known_auroc(answers[fold == k], score[fold == k]) for k in range(int(fold.max()) + 1)]
    together = known_auroc(answers[fold >= 0], score[fold >= 0])
    said = {"mean": float(np.mean(each)), "sd": float(np.std(each, ddof=1)), "together": together}
    text = json.dumps({**said, "folds": each, "n": int((fold >= 0).sum()), "cohort": cohort.words}, indent=1)
    (folder / "folds.json").write_text(text, encoding="utf-8")
    return said
