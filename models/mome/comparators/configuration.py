"""One TOML file describes a comparison: the training that all models go through, and the exams that judge them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from pydantic import Field, ValidationError, field_validator

from ..training import configuration as training
from ..training.configuration import Configuration, ConfigurationError, Section, Source
from .resnets import PAPER, ResNetSizes

COMPARISONS = Path(__file__).parent
Name: TypeAlias = Literal[
    "mome",
    "resnet-dce",
    "resnet-dwi",
    "resnet-t2",
    "late-fusion",
    "stacked-fusion",
    "feature-fusion",
    "plain-transformer",
    "without-experts",
    "without-soft-experts",
    "without-pretraining",
]
NAMES: tuple[Name, ...] = get_args(Name)
SINGLES: tuple[Name, ...] = ("resnet-dce", "resnet-dwi", "resnet-t2")
FUSED_LATE: tuple[Name, ...] = ("late-fusion", "stacked-fusion")
"""Nothing is trained for these: they are made of the scores of `SINGLES`."""


class Comparison(Section):
    """What is compared, how it is trained, on what it is judged."""

    training: str
    """Training file, relative to this one, or a shipped recipe by its name. Cohorts, stages, seed and selection are
    those of every model, also what synthetic exams teach beside the label."""
    steps_factor: float = Field(default=1, gt=0)
    """Shorter or longer: this share of all steps of the training, for every model."""
    test: Source
    """The cohort that judges; no exam of it may be among those of the training."""
    models: tuple[Name, ...] = NAMES
    """Which of them, beside what they need; "without-pretraining" only where the training has a backbone."""
    mome: Path | None = None
    """Weights file or model folder of a MOME that is trained already, relative to this file."""
    resnet: ResNetSizes | None = None
    """Default: a small ResNet10; for the network "paper" a ResNet34."""
    threshold: float = 0.5
    """Scores above it count as positive in the figures that need one, as in the paper."""
    resamples: int = Field(default=1000, ge=20)
    seed: int = 0
    """Of the resampling."""

    @field_validator("models")
    @classmethod
    def once_each(cls, models: tuple[Name, ...]) -> tuple[Name, ...]:
        return tuple(name for name in NAMES if name in models)

    def sizes(self, config: Configuration) -> ResNetSizes:
        return self.resnet or (PAPER if config.network == "paper" else ResNetSizes())


def read(path: Path) -> tuple[Comparison, Configuration]:
    """The comparison that a file or a shipped name describes, and its training, not shortened yet.

    Raises ConfigurationError.
    """
    if not path.is_file() and (COMPARISONS / f"{path}.toml").exists():
        path = COMPARISONS / f"{path}.toml"
    try:
        text = path.read_text(encoding="utf-8")
        comparison = Comparison.model_validate(tomllib.loads(text))
    except FileNotFoundError as error:
        known = ", ".join(sorted(shipped.stem for shipped in COMPARISONS.glob("*.toml")))
        raise ConfigurationError(
            f"There is no {path}: name a file, or a comparison that is shipped ({known})."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path.name} is not TOML: {error}.") from error
    except ValidationError as error:
        said = [
            f"{path.name}{training.place(text, problem['loc'])}: {training.words(problem)}"
            for problem in error.errors()
        ]
        raise ConfigurationError("; ".join(said) + ".") from error
    folder = path.parent
    named = folder / comparison.training
    config = training.read(named if named.is_file() else Path(comparison.training))
    if config.task != "malignancy" or config.folds or config.start.weights:
        raise ConfigurationError(
            f"{comparison.training}: a comparison trains networks of malignancy from their start: without `folds`, "
            "`start.weights` and another `task`."
        )
    test = comparison.test
    if test.folder:
        test = test.model_copy(update={"folder": (folder / test.folder).resolve()})
    mome = comparison.mome and (folder / comparison.mome).resolve()
    return comparison.model_copy(update={"test": test, "mome": mome}), config
