"""Do simple global statistics betray the label of synthetic exams? They must not, else a network learns a trick.

Logistic regression on ten statistics, cross-validated: of the volumes as acquired, and of what the network sees.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ..coalitions import auroc
from ..config import SEQUENCES, PreprocessingConfig
from ..preprocessing import Prepared, prepare
from .exams import PhantomExam

LIMIT = 0.70
"""A cohort whose statistics separate better than this is not to be trained on."""


def leakage(exams: Iterable[PhantomExam], config: PreprocessingConfig) -> dict[str, float]:
    """Cross-validated AUROC of the statistics: "acquired" and "seen"; needs some hundred exams."""
    labels, acquired, seen = [], [], []
    for made in exams:
        labels.append(made.malignant)
        acquired.append(acquired_statistics(made))
        seen.append(seen_statistics(prepare(made.inputs, config)))
    malignant = np.array(labels)
    return {"acquired": separation(malignant, np.array(acquired)), "seen": separation(malignant, np.array(seen))}


def acquired_statistics(made: PhantomExam) -> list[float]:
    """Mean and maximum of subtraction (first and last phase), late phase, DWI, T2."""
    pre, first, last = made.dce.voxels[0], made.dce.voxels[1], made.dce.voxels[-1]
    images = [first - pre, last - pre, last, made.inputs["dwi"].voxels, made.t2.voxels]
    return [float(f(image)) for image in images for f in (np.mean, np.max)]


def seen_statistics(canvas: Prepared) -> list[float]:
    """99th and 99.9th percentile and maximum of each standardised sequence, and the maximum of the first phase."""
    tails = [canvas.arrays[s] for s in SEQUENCES]
    found = [float(v) for image in tails for v in (*np.percentile(image, (99, 99.9)), image.max())]
    return [*found, float(canvas.arrays["dce"][0].max())]


def separation(malignant: npt.NDArray[np.bool_], statistics: npt.NDArray[np.floating]) -> float:
    """AUROC of logistic regression, ten-fold cross-validated."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    judge = make_pipeline(StandardScaler(), LogisticRegression())
    return auroc(malignant, cross_val_predict(judge, statistics, malignant, cv=10, method="decision_function"))
