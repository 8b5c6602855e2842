"""Robust fits of a law's coefficients, in log space, within physical bounds, with their uncertainty."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from silicast.errors import EvidenceError, MissingExtraError
from silicast.estimate import Z90
from silicast.evidence.calibrate.sample import held_out
from silicast.evidence.ingest.aiconfigurator import INSTALL
from silicast.evidence.ingest.operators import Array, Operators

#: log error beyond which a row counts less and less (soft L1), also the scale at which priors weigh against rows
SCALE = 0.1
#: rows that a fit needs per coefficient
ROWS_PER_COEFFICIENT = 3
#: groups of shapes whose rows err together, for the covariance
CLUSTERS = 40
#: below this many rows none is held out: errors come from cross-validation in so many folds
FEW_ROWS, FOLDS = 100, 5
#: what the rows leave open by more than this does not matter near its value, and would far from it: half as much again
MOST_SPREAD = float(np.log(1.5)) / Z90
#: relative step of the numerical derivative: above the steps of the staircases
STEP = 1e-3


@dataclass(frozen=True, slots=True)
class Coefficient:
    """What is fitted: name, unit, start, physical bounds, and how far (in log) it may easily stray from the start.

    `kept` is False for what describes the micro-benchmark only.
    """

    name: str
    start: float
    low: float
    high: float
    stray: float = 1.0
    unit: str = ""
    kept: bool = True


@dataclass(slots=True)
class Fitted:
    """Values with 10th and 90th percentile, rows used, and the log errors on held-out rows."""

    values: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    rows: int
    errors: Array
    sources: tuple[str, ...] = ()
    units: dict[str, str] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median absolute log error of the held-out rows."""
        return float(np.median(np.abs(self.errors)))

    @property
    def p90(self) -> float:
        """Its 90th percentile."""
        return float(np.quantile(np.abs(self.errors), 0.9))


Predict = Callable[[Operators, Mapping[str, float]], Array]


def fit(table: Operators, coefficients: Sequence[Coefficient], predict: Predict, fixed: Mapping[str, float]) -> Fitted:
    """The coefficients that bring `predict` closest to the measured latencies of the rows that are not held out.

    Raises EvidenceError when there are too few rows.
    """
    needed = ROWS_PER_COEFFICIENT * len(coefficients)
    if len(table) < needed:
        raise EvidenceError(f"{len(table)} rows are too few: {len(coefficients)} coefficients need {needed}.")
    if len(table) < FEW_ROWS:
        return _fit_few(table, coefficients, predict, fixed)
    away = held_out(table)
    found = _fit_rows(table.where(~away), coefficients, predict, fixed)
    found.errors = _errors(table.where(away), predict, {**fixed, **found.values})
    return found


def _fit_few(
    table: Operators, coefficients: Sequence[Coefficient], predict: Predict, fixed: Mapping[str, float]
) -> Fitted:
    """All rows are fitted; their errors come from five fits without a fifth of them each."""
    found = _fit_rows(table, coefficients, predict, fixed)
    fold = np.arange(len(table)) % FOLDS
    parts = []
    for number in range(FOLDS):
        rest = _fit_rows(table.where(fold != number), coefficients, predict, fixed)
        parts.append(_errors(table.where(fold == number), predict, {**fixed, **rest.values}))
    found.errors = np.concatenate(parts)
    return found


def _fit_rows(
    train: Operators, coefficients: Sequence[Coefficient], predict: Predict, fixed: Mapping[str, float]
) -> Fitted:
    least_squares = _scipy()
    names = [one.name for one in coefficients]
    start, low, high = (np.log([getattr(one, end) for one in coefficients]) for end in ("start", "low", "high"))
    stray = np.array([one.stray for one in coefficients])
    measured = np.log(train["latency_us"] * MICRO)

    def values(x: Array) -> dict[str, float]:
        return {**fixed, **dict(zip(names, np.exp(x).tolist(), strict=True))}

    def residuals(x: Array) -> Array:
        errors = np.log(predict(train, values(x))) - measured
        return np.concatenate([errors, SCALE * (x - start) / stray])

    inside = np.clip(start, low + EDGE, high - EDGE)
    found = least_squares(residuals, inside, bounds=(low, high), loss="soft_l1", f_scale=SCALE, diff_step=STEP)
    spread = np.minimum(_deviations(found, train, len(names)), MOST_SPREAD)
    ends = [np.clip(found.x + sign * Z90 * spread, low, high) for sign in (-1, 1)]
    value, least, most = (dict(zip(names, np.exp(x).tolist(), strict=True)) for x in (found.x, *ends))
    units = {one.name: one.unit for one in coefficients if one.kept}
    return Fitted(value, least, most, len(train), np.zeros(0), _sources(train), units)


def _errors(test: Operators, predict: Predict, values: Mapping[str, float]) -> Array:
    return np.asarray(np.log(predict(test, values)) - np.log(test["latency_us"] * MICRO))


MICRO = 1e-6
#: distance from a bound at which the search may start
EDGE = 1e-3


def _scipy() -> Any:
    try:
        return import_module("scipy.optimize").least_squares
    except ImportError:
        raise MissingExtraError(f"Calibration needs scipy. Install it with: {INSTALL}") from None


def _sources(table: Operators) -> tuple[str, ...]:
    return tuple(sorted({str(name) for name in table["source"]}))


def _deviations(found: Any, train: Operators, count: int) -> Array:
    """Standard deviations in log: sandwich covariance with clusters, because neighbouring shapes err together."""
    jacobian, residual = found.jac, found.fun
    bread = np.linalg.pinv(jacobian.T @ jacobian)
    rows = len(train)
    cluster = (train["n"] * 7 + train["k"] * 3 + train["heads"] * 11 + train["group"] + train["experts"]).astype(int)
    cluster = cluster % CLUSTERS
    scores = np.array([(jacobian[:rows][cluster == c].T @ residual[:rows][cluster == c]) for c in np.unique(cluster)])
    covariance = bread @ (scores.T @ scores + jacobian[rows:].T @ jacobian[rows:] * SCALE**2) @ bread
    deviations: Array = np.sqrt(np.clip(np.diag(covariance)[:count], 0, None))
    return deviations


def evaluated(table: Operators, predict: Predict, values: Mapping[str, float]) -> Array:
    """Log errors of given coefficients on the held-out rows of a table (on all of few)."""
    return _errors(table if len(table) < FEW_ROWS else table.where(held_out(table)), predict, values)
