"""The tables of a scenario file that say how replicas are kept: failures, autoscaling, bounds of queues."""

from typing import Literal, Self

from pydantic import model_validator

from silicast.errors import InputError
from silicast.hardware import Frozen
from silicast.serving.upkeep import EVERY, RETRIES, STARTUP, Autoscaling, Failures, QueueLimits
from silicast.simulation.values import Real, Seconds, Whole

#: more than any deployment has, which a slip of the pen asks for
MOST_REPLICAS = 10**5


class FailureTable(Frozen):
    """Replicas that fail: at random after `mtbf` on average, down for `mttr`, and as planned.

    `planned`: [[replica, time, time down], ...], replicas counted from 0. `retries`: how often a request of a failed
    replica is sent again, from its beginning, before it is lost (0 = lost at once).
    """

    mtbf: Seconds | None = None
    mttr: Seconds = 0.0
    planned: tuple[tuple[Whole, Seconds, Seconds], ...] = ()
    retries: Whole = RETRIES

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.mtbf is None and not self.planned:
            raise InputError("failures need mtbf (mean time between failures), or planned ones")
        self.law()
        return self

    def law(self) -> Failures:
        """When replicas fail."""
        return Failures(self.mtbf, self.mttr, self.planned, self.retries)


class AutoscaleTable(Frozen):
    """From `min` to `max` replicas: each is to have `requests` outstanding requests, or `kv_share` of its cache in use.

    `every`: interval of looks at the load; `startup`: from the wish for a replica to its first request.
    """

    min: Whole = 1
    max: Whole
    requests: Real | None = None
    kv_share: Real | None = None
    every: Seconds = EVERY
    startup: Seconds = STARTUP

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.max > MOST_REPLICAS:
            raise InputError(f"max must be at most {MOST_REPLICAS:,} replicas, got {self.max:,}")
        self.law()
        return self

    def law(self) -> Autoscaling:
        """How many replicas there are."""
        return Autoscaling(self.min, self.max, self.requests, self.kv_share, self.every, self.startup)


class QueueTable(Frozen):
    """Bounds of queues: requests that wait at one replica, and at all. Beyond: `reject` (HTTP 429), or `hold` at the
    router.
    """

    per_replica: Whole | None = None
    total: Whole | None = None
    full: Literal["reject", "hold"] = "reject"

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.per_replica is None and self.total is None:
            raise InputError("a queue needs a bound: per_replica, total or both")
        self.law()
        return self

    def law(self) -> QueueLimits:
        """The bounds."""
        return QueueLimits(self.per_replica, self.total, self.full == "hold")
