"""Do weights and preprocessing fit each other? AUROC under all orientations and normalisations, on exams with labels.

A network that was trained on exams lying otherwise, or standardised otherwise, gives scores like any other. What it was
trained with shows where it separates best: the configured variant should be the best, or not worse than by chance.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import cohort as cohorts
from .cohort import STEP, Cohort, CohortError, Row, case_of
from .config import PreprocessingConfig
from .evaluation import intervals
from .evaluation.intervals import Difference, Interval
from .evaluation.metrics import ranked
from .preprocessing import prepare
from .refusal import Refused

AXES = ("left-right", "front-back", "head-feet")  # of the canvases, in this order
CONFIGURED = "as configured"
VARIED = {"statistics": ("mask", "crop"), "phase_statistics": ("together", "each"), "zeroed": ("before", "after")}
"""What the paper leaves open, and the words of `PreprocessingConfig` for it."""
PHASES_APART = "phase_statistics=each, of the prepared volumes"
LEVEL = 0.05  # of the test, divided by the number of variants
Scorer = Callable[[Cohort], npt.NDArray[np.floating]]
"""Scores (N,) of a cohort's exams, each from all sequences that it has; NaN where it has none."""
Progress = Callable[[int, int], None]
Table = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of showing the exams to the network."""

    flipped: tuple[str, ...]  # axes, of `AXES`
    normalisation: str
    auroc: Interval
    against_configured: Difference  # AUROC of this variant minus that of the configured one, paired

    @property
    def is_configured(self) -> bool:
        return not self.flipped and self.normalisation == CONFIGURED


@dataclass(frozen=True, slots=True)
class Probe:
    """All variants, the best first."""

    cohort: str
    n: int
    malignant: int
    variants: tuple[Variant, ...]

    @property
    def configured(self) -> Variant:
        return next(variant for variant in self.variants if variant.is_configured)

    @property
    def better(self) -> tuple[Variant, ...]:
        """Variants that separate better than the configured one by more than noise (bootstrap, Bonferroni)."""
        tests = max(1, len(self.variants) - 1)
        return tuple(
            v for v in self.variants if v.against_configured.estimate > 0 and v.against_configured.p * tests < LEVEL
        )

    def json(self) -> dict[str, Any]:
        rows = [
            {
                "flipped": list(v.flipped),
                "normalisation": v.normalisation,
                "auroc": v.auroc.json(),
                "against_configured": v.against_configured.json(),
                "better_than_configured": v in self.better,
            }
            for v in self.variants
        ]
        return {
            "cohort": self.cohort,
            "n": self.n,
            "malignant": self.malignant,
            "variants": rows,
            "verdict": self.words,
        }

    @property
    def words(self) -> str:
        """The verdict."""
        low, rank = self.configured.auroc.low, self.variants.index(self.configured) + 1
        if self.better:
            best = self.better[0]
            how = " and ".join([f"flipped {', '.join(best.flipped)}"] * bool(best.flipped) + [best.normalisation])
            return (
                f"The configured variant is NOT the best: {how} separates better by "
                f"{best.against_configured.estimate:.3f}, more than noise. These weights were likely trained on exams "
                "prepared so: do not use them with this preprocessing."
            )
        if not low > 0.5:
            return (
                "No variant is better than the configured one by more than noise, but that one is not above chance "
                "either: these exams do not show that weights and preprocessing fit each other."
            )
        return f"The configured variant is rank {rank} of {len(self.variants)}; none is better by more than noise."


def probe(scorer: Scorer, variants: Mapping[str, Callable[[], Cohort]], progress: Progress | None = None) -> Probe:
    """Every normalisation (`CONFIGURED` among them, the same exams in each) under every orientation.

    Raises CohortError where a label is missing or there is one class only.
    """
    found: dict[tuple[tuple[str, ...], str], Table] = {}
    cohort: Cohort | None = None
    for name, made in variants.items():
        variant = made()
        cohort = variant if name == CONFIGURED or cohort is None else cohort
        for axes in orientations():
            found[axes, name] = np.asarray(scorer(flipped(variant, axes)), float)
            if progress:
                progress(len(found), len(variants) * 2 ** len(AXES))
    assert cohort is not None
    positive = cohort.malignant
    usable = np.isfinite(np.array(list(found.values()))).all(axis=0)
    positive, patients = positive[usable], [c.patient for c, u in zip(cohort.cases, usable, strict=True) if u]
    if not 0 < positive.sum() < len(positive):
        raise CohortError(f"{cohort.name}: all exams that can be scored are of one class; both are needed.")
    told = compared({key: score[usable] for key, score in found.items()}, positive, patients)
    return Probe(cohort.words, len(positive), int(positive.sum()), told)


def compared(
    scores: Mapping[tuple[tuple[str, ...], str], Table], positive: npt.NDArray[np.bool_], patients: list[str]
) -> tuple[Variant, ...]:
    """The best first; of two that are equal, the configured one."""
    own = scores[(), CONFIGURED]
    resamples = max(intervals.RESAMPLES, 50 * len(scores))  # so that p can be small enough
    variants = []
    for (axes, name), score in scores.items():

        def area(weights: Table, score: Table = score) -> dict[str, Table]:
            return {"auroc": ranked(positive, score, weights)["auroc"]}

        auroc = intervals.of_resamples(area, patients, seed=0)["auroc"]
        difference = Difference(0.0, 0.0, 0.0, 1.0)
        if score is not own:
            difference = intervals.paired(positive, score, own, patients, resamples=resamples)
        variants.append(Variant(axes, name, auroc, difference))
    return tuple(sorted(variants, key=lambda v: (-v.auroc.estimate, not v.is_configured)))


# ------------------------------------------------------------------ orientations
def orientations() -> Iterator[tuple[str, ...]]:
    """The eight, the exams as they lie first."""
    for count in range(len(AXES) + 1):
        yield from itertools.combinations(AXES, count)


def flipped(cohort: Cohort, axes: tuple[str, ...]) -> Cohort:
    """All sequences turned round along these axes; nothing is copied."""
    along = tuple(2 + AXES.index(axis) for axis in axes)
    return dataclasses.replace(cohort, arrays={s: np.flip(array, along) for s, array in cohort.arrays.items()})


# ------------------------------------------------------------------ normalisations
def of_cohort(cohort: Cohort) -> dict[str, Callable[[], Cohort]]:
    """What can be made of prepared volumes: their affine scale and what lay outside the mask are gone."""
    variants: dict[str, Callable[[], Cohort]] = {CONFIGURED: lambda: cohort}
    if cohort.preprocessing.phase_statistics == "together":
        variants[PHASES_APART] = lambda: phases_apart(cohort)
    return variants


def phases_apart(cohort: Cohort) -> Cohort:
    """Each phase of the DCE to zero mean and unit variance by itself, where any phase has a value."""
    stored = cohort.arrays["dce"]
    clip = cohort.preprocessing.clip
    made = np.zeros(stored.shape, stored.dtype)
    for row in range(len(cohort)):
        phases = cohort.batch("dce", slice(row, row + 1))[0]
        region = (phases != 0).any(axis=0)
        inside = phases[:, region]
        if inside.size:
            spread = inside.std(axis=1, keepdims=True)
            inside = (inside - inside.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
            values = (inside if clip is None else inside.clip(-clip, clip)) * cohort.step
            made[row][:, region] = np.rint(values) if cohort.step == STEP else values
    return dataclasses.replace(cohort, arrays={**cohort.arrays, "dce": made})


@dataclass(frozen=True, slots=True)
class Acquired:
    """A sequence as it was acquired (`preprocessing.VolumeLike`)."""

    voxels: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]
    seconds: tuple[float, ...] | None = None


def of_acquired(
    folder: Path, config: PreprocessingConfig, scratch: Path, limit: int | None = None
) -> dict[str, Callable[[], Cohort]]:
    """All eight normalisations of the exams that `mome phantom --acquired` wrote; cohorts are made in `scratch`.

    What makes an exam refused does not depend on them: all have the same exams. Raises CohortError where the folder
    holds none.
    """
    lines = read_labels(folder)[:limit]
    choices = [dict(zip(VARIED, words, strict=True)) for words in itertools.product(*VARIED.values())]
    variants: dict[str, Callable[[], Cohort]] = {}
    for words in choices:
        changed = dataclasses.replace(config, **words)  # type: ignore[arg-type]
        name = CONFIGURED if changed == config else ", ".join(f"{key}={word}" for key, word in words.items())
        variants[name] = lambda changed=changed: prepared(folder, lines, changed, scratch)  # type: ignore[misc]
    return {CONFIGURED: variants[CONFIGURED]} | variants


def read_labels(folder: Path) -> list[dict[str, str]]:
    try:
        with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise CohortError(
            f"{folder} holds neither a cohort (cohort.json) nor exams as acquired (labels.csv): make one with "
            "`mome phantom` or `mome-node cohort`, the other with `mome phantom --acquired`."
        ) from error
    if not lines or not {"file", "case", "malignant"} <= lines[0].keys():
        raise CohortError(f"{folder.name}/labels.csv lacks the columns file, case and malignant.")
    return lines


def prepared(folder: Path, lines: list[dict[str, str]], config: PreprocessingConfig, scratch: Path) -> Cohort:
    """The exams behind one preprocessing."""

    def rows() -> Iterator[Row]:
        for number, line in enumerate(lines, 2):
            case = case_of(line, f"labels.csv, line {number}")
            try:
                yield Row(
                    dataclasses.replace(case, status="used"), prepare(volumes(folder / line["file"]), config).arrays
                )
            except Refused as refused:
                yield Row(dataclasses.replace(case, status="rejected", reason=refused.code))

    target = Path(tempfile.mkdtemp(dir=scratch)) / "cohort"
    return cohorts.write(
        target,
        rows(),
        name=folder.name,
        synthetic=True,
        preprocessing=config,
        capacity=len(lines),
        origin={"acquired": folder.name},
    )


def volumes(path: Path) -> dict[str, Acquired]:
    """By role; of DWI that of the highest b-value."""
    with np.load(path, allow_pickle=False) as file:
        b_values = [
            int(name.removeprefix("dwi_b")) for name in file.files if name[:5] == "dwi_b" and name[5:].isdigit()
        ]
        names = {"dce": "dce", "t2": "t2"}
        if b_values:
            names["dwi"] = f"dwi_b{max(b_values)}"
        seconds = tuple(map(float, file["seconds"]))
        return {
            role: Acquired(file[name], file[f"{name}_affine"], seconds if role == "dce" else None)
            for role, name in names.items()
            if name in file.files
        }
