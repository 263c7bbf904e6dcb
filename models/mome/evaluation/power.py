"""How many exams a claim about downgraded ones needs, and whether those of an operating point suffice.

The claim: of the BI-RADS 4 exams that a score calls candidates for downgrade, at most 2 % are cancers, with 95 %
confidence: the exact one-sided upper limit of that share (Clopper and Pearson 1934) is not above 2 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..cohort import Case
from .intervals import upper_limit

SHARE = 0.02
"""Of cancers, among exams that may be spared a biopsy: that of BI-RADS 3, which is followed up (ACR BI-RADS Atlas)."""
CONFIDENCE = 0.95
BIRADS_4 = ("4", "4A", "4B", "4C")
POPULATION = "BI-RADS 4"
FREED_IN_PAPER = 8 / 109
"""Of the benign BI-RADS 4 patients of the paper's external set, those that its operating point downgraded."""


def needed(cancers: int = 0, share: float = SHARE, confidence: float = CONFIDENCE) -> int:
    """Fewest downgraded exams of which `cancers` may be cancers: 149 for none, 236 for one.

    Raises ValueError for a share or a confidence that does not lie between 0 and 1, or fewer cancers than none.
    """
    if not (0 < share < 1 and 0 < confidence < 1 and cancers >= 0):
        raise ValueError("Share and confidence lie between 0 and 1, and there are no fewer cancers than none.")
    low, high = cancers, cancers + 1
    while upper_limit(cancers, high, confidence) > share:
        low, high = high, 2 * high
    while high - low > 1:  # the limit falls with every further exam
        middle = (low + high) // 2
        low, high = (middle, high) if upper_limit(cancers, middle, confidence) > share else (low, middle)
    return high


def allowed(downgraded: int, share: float = SHARE, confidence: float = CONFIDENCE) -> int | None:
    """Most cancers among so many downgraded exams that still support the claim; None where not even none does."""
    cancers = None
    while (more := 0 if cancers is None else cancers + 1) < downgraded and upper_limit(
        more, downgraded, confidence
    ) <= share:
        cancers = more
    return cancers


def table(upto: int = 5, share: float = SHARE, confidence: float = CONFIDENCE) -> list[dict[str, int]]:
    """Exams needed for none, one, ... `upto` cancers found among them."""
    return [{"cancers": k, "downgraded": needed(k, share, confidence)} for k in range(upto + 1)]


def claim(
    cancers: int,
    downgraded: int,
    *,
    population: str = POPULATION,
    share: float = SHARE,
    confidence: float = CONFIDENCE,
    synthetic: bool = False,
) -> dict[str, Any]:
    """The field `claim` of an operating point: `cancers` of the `downgraded` exams, and whether they support the claim.

    A point that was not chosen on BI-RADS 4 exams supports none: the advice is about these. Of `synthetic` exams the
    claim is about such exams, and says so.
    """
    limit, wanted = upper_limit(cancers, downgraded, confidence), needed(cancers, share, confidence)
    right, enough = population == POPULATION, limit <= share
    return {
        "at_most": share,
        "confidence": confidence,
        "population": population,
        "synthetic": synthetic,
        "downgraded": downgraded,
        "cancers": cancers,
        "upper_limit": limit,
        "needed": wanted,
        "supported": right and enough,
        "words": words(cancers, downgraded, limit, wanted, share, confidence, right, enough, synthetic),
    }


def words(
    cancers: int,
    downgraded: int,
    limit: float,
    wanted: int,
    share: float,
    confidence: float,
    right: bool,
    enough: bool,
    synthetic: bool,
) -> str:
    of = f"downgraded {'synthetic ' if synthetic else ''}BI-RADS 4 exams"
    said = f"at most {percent(share)} cancers among {of}, with {percent(confidence)} confidence"
    found = f"{cancers} of {downgraded} downgraded were cancers, upper limit {percent(limit)}"
    if not right:
        return f"Not shown: {said}. The operating point was not chosen on BI-RADS 4 exams ({found})."
    if not enough:
        return f"Not shown: {said}. {found}; with {cancers} it takes {wanted} downgraded exams."
    return f"Shown: {said} ({found})."


def percent(value: float) -> str:
    return f"{100 * value:.1f}".removesuffix(".0") + " %"


def supports_claim(point: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether an operating point supports its claim, by its own counts, and in words; one without counts does not."""
    try:
        cancers, freed = int(point["cancers_at_or_below"]), int(point["benign_at_or_below"])
        population, said = str(point["population"]), point["claim"]
        share, confidence = float(said["at_most"]), float(said["confidence"])
        synthetic = bool(said.get("synthetic"))
    except (KeyError, TypeError, ValueError):
        return False, "The operating point does not say on how many downgraded exams it rests."
    again = claim(
        cancers, cancers + freed, population=population, share=share, confidence=confidence, synthetic=synthetic
    )
    return bool(again["supported"]), str(again["words"])


def of_cohort(cases: list[Case], share: float = SHARE, confidence: float = CONFIDENCE) -> dict[str, Any]:
    """What exams at hand can support at most: were all benign BI-RADS 4 downgraded and no cancer missed.

    `freed_at_least`: the share of the benign ones that an operating point must free for the claim; None: not even all.
    """
    in_4 = [case for case in cases if case.birads in BIRADS_4 and case.status == "used"]
    benign = sum(case.malignant is False for case in in_4)
    cancers = sum(case.malignant is True for case in in_4)
    wanted = needed(0, share, confidence)
    return {
        "birads_4": len(in_4),
        "benign": benign,
        "cancers": cancers,
        "upper_limit_at_best": upper_limit(0, benign, confidence),
        "needed": wanted,
        "freed_at_least": wanted / benign if benign >= wanted else None,
        "upper_limit_of_missed": upper_limit(0, cancers, confidence),  # of the cancers, were none of these missed
    }
