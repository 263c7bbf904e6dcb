"""Test-time augmentation: one exam at several places of its canvas, mirrored, and the scores of all of them.

The paper averages 54 variants: nine paddings times six flips (Methods, "Implementation details"; their order is that
of the published code). A variant moves the content of every canvas to one place, then mirrors the padded canvas.
None of the 54 is the exam as it lies: the network was always trained on mirrored ones.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .coalitions import COALITIONS, Coalition, probabilities
from .config import SEQUENCES, Sequence, Size
from .geometry import Box
from .network import Mome
from .preprocessing import Prepared

End: TypeAlias = Literal["centre", "first", "last"]
"""Where content lies along an axis: in the middle, at voxel 0, or at the last voxel."""
FloatArray: TypeAlias = npt.NDArray[np.float32]
Scores: TypeAlias = npt.NDArray[np.float64]

ENDS: tuple[End, End] = ("first", "last")
PADDINGS: tuple[tuple[End, End, End], ...] = (("centre", "centre", "centre"), *itertools.product(ENDS, ENDS, ENDS))
"""Places along W, H, D in the order of the published code: the centre, then the corners 000, 00M, 0M0, ... MMM."""
FLIPS: tuple[tuple[int, ...], ...] = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2))
"""Mirrored axes (W = 0, H = 1, D = 2) in the order of the published code."""

BATCH_VOXELS = 2**20
"""Of the DCE canvases that are computed together, where one alone is not larger."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The same for all sequences of an exam: first the place, then the flip of the whole canvas."""

    padding: tuple[End, End, End] | None = None  # None: where preprocessing put the content
    flip: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """What a variant is for one sequence; variants with the same placement are the same array."""

    offset: Size  # first voxel of the content
    flip: tuple[int, ...]


SETS: Mapping[str, tuple[Variant, ...]] = {
    "none": (Variant(),),
    "mirrored-4": tuple(Variant(flip=flip) for flip in ((), (0,), (2,), (0, 2))),
    "paper-6": tuple(Variant(PADDINGS[0], flip) for flip in FLIPS),
    "paper-18": tuple(Variant(PADDINGS[n], flip) for n in (0, 1, 8) for flip in FLIPS),
    "paper-54": tuple(Variant(padding, flip) for padding in PADDINGS for flip in FLIPS),
}
"""Augmentations by name. "mirrored-4": in place, mirrored left to right and head to feet, front and back stay, as the
demonstration was trained. "paper-6": the six flips in the centre. "paper-18": also in the two opposite corners."""


@dataclass(frozen=True, slots=True)
class Augmented:
    """Scores of malignancy, one row for each variant, one column for each combination of the sequences at hand."""

    coalitions: tuple[Coalition, ...]  # all sequences come last
    values: Scores  # (V, K), 0 to 1
    prefixes: Mapping[Sequence, int]  # how many times each sequence had to be computed

    @property
    def mean(self) -> Mapping[Coalition, float]:
        """The score of the exam, for each combination."""
        return dict(zip(self.coalitions, map(float, self.values.mean(axis=0)), strict=True))

    @property
    def spread(self) -> Mapping[Coalition, float]:
        """Standard deviation over the variants, for each combination."""
        return dict(zip(self.coalitions, map(float, self.values.std(axis=0)), strict=True))


# ------------------------------------------------------------------ places
def placement(canvas: Size, box: Box, variant: Variant) -> Placement:
    """Where the content of `box` goes on its canvas; the centre is at floor((canvas - size) / 2)."""
    if variant.padding is None:
        return Placement(box.low, variant.flip)
    slack = [n - size for n, size in zip(canvas, box.size, strict=True)]
    at = {"centre": [s // 2 for s in slack], "first": [0, 0, 0], "last": slack}
    w, h, d = (at[end][axis] for axis, end in enumerate(variant.padding))
    return Placement((w, h, d), variant.flip)


def put(array: FloatArray, box: Box, place: Placement) -> FloatArray:
    """(C, W, H, D) with the content of `box` at its place, zeros around it, the whole mirrored."""
    w, h, d = (slice(a, a + n) for a, n in zip(place.offset, box.size, strict=True))
    result = np.zeros_like(array)
    result[:, w, h, d] = array[(slice(None), *box.slices)]
    return np.ascontiguousarray(np.flip(result, tuple(axis + 1 for axis in place.flip)))


def placed(array: FloatArray, box: Box, variant: Variant) -> FloatArray:
    """One sequence (C, W, H, D), all whose content lies in `box`, as a variant shows it."""
    return put(array, box, placement(size_of(array), box, variant))


def size_of(array: FloatArray) -> Size:
    w, h, d = array.shape[1:]
    return w, h, d


def placements(prepared: Prepared, variants: Iterable[Variant]) -> dict[Sequence, tuple[Placement, ...]]:
    """For each sequence at hand what every variant is for it, (V,)."""
    variants = tuple(variants)
    return {
        s: tuple(placement(size_of(prepared.arrays[s]), prepared.boxes[s], variant) for variant in variants)
        for s in SEQUENCES
        if s in prepared.arrays
    }


def distinct(prepared: Prepared, variants: Iterable[Variant]) -> dict[Sequence, tuple[Placement, ...]]:
    """For each sequence the placements that differ: along an axis that content fills, all paddings are one."""
    return {s: tuple(dict.fromkeys(places)) for s, places in placements(prepared, variants).items()}


# ------------------------------------------------------------------ scores
def scores(network: Mome, prepared: Prepared, name: str, batch: int | None = None) -> Augmented:
    """Scores of an exam under the augmentation of this name, `batch` variants at a time: without one, as many as the
    canvas allows. Raises ValueError for other names and for a batch of none.

    What variants share is computed once: the sparse blocks of a sequence for each of its placements, the soft blocks
    for each combination of placements. Prefixes are dropped after the last variant that needs them.
    """
    if name not in SETS:
        raise ValueError(f"Unknown augmentation {name!r}; there are {', '.join(SETS)}.")
    batch = batch_of(network.config.dce_canvas) if batch is None else batch
    if batch < 1:
        raise ValueError(f"At least one variant is computed at a time, not {batch}.")
    places = placements(prepared, SETS[name])
    coalitions = tuple(c for c in COALITIONS if set(c) <= places.keys())
    count = len(SETS[name])
    last = {(s, place): v for s, row in places.items() for v, place in enumerate(row)}
    prefixes: dict[tuple[Sequence, Placement], Tensor] = {}
    known: dict[tuple[Coalition, tuple[Placement, ...]], float] = {}
    with torch.inference_mode():
        for start in range(0, count, batch):
            rows = range(start, min(start + batch, count))
            for s in places:
                fresh = [p for p in dict.fromkeys(places[s][v] for v in rows) if (s, p) not in prefixes]
                prefixes |= {(s, p): x for p, x in zip(fresh, prefixes_of(network, prepared, s, fresh), strict=True)}
            for coalition in coalitions:
                keys = dict.fromkeys(tuple(places[s][v] for s in coalition) for v in rows)
                fresh_keys = [key for key in keys if (coalition, key) not in known]
                known |= fused(network, prefixes, coalition, fresh_keys)
            prefixes = {key: x for key, x in prefixes.items() if last[key] >= rows.stop}
    values = [[known[c, tuple(places[s][v] for s in c)] for c in coalitions] for v in range(count)]
    return Augmented(coalitions, np.array(values), {s: len(set(row)) for s, row in places.items()})


def batch_of(canvas: Size) -> int:
    """How many variants at a time: seven of the demonstration's size; one of the paper's, which fills the memory."""
    return max(1, BATCH_VOXELS // math.prod(canvas))


def prefixes_of(network: Mome, prepared: Prepared, sequence: Sequence, places: list[Placement]) -> tuple[Tensor, ...]:
    """One sequence at each place through tokenizer and sparse blocks, each (N, dim)."""
    if not places:
        return ()
    device = next(network.parameters()).device
    volumes = np.stack([put(prepared.arrays[sequence], prepared.boxes[sequence], place) for place in places])
    return network.prefix(sequence, torch.from_numpy(volumes).to(device)).unbind()


def fused(
    network: Mome,
    prefixes: Mapping[tuple[Sequence, Placement], Tensor],
    coalition: Coalition,
    keys: list[tuple[Placement, ...]],
) -> dict[tuple[Coalition, tuple[Placement, ...]], float]:
    """Scores of one combination of sequences, at each combination of their places."""
    if not keys:
        return {}
    tokens: dict[Sequence, Tensor] = {
        s: torch.stack([prefixes[s, key[i]] for key in keys]) for i, s in enumerate(coalition)
    }
    found = probabilities(network.fuse(tokens))
    return {(coalition, key): float(p) for key, p in zip(keys, found, strict=True)}
