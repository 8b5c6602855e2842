"""Steady state of a pool: batch, step time and arrival rate as one fixed point.

Notation, per attention rank: B sequences in flight, I input and O output tokens, y output tokens per step,
S = (O - 1) / y decode steps per request, n = ceil(uncached input / chunk budget) prefill steps per request,
t_d a pure decode step, t_m a step that also carries one chunk, t_p a step of one chunk alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.scenario import Load, Size, Speculation, Workload

Array = NDArray[Any]
StepSeconds = Callable[[Load], Array]
Curve = Callable[[Array], "Steady"]

#: batch sizes at which an open loop is sampled before it is solved by interpolation
GRID = 33


@dataclass(slots=True)
class Steady:
    """Means over requests, seconds and requests/s per replica; shape `(config[, draw])`.

    `sequences` is the mean number decoding together on one attention rank. `busy` is the share of time the prefill
    work takes of the pool; at 1 the pool cannot keep up and the queue, not the device, sets TTFT.
    """

    ttft: Array
    tpot: Array
    e2e: Array
    requests: Array
    sequences: Array
    busy: Array
    decode_step: Array
    prefill_step: Array


@dataclass(frozen=True, slots=True)
class Discipline:
    """How a pool interleaves: chunk budget in tokens, `stalls` = prefill runs alone and decode waits (prefill first),
    attention ranks in lock-step, pipeline stages."""

    chunk_tokens: Size
    stalls: bool
    ranks: Size = 1
    stages: Size = 1


def loads(workload: Workload, sequences: Size, chunk: Size, drafts: Size) -> tuple[Load, Load, Size]:
    """(decode load, load of one chunk, chunks per request) of the mean request with `sequences` in flight."""
    cached = workload.input_tokens * workload.prefix_hit
    fresh = np.maximum(workload.input_tokens - cached, 1)
    chunks = np.ceil(fresh / chunk)
    decode = Load(
        decode_sequences=sequences,
        decode_context=workload.input_tokens + (workload.output_tokens - 1) / 2,
        query_tokens=1 + drafts,
    )
    # chunk i of n sees cached + i/n of the fresh tokens: on average half of the other n - 1 chunks
    piece = fresh / chunks
    prefill = Load(prefill_sequences=1, prefill_tokens=piece, prefill_context=cached + piece * (chunks - 1) / 2)
    return decode, prefill, chunks


def closed_loop(step: StepSeconds, workload: Workload, sequences: Size, how: Discipline, draft: Speculation) -> Steady:
    """Mixed pool with a fixed number of requests in flight.

    Per cycle of a request the other B - 1 requests of its rank pay n prefill steps each: f = (B - 1) n / S prefill
    steps per decode step. r ranks run in lock-step, so a decode step meets g = 1 - (1 - min(f, 1))^r + max(f - 1, 0)
    steps in which at least one rank prefills; a share f / g of the ranks does (the experts see that share).

    chunked:        TPOT = (t_d + min(g, 1) (t_m - t_d)) / y
    prefill first:  TPOT = (t_d + g t_p) / y
    TTFT = n t + wait, wait = min(rho / (2 (1 - rho)), (B - 1) / 2) n t  (M/D/1, at most half of the others),
    rho = B n t / (TTFT + S y TPOT), t = t_m or t_p. Where prefill alone fills the time the queue takes the rest.
    A run of `requests` starts with all slots at once: for the first wave TTFT = (B + 1) / 2 n t_p.
    """
    decode, prefill, chunks = loads(workload, sequences, how.chunk_tokens, draft.tokens)
    steps = np.maximum((workload.output_tokens - 1) / draft.yield_per_step, 1e-9)
    per_step = np.maximum(np.asarray(sequences, dtype=float) - 1, 0) * chunks / steps
    met = 1 - (1 - np.minimum(per_step, 1)) ** how.ranks + np.maximum(per_step - 1, 0)
    share = np.maximum(per_step / np.maximum(met, 1e-9), 1 / np.asarray(how.ranks))
    shared = replace(prefill, prefill_share=np.minimum(share, 1.0))
    t_d, t_p = step(decode), step(shared)
    t_m = t_p + t_d if how.stalls else step(_joined(decode, shared))
    trail = _trail(t_d)
    B, service = trail(sequences), trail(chunks) * (t_p if how.stalls else t_m)
    stall = (t_m - t_d) / trail(how.stages)
    token = t_d + trail(met if how.stalls else np.minimum(met, 1.0)) * stall
    decoding = trail(steps) * token
    wait, busy = _queue(service / trail(how.stages), decoding + service, B)
    # chunks pass one at a time: B requests cannot cycle faster than their chunks
    floor = 0 * service if how.stalls else B * service / trail(how.stages)
    ttft = np.maximum(service + wait, floor - decoding)
    if workload.requests is not None:
        first = np.minimum(trail(sequences * how.ranks) / trail(workload.requests), 1.0)
        burst = (B + 1) / 2 * trail(chunks) * step(prefill)
        ttft = first * np.maximum(burst, ttft) + (1 - first) * ttft
    cycle = ttft + decoding
    return Steady(ttft, token / trail(draft.yield_per_step), cycle, B * trail(how.ranks) / cycle, B, busy, t_d, t_p)


def _joined(decode: Load, prefill: Load) -> Load:
    return replace(
        prefill,
        decode_sequences=decode.decode_sequences,
        decode_context=decode.decode_context,
        query_tokens=decode.query_tokens,
    )


def _queue(service: Array, alone: Array, population: Array) -> tuple[Array, Array]:
    """(mean wait, utilisation) of a prefill behind other prefills: M/D/1, capped by the finite population.

    wait = min(rho / (2 (1 - rho)), (B - 1) / 2) x service, rho = B service / cycle. Kleinrock, Queueing Systems I.
    """
    busy = np.minimum(population * service / alone, 1.0)
    others = np.maximum(population - 1, 0) / 2
    waiting = np.minimum(busy / np.maximum(2 * (1 - busy), np.finfo(float).tiny), others)
    return waiting * service, busy


def open_loop(curve: Curve, rate: Size, most: Size) -> tuple[Array, Array]:
    """(sequences per rank, overloaded) at which `curve` completes `rate` requests/s per replica.

    Throughput grows with the sequences in flight (Little 1961): it is sampled on a geometric grid from 1/64 to
    `most` and inverted by linear interpolation. Below the grid few requests overlap; above it the pool is overloaded.
    """
    most = np.atleast_1d(np.asarray(most, dtype=float))
    share = np.geomspace(1 / 64, 1, GRID)[:, None]
    batches = np.maximum(share * most, 1 / 64)
    done = np.stack([np.median(_rows(curve(batch).requests), axis=1) for batch in batches])
    done = np.maximum.accumulate(done, axis=0)
    wanted = np.broadcast_to(np.asarray(rate, dtype=float), most.shape)
    found = np.array([np.interp(wanted[i], done[:, i], batches[:, i]) for i in range(most.size)])
    return found, wanted > done[-1]


def _rows(values: Array) -> Array:
    return values if values.ndim > 1 else values[:, None]


def _trail(like: Array) -> Callable[[Any], Any]:
    """Adds the trailing draw axis where `like` has one."""

    def trail(value: Any) -> Any:
        array = np.asarray(value, dtype=float)
        return array[..., None] if like.ndim > 1 and array.ndim else array

    return trail


@dataclass(slots=True)
class Prefilled:
    """A prefill pool: seconds from start to first token, and requests/s that one replica can start."""

    service: Array
    capacity: Array


def prefill_pool(step: StepSeconds, workload: Workload, how: Discipline) -> Prefilled:
    """A pool that only prefills: n chunks one after another; each rank of a replica takes its own requests.

    capacity = ranks stages / (n t_p) requests/s per replica: stages work on different chunks.
    """
    _, prefill, chunks = loads(workload, 0, how.chunk_tokens, 0)
    t_p = step(prefill)
    trail = _trail(t_p)
    service = trail(chunks) * t_p
    return Prefilled(service, trail(how.ranks) * trail(how.stages) / service)


@dataclass(frozen=True, slots=True)
class TwoPools:
    """Sizes of a disaggregated deployment: replicas and ranks of the prefill pool, ranks of the decode pool in all
    (replicas x attention ranks), and the seconds that the cache of one request travels."""

    prefill_replicas: float
    prefill_ranks: float
    decode_ranks: float
    transfer: Any


def disaggregated(
    prefill: Prefilled, decode_step: Callable[[Array], Array], workload: Workload, pools: TwoPools, draft: Speculation
) -> Steady:
    """Two pools in a closed loop of C requests: C = R (TTFT + S t_d(B)) with R = B ranks / (S t_d(B)), R <= capacity.

    Requests in flight grow with B, so C is met by interpolation on a grid of B. TTFT = service + wait + transfer with
    wait = rho / (2 m (1 - rho)) service behind m servers (M/D/1 of the pooled rate), at most what C allows. Requests
    per second are of the whole deployment.
    """
    steps = np.maximum((np.asarray(workload.output_tokens, dtype=float) - 1) / draft.yield_per_step, 1e-9)
    wanted = float(np.asarray(workload.concurrency))
    capacity = prefill.capacity * pools.prefill_replicas
    servers = pools.prefill_replicas * pools.prefill_ranks
    rows = []
    for batch in np.geomspace(min(0.25, wanted / pools.decode_ranks / 8), wanted / pools.decode_ranks, GRID):
        step = decode_step(np.array([batch]))
        rate = np.minimum(batch * pools.decode_ranks / (steps * step), capacity)
        busy = rate / capacity
        wait = busy / np.maximum(2 * servers * (1 - busy), 1e-9) * prefill.service
        ttft = prefill.service + np.minimum(wait, wanted / rate) + pools.transfer
        rows.append((rate * (ttft + steps * step), rate, ttft, step, np.full_like(step, batch), busy))
    table = np.array([np.broadcast_arrays(*row) for row in rows])
    flying = np.maximum.accumulate(table[:, 0], axis=0).reshape(GRID, -1)
    values = table[:, 1:].reshape(GRID, 5, -1)
    at = np.array([
        [np.interp(wanted, flying[:, i], values[:, j, i]) for i in range(flying.shape[1])] for j in range(5)
    ])  # fmt: skip
    rate, ttft, step, batch, busy = (row.reshape(table.shape[2:]) for row in at)
    # what the decode pool and the prefill service do not hold waits in front of the prefill pool
    ttft = np.maximum(ttft, wanted / rate - steps * step)
    token = step / draft.yield_per_step
    return Steady(ttft, token, ttft + steps * step, rate, batch, busy, step, prefill.service)
