"""What a training leaves: weights with their card, the record of exams it saw, and `run.json`."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import weights
from ..card import IMPORTED_LIMITS, ROLES, STATUS, VERSION, demonstration_card
from ..cohort import Cohort
from ..evaluation import separation
from ..network import Mome
from ..tasks import TASKS, TaskName
from .configuration import Configuration
from .run import Outcome

WEIGHTS, RUN = "weights.safetensors", "run.json"
LIBRARIES = ("mome-node", "torch", "numpy", "monai", "safetensors")
TRAINED = "trained on a cohort of one's own, not evaluated on other patients; not for clinical use"


def write(
    out: Path,
    network: Mome,
    config: Configuration,
    outcome: Outcome,
    cohorts: Mapping[str, Cohort],
    validation: Cohort | None,
    described: Mapping[str, Any],
) -> str:
    """`weights.safetensors` without operating points, `seen.csv`, `run.json`; the SHA-256 of the weights."""
    learned = {lesson.cohort for stage in config.stages for lesson in stage.lessons}
    seen = [exam for name in sorted(learned) for exam in separation.exams(cohorts[name], "training")]
    if validation is not None:
        seen += separation.exams(validation, "validation")
    seen += seen_before(config)
    separation.write(out / separation.RECORD, seen)
    family: dict[TaskName, Mome] = {config.task: network}
    before: dict[str, Any] = {}
    if config.start.weights is not None and config.task != "malignancy":
        others, header = weights.load_family(config.start.weights)
        family, before = {**others, config.task: network}, header.card
    training = [cohorts[name] for name in config.cohorts if name in learned]
    card = card_of(config, family, training, validation, before)
    digest = weights.save(out / WEIGHTS, family, training[0].preprocessing, card, dtype=config.stored)
    said = {
        "configuration": config.model_dump(mode="json"),
        "described": dict(described),
        "weights_sha256": digest,
        "cohorts": {
            name: {"words": c.words, "identity": c.identity, "origin": dict(c.origin)} for name, c in cohorts.items()
        },
        "validation": dict(outcome.figures),
        "best": outcome.progress.best,
        "runs": outcome.progress.begun,
        "seconds": round(outcome.progress.seconds),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    partial = out / f"{RUN}.{os.getpid()}.partial"
    partial.write_text(json.dumps(said, indent=1), encoding="utf-8")
    partial.replace(out / RUN)
    return digest


def seen_before(config: Configuration) -> list[separation.Exam]:
    """What the weights saw that the training starts from, as far as a record beside them says it."""
    record = config.start.weights and separation.record_of(config.start.weights)
    return separation.read(record) if record else []


def card_of(
    config: Configuration,
    family: Mapping[TaskName, Mome],
    training: Sequence[Cohort],
    validation: Cohort | None,
    before: Mapping[str, Any],
) -> dict[str, Any]:
    """Without operating points and without an evaluated range: `mome freeze` and `mome evaluate` bring them.

    `before`: the card of the weights that it started from, where their networks are in the file too.
    """
    recipe = config.model_dump(mode="json", exclude={"cohorts", "start"})
    preprocessing = training[0].preprocessing
    synthetic = all(cohort.synthetic for cohort in training)
    if synthetic and not before and any(lesson.needs_truth for stage in config.stages for lesson in stage.lessons):
        counts = [(len(c), c.origin.get("lesions", 1)) for c in training]
        single = sum(n for n, lesions in counts if lesions == 1)
        return demonstration_card(
            preprocessing, [], single=single, several=sum(n for n, _ in counts) - single, evaluated=0, recipe=recipe
        )
    tasks = [task for name, task in TASKS.items() if name in family]
    words = f"{config.task}: " + ", ".join(cohort.words for cohort in training)
    if validation is not None:
        words += f"; the values kept were chosen on {validation.words}"
    return {
        "name": "MOME",
        "version": VERSION,
        "status": STATUS if synthetic else TRAINED,
        "trained_on": "; ".join([*([str(before["trained_on"])] if before else []), words]),
        "evaluated_on_patients": False,
        "roles": ROLES,
        "targets": [task.target() for task in tasks],
        "preprocessing": {**dataclasses.asdict(preprocessing), "hash": preprocessing.hash()},
        "operating_points": [],
        "evaluated_range": {},
        "quality_limits": before.get("quality_limits", IMPORTED_LIMITS),
        "limits_of_use": [
            "Not evaluated: the score says nothing about a patient before it was evaluated on other patients.",
            "The score is of the whole exam; it names no side and no place, and it is not a probability.",
            *(f"{task.in_the_paper}: asked of {task.asked_of}." for task in tasks if task.name != "malignancy"),
        ],
        "recipe": recipe,
    }
