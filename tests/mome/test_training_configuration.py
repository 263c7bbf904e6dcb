"""One file describes a training; what cannot be meant is refused with the place in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mome.config import DEMONSTRATION, NetworkConfig
from mome.training.configuration import ConfigurationError, read
from mome.training.optimisation import rate_at

from .small_training import STAGE, small_configuration


def test_an_unknown_key_is_named_with_its_line(tmp_path: Path) -> None:
    """A misspelt key would otherwise leave its default in force, and nobody would know."""
    path = tmp_path / "mine.toml"
    path.write_text(
        '[cohorts]\ntrain = { folder = "x" }\n\n[[stages]]\nname = "a"\nsteps = 1\n\n'
        '[[stages]]\nname = "b"\nsteps = 1\nlearning_rate = 1e-3\n\n[selection]\nkeep = "last"\n'
    )
    with pytest.raises(ConfigurationError, match=r"mine.toml, line 11, stages.1.learning_rate: this key is not known"):
        read(path)


def test_a_file_that_is_not_there_names_the_recipes(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="demonstration, paper"):
        read(tmp_path / "none.toml")


def test_the_recipe_of_the_paper() -> None:
    """Luo et al. 2025, Methods, and the published code: what a reader would check first."""
    config = read(Path("paper"))
    (stage,) = config.stages
    assert config.sizes == NetworkConfig()
    assert (stage.optimiser, stage.rate, stage.final_rate, stage.weight_decay) == ("adam", 1e-4, 1e-6, 5e-4)
    assert (stage.epochs, stage.batch, stage.accumulate, stage.drop_path) == (100, 1, 32, 0.15)
    assert stage.augmentation == "paper"
    assert config.start.backbone is not None
    rates = [rate_at(stage, step, 3700) for step in range(3700)]
    assert rates[0] == rates[36] == 1e-4, "the rate changes with the epoch, 37 steps of 1,167 exams"
    assert rates[37] < 1e-4
    assert rates[-1] == pytest.approx(1e-6, rel=0.1)


def test_the_recipe_of_the_demonstration() -> None:
    config = read(Path("demonstration"))
    first, second = config.stages
    assert config.sizes == DEMONSTRATION
    assert (first.steps, second.steps) == (850, 2700)
    assert (first.batch, second.batch, first.warm_up) == (8, 8, 80)
    assert (first.rate, second.rate) == (1.5e-3, 0.9e-3)
    assert rate_at(second, 79, 2700) == pytest.approx(0.9e-3, rel=0.01)
    assert rate_at(second, 2700, 2700) == pytest.approx(0.02 * 0.9e-3)
    short = config.shortened(0.01).stages
    assert [(s.steps, s.validate_every) for s in short] == [(8, 0), (27, 4)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "tnbc"}, "starts from one of malignancy"),
        ({"stages": [STAGE | {"epochs": 3}]}, "either `steps` or `epochs`"),
        ({"stages": [STAGE | {"lessons": [{"cohort": "other"}]}]}, "no cohort other"),
        ({"stages": [STAGE | {"validate_every": 2}]}, "needs `cohort` or `share`"),
        ({"selection": {"keep": "best"}}, "needs `validate_every`"),
        ({"stages": [STAGE | {"augmentation": "paper", "lessons": [{"lesions": 1}]}]}, "no one place"),
        ({"start": {"backbone": "a", "weights": "b"}}, "hold a backbone already"),
        ({"cohorts": {"train": {}}}, "either `folder` or `synthetic`"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any], words: str) -> None:
    """Better at once than after a night of training."""
    with pytest.raises(ValueError, match=words):
        small_configuration(**changes)
