"""Operating points: a threshold frozen on one cohort for one way of making the score, with the counts behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from ..coalitions import COALITIONS, Coalition
from ..model import made

MISSED_SHARE = 0.02  # of the cancers of the tuning cohort that may lie at or below the threshold
LEAST_BENIGN = 0.05  # of the benign exams that must lie there, else the point serves nobody


def upper_limit(events: int, of: int) -> float:
    """Upper end of the exact two-sided 95 % interval of a share (Clopper and Pearson 1934)."""
    return 1.0 if events >= of else float(beta.ppf(0.975, events + 1, of - events))


def freeze(
    scores: Mapping[Coalition, npt.NDArray[np.floating]],
    malignant: npt.NDArray[np.bool_],
    *,
    cohort: str,
    preprocessing: str,
) -> list[dict[str, Any]]:
    """One point for every combination with DCE that keeps at most 2 % of cancers and frees some benign exams."""
    points = []
    for coalition in COALITIONS:
        if "dce" not in coalition:
            continue
        score = scores[coalition]
        threshold = highest_threshold(score[malignant])
        below = score <= threshold
        cancers, benign = int(malignant.sum()), int((~malignant).sum())
        missed, freed = int((below & malignant).sum()), int((below & ~malignant).sum())
        if freed < LEAST_BENIGN * benign:
            continue
        points.append(
            {
                "name": f"candidate for downgrade, {'+'.join(coalition)}",
                "target": "malignancy",
                "threshold": threshold,
                "cohort": cohort,
                "cancers": cancers,
                "cancers_at_or_below": missed,
                "upper_limit_95": upper_limit(missed, cancers),
                "benign": benign,
                "benign_at_or_below": freed,
                "key": made(coalition, preprocessing),
            }
        )
    return points


def highest_threshold(cancers: npt.NDArray[np.floating]) -> float:
    """Highest threshold, to four digits rounded down, with at most `MISSED_SHARE` of the cancers' scores below it."""
    allowed = int(MISSED_SHARE * len(cancers))
    return math.floor(float(np.sort(cancers)[allowed]) * 1e4 - 1e-9) / 1e4
