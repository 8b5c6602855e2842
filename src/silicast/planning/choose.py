"""The fewest devices that hold a model, and the layout with most output under the targets."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import DoesNotFitError
from silicast.estimate import Sampler
from silicast.memory import GIB
from silicast.planning.space import Candidates, holding, layouts, with_batches
from silicast.pool import PoolModel
from silicast.scenario import Layout, Targets, Workload
from silicast.serving.steady import Steady

Array = NDArray[Any]

#: requests whose cache the smallest deployment must hold
FEWEST_REQUESTS = 16
#: tokens of the longest request that a workload may have
LONGEST_REQUEST = 200_000_000
#: candidates of the point search that are drawn before the winner is named
SHORT_LIST = 24
#: candidates within this log ratio of the one that misses the targets least count as equally near: 10 %
NEARLY = 0.1


@dataclass(frozen=True, slots=True)
class Choice:
    """One layout at one batch, and the requests/s of one replica there.

    `met` is False where no candidate meets the targets: the nearest one is shown.
    """

    layout: Layout
    sequences: float
    requests: float
    met: bool


def median(values: Array) -> Array:
    """Middle of the draws, or the points themselves."""
    return np.median(values, axis=-1) if values.ndim > 1 else values


def drawn(pool: PoolModel, draws: int) -> PoolModel:
    """The same pool with its numbers as draws."""
    machine = pool.machine
    return replace(pool, machine=machine.resampled(Sampler(draws, machine.sampler.seed)))


def fewest(pool: PoolModel, workload: Workload, most: int, usual: bool = False) -> Layout:
    """Layouts of the smallest device count that holds weights, buffers and the cache of 16 requests.

    `usual`: of the counts that are deployed in practice, where one of these holds them. Raises DoesNotFitError with the
    shortfall on the best layout and the smallest change that would fit.
    """
    if usual and (found := _smallest(pool, workload, layouts(pool, most))) is not None:
        return found
    space = holding(pool, most)
    found = _smallest(pool, workload, space)
    if found is None:
        raise DoesNotFitError(_shortfall(pool, workload, space, most))
    return found


def _smallest(pool: PoolModel, workload: Workload, space: Layout, requests: int = FEWEST_REQUESTS) -> Layout | None:
    """The layouts of `space` with fewest devices among those that hold `requests`; None where none does."""
    enough = pool.most_sequences(space, workload) * np.asarray(space.attention_dp) >= requests
    if not np.any(enough):
        return None
    devices = np.asarray(space.devices)
    return space.pick(np.flatnonzero(enough & (devices == devices[enough].min())))


def _shortfall(pool: PoolModel, workload: Workload, space: Layout, most: int) -> str:
    memory = pool.memory(space, workload.input_tokens + workload.output_tokens)
    need = np.ceil(FEWEST_REQUESTS / np.asarray(space.attention_dp)) * memory.sequence - memory.free
    best = int(np.argmin(need))
    change = _change(pool, space, FEWEST_REQUESTS, _devices_that_fit(pool, workload, most))
    length = workload.input_tokens + workload.output_tokens
    return (
        f"{pool.model.id} ({pool.precision}) with {FEWEST_REQUESTS} requests of {length:,.0f} tokens "
        f"does not fit on {most} x {pool.machine.chip.id}: "
        f"short of {need[best] / GIB:,.1f} GiB per device. {change}"
    )


def require_fit(pool: PoolModel, layout: Layout, workload: Workload) -> None:
    """Raises DoesNotFitError where one layout cannot hold one request: the shortfall, the fewest devices that can."""
    found = pool.memory(layout, workload.input_tokens + workload.output_tokens)
    need = float(found.sequence) - float(found.free)
    if need <= 0:
        return
    devices = float(np.asarray(layout.devices))
    enough = _devices_that_fit(pool, workload, 1, requests=1)
    raise DoesNotFitError(
        f"{pool.model.id} ({pool.precision}) does not fit: {devices:g} x {pool.machine.chip.id} are short of "
        f"{need / GIB:,.1f} GiB per device (weights {float(found.weights) / GIB:,.1f} GiB of "
        f"{float(found.capacity) / GIB:,.1f} GiB). {_change(pool, layout.arrays(), 1, enough)}"
    )


def _change(pool: PoolModel, space: Layout, requests: int, enough: int | None) -> str:
    """The smallest change with which `requests` fit: more devices, else shorter requests, else narrower weights."""
    if enough:
        return f"It fits on {enough} devices: --devices {enough}."
    longest = _longest(pool, space, requests)
    if longest:
        return f"Requests of up to {longest:,} tokens, input and output, would fit."
    return "The weights alone need more: take narrower ones (--weights) or a chip with more memory (silicast chips)."


def _longest(pool: PoolModel, space: Layout, requests: int) -> int:
    """The most tokens that each of `requests` requests may have on a layout of `space`; 0 where not even one fits."""
    low, high = 0, LONGEST_REQUEST
    while low < high:
        middle = (low + high + 1) // 2
        held = pool.memory(space, middle).sequences * np.asarray(space.attention_dp)
        low, high = (middle, high) if np.any(held >= requests) else (low, middle - 1)
    return low


def require_blocks(pool: PoolModel, layouts: Layout, workload: Workload) -> Layout:
    """The layouts on whose devices the given number of cache blocks fits beside the weights; all, where none is given.

    Raises DoesNotFitError where that is too few for one request, or more than any of the layouts has memory for.
    """
    given = pool.kv_blocks
    if given is None:
        return layouts
    need, size = float(np.max(pool.blocks(workload))), pool.machine.stack.block_tokens
    of_stack = f"{size} token{'s' * (size > 1)} ({pool.machine.stack.id})"
    if given < need:
        raise DoesNotFitError(
            f"{given:,} cache blocks hold no request: one of {workload.input_tokens + workload.output_tokens:,} tokens "
            f"needs {need:,.0f} blocks of {of_stack}."
        )
    most = pool.most_blocks(layouts, workload)
    if given > np.max(most):
        raise DoesNotFitError(
            f"{given:,} cache blocks of {of_stack} exceed the memory of {pool.machine.chip.id}: beside the "
            f"weights of {pool.model.id} a device has room for at most {np.max(most):,.0f}."
        )
    return layouts.pick(np.flatnonzero(most >= given)) if np.size(most) > 1 else layouts


def _devices_that_fit(pool: PoolModel, workload: Workload, most: int, requests: int = FEWEST_REQUESTS) -> int | None:
    """The fewest devices beyond `most` that hold `requests`, None where the system has not enough."""
    limit = pool.machine.system.max_devices or 1024
    for wider in (2 * most, 4 * most, 8 * most, 16 * most, 32 * most):
        if wider > limit:
            return None
        found = _smallest(pool, workload, holding(pool, wider), requests)
        if found is not None:
            return int(np.max(found.devices))
    return None


def best(pool: PoolModel, space: Layout, workload: Workload, targets: Targets, draws: int = 0) -> Choice:
    """The candidate with most output tokens/s per package whose mean TTFT and TPOT meet the targets.

    Points rank all candidates; the short list is drawn, so that the printed medians meet the targets too.
    """
    most = pool.most_sequences(space, workload)
    if np.max(most) < 1:
        require_fit(pool, space.pick(int(np.argmax(pool.memory(space, 1).free))), workload)
    candidates = with_batches(space, most)
    steady = pool.closed(candidates.layout, workload, candidates.sequences)
    order = _ranked(pool, candidates, steady, workload, targets)
    if not draws:
        return _choice(candidates, steady, int(order[0]), bool(_met(steady, targets)[order[0]]))
    pool = drawn(pool, draws)
    for start in range(0, min(order.size, 4 * SHORT_LIST), SHORT_LIST):
        rows = order[start : start + SHORT_LIST]
        short = candidates.pick(rows)
        drawn_steady = pool.closed(short.layout, workload, short.sequences)
        good = np.flatnonzero(_met(drawn_steady, targets))
        if good.size:
            output = _per_package(pool, short, drawn_steady, workload)
            index = int(good[np.argmax(output[good])])
            return _choice(short, drawn_steady, index, True)
    return _choice(candidates, steady, int(order[0]), False)


def best_per_device(pool: PoolModel, space: Layout, workload: Workload, targets: Targets) -> Array:
    """Requests/s per device of the best candidate of each column of the trailing axis, ranked as in `best`.

    Raises DoesNotFitError where no layout holds a single sequence.
    """
    candidates = with_batches(space, pool.most_sequences(space, workload))
    if not candidates.sequences.size:
        raise DoesNotFitError(f"{pool.model.id} does not fit on up to {np.max(space.devices):g} devices.")
    steady = pool.closed(candidates.layout, workload, candidates.sequences)
    rate = steady.requests / np.asarray(candidates.layout.devices)[:, None]
    miss = np.zeros(rate.shape)
    for name, target in targets.stated.items():
        miss = np.maximum(miss, np.log(getattr(steady, name) * 1e3 / target))
    return np.asarray(np.where(_beyond(miss) <= 0, rate, 0).max(axis=0))


def _ranked(
    pool: PoolModel, candidates: Candidates, steady: Steady, workload: Workload, targets: Targets
) -> NDArray[np.int_]:
    """Candidates that meet the targets by output per package, then the others by how far they miss."""
    output = _per_package(pool, candidates, steady, workload)
    return np.lexsort((-output, _beyond(_excess(steady, targets))))


def _beyond(excess: Array) -> Array:
    """How far each candidate misses the targets beyond the nearest one, as log ratio, along the first axis.

    Where none meets them, all that miss by nearly as little as the nearest are as good: else one request on the most
    devices would stand for a chip.
    """
    miss = np.maximum(excess, 0)
    least = miss.min(axis=0)
    return np.asarray(np.maximum(miss - np.where(least > 0, least + NEARLY, 0), 0))


def _excess(steady: Steady, targets: Targets) -> Array:
    """How far the worst of the means is beyond its target, as log ratio; 0 or less = met."""
    worst = np.full(median(steady.ttft).shape, -np.inf)
    for name, target in targets.stated.items():
        worst = np.maximum(worst, np.log(median(getattr(steady, name)) * 1e3 / target))
    return worst


def _met(steady: Steady, targets: Targets) -> Array:
    return _excess(steady, targets) <= 0


def _per_package(pool: PoolModel, candidates: Candidates, steady: Steady, workload: Workload) -> Array:
    packages = pool.packages(candidates.layout.devices)
    return np.asarray(median(steady.requests) * workload.output_tokens / packages)


def _choice(candidates: Candidates, steady: Steady, index: int, met: bool) -> Choice:
    requests = float(median(steady.requests)[index])
    return Choice(candidates.layout.pick(index).whole(), float(candidates.sequences[index]), requests, met)
