"""Caches on their way from the pool that computes prompts to the pool that decodes.

A request keeps its blocks in the first pool until its cache has arrived in the second. Under back pressure the cache
travels only when a decoding replica has room and keeps it for it; until then it waits in the first pool, first come,
first served, and so do the prompts that find no blocks there.
"""

import numpy as np

from silicast.serving.blocks import release, to_the_end
from silicast.serving.door import LANDING, STEP, choose, push, queue, wake, wanted_blocks
from silicast.serving.lockstep import end_leap
from silicast.serving.replica import give_room, keep_room
from silicast.serving.state import MOVING, NOBODY, OPEN, PARKED, Cluster


def hand_over(cluster: Cluster, heap: list[tuple[float, int, int]], r: int, now: float) -> None:
    """The first token of r is out; it will decode in the second pool."""
    cluster.rows[r].loaded = cluster.rows[r].prompt
    if cluster.state.pressed == 0:
        _travel(cluster, heap, r, NOBODY, now)
        return
    _park(cluster, r)
    unpark(cluster, heap, now)


def _travel(cluster: Cluster, heap: list[tuple[float, int, int]], r: int, i: int, now: float) -> None:
    row = cluster.rows[r]
    row.alongside, row.state = i, MOVING
    row.entered = now + cluster.state.latency + cluster.state.per_token * row.prompt
    cluster.state.moving += 1
    push(heap, row.entered, LANDING, r)


def _park(cluster: Cluster, r: int) -> None:
    """The cache of r stays where it is."""
    state, row = cluster.state, cluster.rows[r]
    row.following, row.state = NOBODY, PARKED
    if state.parked == 0:
        state.first_parked = r
    else:
        cluster.rows[state.last_parked].following = r
    state.last_parked = r
    state.parked += 1


def unpark(cluster: Cluster, heap: list[tuple[float, int, int]], now: float) -> None:
    """Caches that wait go to replicas that take them now."""
    state = cluster.state
    while state.parked > 0:
        r = state.first_parked
        i = choose(cluster, 1, r, now)
        if i == NOBODY:
            return
        state.first_parked = cluster.rows[r].following
        state.parked -= 1
        if state.pressed:
            _keep_room(cluster, heap, r, i)
        _travel(cluster, heap, r, i, now)


def _keep_room(cluster: Cluster, heap: list[tuple[float, int, int]], r: int, i: int) -> None:
    """Replica i keeps room for the cache of r; a leap that wanted those blocks is shorter."""
    running = cluster.replicas[i].state
    steps = keep_room(cluster.replicas[i], wanted_blocks(cluster, i, r))
    if running.until < np.inf and steps < running.steps:
        end_leap(cluster, i, steps)
        push(heap, running.until, STEP, running.leader)


def land(cluster: Cluster, heap: list[tuple[float, int, int]], r: int, time: float) -> None:
    """The cache of r has arrived: its blocks in the first pool are free, and it queues in the second.

    Where no replica is left to take it, it stays in the first pool.
    """
    row, source = cluster.rows[r], cluster.replicas[cluster.rows[r].replica]
    cluster.state.moving -= 1
    i = row.alongside if cluster.state.pressed else choose(cluster, 1, r, time)
    if i == NOBODY:
        _park(cluster, r)
        unpark(cluster, heap, time)
        return
    release(source, r)
    source.state.promised -= to_the_end(source, r)
    source.state.full = 0
    if source.state.waiting + source.state.running > 0 and source.state.until == np.inf:
        wake(cluster, heap, row.replica, time)
    if cluster.state.pressed:
        give_room(cluster.replicas[i], wanted_blocks(cluster, i, r))
        # somebody who waits there may need what was kept
        cluster.replicas[i].state.called = 1
    row.state = OPEN
    queue(cluster, heap, r, i, time)
    if cluster.replicas[i].state.called:
        wake(cluster, heap, i, time)


def take_parked(cluster: Cluster, i: int) -> list[int]:
    """Requests whose caches wait at replica i; they no longer do."""
    state = cluster.state
    taken = [NOBODY]
    r, count = state.first_parked, state.parked
    state.parked = 0
    for _ in range(count):
        following = cluster.rows[r].following
        if cluster.rows[r].replica == i:
            taken.append(int(np.int64(r)))
        else:
            _park(cluster, r)
        r = following
    return taken[1:]
