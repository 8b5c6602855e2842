"""TensorRT-LLM: in-flight batching that never evicts, or that uses all memory at once, and static batches.

Two stages: memory says which requests may be in the step, then a budget of tokens says how much of their prompts.
"""

from silicast.serving.state import NOBODY, Replica
from silicast.serving.verbs import (
    admit,
    available,
    cached_tokens,
    decode,
    first_waiting,
    last_running,
    left,
    missing,
    missing_to_decode,
    preempt,
    prefill,
    reserve,
    to_the_end,
)


def no_evict(replica: Replica) -> None:
    """One step with GUARANTEED_NO_EVICT (02a10fe, cpp/tensorrt_llm/batch_manager/capacityScheduler.cpp)."""
    budget = replica.state.most_tokens - decode(replica)
    _compute_prompts(replica, budget, True)


def max_utilization(replica: Replica) -> None:
    """One step with MAX_UTILIZATION: everybody runs who fits now; when that was too many, the last ones are paused."""
    paused = False
    while missing_to_decode(replica) > 0:
        preempt(replica, last_running(replica))
        paused = True
    budget = replica.state.most_tokens - decode(replica)
    if paused:
        _continue_prompts(replica, budget)
    else:
        _compute_prompts(replica, budget, False)


def static_batch(replica: Replica) -> None:
    """One step with STATIC_BATCH: nobody joins while anybody decodes."""
    if replica.state.decoding > 0:
        decode(replica)
    else:
        _compute_prompts(replica, replica.state.most_tokens, True)


def _compute_prompts(replica: Replica, budget: int, all_of_it: bool) -> None:
    """Chunks of prompts (microBatchScheduler.cpp), those that have begun first, then waiting ones in their order.

    A waiting request needs blocks to its end, whoever runs counted to theirs, or now only those of its prompt. The
    first that finds none holds up all behind it; one that only finds no tokens lets shorter ones pass.
    """
    state = replica.state
    budget = _continue_prompts(replica, budget)
    claimed, seats = 0, state.most_sequences - state.running
    r = first_waiting(replica)
    while r != NOBODY and budget > 0 and seats > 0:
        after, row = replica.rows[r].following, replica.rows[r]
        cached = cached_tokens(replica, r)
        if all_of_it:
            blocks = to_the_end(replica, r)
            room = state.blocks - state.promised
        else:
            blocks = missing(replica, r, cached, row.target - cached)
            room = available(replica)
        if claimed + blocks > room:
            break
        chunk = _chunk(replica, row.target - cached, budget)
        seats -= 1
        if chunk > 0 or row.loaded > 0:
            admit(replica, r, cached)
            reserve(replica, r)
            prefill(replica, r, chunk)
            budget -= chunk
        else:
            claimed += blocks
        r = after


def _continue_prompts(replica: Replica, budget: int) -> int:
    """Prompts that have begun go on; returns what they leave of the budget."""
    for i in range(replica.state.prompts):
        r = replica.prompts[i]
        chunk = _chunk(replica, left(replica, r), budget)
        if chunk > 0:
            prefill(replica, r, chunk)
            budget -= chunk
    return budget


def _chunk(replica: Replica, tokens: int, budget: int) -> int:
    """All tokens, or as many whole blocks as the budget holds."""
    return tokens if tokens <= budget else budget // replica.state.block * replica.state.block
