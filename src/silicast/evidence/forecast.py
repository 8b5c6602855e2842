"""Forecasts of measured rows: runs are planned, grouped, evaluated as arrays, and handed back row by row."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from silicast.errors import SilicastError
from silicast.estimate import TIERS, Tier
from silicast.evidence import phases, serve
from silicast.evidence.columns import PERCENTILES, Scenario
from silicast.evidence.deployment import ONE_LOWER, NoForecastError, Plan, Pools, plan
from silicast.evidence.kernels import Kernel, kernel, timed
from silicast.evidence.record import Row
from silicast.evidence.serve import Answer

Array = NDArray[Any]
Progress = Callable[[int, int], None]

#: rows evaluated at once, so that an array of operators x rows x draws stays small; two pools sample a grid per row
CHUNK = {"draws": 64, "points": 2048}
GRID_SHARE = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """The forecast of one row, in the unit of its metric; `low` and `high` are the 10th and 90th percentile.

    Without draws there is no range. `value` is None where a row could not be forecast: `reason` says why. With a value
    `reason` says what was assumed.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    tier: Tier | None = None
    bound_by: str = ""
    reason: str = ""


class _Found(NamedTuple):
    """What one run has by metric: (value, low, high), binding resource and tier."""

    numbers: dict[str, tuple[float, float | None, float | None]]
    bound_by: dict[str, str]
    tier: dict[str, Tier]
    notes: tuple[str, ...]


Run = Plan | Kernel


def forecast(
    rows: Sequence[Row], draws: int = 0, progress: Progress | None = None, make: Callable[[int], Pools] = Pools
) -> tuple[list[Outcome], list[str]]:
    """The outcome of each row, in order, and the warnings of the pools used. Reads the scenario and the metric only.

    `make` = pools for a number of draws: those of the catalog, or of a refit that left something out.
    """
    scenarios = dict.fromkeys(row.scenario for row in rows)
    found, warnings = _runs(list(scenarios), make(0), make(draws), progress)
    return [_outcome(row.metric, found[row.scenario]) for row in rows], warnings


def _runs(
    scenarios: list[Scenario], points: Pools, drawn: Pools, progress: Progress | None
) -> tuple[dict[Scenario, _Found | str], list[str]]:
    found: dict[Scenario, _Found | str] = {}
    groups: dict[Any, list[Run]] = defaultdict(list)
    for scenario in scenarios:
        try:
            run = _run(scenario, points)
        except NoForecastError as error:
            found[scenario] = str(error)
        else:
            groups[type(run), run.group].append(run)
    done, of = len(found), len(scenarios)
    for runs in groups.values():
        for chunk in _chunks(runs, drawn.draws):
            for run, result in zip(chunk, _evaluate(chunk, points, drawn), strict=True):
                found[run.scenario] = result
            done += len(chunk)
            if progress is not None:
                progress(done, of)
    return found, _warnings(groups, points)


def _run(scenario: Scenario, points: Pools) -> Run:
    if scenario.kind == "train":
        raise NoForecastError("training is not yet forecast")
    if scenario.kind in ("kernel", "collective"):
        return kernel(scenario, points)
    return plan(scenario, points)


def _chunks(runs: list[Run], draws: int) -> Iterable[list[Run]]:
    size = CHUNK["draws" if draws else "points"]
    if isinstance(runs[0], Plan) and runs[0].mode == "disaggregated":
        size //= GRID_SHARE
    return (runs[start : start + size] for start in range(0, len(runs), size))


def _evaluate(runs: list[Run], points: Pools, drawn: Pools) -> list[_Found | str]:
    try:
        middle = answer(runs, points)
        spread = answer(runs, drawn) if drawn.draws else None
    except SilicastError as error:
        return [str(error)] * len(runs)
    return [middle.reasons.get(row) or _found(row, run, middle, spread) for row, run in enumerate(runs)]


def answer(runs: list[Any], pools: Pools) -> Answer:
    """All runs of one group with the evaluator of their mode. Infinite and undefined numbers are dropped later."""
    first = runs[0]
    with np.errstate(all="ignore"):
        if isinstance(first, Kernel):
            return timed(pools, runs)
        models = [pools.pool(part.key) for part in first.parts]
        if first.mode == "disaggregated":
            return serve.disaggregate(models, runs)
        return _MODES[first.mode](models[0], runs)


_MODES: dict[str, Callable[[Any, Any], Answer]] = {
    "closed": serve.closed,
    "open": serve.opened,
    "prefill": phases.prefill,
    "decode": phases.decode,
}


def _found(row: int, run: Run, middle: Answer, spread: Answer | None) -> _Found:
    numbers: dict[str, tuple[float, float | None, float | None]] = {}
    for name, samples in middle.samples.items():
        value, low, high = float(samples[row]), None, None
        if spread is not None:
            low, value, high = (float(end) for end in np.percentile(spread.samples[name][row], (10, 50, 90)))
        numbers[name] = value, low, high
    bound_by = {name: why.bound_by[row] for name, why in middle.told.items()}
    lower = any(ONE_LOWER in note for note in run.notes)
    tiers = {name: _lowered(why.tier[row]) if lower else why.tier[row] for name, why in middle.told.items()}
    return _Found(numbers, bound_by, tiers, run.notes)


def _lowered(tier: Tier) -> Tier:
    return TIERS[min(TIERS.index(tier) + 1, len(TIERS) - 1)]


def _outcome(metric: str, found: _Found | str) -> Outcome:
    if isinstance(found, str):
        return Outcome(reason=found)
    if metric.endswith(PERCENTILES):
        return Outcome(reason="a percentile over requests: the closed form knows means only")
    if metric not in found.numbers:
        return Outcome(reason=f"{metric} is not forecast for rows of this kind")
    value, low, high = found.numbers[metric]
    ends = [end for end in (value, low, high) if end is not None]
    if not all(np.isfinite(ends)) or min(ends) <= 0:
        return Outcome(reason="overloaded or undefined: no steady state")
    return Outcome(value, low, high, found.tier[metric], found.bound_by[metric], "; ".join(found.notes))


def _warnings(groups: dict[Any, list[Run]], points: Pools) -> list[str]:
    keys = {part.key for runs in groups.values() for run in runs if isinstance(run, Plan) for part in run.parts}
    pools = [points.pool(key) for key in keys]
    return sorted({line for pool in pools for line in pool.machine.formats(pool.model, pool.precision)[1]})
