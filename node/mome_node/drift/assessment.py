"""Every scanner at one moment: what it is compared with, what has left its range. Observations in, an Assessment out.

No clock and no file: the same observations and the same moment give the same assessment, whoever asks.

False alarms: an assessment of an unchanged hospital holds one with a probability of at most FALSE_ALARM, all its
scanners and quantities together, half of that for refusals and missing sequences, half for scores and measures (Holm in
each half). Of the digests of two years that is about one at most; how it comes out for who looks every day, a
simulation shows (docs/drift.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..findings import ModelCard
from ..ledger import Observation, Outcome, Scanner
from ..settings import Drift
from . import comparing, exact
from .comparing import Compared, Reference

FALSE_ALARM = 1 / 100
LONGEST = 4  # times `days`: so far back go the latest studies of a scanner that has few
SHARES = ("refused", "incomplete")
NO_MEASURES = frozenset({"motion_phase"})  # a name of a phase, not an amount
PLAINLY_MADE = "none float32"  # how the scores of a model's card were made


@dataclass(frozen=True, slots=True)
class Period:
    """What must stay the same for scores and measures to be comparable."""

    model: str
    weights_sha256: str
    software: str
    making: str

    @classmethod
    def of(cls, one: Observation) -> Period:
        return cls(one.model, one.weights_sha256, one.software, one.making)


@dataclass(frozen=True, slots=True)
class ScannerReport:
    """One scanner in the days that are compared."""

    scanner: Scanner
    begin: datetime
    observations: tuple[Observation, ...]
    known: int  # studies of this period before those that are compared: its baseline is gathered from them
    compared: tuple[Compared, ...]
    warnings: tuple[Compared, ...]  # those of `compared` that left their range

    def count(self, outcome: Outcome) -> int:
        return sum(one.outcome is outcome for one in self.observations)

    @property
    def codes(self) -> Mapping[str, int]:
        """Reasons of refusals, the most frequent first."""
        return dict(Counter(code for one in self.observations for code in one.codes).most_common())

    @property
    def values(self) -> Mapping[str, tuple[float, ...]]:
        """Quantity -> its values in these days."""
        return series(self.observations)


@dataclass(frozen=True, slots=True)
class Assessment:
    """All scanners of a node at one moment."""

    begin: datetime
    end: datetime
    period: Period | None  # None: nothing was observed
    since: datetime | None  # the first study of the period
    has_reference: bool  # the model's file holds distributions
    scanners: tuple[ScannerReport, ...]
    not_compared: int  # studies in these days under other software or weights

    @property
    def warnings(self) -> tuple[tuple[Scanner, Compared], ...]:
        return tuple((report.scanner, one) for report in self.scanners for one in report.warnings)


def assess(
    observed: Sequence[Observation], card: ModelCard | None, settings: Drift, end: datetime, days: int | None = None
) -> Assessment:
    """The scanners in the `days` (else those of the settings) before `end`; `observed` in order of reception.

    Only the newest period is compared. `card`: of the model in use; the distributions of other weights do not count.
    """
    days = days or settings.days
    before = [one for one in observed if one.received_at < end]
    begin = end - timedelta(days=days)
    if not before:
        return Assessment(begin, end, None, None, False, (), 0)
    period = Period.of(before[-1])
    mine = [one for one in before if Period.of(one) == period]
    distributions = _distributions(card, period)
    by_scanner: dict[Scanner, list[Observation]] = {}
    for one in mine:
        by_scanner.setdefault(one.scanner, []).append(one)
    windows = {scanner: _window(every, end, days, settings.min_studies) for scanner, every in by_scanner.items()}
    compared = {
        scanner: [
            one
            for one in _compare(every, windows[scanner], distributions, settings)
            if not settings.quantities or one.quantity.partition(" ")[0] in settings.quantities
        ]
        for scanner, every in by_scanner.items()
    }
    alarming = _alarming([(scanner, one) for scanner, found in compared.items() for one in found])
    reports = [
        ScannerReport(
            scanner,
            begin=min([begin, *(one.received_at for one in windows[scanner])]),
            observations=tuple(windows[scanner]),
            known=len(every) - len(windows[scanner]),
            compared=tuple(compared[scanner]),
            warnings=tuple(one for one in compared[scanner] if (scanner, one.quantity) in alarming),
        )
        for scanner, every in sorted(by_scanner.items(), key=lambda pair: str(pair[0]))
        if windows[scanner]
    ]
    others = sum(Period.of(one) != period and one.received_at >= begin for one in before)
    return Assessment(begin, end, period, mine[0].received_at, bool(distributions), tuple(reports), others)


def _distributions(card: ModelCard | None, period: Period) -> Mapping[str, Any]:
    if card is None or card.weights_sha256 != period.weights_sha256:
        return {}
    return card.distributions


def _window(every: Sequence[Observation], end: datetime, days: int, least: int) -> list[Observation]:
    """The studies of the last days; where they are few, the latest `least` that are not too old."""
    recent = [one for one in every if one.received_at >= end - timedelta(days=days)]
    if not recent or len(recent) >= least:
        return recent
    return [one for one in every[-least:] if one.received_at >= end - timedelta(days=LONGEST * days)]


def _compare(
    every: Sequence[Observation], window: Sequence[Observation], distributions: Mapping[str, Any], settings: Drift
) -> Iterator[Compared]:
    """What has enough studies to be compared. A study of the baseline is not compared with the baseline."""
    baseline = every[: settings.baseline_studies]
    own = {one.study_instance_uid for one in baseline}
    fresh = [one for one in window if one.study_instance_uid not in own]
    earlier, later = series(baseline), series(fresh)
    complete = len(baseline) == settings.baseline_studies
    for quantity, in_window in series(window).items():
        new, reference = in_window, _of_model(quantity, distributions, window)
        if reference is None and complete and len(earlier.get(quantity, ())) >= settings.baseline_studies / 2:
            new, reference = later.get(quantity, ()), Reference.of_values(earlier[quantity])
        if reference is not None and len(new) >= settings.min_studies:
            yield comparing.values(quantity, new, reference)
    if complete:
        fullest = max((one.sequences for one in every), key=lambda names: names.count("+"))
        for quantity in SHARES:
            new_marks, old_marks = (_marks(quantity, some, fullest) for some in (fresh, baseline))
            if len(new_marks) >= settings.min_studies and len(old_marks) >= settings.baseline_studies / 2:
                yield comparing.shares(quantity, new_marks, old_marks)


def _of_model(quantity: str, distributions: Mapping[str, Any], window: Sequence[Observation]) -> Reference | None:
    """The range that the model's file holds: of exams of such scanners, where there were enough, else of all.

    Of scores only where they are made as those of the file.
    """
    kind, _, sequences = quantity.partition(" ")
    if kind == "score" and window[-1].making != PLAINLY_MADE:
        return None
    of_kind = distributions.get("score" if kind == "score" else "quality", {})
    entry = of_kind.get(sequences or quantity)
    scanner = window[-1].scanner
    alike = f"scanner: {scanner.manufacturer} {scanner.field_strength_t or 0:g} T"
    by = entry.get("by", {}) if isinstance(entry, Mapping) else {}
    return Reference.of_card(by.get(alike, entry))


def series(observed: Sequence[Observation]) -> dict[str, tuple[float, ...]]:
    """Quantity -> values: scores by the sequences that they are of, and the measures."""
    found: dict[str, list[float]] = {}
    for one in observed:
        if one.score is not None:
            found.setdefault(f"score {one.sequences}", []).append(one.score)
        for name, value in one.measures.items():
            if name not in NO_MEASURES:
                found.setdefault(name, []).append(value)
    return {quantity: tuple(found[quantity]) for quantity in sorted(found)}


def _marks(share: str, observed: Sequence[Observation], fullest: str) -> list[bool]:
    """Which studies count for a share. What the node itself failed on says nothing about a scanner."""
    if share == "refused":
        return [one.outcome is Outcome.NOT_ANALYSED for one in observed if one.outcome is not Outcome.FAILED]
    return [one.sequences != fullest for one in observed if one.outcome is Outcome.ANALYSED]


def _alarming(compared: Sequence[tuple[Scanner, Compared]]) -> set[tuple[Scanner, str]]:
    """What is no chance, of everything that was compared."""
    found: set[tuple[Scanner, str]] = set()
    for of_shares in (True, False):
        family = [(scanner, one) for scanner, one in compared if (one.quantity in SHARES) == of_shares]
        adjusted = exact.holm([one.p for _, one in family])
        found |= {
            (scanner, one.quantity) for (scanner, one), p in zip(family, adjusted, strict=True) if p < FALSE_ALARM / 2
        }
    return found
