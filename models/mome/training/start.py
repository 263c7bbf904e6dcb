"""What a training begins with: its cohorts and its network, as the configuration names them."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .. import backbone, cohort, weights
from ..cohort import Cohort
from ..network import Mome, is_backbone
from ..phantom import cohorts as phantoms
from ..weights import disagreement_of
from . import initialisation
from .auxiliary import AuxiliaryHeads
from .configuration import Configuration, ConfigurationError
from .mome_objective import MomeObjective

Say = Callable[[str], None]


# ------------------------------------------------------------------ cohorts
def cohorts(config: Configuration, kept: Path, say: Say) -> dict[str, Cohort]:
    """All that the configuration names, by name; synthetic ones are made in `kept` unless they are there already.

    Raises CohortError for a folder that is none, ConfigurationError where the network takes other volumes.
    """
    found: dict[str, Cohort] = {}
    for name, source in config.cohorts.items():
        if source.folder is not None:
            found[name] = cohort.load(source.folder)
        else:
            assert source.synthetic is not None
            if source.synthetic.first_seed is None and name not in phantoms.SEEDS:
                raise ConfigurationError(f"cohorts.{name}: no seeds are kept for this name: give `first_seed`.")
            made = source.synthetic
            found[name] = phantoms.build(
                kept, name, made.count, lesions=made.lesions, first_seed=made.first_seed, progress=counting(name, say)
            )
        if disagreement := disagreement_of(config.sizes, found[name].preprocessing):
            raise ConfigurationError(
                f"The network does not take the volumes of the cohort {name}: {disagreement}. Make the cohort with the "
                "preprocessing of this network."
            )
    prepared = {c.preprocessing.hash() for c in found.values()}
    if len(prepared) > 1:
        raise ConfigurationError(
            "The cohorts were prepared in different ways: make them anew, all with one preprocessing."
        )
    return found


def counting(name: str, say: Say) -> Callable[[int, int], None]:
    def progress(done: int, of: int) -> None:
        if sys.stderr.isatty() or done % 500 == 0 or done == of:
            say(f"synthetic cohort {name}: {done} of {of}")

    return progress


class Chosen:
    """Some rows of an array that stays where it is: a part of a cohort that does not fit into memory."""

    def __init__(self, array: Any, rows: npt.NDArray[np.intp]) -> None:
        self.array, self.rows = array, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any) -> npt.NDArray[Any]:
        return np.asarray(self.array[self.rows[rows]])


def part(whole: Cohort, rows: npt.NDArray[np.intp]) -> Cohort:
    """As `Cohort.part`, volumes not read."""
    truth = whole.truth and dataclasses.replace(
        whole.truth,
        lesions=whole.truth.lesions[rows],
        log_odds={name: odds[rows] for name, odds in whole.truth.log_odds.items()},
    )
    arrays: dict[Any, Any] = {s: Chosen(array, rows) for s, array in whole.arrays.items()}
    return dataclasses.replace(
        whole, arrays=arrays, cases=tuple(whole.cases[row] for row in rows), left_out=(), truth=truth
    )


def parted(whole: Cohort, share: float, key: tuple[int, ...]) -> tuple[Cohort, Cohort]:
    """Training and validation: at least `share` of the patients into the latter, the same for the same key."""
    patients = sorted({case.patient for case in whole.cases})
    chosen = set(np.random.default_rng(key).permutation(patients)[: math.ceil(share * len(patients))])
    kept = np.array([case.patient in chosen for case in whole.cases])
    return part(whole, np.flatnonzero(~kept)), part(whole, np.flatnonzero(kept))


def with_validation(
    config: Configuration, found: Mapping[str, Cohort], key: tuple[int, ...] = ()
) -> tuple[dict[str, Cohort], Cohort | None]:
    """Cohorts to learn from, and the one that decides; see `configuration.Selection`."""
    selection, learning = config.selection, dict(found)
    if selection.cohort:
        return learning, learning[selection.cohort]
    if not selection.share:
        return learning, None
    learning["train"], validation = parted(learning["train"], selection.share, (config.seed, *key))
    return learning, validation


# ------------------------------------------------------------------ network
def objective(config: Configuration, device: torch.device) -> MomeObjective:
    """The network at its start, on its device; raises WeightsError for a start file of another size."""
    drop_path = any(stage.drop_path for stage in config.stages)
    network = network_of(config).to(device)
    torch.manual_seed(config.seed)
    needs = any(lesson.needs_truth for stage in config.stages for lesson in stage.lessons)
    heads = AuxiliaryHeads(config.sizes).to(device) if needs else None
    return MomeObjective(network, heads, drop_path=drop_path)


def network_of(config: Configuration) -> Mome:
    """Frozen is a backbone that came from a file; without one everything is trained."""
    start = config.start
    torch.manual_seed(config.seed)
    network = Mome(config.sizes)
    if start.weights is not None:
        read, header = weights.load(start.weights)
        if header.network != config.sizes:
            raise ConfigurationError(f"{start.weights.name} holds a network of other sizes than the configuration.")
        network.load_state_dict(read.state_dict())
    elif start.initialisation == "demonstration":
        initialisation.demonstration(network, config.seed)
    else:
        initialisation.published(network, config.seed)
    if start.backbone is not None:
        backbone.start_from(network, start.backbone)
    frozen = start.backbone is not None or (start.weights is not None and config.sizes.shared_backbone)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not (frozen and is_backbone(name)))
    return network


# ------------------------------------------------------------------ identity
def described(config: Configuration, found: Mapping[str, Cohort]) -> dict[str, Any]:
    """The configuration with what its paths hold in place of the paths: two trainings with the same are the same."""
    said = config.model_dump(mode="json")
    said["cohorts"] = {name: one.identity for name, one in found.items()}
    for name in ("backbone", "weights"):
        path = getattr(config.start, name)
        said["start"][name] = path and weights.verify(path)
    return said
