"""Who would have spared which biopsy: the model beside ADC, Kaiser score and single readers, in BI-RADS 4 exams.

Each has a rule that leaves a biopsy out. A column holds the exams to which its rule can be put; the others are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cohort import Case
from . import readers
from .decision_curves import in_birads_4
from .intervals import Interval, exact
from .metrics import Answers, Numbers, Scores

ADC_LIMIT = 1.5
"""1e-3 mm2/s; from there on a lesion need not be biopsied: the 1.53 of the multicentre trial ECOG-ACRIN A6702 (Rahbar
et al. 2019, Clin Cancer Res 25:1756), rounded as readers do."""
KAISER_LIMIT = 5
"""From there on a biopsy is advised (Baltzer et al. 2013, Eur Radiol 23:2051)."""


@dataclass(frozen=True, slots=True)
class DowngradeColumn:
    """One rule on BI-RADS 4 exams. Positive: not downgraded. All intervals are exact (Clopper and Pearson 1934)."""

    name: str
    rule: str  # when an exam is downgraded
    n: int  # BI-RADS 4 exams that have what the rule asks
    left_out: int  # BI-RADS 4 exams that have not
    benign: int
    benign_downgraded: int
    cancers: int
    cancers_missed: int  # downgraded
    sensitivity: Interval
    specificity: Interval
    cancers_among_downgraded: Interval

    def json(self) -> dict[str, Any]:
        counts = ("n", "left_out", "benign", "benign_downgraded", "cancers", "cancers_missed")
        shares = ("sensitivity", "specificity", "cancers_among_downgraded")
        return {name: getattr(self, name) for name in ("name", "rule", *counts)} | {
            name: getattr(self, name).json() for name in shares
        }


def downgrade_table(
    cases: Sequence[Case], positive: Answers, score: Scores, threshold: float, *, model: str = "MOME"
) -> list[DowngradeColumn]:
    """Columns of the model, ADC, Kaiser score, model and ADC together, and of every reader; of N exams, any category.

    `cases`, `positive` (malignant) and `score` (N,) belong together; NaN is no score. `threshold`: at or below it the
    model downgrades. Columns to which no BI-RADS 4 exam can be put are left out, that of the model never.
    """
    in_4 = in_birads_4(cases)
    adc = _known([case.adc for case in cases])
    kaiser = _known([case.kaiser for case in cases])
    by_model, by_adc = _rule(score <= threshold, score), _rule(adc >= ADC_LIMIT, adc)
    rules = [
        (model, f"score at or below {threshold:g}", by_model),
        ("ADC", f"ADC at least {ADC_LIMIT} x 10⁻³ mm²/s", by_adc),
        ("Kaiser score", f"Kaiser score below {KAISER_LIMIT}", _rule(kaiser < KAISER_LIMIT, kaiser)),
        (f"{model} + ADC", "both", np.where(np.isnan(by_model + by_adc), np.nan, by_model * by_adc)),
        *(_reader(name, cases) for name in readers.names(cases)),
    ]
    columns = [_column(name, rule, downgraded[in_4], positive[in_4]) for name, rule, downgraded in rules]
    return [column for index, column in enumerate(columns) if column.n or not index]


def _known(values: Sequence[float | None]) -> Numbers:
    return np.array([np.nan if value is None else value for value in values], float)


def _rule(downgraded: Answers, value: Scores) -> Numbers:
    """1 downgraded, 0 not, NaN where the value is not known (N,)."""
    return np.where(np.isnan(value), np.nan, downgraded.astype(float))


def _reader(name: str, cases: Sequence[Case]) -> tuple[str, str, Numbers]:
    """A reader downgrades below category 4, or below 50 of 100; BI-RADS 0 asks for more pictures and is no answer."""
    said = np.array([case.readers.get(name, np.nan) for case in cases])
    scale = readers.scale_of(said)
    if scale == "BI-RADS":
        said = np.where(said == readers.INCOMPLETE, np.nan, said)
    limit = readers.OPERATING_POINTS[scale]
    return (
        f"reader: {name}",
        f"{'BI-RADS' if scale == 'BI-RADS' else 'score'} below {limit:g}",
        _rule(said < limit, said),
    )


def _column(name: str, rule: str, downgraded: Numbers, positive: Answers) -> DowngradeColumn:
    there = ~np.isnan(downgraded)
    down, cancer = downgraded[there] == 1, positive[there]
    cancers, missed, freed = int(cancer.sum()), int((down & cancer).sum()), int((down & ~cancer).sum())
    benign = len(cancer) - cancers
    return DowngradeColumn(
        name=name,
        rule=rule,
        n=len(cancer),
        left_out=int((~there).sum()),
        benign=benign,
        benign_downgraded=freed,
        cancers=cancers,
        cancers_missed=missed,
        sensitivity=exact(cancers - missed, cancers),
        specificity=exact(freed, benign),
        cancers_among_downgraded=exact(missed, missed + freed),
    )
