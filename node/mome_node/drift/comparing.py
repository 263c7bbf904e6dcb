"""Has one quantity of one scanner left its range? A few values of today against a reference: how likely by chance?

A reference is quantiles: of the model's cohort, as its file holds them, or of the scanner's own first studies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from . import exact

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
TOLERANCE = 1e-5  # relative: findings are rounded to six decimals, a reference perhaps not
NOTEWORTHY: Mapping[float, float] = {0.01: 0.10, 0.05: 0.15, 0.25: 0.50}
"""Share of the reference beyond a limit -> share of the new values that must lie beyond for a word about it: with many
studies also a change that concerns nobody is no chance. The last means: the median has left the middle half."""
MORE_BY = 0.10  # by so much must a share have risen for a word about it

Against = Literal["model", "earlier"]
Side = Literal["above", "below"]
SIDES: tuple[Side, ...] = ("above", "below")


@dataclass(frozen=True, slots=True)
class Reference:
    """The range of a quantity."""

    against: Against
    quantiles: Mapping[float, float]
    n: int | None  # how many studies they are of; None: not known, taken for very many

    @classmethod
    def of_card(cls, entry: Any) -> Reference | None:
        """From {"n": .., "quantiles": {"0.05": ..}} of a model's card; None where it has no such entry."""
        try:
            given = {float(level): float(value) for level, value in entry["quantiles"].items()}
            n = entry.get("n")
            return cls("model", given, None if n is None else int(n)) if 0.5 in given else None
        except (AttributeError, KeyError, TypeError, ValueError):
            return None

    @classmethod
    def of_values(cls, values: Sequence[float]) -> Reference:
        return cls("earlier", exact.quantiles(values, LEVELS), len(values))

    def holds(self, level: float) -> bool:
        """Whether it has this quantile, and studies enough that some lie beyond it."""
        return level in self.quantiles and (self.n is None or (self.n + 1) * min(level, 1 - level) >= 1)


@dataclass(frozen=True, slots=True)
class Beyond:
    """New values beyond one limit of the reference."""

    side: Side
    limit: float
    share: float  # of the reference that lies beyond
    count: int


@dataclass(frozen=True, slots=True)
class Compared:
    """One quantity of one scanner, compared."""

    quantity: str  # "score dce+dwi+t2", "motion_mm", "refused", ...
    n: int
    against: Against
    value: float  # the median; of "refused" and "incomplete" the share
    expected: float
    p: float  # of all limits of this quantity together; 1 where nothing noteworthy lies beyond
    beyond: Beyond | None = None  # the limit that tells most


def values(quantity: str, new: Sequence[float], reference: Reference) -> Compared:
    """New values against quantiles: the smallest p of the limits, times their number (Bonferroni)."""
    found: list[tuple[float, Beyond]] = []
    limits = 0
    for share, noteworthy in NOTEWORTHY.items():
        for side in SIDES:
            level = round(1 - share, 6) if side == "above" else share
            if not reference.holds(level):
                continue
            limits += 1
            beyond = _beyond(new, reference.quantiles[level], side, share)
            if beyond.count >= noteworthy * len(new):
                found.append((exact.beyond(beyond.count, len(new), share, reference.n), beyond))
    p, most = min(found, key=lambda pair: pair[0], default=(1.0, None))
    return Compared(
        quantity,
        len(new),
        reference.against,
        value=exact.quantile(sorted(new), 0.5),
        expected=reference.quantiles[0.5],
        p=min(1.0, limits * p),
        beyond=most,
    )


def _beyond(new: Sequence[float], limit: float, side: Side, share: float) -> Beyond:
    margin = TOLERANCE * max(1.0, abs(limit))
    count = sum(value > limit + margin if side == "above" else value < limit - margin for value in new)
    return Beyond(side, limit, share, count)


def shares(quantity: str, new: Sequence[bool], earlier: Sequence[bool]) -> Compared:
    """A share that must not rise, against that of earlier studies."""
    now, before = sum(new) / len(new), sum(earlier) / len(earlier)
    risen = now - before >= MORE_BY
    p = exact.more(sum(new), len(new), sum(earlier), len(earlier)) if risen else 1.0
    return Compared(quantity, len(new), "earlier", now, before, p)
