"""`mome train`: from a configuration to the files of a trained network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..cohort import Cohort
from ..evaluation import separation
from . import folds as cross_validation
from . import results, start, state
from .configuration import Configuration, ConfigurationError
from .objective import Scores
from .processes import rank, together, wait
from .run import Outcome, run

Say = Callable[[str], None]
Scorer = Callable[[Cohort], Mapping[str, Scores]]


def train(
    config: Configuration,
    out: Path,
    *,
    cohorts: Path | None = None,
    device: str = "auto",
    workers: int = 0,
    save_seconds: float = 120,
    must_resume: bool = False,
    say: Say = print,
) -> str:
    """Train, or go on where `out` holds the state of the same training; a line about what came of it, empty in all
    processes but the first.

    `cohorts`: where synthetic cohorts are kept (default: in `out`). Raises ValueError of one of the kinds of this
    package with words for the person who started it.
    """
    if must_resume and not any(out.rglob(state.STATE)):
        raise ConfigurationError(f"{out} holds no state of a training to go on with.")
    with together(device) as place:
        first = rank() == 0
        heard: Say = say if first else lambda text: None
        if first:
            start.cohorts(config, cohorts or out / "cohorts", heard)
        wait()  # until the cohorts are made
        found = start.cohorts(config, cohorts or out / "cohorts", lambda text: None)
        described = start.described(config, found)
        options: dict[str, Any] = {"say": heard, "save_seconds": save_seconds, "workers": workers}
        if config.folds is not None:
            return of_folds(config, found["train"], out, place, described, options)
        learning, validation = start.with_validation(config, found)
        digest, _ = one(config, learning, validation, out, place, described, (), options)
        return f"{digest}  {out / results.WEIGHTS}" if first else ""


def one(
    config: Configuration,
    learning: dict[str, Cohort],
    validation: Cohort | None,
    out: Path,
    place: torch.device,
    described: dict[str, Any],
    key: tuple[int, ...],
    options: dict[str, Any],
) -> tuple[str, Scorer]:
    """One network trained and written; the SHA-256 of its weights, and what scores a cohort with it."""
    objective = start.objective(config, place)
    outcome: Outcome = run(
        objective, config, learning, out, validation=validation, described=described, key=key, **options
    )
    digest = ""
    if rank() == 0:
        digest = results.write(out, objective.network, config, outcome, learning, validation, described)
    wait()
    return digest, objective.scores


def of_folds(
    config: Configuration,
    whole: Cohort,
    out: Path,
    place: torch.device,
    described: dict[str, Any],
    options: dict[str, Any],
) -> str:
    """One training for each fold, in folders `fold-1` ...; those that are finished are not done again."""
    assert config.folds is not None
    answers = whole.answers(config.task)
    if known := separation.shared(whole, results.seen_before(config)):
        options["say"](
            "The weights that this starts from have seen exams of this cohort, so no fold is quite unseen: "
            + "; ".join(what.words for what in known)
        )
    fold, score = np.full(len(whole), -1), np.full(len(whole), np.nan)
    for number, (rows, scored) in enumerate(cross_validation.folds(whole, answers, config.folds.n, config.seed)):
        options["say"](
            f"fold {number + 1} of {config.folds.n}: {len(rows)} exams to learn from, {len(scored)} to score"
        )
        learning, validation = start.with_validation(config, {"train": start.part(whole, rows)}, (number,))
        here = {**described, "fold": number}
        _, scores = one(config, learning, validation, out / f"fold-{number + 1}", place, here, (number,), options)
        with torch.inference_mode():
            score[scored] = next(iter(scores(start.part(whole, scored)).values()))
        fold[scored] = number
    if rank():
        return ""
    said = cross_validation.write(out, whole, answers, fold, score)
    return (
        f"AUROC of {config.task} in {config.folds.n} folds of {whole.words}: {said['mean']:.3f} ± {said['sd']:.3f} "
        f"(mean and sd over folds), {said['together']:.3f} over all exams"
    )
