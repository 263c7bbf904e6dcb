"""Does the saliency point at the lesion? On synthetic exams, where the place of the lesion is known.

A map is worth something if its hottest voxel lies in the lesion more often than a trivial rule's (the brightest voxel
of the first subtraction), and if it no longer does once the weights are random (Adebayo et al. 2018): else it would
show the input, not what the network makes of it.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from scipy.stats import binomtest, spearmanr

from ..cohort import Cohort
from ..config import SEQUENCES, Sequence
from ..explanation import SMOOTHING, Attribution, integrated_gradients
from ..model import MomeModel
from ..network import Mome
from ..phantom.exams import exam
from ..preprocessing import prepare
from .intervals import exact

Progress = Callable[[int, int], None]
Mask = npt.NDArray[np.bool_]
NEAR = 2
"""Voxels along each axis: near misses of a map that is smoothed by as much."""
RANDOMISED = 30
"""Exams whose maps are made again with random weights, which costs four maps each."""
NET = "net attribution"
"""What speaks for malignancy minus what speaks against it; the map that is shown holds the first alone."""


@dataclass(frozen=True, slots=True)
class Target:
    """One synthetic cancer as the network sees it; masks lie on the DCE canvas (W, H, D)."""

    volumes: Mapping[Sequence, npt.NDArray[np.float32]]  # (C, W, H, D)
    region: Mask  # the breasts
    lesion: Mask


@dataclass(frozen=True, slots=True)
class Look:
    """What was found in one target; `hits`: whether the first voxel of each rule lies in the lesion."""

    score: float
    hits: Mapping[str, bool]
    near: bool  # the saliency's hottest voxel, within NEAR voxels of the lesion
    gap: float | None
    share: float  # of the region that is lesion: what a blind choice would hit
    map: npt.NDArray[np.float32]  # the saliency (W, H, D)
    signed: npt.NDArray[np.float32]  # attributions, smoothed alike


# ------------------------------------------------------------------ targets
def from_seeds(model: MomeModel, n: int, seed: int, *, rival: bool = False) -> Iterator[Target]:
    """`n` cancers rendered anew; the lesion is what was drawn, where it fills more than half of a voxel.

    `rival`: with a benign lesion beside the cancer, as large and as bright on average: brightness alone finds the
    cancer about one time in two.
    """
    made = (exam(s, malignant=True, lesions=2 if rival else 1) for s in itertools.count(seed))
    wanted = (one for one in made if not any(other.malignant for other in one.lesions[1:]))
    for one in itertools.islice(wanted, n):
        prepared = prepare(one.inputs, model.preprocessing)
        w, h, d = prepared.mask.shape
        cancer = replace(one, lesions=one.lesions[:1])
        yield Target(prepared.arrays, prepared.mask, cancer.lesion_share(prepared.affines["dce"], (w, h, d)) > 0.5)


def from_cohort(cohort: Cohort, n: int) -> list[Target]:
    """The first `n` used cancers of a synthetic cohort; its lesions are known as balls.

    Raises ValueError for a cohort without planted truth, or on a grid whose voxel size it does not know.
    """
    config = cohort.preprocessing
    if cohort.truth is None or config.grid != "millimetres":
        raise ValueError(f"{cohort.words}: where its lesions lie is not known in voxels.")
    rows = [row for row, case in enumerate(cohort.cases) if case.malignant and case.status == "used"]
    spacing = np.array(config.dce_spacing)
    found = []
    for row in [row for row in rows if "dce" in cohort.cases[row].sequences][:n]:
        chosen = slice(row, row + 1)
        volumes = {s: cohort.batch(s, chosen)[0] for s in SEQUENCES if s in cohort.cases[row].sequences}
        w, h, d = volumes["dce"].shape[1:]
        shape, places = np.array([w, h, d]), np.moveaxis(np.indices((w, h, d)), 0, -1)
        lesion = np.zeros((w, h, d), bool)
        for centre, radius in ((np.array(r[:3]), r[3]) for r in cohort.truth.lesions[row] if r[3] > 0 and r[4] > 0.5):
            distance = np.linalg.norm((places + 0.5 - centre * shape) * spacing, axis=-1)
            lesion |= distance <= radius * shape[0] * spacing[0]
        found.append(Target(volumes, (volumes["dce"] != 0).any(axis=0), lesion))
    return found


# ------------------------------------------------------------------ evidence
def saliency_evidence(
    model: MomeModel,
    *,
    n: int,
    seed: int,
    threshold: float = 0.5,
    randomised: int = RANDOMISED,
    rival: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evidence from `n` synthetic cancers rendered from `seed` on; see `from_seeds` and `evidence`."""
    targets = from_seeds(model, n, seed, rival=rival)
    found = evidence(model.network, targets, n, threshold, randomised=randomised, progress=progress)
    words = f"synthetic cancers, each with a benign lesion beside it, from seed {seed}"
    return {"exams": words if rival else f"synthetic cancers, seeds {seed} to {seed + n - 1}", **found}


def cohort_evidence(
    network: Mome,
    cohort: Cohort,
    *,
    n: int,
    threshold: float = 0.5,
    randomised: int = RANDOMISED,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evidence from the first `n` cancers of a synthetic cohort; see `from_cohort` and `evidence`."""
    targets = from_cohort(cohort, n)
    found = evidence(network, targets, len(targets), threshold, randomised=randomised, progress=progress)
    return {"exams": f"synthetic cancers of {cohort.name}", **found}


def evidence(
    network: Mome,
    targets: Iterable[Target],
    count: int,
    threshold: float,
    *,
    randomised: int = RANDOMISED,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """JSON-ready: how often the hottest voxel lies in the lesion, of all cancers and of those that score above
    `threshold`, beside the net attribution and two rules of brightness; and the same with random weights, on the first
    true positives.

    Raises ValueError where there is no cancer to look at.
    """
    looks: list[Look] = []
    kept: list[tuple[Target, Look]] = []
    for index, target in enumerate(targets):
        found = look(network, target)
        looks.append(found)
        if found.score > threshold and len(kept) < randomised:
            kept.append((target, found))
        if progress:
            progress(index + 1, count)
    if not looks:
        raise ValueError("There is no synthetic cancer to look at.")
    called = [found for found in looks if found.score > threshold]
    gaps = [found.gap for found in looks if found.gap is not None]
    return {
        "cancers": len(looks),
        "threshold": threshold,
        "true_positives": len(called),
        "hottest_voxel_inside": sum(found.hits["saliency"] for found in looks),
        "within_two_voxels": sum(found.near for found in looks),
        "median_completeness_gap": float(np.median(gaps)) if gaps else None,
        "largest_completeness_gap": float(np.max(gaps)) if gaps else None,
        "blind_choice": float(np.mean([found.share for found in looks])),
        "all_cancers": compared(looks),
        "of_true_positives": compared(called),
        "randomisation": randomisation(network, kept),
    }


def look(network: Mome, target: Target) -> Look:
    """Saliency and brightness of one cancer."""
    volumes = on_device(network, target)
    with torch.inference_mode():
        logits = network.fuse({s: network.prefix(s, volume) for s, volume in volumes.items()})
        score = float(logits.double().softmax(dim=1)[0, 1])
    attribution = attributed(network, volumes, target.region)
    saliency = attribution.saliency(target.region)
    first = target.volumes["dce"][0]
    signed = smoothed(attribution.voxels)
    hottest = hottest_voxel(saliency, target.region)
    return Look(
        score=score,
        hits={
            "saliency": bool(target.lesion[hottest]),
            NET: bool(target.lesion[hottest_voxel(signed, target.region)]),
            "brightest voxel": bool(target.lesion[hottest_voxel(first, target.region)]),
            "brightest voxel, smoothed alike": bool(target.lesion[hottest_voxel(smoothed(first), target.region)]),
        },
        near=is_near(hottest, target.lesion),
        gap=attribution.completeness_gap,
        share=float(target.lesion[target.region].mean()),
        map=saliency,
        signed=signed,
    )


def on_device(network: Mome, target: Target) -> dict[Sequence, torch.Tensor]:
    device = next(network.parameters()).device
    return {s: torch.from_numpy(volume)[None].to(device) for s, volume in target.volumes.items()}


def smoothed(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """As the saliency is."""
    return np.asarray(ndimage.gaussian_filter(image, SMOOTHING * image.shape[0]), np.float32)


def attributed(network: Mome, volumes: Mapping[Sequence, torch.Tensor], region: Mask) -> Attribution:
    return integrated_gradients(network, volumes, region=region)


def hottest_voxel(image: npt.NDArray[np.floating], region: Mask) -> tuple[int, int, int]:
    """Of the region."""
    i, j, k = np.unravel_index(int(np.where(region, image, -np.inf).argmax()), image.shape)
    return int(i), int(j), int(k)


def is_near(voxel: tuple[int, int, int], lesion: Mask) -> bool:
    places = np.argwhere(lesion)
    return bool(len(places)) and int(np.abs(places - np.array(voxel)).max(axis=1).min()) <= NEAR


# ------------------------------------------------------------------ comparisons
def compared(looks: list[Look]) -> dict[str, Any]:
    """Hits of each rule with exact intervals, and the exact McNemar test of the saliency against the others."""
    if not looks:
        return {"exams": 0}
    hits = {rule: np.array([found.hits[rule] for found in looks]) for rule in looks[0].hits}
    return {
        "exams": len(looks),
        **{rule: told(found) for rule, found in hits.items()},
        "against": {rule: mcnemar(hits["saliency"], found) for rule, found in hits.items() if rule != "saliency"},
    }


def told(hits: Mask) -> dict[str, Any]:
    inside = int(hits.sum())
    return {"inside": inside, **exact(inside, len(hits)).json()}


def mcnemar(first: Mask, second: Mask) -> dict[str, Any]:
    """Exact two-sided McNemar test of paired hits: p that exams where only one of them hits fall so unevenly."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    uneven = only_first + only_second
    p = float(binomtest(only_first, uneven).pvalue) if uneven else 1.0
    return {"only_first": only_first, "only_second": only_second, "p": p}


# ------------------------------------------------------------------ random weights
def randomisation(network: Mome, kept: list[tuple[Target, Look]]) -> dict[str, Any]:
    """Maps of the same exams while the weights are lost from the head down, each exam with random weights of its own:
    hits, and how the ranks over the breasts agree with the trained network's, for the map as shown and for the signed
    attributions it is the positive part of (median Spearman correlations)."""
    original, net = (np.array([found.hits[rule] for _, found in kept]) for rule in ("saliency", NET))
    if not kept:
        return {"exams": 0, "stages": []}
    stages: dict[str, list[tuple[bool, bool, float, float]]] = {}
    for seed, (target, found) in enumerate(kept):
        for name, random in cascade(network, seed):
            stages.setdefault(name, []).append(lost(random, target, found))
    results = []
    for name, rows in stages.items():
        hits, net_hits, shown, signed = (np.array(column) for column in zip(*rows, strict=True))
        results.append(
            {
                "random": name,
                **told(hits),
                NET: told(net_hits),
                "rank_correlation": float(np.nanmedian(shown)),
                "rank_correlation_signed": float(np.nanmedian(signed)),
                "against_trained": mcnemar(original, hits),
            }
        )
    return {"exams": len(kept), "trained": {**told(original), NET: told(net)}, "stages": results}


def lost(random: Mome, target: Target, found: Look) -> tuple[bool, bool, float, float]:
    """Whether a network with random weights still hits, by its map and by its net attribution, and the rank
    correlations of both with the trained network's."""
    attribution = attributed(random, on_device(random, target), target.region)
    saliency, signed = attribution.saliency(target.region), smoothed(attribution.voxels)
    inside, net = (bool(target.lesion[hottest_voxel(image, target.region)]) for image in (saliency, signed))
    return (
        inside,
        net,
        rank_correlation(saliency, found.map, target.region),
        rank_correlation(signed, found.signed, target.region),
    )


def rank_correlation(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating], region: Mask) -> float:
    """Spearman's, over a region."""
    return float(spearmanr(one[region], other[region]).statistic)


def cascade(network: Mome, seed: int) -> Iterator[tuple[str, Mome]]:
    """Copies of the network with ever more of it random, from the head down (Adebayo et al. 2018).

    Random: the values of each tensor in another order, which keeps their distribution and nothing of what they do.
    """
    first_soft = network.config.sparse_blocks
    random = copy.deepcopy(network)
    stages: list[tuple[str, Callable[[str], bool]]] = [
        ("head", lambda name: name.startswith(("head.", "fc_norm."))),
        ("and soft blocks", lambda name: (layer_of(name) or 0) >= first_soft),
        ("and sparse blocks", lambda name: layer_of(name) is not None or "embed_positions" in name),
        ("everything", lambda _: True),
    ]
    done: set[str] = set()
    generator = torch.Generator().manual_seed(seed)
    for stage, belongs in stages:
        with torch.no_grad():
            for name, parameter in random.named_parameters():
                if belongs(name) and name not in done:
                    order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                    parameter.copy_(parameter.flatten()[order].view_as(parameter))
                    done.add(name)
        yield stage, random


def layer_of(name: str) -> int | None:
    """Number of the block that a parameter belongs to."""
    parts = name.split(".")
    return int(parts[parts.index("layers") + 1]) if "layers" in parts else None
