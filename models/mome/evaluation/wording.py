"""Figures as people write them: estimate and interval, counts and shares; a dash where there is no number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NONE = "—"
NAMES: Mapping[str, str] = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "partial_auroc_sensitivity_90": "partial AUROC, sensitivity ≥ 90 %",
    "partial_auroc_specificity_90": "partial AUROC, specificity ≥ 90 %",
    "accuracy": "accuracy",
    "f1": "F1",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "mcc": "Matthews correlation",
    "likelihood_ratio_positive": "likelihood ratio, positive",
    "likelihood_ratio_negative": "likelihood ratio, negative",
    "brier": "Brier score",
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
    "calibration_in_the_large": "calibration in the large",
}
"""In the order of the tables."""


def number(value: float | None, digits: int = 3) -> str:
    return NONE if value is None else f"{value:.{digits}f}".replace("-", "−")


def limits(figure: Mapping[str, Any] | None, digits: int = 3) -> str:
    """`low–high`."""
    low, high = (figure or {}).get("ci95") or (None, None)
    if low is None or high is None:
        return NONE
    between = "–" if low >= 0 else " to "  # a dash before a minus would be read as another
    return f"{number(low, digits)}{between}{number(high, digits)}"


def figure(found: Mapping[str, Any] | None, digits: int = 3) -> str:
    """`estimate (low–high)`."""
    if found is None or found.get("estimate") is None:
        return NONE
    told = limits(found, digits)
    return number(found["estimate"], digits) + (f" ({told})" if told != NONE else "")


def share(found: Mapping[str, Any] | None) -> str:
    """`8 of 109: 7.3 % (3.2–14.0)`."""
    if not found or not found["of"]:
        return f"{found['events']} of 0" if found else NONE
    low, high = found["ci95"]
    return f"{found['events']} of {found['of']}: {found['estimate']:.1%} ({100 * low:.1f}–{100 * high:.1f})".replace(
        "%", " %"
    )


def p_value(p: float | None) -> str:
    return NONE if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def group(by: str, name: str) -> str:
    """A subgroup as people call it."""
    words = {"bpe": "background enhancement", "birads": "BI-RADS", "field_strength_t": "field strength, T"}
    return f"{words.get(by, by)}: {sequences(name) if by == 'sequences' else name}"


def sequences(name: str) -> str:
    """`dce+dwi` as `DCE + DWI`."""
    return name.upper().replace("+", " + ")
