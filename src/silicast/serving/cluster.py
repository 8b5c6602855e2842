"""Many replicas: a heap of (time, kind, who) of what happens next, a router, and caches on their way between pools.

With prefill and decode apart, the first replicas compute prompts and the others decode: a request whose first token is
out keeps its blocks until its cache has travelled, and then queues at a decoding replica. Events at one time go in this
order: requests come, caches arrive, steps end.
"""

import heapq

import numpy as np

from silicast.serving.blocks import release, to_the_end
from silicast.serving.lockstep import begin_all, cut_all, end_rank, leap_gaps
from silicast.serving.replica import begin, complete, cut, enter, send
from silicast.serving.routers import route
from silicast.serving.state import MOVING, NOBODY, OPEN, Cluster

LANDING, STEP, NOTHING = range(3)


def run_cluster(cluster: Cluster, most_events: int) -> bool:
    """Take up to `most_events` events; False when nothing is left to do."""
    heap = _ahead(cluster)
    for _ in range(most_events):
        while _stale(cluster, heap[0]):
            heapq.heappop(heap)
        time, kind, who = heap[0]
        coming = _next_arrival(cluster)
        if coming <= time and coming < np.inf:
            _arrive(cluster, heap, coming)
        elif kind == LANDING:
            heapq.heappop(heap)
            _land(cluster, heap, who, time)
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
        if cluster.replicas[i].state.logged + 1 >= len(cluster.replicas[i].log):
            return True
    return False


def _ahead(cluster: Cluster) -> list[tuple[float, int, int]]:
    """What happens next, from the state of the replicas and of the caches on their way."""
    heap = [(np.inf, NOTHING, NOBODY)]
    for i in range(len(cluster.replicas)):
        state = cluster.replicas[i].state
        if state.until < np.inf and state.leader == i:
            heap.append((cluster.replicas[i].state.until, STEP, i))
    if cluster.state.moving > 0:
        for r in range(len(cluster.rows)):
            if cluster.rows[r].state == MOVING:
                heap.append((cluster.rows[r].entered, LANDING, r))
    heapq.heapify(heap)
    return heap


def _push(heap: list[tuple[float, int, int]], time: float, kind: int, who: int) -> None:
    if time == np.inf:
        return
    # rows hold 32 bits, the heap 64
    heapq.heappush(heap, (time, kind, int(np.int64(who))))


def _stale(cluster: Cluster, event: tuple[float, int, int]) -> bool:
    """A step that was to end then, and has been cut."""
    time, kind, who = event
    return kind == STEP and cluster.replicas[who].state.until != time


def _next_arrival(cluster: Cluster) -> float:
    arrived = cluster.state.arrived
    return cluster.rows[arrived].entered if arrived < len(cluster.rows) else np.inf


def _arrive(cluster: Cluster, heap: list[tuple[float, int, int]], time: float) -> None:
    """Everybody who comes at `time` is routed; then idle replicas begin and leaps are cut."""
    last = cluster.state.prefills if cluster.state.prefills > 0 else len(cluster.replicas)
    while _next_arrival(cluster) == time:
        r = cluster.state.arrived
        cluster.state.arrived += 1
        _queue(cluster, r, route(cluster, r, 0, last), time)
    for i in range(last):
        if cluster.replicas[i].state.called:
            _wake(cluster, heap, i, time)


def _queue(cluster: Cluster, r: int, i: int, time: float) -> None:
    """r joins the queue of replica i."""
    replica = cluster.replicas[i]
    cluster.rows[r].replica = i
    # a leap goes on behind somebody who waits already, except for who may go first
    if replica.state.waiting == 0 or replica.state.classes > 1:
        replica.state.called = 1
    before = replica.state.finished
    enter(replica, r, time)
    _send_next(cluster, replica.state.finished - before, time)


def _wake(cluster: Cluster, heap: list[tuple[float, int, int]], i: int, time: float) -> None:
    """Replica i looks at its queue: at once if it is idle, else when the running step ends."""
    replica = cluster.replicas[i]
    replica.state.called = 0
    if replica.state.ranks > 1:
        _wake_ranks(cluster, heap, replica.state.leader, time)
    elif replica.state.until == np.inf:
        replica.state.now = time
        begin(replica)
        _push(heap, replica.state.until, STEP, i)
    elif replica.state.steps > 1:
        cut(replica, time)
        _push(heap, replica.state.until, STEP, i)


def _wake_ranks(cluster: Cluster, heap: list[tuple[float, int, int]], first: int, time: float) -> None:
    state = cluster.replicas[first].state
    if state.until == np.inf:
        begin_all(cluster, first, time)
        _push(heap, state.until, STEP, first)
    elif state.steps > 1:
        cut_all(cluster, first, time)
        _push(heap, state.until, STEP, first)


def _end_step(cluster: Cluster, heap: list[tuple[float, int, int]], i: int) -> None:
    """The step of replica i, or of the ranks of which it is the first, ends, and the next one begins."""
    state = cluster.replicas[i].state
    if state.ranks > 1:
        gaps = leap_gaps(cluster, i)
        for rank in range(i, i + state.ranks):
            before = cluster.replicas[rank].state.finished
            end_rank(cluster, rank, gaps)
            _after_step(cluster, heap, rank, before)
        begin_all(cluster, i, state.now)
    else:
        before = state.finished
        complete(cluster.replicas[i])
        _after_step(cluster, heap, i, before)
        begin(cluster.replicas[i])
    _push(heap, state.until, STEP, i)


def _after_step(cluster: Cluster, heap: list[tuple[float, int, int]], i: int, before: int) -> None:
    """Caches leave replica i, and clients whose requests have ended there since `before` send their next ones."""
    replica = cluster.replicas[i]
    if i < cluster.state.prefills:
        for j in range(replica.state.step_prompts):
            r = replica.chosen[j]
            if cluster.rows[r].state == MOVING:
                _send_cache(cluster, heap, r, replica.state.now)
    _send_next(cluster, replica.state.finished - before, replica.state.now)


def _send_cache(cluster: Cluster, heap: list[tuple[float, int, int]], r: int, now: float) -> None:
    row = cluster.rows[r]
    row.entered = now + cluster.state.latency + cluster.state.per_token * row.prompt
    cluster.state.moving += 1
    _push(heap, row.entered, LANDING, r)


def _land(cluster: Cluster, heap: list[tuple[float, int, int]], r: int, time: float) -> None:
    """The cache of r has arrived: its blocks in the first pool are free, and it queues in the second."""
    row, source = cluster.rows[r], cluster.replicas[cluster.rows[r].replica]
    release(source, r)
    source.state.promised -= to_the_end(source, r)
    source.state.full = 0
    cluster.state.moving -= 1
    if source.state.waiting + source.state.running > 0 and source.state.until == np.inf:
        _wake(cluster, heap, row.replica, time)
    row.state, row.loaded = OPEN, row.prompt
    i = route(cluster, r, cluster.state.prefills, len(cluster.replicas))
    _queue(cluster, r, i, time)
    if cluster.replicas[i].state.called:
        _wake(cluster, heap, i, time)


def _send_next(cluster: Cluster, ended: int, time: float) -> None:
    """In a closed loop the clients whose requests have ended send their next ones."""
    state = cluster.state
    if state.clients == 0:
        return
    for _ in range(ended):
        coming = state.clients + state.departed
        state.departed += 1
        if coming < len(cluster.rows):
            send(cluster.replicas[0], coming, time + state.think)
