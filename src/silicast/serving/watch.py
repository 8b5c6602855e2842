"""How the replicas of a run are kept, in arrays: what phase each is in, when it fails, what the autoscaler looks at."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from silicast.serving.columns import record
from silicast.serving.outcome import Phases
from silicast.serving.state import CHANGE, INSTANCE, NOBODY, OFF, POOL, Instance, PoolState
from silicast.serving.upkeep import Autoscaling, Failures, Outages, outages_ahead

Array = NDArray[Any]

#: rows of the list of changes between two looks at it: at least these, and so many per queue
CHANGES, CHANGES_EACH = 1 << 10, 16


class Kept(Protocol):
    """Replicas that are alike; see `fleet.Fleet`."""

    @property
    def replicas(self) -> int:
        """How many there are in the beginning."""

    @property
    def most(self) -> int:
        """How many there may be."""

    @property
    def ranks(self) -> int:
        """Queues of one replica."""

    @property
    def queues(self) -> int:
        """Queues that there may be."""

    @property
    def failures(self) -> Failures | None:
        """When replicas fail."""

    @property
    def scaling(self) -> Autoscaling | None:
        """How many there are."""


class Upkeep:
    """The replicas of all pools, one row per queue."""

    def __init__(self, kept: Sequence[Kept], random: np.random.Generator | None) -> None:
        ends = np.cumsum([pool.queues for pool in kept])
        firsts = ends - [pool.queues for pool in kept]
        queues = int(ends[-1])
        self.instances = np.full(queues, record(Instance(), INSTANCE))
        for pool, first, last in zip(kept, firsts, ends, strict=True):
            self.instances["phase"][first + pool.replicas * pool.ranks : last] = OFF
        self.first = self.instances["phase"].copy()
        self.pools = np.array([_row(pool, first) for pool, first in zip(kept, firsts, strict=True)])
        self.taking = np.zeros(queues, np.int64)
        for pool, first, last in zip(kept, firsts, ends, strict=True):
            self.taking[first : first + pool.most] = np.arange(first, last, pool.ranks)
        self.drawn = self._outages(kept, firsts, random or np.random.default_rng(0))
        self.outages = outages_ahead(self.drawn, 0.0)
        self.changes = np.zeros(max(CHANGES, CHANGES_EACH * queues), CHANGE)
        self.found: list[Array] = []

    @staticmethod
    def _outages(kept: Sequence[Kept], firsts: Array, random: np.random.Generator) -> list[Outages]:
        found = []
        for pool, first in zip(kept, firsts.tolist(), strict=True):
            if pool.failures is not None:
                found.append(Outages(pool.failures, first, pool.most, pool.ranks, random.spawn(pool.most)))
        return found

    @property
    def first_control(self) -> float:
        """When something is due for the first time."""
        return min(float(self.outages["start"][0]), float(self.pools["due"].min()))

    def look(self, state: Array) -> None:
        """Take what has changed away, and draw more outages where the known ones have passed."""
        changed = int(state["changed"][0])
        if changed:
            self.found.append(self.changes[:changed].copy())
            state["changed"] = 0
        ahead = self.outages[int(state["outage"][0])]
        if ahead["replica"] == NOBODY and ahead["start"] <= state["control"][0] < np.inf:
            self.outages = outages_ahead(self.drawn, float(ahead["start"]))
            state["outage"] = 0

    def phases(self) -> Phases | None:
        """What replicas were up to; None where nothing could happen to them."""
        if not self.drawn and np.all(np.isinf(self.pools["due"])):
            return None
        all_changes = np.concatenate([self.changes[:0], *self.found])
        return Phases(self.first, all_changes["time"], all_changes["replica"], all_changes["phase"])


def _row(pool: Kept, first: int) -> Array:
    row = PoolState(first=int(first), last=int(first) + pool.queues, ranks=pool.ranks)
    row.least = row.most = pool.replicas
    if pool.failures is not None:
        row.retries = pool.failures.retries
    if pool.scaling is not None:
        how = pool.scaling
        row.least, row.most, row.startup, row.every, row.due = how.least, how.most, how.startup, how.every, how.every
        row.requests, row.kv_share = how.requests or 0.0, how.kv_share or 0.0
    return np.asarray(record(row, POOL))
