"""A network and cohorts so small that the tests train in seconds; the volumes are noise with a bright block."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from mome import cohort
from mome.cohort import Case, Cohort, Row
from mome.config import SEQUENCES, PreprocessingConfig
from mome.training.configuration import Configuration

PREPROCESSING = PreprocessingConfig(dce_canvas=(32, 16, 16), dwi_canvas=(16, 16, 16), t2_canvas=(32, 16, 16))
NETWORK = {
    "dim": 16,
    "heads": 2,
    "ffn": 32,
    "sparse_blocks": 2,
    "soft_blocks": 2,
    "adapter": 8,
    "experts": 4,
    "stem": [4, 4],
    "dce_canvas": [32, 16, 16],
    "dwi_canvas": [16, 16, 16],
    "t2_canvas": [32, 16, 16],
    "dce_pool": [1, 1, 1],
    "dwi_pool": [1, 1, 1],
    "t2_pool": [1, 1, 1],
}
STAGE = {"name": "only", "steps": 6, "batch": 4, "rate": 1e-3}
EXAMS, LESIONS = 24, 2


def small_cohort(folder: Path, *, seed: int = 0, synthetic: bool = True, incomplete: bool = False) -> Cohort:
    """24 exams of 12 patients; of the malignant ones the block is brighter. With `incomplete`, every third lacks DWI
    and every fourth T2."""
    rng = np.random.default_rng(seed)

    def rows() -> Any:
        for number in range(EXAMS):
            malignant = bool((number // 2 + seed) % 2)
            lesions = rng.uniform(-1, 1, (LESIONS, 9)).astype(np.float32)
            lesions[:, :3], lesions[:, 3], lesions[:, 4] = rng.uniform(0.3, 0.6, (LESIONS, 3)), 0.1, malignant
            volumes = {}
            for s in SEQUENCES:
                if incomplete and ((s == "dwi" and number % 3 == 0) or (s == "t2" and number % 4 == 0)):
                    continue
                volume = np.zeros((6 if s == "dce" else 1, *PREPROCESSING.canvas(s)), np.float32)
                volume[:, 3:13, 2:12, 2:12] = rng.normal(0, 1, (len(volume), 10, 10, 10))
                volume[:, 6:9, 5:8, 5:8] += 1 + 3 * malignant
                volumes[s] = np.clip(volume, -12, 12)
            case = Case(
                case=f"{seed}-{number}",
                patient=f"{seed}-{number // 2}",
                study=f"{seed}-{number}",
                malignant=malignant,
                tnbc=None if number >= 20 else malignant,
            )
            yield Row(case, volumes, lesions if synthetic else None, {"all": 0.0} if synthetic else None)

    return cohort.write(
        folder,
        rows(),
        name=folder.name,
        synthetic=synthetic,
        preprocessing=PREPROCESSING,
        capacity=EXAMS,
        origin={"lesions": 1},
    )


def small_configuration(**changes: Any) -> Configuration:
    """A training of six steps without validation."""
    said: dict[str, Any] = {
        "network": NETWORK,
        "stored": "float32",
        "cohorts": {"train": {"folder": "train"}},
        "stages": [STAGE],
        "selection": {"keep": "last"},
    }
    return Configuration.model_validate(said | changes)


def command(arguments: list[str], environment: dict[str, str]) -> None:
    """`mome` with these arguments; what a process of a test does."""
    from mome.commands.main import main

    os.environ.update(environment)
    main(arguments)
