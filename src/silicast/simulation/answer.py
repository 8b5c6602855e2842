"""The answer of a simulated run: what was asked, what was sent, what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.serving.measures import Hardware, Rows, Summary, summaries, summary, sustainable_rate
from silicast.serving.occupancy import occupancy
from silicast.serving.outcome import Served
from silicast.serving.state import DOWN, DRAINING, UP
from silicast.simulation.scenario import Scenario
from silicast.simulation.traffic import Drawn

Array = NDArray[Any]

#: a mean number of devices so near to a whole one is one, but for rounding
SAME = 1e-9


@dataclass(frozen=True)
class Replicas:
    """Which pool each replica belongs to (a place in `pools`), how long it worked, and the energy it took.

    One row per queue: each attention rank of a replica has its own. Shapes `(queue,)`: `busy_s`; `energy_j`, None where
    the chip has no power; `kv_blocks`, the room of its cache; `on_s`, the seconds in which its devices were held;
    `ranks`, queues of its replica; `devices` and `packages`, its share of those of its replica.
    """

    pools: tuple[str, ...]
    pool: Array
    busy_s: Array
    energy_j: Array | None = None
    kv_blocks: Array | None = None
    on_s: Array | None = None
    ranks: Array | None = None
    devices: Array | None = None
    packages: Array | None = None

    def hardware(self) -> Hardware:
        """What rates are divided by: the devices and packages held in the mean over the run."""
        if self.on_s is None or self.devices is None or self.packages is None:
            return Hardware()
        longest = float(np.max(self.on_s, initial=0.0))
        share = self.on_s / longest if longest > 0 else np.ones(self.on_s.size)
        return Hardware(_whole(float(share @ self.devices)), _whole(float(share @ self.packages)))

    def held(self, own: Array) -> Summary:
        """Seconds of replicas and of devices that were held, over some of the queues."""
        if self.on_s is None or self.ranks is None or self.devices is None:
            return {}
        return {
            "replica_s": float(np.sum(self.on_s[own] / self.ranks[own])),
            "device_s": float(np.sum(self.on_s[own] * self.devices[own])),
        }

    @property
    def names(self) -> list[str]:
        """One name per replica: `mixed 1`, `mixed 2`."""
        seen = dict.fromkeys(range(len(self.pools)), 0)
        names = []
        for pool in self.pool.tolist():
            seen[pool] += 1
            names.append(f"{self.pools[pool]} {seen[pool]}")
        return names


@dataclass(frozen=True)
class Simulation:
    """One run. Measures are computed when they are asked for.

    complete  False where the run was broken off: what had finished by then is valid
    warnings  what the reader must know: fallbacks of the physics, rejected requests, saturation
    """

    scenario: Scenario
    drawn: Drawn
    served: Served
    hardware: Hardware
    replicas: Replicas
    complete: bool = True
    tier: str = ""
    warnings: Sequence[str] = field(default=())

    @cached_property
    def rows(self) -> Rows:
        """Every request."""
        return Rows.of(self.served, self.drawn.requests)

    @cached_property
    def summary(self) -> Summary:
        """The measures of the run, under the keys of `vllm bench serve`."""
        found = summary(self.rows, self.scenario.slo.law(), self.served.gaps, self.hardware)
        retries = self.served.retries
        found["retries"] = 0 if retries is None else int(retries.sum())
        everyone = np.arange(self.replicas.pool.size)
        found["replica_failures"] = self._failed(everyone)
        return found | self._energy(found) | self.replicas.held(everyone)

    def _failed(self, own: Array) -> int:
        """Failures of replicas, whose ranks fail together."""
        phases, ranks = self.served.phases, self.replicas.ranks
        if phases is None:
            return 0
        down = phases.replica[phases.phase == DOWN]
        down = down[np.isin(down, own)]
        return round(float(np.sum(1 / ranks[down]))) if ranks is not None else down.size

    @cached_property
    def tenants(self) -> dict[str, Summary]:
        """The measures of each kind of traffic, where there are several."""
        names = self.drawn.tenants
        return self._by(self.drawn.tenant, names) if len(names) > 1 else {}

    @cached_property
    def pools(self) -> dict[str, Summary]:
        """The measures of the requests of each pool that sends answers, and what its replicas held, did and took."""
        replica = np.asarray(self.served.replica)
        pool = np.where(replica >= 0, self.replicas.pool[np.maximum(replica, 0)], -1)
        found = self._by(pool, self.replicas.pools)
        return {name: found[name] | self._held(place, name) for place, name in enumerate(self.replicas.pools)}

    def _held(self, place: int, name: str) -> Summary:
        own = np.flatnonzero(self.replicas.pool == place)
        ranks = self.replicas.ranks
        replicas = own.size if ranks is None else round(float(np.sum(1 / ranks[own])))
        found: Summary = {"replicas": replicas, "utilisation": self.utilisation[name]}
        found |= self.replicas.held(own)
        if self.served.phases is not None:
            end = float(self.summary["duration"] or 0)
            up = self.served.phases.seconds(end, (UP, DRAINING))[own].sum()
            held = float(np.sum(self.replicas.on_s[own])) if self.replicas.on_s is not None else 0.0
            found |= {"replica_failures": self._failed(own), "availability": up / held if held > 0 else None}
        if self.replicas.energy_j is not None:
            found["energy_j"] = float(self.replicas.energy_j[own].sum())
        if self.served.timeline is not None:
            found |= occupancy(self.served.timeline, own, float(self.summary["duration"] or 0))
            found |= self._while_on(found, own)
        return found | self._filled(found, own)

    def _while_on(self, found: Summary, own: Array) -> Summary:
        """Means over the time in which the replicas were there, where they were not all the time."""
        held = 0.0 if self.replicas.on_s is None else float(np.sum(self.replicas.on_s[own]))
        if self.served.phases is None or held == 0:
            return {}
        factor = own.size * float(self.summary["duration"] or 0) / held
        return {key: value * factor for key, value in found.items() if key.startswith("mean_") and value is not None}

    def _filled(self, found: Summary, own: Array) -> Summary:
        """Shares of the room of the cache of one replica."""
        if self.replicas.kv_blocks is None or "max_kv_blocks" not in found:
            return {}
        room = float(self.replicas.kv_blocks[own].mean())
        return {f"{kind}_kv_share": (found[f"{kind}_kv_blocks"] or 0) / room for kind in ("mean", "max")}

    @cached_property
    def utilisation(self) -> dict[str, float]:
        """Share of the time in which they were there that the replicas of a pool worked, mean over them."""
        if self.served.phases is not None and self.replicas.on_s is not None:
            there = ((name, self.replicas.pool == place) for place, name in enumerate(self.replicas.pools))
            sums = {name: (self.replicas.busy_s[own].sum(), self.replicas.on_s[own].sum()) for name, own in there}
            return {name: float(busy / on) if on > 0 else 0.0 for name, (busy, on) in sums.items()}
        span = float(self.summary["duration"] or 0)
        shares = self.replicas.busy_s / span if span > 0 else np.zeros(self.replicas.busy_s.size)
        places = enumerate(self.replicas.pools)
        return {name: float(np.mean(shares[self.replicas.pool == place])) for place, name in places}

    @cached_property
    def sustainable_rate(self) -> float | None:
        """Requests/s that the deployment can answer, where more came; None where it kept up, and in a closed loop."""
        return sustainable_rate(self.rows) if self.drawn.loop is None else None

    @property
    def saturated(self) -> bool:
        """Whether more came than the deployment can answer."""
        return self.sustainable_rate is not None

    def _by(self, group: Array, names: Sequence[str]) -> dict[str, Summary]:
        span = float(self.summary["duration"] or 0)
        return summaries(self.rows, group, names, self.scenario.slo.law(), span)

    def _energy(self, found: Summary) -> Summary:
        if self.replicas.energy_j is None:
            return {"energy_j": None, "energy_j_per_output_token": None}
        joules, tokens = float(self.replicas.energy_j.sum()), int(found["total_output_tokens"] or 0)
        return {"energy_j": joules, "energy_j_per_output_token": joules / tokens if tokens else None}


def _whole(count: float) -> int | float:
    return round(count) if abs(count - round(count)) < SAME else count
