"""Steady state of a deployment whose prefill and decode run in pools of their own.

Notation as in `steady`: S decode steps per request, t_d a decode step, n chunks of a prompt.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from silicast.scenario import Size, Speculation, Workload
from silicast.serving.steady import GRID, Array, Discipline, Steady, StepSeconds, loads, trailing

#: largest over smallest batch at which a decode pool is sampled
SPAN = 1024.0
#: utilisation up to which the formula of a queue is used: beyond, the population limits it
NEARLY = 1 - 1e-6


@dataclass(slots=True)
class Prefilled:
    """A prefill pool. `alone`: seconds of one request with the pool to itself; `full`: the same with a full chunk on
    every rank; `round`: one step of it; `capacity`: requests/s that one replica can start. Shape `(config[, draw])`."""

    alone: Array
    full: Array
    round: Array
    capacity: Array


def prefill_pool(step: StepSeconds, workload: Workload, how: Discipline) -> Prefilled:
    """A pool that only prefills: n chunks one after another; each rank of a replica takes its own requests.

    A chunk budget holds p = max(floor(budget / chunk), 1) prompts side by side. capacity = p ranks stages / (n t(p))
    requests/s per replica: stages work on different chunks. Alone, one prompt on one of the ranks takes n t(1).
    """
    _, prefill, chunks = loads(workload, 0, how.chunk_tokens, 0)
    side_by_side = np.maximum(np.floor(how.chunk_tokens / prefill.prefill_tokens), 1)
    ranks = np.asarray(how.ranks, dtype=float)
    alone = step(replace(prefill, prefill_share=1 / ranks))
    full = step(replace(prefill, prefill_sequences=side_by_side))
    trail = trailing(full)
    started = trail(side_by_side * ranks * np.asarray(how.stages))
    return Prefilled(trail(chunks) * alone, trail(chunks) * full, full, started / (trail(chunks) * full))


@dataclass(frozen=True, slots=True)
class TwoPools:
    """Sizes of a disaggregated deployment, per config.

    prefill_replicas, prefill_ranks   replicas of the prefill pool, and attention ranks of one of them
    decode_ranks                      attention ranks of the decode pool in all (replicas x ranks of one)
    most                              sequences that one decode rank holds at most
    transfer                          seconds that the cache of one request travels, `(config[, draw])`
    in_ttft                           whether the first token waits for the transfer; else the second one does
    front, lag                        seconds before the queue, `(config[, draw])`; decode steps until the client has it
    """

    prefill_replicas: Size
    prefill_ranks: Size
    decode_ranks: Size
    most: Size
    transfer: Any
    in_ttft: bool = True
    front: Any = 0.0
    lag: Any = 0.0


def disaggregated(
    prefill: Prefilled, decode_step: Callable[[Array], Array], workload: Workload, pools: TwoPools, draft: Speculation
) -> Steady:
    """Two pools in a closed loop of C requests. Requests per second are of the whole deployment.

    With B sequences on each of D decode ranks X = B D / (S t_d(B)) requests/s pass, and by Little's law (1961)
    X (TTFT + S t_d(B)) are in flight, of which both factors grow with B: the B at which they are C is found on a grid.
    `decode_step` maps batches of shape `(GRID, config)` to t_d of shape `(GRID, config[, draw])`.

    TTFT = front + service + wait + transfer + lag t_d, service = alone + rho (full - alone), rho = X / (replicas
    capacity). Behind m ranks that serve 1 / tau requests/s each, wait = tau rho^(sqrt(2 (m + 1)) - 1) / (2 m (1 - rho))
    (Sakasegawa 1977, halved for constant service). The r ranks of a replica step together: a prompt also waits for
    half of the round that others began, (1 - (1 - rho)^r) t / 2, r > 1. What the decode pool cannot hold, or the
    prefill pool cannot start, queues in front. A run of `requests` starts with all of them at once: in the first wave
    a prompt waits for half of the others.
    """
    steps = np.maximum(
        (np.asarray(workload.output_tokens, dtype=float) - 1) / draft.yield_per_step, np.finfo(float).eps
    )
    wanted = np.asarray(workload.concurrency, dtype=float)
    top = np.minimum(wanted / pools.decode_ranks, pools.most)
    batches = top * np.geomspace(1 / SPAN, 1, GRID)[:, None]
    pace = decode_step(batches)
    trail = trailing(pace[0])
    flow = Flow(prefill, pools, trail, trail(wanted))
    decoding = trail(steps) * pace
    drained = np.maximum.accumulate(trail(batches * pools.decode_ranks) / decoding, axis=0)
    rate = np.minimum(drained, flow.capacity)
    flying = np.maximum.accumulate(rate * (flow.ttft(rate) + pools.lag * pace + decoding), axis=0)
    # a decode pool that drains more than the prefill pool starts is not filled further
    step, batch = (
        np.minimum(_crossing(flying, values, trail(wanted)), _crossing(drained, values, flow.capacity))
        for values in (pace, trail(batches))
    )
    decoding = trail(steps) * step
    rate = np.minimum(batch * trail(pools.decode_ranks) / decoding, flow.capacity)
    # by Little's law the rest of the time in flight is spent before the first token
    service = flow.service(rate)
    ttft = np.maximum(service + flow.travel + pools.lag * step, trail(wanted) / rate - decoding)
    if workload.requests is not None:
        first = np.minimum(trail(wanted) / trail(workload.requests), 1.0)
        burst = prefill.alone + trail(wanted) / (2 * flow.capacity) + flow.travel + pools.lag * step
        ttft = first * np.maximum(burst, ttft) + (1 - first) * ttft
    later = 0.0 if pools.in_ttft else pools.transfer
    token = step / trail(draft.yield_per_step) + later / trail(np.maximum(np.asarray(workload.output_tokens) - 1, 1))
    cycle = ttft + later + decoding
    return Steady(ttft, token, cycle, trail(wanted) / cycle, batch, rate / flow.capacity, step, service)


class Flow:
    """Seconds to the first token in a prefill pool through which a given rate flows."""

    def __init__(self, prefill: Prefilled, pools: TwoPools, trail: Callable[[Any], Any], population: Any) -> None:
        self.prefill = prefill
        self.population = population
        self.capacity = prefill.capacity * trail(pools.prefill_replicas)
        self.servers = trail(np.asarray(pools.prefill_replicas, dtype=float) * pools.prefill_ranks)
        self.ranks = trail(np.asarray(pools.prefill_ranks, dtype=float))
        self.travel = pools.front + (pools.transfer if pools.in_ttft else 0.0)

    def service(self, rate: Array) -> Array:
        """Seconds of one prefill, and of the rest of the round that other ranks had begun."""
        busy = np.minimum(rate / self.capacity, 1.0)
        begun = (self.ranks > 1) * (1 - (1 - busy) ** self.ranks) * self.prefill.round / 2
        return np.asarray(self.prefill.alone + busy * (self.prefill.full - self.prefill.alone) + begun)

    def ttft(self, rate: Array) -> Array:
        """Seconds from arrival to the first token; at most all requests stand in line."""
        busy = np.minimum(rate / self.capacity, NEARLY)
        lined_up = busy ** (np.sqrt(2 * (self.servers + 1)) - 1) / (2 * (1 - busy))
        waiting = np.minimum(lined_up, self.population) / self.capacity
        return np.asarray(self.service(rate) + waiting + self.travel)


def _crossing(rising: Array, values: Array, wanted: Any) -> Array:
    """`values` where `rising`, both `(grid, config[, draw])`, reaches `wanted`; the last where it never does."""
    above = np.minimum(np.sum(rising < wanted, axis=0), len(rising) - 1)[None]
    below = np.maximum(above - 1, 0)
    low, high = (np.take_along_axis(rising, index, axis=0)[0] for index in (below, above))
    first, last = (
        np.take_along_axis(np.broadcast_to(values, rising.shape), index, axis=0)[0] for index in (below, above)
    )
    share = np.clip((wanted - low) / np.maximum(high - low, np.finfo(float).tiny), 0, 1)
    return np.asarray(first + share * (last - first))
