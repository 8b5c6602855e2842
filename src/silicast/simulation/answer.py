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
from silicast.simulation.scenario import Scenario
from silicast.simulation.traffic import Drawn

Array = NDArray[Any]


@dataclass(frozen=True)
class Replicas:
    """Which pool each replica belongs to (a place in `pools`), how long it worked, and the energy it took.

    `busy_s` and `energy_j` have shape `(replica,)`; energy is None where the chip has no power. `kv_blocks` is the room
    of the cache of each.
    """

    pools: tuple[str, ...]
    pool: Array
    busy_s: Array
    energy_j: Array | None = None
    kv_blocks: Array | None = None

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
        return found | self._energy(found)

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
        found: Summary = {"replicas": own.size, "utilisation": self.utilisation[name]}
        if self.replicas.energy_j is not None:
            found["energy_j"] = float(self.replicas.energy_j[own].sum())
        if self.served.timeline is not None:
            found |= occupancy(self.served.timeline, own, float(self.summary["duration"] or 0))
        return found | self._filled(found, own)

    def _filled(self, found: Summary, own: Array) -> Summary:
        """Shares of the room of the cache of one replica."""
        if self.replicas.kv_blocks is None or "max_kv_blocks" not in found:
            return {}
        room = float(self.replicas.kv_blocks[own].mean())
        return {f"{kind}_kv_share": (found[f"{kind}_kv_blocks"] or 0) / room for kind in ("mean", "max")}

    @cached_property
    def utilisation(self) -> dict[str, float]:
        """Share of the run in which the replicas of a pool worked, mean over them."""
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
