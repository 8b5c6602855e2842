"""One replica: a loop of events that leaps over equal steps.

A step is decided, takes its time, and ends. When a step only decodes and the decision moved nobody, the next one would
be the same: the loop takes all steps until a request ends, blocks run short or somebody arrives as one event. A leap
ends at the boundary of the first step that ends after an arrival, as an engine would notice it.
"""

import numpy as np

from silicast.serving.blocks import lose_all, release, take, to_the_end, used
from silicast.serving.leap import (
    count_gaps,
    horizon,
    leap_seconds,
    pass_steps,
    steps_passed,
    steps_until,
    steps_with_blocks,
)
from silicast.serving.policies import decide
from silicast.serving.state import FINISHED, MOVING, NOBODY, REJECTED, WHEEL, Replica
from silicast.serving.surface import Prompts, decode_seconds, step_seconds
from silicast.serving.verbs import append, join_decoding, leave, leave_decoding, running_list

#: kinds of steps in the log
IDLE, PREFILL, DECODE, MIXED = range(4)


def run(replica: Replica, most_events: int) -> bool:
    """Take up to `most_events` events; False when nothing is left to do."""
    state = replica.state
    for _ in range(most_events):
        coming = next_arrival(replica)
        if coming <= state.until and coming < np.inf:
            arrive(replica, coming)
        elif state.until < np.inf:
            complete(replica)
            begin(replica)
        else:
            return False
        if state.log and state.logged + 1 >= len(replica.log):
            return True
    return True


def next_arrival(replica: Replica) -> float:
    """When the next request comes; infinite when none does, or not before another one ends."""
    arrived = replica.state.arrived
    return replica.rows[arrived].entered if arrived < len(replica.rows) else np.inf


def arrive(replica: Replica, time: float) -> None:
    """Everybody who comes at `time` joins the queue; an idle replica begins, a leap ends at its next boundary."""
    state = replica.state
    waited = state.waiting
    while next_arrival(replica) == time:
        r = state.arrived
        state.arrived += 1
        enter(replica, r, time)
    if state.until == np.inf:
        state.now = time
        begin(replica)
    elif state.steps > 1 and (waited == 0 or state.classes > 1):
        cut(replica, time)


def enter(replica: Replica, r: int, time: float) -> None:
    """r joins the queue at `time`, or is rejected because the whole cache could not hold it."""
    row = replica.rows[r]
    if row.loaded == 0:
        row.dispatched = row.first = row.finished = row.token = np.nan
    if row.prompt + (0 if replica.state.hands_over else row.output - 1) > replica.state.largest:
        row.state = REJECTED
        row.finished = time
        _depart(replica, r, time)
        return
    append(replica, row.priority, r)
    replica.state.waiting += 1


def cut(replica: Replica, time: float) -> None:
    """The leap ends with the first of its steps that ends at `time` or later."""
    state = replica.state
    if state.until <= time:
        return
    mean = state.context / state.decoding
    pace = state.growth / state.decoding
    steps = steps_until(replica.surface, state.decoding, mean, pace, time - state.start, state.steps)
    if steps < state.steps:
        state.steps = steps
        state.until = state.start + leap_seconds(replica.surface, state.decoding, mean, pace, steps)


def begin(replica: Replica) -> None:
    """Decide the next step, and how often it can be repeated; without work the replica is idle."""
    state = replica.state
    plan_step(replica)
    if state.step_tokens == 0 and state.step_decodes == 0:
        # who comes with his cache begins to decode without a step
        if state.step_loaded > 0:
            state.until = state.now
        return
    if state.step_tokens == 0 and state.moved == 0 and state.leaps:
        state.steps = horizon(replica)
        mean, pace = state.context / state.decoding, state.growth / state.decoding
        state.until = state.now + leap_seconds(replica.surface, state.decoding, mean, pace, state.steps)
        return
    state.until = state.now + planned_seconds(replica)


def plan_step(replica: Replica) -> None:
    """The policy decides what the next step carries; how long it takes is not said yet."""
    state = replica.state
    state.moved = state.step_decodes = state.step_tokens = state.step_prompts = 0
    state.step_cached = state.step_loaded = 0
    state.step_pairs = state.step_load = 0.0
    decide(replica)
    state.start, state.steps, state.until = state.now, 1, np.inf


def planned_seconds(replica: Replica) -> float:
    """Seconds of the step that is planned, and before it of the prefixes that it loads."""
    state = replica.state
    mean = state.context / state.step_decodes if state.step_decodes else 0.0
    return state.step_load + step_seconds(replica.surface, state.step_decodes, mean, planned_prompts(replica))


def planned_prompts(replica: Replica) -> Prompts:
    """The prompts of that step."""
    state = replica.state
    return Prompts(state.step_tokens, state.step_prompts - state.step_loaded, state.step_pairs, state.step_cached)


def complete(replica: Replica) -> None:
    """The running step, or leap, ends."""
    state = replica.state
    first = second = last = state.until - state.start
    if state.steps > 1:
        mean, pace = state.context / state.decoding, state.growth / state.decoding
        first = decode_seconds(replica.surface, state.decoding, mean)
        second = decode_seconds(replica.surface, state.decoding, mean + pace)
        last = decode_seconds(replica.surface, state.decoding, mean + (state.steps - 1) * pace)
    end_step(replica, first, second, last)


def end_step(replica: Replica, first: float, second: float, last: float) -> None:
    """Tokens come out, requests end or begin to decode; the first, second and last step of a leap took so long."""
    state = replica.state
    state.now = state.until
    state.events += 1
    state.busy += state.until - state.start
    if state.log:
        _log(replica)
    if state.step_decodes:
        _count(replica, first, second, last)
        take(replica, pass_steps(replica, state.steps))
        state.aged += state.steps
        state.context += state.steps * state.growth
        _end_decoding(replica)
    for i in range(state.step_prompts):
        _advance(replica, replica.chosen[i], replica.chunks[i])
    _prune(replica)


def interrupt(replica: Replica, time: float) -> None:
    """The running step is broken off at `time`; steps of a leap that ended before have made their tokens."""
    state = replica.state
    if state.until == np.inf:
        return
    done = steps_passed(replica, time)
    if done > 0:
        end_after(replica, done)
        complete(replica)
    state.busy += time - state.now
    state.until = np.inf


def spare_blocks(replica: Replica, passed: int) -> int:
    """Blocks that somebody else could take when so many steps of the running leap have ended."""
    state, last = replica.state, len(replica.needs) - 1
    room = state.free + state.idle - state.margin
    for step in range(passed):
        room -= replica.needs[(state.clock + step + 1) & last]
    return room


def keep_room(replica: Replica, blocks: int) -> int:
    """Take `blocks`, which are spare, for somebody who comes; returns for how many steps of the leap there are more."""
    state = replica.state
    take(replica, blocks)
    state.promised += blocks
    if state.until == np.inf or state.steps <= 1:
        return state.steps
    return steps_with_blocks(replica, state.free + state.idle - state.margin, state.steps)


def give_room(replica: Replica, blocks: int) -> None:
    """What was kept is free again."""
    state = replica.state
    state.free += blocks
    state.promised -= blocks
    state.full = 0


def end_after(replica: Replica, steps: int) -> None:
    """The running leap has so many steps."""
    state = replica.state
    mean, pace = state.context / state.decoding, state.growth / state.decoding
    state.steps = steps
    state.until = state.start + leap_seconds(replica.surface, state.decoding, mean, pace, steps)


def renew(replica: Replica, time: float) -> None:
    """As new at `time`: nobody is here and the cache is empty. The caller has sent everybody away."""
    state = replica.state
    lose_all(replica)
    for queue in range(len(replica.heads)):
        replica.heads[queue] = replica.tails[queue] = NOBODY
    for slot in range(WHEEL):
        replica.wheel[slot] = NOBODY
    for step in range(len(replica.needs)):
        replica.needs[step] = 0
    state.now, state.until, state.steps = time, np.inf, 0
    state.decoding = state.running = state.waiting = state.prompts = 0
    state.promised = state.full = state.ghosts = state.aged = state.called = 0
    state.groups = state.fresh = 0
    state.step_decodes = state.step_tokens = state.step_prompts = state.step_cached = state.step_loaded = 0
    state.step_pairs = state.step_load = state.context = state.growth = state.ratio = state.experts = 0.0
    if state.log:
        # nothing is held from here on
        state.start, state.until = time, time
        _log(replica)
        state.until = np.inf


def _count(replica: Replica, first: float, second: float, last: float) -> None:
    """Gaps between the tokens that this step or leap makes."""
    state = replica.state
    for i in range(state.groups):
        if replica.sizes[i] > 0:
            gap = state.start + first - replica.since[i]
            count_gaps(replica, gap, gap, 1, replica.sizes[i])
    if state.decoding > state.fresh:
        gap = state.start + first - state.token
        count_gaps(replica, gap, gap, 1, state.decoding - state.fresh)
    if state.steps > 1:
        count_gaps(replica, second, last, state.steps - 1, state.decoding)
    state.groups = state.fresh = 0
    state.token = state.until


def _end_decoding(replica: Replica) -> None:
    """Requests whose last token this was leave."""
    state = replica.state
    r = replica.wheel[state.clock % WHEEL]
    while r != NOBODY:
        other = replica.rows[r].alongside
        if replica.rows[r].end == state.clock:
            leave_decoding(replica, r)
            finish(replica, r)
            state.ghosts += 1
        r = other


def _advance(replica: Replica, r: int, tokens: int) -> None:
    """A prompt is `tokens` tokens further; with the last of them comes an output token."""
    state, row = replica.state, replica.rows[r]
    row.computed += tokens
    if row.computed < row.target:
        return
    if row.loaded > 0:
        row.loaded = 0
        if state.tells_first:
            row.first = told(replica, state.start)
            join_decoding(replica, r, state.start)
        else:
            join_decoding(replica, r, row.first)
        return
    if row.target == row.prompt:
        row.first = told(replica, state.now)
    else:
        count_gaps(replica, state.now - row.token, state.now - row.token, 1, 1)
    if row.target - row.prompt + 1 == row.output:
        finish(replica, r)
        state.full = 0
    elif state.hands_over:
        hand_over(replica, r)
    else:
        join_decoding(replica, r, state.now)


def _prune(replica: Replica) -> None:
    """Prompts that are computed are no longer prompts."""
    state = replica.state
    kept = 0
    for i in range(state.prompts):
        r = replica.prompts[i]
        if replica.rows[r].computed < replica.rows[r].target:
            replica.prompts[kept] = r
            kept += 1
    state.prompts = kept


def finish(replica: Replica, r: int) -> None:
    """r has all its tokens and leaves."""
    state, row = replica.state, replica.rows[r]
    release(replica, r)
    leave(replica, running_list(replica), r)
    state.promised -= to_the_end(replica, r)
    state.running -= 1
    row.state = FINISHED
    row.finished = told(replica, state.now)
    _depart(replica, r, row.finished)


def hand_over(replica: Replica, r: int) -> None:
    """r will decode elsewhere; it keeps its blocks until its cache has arrived there."""
    state, row = replica.state, replica.rows[r]
    leave(replica, running_list(replica), r)
    state.running -= 1
    row.state = MOVING


def _depart(replica: Replica, r: int, time: float) -> None:
    """r has left; in a closed loop the client sends its next request."""
    state = replica.state
    state.finished += 1
    replica.rows[r].following = state.ended
    state.ended = r
    if state.clients > 0:
        coming = state.clients + state.finished - 1
        if coming < len(replica.rows):
            send(replica, coming, time + state.think)


def send(replica: Replica, r: int, time: float) -> None:
    """A client sends r at `time`; it queues when the front end has seen all of it, behind whoever was sent before."""
    state, row = replica.state, replica.rows[r]
    row.sent = time
    row.entered = max(time + state.front + state.front_per_token * row.prompt, replica.rows[r - 1].entered)


def told(replica: Replica, time: float) -> float:
    """When the client has a token that the device has at `time`: some decode steps later where results come late."""
    state = replica.state
    if state.lag == 0:
        return time
    batch = max(state.decoding, 1)
    return time + state.lag * decode_seconds(replica.surface, batch, state.context / batch)


def _log(replica: Replica) -> None:
    """The step that ends, as it ran."""
    state = replica.state
    kind = (
        IDLE if state.steps == 0 else DECODE if state.step_tokens == 0 else (MIXED if state.step_decodes else PREFILL)
    )
    entry = replica.log[state.logged]
    entry.start, entry.end = state.start, state.until
    entry.running, entry.waiting = state.running, state.waiting
    entry.kv_blocks, entry.kind, entry.steps = used(replica), kind, state.steps
    entry.decodes, entry.tokens = state.step_decodes, state.step_tokens
    state.logged += 1
