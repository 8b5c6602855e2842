"""End-to-end rows in steady state, as arrays: one mixed pool in a closed or an open loop, or two pools."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.disaggregation import decode_load, decode_step, front, prefilled, transfer
from silicast.evidence.binding import Told, told
from silicast.evidence.deployment import Plan
from silicast.memory import GIB
from silicast.pool import PoolModel
from silicast.scenario import Layout, Speculation, Workload
from silicast.serving.admission import closed_wait, overload_wait
from silicast.serving.steady import GRID, UNIFORM, Steady, loads, open_loop
from silicast.serving.two_pools import TwoPools, disaggregated

Array = NDArray[Any]

#: requests of a run whose number is not stated: the start burst is nothing
LONG_RUN = 1e9
#: metrics of a serve row that a prefill step explains; a decode step explains the others
FIRST = ("ttft_ms",)


@dataclass(slots=True)
class Answer:
    """Forecasts of an array of rows: samples `(row[, draw])` by metric, what explains each, rows that have none."""

    samples: dict[str, Array]
    told: dict[str, Told] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)


def column(plans: Sequence[Plan], name: str, default: float = np.nan) -> Array:
    """One column of the scenarios as an array; empty cells become `default`."""
    cells = (getattr(plan.scenario, name) for plan in plans)
    return np.array([default if cell is None else cell for cell in cells], dtype=float)


def layouts(plans: Sequence[Plan], part: int = 0) -> Layout:
    """The layouts of one pool of every row."""
    tp, pp, ep, attention_dp, cp = np.array([plan.parts[part].sizes for plan in plans], dtype=float).T
    return Layout(tp=tp, pp=pp, ep=ep, attention_dp=attention_dp, cp=cp)


def replicas(plans: Sequence[Plan], part: int) -> Array:
    """The replicas of one pool of every row."""
    return np.array([plan.parts[part].replicas for plan in plans], dtype=float)


def workloads(plans: Sequence[Plan], **load: Array) -> Workload:
    """Mean lengths and prefix hits of every row, and the load where one is given."""
    inputs, outputs = np.array([plan.lengths for plan in plans]).T
    low, high = column(plans, "length_low", 1.0), column(plans, "length_high", 1.0)
    # a uniform draw between two shares
    spread = (high - np.minimum(low, high)) / np.sqrt(UNIFORM) / ((low + high) / 2)
    return Workload(inputs, outputs, column(plans, "prefix_hit", 0.0), length_spread=spread, **load)


def speculation(plans: Sequence[Plan]) -> Speculation:
    """Draft tokens (one number for all rows) and their acceptance by row."""
    return Speculation(plans[0].parts[-1].key.mtp_tokens, np.array([plan.acceptance for plan in plans]))


def closed(pool: PoolModel, plans: Sequence[Plan]) -> Answer:
    """A mixed pool with a fixed number of requests in flight, or saturated: as many as memory and stack allow."""
    pool = replace(pool, speculation=speculation(plans))
    cut, requests = layouts(plans), column(plans, "requests", LONG_RUN)
    work = workloads(plans, requests=requests)
    wanted = column(plans, "concurrency", np.inf)
    most = resident(pool, cut, work)
    held = np.minimum(wanted / cut.attention_dp, np.maximum(most, 1))
    steady = pool.closed(cut, work, held)
    running = held * np.asarray(cut.attention_dp)
    across = _trailing(steady.requests)
    asked = np.where(np.isfinite(wanted), wanted, running)
    wait = closed_wait(across(asked), across(running), across(requests), steady.requests)
    steady = replace(steady, ttft=steady.ttft + wait, e2e=steady.e2e + wait)
    return _mixed(pool, plans, cut, work, held, steady, _shortfalls(pool, cut, work, most))


def opened(pool: PoolModel, plans: Sequence[Plan]) -> Answer:
    """A mixed pool to which requests come at a given rate; a finite run that is overloaded builds up a queue.

    N requests at rate r take max(N / r, N / X) and the last one's own time. Above capacity X the k-th request waits
    for k (1 / X - 1 / r): on average half of the last one's wait.
    """
    pool = replace(pool, speculation=speculation(plans))
    cut, work, rate = layouts(plans), workloads(plans), column(plans, "rate")
    count = column(plans, "requests", np.inf)
    most = resident(pool, cut, work)
    ranks = np.asarray(cut.attention_dp)
    held, over = open_loop(
        lambda batch: pool.closed(cut, work, np.maximum(batch, 1 / ranks)), rate, np.maximum(most, 1)
    )
    held = np.maximum(held, 1 / ranks)
    steady = pool.closed(cut, work, held)
    across = _trailing(steady.ttft)
    capacity = np.where(across(over), steady.requests, np.inf)
    finite = np.where(np.isfinite(count), count, 0)
    wait = np.where(across(over & np.isinf(count)), np.inf, overload_wait(across(rate), across(finite), capacity))
    passed = np.minimum(capacity, across(rate))
    done = np.where(across(np.isinf(count)), passed, across(finite) / (across(finite) / passed + steady.e2e))
    steady = replace(steady, ttft=steady.ttft + wait, e2e=steady.e2e + wait, requests=done)
    return _mixed(pool, plans, cut, work, held, steady, _shortfalls(pool, cut, work, most))


def resident(pool: PoolModel, cut: Layout, work: Workload) -> Array:
    """Sequences per attention rank whose cache fits in steady state: half of the output of each is there on average.

    A pool that holds one sequence at its full length is not refused for holding no second one.
    """
    alone = pool.most_sequences(cut, work)
    half = replace(work, output_tokens=np.maximum(work.output_tokens / 2, 1.0))
    return np.where(alone < 1, alone, pool.most_sequences(cut, half))


def _mixed(
    pool: PoolModel, plans: Sequence[Plan], cut: Layout, work: Workload, held: Array, steady: Steady, no: dict[int, str]
) -> Answer:
    answer = Answer(_metrics(steady, work, plans), reasons=no)
    if pool.machine.draws:
        return answer
    decode, prefill, _ = loads(work, held, pool.machine.stack.chunk_tokens, pool.speculation.tokens)
    tiers = pool.machine.tiers()
    later, first = (told(pool.staged_step(load, cut), tiers) for load in (decode, prefill))
    answer.told = {name: first if name in FIRST else later for name in answer.samples}
    return answer


def _metrics(steady: Steady, work: Workload, plans: Sequence[Plan]) -> dict[str, Array]:
    across = _trailing(steady.ttft)
    per_device = steady.requests / across(np.array([plan.devices for plan in plans], dtype=float))
    inputs, outputs = across(work.input_tokens), across(work.output_tokens)
    return {
        "ttft_ms": steady.ttft * 1e3,
        "tpot_ms": steady.tpot * 1e3,
        "e2e_ms": steady.e2e * 1e3,
        "step_ms": steady.decode_step * 1e3,
        "requests_per_s": steady.requests,
        "input_tokens_per_s_per_device": per_device * inputs,
        "output_tokens_per_s_per_device": per_device * outputs,
        "total_tokens_per_s_per_device": per_device * (inputs + outputs),
    }


def _shortfalls(pool: PoolModel, cut: Layout, work: Workload, most: Array) -> dict[int, str]:
    """Rows whose pool cannot hold one sequence, with what is missing."""
    bad = np.flatnonzero(most < 1)
    if not bad.size:
        return {}
    found = pool.memory(cut, work.input_tokens + work.output_tokens)
    need = (found.sequence - found.free) / GIB
    return {int(row): f"does not fit: short of {need[row]:.1f} GiB per device" for row in bad}


def disaggregate(pools: Sequence[PoolModel], plans: Sequence[Plan]) -> Answer:
    """A prefill pool and a decode pool in a closed loop."""
    draft = speculation(plans)
    prefill, decode = (replace(pool, speculation=draft) for pool in pools)
    first, later = layouts(plans, 0), layouts(plans, 1)
    requests = column(plans, "requests", LONG_RUN)
    work = workloads(plans, concurrency=column(plans, "concurrency"), requests=requests)
    most = resident(decode, later, work)
    stack = prefill.machine.stack
    ready = prefilled(prefill, first, work)
    sizes = TwoPools(
        replicas(plans, 0),
        np.asarray(first.attention_dp),
        replicas(plans, 1) * np.asarray(later.attention_dp),
        np.maximum(most, 1),
        transfer(prefill, decode, first, work),
        stack.transfer_in_ttft,
        front(prefill, work),
        decode.machine.coefficient("host", "lag_steps"),
    )
    steady = disaggregated(ready, _decode_pace(decode, later, work), work, sizes, draft)
    late = steady.ttft * (prefill.discrepancy("first_token") - 1)
    steady = replace(steady, ttft=steady.ttft + late, e2e=steady.e2e + late)
    answer = Answer(_metrics(steady, work, plans), reasons=_shortfalls(decode, later, work, most))
    answer.reasons |= _shortfalls(prefill, first, work, resident(prefill, first, work))
    if not prefill.machine.draws:
        _, chunk, _ = loads(work, 0, stack.chunk_tokens, 0)
        alone = told(prefill.step(chunk, first), prefill.machine.tiers())
        step = decode.staged_step(decode_load(decode, work, steady.sequences), later)
        together = told(step, decode.machine.tiers())
        answer.told = {name: alone if name in FIRST else together for name in answer.samples}
    return answer


def _decode_pace(pool: PoolModel, cut: Layout, work: Workload) -> Any:
    """Maps batches `(grid, row)` to the seconds of a decode step, `(grid, row[, draw])`, in one evaluation."""
    tiled = Layout(*(np.tile(getattr(cut, name), GRID) for name in ("tp", "pp", "ep", "attention_dp", "cp")))
    lengths = Workload(np.tile(work.input_tokens, GRID), np.tile(work.output_tokens, GRID))

    def pace(batches: Array) -> Array:
        seconds = decode_step(pool, tiled, lengths, batches.reshape(-1))
        return np.asarray(seconds.reshape(*batches.shape, *seconds.shape[1:]))

    return pace


def _trailing(like: Array) -> Any:
    """Adds the draw axis where `like` has one."""
    return (lambda values: np.asarray(values)[..., None]) if like.ndim > 1 else np.asarray
