"""Routers: which replica takes a request, from the cluster, the request and the replicas to choose from."""

from silicast.serving.blocks import cached_tokens
from silicast.serving.state import NOBODY, Cluster

#: tokens to compute that one request in flight is worth to a router that weighs cached prefixes against load
REQUEST_TOKENS = 256


def outstanding(cluster: Cluster, i: int) -> int:
    """Requests at replica i, queueing and running."""
    return cluster.replicas[i].state.running + cluster.replicas[i].state.waiting


def round_robin(cluster: Cluster, first: int, last: int) -> int:
    """One after the other."""
    cluster.state.turn += 1
    return first + (cluster.state.turn - 1) % (last - first)


def least_outstanding(cluster: Cluster, first: int, last: int) -> int:
    """The one with the fewest requests; of several the first."""
    best = first
    for i in range(first + 1, last):
        if outstanding(cluster, i) < outstanding(cluster, best):
            best = i
    return best


def power_of_two(cluster: Cluster, r: int, first: int, last: int) -> int:
    """Of two drawn at random the one with fewer requests (Mitzenmacher 2001)."""
    one = first + int(cluster.draws[2 * r] * (last - first))
    other = first + int(cluster.draws[2 * r + 1] * (last - first))
    return one if outstanding(cluster, one) <= outstanding(cluster, other) else other


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
        return least_outstanding(cluster, first, last)
    home = cluster.homes[session]
    if not first <= home < last:
        home = least_outstanding(cluster, first, last)
        cluster.homes[session] = home
    return home


#: names and their numbers in compiled code
ROUTERS = {"round-robin": 0, "least-outstanding": 1, "power-of-two": 2, "prefix-aware": 3, "session-sticky": 4}


def route(cluster: Cluster, r: int, first: int, last: int) -> int:
    """The replica, from `first` up to but not `last`, that takes r."""
    number = cluster.state.router
    if number == 0:
        return round_robin(cluster, first, last)
    if number == 1:
        return least_outstanding(cluster, first, last)
    if number == 2:
        return power_of_two(cluster, r, first, last)
    if number == 3:
        return prefix_aware(cluster, r, first, last)
    return session_sticky(cluster, r, first, last)
