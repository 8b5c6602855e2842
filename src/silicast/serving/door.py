"""The door of a cluster: a request that comes is routed, waits at the router, or is turned away.

A replica takes a request when it is up and its queue is not full. Requests that wait at the router go in the order in
which they came, before anybody who comes later.
"""

import heapq

import numpy as np

from silicast.serving.blocks import blocks_of, to_the_end
from silicast.serving.lockstep import begin_all, cut_all, passed
from silicast.serving.replica import begin, cut, enter, send, spare_blocks
from silicast.serving.routers import queued, route
from silicast.serving.state import COMING, NOBODY, SHED, UP, Cluster

#: what may happen next, in the order in which it does at one time
COMES, LANDING, STEP, NOTHING = range(4)


def push(heap: list[tuple[float, int, int]], time: float, kind: int, who: int) -> None:
    """`kind` happens to `who` at `time`, unless that is never."""
    if time == np.inf:
        return
    # rows hold 32 bits, the heap 64
    heapq.heappush(heap, (time, kind, int(np.int64(who))))


def choose(cluster: Cluster, p: int, r: int, time: float) -> int:
    """The replica of pool p that takes r; nobody when none does."""
    pool = cluster.pools[p]
    count = (pool.last - pool.first) // pool.ranks
    if cluster.state.selective:
        count = 0
        for first in range(pool.first, pool.last, pool.ranks):
            if _takes(cluster, p, first, r, time):
                cluster.taking[pool.first + count] = first
                count += 1
    return route(cluster, p, r, pool.first, pool.first + count) if count > 0 else NOBODY


def _takes(cluster: Cluster, p: int, first: int, r: int, time: float) -> bool:
    """Whether the replica that begins with rank `first` takes r; it is noted which of its ranks do."""
    state = cluster.state
    is_open = cluster.instances[first].phase == UP
    if is_open and p == 0 and state.per_replica > 0:
        is_open = queued(cluster, first) < state.per_replica
    some = False
    for i in range(first, first + cluster.pools[p].ranks):
        takes = is_open
        if is_open and p > 0 and state.pressed:
            takes = wanted_blocks(cluster, i, r) <= _room(cluster, i, time)
        cluster.instances[i].takes = 1 if takes else 0
        some = some or takes
    return some


def wanted_blocks(cluster: Cluster, i: int, r: int) -> int:
    """Blocks that replica i needs for the cache of r; none if it could never serve r, which it will then reject."""
    row, replica = cluster.rows[r], cluster.replicas[i]
    if row.prompt + row.output - 1 > replica.state.largest:
        return 0
    return to_the_end(replica, r) if replica.state.guarantees else blocks_of(replica, row.prompt)


def _room(cluster: Cluster, i: int, time: float) -> int:
    """Blocks of replica i that are neither in use nor meant for a cache that has arrived and not been admitted yet."""
    replica = cluster.replicas[i]
    room = spare_blocks(replica, passed(cluster, i, time))
    if replica.state.guarantees:
        room = min(room, replica.state.blocks - replica.state.promised)
    for queue in range(replica.state.classes):
        r = replica.heads[queue]
        while r != NOBODY:
            if cluster.rows[r].loaded > 0:
                room -= wanted_blocks(cluster, i, r)
            r = cluster.rows[r].following
    return room


def come(cluster: Cluster, heap: list[tuple[float, int, int]], r: int, time: float) -> None:
    """r comes to the door, for the first time or again; the caller wakes the replicas."""
    state = cluster.state
    i = NOBODY
    if state.held == 0 and not _is_full(cluster):
        i = choose(cluster, 0, r, time)
    if i != NOBODY:
        queue(cluster, heap, r, i, time)
    elif state.holds:
        _hold(cluster, r)
    else:
        leave_unserved(cluster, heap, r, SHED, time)


def _is_full(cluster: Cluster) -> bool:
    """As many requests queue at the replicas of the first pool as may."""
    if cluster.state.in_all == 0:
        return False
    waiting = 0
    pool = cluster.pools[0]
    for first in range(pool.first, pool.last, pool.ranks):
        waiting += queued(cluster, first)
    return waiting >= cluster.state.in_all


def _hold(cluster: Cluster, r: int) -> None:
    """r waits at the router, behind those who do so already."""
    state = cluster.state
    cluster.rows[r].following, cluster.rows[r].replica = NOBODY, NOBODY
    if state.held == 0:
        state.first_held = r
    else:
        cluster.rows[state.last_held].following = r
    state.last_held = r
    state.held += 1


def let_in(cluster: Cluster, heap: list[tuple[float, int, int]], time: float) -> None:
    """Those who wait at the router go to replicas that take them now."""
    state = cluster.state
    while state.held > 0:
        before = state.held
        while state.held > 0 and not _is_full(cluster):
            r = state.first_held
            i = choose(cluster, 0, r, time)
            if i == NOBODY:
                break
            state.first_held = cluster.rows[r].following
            state.held -= 1
            queue(cluster, heap, r, i, time)
        wake_called(cluster, heap, time)
        if state.held == before:
            return


def leave_unserved(cluster: Cluster, heap: list[tuple[float, int, int]], r: int, state: int, time: float) -> None:
    """r is turned away, or lost with its replica: the client knows at once."""
    cluster.rows[r].state = state
    cluster.rows[r].finished = time
    _close(cluster, heap, r, time)


def queue(cluster: Cluster, heap: list[tuple[float, int, int]], r: int, i: int, time: float) -> None:
    """r joins the queue of replica i."""
    replica = cluster.replicas[i]
    cluster.rows[r].replica = i
    # a leap goes on behind somebody who waits already, except for who may go first
    if replica.state.waiting == 0 or replica.state.classes > 1:
        replica.state.called = 1
    enter(replica, r, time)
    settle(cluster, heap, i, time)


def wake_called(cluster: Cluster, heap: list[tuple[float, int, int]], time: float) -> None:
    """Replicas of the first pool to which somebody has come look at their queues."""
    for i in range(cluster.pools[0].last):
        if cluster.replicas[i].state.called:
            wake(cluster, heap, i, time)


def wake(cluster: Cluster, heap: list[tuple[float, int, int]], i: int, time: float) -> None:
    """Replica i looks at its queue: at once if it is idle, else when the running step ends."""
    state = cluster.replicas[i].state
    state.called = 0
    if state.until == np.inf:
        begin_next(cluster, state.leader, time)
    elif state.steps <= 1:
        return
    elif state.ranks > 1:
        cut_all(cluster, state.leader, time)
    else:
        cut(cluster.replicas[i], time)
    push(heap, state.until, STEP, state.leader)


def begin_next(cluster: Cluster, first: int, time: float) -> None:
    """The replica that begins with rank `first` decides its next step."""
    state = cluster.replicas[first].state
    if state.ranks > 1:
        begin_all(cluster, first, time)
    else:
        state.now = time
        begin(cluster.replicas[first])


def settle(cluster: Cluster, heap: list[tuple[float, int, int]], i: int, time: float) -> None:
    """Clients whose requests have ended at replica i know it."""
    replica = cluster.replicas[i]
    while replica.state.ended != NOBODY:
        r = replica.state.ended
        replica.state.ended = cluster.rows[r].following
        _close(cluster, heap, r, time)


def _close(cluster: Cluster, heap: list[tuple[float, int, int]], r: int, time: float) -> None:
    """r has ended, in whatever way. In a closed loop its client sends another one; in a conversation the next turn."""
    state = cluster.state
    coming = state.clients + state.departed
    state.departed += 1
    if state.clients > 0 and coming < len(cluster.rows):
        send(cluster.replicas[0], coming, time + state.think)
    if state.turns and cluster.turns[r] != NOBODY:
        later, replica = cluster.turns[r], cluster.replicas[0]
        row = cluster.rows[later]
        row.sent = max(row.sent, cluster.rows[r].finished + cluster.thinks[later])
        row.entered = row.sent + replica.state.front + replica.state.front_per_token * row.prompt
        row.state = COMING
        state.moving += 1
        push(heap, row.entered, COMES, later)
