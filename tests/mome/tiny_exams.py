"""Cohorts of very small volumes with a planted sign in every sequence: enough to see that a network learns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mome import cohort
from mome.cohort import Case, Cohort, Row
from mome.config import NetworkConfig, PreprocessingConfig, Sequence

PREPROCESSING = PreprocessingConfig(dce_canvas=(32, 16, 16), dwi_canvas=(16, 8, 16), t2_canvas=(32, 16, 16), channels=2)
NETWORK = NetworkConfig(
    dim=16,
    heads=2,
    ffn=16,
    sparse_blocks=1,
    soft_blocks=1,
    adapter=8,
    experts=4,
    stem=(4, 8),
    dce_channels=2,
    dce_canvas=(32, 16, 16),
    dwi_canvas=(16, 8, 16),
    t2_canvas=(32, 16, 16),
    dce_pool=(1, 1, 1),
    dwi_pool=(1, 1, 1),
    t2_pool=(1, 1, 1),
    shared_backbone=False,
)
LACKING: dict[int, Sequence] = {3: "t2", 6: "dwi"}
"""Places of exams that lack a sequence."""


def rows(name: str, n: int, seed: int) -> Iterator[Row]:
    """Every other exam is malignant; there the lesion is brighter, in all sequences."""
    rng = np.random.default_rng(seed)
    for place in range(n):
        malignant = place % 2 == 1
        at = rng.uniform(0.3, 0.7, 3)
        volumes: dict[Sequence, np.ndarray] = {}
        for sequence in ("dce", "dwi", "t2"):
            size = PREPROCESSING.canvas(sequence)
            axes = np.meshgrid(*(np.arange(k) / k for k in size), indexing="ij")
            lesion = np.exp(-sum((axis - c) ** 2 for axis, c in zip(axes, at, strict=True)) / 0.02)
            channels = 2 if sequence == "dce" else 1
            noise = rng.normal(0, 0.3, (channels, *size))
            if LACKING.get(place) != sequence:
                volumes[sequence] = (noise + lesion * (4 if malignant else 1)).astype(np.float32)
        sign = 1.0 if malignant else -1.0
        lesions = np.array([[*at, 0.12, malignant, sign, sign, sign, sign]], np.float32)
        case = Case(case=f"{name}-{place}", patient=f"{name}-p{place}", study=f"{name}-s{place}", malignant=malignant)
        yield Row(case, volumes, lesions, dict.fromkeys(("dce", "dwi", "t2", "all"), sign))


def written(folder: Path, name: str, n: int, seed: int) -> Cohort:
    return cohort.write(
        folder,
        rows(name, n, seed),
        name=name,
        synthetic=True,
        preprocessing=PREPROCESSING,
        capacity=n,
        origin={"first_seed": seed, "count": n},
    )
