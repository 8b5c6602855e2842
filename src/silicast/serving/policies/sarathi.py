"""Sarathi: decodes ride along in every step, prompts fill it up to the size of a chunk."""

from silicast.serving.state import Replica
from silicast.serving.verbs import (
    admit,
    available,
    blocks_of,
    decode,
    first_waiting,
    last_decoding,
    last_running,
    left,
    needed_to_decode,
    new_blocks,
    preempt,
    prefill,
    reserve,
)


def sarathi(replica: Replica) -> None:
    """One step of Sarathi-Serve (96f9911, sarathi/core/scheduler/sarathi_scheduler.py, `_schedule`).

    Stall-free batching: a prompt never stops those who decode, and the chunk bounds how much it slows them.
    """
    state = replica.state

    # Who decodes comes first. Each wants to see a free block before its turn, even if its token fits into its last one;
    # while there is none the last request gives up its own.
    while state.decoding > 0 and available(replica) < _seen_by_the_last(replica):
        preempt(replica, last_running(replica))
    tokens = decode(replica)

    # Prompts that have begun have their memory already and go on with what is left of the chunk.
    for i in range(state.prompts):
        r = replica.prompts[i]
        chunk = min(left(replica, r), state.most_tokens - tokens)
        if chunk > 0:
            prefill(replica, r, chunk)
            tokens += chunk

    # A new one needs room for its whole prompt, with some blocks to spare, and a place; then it gets the rest.
    while state.waiting > 0 and state.running < state.most_sequences and tokens < state.most_tokens:
        r = first_waiting(replica)
        if available(replica) - blocks_of(replica, replica.rows[r].target) < state.spare:
            break
        elsewhere = replica.rows[r].loaded
        chunk = min(replica.rows[r].target - elsewhere, state.most_tokens - tokens)
        admit(replica, r, elsewhere)
        reserve(replica, r)
        prefill(replica, r, chunk)
        tokens += chunk


def _seen_by_the_last(replica: Replica) -> int:
    """Blocks for all decoding requests, of which the last one sees at least one before its turn."""
    needed, last = needed_to_decode(replica), last_decoding(replica)
    return max(needed, needed - new_blocks(replica, last) + 1)
