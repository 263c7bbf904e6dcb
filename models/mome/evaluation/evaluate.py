"""Weights judged on a cohort: every figure of the report, as plain data that JSON can hold.

Refuses before anything is scored: a cohort prepared otherwise than the weights demand, and exams that the weights saw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..coalitions import COALITIONS, Coalition
from ..cohort import Cohort
from ..model import MomeModel
from ..tasks import TASKS, TaskName
from ..weights import DEMONSTRATION_WEIGHTS, Header, load_family, tensors_sha256
from . import against as others
from . import clinical, flow, intervals, metrics, points_on_test, separation
from .contributions import global_shapley
from .saliency import cohort_evidence, saliency_evidence
from .scoring import EvaluationError, Progress, Scored, answered, check_preprocessing, scored_cohort

__all__ = ["Evaluation", "EvaluationError", "evaluate", "scored_cohort"]

THRESHOLD = 0.5
"""A score larger than this is called positive (paper, Methods)."""
UNKNOWN = "It is not known what these weights were trained on: no record of the exams they saw lies beside them."
UNKNOWN_TRAINING = "It is not known what these weights were trained on: their record names no exam of the training."


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`result` is the JSON document; the arrays behind it are there for drawings and tables."""

    result: dict[str, Any]
    cohort: Cohort
    scored: Mapping[TaskName, Scored]

    @property
    def malignancy(self) -> Scored:
        return self.scored["malignancy"]


def evaluate(
    weights: Path | None,
    cohort: Cohort,
    *,
    against: Sequence[Path] = (),
    saliency: int = 0,
    saliency_seed: int | None = None,
    shapley: bool = False,
    resamples: int = intervals.RESAMPLES,
    seed: int = 0,
    reader_point: float | None = None,
    openings: Sequence[Path] = (),
    now: datetime | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """All figures of `weights` (default: the shipped ones) on `cohort`.

    `against`: tables of scores or other weights, compared exam by exam. `saliency`: in so many synthetic cancers the
    saliency is looked at, those of the cohort or, with `saliency_seed`, others rendered from that seed on.
    `reader_point`: from where on a reader's answer is positive (default: `readers.OPERATING_POINTS`). `openings`:
    folders in which it is written down that the cohort was opened. Raises EvaluationError, SeparationError, SealError,
    WeightsError, CohortError.
    """
    path = weights or DEMONSTRATION_WEIGHTS
    networks, header = load_family(path)
    check_preprocessing(header, cohort, path)
    seen = seen_by(path, cohort)
    opened = points_on_test.order(
        header.card,
        cohort,
        tensors=tensors_sha256(path),
        weights=header.card["weights_sha256"],
        now=now or datetime.now(UTC),
        places=openings,
    )
    scores = {
        task: scored_cohort(network, cohort, progress=progress)
        for task, network in networks.items()
        if task == "malignancy" or not np.isnan(cohort.answers(task)).all()
    }
    scored = {task: answered(task, cohort, of_task) for task, of_task in scores.items()}
    main = scored["malignancy"]
    check_classes(main, cohort)
    points = points_on_test.reported(header.card, cohort, scores["malignancy"], opened)
    settings = {"resamples": resamples, "seed": seed}
    figures = figures_of(main, **settings)
    result: dict[str, Any] = {
        "version": 1,
        "auroc": figures["auroc"],
        "cohort": named(cohort),
        "synthetic": cohort.synthetic,
        "n": len(main.cases),
        "malignant": int(main.positive.sum()),
        "weights_sha256": header.card["weights_sha256"],
        "figures": {"threshold": THRESHOLD, **figures},
        "combinations": combinations(main, cohort, **settings),
        "about": about(header, cohort, main, resamples, seed),
        "separation": seen,
        "flow": flow.told(cohort, main),
        "intention_to_diagnose": flow.intention_to_diagnose(cohort, main, THRESHOLD),
        "tasks": tasks(scored, **settings),
        "seal": opened,
        "operating_points": points,
        "downgrade": clinical.downgrade(main, points),
        **clinical.measured(main, header.card, cohort, THRESHOLD, reader_point, **settings),
    }
    if ideal := ideal_observer(cohort, main, COALITIONS[-1]):
        result["ideal_observer"] = ideal
    if against:
        compared = [(other, others.other_scores(other, cohort)) for other in against]
        result["against"] = [others.compared(main, scores, other.name, **settings) for other, scores in compared]
    if shapley:
        result["shapley"] = global_shapley(main.by_combination, main.positive, main.patients, **settings)
    if saliency and saliency_seed is not None:
        model = MomeModel(networks, header)
        result["saliency"] = saliency_evidence(model, n=saliency, seed=saliency_seed, progress=progress)
    elif saliency:
        result["saliency"] = cohort_evidence(networks["malignancy"], cohort, n=saliency, progress=progress)
    result["not_measured"] = not_measured(result, cohort)
    return Evaluation(plain(result), cohort, scored)


# ------------------------------------------------------------------ what may be measured
def seen_by(weights: Path, cohort: Cohort) -> dict[str, Any]:
    """What is known of the exams that these weights saw; raises SeparationError where this cohort shares any."""
    record = separation.record_of(weights)
    if record is None:
        return {"known": False, "words": UNKNOWN}
    exams = separation.read(record)
    separation.check(cohort, exams)
    counts = {kind: sum(exam.kind == kind for exam in exams) for kind in ("training", "validation", "tuning")}
    told = ", ".join(f"{count} of {kind}" for kind, count in counts.items() if count)
    words = f"No patient, study or volume of this cohort is among the exams on record as seen by the weights ({told})."
    if not counts["training"]:
        return {"known": False, "exams": counts, "words": f"{UNKNOWN_TRAINING} {words}"}
    return {"known": True, "exams": counts, "words": words}


def check_classes(scored: Scored, cohort: Cohort) -> None:
    cancers = int(scored.positive.sum())
    if not cancers or cancers == len(scored.cases):
        raise EvaluationError(
            f"{cohort.name}: of {len(scored.cases)} exams that were used and have an answer, {cancers} are malignant: "
            "both kinds are needed. Enter `malignant` (1 or 0) in the table of labels and make the cohort anew."
        )


# ------------------------------------------------------------------ figures
def figures_of(scored: Scored, *, resamples: int, seed: int) -> dict[str, Any]:
    """Every figure with its interval."""
    found = intervals.bootstrap(
        scored.positive, scored.score, THRESHOLD, scored.patients, resamples=resamples, seed=seed
    )
    return {name: interval.json() for name, interval in found.items()}


def combinations(scored: Scored, cohort: Cohort, *, resamples: int, seed: int) -> dict[str, Any]:
    """The seven combinations, each on the exams that have its sequences; AUROC first, then all other figures."""
    found = {}
    for combination in COALITIONS:
        part = scored.combination(combination)
        row: dict[str, Any] = {"n": len(part.cases), "malignant": int(part.positive.sum())}
        if part.positive.any() and not part.positive.all():
            figures = figures_of(part, resamples=resamples, seed=seed)
            row = {**figures["auroc"], **row, "figures": figures}
            if ideal := ideal_observer(cohort, part, combination):
                row["ideal_observer"] = ideal
        found["+".join(combination)] = row
    return found


def tasks(scored: Mapping[TaskName, Scored], *, resamples: int, seed: int) -> dict[str, Any]:
    """Triple-negative subtype and complete response, where the weights answer them and the cohort knows the answer."""
    found: dict[str, Any] = {}
    for task, part in scored.items():
        if task != "malignancy" and part.positive.any() and not part.positive.all():
            found[task] = {
                "words": TASKS[task].in_the_paper,
                "asked_of": TASKS[task].asked_of,
                "n": len(part.cases),
                "positive": int(part.positive.sum()),
                "figures": figures_of(part, resamples=resamples, seed=seed),
            }
    return found


def ideal_observer(cohort: Cohort, scored: Scored, combination: Coalition) -> float | None:
    """AUROC of a reader who knows what was planted into synthetic exams: nobody can do better on them."""
    if cohort.truth is None:
        return None
    odds = cohort.truth.log_odds
    if combination == COALITIONS[-1]:
        known: npt.NDArray[np.float64] = odds["all"]
    else:
        known = odds.get("+".join(combination), sum((odds[s] for s in combination), np.zeros(len(cohort))))
    return metrics.auroc(scored.positive, known[scored.rows])


# ------------------------------------------------------------------ words
def named(cohort: Cohort) -> str:
    """The cohort in words; a synthetic one is always called so."""
    return f"synthetic phantoms, {cohort.name}" if cohort.synthetic else cohort.name


def about(header: Header, cohort: Cohort, scored: Scored, resamples: int, seed: int) -> dict[str, Any]:
    card = header.card
    return {
        "weights": {
            name: card.get(name)
            for name in ("name", "version", "status", "trained_on", "evaluated_on_patients", "limits_of_use")
        },
        "cohort_identity": cohort.identity,
        "cohort_origin": dict(cohort.origin),
        "preprocessing": cohort.preprocessing.hash(),
        "sequences_at_hand": flow.by_sequences(scored),
        "characteristics": flow.characteristics(scored),
        "resamples": resamples,
        "seed": seed,
        "interval": "95 %, percentiles of a bootstrap that draws patients",
        "duplicates": [list(pair) for pair in separation.within(cohort)],
    }


def not_measured(result: Mapping[str, Any], cohort: Cohort) -> list[str]:
    """What a reader could look for in vain, and why it is not there."""
    missing = [*result.pop("absent")] if isinstance(result, dict) else []
    if "shapley" not in result:
        missing.append("Contribution of the sequences: not asked for (`--shapley`).")
    if "saliency" not in result:
        why = (
            "not asked for (`--saliency N`)"
            if cohort.truth is not None
            else "the cohort does not know where lesions lie"
        )
        missing.append(f"Place of the lesion: {why}.")
    if "against" not in result:
        missing.append("Other models on the same exams: none was named (`--against`).")
    if not result["tasks"]:
        missing.append("Triple-negative subtype and complete response: no network for them, or no answers.")
    missing.append("Augmentation at test time: scores are of each exam once, as it lies.")
    if cohort.synthetic:
        missing.append("Patients: none took part. Nothing here says how well the model does on them.")
    else:
        missing.append("The effect on readers and on patients: the model stood alone, nobody read with it.")
    return missing


def plain(value: Any) -> Any:
    """Of numpy and NaN to what JSON holds; NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {str(name): plain(member) for name, member in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(member) for member in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
