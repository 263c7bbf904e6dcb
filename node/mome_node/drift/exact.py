"""Exact tests for the few studies of a week, on plain numbers.

No distribution is assumed of a measure; none of these needs many studies to hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def beyond(count: int, n: int, share: float, of: int | None = None) -> float:
    """P(at least `count` of `n` new values lie beyond a limit) where nothing has changed.

    The limit is a quantile of a reference, with `share` of it beyond. `of`: how many values the reference holds; the
    limit is then uncertain itself, and the count follows a beta-binomial distribution (exceedance test: Gibbons and
    Chakraborti, Nonparametric Statistical Inference, ch. 6). None: the limit is exact, the count binomial.
    """
    if count <= 0:
        return 1.0
    if of is None:
        logs = [_log_ways(n, k) + k * math.log(share) + (n - k) * math.log1p(-share) for k in range(count, n + 1)]
    else:
        a, b = share * (of + 1), (1 - share) * (of + 1)
        logs = [_log_ways(n, k) + _log_beta(k + a, n - k + b) - _log_beta(a, b) for k in range(count, n + 1)]
    return min(1.0, math.fsum(map(math.exp, logs)))


def _log_ways(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def more(count: int, n: int, earlier_count: int, earlier_n: int) -> float:
    """P(at least `count` of the new `n`), given how many there are in both times together (Fisher's exact test)."""
    both, everything = count + earlier_count, n + earlier_n
    ways = [math.comb(n, k) * math.comb(earlier_n, both - k) for k in range(count, min(both, n) + 1)]
    return min(1.0, sum(ways) / math.comb(everything, both))


def holm(p: Sequence[float]) -> list[float]:
    """P values adjusted for being several (Holm 1979): one below alpha is a false alarm with probability alpha at most,
    whatever the dependence between them."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, largest = [1.0] * len(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def quantile(values: Sequence[float], level: float) -> float:
    """Of sorted `values`, so that a new value of the same kind lies below with probability `level` (r/(n+1) rule)."""
    at = level * (len(values) + 1) - 1
    low = math.floor(at)
    lower, upper = values[min(max(low, 0), len(values) - 1)], values[min(max(low + 1, 0), len(values) - 1)]
    return lower + (at - low) * (upper - lower) if at >= 0 else lower


def quantiles(values: Sequence[float], levels: Sequence[float]) -> Mapping[float, float]:
    ordered = sorted(values)
    return {level: quantile(ordered, level) for level in levels}
