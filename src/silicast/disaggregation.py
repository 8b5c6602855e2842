"""Prefill on one pool, decode on another, also of two vendors: the cache that travels, the queue, the pace."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import LayoutError
from silicast.pool import PoolModel
from silicast.scenario import Layout, Load, Size, Workload
from silicast.serving.steady import Discipline, loads
from silicast.serving.two_pools import Prefilled, prefill_pool
from silicast.timed import trailing

Array = NDArray[Any]

#: a cache of another format or another cut is read once and written once
REWRITE = 2.0


def connected(prefill: PoolModel, decode: PoolModel) -> bool:
    """Whether a network joins the two pools: one system, or a way out of both."""
    ends = prefill.machine, decode.machine
    return ends[0].system.id == ends[1].system.id or all(end.way_out is not None for end in ends)


def link(prefill: PoolModel, decode: PoolModel) -> tuple[Any, Any]:
    """Bandwidth and latency between a device of each pool: the slower end's. Raises LayoutError where nothing joins.

    Inside one system the link between its nodes; between two systems the network that leaves both.
    """
    first, second = prefill.machine, decode.machine
    if first.system.id == second.system.id:
        ends = first.fabric, second.fabric
        bandwidths, latencies = zip(*((end.outer_bandwidth, end.outer_latency) for end in ends), strict=True)
        return np.minimum(*bandwidths), np.maximum(*latencies)
    if first.way_out is None or second.way_out is None:
        lacking = first if first.way_out is None else second
        raise LayoutError(
            f"No source gives a network that leaves {lacking.system.id}: {first.chip.id} and {second.chip.id} "
            "cannot exchange a KV cache."
        )
    return np.minimum(first.way_out[0], second.way_out[0]), np.maximum(first.way_out[1], second.way_out[1])


def transfer(prefill: PoolModel, decode: PoolModel, cut: Layout, work: Workload) -> Array:
    """Seconds until the other pool has the cache of one prompt: t = t_h + alpha + V / B on the link between nodes.

    Every rank of the prefill group sends the part of the cache it holds (V is per device; a latent cache is on all
    tensor-parallel ranks, and each decode rank needs one copy), at the pace of the slower of the two devices; t_h is
    the hand-over: routing, allocation and registration of the cache, scheduling on the other side. Pools of two kinds
    rewrite the cache once on arrival: another format, another block, another cut.
    """
    values = prefill.model.cache_values(cut, np.asarray(work.input_tokens)) * prefill.kv_bytes
    state = prefill.model.state_values(cut) * 4.0
    bandwidth, latency = link(prefill, decode)
    sent = np.asarray(values + state, dtype=float)
    sent = sent[..., None] if prefill.machine.draws else sent
    seconds = prefill.machine.coefficient("host", "hand_over") + latency + sent / bandwidth
    if prefill.machine.chip.id != decode.machine.chip.id or prefill.precision.kv_cache != decode.precision.kv_cache:
        seconds = seconds + REWRITE * sent / decode.machine.bandwidth
    return np.asarray(seconds)


def front(pool: PoolModel, work: Workload) -> Array:
    """Seconds that a request takes from the client to the queue."""
    once, per_token = (pool.machine.coefficient("host", name) for name in ("front_end", "front_end_per_token"))
    return np.asarray(once + per_token * trailing(work.input_tokens, pool.machine))


def prefilled(pool: PoolModel, cut: Layout, work: Workload) -> Prefilled:
    """The pool as one that only prefills, per layout."""
    how = Discipline(pool.machine.stack.chunk_tokens, True, np.asarray(cut.attention_dp), np.asarray(cut.pp))
    return prefill_pool(lambda load: pool.step(load, cut).seconds * pool.discrepancy("prefill"), work, how)


def decode_load(pool: PoolModel, work: Workload, batch: Size) -> Load:
    """What one decode step carries with `batch` sequences per attention rank."""
    decode, _, _ = loads(work, batch, pool.machine.stack.chunk_tokens, pool.speculation.tokens)
    return decode


def decode_step(pool: PoolModel, cut: Layout, work: Workload, batch: Size) -> Array:
    """Seconds of one step of a pool that only decodes, `(config[, draw])`."""
    return np.asarray(pool.staged_step(decode_load(pool, work, batch), cut).seconds * pool.discrepancy("decode"))
