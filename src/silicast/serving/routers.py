"""Routers: which replica takes a request, from the cluster, the request and the replicas to choose from.

A replica with several attention ranks is chosen as a whole, and its own balancer picks the rank; a router that looks at
caches, or that has seen a session, picks the rank itself, since that is where the cache is.
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


def balanced(cluster: Cluster, first: int) -> int:
    """The rank of that replica to which its own balancer gives the next request: in turn, or with fewest requests."""
    state = cluster.replicas[first].state
    if state.turns:
        state.turn += 1
        return first + (state.turn - 1) % state.ranks
    best = first
    for i in range(first + 1, first + state.ranks):
        if outstanding(cluster, i) < outstanding(cluster, best):
            best = i
    return best


def round_robin(cluster: Cluster, first: int, last: int) -> int:
    """One after the other."""
    ranks = cluster.replicas[first].state.ranks
    cluster.state.turn += 1
    return first + (cluster.state.turn - 1) % ((last - first) // ranks) * ranks


def least_outstanding(cluster: Cluster, first: int, last: int) -> int:
    """The one with the fewest requests; of several the first."""
    best, least = first, total_outstanding(cluster, first)
    for i in range(first, last, cluster.replicas[first].state.ranks):
        requests = total_outstanding(cluster, i)
        if requests < least:
            best, least = i, requests
    return best


def power_of_two(cluster: Cluster, r: int, first: int, last: int) -> int:
    """Of two drawn at random the one with fewer requests (Mitzenmacher 2001)."""
    ranks = cluster.replicas[first].state.ranks
    replicas = (last - first) // ranks
    one = first + int(cluster.draws[2 * r] * replicas) * ranks
    other = first + int(cluster.draws[2 * r + 1] * replicas) * ranks
    return one if total_outstanding(cluster, one) <= total_outstanding(cluster, other) else other


def prefix_aware(cluster: Cluster, r: int, first: int, last: int) -> int:
    """The one with least to do: tokens that it would have to compute, and REQUEST_TOKENS for each request in flight."""
    best, least = first, 0
    for i in range(first, last):
        cost = REQUEST_TOKENS * outstanding(cluster, i) - cached_tokens(cluster.replicas[i], r)
        if i == first or cost < least:
            best, least = i, cost
    return best


def session_sticky(cluster: Cluster, r: int, first: int, last: int) -> int:
    """The one that had the session's last turn; a new session goes where the fewest requests are."""
    session = cluster.sessions[r]
    if session == NOBODY:
        return balanced(cluster, least_outstanding(cluster, first, last))
    home = cluster.homes[session]
    if not first <= home < last:
        home = balanced(cluster, least_outstanding(cluster, first, last))
        cluster.homes[session] = home
    return home


#: names and their numbers in compiled code
ROUTERS = {"round-robin": 0, "least-outstanding": 1, "power-of-two": 2, "prefix-aware": 3, "session-sticky": 4}


def route(cluster: Cluster, r: int, first: int, last: int) -> int:
    """The replica, from `first` up to but not `last`, that takes r."""
    number = cluster.state.router
    if number == 0:
        return balanced(cluster, round_robin(cluster, first, last))
    if number == 1:
        return balanced(cluster, least_outstanding(cluster, first, last))
    if number == 2:
        return balanced(cluster, power_of_two(cluster, r, first, last))
    if number == 3:
        return prefix_aware(cluster, r, first, last)
    return session_sticky(cluster, r, first, last)
