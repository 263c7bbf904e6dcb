"""A training from its configuration to the last step: deterministic, and resumed where it was killed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from ..coalitions import auroc
from ..cohort import Cohort
from . import curves, state
from .batches import Batch, Batches
from .configuration import Configuration, Stage
from .objective import Objective, Scores
from .optimisation import computed_in, optimiser_of, rate_at, restore, scaler_of, tensors_of
from .processes import Learner, in_step, processes, rank, shared, wait
from .state import Progress, Tensors

Say = Callable[[str], None]
EVERY = 50
"""Steps between two lines of progress and of `curves.csv`."""


class TrainingError(ValueError):
    """A training that cannot go on; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training ended with; its values are in the objective's network."""

    progress: Progress
    figures: Mapping[str, float]  # AUROC on the validation cohort by kind of score, of the values kept; else empty

    @property
    def curves(self) -> list[dict[str, Any]]:
        return self.progress.rows


def run(
    objective: Objective,
    config: Configuration,
    cohorts: Mapping[str, Cohort],
    out: Path,
    *,
    validation: Cohort | None = None,
    described: Mapping[str, Any] | None = None,
    key: tuple[int, ...] = (),
    say: Say = lambda text: None,
    save_seconds: float = 120,
    workers: int = 0,
) -> Outcome:
    """Train `objective` through all stages and keep its state in `out`; a state of the same training goes on there.

    `cohorts` by the names in the lessons; `validation` decides which values are kept. `described`: what else makes it
    this training (by default the configuration alone), for the comparison with a state found; `key`: numbers that tell
    this run from others with the same seed (a fold). `save_seconds`: between two states on the disk.
    Raises ConfigurationError for the state of another training, TrainingError where the loss is no number.
    """
    training = Training(objective, config, cohorts, out, validation, described, key, say, save_seconds, workers)
    training.go()
    return Outcome(training.progress, training.kept())


class Training:
    """The loop. What it knows beside its inputs is `progress`, the optimiser and the best values."""

    def __init__(
        self,
        objective: Objective,
        config: Configuration,
        cohorts: Mapping[str, Cohort],
        out: Path,
        validation: Cohort | None,
        described: Mapping[str, Any] | None,
        key: tuple[int, ...],
        say: Say,
        save_seconds: float,
        workers: int,
    ) -> None:
        self.objective, self.config, self.cohorts, self.out = objective, config, cohorts, out
        self.validation, self.key = validation, (config.seed, *key)
        self.described = config.model_dump(mode="json") if described is None else described
        self.say, self.save_seconds, self.workers = say, save_seconds, workers
        self.device = next(objective.network.parameters()).device
        self.best: Tensors = {}
        out.mkdir(parents=True, exist_ok=True)
        found = state.read(out, self.described)
        self.progress, self.found = found or (Progress(), {})
        if found:
            state.put_back(objective, self.found["learned"])
            self.best = self.found["best"]
        wait()  # nobody writes before all have read
        began = {"stage": self.progress.stage, "step": self.progress.step}
        self.progress.begun.append(began | environment(self.device, workers))
        self.start, self.saved = time.monotonic() - self.progress.seconds, time.monotonic()

    # -------------------------------------------------------------- stages
    def go(self) -> None:
        for number in range(self.progress.stage, len(self.config.stages)):
            if not self.progress.finished:
                self.stage(number, self.config.stages[number])
        if self.config.selection.keep == "best" and self.best:
            state.put_back(self.objective, self.best)
        self.objective.network.eval()

    def stage(self, number: int, stage: Stage) -> None:
        progress, network = self.progress, self.objective.network
        batches = Batches(stage, self.cohorts, self.config.task, (*self.key, number), process=(rank(), processes()))
        network.checkpointing = stage.checkpointing  # type: ignore[assignment]
        parameters = list(self.objective.trained())
        optimiser = optimiser_of(stage, parameters)
        scaler = scaler_of(stage, self.device)
        if progress.step:
            restore(optimiser, self.found["optimiser"])
            scaler.load_state_dict(progress.scaler)
        learner = shared(Learner(self.objective))
        arriving = self.arriving(batches, progress.step * stage.accumulate)
        learner.train()
        for step in range(progress.step, batches.steps):
            rate = rate_at(stage, step, batches.steps)
            for group in optimiser.param_groups:
                group["lr"] = rate
            loss = self.one_step(stage, (*self.key, number, step), learner, arriving, optimiser, scaler, parameters)
            progress.step, progress.losses = step + 1, [*progress.losses, loss]
            self.note(stage, step + 1, batches, rate)
            last = step + 1 == batches.steps
            if self.validation is not None and validates(stage, step + 1, batches):
                self.validate(stage, step + 1)
                learner.train()
            if last:
                progress.stage, progress.step = number + 1, 0
                progress.finished = progress.stage == len(self.config.stages)
            progress.scaler = scaler.state_dict()
            self.save_if(optimiser, last)
        self.found = {}

    def arriving(self, batches: Batches, first: int) -> Iterator[Batch]:
        """Batches from number `first` on, read ahead by other processes where there are workers."""
        loader = DataLoader(
            batches,
            batch_size=None,
            sampler=range(first, len(batches)),
            num_workers=self.workers,
            collate_fn=unchanged,
            multiprocessing_context="fork" if self.workers else None,
        )
        return iter(loader)

    def one_step(
        self,
        stage: Stage,
        key: tuple[int, ...],
        learner: nn.Module,
        arriving: Iterator[Batch],
        optimiser: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        parameters: list[nn.Parameter],
    ) -> float:
        """Gradients of all accumulated batches, one step of the optimiser; the loss before it."""
        optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for micro in range(stage.accumulate):
            rng = np.random.default_rng((*key, micro, 1))
            torch.manual_seed(int(rng.integers(2**62)) + rank())
            batch = next(arriving).to(self.device)
            with in_step(learner, micro + 1 == stage.accumulate):
                with computed_in(stage, self.device):
                    loss = learner(batch, rng) / stage.accumulate
                scaler.scale(loss).backward()
            total += loss.detach()
        if stage.clip is not None:
            scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(parameters, stage.clip, foreach=True)
        scaler.step(optimiser)
        scaler.update()
        value = float(total)
        if not math.isfinite(value):
            raise TrainingError(
                f"The loss is no number after {self.progress.step} steps of stage {stage.name}: lower `rate`, set "
                "`clip`, or compute in fp32."
            )
        return value

    # -------------------------------------------------------------- looks
    def note(self, stage: Stage, step: int, batches: Batches, rate: float) -> None:
        """A line of progress every `EVERY` steps and at the end of the stage."""
        if step % EVERY and step != batches.steps:
            return
        progress = self.progress
        loss, seconds = sum(progress.losses) / len(progress.losses), time.monotonic() - self.start
        progress.losses = []
        progress.rows.append(
            {"stage": stage.name, "step": step, "loss": loss, "rate": rate, "seconds": round(seconds, 1)}
        )
        left = self.seconds_left(step, batches.steps)
        self.say(f"{stage.name} {step}/{batches.steps} loss {loss:.3f}, {spoken(seconds)}{left}")

    def seconds_left(self, step: int, steps: int) -> str:
        """In words, at the speed of the last rows of this stage."""
        rows = [row for row in self.progress.rows if "loss" in row and row["stage"] == self.progress.rows[-1]["stage"]]
        rows = rows[-5:]
        if len(rows) < 2 or step == steps:
            return ""
        each = (rows[-1]["seconds"] - rows[0]["seconds"]) / (rows[-1]["step"] - rows[0]["step"])
        return f", {spoken(each * (steps - step))} left in this stage"

    def validate(self, stage: Stage, step: int) -> None:
        """Score the validation cohort, and keep the values where they are the best so far."""
        assert self.validation is not None
        network, progress = self.objective.network, self.progress
        network.eval()
        with torch.inference_mode():
            found = self.objective.scores(self.validation)
        answers = self.validation.answers(self.config.task)
        figures = {name: known_auroc(answers, score) for name, score in found.items()}
        first = next(iter(found.values()))
        value = next(iter(figures.values())) if self.config.selection.figure == "auroc" else -log_loss(answers, first)
        row = {"stage": stage.name, "step": step, "seconds": round(time.monotonic() - self.start, 1)}
        progress.rows.append(
            row | {"log_loss": log_loss(answers, first)} | {f"auroc {n}": f for n, f in figures.items()}
        )
        self.say(
            f"{stage.name} {step}: AUROC on {self.validation.words}: "
            + ", ".join(f"{name} {figure:.3f}" for name, figure in figures.items())
        )
        if self.config.selection.keep == "best" and (progress.best is None or value > progress.best["value"]):
            progress.best = {"value": value, "stage": stage.name, "step": step, "figures": figures}
            self.best = state.copied(state.learned(self.objective))

    def kept(self) -> dict[str, float]:
        """Figures of the values that were kept."""
        if self.progress.best is not None:
            return dict(self.progress.best["figures"])
        rows = [row for row in self.progress.rows if "log_loss" in row]
        return {n.removeprefix("auroc "): f for n, f in rows[-1].items() if n.startswith("auroc ")} if rows else {}

    def save_if(self, optimiser: torch.optim.Optimizer, last: bool) -> None:
        """State, curves as a table, and at the end of a stage as a picture; by the first process only."""
        if rank() or not (last or time.monotonic() - self.saved >= self.save_seconds):
            return
        self.progress.seconds = time.monotonic() - self.start
        parts = {
            "learned": state.learned(self.objective),
            "optimiser": {} if last else tensors_of(optimiser),  # the next stage has its own
            "best": self.best,
        }
        state.save(self.out, self.progress, self.described, parts)
        curves.write(self.out, self.progress.rows, picture=last)
        self.saved = time.monotonic()


def unchanged(batch: Any) -> Any:
    return batch


def validates(stage: Stage, step: int, batches: Batches) -> bool:
    """Whether the stage is scored after this step."""
    each = stage.validate_every * (batches.steps_per_epoch if stage.epochs else 1)
    return bool(each) and (step % each == 0 or step == batches.steps)


def known_auroc(answers: Scores, score: Scores) -> float:
    """Over the exams whose answer and score are known; NaN without both classes."""
    known = ~np.isnan(answers) & ~np.isnan(score)
    return auroc(answers[known] == 1, score[known])


def log_loss(answers: Scores, score: Scores) -> float:
    """Mean cross-entropy of the exams whose answer and score are known."""
    known = ~np.isnan(answers) & ~np.isnan(score)
    right = np.where(answers[known] == 1, score[known], 1 - score[known])
    return float(-np.log(np.clip(right, 1e-12, 1)).mean())


def environment(device: torch.device, workers: int) -> dict[str, Any]:
    """What the bits of a result depend on beside its configuration."""
    return {
        "device": device.type,
        "threads": torch.get_num_threads(),
        "processes": processes(),
        "workers": workers,
        "torch": torch.__version__,
    }


def spoken(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if seconds < 100 else f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
