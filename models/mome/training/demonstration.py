"""How the demonstration weights are made, from seeds to the file: cohorts, training, operating points, card."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .. import weights
from ..card import demonstration_card
from ..cohort import Cohort
from ..config import DEMONSTRATION, PreprocessingConfig
from ..evaluation.held_out import scored
from ..evaluation.operating_points import freeze
from ..network import Mome
from ..phantom import cohorts
from .auxiliary import AuxiliaryHeads
from .stages import Recipe, draw, first_loss, initialise, train

SINGLE, SEVERAL, VALIDATION, TUNING = 3300, 1300, 240, 600
Say = Callable[[str], None]


def make_weights(out: Path, cache: Path, minutes: float | None, *, processes: int, say: Say) -> str:
    """Train, freeze operating points, write `out`; its SHA-256. About 50 minutes on two cores."""
    single = built(cache, "train", SINGLE, 1, processes, say)
    several = built(cache, "train-several", SEVERAL, 6, processes, say)
    validation = built(cache, "validation", VALIDATION, 1, processes, say)
    recipe = Recipe() if minutes is None else shortened(Recipe(), minutes, several)
    network = Mome(DEMONSTRATION)
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = out.with_name(out.stem + ".checkpoint.safetensors")
    train(network, single, several, validation, recipe, checkpoint=checkpoint, say=say)
    digest = finish(out, network, recipe, processes=processes, say=say)
    checkpoint.unlink()
    return digest


def finish(out: Path, network: Mome, recipe: Recipe, *, processes: int, say: Say) -> str:
    """Freeze the operating points for the weights as they will be stored, and write them with their card."""
    preprocessing = PreprocessingConfig()
    stored = {name: tensor.half().float() for name, tensor in network.state_dict().items()}
    network.load_state_dict(stored)
    network.eval()
    first = cohorts.SEEDS["tuning"]
    scores, malignant, _ = scored(network, range(first, first + TUNING), False, processes, None)
    words = f"{TUNING} synthetic phantoms, seeds {first} to {first + TUNING - 1}, not used in training"
    points = freeze(scores, malignant, cohort=words, preprocessing=preprocessing.hash())
    say(f"operating points: {[(p['name'], p['threshold'], p['benign_at_or_below']) for p in points]}")
    card = demonstration_card(
        preprocessing, points, single=SINGLE, several=SEVERAL, evaluated=TUNING, recipe=dataclasses.asdict(recipe)
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    return weights.save(out, network, preprocessing, card)


def built(cache: Path, name: str, count: int, lesions: int, processes: int, say: Say) -> Cohort:
    def progress(done: int, of: int) -> None:
        if done % 500 == 0 or done == of:
            say(f"synthetic cohort {name}: {done} of {of}")

    return cohorts.build(cache, name, count, lesions=lesions, processes=processes, progress=progress)


def shortened(recipe: Recipe, minutes: float, several: Cohort) -> Recipe:
    """The recipe with as many steps as fit into the minutes at the speed of ten trial steps."""
    network, rng = Mome(DEMONSTRATION), np.random.default_rng(0)
    initialise(network, 0)
    heads, start = AuxiliaryHeads(DEMONSTRATION), time.monotonic()
    for _ in range(10):
        volumes, lesions, _labels = draw(several, DEMONSTRATION, recipe.batch, rng)
        first_loss(network, heads, volumes, lesions).backward()  # type: ignore[no-untyped-call]
    each = (time.monotonic() - start) / 10
    share = minutes * 60 / (each * (recipe.first_steps + 1.05 * recipe.second_steps))
    first, second = (max(1, round(share * steps)) for steps in (recipe.first_steps, recipe.second_steps))
    return dataclasses.replace(recipe, first_steps=first, second_steps=second)
