"""Traffic through a deployment: tables of step times for its pools, the queues of their ranks, what came of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.disaggregation import transfer
from silicast.errors import InputError
from silicast.pool import PoolModel
from silicast.scenario import Workload
from silicast.serving.fleet import Fleet, Transfer, simulate_fleet
from silicast.serving.outcome import Served
from silicast.serving.policies import POLICIES
from silicast.serving.requests import Requests
from silicast.serving.state import DOWN, DRAINING, STARTING, UP
from silicast.simulation.answer import Replicas, Simulation
from silicast.simulation.scenario import Scenario
from silicast.simulation.tables import PoolTable
from silicast.simulation.traffic import Drawn, draw
from silicast.tabulated import Tabulated, below, tabulate

Array = NDArray[Any]
Told = Callable[[int, int], None]

#: the policy of an engine that mixes prompts into the steps of decode, and of one that runs them first
POLICY = {"chunked": "vllm", "prefill_first": "sglang"}


@dataclass(frozen=True)
class Part:
    """One pool of the deployment: how it is written in the scenario, its physics, and the tables of one rank."""

    table: PoolTable
    model: PoolModel
    ready: Tabulated

    @property
    def queues(self) -> int:
        """Queues of the pool: each attention rank of each replica has its own."""
        return self.fleet.queues

    @property
    def devices(self) -> int:
        """Devices of one replica."""
        return int(self.table.layout().devices)

    @property
    def packages(self) -> int:
        """Packages of one replica, which stands on whole ones."""
        return int(self.model.packages(self.table.layout().devices))

    @property
    def policy(self) -> str:
        """The scheduling policy: as asked, else as the stack says, else as its scheduler does."""
        stack = self.model.machine.stack
        return self.table.policy or stack.policy or POLICY[stack.scheduler]

    @property
    def fleet(self) -> Fleet:
        """The queues as the simulator takes them."""
        fails, scales = self.table.failures, self.table.autoscale
        return Fleet(
            self.table.replicas, self.ready.surface, self.ready.limits, self.policy, self.ready.ranks,
            fails.law() if fails else None, scales.law() if scales else None,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The name in the answer."""
        return self.table.name or self.table.role


def limited(pool: PoolModel, table: PoolTable) -> PoolModel:
    """The pool under the limits that the scenario states."""
    names = ("max_sequences", "chunk_tokens", "block_tokens")
    changes = {name: getattr(table, name) for name in names if getattr(table, name) is not None}
    old = pool.machine
    stack = old.stack.model_copy(update=changes)
    machine = old.under(stack) if changes else old
    return replace(pool, machine=machine, kv_blocks=table.kv_blocks)


def run(scenario: Scenario, pools: list[PoolModel], told: Told | None = None) -> Simulation:
    """Draw the traffic of a scenario and serve it; `pools` are those of its deployment. `told(done, all)` is progress.

    Ctrl-C keeps what was drawn and served until then. Raises InputError for a deployment that the simulator lacks.
    """
    drawn = draw(scenario)
    tables = scenario.deployment.pools
    _check(tables)
    longest = int(np.max(drawn.requests.input_tokens + drawn.requests.output_tokens, initial=1))
    parts = []
    for table, pool in zip(tables, pools, strict=True):
        ours = limited(pool, table)
        parts.append(Part(table, ours, _with_levels(tabulate(ours, table.layout(), longest), ours, table)))
    if told:
        told(0, len(drawn.requests))
    answer = serve(scenario, drawn, parts)
    if told:
        told(len(drawn.requests), len(drawn.requests))
    return answer


def serve(
    scenario: Scenario, drawn: Drawn, parts: list[Part], timeline: bool = True, compiled: bool | None = None
) -> Simulation:
    """The drawn traffic through pools whose tables are there; `timeline` keeps a log of all steps.

    `compiled` None = where one run is long enough to pay for it.
    """
    served = _served(scenario, drawn, parts, timeline=timeline, compile=compiled)
    replicas = _replicas(parts, served)
    return Simulation(
        scenario,
        drawn,
        served,
        replicas.hardware(),
        replicas,
        not served.interrupted,
        _tier(parts),
        _warnings(parts),
    )


def _with_levels(ready: Tabulated, pool: PoolModel, table: PoolTable) -> Tabulated:
    """With the levels of the prefix cache below the devices; the ranks of a replica share its room and its way evenly.

    A remote store is one for all of them.
    """
    layout, ranks, limits = table.layout(), table.attention_dp, ready.limits
    host, remote = table.host_cache, table.remote_cache
    if host is not None:
        limits = replace(limits, host=below(pool, layout, host.room / ranks, host.bandwidth / ranks))
    if remote is not None:
        limits = replace(limits, remote=below(pool, layout, remote.room, remote.bandwidth / ranks))
    return replace(ready, limits=limits)


def _check(tables: tuple[PoolTable, ...]) -> None:
    for table in tables:
        if table.policy is not None and table.policy not in POLICIES:
            raise InputError(f"policy '{table.policy[:40]}' is not known. Choose one of: {', '.join(POLICIES)}.")
    roles = [table.role for table in tables]
    if len(roles) > 2 or roles.count("mixed") > 1 or (len(roles) == 2 and set(roles) != {"prefill", "decode"}):
        raise InputError(
            f"The simulator serves one mixed pool, or one prefill and one decode pool; the scenario has {len(roles)} "
            f"pools: {', '.join(roles)}."
        )


def _served(scenario: Scenario, drawn: Drawn, parts: list[Part], **options: Any) -> Served:
    first = next(part for part in parts if part.table.role in ("mixed", "prefill"))
    last = next((part for part in parts if part.table.role == "decode"), None)
    traffic = drawn.requests if first.table.prefix_cache else _without_hashes(drawn.requests)
    answering = last or first
    return simulate_fleet(
        traffic,
        first.fleet,
        scenario.deployment.router.replace("_", "-"),
        last.fleet if last else None,
        _transfer(first, last, scenario.deployment.handover == "when_room") if last else None,
        drawn.loop,
        scenario.deployment.queue.law() if scenario.deployment.queue else None,
        random=np.random.default_rng(scenario.seed),
        host=first.ready.host,
        acceptance=answering.table.speculation().acceptance,
        **options,
    )


def _without_hashes(requests: Requests) -> Requests:
    return replace(requests, hashes=None)


def _transfer(first: Part, last: Part, when_room: bool) -> Transfer:
    """The way of a cache between the pools: what it takes for none, and per token."""
    one, two = (
        float(np.squeeze(transfer(first.model, last.model, first.table.layout(), Workload(tokens, 1))))
        for tokens in (1, 2)
    )
    in_ttft = first.model.machine.stack.transfer_in_ttft
    return Transfer(2 * one - two, two - one, in_ttft, when_room)


def _replicas(parts: list[Part], served: Served) -> Replicas:
    """What each queue is part of, how long it worked and was there, and what it took."""
    ordered = sorted(range(len(parts)), key=lambda place: parts[place].table.role == "decode")
    queues = [parts[place].queues for place in ordered]

    def each(value: Callable[[Part], float]) -> Array:
        return np.repeat([value(parts[place]) for place in ordered], queues)

    return Replicas(
        tuple(part.name for part in parts),
        np.repeat(ordered, queues),
        served.busy,
        _energy(parts, served.busy, each),
        each(lambda part: part.ready.limits.blocks),
        _on(served),
        each(lambda part: part.ready.ranks),
        each(lambda part: part.devices / part.ready.ranks),
        each(lambda part: part.packages / part.ready.ranks),
    )


def _on(served: Served) -> Array:
    """Seconds that each queue's devices were held: as long as it was not off."""
    end = float(np.max(served.finished[served.done], initial=0.0))
    if served.phases is None:
        return np.full(served.busy.size, end)
    return served.phases.seconds(end, (STARTING, UP, DRAINING, DOWN))


def _energy(parts: list[Part], busy: Array, each: Callable[[Callable[[Part], float]], Array]) -> Array | None:
    """Joules of each queue's devices while they work, at the power of their package; None where a chip has none."""
    powers = [part.model.machine.chip.power.get("package") for part in parts]
    if None in powers:
        return None
    watts = {id(part): power.value for part, power in zip(parts, powers, strict=True) if power is not None}
    return each(lambda part: watts[id(part)] * part.packages / part.ready.ranks) * busy


def _tier(parts: list[Part]) -> str:
    tiers = [tier for part in parts for tier in part.model.machine.tiers().values()]
    return "calibrated" if all(tier == "calibrated" for tier in tiers) else "transferred or datasheet"


def _warnings(parts: list[Part]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line for part in parts for line in part.model.warnings))
