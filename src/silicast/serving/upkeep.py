"""How the replicas of a pool are kept: when they fail, how many there are, and how many requests may queue."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from silicast.errors import InputError
from silicast.serving.state import NOBODY, OUTAGE

Array = NDArray[np.void]

#: mean times between failures that are drawn at once
AHEAD = 64.0
#: how often a request is sent, all in all, before its client gives up: four times, as common HTTP clients are set up
RETRIES = 3
#: s between two looks at the load: that of the horizontal autoscaler of Kubernetes; and to load a model from a disk
EVERY, STARTUP = 15.0, 60.0


@dataclass(frozen=True, slots=True)
class Failures:
    """Replicas fail after a time that is exponential with mean `mtbf` (s; None = only as planned), and are repaired
    after one with mean `mttr`; `planned` are more failures as (replica of the pool from 0, time in s, seconds down).

    A request whose replica fails is sent again up to `retries` times, then it is lost. Raises InputError.
    """

    mtbf: float | None = None
    mttr: float = 0.0
    planned: tuple[tuple[int, float, float], ...] = ()
    retries: int = RETRIES

    def __post_init__(self) -> None:
        if self.mtbf is not None and not 0 < self.mtbf < np.inf:
            raise InputError(f"mtbf must be a positive time, got {self.mtbf:g} s.")
        if not 0 <= self.mttr < np.inf:
            raise InputError(f"mttr must be a time of 0 s or more, got {self.mttr:g} s.")
        if self.retries < 0:
            raise InputError(f"retries must be 0 (a request of a failed replica is lost) or more, got {self.retries}.")
        for replica, time, repair in self.planned:
            if replica < 0 or not 0 <= time < np.inf or not 0 <= repair < np.inf:
                raise InputError(
                    "A planned failure is a replica from 0, a time and a time to repair of 0 s or more; "
                    f"got {replica}, {time:g} s and {repair:g} s."
                )


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """From `least` to `most` replicas, so that each has `requests` outstanding requests, or `kv_share` of its cache in
    use. Looks at the load `every` so many seconds; a replica takes requests `startup` seconds after it is asked for.

    One that is not needed takes no more requests and stops when it has finished those it has. Raises InputError.
    """

    least: int
    most: int
    requests: float | None = None
    kv_share: float | None = None
    every: float = EVERY
    startup: float = STARTUP

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise InputError(f"Autoscaling needs 1 <= min <= max replicas, got {self.least} and {self.most}.")
        if (self.requests is None) == (self.kv_share is None):
            raise InputError("Autoscaling aims at outstanding requests per replica or at a share of KV: give one.")
        if self.requests is not None and not 0 < self.requests < np.inf:
            raise InputError(f"Outstanding requests per replica must be positive, got {self.requests:g}.")
        if self.kv_share is not None and not 0 < self.kv_share <= 1:
            raise InputError(f"The share of KV in use must be above 0 and at most 1, got {self.kv_share:g}.")
        if not 0 < self.every < np.inf or not 0 <= self.startup < np.inf:
            raise InputError(
                f"Autoscaling looks at the load in a positive interval and starts in 0 s or more, got {self.every:g} s "
                f"and {self.startup:g} s."
            )


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Most requests that may queue at one replica and at all that take new requests (None = no bound).

    Beyond them, or while no replica is up, a request waits at the router where it `holds`, else it is turned away (as
    with HTTP 429). Raises InputError.
    """

    per_replica: int | None = None
    in_all: int | None = None
    holds: bool = True

    def __post_init__(self) -> None:
        for value in (self.per_replica, self.in_all):
            if value is not None and value < 1:
                raise InputError(f"A queue has room for at least 1 request, got {value}.")


class Outages:
    """Outages of the queues of a pool, drawn as far ahead as they are needed; each replica has a random stream."""

    def __init__(
        self, failures: Failures, first: int, replicas: int, ranks: int, random: Sequence[np.random.Generator]
    ) -> None:
        """`replicas` of `ranks` queues each, numbered from `first`. Raises InputError for a replica there is not."""
        self.failures, self.first, self.ranks, self.random = failures, first, ranks, random
        self.next = [self._up(i) for i in range(replicas)]
        self.planned = sorted((time, replica, down) for replica, time, down in failures.planned)
        unknown = next((replica for _, replica, _ in self.planned if replica >= replicas), None)
        if unknown is not None:
            raise InputError(f"A failure is planned for replica {unknown}; the pool has {replicas}, counted from 0.")

    @property
    def stride(self) -> float:
        """Seconds that are drawn at once."""
        return np.inf if self.failures.mtbf is None else AHEAD * (self.failures.mtbf + self.failures.mttr)

    def _up(self, i: int) -> float:
        return np.inf if self.failures.mtbf is None else float(self.random[i].exponential(self.failures.mtbf))

    def before(self, horizon: float) -> list[tuple[float, float, int]]:
        """The next ones that start before `horizon` (s): start, end, queue."""
        found = []
        while self.planned and self.planned[0][0] < horizon:
            time, replica, down = self.planned.pop(0)
            found.append((time, time + down, replica))
        for i in range(len(self.next)):
            while self.next[i] < horizon:
                down = float(self.random[i].exponential(self.failures.mttr)) if self.failures.mttr else 0.0
                found.append((self.next[i], self.next[i] + down, i))
                self.next[i] += down + self._up(i)
        return [
            (start, end, self.first + self.ranks * replica + rank)
            for start, end, replica in found
            for rank in range(self.ranks)
        ]


def outages_ahead(pools: Sequence[Outages], start: float) -> Array:
    """Those that begin between `start` (s) and as far as they are drawn, which the last row tells."""
    horizon = start + min((pool.stride for pool in pools), default=np.inf)
    rows = sorted(row for pool in pools for row in pool.before(horizon))
    return np.array([*rows, (horizon, horizon, NOBODY)], OUTAGE)
