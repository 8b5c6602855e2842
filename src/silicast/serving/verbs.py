"""What a scheduling policy can ask and do. A policy is a function of the replica that decides one step:

    def first_come_first_served(replica):
        decode(replica)
        while waiting(replica) and replica.state.running < replica.state.most_sequences:
            r = first_waiting(replica)
            ...
            admit(replica, r, cached=0)
            prefill(replica, r, left(replica, r))

Whoever decodes does so in every step in which `decode` is called; a step without is a stall for them.
"""

from silicast.serving.blocks import (
    available,
    blocks_of,
    cached_tokens,
    grow,
    missing,
    publish,
    release,
    share,
    take,
    to_the_end,
)
from silicast.serving.state import NOBODY, WHEEL, Replica

__all__ = [
    "admit",
    "available",
    "blocks_of",
    "cached_tokens",
    "decode",
    "first_waiting",
    "fits",
    "generated",
    "last_decoding",
    "last_running",
    "least_urgent",
    "left",
    "missing",
    "missing_to_decode",
    "needed_to_decode",
    "new_blocks",
    "preempt",
    "prefill",
    "reserve",
    "running_list",
    "to_the_end",
]  # fmt: skip


def first_waiting(replica: Replica) -> int:
    """The request that has waited longest among those of the first priority."""
    for queue in range(replica.state.classes):
        if replica.heads[queue] != NOBODY:
            return replica.heads[queue]
    return NOBODY


def running_list(replica: Replica) -> int:
    """Which list holds the running requests; `heads` and `tails` give its ends."""
    return replica.state.classes


def last_running(replica: Replica) -> int:
    """The running request that was admitted last."""
    return replica.tails[running_list(replica)]


def least_urgent(replica: Replica) -> int:
    """Of the running requests with the last priority the one that came last."""
    if replica.state.classes == 1:
        return last_running(replica)
    found = r = last_running(replica)
    while r != NOBODY:
        if replica.rows[r].priority > replica.rows[found].priority:
            found = r
        r = replica.rows[r].preceding
    return found


def last_decoding(replica: Replica) -> int:
    """Of the requests that decode the one that was admitted last."""
    r = last_running(replica)
    while r != NOBODY and replica.rows[r].computed < replica.rows[r].target:
        r = replica.rows[r].preceding
    return r


def new_blocks(replica: Replica, r: int) -> int:
    """Blocks that the next step of r, which decodes, takes."""
    done = steps_done(replica, r)
    return _held(replica, r, done) - _held(replica, r, done - 1)


def left(replica: Replica, r: int) -> int:
    """Tokens that r must still compute before it decodes."""
    return replica.rows[r].target - replica.rows[r].computed


def generated(replica: Replica, r: int) -> int:
    """Output tokens of r so far."""
    row = replica.rows[r]
    if row.computed < row.target:
        return row.target - row.prompt
    return written(replica, r, steps_done(replica, r))


def steps_done(replica: Replica, r: int) -> int:
    """Decode steps of r, which decodes, so far; those that a recomputed prompt stands for count."""
    return replica.rows[r].steps - (replica.rows[r].end - replica.state.clock)


def written(replica: Replica, r: int, steps: int) -> int:
    """Output tokens of r after so many decode steps: one from its prompt, the others evenly."""
    row = replica.rows[r]
    return 1 + steps * (row.output - 1) // max(row.steps, 1)


def _held(replica: Replica, r: int, steps: int) -> int:
    """Blocks of r in the decode step after `steps` others: for what it has, and for the guesses of the step."""
    row = replica.rows[r]
    tokens = written(replica, r, steps) + replica.surface.query - 1
    return blocks_of(replica, row.prompt + min(tokens, row.output - 1))


def fits(replica: Replica, r: int, cached: int, tokens: int) -> bool:
    """Whether there are blocks for r to compute `tokens` more behind `cached` ones."""
    return missing(replica, r, cached, tokens) <= available(replica)


def needed_to_decode(replica: Replica) -> int:
    """Blocks that the decoding requests need for their next step."""
    return replica.needs[replica.state.clock & (len(replica.needs) - 1)]


def missing_to_decode(replica: Replica) -> int:
    """Blocks that they need beyond those that are available."""
    return needed_to_decode(replica) - available(replica)


def admit(replica: Replica, r: int, cached: int) -> None:
    """r leaves the queue and runs; it shares the `cached` first tokens of its prompt with the prefix cache."""
    state, row = replica.state, replica.rows[r]
    leave(replica, row.priority, r)
    append(replica, running_list(replica), r)
    state.waiting -= 1
    state.running += 1
    state.promised += to_the_end(replica, r)
    state.moved = 1
    replica.prompts[state.prompts] = r
    state.prompts += 1
    row.computed = cached
    share(replica, r, cached)
    if row.dispatched != row.dispatched:  # NaN: for the first time
        row.dispatched = state.now
        row.cached = cached


def reserve(replica: Replica, r: int) -> None:
    """r holds the blocks of its whole prompt at once."""
    grow(replica, r, replica.rows[r].target)


def prefill(replica: Replica, r: int, tokens: int) -> None:
    """The step computes the next `tokens` tokens of r; none if all have come from elsewhere: then it will decode."""
    state, row = replica.state, replica.rows[r]
    grow(replica, r, row.computed + tokens)
    publish(replica, r, row.computed + tokens)
    replica.chosen[state.step_prompts] = r
    replica.chunks[state.step_prompts] = tokens
    state.step_prompts += 1
    state.step_tokens += tokens
    state.step_cached += row.computed
    state.step_pairs += tokens * (row.computed + (tokens + 1) / 2)
    if row.loaded > 0:
        state.step_loaded += 1
        state.step_cached -= row.computed


def decode(replica: Replica) -> int:
    """The step makes the next token of every decoding request, or checks guesses; returns the tokens it computes."""
    state = replica.state
    if state.decoding > 0:
        take(replica, needed_to_decode(replica))
        state.step_decodes = state.decoding
    return state.decoding * replica.surface.query


def preempt(replica: Replica, r: int, back: bool = False) -> None:
    """r loses its place and its blocks, and computes all it had again; it goes to the front of the queue, or `back`."""
    state, row = replica.state, replica.rows[r]
    if row.computed < row.target:
        _forget_prompt(replica, r)
        _take_back(replica, r)
    else:
        tokens, done = generated(replica, r), steps_done(replica, r)
        leave_decoding(replica, r)
        if state.step_decodes > 0:
            # its next step has its blocks already
            row.blocks = _held(replica, r, done)
            state.step_decodes -= 1
        row.target = row.prompt + tokens
    row.computed = row.loaded = 0
    release(replica, r)
    leave(replica, running_list(replica), r)
    if back:
        append(replica, row.priority, r)
    else:
        prepend(replica, row.priority, r)
    row.preemptions += 1
    state.promised -= to_the_end(replica, r)
    state.running -= 1
    state.waiting += 1
    state.preempted += 1
    state.moved = 1


def _forget_prompt(replica: Replica, r: int) -> None:
    state = replica.state
    at = 0
    while replica.prompts[at] != r:
        at += 1
    state.prompts -= 1
    for i in range(at, state.prompts):
        replica.prompts[i] = replica.prompts[i + 1]


def _take_back(replica: Replica, r: int) -> None:
    """The step does not compute tokens of r after all."""
    state, kept = replica.state, 0
    for i in range(state.step_prompts):
        if replica.chosen[i] == r:
            tokens, computed = replica.chunks[i], replica.rows[r].computed
            state.step_tokens -= tokens
            state.step_cached -= computed
            state.step_pairs -= tokens * (computed + (tokens + 1) / 2)
        else:
            replica.chosen[kept], replica.chunks[kept] = replica.chosen[i], replica.chunks[i]
            kept += 1
    state.step_prompts = kept


def join_decoding(replica: Replica, r: int, token: float) -> None:
    """r has computed its target and decodes from now on; its last token came at `token`."""
    state, row = replica.state, replica.rows[r]
    done = _steps_at_join(replica, r)
    row.end = state.clock + row.steps - done
    slot = row.end % WHEEL
    row.alongside = replica.wheel[slot]
    replica.wheel[slot] = r
    state.decoding += 1
    state.growth += pace(replica, r)
    state.context += row.prompt + done * pace(replica, r)
    _expect(replica, r, done, 1)
    row.token = token
    if state.groups == 0 or replica.since[state.groups - 1] != token:
        replica.since[state.groups] = token
        replica.sizes[state.groups] = 0
        state.groups += 1
    replica.sizes[state.groups - 1] += 1
    state.fresh += 1


def leave_decoding(replica: Replica, r: int) -> None:
    """r no longer decodes: it is done or preempted. Its blocks are brought up to what it has cached."""
    state, row = replica.state, replica.rows[r]
    _take_from_wheel(replica, r)
    done = steps_done(replica, r)
    fresh = done == _steps_at_join(replica, r)
    if not fresh:
        row.blocks = _held(replica, r, done - 1)
    _expect(replica, r, done, -1)
    state.decoding -= 1
    state.growth -= pace(replica, r)
    state.context -= row.prompt + done * pace(replica, r)
    if state.decoding == 0:
        # what rounding has left
        state.growth = state.context = 0.0
    if fresh and state.fresh > 0:
        _leave_group(replica, r)
    else:
        row.token = state.token


def _leave_group(replica: Replica, r: int) -> None:
    state = replica.state
    at = 0
    while replica.since[at] != replica.rows[r].token:
        at += 1
    replica.sizes[at] -= 1
    state.fresh -= 1


def _take_from_wheel(replica: Replica, r: int) -> None:
    slot = replica.rows[r].end % WHEEL
    other = replica.wheel[slot]
    if other == r:
        replica.wheel[slot] = replica.rows[r].alongside
        return
    while replica.rows[other].alongside != r:
        other = replica.rows[other].alongside
    replica.rows[other].alongside = replica.rows[r].alongside


def pace(replica: Replica, r: int) -> float:
    """Tokens that r writes in a decode step on average."""
    return (replica.rows[r].output - 1) / max(replica.rows[r].steps, 1)


def _steps_for(replica: Replica, r: int, tokens: int) -> int:
    """Decode steps after which r has `tokens` output tokens: the least that write as many."""
    row = replica.rows[r]
    return -(-(tokens - 1) * row.steps // max(row.output - 1, 1))


def _steps_at_join(replica: Replica, r: int) -> int:
    """Decode steps that the computed target stands for; at least one is left, since a token is."""
    row = replica.rows[r]
    return min(_steps_for(replica, r, row.target - row.prompt + 1), row.steps - 1)


def _expect(replica: Replica, r: int, done: int, sign: int) -> None:
    """Add to the blocks needed in the steps to come those of r after `done` steps, or take them out again."""
    row, block = replica.rows[r], replica.state.block
    last = len(replica.needs) - 1
    spare = row.prompt + replica.surface.query - 1
    for held in range(row.blocks + 1, _held(replica, r, row.steps - 1) + 1):
        # the block after `held - 1` full ones is needed when as many tokens and one more are there
        step = max(_steps_for(replica, r, (held - 1) * block + 1 - spare), done)
        replica.needs[(replica.state.clock + step - done) & last] += sign


def append(replica: Replica, at: int, r: int) -> None:
    """r becomes the last of list `at`."""
    row, last = replica.rows[r], replica.tails[at]
    row.preceding, row.following = last, NOBODY
    if last == NOBODY:
        replica.heads[at] = r
    else:
        replica.rows[last].following = r
    replica.tails[at] = r


def prepend(replica: Replica, at: int, r: int) -> None:
    """r becomes the first of list `at`."""
    row, first = replica.rows[r], replica.heads[at]
    row.preceding, row.following = NOBODY, first
    if first == NOBODY:
        replica.tails[at] = r
    else:
        replica.rows[first].preceding = r
    replica.heads[at] = r


def leave(replica: Replica, at: int, r: int) -> None:
    """r leaves list `at`."""
    row = replica.rows[r]
    if row.preceding == NOBODY:
        replica.heads[at] = row.following
    else:
        replica.rows[row.preceding].following = row.following
    if row.following == NOBODY:
        replica.tails[at] = row.preceding
    else:
        replica.rows[row.following].preceding = row.preceding
