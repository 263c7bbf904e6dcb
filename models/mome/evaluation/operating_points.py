"""Operating points: a threshold frozen on one cohort for one way of making the score, with the counts behind it.

A score at or below the threshold makes an exam a candidate for downgrade. A point for *downgrade* is the one that the
node advises by; points at stated *sensitivities* are there to be compared with others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..coalitions import COALITIONS, Coalition
from ..cohort import Case
from ..model import made
from . import intervals, power
from .power import BIRADS_4, POPULATION

Use: TypeAlias = Literal["downgrade", "sensitivity"]
Bools: TypeAlias = npt.NDArray[np.bool_]
Scores: TypeAlias = npt.NDArray[np.floating]

MISSED_SHARE = 0.02  # of the cancers that may lie at or below the threshold, where exams of all categories are used
LEAST_BENIGN = 0.05  # of the benign exams that must lie there, else a point for downgrade serves nobody
EVERYBODY = "all exams"


class OperatingPointError(ValueError):
    """A cohort on which no operating point can be chosen; the message says what it lacks."""


def upper_limit(events: int, of: int) -> float:
    """Upper end of the exact two-sided 95 % interval of a share (Clopper and Pearson 1934)."""
    return intervals.upper_limit(events, of, 0.975)


# ------------------------------------------------------------------ choosing
def freeze(
    scores: Mapping[Coalition, Scores],
    malignant: Bools,
    *,
    cohort: str,
    preprocessing: str,
    cases: Sequence[Case] | None = None,
    sensitivities: Sequence[float] = (),
    downgrade_sensitivity: float | None = None,
    confidence: float = power.CONFIDENCE,
) -> list[dict[str, Any]]:
    """Points of every combination with DCE: one for downgrade where it frees enough, then those at `sensitivities`.

    With `cases`, which belong to the labels and scores (N,), their BI-RADS 4 exams are used, and the point for
    downgrade misses no cancer. Without, or where no case has a category 4, all exams are, and it misses at most 2 %:
    such a point supports no claim. `downgrade_sensitivity` replaces either. NaN: not scored from this combination.

    The upper limit of the share of cancers missed holds although the threshold was chosen on these very cancers: what
    lies below the k-th lowest of n has the beta distribution of the exact limit (Wilks 1941). That of cancers among the
    downgraded holds where a higher score never means fewer cancers. Both are about exams like these, and no others.

    `cohort` in words, with "synthetic" where it is. Raises OperatingPointError where there are no cancers, no benign
    exams, or a sensitivity is none.
    """
    in_4 = birads_4(cases) if cases is not None else np.zeros(len(malignant), bool)
    population = POPULATION if in_4.any() else EVERYBODY
    rows = in_4 if in_4.any() else np.ones(len(malignant), bool)
    if downgrade_sensitivity is None:
        downgrade_sensitivity = 1.0 if population == POPULATION else 1 - MISSED_SHARE
    if any(not 0 < sensitivity <= 1 for sensitivity in (*sensitivities, downgrade_sensitivity)):
        raise OperatingPointError("A sensitivity lies above 0 and is at most 1: 0.95, not 95.")
    check_classes(malignant[rows], population)
    wanted: list[tuple[Use, float]] = [("downgrade", downgrade_sensitivity)]
    wanted += [("sensitivity", sensitivity) for sensitivity in sensitivities]
    points = []
    for use, sensitivity in wanted:
        for coalition in (c for c in COALITIONS if "dce" in c):
            there = rows & ~np.isnan(scores[coalition])
            if len(set(malignant[there])) < 2:
                continue  # hardly an exam has all sequences of this combination
            found = point_at(
                scores[coalition][there], malignant[there], sensitivity, population, confidence, is_synthetic(cohort)
            )
            if use == "sensitivity" or found["benign_at_or_below"] >= LEAST_BENIGN * found["benign"]:
                points.append(
                    {
                        "name": name_of(use, sensitivity, coalition),
                        "use": use,
                        "target": "malignancy",
                        "cohort": cohort if population == EVERYBODY else f"{there.sum()} BI-RADS 4 exams of {cohort}",
                        **found,
                        "key": made(coalition, preprocessing),
                    }
                )
    return points


def check_classes(malignant: Bools, population: str) -> None:
    cancers, benign = int(malignant.sum()), int((~malignant).sum())
    if not cancers or not benign:
        raise OperatingPointError(
            f"Of {population} the cohort holds {cancers} malignant and {benign} benign: a threshold needs both. Tune "
            "on a cohort with proven exams of both kinds."
        )


def is_synthetic(cohort: str) -> bool:
    """By the words of a cohort, which always say it."""
    return "synthetic" in cohort.lower()


def point_at(
    score: Scores, malignant: Bools, sensitivity: float, population: str, confidence: float, synthetic: bool = False
) -> dict[str, Any]:
    """Threshold and counts of one point."""
    cancers, benign = int(malignant.sum()), int((~malignant).sum())
    threshold = highest_threshold(score[malignant], 1 - sensitivity)
    below = score <= threshold
    missed, freed = int((below & malignant).sum()), int((below & ~malignant).sum())
    return {
        "threshold": threshold,
        "population": population,
        "sensitivity": sensitivity,
        "cancers": cancers,
        "cancers_at_or_below": missed,
        "upper_limit_95": upper_limit(missed, cancers),
        "confidence": confidence,
        "upper_limit": intervals.upper_limit(missed, cancers, confidence),  # one-sided, of cancers missed
        "benign": benign,
        "benign_at_or_below": freed,
        "claim": power.claim(missed, missed + freed, population=population, confidence=confidence, synthetic=synthetic),
    }


def name_of(use: Use, sensitivity: float, coalition: Coalition) -> str:
    sequences = "+".join(coalition)
    if use == "downgrade":
        return f"candidate for downgrade, {sequences}"
    return f"sensitivity {power.percent(sensitivity)}, {sequences}"


def highest_threshold(cancers: Scores, missed_share: float = MISSED_SHARE) -> float:
    """Highest threshold, to four digits rounded down, with at most this share of the cancers' scores at or below it."""
    missed = math.floor(missed_share * len(cancers) + 1e-9)  # (1 - 0.9) * 10 is a little less than 1
    return math.floor(float(np.sort(cancers)[missed]) * 1e4 - 1e-9) / 1e4 if missed < len(cancers) else 1.0


def birads_4(cases: Sequence[Case]) -> Bools:
    """Exams inside the evaluated range with category 4, 4A, 4B or 4C (N,)."""
    return np.array([case.birads in BIRADS_4 and case.status == "used" for case in cases], bool)


# ------------------------------------------------------------------ reporting
def report_point(
    point: Mapping[str, Any],
    cases: Sequence[Case],
    positive: Bools,
    score: Scores,
    *,
    left_out: Sequence[Case] = (),
    population: str | None = None,
    synthetic: bool = False,
) -> dict[str, Any]:
    """What a frozen point does to another cohort, JSON-ready, as the paper reports it: "8 out of 109 benign downgraded,
    no cancer missed of 86", with exact binomial intervals.

    `cases`, `positive` and `score`, made from the point's sequences, are (N,) and belong together; NaN: no such score.
    `left_out`: every other case of the cohort. `scored` counts BI-RADS 4 exams with a score inside the evaluated range.
    In `all_studies` the withheld, the rejected, the failed and those without the sequences stay in the denominators:
    they are not downgraded, and none of their cancers is missed by a downgrade. `population` ("BI-RADS 4" or "all
    exams") replaces that of the point. Of a `synthetic` cohort the words say so.
    """
    population = population or str(point.get("population", POPULATION))
    used = np.array([case.status == "used" and belongs(case, population) for case in cases], bool) & ~np.isnan(score)
    below = used & (score <= point["threshold"])
    missed, freed = int((below & positive).sum()), int((below & ~positive).sum())
    cancers, benign = int((used & positive).sum()), int((used & ~positive).sum())
    without = unscored(population, cases, positive, used, left_out)
    more = {name: sum(row[name] for row in without.values()) for name in ("cancers", "benign")}
    patients = {case.patient for case, counts in zip(cases, used, strict=True) if counts}
    return {
        "name": point["name"],
        "use": point.get("use", "downgrade"),
        "sequences": list(point["key"]["sequences"]),
        "threshold": point["threshold"],
        "frozen_on": point["cohort"],
        "population": population,
        "scored": {
            "exams": cancers + benign,
            "patients": len(patients),
            **shares(missed, cancers, freed, benign),
        },
        "all_studies": {
            "exams": cancers + benign + more["cancers"] + more["benign"],
            **shares(missed, cancers + more["cancers"], freed, benign + more["benign"]),
            "without_score": without,
        },
        "claim": power.claim(
            missed,
            missed + freed,
            population=population,
            share=float(point.get("claim", {}).get("at_most", power.SHARE)),
            confidence=float(point.get("confidence", power.CONFIDENCE)),
            synthetic=synthetic,
        ),
        "words": in_words(missed, cancers, freed, benign, f"synthetic {population}" if synthetic else population),
    }


def shares(missed: int, cancers: int, freed: int, benign: int) -> dict[str, Any]:
    """The three shares of a table; `upper_limit_one_sided` is of the cancers among the downgraded."""
    counts = {
        "benign_downgraded": (freed, benign),
        "cancers_missed": (missed, cancers),
        "cancers_among_downgraded": (missed, missed + freed),
    }
    told = {name: {"events": k, "of": n, **intervals.exact(k, n).json()} for name, (k, n) in counts.items()}
    told["cancers_among_downgraded"]["upper_limit_one_sided"] = intervals.upper_limit(missed, missed + freed)
    return told


def unscored(
    population: str, cases: Sequence[Case], positive: Bools, used: Bools, left_out: Sequence[Case]
) -> dict[str, dict[str, int]]:
    """Counts of cancers, benign and unproven exams of the population that have no such score, by why they have none."""
    rest = [(case, bool(answer)) for case, answer, scored in zip(cases, positive, used, strict=True) if not scored]
    found: dict[str, dict[str, int]] = {}
    for case, answer in [*rest, *((case, case.malignant) for case in left_out)]:
        if belongs(case, population):
            why = case.status if case.status != "used" else "other sequences or no answer"
            row = found.setdefault(why, {"cancers": 0, "benign": 0, "unproven": 0})
            row["unproven" if answer is None else "cancers" if answer else "benign"] += 1
    return dict(sorted(found.items()))


def belongs(case: Case, population: str) -> bool:
    return population == EVERYBODY or case.birads in BIRADS_4


def in_words(missed: int, cancers: int, freed: int, benign: int, population: str) -> str:
    """One sentence, as in the paper. A count of none is told with its exact upper limit, never as a promise."""
    lost = "no cancer was" if missed == 0 else f"{missed} cancer{'s were' if missed > 1 else ' was'}"
    limit = power.percent(upper_limit(missed, cancers))
    return (
        f"{freed} of {benign} benign {population} exams ({power.percent(freed / benign) if benign else '-'}) would be "
        f"downgraded; {lost} missed of {cancers} (exact 95 % interval up to {limit})."
    ).replace(f"{EVERYBODY} exams", "exams")
