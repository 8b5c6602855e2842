"""Softmax attention, its third roof, and linear recurrences."""

from dataclasses import dataclass

import numpy as np

from silicast.laws.timing import Timing, Value, overlapped, overlapped3


@dataclass(slots=True)
class Scores:
    """The work of one attention call: score FLOPs, query-key pairs times heads, the largest tile, bytes moved, tiles.

    A tile is what one core works on at a time: some queries of one head, in decode the queries of one key head.
    """

    flops: Value
    scores: Value
    longest: Value
    moved: Value
    tiles: Value = 0.0


@dataclass(slots=True)
class AttentionEngine:
    """Sustained matrix FLOP/s, vector FLOP/s over operations per score, cores, sustained bytes/s, s to start a tile.

    `pipelined` is 1 where loads and starts run beside the products of other tiles (decode), 0 where each tile waits
    for its queries and its output (prefill).
    """

    matrix: Value
    scores: Value
    cores: Value
    bandwidth: Value
    setup: Value = 0.0
    pipelined: Value = 1.0


def attention_time(work: Scores, engine: AttentionEngine, launch: Value) -> Timing:
    """Attention: two products per score, a softmax on the vector units, the cache read once.

    t = launch + (t_c^3 + (t_v + t_s)^3 + t_m^3)^(1/3) pipelined, else launch + t_s + t_m + (t_c^3 + t_v^3)^(1/3),
    t_c = max(F / (e P), cores F_longest / (e P)), t_v = scores s / V, t_s = tiles t_0 / cores, t_m = bytes / (e_m W).

    F = 2 pairs heads (d_qk + d_v) counts causal pairs once. F_longest is the work of the longest tile of queries of
    one head, which runs on one core: a makespan is at least the mean load and at least the longest job (Graham 1966).
    s vector operations per score at V FLOP/s are the third roof (FlashAttention-3, arXiv:2407.08608, section 3.2);
    t_0 is what the first and the last scores of a tile cost beyond that, with nothing of their own to overlap with.
    """
    matrix = np.maximum(work.flops, work.longest * engine.cores) / engine.matrix
    vector, start = work.scores / engine.scores, work.tiles * engine.setup / engine.cores
    memory = work.moved / engine.bandwidth
    busy = (work.flops > 0) * 1.0
    beside = overlapped3(matrix, vector + start, memory)
    apart = start + memory + overlapped(matrix, vector)
    total = busy * (launch + np.where(np.asarray(engine.pipelined) > 0, beside, apart))
    return Timing(total, matrix, vector + start, memory, 0.0, busy * launch)


def scan_time(flops: Value, moved: Value, matrix: Value, bandwidth: Value, launch: Value) -> Timing:
    """Linear recurrence in chunks: state updates as small products, state read and written once per step.

    t = launch + ((F / (e P))^3 + (bytes / (e_m W))^3)^(1/3). Reference: gated delta networks (arXiv:2412.06464),
    state-space duality (arXiv:2405.21060).
    """
    compute, memory = flops / matrix, moved / bandwidth
    busy = (flops > 0) * 1.0
    return Timing(busy * (launch + overlapped(compute, memory)), compute, 0.0, memory, 0.0, busy * launch)
