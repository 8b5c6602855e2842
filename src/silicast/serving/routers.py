"""Routers: which replica takes a request, from the cluster, the request and the replicas to choose from.

These are the entries of `Cluster.taking` from place `first` up to but not `last`. A replica with several attention
ranks is chosen as a whole, and its own balancer picks the rank; a router that looks at caches, or that has seen a
session, picks the rank itself, since that is where the cache is.
"""

from silicast.serving.blocks import cached_tokens
from silicast.serving.state import NOBODY, Cluster

#: tokens to compute that one request in flight is worth to a router that weighs cached prefixes against load
REQUEST_TOKENS = 256


def outstanding(cluster: Cluster, i: int) -> int:
    """Requests at rank i, queueing and running."""
    return cluster.replicas[i].state.running + cluster.replicas[i].state.waiting


def total_outstanding(cluster: Cluster, first: int) -> int:
    """Requests at all ranks of the replica that begins with rank `first`."""
    total = 0
    for i in range(first, first + cluster.replicas[first].state.ranks):
        total += outstanding(cluster, i)
    return total


def queued(cluster: Cluster, first: int) -> int:
    """Requests in the queues of all ranks of the replica that begins with rank `first`."""
    total = 0
    for i in range(first, first + cluster.replicas[first].state.ranks):
        total += cluster.replicas[i].state.waiting
    return total


def balanced(cluster: Cluster, first: int) -> int:
    """The rank of that replica to which its own balancer gives the next request: in turn, or with fewest requests.

    Of those that take it; one does.
    """
    state = cluster.replicas[first].state
    if state.turns:
        state.turn += 1
        while not cluster.instances[first + (state.turn - 1) % state.ranks].takes:
            state.turn += 1
        return first + (state.turn - 1) % state.ranks
    best = NOBODY
    for i in range(first, first + state.ranks):
        if cluster.instances[i].takes and (best == NOBODY or outstanding(cluster, i) < outstanding(cluster, best)):
            best = i
    return best


def round_robin(cluster: Cluster, p: int, first: int, last: int) -> int:
    """One after the other of pool p."""
    cluster.pools[p].turn += 1
    return cluster.taking[first + (cluster.pools[p].turn - 1) % (last - first)]


def least_outstanding(cluster: Cluster, first: int, last: int) -> int:
    """The one with the fewest requests; of several the first."""
    best = cluster.taking[first]
    least = total_outstanding(cluster, best)
    for place in range(first + 1, last):
        requests = total_outstanding(cluster, cluster.taking[place])
        if requests < least:
            best, least = cluster.taking[place], requests
    return best


def power_of_two(cluster: Cluster, r: int, first: int, last: int) -> int:
    """Of two drawn at random the one with fewer requests (Mitzenmacher 2001)."""
    one = cluster.taking[first + int(cluster.draws[2 * r] * (last - first))]
    other = cluster.taking[first + int(cluster.draws[2 * r + 1] * (last - first))]
    return one if total_outstanding(cluster, one) <= total_outstanding(cluster, other) else other


def prefix_aware(cluster: Cluster, r: int, first: int, last: int) -> int:
    """The one with least to do: tokens that it would have to compute, and REQUEST_TOKENS for each request in flight."""
    best, least = NOBODY, 0
    for place in range(first, last):
        replica = cluster.taking[place]
        for i in range(replica, replica + cluster.replicas[replica].state.ranks):
            if cluster.instances[i].takes:
                cost = REQUEST_TOKENS * outstanding(cluster, i) - cached_tokens(cluster.replicas[i], r)
                if best == NOBODY or cost < least:
                    best, least = i, cost
    return best


def session_sticky(cluster: Cluster, p: int, r: int, first: int, last: int) -> int:
    """The one that had the session's last turn; a new session goes where the fewest requests are.

    So does one whose replica takes no requests now.
    """
    session = cluster.sessions[r]
    if session == NOBODY:
        return balanced(cluster, least_outstanding(cluster, first, last))
    home = cluster.homes[session]
    pool = cluster.pools[p]
    if not (pool.first <= home < pool.last and cluster.instances[home].takes):
        home = balanced(cluster, least_outstanding(cluster, first, last))
        cluster.homes[session] = home
    return home


#: names and their numbers in compiled code
ROUTERS = {"round-robin": 0, "least-outstanding": 1, "power-of-two": 2, "prefix-aware": 3, "session-sticky": 4}


def route(cluster: Cluster, p: int, r: int, first: int, last: int) -> int:
    """The rank of pool p that takes r, of the replicas that stand from `first` up to but not `last`."""
    number = cluster.state.router
    if number == 0:
        return balanced(cluster, round_robin(cluster, p, first, last))
    if number == 1:
        return balanced(cluster, least_outstanding(cluster, first, last))
    if number == 2:
        return balanced(cluster, power_of_two(cluster, r, first, last))
    if number == 3:
        return prefix_aware(cluster, r, first, last)
    return session_sticky(cluster, p, r, first, last)
