"""Where every study of a cohort went, and how well the node does when those without a result are counted too."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ..cohort import Cohort
from .intervals import exact
from .scoring import Scored
from .subgroups import ORDER

REASONS = {
    "withheld": "outside the evaluated range, advice withheld",
    "rejected": "refused for a reason of the exam",
    "failed": "the software could not analyse it",
}


def told(cohort: Cohort, scored: Scored) -> dict[str, Any]:
    """Counts of studies from all that were there to those that were scored; `patients` counts people."""
    every = [*cohort.cases, *cohort.left_out]
    left = {
        status: dict(Counter(case.reason or "no reason noted" for case in every if case.status == status).most_common())
        for status in REASONS
    }
    return {
        "studies": len(every),
        "patients": len({case.patient for case in every}),
        "left": {status: reasons for status, reasons in left.items() if reasons},
        "without_answer": sum(case.status == "used" for case in every) - len(scored.cases),
        "scored": len(scored.cases),
        "malignant": int(scored.positive.sum()),
        "benign": int((~scored.positive).sum()),
    }


def intention_to_diagnose(cohort: Cohort, scored: Scored, threshold: float) -> dict[str, Any]:
    """Sensitivity, specificity and accuracy with every study in the denominators that has a reference standard.

    A study without a result counts against the test, whatever it is: a cancer as missed, a benign exam as called
    (Schuetz et al. 2012, BMJ 345:e6717: the 3 x 2 table and its worst case). Withheld studies have a score, but the
    node gives no advice for them, so they count as without.
    """
    without = [case for case in (*cohort.cases, *cohort.left_out) if case.status != "used"]
    known = [case for case in without if case.malignant is not None]
    called = scored.score > threshold
    counts = {
        "malignant": {
            "positive": int((called & scored.positive).sum()),
            "negative": int((~called & scored.positive).sum()),
            "no_result": sum(case.malignant is True for case in known),
        },
        "benign": {
            "positive": int((called & ~scored.positive).sum()),
            "negative": int((~called & ~scored.positive).sum()),
            "no_result": sum(case.malignant is False for case in known),
        },
    }
    cancers, benign = (sum(row.values()) for row in counts.values())
    right = counts["malignant"]["positive"], counts["benign"]["negative"]
    shares = {
        "sensitivity": (right[0], cancers),
        "specificity": (right[1], benign),
        "accuracy": (sum(right), cancers + benign),
        "with a result": (len(scored.cases), cancers + benign),
    }
    return {
        "threshold": threshold,
        "counts": counts,
        "studies_without_result_and_answer": len(without) - len(known),
        "figures": {name: share(events, of) for name, (events, of) in shares.items()},
    }


def share(events: int, of: int) -> dict[str, Any]:
    """A share with its exact binomial interval; `estimate` is None of nothing."""
    if not of:
        return {"events": events, "of": 0, "estimate": None, "ci95": None}
    found = exact(events, of)
    return {"events": events, "of": of, **found.json()}


def by_sequences(scored: Scored) -> dict[str, int]:
    """How many exams have exactly which sequences, most frequent first."""
    return dict(Counter("+".join(case.sequences) for case in scored.cases).most_common())


def characteristics(scored: Scored) -> dict[str, Any]:
    """Who was scored: age by class, then counts (malignant, benign) of every value; what nobody knows is not there."""
    found: dict[str, Any] = {}
    ages = {
        name: quartiles([c.age for c, p in zip(scored.cases, scored.positive, strict=True) if p == of and c.age])
        for name, of in (("malignant", True), ("benign", False))
    }
    if any(ages.values()):
        found["age"] = ages
    for name in ("birads", "bpe", "field_strength_t", "vendor", "site"):
        values = [getattr(case, name) for case in scored.cases]
        if any(value not in ("", None) for value in values):
            found[name] = {
                "not known" if value in ("", None) else f"{value}": {
                    "malignant": sum(v == value and bool(p) for v, p in zip(values, scored.positive, strict=True)),
                    "benign": sum(v == value and not p for v, p in zip(values, scored.positive, strict=True)),
                }
                for value in sorted(set(values), key=place)
            }
    return found


def place(value: object) -> tuple[int, str]:
    """Grades in their order, other values by the alphabet."""
    return (ORDER.index(str(value)) if value in ORDER else len(ORDER)), str(value)


def quartiles(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    low, median, high = np.percentile(values, (25, 50, 75))
    return {"n": len(values), "median": float(median), "first_quartile": float(low), "third_quartile": float(high)}
