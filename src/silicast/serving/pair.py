"""Two pools at a given batch of the decode pool: what a search evaluates, where a forecast solves for the batch."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.scenario import Size, Speculation, Workload
from silicast.serving.steady import LEAST_STEPS, Steady
from silicast.serving.two_pools import Flow, Prefilled, TwoPools

Array = NDArray[Any]

#: share of what the prefill pool can start that is let in: at 19 of 20 its queue is 10 services long (M/D/1), beyond
#: it has no end
LET_IN = 19 / 20


def at_batch(
    prefill: Prefilled, step: Array, batch: Size, workload: Workload, pools: TwoPools, draft: Speculation
) -> Steady:
    """A prefill pool before a decode pool of D ranks with `batch` sequences each, in steps of `step` seconds.

    X = min(B D / (S t_d), 0.95 capacity) requests/s flow through both pools (Little 1961): where the prefill pool
    starts fewer, the decode pool is not filled and a step is shorter than `step` says. TTFT is that of `steady.Flow`
    at this rate. Shapes `(config[, draw])`, as in `steady.disaggregated`, of which this is one point of the grid.
    """

    def trail(value: Any) -> Any:
        array = np.asarray(value, dtype=float)
        return array[..., None] if step.ndim > 1 and array.ndim else array

    steps = trail(np.maximum((np.asarray(workload.output_tokens) - 1) / draft.yield_per_step, LEAST_STEPS))
    decoding = steps * step
    flow = Flow(prefill, pools, trail, np.inf)
    rate = np.minimum(trail(np.asarray(batch) * pools.decode_ranks) / decoding, LET_IN * flow.capacity)
    ttft = flow.ttft(rate) + pools.lag * step
    later = 0.0 if pools.in_ttft else pools.transfer
    token = step / trail(draft.yield_per_step) + later / np.maximum(trail(workload.output_tokens) - 1, 1)
    return Steady(
        ttft, token, ttft + later + decoding, rate, trail(batch), rate / flow.capacity, step, flow.service(rate)
    )


def later_first_tokens(steady: Steady, factor: Any) -> Steady:
    """The same state with first tokens `factor` times as late; the rate stays, more requests are in flight."""
    late = steady.ttft * (factor - 1)
    return replace(steady, ttft=steady.ttft + late, e2e=steady.e2e + late)
