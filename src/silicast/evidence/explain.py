"""Where the time of a measured run goes, by the same laws that forecast it: its prefill step and its decode step."""

from dataclasses import replace

import numpy as np

from silicast.errors import SilicastError
from silicast.evidence.columns import Scenario
from silicast.evidence.deployment import NoForecastError, Plan, Pools, plan
from silicast.evidence.forecast import answer
from silicast.evidence.serve import layouts, speculation, workloads
from silicast.parts import Explained, explained
from silicast.pool import Phase, PoolModel
from silicast.scenario import Load
from silicast.serving.steady import loads


def explained_run(scenario: Scenario, pools: Pools) -> dict[Phase, Explained]:
    """The steps of a run by phase; nothing for a kernel, or for a run that cannot be forecast. `pools` are points."""
    if scenario.kind not in ("serve", "prefill", "decode"):
        return {}
    try:
        ready = plan(scenario, pools)
        steps: dict[Phase, Explained] = {}
        if ready.mode != "decode":
            steps["prefill"] = _prefill(_pool(ready, 0, pools), ready)
        if ready.mode != "prefill":
            steps["decode"] = _decode(_pool(ready, -1, pools), ready, pools)
    except (NoForecastError, SilicastError):
        return {}
    return steps


def _pool(ready: Plan, part: int, pools: Pools) -> PoolModel:
    return replace(pools.pool(ready.parts[part].key), speculation=speculation([ready]))


def _prefill(pool: PoolModel, ready: Plan) -> Explained:
    """One pass of a chunk."""
    _, chunk, _ = loads(workloads([ready]), 0, pool.machine.stack.chunk_tokens, 0)
    return explained(pool.step(chunk, layouts([ready], 0)), pool.machine.tiers())


def _decode(pool: PoolModel, ready: Plan, pools: Pools) -> Explained:
    """One step of the batch that the run holds in flight."""
    work, row = workloads([ready]), ready.scenario
    context = np.array([row.kv_tokens]) if row.kv_tokens else work.input_tokens + work.output_tokens / 2
    load = Load(
        decode_sequences=_sequences(ready, pools), decode_context=context, query_tokens=1 + pool.speculation.tokens
    )
    return explained(pool.staged_step(load, layouts([ready], -1)), pool.machine.tiers())


def _sequences(ready: Plan, pools: Pools) -> np.ndarray:
    """Sequences per attention rank: as stated, else as many as are in flight, N = X T (Little 1961)."""
    part = ready.parts[-1]
    ranks = part.sizes[3]
    if ready.mode == "decode":
        return np.array([(ready.scenario.batch_per_device or 1.0) * part.devices / ranks])
    found = answer([ready], pools).samples
    inside = found["e2e_ms"] - (found["ttft_ms"] if len(ready.parts) > 1 else 0)
    return np.asarray(np.maximum(found["requests_per_s"] * inside / 1e3 / (ranks * part.replicas), 1 / ranks))
