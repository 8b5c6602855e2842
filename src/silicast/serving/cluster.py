"""Many replicas: a heap of (time, kind, who) of what happens next, a router, and caches on their way between pools.

With prefill and decode apart, the first replicas compute prompts and the others decode: a request whose first token is
out keeps its blocks until its cache has travelled, and then queues at a decoding replica. Events at one time go in this
order: requests come, caches arrive, steps end; then replicas fail, start and stop.
"""

import heapq

import numpy as np

from silicast.serving.control import act, rest
from silicast.serving.door import COMES, LANDING, NOTHING, STEP, begin_next, come, let_in, push, settle, wake_called
from silicast.serving.handover import hand_over, land, unpark
from silicast.serving.lockstep import end_rank, leap_gaps
from silicast.serving.replica import complete
from silicast.serving.state import COMING, MOVING, NOBODY, OPEN, Cluster

#: entries that one event can write into the log of a replica: what a failure breaks off, that it is empty, a step
MOST_ENTRIES = 3


def run_cluster(cluster: Cluster, most_events: int) -> bool:
    """Take up to `most_events` events; False when nothing is left to do."""
    heap = _ahead(cluster)
    for _ in range(most_events):
        while _stale(cluster, heap[0]):
            heapq.heappop(heap)
        time, kind, who = heap[0]
        coming = _next_arrival(cluster)
        if cluster.state.control < min(time, coming):
            if cluster.state.departed == len(cluster.rows):
                return False
            if not act(cluster, heap, cluster.state.control) or _some_log_is_full(cluster):
                return True
            continue
        if coming <= time and coming < np.inf:
            _arrive(cluster, heap, coming)
        elif kind == COMES:
            heapq.heappop(heap)
            _come_back(cluster, heap, who, time)
        elif kind == LANDING:
            heapq.heappop(heap)
            source = cluster.rows[who].replica
            land(cluster, heap, who, time)
            rest(cluster, source, time)
        elif kind == STEP:
            heapq.heappop(heap)
            _end_step(cluster, heap, who)
        else:
            return False
        if kind == STEP and cluster.replicas[who].state.log and _log_is_full(cluster, who):
            return True
    return True


def _log_is_full(cluster: Cluster, first: int) -> bool:
    for i in range(first, first + cluster.replicas[first].state.ranks):
        if cluster.replicas[i].state.logged + MOST_ENTRIES >= len(cluster.replicas[i].log):
            return True
    return False


def _some_log_is_full(cluster: Cluster) -> bool:
    """After something was done to replicas: the log of one, or that of the changes."""
    for i in range(len(cluster.replicas)):
        state = cluster.replicas[i].state
        if state.log and state.leader == i and _log_is_full(cluster, i):
            return True
    # what is due at one time changes a replica four times at most, and one that drains stops before the next
    return cluster.state.changed + 6 * len(cluster.replicas) >= len(cluster.changes)


def _ahead(cluster: Cluster) -> list[tuple[float, int, int]]:
    """What happens next, from the state of the replicas and of the requests on their way."""
    heap = [(np.inf, NOTHING, NOBODY)]
    for i in range(len(cluster.replicas)):
        state = cluster.replicas[i].state
        if state.until < np.inf and state.leader == i:
            heap.append((cluster.replicas[i].state.until, STEP, i))
    if cluster.state.moving > 0:
        for r in range(len(cluster.rows)):
            if cluster.rows[r].state == MOVING:
                push(heap, cluster.rows[r].entered, LANDING, r)
            elif cluster.rows[r].state == COMING:
                push(heap, cluster.rows[r].entered, COMES, r)
    heapq.heapify(heap)
    return heap


def _stale(cluster: Cluster, event: tuple[float, int, int]) -> bool:
    """A step that was to end then, and has been cut; a cache whose replica has failed."""
    time, kind, who = event
    if kind == STEP:
        return cluster.replicas[who].state.until != time
    return kind == LANDING and (cluster.rows[who].state != MOVING or cluster.rows[who].entered != time)


def _next_arrival(cluster: Cluster) -> float:
    arrived = cluster.state.arrived
    return cluster.rows[arrived].entered if arrived < len(cluster.rows) else np.inf


def _arrive(cluster: Cluster, heap: list[tuple[float, int, int]], time: float) -> None:
    """Everybody who comes at `time` is routed; then idle replicas begin and leaps are cut."""
    state = cluster.state
    while _next_arrival(cluster) == time:
        r = state.arrived
        state.arrived += 1
        # turns that wait for an answer come by themselves
        while state.turns and state.arrived < len(cluster.rows) and cluster.waits[state.arrived]:
            state.arrived += 1
        come(cluster, heap, r, time)
    wake_called(cluster, heap, time)


def _come_back(cluster: Cluster, heap: list[tuple[float, int, int]], r: int, time: float) -> None:
    """The next turn of a conversation comes."""
    cluster.rows[r].state = OPEN
    cluster.state.moving -= 1
    come(cluster, heap, r, time)
    wake_called(cluster, heap, time)


def _end_step(cluster: Cluster, heap: list[tuple[float, int, int]], i: int) -> None:
    """The step of replica i, or of the ranks of which it is the first, ends, and the next one begins."""
    state = cluster.replicas[i].state
    if state.ranks > 1:
        gaps = leap_gaps(cluster, i)
        for rank in range(i, i + state.ranks):
            end_rank(cluster, rank, gaps)
            _after_step(cluster, heap, rank)
    else:
        complete(cluster.replicas[i])
        _after_step(cluster, heap, i)
    begin_next(cluster, i, state.now)
    push(heap, state.until, STEP, i)
    if cluster.state.selective:
        now = state.now
        let_in(cluster, heap, now)
        unpark(cluster, heap, now)
        rest(cluster, i, now)


def _after_step(cluster: Cluster, heap: list[tuple[float, int, int]], i: int) -> None:
    """Caches leave replica i, and clients whose requests have ended there know it."""
    replica = cluster.replicas[i]
    if i < cluster.state.prefills:
        for j in range(replica.state.step_prompts):
            r = replica.chosen[j]
            if cluster.rows[r].state == MOVING:
                hand_over(cluster, heap, r, replica.state.now)
    settle(cluster, heap, i, replica.state.now)
