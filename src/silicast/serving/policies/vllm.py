"""vLLM V1: one token budget for all; whoever runs goes first, whoever finds no block takes those of the last one."""

from silicast.serving.state import Replica
from silicast.serving.verbs import (
    admit,
    cached_tokens,
    decode,
    first_waiting,
    fits,
    least_urgent,
    left,
    missing_to_decode,
    preempt,
    prefill,
)


def vllm(replica: Replica) -> None:
    """One step of the scheduler of vLLM V1 (0.11.0, vllm/v1/core/sched/scheduler.py, `schedule`), asynchrony aside.

    There is no phase of prefill or decode: each request has tokens to compute, and each step has a budget of them.
    """
    state = replica.state
    preempted = False

    # First the running requests. A decoding one computes one token. While blocks are missing, the request that was
    # admitted last (with priorities: the last of the least urgent ones) gives up its own and goes back to the queue.
    while missing_to_decode(replica) > 0:
        preempt(replica, least_urgent(replica))
        preempted = True
    budget = state.most_tokens - decode(replica)

    # A prompt that did not fit into the last step goes on with what the budget leaves.
    while state.prompts > state.step_prompts and budget > 0:
        r = replica.prompts[state.step_prompts]
        tokens = min(left(replica, r), budget)
        if not fits(replica, r, 0, tokens):
            preempt(replica, least_urgent(replica))
            preempted = True
            continue
        prefill(replica, r, tokens)
        budget -= tokens

    # Then the waiting ones in their order, unless somebody has just lost his place. What the cache holds of a prompt is
    # not computed again. The first one that finds no room holds up all behind it.
    while state.waiting > 0 and budget > 0 and state.running < state.most_sequences and not preempted:
        r = first_waiting(replica)
        cached = cached_tokens(replica, r)
        tokens = min(replica.rows[r].target - cached, budget)
        if not fits(replica, r, cached, tokens):
            break
        admit(replica, r, cached)
        prefill(replica, r, tokens)
        budget -= tokens
