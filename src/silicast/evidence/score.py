"""Error statistics in which a piece of evidence counts once, however many rows it has.

A piece is a run: all rows of one source with the same scenario, whatever the metric and the version of the engine
(several metrics of one run, resubmissions). Each of its n rows in a group weighs 1 / n.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: pieces of evidence from which an order can be told
FEWEST_RANKED = 3


class Compared(NamedTuple):
    """One row as statistics see it; `forecast` and what is of its band are None where there is none.

    `width` = high / low of the band.
    """

    piece: Hashable
    metric: str
    measured: float
    forecast: float | None
    inside: bool | None
    width: float | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """Errors are forecast / measured - 1. None = no row to tell it from.

    rows, evidence         rows, and the pieces of evidence they are
    share_forecast         rows with a forecast over rows
    median_absolute_error, mean_absolute_error, p90_absolute_error
    bias                   median signed error
    rank_correlation       Spearman's, within each metric, mean over the metrics
    coverage               share of the measurements inside the 80 % band
    width                  median of high / low of the band
    """

    rows: int
    evidence: int
    share_forecast: float
    median_absolute_error: float | None = None
    mean_absolute_error: float | None = None
    bias: float | None = None
    p90_absolute_error: float | None = None
    rank_correlation: float | None = None
    coverage: float | None = None
    width: float | None = None


def score(rows: Sequence[Compared]) -> Score:
    """The statistics of some rows."""
    told = [row for row in rows if row.forecast is not None]
    pieces = len({row.piece for row in rows})
    share = len(told) / len(rows) if rows else 0.0
    if not told:
        return Score(len(rows), pieces, share)
    errors = np.array([row.forecast / row.measured - 1 for row in told if row.forecast is not None])
    weights = _weights(told)
    size = np.abs(errors)
    return Score(
        len(rows),
        pieces,
        share,
        weighted_quantile(size, weights, 0.5),
        float(np.average(size, weights=weights)),
        weighted_quantile(errors, weights, 0.5),
        weighted_quantile(size, weights, 0.9),
        _rank_correlation(told),
        _coverage(told, weights),
        _width(told, weights),
    )


def _weights(rows: Sequence[Compared]) -> Array:
    count = Counter(row.piece for row in rows)
    return np.array([1 / count[row.piece] for row in rows])


def weighted_quantile(values: Array, weights: Array, share: float) -> float:
    """The value below which `share` of the weight lies, linear between the middles of the weights."""
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    middles = (np.cumsum(weights) - weights / 2) / weights.sum()
    return float(np.interp(share, middles, values))


def _coverage(rows: Sequence[Compared], weights: Array) -> float | None:
    banded = np.array([row.inside is not None for row in rows])
    if not banded.any():
        return None
    inside = np.array([bool(row.inside) for row in rows])
    return float(np.average(inside[banded], weights=weights[banded]))


def _width(rows: Sequence[Compared], weights: Array) -> float | None:
    wide = np.array([row.width if row.width is not None else np.nan for row in rows])
    banded = np.isfinite(wide)
    return weighted_quantile(wide[banded], weights[banded], 0.5) if banded.any() else None


def _rank_correlation(rows: Sequence[Compared]) -> float | None:
    """Per metric over pieces, of which resubmissions are one at their geometric mean; weighed by pieces."""
    by_metric: dict[str, dict[Hashable, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.forecast is not None:
            by_metric[row.metric][row.piece].append((row.measured, row.forecast))
    found, weights = [], []
    for pieces in by_metric.values():
        pairs = np.array([np.log(np.array(pair)).mean(axis=0) for pair in pieces.values()])
        correlation = spearman(pairs[:, 0], pairs[:, 1]) if len(pairs) >= FEWEST_RANKED else None
        if correlation is not None:
            found.append(correlation)
            weights.append(len(pairs))
    return float(np.average(found, weights=weights)) if found else None


def spearman(first: Array, second: Array) -> float | None:
    """Correlation of ranks, equal values at their mean rank; None where one side has no order (Spearman 1904)."""
    one, two = ranks(first), ranks(second)
    if np.ptp(one) == 0 or np.ptp(two) == 0:
        return None
    return float(np.corrcoef(one, two)[0, 1])


def ranks(values: Array) -> Array:
    """1 for the smallest; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=float)
