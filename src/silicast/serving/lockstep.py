"""Attention ranks of one replica in lock-step: each has its queue and its cache, all share the experts.

No layer of a step ends before the tokens of every rank have been to the experts and back. So the ranks decide at the
same moment, a step lasts as long as on its slowest rank, and one that has nothing to do runs along with the others.
Attention and dense layers are the rank's own; experts and exchange see the mean tokens of all ranks.
"""

import numpy as np

from silicast.serving.leap import horizon, least_steps, steps_passed
from silicast.serving.replica import end_after, end_step, interrupt, plan_step, planned_prompts
from silicast.serving.state import WHEEL, Cluster, Replica
from silicast.serving.surface import decode_seconds, knot, uneven_decode_seconds, uneven_step_seconds


def begin_all(cluster: Cluster, first: int, time: float) -> None:
    """The ranks from `first` on decide their next step, and how often it can be repeated."""
    ranks = cluster.replicas[first].state.ranks
    prompts = decodes = moved = loaded = 0
    for i in range(first, first + ranks):
        state = cluster.replicas[i].state
        state.now = time
        plan_step(cluster.replicas[i])
        prompts += state.step_tokens
        decodes += state.step_decodes
        moved += state.moved
        loaded += state.step_loaded
    if prompts == 0 and decodes == 0:
        if loaded > 0:
            _last_until(cluster, first, 1, time)
        return
    query = cluster.replicas[first].surface.query
    if prompts > 0:
        _last_until(cluster, first, 1, time + _slowest(cluster, first, (prompts + decodes * query) / ranks))
        return
    _share_experts(cluster, first, decodes / ranks)
    steps = 1
    if moved == 0 and cluster.replicas[first].state.leaps:
        steps = WHEEL
        for i in range(first, first + ranks):
            if cluster.replicas[i].state.step_decodes > 0:
                steps = min(steps, horizon(cluster.replicas[i]))
    _last_until(cluster, first, steps, time + _leap_seconds(cluster, first, steps))


def cut_all(cluster: Cluster, first: int, time: float) -> None:
    """The leap ends with the first of its steps that ends at `time` or later."""
    state = cluster.replicas[first].state
    if state.until <= time:
        return
    done = _steps_until(cluster, first, time)
    if done < state.steps:
        end_leap(cluster, first, done)


def passed(cluster: Cluster, i: int, time: float) -> int:
    """Steps of the running leap of rank i that ended before `time`."""
    state = cluster.replicas[i].state
    if state.ranks == 1:
        return steps_passed(cluster.replicas[i], time)
    if state.until == np.inf or state.steps <= 1:
        return 0
    return _steps_until(cluster, state.leader, time) - 1


def end_leap(cluster: Cluster, i: int, steps: int) -> None:
    """The running leap of rank i, and of those that step with it, has so many steps."""
    state = cluster.replicas[i].state
    if state.ranks == 1:
        end_after(cluster.replicas[i], steps)
        return
    _last_until(cluster, state.leader, steps, state.start + _leap_seconds(cluster, state.leader, steps))


def interrupt_all(cluster: Cluster, first: int, time: float) -> None:
    """The running step is broken off at `time` on all ranks; steps of a leap that ended before made their tokens."""
    state = cluster.replicas[first].state
    if state.ranks == 1:
        interrupt(cluster.replicas[first], time)
        return
    if state.until == np.inf:
        return
    done = passed(cluster, first, time)
    if done > 0:
        end_leap(cluster, first, done)
        gaps = leap_gaps(cluster, first)
        for i in range(first, first + state.ranks):
            end_rank(cluster, i, gaps)
    for i in range(first, first + state.ranks):
        rank = cluster.replicas[i].state
        rank.busy += time - rank.now
        rank.until = np.inf


def _steps_until(cluster: Cluster, first: int, time: float) -> int:
    """Steps of the leap up to the first that ends at `time` or later, or all of them."""
    state = cluster.replicas[first].state
    done, spent = 0, 0.0
    while done < state.steps:
        n, one, last = _stretch(cluster, first, done, state.steps - done)
        part = n * (one + last) / 2
        if spent + part >= time - state.start:
            return done + least_steps(one, (last - one) / max(n - 1, 1), time - state.start - spent, n)
        done += n
        spent += part
    return done


def leap_gaps(cluster: Cluster, first: int) -> tuple[float, float, float]:
    """Seconds of the first, the second and the last step of the leap, or step, that ends."""
    state = cluster.replicas[first].state
    whole = state.until - state.start
    if state.steps == 1:
        return whole, whole, whole
    last = _stretch(cluster, first, state.steps - 1, 1)[1]
    return _stretch(cluster, first, 0, 1)[1], _stretch(cluster, first, 1, 1)[1], last


def end_rank(cluster: Cluster, i: int, gaps: tuple[float, float, float]) -> None:
    """The running step, or leap, ends on rank i; all ranks end it before any decides again."""
    state = cluster.replicas[i].state
    if state.step_decodes > 0 or state.step_prompts > 0:
        end_step(cluster.replicas[i], gaps[0], gaps[1], gaps[2])
        return
    # it ran along with nothing to do
    state.busy += state.until - state.start
    state.now = state.until


def _last_until(cluster: Cluster, first: int, steps: int, time: float) -> None:
    for i in range(first, first + cluster.replicas[first].state.ranks):
        cluster.replicas[i].state.steps = steps
        cluster.replicas[i].state.until = time


def _share_experts(cluster: Cluster, first: int, mean: float) -> None:
    """With `mean` decoding sequences on a rank on average: what that costs each one beyond as many as its own."""
    for i in range(first, first + cluster.replicas[first].state.ranks):
        state = cluster.replicas[i].state
        if state.step_decodes > 0:
            state.experts = uneven_decode_seconds(cluster.replicas[i].surface, state.step_decodes, mean)


def _slowest(cluster: Cluster, first: int, mean: float) -> float:
    """Seconds of the planned step, some of it prompts, on the rank that takes longest; ranks have `mean` tokens.

    A rank that only decodes is not held up by the experts longer than those that prefill.
    """
    longest = 0.0
    for i in range(first, first + cluster.replicas[first].state.ranks):
        replica = cluster.replicas[i]
        state = replica.state
        if state.step_tokens == 0 and state.step_decodes == 0:
            continue
        context = state.context / state.step_decodes if state.step_decodes else 0.0
        if state.step_tokens > 0:
            prompts = planned_prompts(replica)
            step = uneven_step_seconds(replica.surface, state.step_decodes, context, prompts, mean)
            seconds = state.step_load + step
        else:
            seconds = decode_seconds(replica.surface, state.step_decodes, context)
        longest = max(longest, seconds)
    return longest


def _leap_seconds(cluster: Cluster, first: int, steps: int) -> float:
    """Seconds of `steps` decode steps, each as long as on its slowest rank."""
    done, total = 0, 0.0
    while done < steps:
        n, one, last = _stretch(cluster, first, done, steps - done)
        total += n * (one + last) / 2
        done += n
    return total


def _stretch(cluster: Cluster, first: int, done: int, most: int) -> tuple[int, float, float]:
    """After `done` steps of the leap: (steps, at most `most`, that form an arithmetic series, its first, its last).

    The slowest rank stays the slowest until another one, whose context grows faster, has caught up; and no context
    passes a knot of the table before the last of these steps.
    """
    ranks = cluster.replicas[first].state.ranks
    n, slowest, longest, growth = most, first, -1.0, 0.0
    for i in range(first, first + ranks):
        if cluster.replicas[i].state.step_decodes > 0:
            seconds, slope, steps = _pace(cluster.replicas[i], done, most)
            n = min(n, steps)
            if seconds > longest or (seconds == longest and slope > growth):
                slowest, longest, growth = i, seconds, slope
    for i in range(first, first + ranks):
        if i != slowest and cluster.replicas[i].state.step_decodes > 0:
            seconds, slope, _ = _pace(cluster.replicas[i], done, most)
            if slope > growth and longest + (n - 1) * growth < seconds + (n - 1) * slope:
                n = int((longest - seconds) / (slope - growth)) + 1
    return n, longest, longest + (n - 1) * growth


def _pace(replica: Replica, done: int, most: int) -> tuple[float, float, int]:
    """(seconds of the decode step after `done` others, how much longer the next is, steps before the next knot)."""
    state, surface = replica.state, replica.surface
    context = (state.context + done * state.growth) / state.decoding
    pace = state.growth / state.decoding
    k = knot(surface.contexts, context)
    low, high = surface.decode[state.decoding, k], surface.decode[state.decoding, k + 1]
    slope = (high - low) / (surface.contexts[k + 1] - surface.contexts[k])
    steps = most
    if k + 2 < len(surface.contexts) and context + (most - 1) * pace > surface.contexts[k + 1]:
        steps = min(int((surface.contexts[k + 1] - context) / pace) + 1, most)
    seconds: float = low + slope * (context - surface.contexts[k]) + state.experts
    return seconds, slope * pace, steps
