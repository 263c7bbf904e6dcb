"""Do simple global statistics betray the label of synthetic exams? They must not, else a network learns a trick.

Logistic regression on ten statistics, cross-validated: of the volumes as acquired, and of what the network sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from ..coalitions import auroc
from ..cohort import Cohort
from ..config import SEQUENCES, PreprocessingConfig, Sequence
from ..preprocessing import prepare
from .exams import PhantomExam

LIMIT = 0.70
"""A cohort whose statistics separate better than this is not to be trained on."""
ENOUGH = 50
"""Exams of each label below which the check says nothing."""


def leakage(exams: Iterable[PhantomExam], config: PreprocessingConfig) -> dict[str, float]:
    """Cross-validated AUROC of the statistics: "acquired" and "seen"; needs some hundred exams."""
    labels, acquired, seen = [], [], []
    for made in exams:
        labels.append(made.malignant)
        acquired.append(acquired_statistics(made))
        seen.append(seen_statistics(prepare(made.inputs, config).arrays))
    malignant = np.array(labels)
    return {"acquired": separation(malignant, np.array(acquired)), "seen": separation(malignant, np.array(seen))}


def leak_of(cohort: Cohort) -> float | None:
    """The same of a cohort's volumes, which are what the network sees; None with fewer than `ENOUGH` of either label.

    Exams without a lesion, which may look different, and exams with a missing sequence take no part.
    """
    lesion = np.ones(len(cohort), bool) if cohort.truth is None else cohort.truth.lesions[:, :, 3].max(axis=1) > 0
    rows = np.flatnonzero(lesion & cohort.present.all(axis=1))
    malignant = cohort.malignant[rows]
    if min(malignant.sum(), (~malignant).sum()) < ENOUGH:
        return None
    statistics = [seen_statistics({s: cohort.batch(s, slice(row, row + 1))[0] for s in SEQUENCES}) for row in rows]
    return separation(malignant, np.array(statistics))


def acquired_statistics(made: PhantomExam) -> list[float]:
    """Mean and maximum of subtraction (first and last phase), late phase, DWI, T2."""
    pre, first, last = made.dce.voxels[0], made.dce.voxels[1], made.dce.voxels[-1]
    images = [first - pre, last - pre, last, made.inputs["dwi"].voxels, made.t2.voxels]
    return [float(f(image)) for image in images for f in (np.mean, np.max)]


def seen_statistics(arrays: Mapping[Sequence, npt.NDArray[np.float32]]) -> list[float]:
    """99th and 99.9th percentile and maximum of each standardised sequence, and the maximum of the first phase."""
    tails = [arrays[s] for s in SEQUENCES]
    found = [float(v) for image in tails for v in (*np.percentile(image, (99, 99.9)), image.max())]
    return [*found, float(arrays["dce"][0].max())]


def separation(malignant: npt.NDArray[np.bool_], statistics: npt.NDArray[np.floating]) -> float:
    """AUROC of logistic regression, ten-fold cross-validated."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    judge = make_pipeline(StandardScaler(), LogisticRegression())
    return auroc(malignant, cross_val_predict(judge, statistics, malignant, cv=10, method="decision_function"))
