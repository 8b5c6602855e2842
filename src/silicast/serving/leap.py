"""Equal decode steps at once: how many there are, how long they take, and which of them ends after an arrival.

While the same B sequences decode, their mean context grows by the same amount every step: one token without guesses.
The table of decode steps is linear in the context between knots, so the steps between two knots form an arithmetic
series.
"""

import math

import numpy as np

from silicast.serving.state import BIN, BINS, NOBODY, SHORTEST_GAP, WHEEL, Replica
from silicast.serving.surface import Surface, decode_seconds, knot

#: one over the width of a bin of gaps
PER_BIN = float(1 / np.log1p(BIN))


def horizon(replica: Replica) -> int:
    """Decode steps until somebody ends or until blocks run short, whichever is first; at least one."""
    state = replica.state
    steps = 1
    while replica.wheel[(state.clock + steps) % WHEEL] == NOBODY and steps < WHEEL:
        steps += 1
    room = state.free + state.idle - state.margin
    if state.watched:
        # whoever looks at this cache from outside sees every prefix go at its step
        room = min(room, state.free)
    # within one round of the block a sequence needs one block, and one for its guesses
    if room < (steps * replica.surface.query // state.block + 2) * state.decoding:
        steps = steps_with_blocks(replica, room, steps)
    return steps


def steps_with_blocks(replica: Replica, room: int, most: int) -> int:
    """Steps, the one already decided among them, for which `room` blocks suffice."""
    last, clock = len(replica.needs) - 1, replica.state.clock
    steps = 1
    while steps < most and replica.needs[(clock + steps) & last] <= room:
        room -= replica.needs[(clock + steps) & last]
        steps += 1
    return steps


def pass_steps(replica: Replica, steps: int) -> int:
    """The clock goes on by `steps` decode steps; returns the blocks that all but the first of them took."""
    last, clock = len(replica.needs) - 1, replica.state.clock
    replica.needs[clock & last] = 0
    taken = 0
    for step in range(clock + 1, clock + steps):
        taken += replica.needs[step & last]
        replica.needs[step & last] = 0
    replica.state.clock += steps
    return taken


def leap_seconds(surface: Surface, batch: int, context: float, pace: float, steps: int) -> float:
    """Seconds of `steps` decode steps, the first behind `context` cached tokens on average, each `pace` more."""
    total = 0.0
    while True:
        n = _steps_in_segment(surface, context, pace, steps)
        first = decode_seconds(surface, batch, context)
        total += n * (first + decode_seconds(surface, batch, context + (n - 1) * pace)) / 2
        if n == steps:
            return total
        steps -= n
        context += n * pace


def steps_until(surface: Surface, batch: int, context: float, pace: float, seconds: float, most: int) -> int:
    """The first of `most` steps that ends `seconds` or later after the leap began."""
    done, spent = 0, 0.0
    while True:
        start = context + done * pace
        n = _steps_in_segment(surface, start, pace, most - done)
        part = leap_seconds(surface, batch, start, pace, n)
        if spent + part >= seconds or done + n == most:
            return done + _steps_of_series(surface, batch, start, pace, seconds - spent, n)
        done += n
        spent += part


def steps_passed(replica: Replica, time: float) -> int:
    """Steps of the running leap that ended before `time`."""
    state = replica.state
    if state.until == np.inf or state.steps <= 1:
        return 0
    mean, pace = state.context / state.decoding, state.growth / state.decoding
    return steps_until(replica.surface, state.decoding, mean, pace, time - state.start, state.steps) - 1


def _steps_in_segment(surface: Surface, context: float, pace: float, steps: int) -> int:
    """Steps, at most `steps`, that begin before the next knot."""
    k = knot(surface.contexts, context)
    if k + 2 == len(surface.contexts) or context + (steps - 1) * pace <= surface.contexts[k + 1]:
        return steps
    return min(int((surface.contexts[k + 1] - context) / pace) + 1, steps)


def _steps_of_series(surface: Surface, batch: int, context: float, pace: float, seconds: float, most: int) -> int:
    """`least_steps` within one segment, to the last bit of the sums that a leap makes."""
    if most == 1:
        return 1
    t = decode_seconds(surface, batch, context)
    m = (decode_seconds(surface, batch, context + (most - 1) * pace) - t) / (most - 1)
    n = least_steps(t, m, seconds, most)
    while n > 1 and leap_seconds(surface, batch, context, pace, n - 1) >= seconds:
        n -= 1
    while n < most and leap_seconds(surface, batch, context, pace, n) < seconds:
        n += 1
    return n


def least_steps(t: float, m: float, seconds: float, most: int) -> int:
    """The least n up to `most` with n t + m n (n - 1) / 2 >= seconds: t the first step and m the growth."""
    b = t - m / 2
    root = b * b + 2 * m * seconds
    n = int(2 * seconds / (b + math.sqrt(max(root, 0.0)))) if b > 0 else 1
    n = min(max(n, 1), most)
    while n > 1 and (n - 1) * (t + m * (n - 2) / 2) >= seconds:
        n -= 1
    while n < most and n * (t + m * (n - 1) / 2) < seconds:
        n += 1
    return n


def gap_bin(seconds: float) -> int:
    """Bin of the histogram of gaps; what is beyond its ends counts in the last ones."""
    if seconds <= SHORTEST_GAP:
        return 0
    return min(int(math.log(seconds / SHORTEST_GAP) * PER_BIN), BINS - 1)


def count_gaps(replica: Replica, first: float, last: float, steps: int, weight: int) -> None:
    """`steps` gaps, each of `weight` requests, that grow evenly from `first` to `last` seconds."""
    low, high = gap_bin(first), gap_bin(last)
    if low >= high:
        replica.gaps[low] += steps * weight
        return
    done = 0
    growth = (last - first) / max(steps - 1, 1)
    for b in range(low, high):
        border = SHORTEST_GAP * math.exp((b + 1) / PER_BIN)
        below = min(int((border - first) / growth) + 1, steps)
        replica.gaps[b] += max(below - done, 0) * weight
        done = max(below, done)
    replica.gaps[high] += (steps - done) * weight
