"""A pool ready to be simulated: its step times as tables, and what memory and stack let one replica carry."""

from dataclasses import dataclass, replace

import numpy as np

from silicast.errors import DoesNotFitError
from silicast.pool import Array, Phase, PoolModel
from silicast.scenario import Layout, Load
from silicast.serving.columns import Below, Host, Limits
from silicast.serving.surface import Surface, compile_surface

#: tokens of context to which the tables reach where nobody says: beyond, the last segment goes on
CONTEXT = 1 << 17
#: tokens of a step that has work for every kernel
SOME_TOKENS = 64.0


@dataclass(frozen=True, slots=True)
class Tabulated:
    """Step times and limits of one attention rank of a replica, and how many of them step together."""

    surface: Surface
    limits: Limits
    host: Host
    ranks: int = 1


def tabulate(
    pool: PoolModel, layout: Layout, most_context: int = CONTEXT, graph_batches: tuple[int, ...] = ()
) -> Tabulated:
    """The tables of `pool` cut by one `layout`, up to the sequences and the chunk of its stack.

    Decode batches are padded to the
    next of `graph_batches`. Raises DoesNotFitError where not one block of cache is left.
    """
    one, stack = layout.arrays(), pool.machine.stack
    query = 1 + int(np.max(pool.speculation.tokens))

    def seconds(load: Load) -> Array:
        phase: Phase = "decode" if np.any(np.asarray(load.decode_sequences) > 0) else "prefill"
        step = pool.staged_step(load, one)
        late = np.maximum(step.eager - (step.seconds - step.host), 0)
        return np.asarray((step.seconds - late) * pool.discrepancy(phase))

    limits = Limits(stack.chunk_tokens, stack.max_sequences, cache_blocks(pool, layout), stack.block_tokens)
    surface = compile_surface(
        seconds, limits.sequences, limits.step_tokens, most_context, query, tuple(sorted(graph_batches)),
        _launches(pool, one), int(layout.attention_dp),
    )  # fmt: skip
    names = ("front_end", "front_end_per_token", "lag_steps")
    host = Host(*(float(np.median(pool.machine.coefficient("host", name))) for name in names))
    return Tabulated(surface, limits, host, int(layout.attention_dp))


def _launches(pool: PoolModel, layout: Layout) -> Array:
    """The floor of `Surface`: what the host takes to launch a step with prompts, without and beside decodes."""
    host = pool.machine.coefficient
    alone = Load(prefill_sequences=np.ones(1), prefill_tokens=np.full(1, SOME_TOKENS))
    mixed = replace(alone, decode_sequences=np.full(1, SOME_TOKENS), decode_context=np.full(1, SOME_TOKENS))
    eager = [float(np.median(pool.staged_step(load, layout).eager)) for load in (alone, mixed)]
    once, each = (float(np.median(host("host", name))) for name in ("step", "per_sequence"))
    return np.array([[once + launches, each] for launches in eager])


def below(pool: PoolModel, layout: Layout, room: float, bandwidth: float) -> Below:
    """A level of the prefix cache with `room` bytes below the devices of one attention rank, at `bandwidth` bytes/s.

    A block takes what it takes on all devices of the rank: each stores its own part, or its own copy.
    """
    size = _block_bytes(pool, layout) * layout.devices / layout.attention_dp
    return Below(int(room // size), float(size / bandwidth) if bandwidth > 0 else np.inf)


def _block_bytes(pool: PoolModel, layout: Layout) -> float:
    """Bytes of one block of the cache on one device."""
    block = pool.machine.stack.block_tokens
    memory = pool.memory(layout.arrays(), np.array([float(block), 2.0 * block]))
    # what a sequence keeps beyond its cache, a recurrent state, is not the block's
    return float(memory.sequence[1] - memory.sequence[0])


def cache_blocks(pool: PoolModel, layout: Layout) -> int:
    """Blocks of the paged cache of one attention rank: as an engine printed them, else what the memory law leaves."""
    if pool.kv_blocks is not None:
        return pool.kv_blocks
    block = pool.machine.stack.block_tokens
    free = float(pool.memory(layout.arrays(), np.array([float(block)])).free[0])
    blocks = int(free // _block_bytes(pool, layout)) if free > 0 else 0
    if blocks < 1:
        short = -free / (1 << 30)
        raise DoesNotFitError(f"The replica leaves no room for the KV cache: {short:.1f} GiB short on each device.")
    return blocks
