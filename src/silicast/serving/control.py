"""What is done to the replicas of a cluster: they fail and are repaired, start under load and stop without it.

A replica that fails loses its cache and all that it had begun: each request there is sent again, from its beginning,
or lost when it has been sent as often as it may. One that stops takes no more requests and finishes those it has.
"""

import math

import numpy as np

from silicast.serving.blocks import used
from silicast.serving.door import LANDING, come, leave_unserved, let_in, wake, wanted_blocks
from silicast.serving.handover import take_parked, unpark
from silicast.serving.lockstep import interrupt_all, passed
from silicast.serving.replica import give_room, renew, spare_blocks
from silicast.serving.routers import outstanding
from silicast.serving.state import DOWN, DRAINING, LOST, MOVING, NOBODY, OFF, OPEN, STARTING, UP, Cluster, PoolState


def act(cluster: Cluster, heap: list[tuple[float, int, int]], time: float) -> bool:
    """All that is due at `time`; False when more outages must be known first."""
    state = cluster.state
    if cluster.outages[state.outage].replica == NOBODY and cluster.outages[state.outage].start <= time:
        return False
    for i in range(len(cluster.instances)):
        if cluster.instances[i].ready <= time:
            cluster.instances[i].ready = np.inf
            _enter(cluster, i, UP, time)
    _fail_due(cluster, heap, time)
    for p in range(len(cluster.pools)):
        if cluster.pools[p].due <= time:
            cluster.pools[p].due = time + cluster.pools[p].every
            _scale(cluster, p, time)
    let_in(cluster, heap, time)
    unpark(cluster, heap, time)
    state.control = next_control(cluster)
    return True


def next_control(cluster: Cluster) -> float:
    """When something is due next."""
    time = cluster.outages[cluster.state.outage].start
    for i in range(len(cluster.instances)):
        time = min(time, cluster.instances[i].ready)
    for p in range(len(cluster.pools)):
        time = min(time, cluster.pools[p].due)
    return time


def _enter(cluster: Cluster, i: int, phase: int, time: float) -> None:
    change = cluster.changes[cluster.state.changed]
    change.time, change.replica, change.phase = time, i, phase
    cluster.state.changed += 1
    cluster.instances[i].phase = phase


def _pool_of(cluster: Cluster, i: int) -> int:
    return 0 if i < cluster.pools[0].last else 1


def _fail_due(cluster: Cluster, heap: list[tuple[float, int, int]], time: float) -> None:
    """Who fails at one time fails together: nobody is sent on to one of the others."""
    failed = [NOBODY]
    while cluster.outages[cluster.state.outage].start <= time:
        outage = cluster.outages[cluster.state.outage]
        if outage.replica == NOBODY:
            break
        cluster.state.outage += 1
        i = int(np.int64(outage.replica))
        phase = cluster.instances[i].phase
        if phase == DOWN:
            cluster.instances[i].ready = max(cluster.instances[i].ready, outage.end)
        elif phase != OFF:
            # who was to stop does so now
            _enter(cluster, i, OFF if phase == DRAINING else DOWN, time)
            cluster.instances[i].ready = np.inf if phase == DRAINING else outage.end
            failed.append(i)
    for i in failed[1:]:
        if cluster.replicas[i].state.leader == i:
            interrupt_all(cluster, i, time)
    sent = [NOBODY]
    for i in failed[1:]:
        for r in _evict(cluster, heap, i, time):
            sent.append(r)
    for r in sent[1:]:
        _send_again(cluster, heap, r, time)
    for i in range(len(cluster.replicas)):
        if cluster.replicas[i].state.called:
            wake(cluster, heap, i, time)


def _evict(cluster: Cluster, heap: list[tuple[float, int, int]], i: int, time: float) -> list[int]:
    """Everybody who is at rank i, which stands still, or whose cache is: first who runs, then who waits."""
    replica = cluster.replicas[i]
    there = [NOBODY]
    for place in range(len(replica.heads)):
        r = replica.heads[len(replica.heads) - 1 - place]
        while r != NOBODY:
            there.append(int(np.int64(r)))
            r = cluster.rows[r].following
    moving = [NOBODY]
    for event in heap:
        r = event[2]
        if event[1] == LANDING and cluster.rows[r].state == MOVING and cluster.rows[r].entered == event[0]:
            row = cluster.rows[r]
            if row.replica == i:
                moving.append(r)
                cluster.state.moving -= 1
                if cluster.state.pressed and row.alongside != NOBODY:
                    give_room(cluster.replicas[row.alongside], wanted_blocks(cluster, row.alongside, r))
                    cluster.replicas[row.alongside].state.called = 1
                # the event stays in the heap and means nobody any more
                row.state = OPEN
            elif row.alongside == i:
                row.alongside = NOBODY
    # in an order that does not depend on how the heap came to be
    moving.sort()
    there += moving[1:]
    there += take_parked(cluster, i)
    renew(replica, time)
    return there[1:]


def _send_again(cluster: Cluster, heap: list[tuple[float, int, int]], r: int, time: float) -> None:
    """The replica of r has failed; the client or the router sends it again as long as it may."""
    row = cluster.rows[r]
    if cluster.retries[r] >= cluster.pools[_pool_of(cluster, row.replica)].retries:
        leave_unserved(cluster, heap, r, LOST, time)
        return
    cluster.retries[r] += 1
    row.state, row.target = OPEN, row.prompt
    row.computed = row.loaded = row.blocks = row.units = 0
    row.cached = row.from_host = row.from_store = 0
    row.dispatched = row.first = row.token = np.nan
    come(cluster, heap, r, time)


def rest(cluster: Cluster, i: int, time: float) -> None:
    """A replica that was to stop and has nothing left to do is off; its ranks are so together."""
    if cluster.instances[i].phase != DRAINING:
        return
    first, ranks = cluster.replicas[i].state.leader, cluster.replicas[i].state.ranks
    for j in range(first, first + ranks):
        replica = cluster.replicas[j]
        if outstanding(cluster, j) > 0 or used(replica) > 0 or replica.state.until < np.inf:
            return
    for j in range(first, first + ranks):
        if cluster.instances[j].phase == DRAINING:
            renew(cluster.replicas[j], time)
            _enter(cluster, j, OFF, time)


def _scale(cluster: Cluster, p: int, time: float) -> None:
    """As many replicas as the load asks for: those that are off start, the last ones that are not stop."""
    pool = cluster.pools[p]
    have = _in_phase(cluster, pool, UP) + _in_phase(cluster, pool, STARTING)
    wanted = min(max(_wanted(cluster, p, time), pool.least), pool.most)
    for first in range(pool.first, pool.last, pool.ranks):
        if have < wanted and cluster.instances[first].phase == OFF:
            have += 1
            for i in range(first, first + pool.ranks):
                _enter(cluster, i, STARTING, time)
                cluster.instances[i].ready = time + pool.startup
    for phase in (STARTING, UP):
        for place in range((pool.last - pool.first) // pool.ranks):
            first = pool.last - (place + 1) * pool.ranks
            if have > wanted and cluster.instances[first].phase == phase:
                have -= 1
                _stop(cluster, first, pool.ranks, time)


def _stop(cluster: Cluster, first: int, ranks: int, time: float) -> None:
    for i in range(first, first + ranks):
        _enter(cluster, i, OFF if cluster.instances[i].phase == STARTING else DRAINING, time)
        cluster.instances[i].ready = np.inf
    rest(cluster, first, time)


def _in_phase(cluster: Cluster, pool: PoolState, phase: int) -> int:
    count = 0
    for first in range(pool.first, pool.last, pool.ranks):
        if cluster.instances[first].phase == phase:
            count += 1
    return count


def _wanted(cluster: Cluster, p: int, time: float) -> int:
    """Replicas with which the load would be what is aimed at."""
    pool = cluster.pools[p]
    if pool.requests > 0:
        load = cluster.state.held if p == 0 else cluster.state.parked
        for i in range(pool.first, pool.last):
            if cluster.instances[i].phase == UP:
                load += outstanding(cluster, i)
        return math.ceil(load / pool.requests)
    held, room = 0, 0
    for i in range(pool.first, pool.last):
        if cluster.instances[i].phase == UP:
            state = cluster.replicas[i].state
            held += state.blocks - state.margin - spare_blocks(cluster.replicas[i], passed(cluster, i, time))
            room += state.blocks
    up = _in_phase(cluster, pool, UP)
    if room == 0:
        return up + _in_phase(cluster, pool, STARTING)
    return math.ceil(up * held / room / pool.kv_share)
