"""Serving runs of the evidence replayed through the simulator with their own load protocol.

All slots start at once, lengths are drawn between the shares that the row states, the run has as many requests as it
says. One that does not say is long and has forgotten its start: each slot begins with the rest of a request, which does
not count, then ten more. Attention ranks are simulated one by one, in lock-step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from silicast.disaggregation import transfer
from silicast.errors import SilicastError
from silicast.evidence.deployment import NoForecastError, Part, Plan, Pools, plan
from silicast.evidence.record import Row
from silicast.pool import PoolModel
from silicast.scenario import Layout, Speculation, Workload
from silicast.serving.fleet import Fleet, Transfer, simulate_fleet
from silicast.serving.outcome import Served
from silicast.serving.requests import ClosedLoop, Requests, requests
from silicast.tabulated import Tabulated, tabulate

Progress = Callable[[int, int], None]

#: the policy of an engine that mixes prompts into the steps of decode, and of one that runs them first
POLICY = {"chunked": "vllm", "prefill_first": "sglang"}
#: requests per slot of a run that does not say how many it had
ROUNDS = 10
#: seed of the lengths
SEED = 1
#: tokens of context to which step times are tabulated
CONTEXT = 1 << 15
#: metrics that a simulated run answers
METRICS = ("ttft_ms", "tpot_ms", "e2e_ms", "output_tokens_per_s_per_device", "requests_per_s")


@dataclass(slots=True)
class Replay:
    """Runs rows one after another; pools and their tables are built once."""

    pools: Pools = field(default_factory=Pools)
    tables: dict[Any, Tabulated] = field(default_factory=dict)

    def run(self, row: Row) -> dict[str, float]:
        """Means of the run by metric. Raises NoForecastError for what the simulator does not know."""
        ready = plan(row.scenario, self.pools)
        slots, count = row.scenario.concurrency, row.scenario.requests
        if ready.mode not in ("closed", "disaggregated") or not slots:
            raise NoForecastError("only closed loops are replayed")
        clients = max(round(slots), 1)
        rests = 0 if count else clients
        traffic = _traffic(ready, max(round(count or ROUNDS * slots), clients) + rests, rests)
        return _means(self._served(ready, traffic, ClosedLoop(clients)), ready, rests)

    def _served(self, ready: Plan, traffic: Requests, loop: ClosedLoop) -> Served:
        first, last = ready.parts[0], ready.parts[-1]
        apart = ready.mode == "disaggregated"
        return simulate_fleet(
            traffic,
            self._fleet(ready, first),
            "least-outstanding",
            self._fleet(ready, last) if apart else None,
            self._way(ready) if apart else None,
            loop,
            host=self._ready(ready, first).host,
            compile=find_spec("numba") is not None,
            acceptance=ready.acceptance,
            random=np.random.default_rng(SEED),
        )

    def _fleet(self, ready: Plan, part: Part) -> Fleet:
        stack = self._pool(ready, part).machine.stack
        tables = self._ready(ready, part)
        policy = stack.policy or POLICY[stack.scheduler]
        return Fleet(part.replicas, tables.surface, tables.limits, policy, tables.ranks)

    def _pool(self, ready: Plan, part: Part) -> PoolModel:
        pool = self.pools.pool(part.key)
        return _drafting(pool, part.key.mtp_tokens, ready.acceptance)

    def _ready(self, ready: Plan, part: Part) -> Tabulated:
        key = part.key, part.sizes
        if key not in self.tables:
            self.tables[key] = tabulate(self._pool(ready, part), Layout(*part.sizes), CONTEXT)
        return self.tables[key]

    def _way(self, ready: Plan) -> Transfer:
        first, last = (self.pools.pool(part.key) for part in ready.parts)
        cut = Layout(*ready.parts[0].sizes)
        one, two = (float(np.squeeze(transfer(first, last, cut, Workload(tokens, 1)))) for tokens in (1, 2))
        return Transfer(2 * one - two, two - one, first.machine.stack.transfer_in_ttft)


def _drafting(pool: PoolModel, tokens: int, acceptance: float) -> PoolModel:
    return replace(pool, speculation=Speculation(tokens, acceptance)) if tokens else pool


def _traffic(ready: Plan, count: int, rests: int) -> Requests:
    """Requests of the row's lengths; of the first `rests` only a uniformly distributed part of the answer is left."""
    row, random = ready.scenario, np.random.default_rng(SEED)
    low, high = row.length_low or row.length_high or 1.0, row.length_high or 1.0
    inputs, outputs = (
        tokens * random.uniform(low, high, count) for tokens in (row.input_tokens or 1, row.output_tokens or 1)
    )
    outputs[:rests] *= random.uniform(0, 1, rests)
    return requests(np.zeros(count), *(np.maximum(sizes.astype(np.int64), 1) for sizes in (inputs, outputs)))


def _means(served: Served, ready: Plan, rests: int) -> dict[str, float]:
    done = served.done & (np.arange(len(served.done)) >= rests)
    if not done.any():
        raise NoForecastError("no request fits the cache")
    span = float(np.nanmax(served.finished[done]) - np.nanmin(served.arrival[done]))
    rate = float(done.sum()) / span
    return {
        "ttft_ms": float(np.nanmean(served.ttft[done])) * 1e3,
        "tpot_ms": float(np.nanmean(served.tpot[done])) * 1e3,
        "e2e_ms": float(np.nanmean(served.e2e[done])) * 1e3,
        "requests_per_s": rate,
        "output_tokens_per_s_per_device": rate * float(served.output_tokens[done].mean()) / ready.devices,
    }


def simulated(rows: Sequence[Row], progress: Progress | None = None) -> dict[str, float]:
    """Simulated value by id of each row that is a closed-loop serving run; the others are not in it."""
    replay = Replay()
    by_run: dict[Any, list[Row]] = {}
    for row in rows:
        if row.scenario.kind == "serve" and row.metric in METRICS:
            by_run.setdefault(row.scenario, []).append(row)
    found: dict[str, float] = {}
    for number, run in enumerate(by_run.values()):
        try:
            means = replay.run(run[0])
        except (SilicastError, NoForecastError):
            continue
        found |= {row.id: means[row.metric] for row in run}
        if progress:
            progress(number + 1, len(by_run))
    return found
