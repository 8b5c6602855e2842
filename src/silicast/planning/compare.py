"""The main job: one model on several chips, each in its own best deployment, and the ratio with its causes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from silicast.errors import DoesNotFitError, InputError
from silicast.estimate import DRAWS, Estimate, Tier, worst
from silicast.outcome import Forecast, forecast
from silicast.planning.causes import Cause, Hybrid, shares
from silicast.planning.choose import best, drawn, fewest
from silicast.planning.space import layouts
from silicast.pool import PoolModel
from silicast.scenario import Layout, Targets, Workload

Array = NDArray[Any]
Kind = Literal["fewest", "best"]

#: the question map: sequences per package and context lengths
MAP_BATCHES = (4, 16, 64, 128)
MAP_CONTEXTS = (1024, 4096, 16384, 65536)


@dataclass(frozen=True)
class Row:
    """One deployment of one chip: why it was chosen, whether it meets the targets, and its forecast."""

    kind: Kind
    met: bool
    forecast: Forecast


@dataclass(frozen=True)
class ChipAnswer:
    """All that `compare` says about one chip."""

    rows: tuple[Row, Row]
    chip: str
    name: str
    precision: str
    devices_per_package: int

    @property
    def best(self) -> Forecast:
        """The deployment with most output per package."""
        return self.rows[-1].forecast


@dataclass(frozen=True)
class Cell:
    """One cell of the question map."""

    phase: Literal["prefill", "decode"]
    batch_per_package: int
    context: int
    ratio: Estimate


@dataclass(frozen=True)
class Ratio:
    """Output tokens/s of one chip over the reference, and the factors that multiply to it."""

    chip: str
    reference: str
    precisions: tuple[str, str]
    per_package: Estimate
    per_device: Estimate
    factors: dict[str, float]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Comparison:
    """The answer of `compare`."""

    model: str
    workload: Workload
    targets: Targets
    chips: tuple[ChipAnswer, ...]
    ratios: tuple[Ratio, ...]
    claim: float | None = None


def compare(
    pools: Sequence[PoolModel],
    workload: Workload,
    targets: Targets,
    limits: Sequence[int],
    reference: int = -1,
    claim: float | None = None,
) -> Comparison:
    """Compare pools (points) of one model under one workload; `limits` are devices per pool.

    Raises DoesNotFitError where a pool cannot hold the model, InputError for no pools.
    """
    if not pools:
        raise InputError("Name at least one chip to compare.")
    answers = [_answer(pool, workload, targets, limit) for pool, limit in zip(pools, limits, strict=True)]
    against = reference % len(pools)
    ratios = [
        _ratio(
            (pools[i], answers[i], limits[i]), (pools[against], answers[against], limits[against]), workload, targets
        )
        for i in range(len(pools))
        if i != against
    ]
    return Comparison(pools[0].model.id, workload, targets, tuple(answers), tuple(ratios), claim)


def _answer(pool: PoolModel, workload: Workload, targets: Targets, most: int) -> ChipAnswer:
    small = best(pool, fewest(pool, workload, most), workload, targets, DRAWS)
    large = best(pool, layouts(pool, most), workload, targets, DRAWS)
    drawing = drawn(pool, DRAWS)
    told = {choice: forecast(drawing, choice.layout, choice.sequences, workload) for choice in (small, large)}
    chip = pool.machine.chip
    rows = Row("fewest", small.met, told[small]), Row("best", large.met, told[large])
    return ChipAnswer(rows, chip.id, chip.name, str(pool.precision), chip.packages_of)


Side = tuple[PoolModel, ChipAnswer, int]


def _ratio(side: Side, against: Side, workload: Workload, targets: Targets) -> Ratio:
    (pool, answer, limit), (other, reference, other_limit) = side, against
    ratio = answer.best.samples / reference.best.samples
    tier = worst([answer.best.estimates["tpot_ms"].tier, reference.best.estimates["tpot_ms"].tier])
    per_package = _of_medians(answer.best.samples, reference.best.samples, ratio, tier)
    dies = answer.devices_per_package / reference.devices_per_package
    per_device = Estimate(
        per_package.value / dies, per_package.low / dies, per_package.high / dies, "", tier, per_package.bound_by
    )
    factors = _factors((pool, limit), (other, other_limit), workload, targets, per_device.value)
    return Ratio(
        answer.chip,
        reference.chip,
        (answer.precision, reference.precision),
        per_package,
        per_device,
        {**factors, "devices per package": dies},
        _cells(drawn(pool, DRAWS), answer.best.layout, drawn(other, DRAWS), reference.best.layout),
    )


def _of_medians(numerator: Array, denominator: Array, ratio: Array, tier: Tier) -> Estimate:
    """The ratio of the two printed medians, with the range of the ratio over the draws they share."""
    low, high = np.percentile(ratio, (10, 90))
    value = float(np.median(numerator) / np.median(denominator))
    return Estimate(value, float(min(low, value)), float(max(high, value)), "", tier)


def _factors(
    side: tuple[PoolModel, int], against: tuple[PoolModel, int], workload: Workload, targets: Targets, ratio: float
) -> dict[str, float]:
    """Factors of the six causes per device, scaled by their common residual so that they multiply to `ratio`.

    The hybrids are searched with points; `ratio` is of medians of draws: the residual (a few per cent) is spread over
    the causes in proportion to the size of their logarithms.
    """
    (pool, limit), (other, other_limit) = side, against
    most = max(limit, other_limit)

    def value(causes: frozenset[Cause]) -> float:
        machine = Hybrid(other.machine, pool.machine, causes)
        mixed = replace(other, machine=machine)
        try:
            choice = best(mixed, layouts(mixed, most), workload, targets)
        except (DoesNotFitError, ValueError):
            return float("nan")
        return choice.requests / float(choice.layout.devices)

    found: dict[str, float] = {str(cause): factor for cause, factor in shares(value).items()}
    logs = {name: np.log(factor) for name, factor in found.items()}
    residual = np.log(ratio) - sum(logs.values())
    weight = sum(abs(log) for log in logs.values()) or 1.0
    return {name: float(np.exp(log + residual * abs(log) / weight)) for name, log in logs.items()}


def _cells(pool: PoolModel, layout: Layout, other: PoolModel, other_layout: Layout) -> tuple[Cell, ...]:
    """The per-package ratio over batch, context and phase, each chip in its best layout as pure pools."""
    cells = []
    for context in MAP_CONTEXTS:
        ratio = _prefill_rate(pool, layout, context) / _prefill_rate(other, other_layout, context)
        cells.append(Cell("prefill", 0, context, Estimate.of(ratio, "")))
    for batch in MAP_BATCHES:
        for context in MAP_CONTEXTS:
            ratio = _decode_rate(pool, layout, batch, context) / _decode_rate(other, other_layout, batch, context)
            cells.append(Cell("decode", batch, context, Estimate.of(ratio, "")))
    return tuple(cells)


def _prefill_rate(pool: PoolModel, layout: Layout, context: int) -> Array:
    rate = pool.prefill_rate(layout, Workload(input_tokens=context, output_tokens=1))
    return np.asarray(rate / int(pool.packages(layout.devices)))


def _decode_rate(pool: PoolModel, layout: Layout, batch: int, context: int) -> Array:
    packages = int(pool.packages(layout.devices))
    return np.asarray(pool.decode_rate(layout, batch * packages / int(layout.attention_dp), context) / packages)
