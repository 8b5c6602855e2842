"""SGLang: prompts first. While one can be computed nobody decodes; what fits is estimated from what will be written."""

from silicast.serving.state import NOBODY, Replica
from silicast.serving.verbs import (
    admit,
    available,
    cached_tokens,
    decode,
    first_waiting,
    fits,
    generated,
    left,
    missing,
    missing_to_decode,
    preempt,
    prefill,
    running_list,
)

#: schedule_policy.py:40: no more than this is set aside for what one request will write
CLIP = 4096
#: server_args.py:191: prompt tokens of one step, beside the size of a chunk
MOST_PREFILL = 16384
#: global_config.py:29-37: share of what requests may write that is set aside at first, at least, and steps between
FIRST_RATIO, LEAST_FACTOR, DECAY_STEPS = 0.7, 0.14, 600.0
#: global_config.py:43: steps that a new estimate looks ahead
RETRACT_STEPS = 20


def sglang(replica: Replica) -> None:
    """One step of SGLang (0.5.3, sglang/srt/managers/scheduler.py, `get_next_batch_to_run`), results in time."""
    state = replica.state

    # A prompt computed in part was in the last batch and is not in the running one: there is a place again.
    if state.prompts > 0:
        state.full = 0
    _add_prompts(replica)
    if state.step_prompts > 0:
        return

    # Who has ended leaves the running batch only now, one decision late. An empty batch begins anew at once.
    if state.ghosts > 0:
        state.ghosts = state.full = 0
        state.moved = 1  # the next decision is another one
        if state.decoding == 0:
            _add_prompts(replica)
    if state.decoding > 0:
        if missing_to_decode(replica) > 0:
            _retract(replica)
        decode(replica)


def _ratio(replica: Replica) -> float:
    """Share of what the running requests may still write that is set aside: it falls with every decode step."""
    state = replica.state
    start = state.ratio if state.ratio > 0 else FIRST_RATIO
    fall = FIRST_RATIO * (1 - LEAST_FACTOR) / DECAY_STEPS
    return max(start - state.aged * fall, FIRST_RATIO * LEAST_FACTOR)


def _to_write(replica: Replica) -> int:
    """Tokens that the decoding requests may still write, each clipped."""
    total, r = 0, replica.heads[running_list(replica)]
    while r != NOBODY:
        row = replica.rows[r]
        if row.computed == row.target:
            total += min(row.output - generated(replica, r), CLIP)
        r = row.following
    return total


def _pages(replica: Replica, tokens: int) -> int:
    return -(-tokens // replica.state.block) * replica.state.block


def _add_prompts(replica: Replica) -> None:
    """A batch of prompts (`get_new_batch_prefill` and `PrefillAdder`): within the chunk, and within the memory left."""
    state = replica.state
    if (state.full or state.waiting == 0) and state.prompts == 0:
        return
    places = state.most_sequences - state.decoding - state.ghosts
    if places <= 0 and state.prompts == 0:
        state.full = 1
        return
    now = available(replica) * state.block
    later = now - _to_write(replica) * _ratio(replica)
    # the engine takes no size of a chunk that is not whole pages
    budget, chunk = MOST_PREFILL, state.most_tokens // state.block * state.block

    # The prompt that was cut goes on.
    if state.prompts > 0:
        r = replica.prompts[0]
        tokens = min(left(replica, r), chunk, now if state.running == 1 else int(later))
        done = tokens == left(replica, r)
        if tokens > 0:
            prefill(replica, r, tokens)
            pages = _pages(replica, tokens)
            later -= pages + (min(replica.rows[r].output, CLIP) if done else 0)
            now, budget, chunk = now - pages, budget - pages, chunk - pages

    # Others follow in their order while there are places, memory and tokens; the last one may be cut.
    while state.waiting > 0:
        if state.step_prompts >= places:
            state.full = 1
        if state.full:
            break
        r = first_waiting(replica)
        cached = cached_tokens(replica, r)
        tokens = replica.rows[r].target - cached
        to_write = min(replica.rows[r].output, CLIP)
        pages = _pages(replica, tokens)
        # idle prefixes that it would hold are no longer there to be evicted
        shared = missing(replica, r, cached, tokens) * state.block - pages
        # one that is alone runs whatever the estimate says: nobody would make room for it
        alone = state.running == 0 and fits(replica, r, cached, min(tokens, chunk))
        if tokens + to_write >= later - shared and not alone:
            state.full = 1
            break
        if pages >= budget and state.step_prompts > 0:
            break
        if pages > chunk:
            tokens = pages = chunk // state.block * state.block
            to_write = 0
            if tokens <= 0:
                break
        admit(replica, r, cached)
        prefill(replica, r, tokens)
        now, later = now - shared - pages, later - shared - pages - to_write
        budget, chunk = budget - pages, chunk - pages
        if later <= 0 or now <= 0:
            state.full = 1
        if budget <= 0 or chunk <= 0:
            break


def _retract(replica: Replica) -> None:
    """Those who have written least go back to the end of the queue until the others have room (`retract_decode`).

    The last one goes only where what it lacks is kept for caches on their way.
    """
    state = replica.state
    while missing_to_decode(replica) > 0:
        preempt(replica, _least_written(replica), True)
    written = allowed = 0
    r = replica.heads[running_list(replica)]
    while r != NOBODY:
        if replica.rows[r].computed == replica.rows[r].target:
            written += generated(replica, r)
            allowed += replica.rows[r].output
        r = replica.rows[r].following
    if allowed > 0:
        state.ratio = min((written + RETRACT_STEPS * state.decoding) / allowed, 1.0)
    state.aged = -1
    state.full = 0


def _least_written(replica: Replica) -> int:
    """Of the decoding requests the one with the fewest output tokens; of several the one with the longest prompt."""
    found, r = NOBODY, replica.heads[running_list(replica)]
    while r != NOBODY:
        row = replica.rows[r]
        if row.computed == row.target and (found == NOBODY or _less(replica, r, found)):
            found = r
        r = row.following
    return found


def _less(replica: Replica, r: int, other: int) -> bool:
    """Ties go to the one admitted later: it stands further back in the batch."""
    mine, theirs = generated(replica, r), generated(replica, other)
    if mine != theirs:
        return mine < theirs
    return replica.rows[r].prompt >= replica.rows[other].prompt
