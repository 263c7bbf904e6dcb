"""Late fusion: one score out of those of three single-sequence models, which know nothing of each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from ..coalitions import COALITIONS, Scores
from ..config import SEQUENCES, Sequence

Single = Mapping[Sequence, Scores]
"""Probabilities (N,) of each model, NaN where an exam lacks the sequence."""
LEAST = 1e-6  # probabilities of 0 and 1 have no logit


def mean(single: Single) -> Scores:
    """Of the scores at hand (N,), as in the paper; NaN where there is none."""
    scores = np.stack([single[s] for s in SEQUENCES])
    there = ~np.isnan(scores)
    total, count = np.where(there, scores, 0).sum(axis=0), there.sum(axis=0)
    return np.asarray(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0))


def stacked(single: Single, fitted_on: Single, answers: Scores) -> Scores:
    """Logistic regression on the logits (stacking: Wolpert 1992), fitted on validation exams with answers (M,).

    One regression for each combination of sequences, so that an exam that lacks one has a score; NaN where the
    validation exams with that combination are not of both classes.
    """
    score = np.full(len(single["dce"]), np.nan)
    for combination in COALITIONS:  # larger ones come later and overwrite
        learn, apply = (np.stack([logits(part[s]) for s in combination], axis=1) for part in (fitted_on, single))
        known = ~np.isnan(learn).any(axis=1) & ~np.isnan(answers)
        there = ~np.isnan(apply).any(axis=1)
        if not there.any() or len(np.unique(answers[known])) < 2:
            continue
        regression = LogisticRegression().fit(learn[known], answers[known])
        score[there] = expit(apply[there] @ regression.coef_[0] + regression.intercept_[0])
    return score


def logits(probability: Scores) -> Scores:
    return np.asarray(logit(np.clip(probability, LEAST, 1 - LEAST)))
