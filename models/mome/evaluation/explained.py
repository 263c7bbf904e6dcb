"""What moved the scores, in sentences and tables: what sequences contribute, and whether the saliency finds lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import wording
from .saliency import NET
from .wording import figure, p_value

Found = Mapping[str, Any]
GROUPS = {"all": "all exams", "positive": "malignant", "negative": "benign"}


@dataclass(frozen=True, slots=True)
class Told:
    """A table of the report with the sentence that it makes."""

    title: str
    words: str
    head: list[str]
    rows: Sequence[tuple[str, ...]]
    caption: str


def shapley(found: Found) -> Told:
    """Of `contributions.global_shapley`."""
    ranking = ", ".join(name.upper() for name in found["ranking"])
    words = (
        f"By their mean absolute Shapley value the sequences rank {ranking}; the first of them came first in "
        f"{found['first_in_resamples']:.1%} of the resamples."
    ).replace("%", " %")
    rows = [
        (
            name.upper(),
            figure(found["groups"]["all"]["sequences"][name]["mean_absolute"]),
            *(figure(found["groups"][group]["sequences"][name]["mean"]) for group in GROUPS),
        )
        for name in found["ranking"]
    ]
    return Told(
        "Contribution of the sequences",
        words,
        ["sequence", "mean of the absolute value", *(f"mean, {name}" for name in GROUPS.values())],
        rows,
        f"Exact Shapley values over the seven combinations, in units of the score, of {found['exams']} exams with all "
        f"sequences; with none the score is {found['empty']:g} by convention. A share of the score, not of truth.",
    )


def lost(random: Found) -> list[tuple[str, ...]]:
    """Rows of what is left of both maps while the weights are lost; the first are of the trained network."""
    whose = f"({random['exams']} true positives)"
    rows: list[tuple[str, ...]] = [
        (f"saliency, trained {whose}", hits(random["trained"]), ""),
        (f"{NET}, trained {whose}", hits(random["trained"][NET]), ""),
    ]
    for stage in random["stages"]:
        agreed = "rank correlation with trained {:.2f}"
        rows += [
            (
                f"saliency, random: {stage['random']}; {agreed.format(stage['rank_correlation'])}",
                hits(stage),
                f"{p_value(stage['against_trained']['p'])} (against trained)",
            ),
            (
                f"{NET}, random: {stage['random']}; {agreed.format(stage['rank_correlation_signed'])}",
                hits(stage[NET]),
                "",
            ),
        ]
    return rows


def saliency(found: Found) -> Told:
    """Of `saliency.evidence`: hits of the hottest voxel beside rules of brightness and random weights."""
    whose = found["exams"][:1].upper() + found["exams"][1:]
    words = (
        f"{whose}: of {found['true_positives']} scored above {found['threshold']:g} (true positives) the hottest voxel "
        f"of the saliency lies in the lesion in {hits(found['of_true_positives'].get('saliency'))}; of all "
        f"{found['cancers']} in {hits(found['all_cancers'].get('saliency'))}. A blind choice would hit in "
        f"{100 * found['blind_choice']:.1f} %."
    )
    rows: list[tuple[str, ...]] = [
        (f"{rule}, {group}", hits(part.get(rule)), p_value(part["against"][rule]["p"]) if rule != "saliency" else "")
        for group, part in (("true positives", found["of_true_positives"]), ("all cancers", found["all_cancers"]))
        if part["exams"]
        for rule in ("saliency", *part["against"])
    ]
    random = found["randomisation"]
    if random["exams"]:
        rows += lost(random)
    gap = found["median_completeness_gap"]
    return Told(
        "Place of the lesion",
        words,
        ["first voxel of", "in the lesion", "p against the saliency"],
        rows,
        "Integrated gradients over the DCE; exact binomial intervals, exact McNemar test. With random weights a map "
        "that shows what the network makes of the exam must stop pointing at the lesion. "
        f"Completeness gap: median {wording.NONE if gap is None else f'{100 * gap:.1f} %'}.",
    )


def hits(found: Found | None) -> str:
    """`150: 88.2 % (82.5–92.7)`."""
    if not found or found.get("estimate") is None:
        return wording.NONE
    low, high = found["ci95"]
    return f"{found['inside']}: {100 * found['estimate']:.1f} % ({100 * low:.1f}–{100 * high:.1f})"
