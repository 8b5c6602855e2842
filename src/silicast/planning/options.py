"""A deployment as a planner offers it: its pools, its numbers with ranges, what holds it back, how sure it is."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.disaggregation import decode_load
from silicast.estimate import Estimate, Tier, worst
from silicast.parts import explained
from silicast.planning.deployments import WATTS_PER_MW, Deployments, excesses
from silicast.planning.economics import usd_per_million
from silicast.planning.outlook import Outlook, layouts_of, scores
from silicast.planning.question import Question
from silicast.planning.trials import Trial
from silicast.planning.units import Space, Units
from silicast.pool import PoolModel
from silicast.scenario import Deployment, Layout, Pool, Precision, Role, Speculation

Array = NDArray[Any]


@dataclass(frozen=True)
class PoolChoice:
    """One pool: replicas in all, their layout, formats, and the requests that one of them holds."""

    role: Role
    chip: str
    system: str
    stack: str
    precision: Precision
    drafts: Speculation
    microbatches: int | None
    layout: Layout
    replicas: int
    packages: int
    devices_per_node: int
    #: sequences per attention rank at the most that targets and memory allow; 0 where the pool only prefills
    sequences: float
    bound_by: str
    tier: Tier
    #: the innermost network that holds a replica
    link: str = ""

    @property
    def devices(self) -> int:
        """Devices of the pool."""
        return self.replicas * int(self.layout.devices)

    @property
    def nodes(self) -> int:
        """Nodes that hold the pool."""
        return -(-self.devices // self.devices_per_node)

    @property
    def cut(self) -> str:
        """The sizes that are not 1."""
        names = (("tp", "TP"), ("pp", "PP"), ("ep", "EP"), ("attention_dp", "attention DP"), ("cp", "CP"))
        sizes = [f"{text} {getattr(self.layout, name)}" for name, text in names if getattr(self.layout, name) > 1]
        return ", ".join(sizes) or "one device"


@dataclass(frozen=True)
class Option:
    """One deployment. `sure` is the share of the draws in which every target holds; `held_by` stops a larger batch.

    `trial` is what a simulation says of its units.
    `estimates` by metric, units in the key; `score` in units of the objective; `samples` are its draws.
    """

    chips: tuple[str, ...]
    met: bool
    pools: tuple[PoolChoice, ...]
    devices: int
    packages: int
    nodes: int
    usd_per_hour: float | None
    watts: float | None
    estimates: dict[str, Estimate]
    score: Estimate
    sure: float
    held_by: str
    samples: Array = field(repr=False)
    trial: Trial | None = None

    @property
    def name(self) -> str:
        """The chip, or both with the one that prefills first."""
        return " -> ".join(dict.fromkeys(self.chips))

    @property
    def split(self) -> bool:
        """Whether prefill and decode have pools of their own."""
        return len(self.pools) > 1

    def deployment(self, model: str) -> Deployment:
        """The same as the noun that a simulation takes."""
        return Deployment(model, tuple(
            Pool(one.chip, one.role, one.replicas, one.layout, one.precision, one.system, one.stack, one.drafts,
                 one.microbatches)
            for one in self.pools
        ))  # fmt: skip


def option(
    space: Space, found: Deployments, look: Outlook, row: int, question: Question, met: bool, held_by: str
) -> Option:
    """Row `row` of `found` and of `look`."""
    pools = pools_of(space, found.units, row, int(found.count[row]), question)
    samples = scores(found, look)[row]
    usd, watts = (None if np.isnan(value[row]) else float(value[row]) for value in (found.usd_per_hour, found.watts))
    tier = worst(pool.tier for pool in pools)
    return Option(
        chips=tuple(pool.chip for pool in pools),
        met=met,
        pools=pools,
        devices=int(found.devices[row]),
        packages=int(found.packages[row]),
        nodes=_nodes(pools),
        usd_per_hour=usd,
        watts=watts,
        estimates=_estimates(found, look, row, question, tier),
        score=Estimate.of(samples, question.objective, tier),
        sure=_sure(look, row, question),
        held_by=held_by,
        samples=samples,
    )


def _nodes(pools: tuple[PoolChoice, ...]) -> int:
    """Nodes that hold all pools; pools of one chip share theirs."""
    devices: dict[tuple[str, int], int] = {}
    for pool in pools:
        key = pool.chip, pool.devices_per_node
        devices[key] = devices.get(key, 0) + pool.devices
    return sum(-(-count // node) for (_, node), count in devices.items())


def pools_of(space: Space, units: Units, row: int, count: int, question: Question) -> tuple[PoolChoice, ...]:
    """The pools of `count` units of row `row`."""
    made: list[PoolChoice] = []
    parts = layouts_of(space, units, row)
    for place, layout, each in parts:
        variant, decodes = space.variants[place], place is parts[-1][0]
        role: Role = "mixed" if len(parts) == 1 else ("prefill" if not made else "decode")
        replicas = count * each
        batch = float(units.sequences[row]) if role != "prefill" else 0.0
        pool = variant.pool
        load = decode_load(pool, question.workload, batch) if decodes and batch else pool.full_chunk(question.workload)
        told = explained(pool.staged_step(load, layout), pool.machine.tiers())
        made.append(PoolChoice(
            role, variant.chip.id, pool.machine.system.id, pool.machine.stack.id, pool.precision, pool.speculation,
            pool.microbatches, layout, replicas,
            int(pool.packages(replicas * int(layout.devices))),
            pool.machine.system.devices_per_node, batch,
            told.bound_by, told.tier, _link(pool, int(layout.devices)),
        ))  # fmt: skip
    return tuple(made)


def _link(pool: PoolModel, devices: int) -> str:
    """The innermost domain that holds so many devices, and its bandwidth where it is known."""
    machine = pool.machine
    fitting = [one for one in machine.system.domains if one.size is None or one.size >= devices]
    if not fitting:
        return "no network"
    link = machine.chip.links.get(fitting[0].link)
    number = fitting[0].bandwidth or (link.bandwidth if link else None)
    return fitting[0].name + (f" ({number.value / 1e9:,.4g} GB/s per device and direction)" if number else "")


def _estimates(found: Deployments, look: Outlook, row: int, question: Question, tier: Tier) -> dict[str, Estimate]:
    work = question.workload
    output = look.served[row] * float(np.asarray(work.output_tokens))
    total = output + look.served[row] * float(np.asarray(work.input_tokens))
    devices, packages = float(found.devices[row]), float(found.packages[row])
    known: dict[str, tuple[Array, str]] = {
        "ttft_ms": (look.ttft[row] * 1e3, "ms"),
        "tpot_ms": (look.tpot[row] * 1e3, "ms"),
        "e2e_ms": (look.e2e[row] * 1e3, "ms"),
        "requests_per_s": (look.served[row], "requests/s"),
        "output_tokens_per_s": (output, "tokens/s"),
        "output_tokens_per_s_per_device": (output / devices, "tokens/s"),
        "output_tokens_per_s_per_package": (output / packages, "tokens/s"),
    }
    if work.has_tpot:
        known["tokens_per_s_per_user"] = (1 / look.tpot[row], "tokens/s")
    usd, watts = float(found.usd_per_hour[row]), float(found.watts[row])
    if np.isfinite(usd):
        for name, tokens in (("output", output), ("total", total)):
            cost = np.array([usd_per_million(usd, one) for one in tokens])
            known[f"usd_per_million_{name}_tokens"] = (cost, "USD")
    if np.isfinite(watts):
        known["output_tokens_per_s_per_mw"] = (output / (watts / WATTS_PER_MW), "tokens/s/MW")
    return {name: Estimate.of(values, unit, tier) for name, (values, unit) in known.items()}


def _sure(look: Outlook, row: int, question: Question) -> float:
    """Share of the draws in which the means meet their targets and the load is served."""
    good = np.ones(look.ttft[row].shape, dtype=bool)
    for name, target in question.targets.stated.items():
        good &= getattr(look, name)[row] * 1e3 <= target
    if question.workload.rate is not None:
        good &= look.able[row] >= float(np.asarray(question.workload.rate))
    return float(np.mean(good))


def held_back(found: Deployments, row: int, question: Question, space: Space, ratios: Array) -> str:
    """What stops a larger batch of the unit of a row: the next larger one tells.

    `ratios` are TTFT and TPOT of the row in draws over those of the points.
    """
    units = found.units
    same = np.ones(len(units), dtype=bool)
    for name in ("prefill", "decode", "prefill_row", "decode_row", "decode_replicas"):
        column = getattr(units, name)
        same &= column == column[row]
    larger = np.flatnonzero(same & (units.sequences > units.sequences[row]))
    if not larger.size:
        return _full(space, units, row)
    after = found.pick(larger[[int(np.argmin(units.sequences[larger]))]])
    over = excesses(after, question)
    slow = dict(zip(("ttft", "tpot"), ratios, strict=True))
    broken = [name for name, value in over.items() if value[0] * slow.get(name, 1.0) > 1]
    latencies = [name.upper() for name in broken if name in question.targets.stated]
    if latencies:
        return f"the {' and '.join(latencies)} target{'s' if len(latencies) > 1 else ''}"
    return "the budget" if broken else "no gain in output"


def _full(space: Space, units: Any, row: int) -> str:
    stack = space.variants[int(units.decode[row])].pool.machine.stack
    return "the stack's limit of sequences" if units.sequences[row] >= stack.max_sequences else "memory for the cache"
