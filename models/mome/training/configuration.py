"""One TOML file describes a training: cohorts, network, start, stages, selection. An unknown key is an error."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from ..config import DEMONSTRATION, NetworkConfig, Size, from_json
from ..tasks import TaskName

RECIPES = Path(__file__).parent / "recipes"
NETWORKS = {"demonstration": DEMONSTRATION, "paper": NetworkConfig()}


class ConfigurationError(ValueError):
    """A training that cannot be meant; the message names file, line and key."""


class Section(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """A table of the file."""


class Synthetic(Section):
    """A cohort of phantoms, made before the training where it is not there yet (`mome phantom` makes the same)."""

    count: int = Field(gt=0)
    """Number of exams."""
    lesions: int = Field(default=1, gt=0)
    """In each exam; with more than one the label of the exam is that of the first, so only "lesions" is learned."""
    first_seed: int | None = None
    """Default: the range kept for a cohort of this name (train, train-several, validation)."""


class Source(Section):
    """Where a cohort is: a folder, or seeds of phantoms."""

    folder: Path | None = None
    """Made by `mome phantom` or `mome-node cohort`; relative to the configuration file."""
    synthetic: Synthetic | None = None

    @model_validator(mode="after")
    def one_of_both(self) -> Source:
        if (self.folder is None) == (self.synthetic is None):
            raise ValueError("a cohort has either `folder` or `synthetic`")
        return self


class Sizes(Section):
    """Of a network of one's own, as `mome.config.NetworkConfig`."""

    dim: int = Field(gt=0)
    heads: int = Field(gt=0)
    ffn: int = Field(gt=0)
    sparse_blocks: int = Field(ge=1)
    soft_blocks: int = Field(ge=1)
    adapter: int = Field(gt=0)
    experts: int = Field(gt=0)
    slots: int = Field(default=1, gt=0)
    stem: tuple[int, int]
    dce_channels: int = 6
    dce_canvas: Size
    dwi_canvas: Size
    t2_canvas: Size
    dce_pool: Size = (2, 2, 2)
    dwi_pool: Size = (2, 2, 2)
    t2_pool: Size = (2, 2, 2)
    shared_backbone: bool = False


class Start(Section):
    """The values that the training starts from."""

    initialisation: Literal["published", "demonstration"] = "published"
    """Random numbers as in the published code, or those with which a small network learns from few exams."""
    backbone: Path | None = None
    """Backbone file (`mome weights import` makes it from BEiT-3): these tensors are put in, and stay as they are."""
    weights: Path | None = None
    """Weights file whose network of malignancy is trained further. A backbone shared by all sequences stays as it is.
    TNBC and pCR need one, and the file written then holds its networks and the new one."""

    @model_validator(mode="after")
    def one_at_most(self) -> Start:
        if self.backbone and self.weights:
            raise ValueError("a training starts from `backbone` or from `weights`: weights hold a backbone already")
        return self


class Lesson(Section):
    """What some steps of a stage learn, and from which cohort."""

    objective: Literal["answer", "lesions"] = "answer"
    """"answer": cross-entropy of the task. "lesions": only where lesions are and what they are like, asked of every
    token; for synthetic cohorts, where that is known."""
    cohort: str = "train"
    share: float = Field(default=1, gt=0)
    """Of the steps of the stage; the shares of all its lessons are divided by their sum."""
    weight: float = Field(default=1, gt=0)
    """Of the loss."""
    class_weighted: bool = False
    """An exam counts as N / (2 x exams of its class): so that the rare class weighs as much as the other."""
    fewer: float = Field(default=0, ge=0)
    """"answer" only: weight of the cross-entropy of one random combination of fewer sequences."""
    lesions: float = Field(default=0, ge=0)
    """"answer" only: weight of the loss of "lesions" beside it."""
    attributes: float = Field(default=0, ge=0)
    """"answer" only: weight of the planted attributes, asked of the CLS token."""

    @property
    def needs_truth(self) -> bool:
        return self.objective == "lesions" or self.lesions > 0 or self.attributes > 0


class Intensity(Section, extra="allow"):
    """One random transform of MONAI on the values inside the breast; further keys are its own."""

    transform: Literal[
        "RandGaussianNoise",
        "RandScaleIntensity",
        "RandShiftIntensity",
        "RandAdjustContrast",
        "RandGaussianSmooth",
        "RandBiasField",
    ]


class Stage(Section):
    """Some steps with one optimiser; the next stage begins with a new one."""

    name: str
    lessons: tuple[Lesson, ...] = Field(default=(Lesson(),), min_length=1)
    steps: int | None = Field(default=None, gt=0)
    """Of the optimiser; each draws its exams anew."""
    epochs: int | None = Field(default=None, gt=0)
    """Passes over all exams of the one lesson, each in a new order."""
    optimiser: Literal["adam", "adamw"] = "adamw"
    """Adam adds the weight decay to the gradient, AdamW takes it from the values."""
    rate: float = Field(default=1e-4, gt=0)
    """Learning rate at the start, after the warm-up."""
    final_rate: float = Field(default=0, ge=0)
    """At the end of the cosine, which runs over steps, or over epochs where the stage counts those."""
    warm_up: int = Field(default=0, ge=0)
    """Steps over which the rate grows from nothing."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0, ge=0)
    decay_vectors: bool = True
    """Whether biases and norms decay too."""
    batch: int = Field(default=1, gt=0)
    """Exams computed together, over all processes."""
    accumulate: int = Field(default=1, gt=0)
    """Batches of one step of the optimiser; their gradients are averaged."""
    clip: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient."""
    drop_path: float = Field(default=0, ge=0, lt=1)
    """Share of the exams for which a branch of the last block is left out; grows from 0 at the first block."""
    augmentation: Literal["none", "mirrored-shifted", "paper"] = "none"
    """"paper": each sequence of an exam anywhere on its canvas, then one of the six flips. "mirrored-shifted": the
    whole batch mirrored (left to right, head to feet) and shifted by at most two voxels, all sequences alike."""
    intensities: tuple[Intensity, ...] = ()
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    checkpointing: bool = False
    """Compute blocks again for the gradient: less memory, more time, the same gradient."""
    validate_every: int = Field(default=0, ge=0)
    """Steps, or epochs where the stage counts those, after which it is scored on the validation cohort; 0: never. The
    end of the stage is one of them."""

    @property
    def exams_per_step(self) -> int:
        return self.batch * self.accumulate

    @model_validator(mode="after")
    def makes_sense(self) -> Stage:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("a stage has either `steps` or `epochs`")
        if self.epochs and len(self.lessons) > 1:
            raise ValueError("a stage of `epochs` has one lesson; with more, count `steps`")
        if self.augmentation == "paper" and any(lesson.needs_truth for lesson in self.lessons):
            raise ValueError('"paper" moves each sequence by itself: where a lesion lies is then no one place')
        return self


class Selection(Section):
    """Which of the validated states becomes the result."""

    cohort: str = ""
    """Of validation; empty: a part of the cohort "train" (see `share`)."""
    share: float = Field(default=0, ge=0, lt=1)
    """Of the patients of "train" that are kept for validation, where no cohort is named."""
    figure: Literal["auroc", "log_loss"] = "auroc"
    keep: Literal["best", "last"] = "best"


class Folds(Section):
    """Cross-validation of the cohort "train", by patient, both classes in every part."""

    n: int = Field(default=5, ge=2)


class Configuration(Section):
    """A training."""

    seed: int = Field(default=1, ge=0)
    task: TaskName = "malignancy"
    network: Literal["demonstration", "paper"] | Sizes = "demonstration"
    stored: Literal["float16", "float32"] = "float16"
    """Numbers in the weights file; the validation figures are those of the numbers trained with."""
    start: Start = Start()
    cohorts: Annotated[dict[str, Source], Field(min_length=1)]
    stages: tuple[Stage, ...] = Field(min_length=1)
    selection: Selection = Selection()
    folds: Folds | None = None

    @property
    def sizes(self) -> NetworkConfig:
        return (
            from_json(NetworkConfig, self.network.model_dump())
            if isinstance(self.network, Sizes)
            else NETWORKS[self.network]
        )

    @model_validator(mode="after")
    def fits_together(self) -> Configuration:
        wanted = {lesson.cohort for stage in self.stages for lesson in stage.lessons}
        wanted |= {self.selection.cohort} if self.selection.cohort else set()
        if missing := sorted(wanted - self.cohorts.keys()):
            raise ValueError(f"there is no cohort {', '.join(missing)} under [cohorts]")
        validated = any(stage.validate_every for stage in self.stages)
        if validated and not self.selection.cohort and not self.selection.share:
            raise ValueError("`validate_every` needs `cohort` or `share` under [selection]")
        if self.selection.keep == "best" and not self.stages[-1].validate_every:
            raise ValueError('`keep = "best"` needs `validate_every` in the last stage')
        if self.task != "malignancy" and self.start.weights is None:
            raise ValueError(f"the network of {self.task} starts from one of malignancy: name it, `start.weights`")
        if self.folds and {*wanted} - {"train"}:
            raise ValueError('`folds` needs all lessons on the cohort "train", and validation by `selection.share`')
        return self

    def shortened(self, factor: float) -> Configuration:
        """The same with fewer steps, epochs and warm-up, at least one of each: to try it out."""

        def fewer(n: int | None) -> int | None:
            return n and max(1, round(n * factor))

        stages = tuple(
            stage.model_copy(
                update={name: fewer(getattr(stage, name)) for name in ("steps", "epochs", "warm_up", "validate_every")}
            )
            for stage in self.stages
        )
        return self.model_copy(update={"stages": stages})


def read(path: Path) -> Configuration:
    """The training that a file describes; paths in it are relative to it. Raises ConfigurationError."""
    if not path.is_file() and (RECIPES / f"{path}.toml").exists():
        path = RECIPES / f"{path}.toml"
    try:
        text = path.read_text(encoding="utf-8")
        return parsed(tomllib.loads(text), path.parent)
    except FileNotFoundError as error:
        known = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.toml")))
        raise ConfigurationError(f"There is no {path}: name a file, or a recipe that is shipped ({known}).") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path.name} is not TOML: {error}.") from error
    except ValidationError as error:
        said = "; ".join(f"{path.name}{place(text, problem['loc'])}: {words(problem)}" for problem in error.errors())
        raise ConfigurationError(f"{said}. docs/training.md lists the keys.") from error


def parsed(said: dict[str, Any], folder: Path) -> Configuration:
    """Raises pydantic.ValidationError."""
    read = Configuration.model_validate(said)

    def absolute(path: Path | None) -> Path | None:
        return path and (folder / path).resolve()

    start = read.start.model_copy(update={n: absolute(getattr(read.start, n)) for n in ("backbone", "weights")})
    cohorts = {n: s.model_copy(update={"folder": absolute(s.folder)}) for n, s in read.cohorts.items()}
    return read.model_copy(update={"start": start, "cohorts": cohorts})


def words(problem: Any) -> str:
    said = problem["msg"].removeprefix("Value error, ")
    return "this key is not known" if problem["type"] == "extra_forbidden" else said


def place(text: str, where: tuple[int | str, ...]) -> str:
    """Line and dotted name of a problem; a table that is missing has no line."""
    name = ".".join(str(part) for part in where)
    lines = text.splitlines()
    at, number = 0, None
    for position, part in enumerate(where):
        if isinstance(part, int):  # the entries of an array of tables have headings of their own
            heading = rf"\s*\[\[\s*([\w.]+\.)?{re.escape(str(where[position - 1]))}\s*\]\]"
            heads = [i for i, line in enumerate(lines) if re.match(heading, line)]
            at = heads[part] if part < len(heads) else at
        else:
            key = re.compile(rf"(^|[\s\[{{,.]){re.escape(part)}\s*(=|\]|\.)")
            found = next((i for i in range(at, len(lines)) if key.search(lines[i])), None)
            at, number = (at, number) if found is None else (found, found + 1)
    return f"{f', line {number}' if number else ''}{f', {name}' if name else ''}"


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Keys with both values, where two JSON objects are not the same."""
    first, second = flat(one), flat(other)
    return [
        f"{key} {first.get(key)!r}, now {second.get(key)!r}"
        for key in sorted(first.keys() | second.keys())
        if first.get(key) != second.get(key)
    ]


def flat(value: Any, name: str = "") -> dict[str, Any]:
    members = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if members is None:
        return {name: value}
    return {n: v for key, member in members for n, v in flat(member, f"{name}.{key}" if name else str(key)).items()}
