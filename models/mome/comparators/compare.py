"""`mome compare`: every model through the same training, then judged on the same exams."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import weights
from ..cohort import Cohort
from ..evaluation import separation
from ..evaluation.scoring import check_preprocessing
from ..network import Mome
from ..training import results, start, state
from ..training.configuration import Configuration, ConfigurationError, differences
from ..training.mome_objective import MomeObjective
from ..training.objective import Objective, Scores
from ..training.processes import rank, together, wait
from ..training.run import run
from . import late_fusion, roster
from .configuration import FUSED_LATE, SINGLES, Comparison, Name
from .resnets import ResNetSizes

Say = Callable[[str], None]
TEST = "held-out"
"""Name under which the judging cohort is made; a training must not have a cohort of this name."""
WHOLE = "at hand"
"""Key of the scores from all sequences that an exam has."""


@dataclass(frozen=True, slots=True)
class Model:
    """What one model says, and how it came about."""

    test: Mapping[str, Scores]  # by the sequences shown, `WHOLE` first; (N,), NaN where one is missing
    validation: Mapping[str, Scores] = field(default_factory=dict)
    parameters: int | None = None  # of the network, without heads that only the training needs
    trained: int | None = None  # of them, those that the training changes
    steps: int | None = None
    seconds: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """All models on one cohort."""

    models: Mapping[Name, Model]
    test: Cohort
    training: Configuration
    sizes: ResNetSizes
    notes: tuple[str, ...] = ()


def compare(
    comparison: Comparison,
    training: Configuration,
    out: Path,
    *,
    only: tuple[Name, ...] = (),
    cohorts: Path | None = None,
    device: str = "auto",
    workers: int = 0,
    save_seconds: float = 120,
    must_resume: bool = False,
    say: Say = print,
) -> Compared | None:
    """Train every model in a folder of its own below `out`, or go on where it was, and score the exams that judge.

    `cohorts`: where synthetic cohorts are kept (default: in `out`). None in all processes but the first. Raises
    ValueError of one of the kinds of this package with words for the person who started it.
    """
    if TEST in training.cohorts:
        raise ConfigurationError(f"The training names a cohort {TEST}, which is that of the judging exams here.")
    if must_resume and not any(out.rglob(state.STATE)):
        raise ConfigurationError(f"{out} holds no state of a comparison to go on with.")
    training = training.shortened(comparison.steps_factor) if comparison.steps_factor != 1 else training
    with together(device) as place:
        first = rank() == 0
        heard: Say = say if first else lambda text: None
        every = training.model_copy(update={"cohorts": {**training.cohorts, TEST: comparison.test}})
        if first:
            start.cohorts(every, cohorts or out / "cohorts", heard)
        wait()  # until the cohorts are made
        found = start.cohorts(every, cohorts or out / "cohorts", lambda text: None)
        test = found.pop(TEST)
        check_apart(test, found)
        learning, validation = start.with_validation(training, found)
        options = {"workers": workers, "save_seconds": save_seconds}
        described = start.described(training, found)
        bench = Bench(comparison, training, out, described, learning, validation, test, place, options, heard)
        models = bench.all(wanted(comparison, training, only))
    return Compared(models, test, training, bench.sizes, tuple(bench.notes)) if first else None


def wanted(comparison: Comparison, training: Configuration, only: tuple[Name, ...]) -> list[Name]:
    """In the order of training; raises ConfigurationError for a model that this training cannot make."""
    chosen = [name for name in comparison.models if name in only] if only else list(comparison.models)
    if missing := [name for name in only if name not in comparison.models]:
        raise ConfigurationError(f"The comparison has no model {', '.join(missing)}: name it under `models`.")
    if "without-pretraining" in chosen and training.start.backbone is None:
        if only:
            raise ConfigurationError("The training begins without a backbone: it is without pretraining already.")
        chosen.remove("without-pretraining")
    return chosen


def check_apart(test: Cohort, learned: Mapping[str, Cohort]) -> None:
    """Raises SeparationError where exams that judge are among those that the models learn from."""
    separation.check(test, [exam for cohort in learned.values() for exam in separation.exams(cohort, "training")])


@dataclass(frozen=True, slots=True)
class Bench:
    """The cohorts and the way that all models go."""

    comparison: Comparison
    training: Configuration
    out: Path
    described: Mapping[str, Any]  # what makes it this training
    learning: Mapping[str, Cohort]
    validation: Cohort | None
    test: Cohort
    place: torch.device
    options: Mapping[str, Any]  # of `run`: what changes no result
    say: Say
    notes: list[str] = field(default_factory=list)

    @property
    def sizes(self) -> ResNetSizes:
        return self.comparison.sizes(self.training)

    def all(self, names: list[Name]) -> dict[Name, Model]:
        """Models by name, in the order asked for; late fusion brings the single models that it is made of."""
        late = [name for name in names if name in FUSED_LATE]
        needed = [name for name in names if name not in FUSED_LATE]
        needed += [name for name in SINGLES if late and name not in needed]
        models = {name: self.opened() if name == "mome" and self.comparison.mome else self.one(name) for name in needed}
        if rank() == 0:
            models |= self.fused(late, models)
        return {name: models[name] for name in dict.fromkeys([*names, *needed]) if name in models}

    def one(self, name: Name) -> Model:
        """A model trained, or opened where it was trained already, and scored."""
        objective = roster.objective(name, self.training, self.sizes, self.place)
        described = roster.identity(name, self.described, self.sizes)
        outcome = run(
            objective,
            self.training,
            self.learning,
            self.out / name,
            validation=self.validation,
            described=described,
            say=lambda text: self.say(f"{name}: {text}"),
            **self.options,
        )
        network = objective.network
        if rank() == 0 and isinstance(network, Mome) and name == "mome":
            folder, validation = self.out / name, self.validation
            results.write(folder, network, self.training, outcome, self.learning, validation, described)
        wait()
        trained = {id(p) for p in objective.trained()}
        return Model(
            test=self.scored(name, objective, self.test),
            validation=self.scored(name, objective, self.validation) if name in SINGLES else {},
            parameters=sum(p.numel() for p in network.parameters()),
            trained=sum(p.numel() for p in network.parameters() if id(p) in trained),
            steps=sum(stage_steps(outcome.curves).values()),
            seconds=round(outcome.progress.seconds),
        )

    def scored(self, name: Name, objective: Objective, cohort: Cohort | None) -> Mapping[str, Scores]:
        if cohort is None or rank():
            return {}
        self.say(f"{name}: scores of {cohort.words}")
        with torch.inference_mode():
            return objective.scores(cohort)

    def opened(self) -> Model:
        """MOME from a weights file; raises where it saw the exams that judge, or takes others."""
        path = self.comparison.mome
        assert path is not None
        network, header = weights.load(path, str(self.place))
        check_preprocessing(header, self.test, path)
        self.notes.append(said_of(path, header.card, self.training))
        if record := separation.record_of(path):
            seen = separation.read(record)
            separation.check(self.test, seen)
            if volumes(seen) != volumes(self.learned()):
                self.notes.append(
                    f"{path.name} learned from other exams than the others: this comparison is not of models."
                )
        else:
            self.notes.append(
                f"{path.name} has no record of the exams that it saw: nobody checked that it saw none of these."
            )
        return Model(
            test=self.scored("mome", MomeObjective(network), self.test),
            parameters=sum(p.numel() for p in network.parameters()),
            note=f"weights {path.name}, SHA-256 {header.card['weights_sha256']}",
        )

    def learned(self) -> list[separation.Exam]:
        """Exams that the models here learn from."""
        names = {lesson.cohort for stage in self.training.stages for lesson in stage.lessons}
        return [exam for name in names for exam in separation.exams(self.learning[name], "training")]

    def fused(self, names: list[Name], models: Mapping[Name, Model]) -> dict[Name, Model]:
        """Late fusions of the scores of the single models."""
        if not names:
            return {}
        test, validation = (
            {roster.SEEN[name][0]: getattr(models[name], which).get(WHOLE) for name in SINGLES}
            for which in ("test", "validation")
        )
        found: dict[Name, Model] = {}
        if "late-fusion" in names:
            found["late-fusion"] = Model({WHOLE: late_fusion.mean(test)}, note="mean of the three single models")
        if "stacked-fusion" in names and self.validation is None:
            self.notes.append("Stacked fusion is fitted on a validation cohort, and the training has none: left out.")
        elif "stacked-fusion" in names:
            assert self.validation is not None
            score = late_fusion.stacked(test, validation, self.validation.answers("malignancy"))
            found["stacked-fusion"] = Model({WHOLE: score}, note=f"fitted on {self.validation.words}")
        return found


def volumes(seen: Iterable[separation.Exam]) -> set[str]:
    """Hashes of the volumes of the training."""
    return {exam.pixels for exam in seen if exam.kind == "training"}


def stage_steps(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Steps of each stage by its name, from the rows of the curves."""
    by_name = itertools.groupby((row for row in rows if "loss" in row), key=lambda row: str(row["stage"]))
    return {name: max(int(row["step"]) for row in part) for name, part in by_name}


def said_of(path: Path, card: Mapping[str, Any], training: Configuration) -> str:
    """Whether weights were trained as the others here; in words."""
    recipe = card.get("recipe")
    if not isinstance(recipe, Mapping) or "stages" not in recipe:
        return f"MOME is {path.name}, trained elsewhere; its card does not say how: perhaps otherwise than the others."
    here = training.model_dump(mode="json", exclude={"cohorts", "start"})
    differ = [
        difference
        for key in ("network", "seed", "stages", "selection")
        for difference in differences({key: recipe.get(key)}, {key: here[key]})
    ]
    if not differ:
        return f"MOME is {path.name}, trained elsewhere with this very recipe."
    told = "; ".join(differ)
    return f"MOME is {path.name}, trained elsewhere and otherwise than the others (its own, then theirs): {told}."


def used(cohort: Cohort) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Rows of the exams that count: used, with an answer."""
    answers = cohort.answers("malignancy")
    return np.flatnonzero([case.status == "used" for case in cohort.cases] & ~np.isnan(answers))
