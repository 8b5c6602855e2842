"""The main job: one model on several chips, each in its own best deployment, and the ratio with its causes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from silicast.errors import DoesNotFitError, InputError
from silicast.estimate import DRAWS, Estimate, Tier, worst
from silicast.outcome import Forecast, forecast
from silicast.planning.causes import COLUMNS, Cause, Hybrid, shares, structural
from silicast.planning.choose import best, best_per_device, drawn, fewest
from silicast.planning.space import layouts
from silicast.pool import PoolModel
from silicast.scenario import Layout, Targets, Workload

Array = NDArray[Any]
Kind = Literal["fewest", "best"]
Phase = Literal["prefill", "decode"]

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
    """All that `compare` says about one chip; layouts of up to `searched` devices were tried.

    `rows` are of device counts that are deployed in practice; `least` is the smallest layout of any count that holds
    the model, its pipeline may be deep.
    """

    rows: tuple[Row, Row]
    chip: str
    name: str
    precision: str
    devices_per_package: int
    searched: int
    least: Layout

    @property
    def best(self) -> Forecast:
        """The deployment with most output per package."""
        return self.rows[-1].forecast


@dataclass(frozen=True)
class Cell:
    """One cell of the question map."""

    phase: Phase
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
    """The answer of `compare`; `claim` is a ratio that reports hold against the map (`dataclasses.replace`)."""

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
) -> Comparison:
    """Compare pools (points) of one model under one workload; `limits` are devices per pool.

    Raises DoesNotFitError where a pool cannot hold the model, InputError for no pools.
    """
    if not pools:
        raise InputError("Name at least one chip to compare.")
    targets = targets.on(workload)
    answers = [_answer(pool, workload, targets, limit) for pool, limit in zip(pools, limits, strict=True)]
    against = reference % len(pools)
    ratios = [
        _ratio(
            (pools[i], answers[i], limits[i]), (pools[against], answers[against], limits[against]), workload, targets
        )
        for i in range(len(pools))
        if i != against
    ]
    return Comparison(pools[0].model.id, workload, targets, tuple(answers), tuple(ratios))


def _answer(pool: PoolModel, workload: Workload, targets: Targets, most: int) -> ChipAnswer:
    small = best(pool, fewest(pool, workload, most, usual=True), workload, targets, DRAWS)
    least = fewest(pool, workload, most).pick(0).whole()
    large = best(pool, layouts(pool, most), workload, targets, DRAWS)
    drawing = drawn(pool, DRAWS)
    told = {choice: forecast(drawing, choice.layout, choice.sequences, workload) for choice in (small, large)}
    chip = pool.machine.chip
    rows = Row("fewest", small.met, told[small]), Row("best", large.met, told[large])
    return ChipAnswer(rows, chip.id, chip.name, str(pool.precision), chip.packages_of, most, least)


Side = tuple[PoolModel, ChipAnswer, int]


def _ratio(side: Side, against: Side, workload: Workload, targets: Targets) -> Ratio:
    (pool, answer, limit), (other, reference, other_limit) = side, against
    ratio = answer.best.samples / reference.best.samples
    output = "output_tokens_per_s_per_package"
    tier = worst([answer.best.estimates[output].tier, reference.best.estimates[output].tier])
    per_package = _of_medians(answer.best.samples, reference.best.samples, ratio, tier)
    own, theirs = (told.samples * told.packages / told.devices for told in (answer.best, reference.best))
    per_device = _of_medians(own, theirs, own / theirs, tier)
    dies = per_package.value / per_device.value
    factors = _factors((pool, limit), (other, other_limit), workload, targets, per_device.value)
    return Ratio(
        answer.chip,
        reference.chip,
        (answer.precision, reference.precision),
        per_package,
        per_device,
        {**factors, "devices per package": dies},
        _cells(pool, other, (limit, other_limit)),
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
    values: dict[frozenset[Cause], float] = {}
    for causes in structural():
        mixed = replace(other, machine=Hybrid(other.machine, pool.machine, causes))
        columns = _best_per_device(mixed, max(limit, other_limit), workload, targets)
        values |= {causes | numeric: float(value) for numeric, value in zip(COLUMNS, columns, strict=True)}
    found: dict[str, float] = {str(cause): factor for cause, factor in shares(values).items()}
    logs = {name: np.log(factor) for name, factor in found.items()}
    residual = np.log(ratio) - sum(logs.values())
    weight = sum(abs(log) for log in logs.values()) or 1.0
    return {name: float(np.exp(log + residual * abs(log) / weight)) for name, log in logs.items()}


def _best_per_device(pool: PoolModel, most: int, workload: Workload, targets: Targets) -> Array:
    """Requests/s per device of each column of a hybrid in its own best layout; on more devices where it needs them."""
    for wider in (most, 2 * most, 4 * most, 8 * most):
        try:
            return best_per_device(pool, layouts(pool, wider), workload, targets)
        except DoesNotFitError:
            continue
    raise DoesNotFitError(
        f"A machine between the two chips cannot hold {pool.model.id} on {8 * most} devices; their ratio has no causes."
    )


def _cells(pool: PoolModel, other: PoolModel, limits: tuple[int, int]) -> tuple[Cell, ...]:
    """The per-package ratio over phase, batch and context; each chip in the layout that is best for the cell.

    Pure pools. A cell that does not fit on one of the chips is left out.
    """
    own, theirs = (_rates(points, layouts(points, limit)) for points, limit in zip((pool, other), limits, strict=True))
    cells = []
    for batch in (0, *MAP_BATCHES):
        for context in MAP_CONTEXTS:
            if (batch, context) in own and (batch, context) in theirs:
                phase: Phase = "decode" if batch else "prefill"
                ratio = Estimate.of(own[batch, context] / theirs[batch, context], "")
                cells.append(Cell(phase, batch, context, ratio))
    return tuple(cells)


def _rates(pool: PoolModel, space: Layout) -> dict[tuple[int, int], Array]:
    """Tokens/s per package by batch (0 is prefill) and context of the best layout, as draws; only where one fits."""
    packages, ranks = np.asarray(pool.packages(space.devices)), np.asarray(space.attention_dp)
    drawing, found = drawn(pool, DRAWS), {}
    room = {context: pool.memory(space, context).sequences for context in MAP_CONTEXTS}
    for context in MAP_CONTEXTS:
        work = Workload(input_tokens=context, output_tokens=1)
        fits = np.flatnonzero(room[context] >= 1)
        if fits.size:
            first = fits[[np.argmax(pool.prefill_rates(space.pick(fits), work) / packages[fits])]]
            found[0, context] = drawing.prefill_rates(space.pick(first), work)[0] / packages[first[0]]
    # all decode cells at once: rows are the layouts that fit, cell after cell
    wanted = [(batch, context) for batch in MAP_BATCHES for context in MAP_CONTEXTS]
    held = {cell: cell[0] * packages / ranks for cell in wanted}
    fitting = {cell: np.flatnonzero((room[cell[1]] >= held[cell]) & (held[cell] >= 1)) for cell in wanted}
    cells = [cell for cell in wanted if fitting[cell].size]
    if not cells:
        return found

    def rates(on: PoolModel, rows: dict[tuple[int, int], Array]) -> Array:
        picked = np.concatenate([rows[cell] for cell in cells])
        sequences = np.concatenate([held[cell][rows[cell]] for cell in cells])
        context = np.concatenate([np.full(rows[cell].size, cell[1]) for cell in cells])
        rate = on.decode_rates(space.pick(picked), sequences, context)
        return np.asarray(rate / (packages[picked][:, None] if rate.ndim > 1 else packages[picked]))

    ends = np.cumsum([fitting[cell].size for cell in cells])[:-1]
    each = dict(zip(cells, np.split(rates(pool, fitting), ends), strict=True))
    chosen = {cell: fitting[cell][[np.argmax(each[cell])]] for cell in cells}
    return found | dict(zip(cells, rates(drawing, chosen), strict=True))
