"""Short-listed units under traffic: the load at which enough simulated requests meet every target.

The closed form compares means of a steady state with the targets; in a simulation requests arrive as they do, wait, and
are counted one by one. A unit that is swamped there gets a smaller share of the load, and a deployment more units.
Goodput as in DistServe (Zhong et al., OSDI 2024): the highest load at which a given share of the requests meet all
targets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import InputError, SilicastError, not_found
from silicast.planning.outlook import layouts_of
from silicast.planning.question import Question
from silicast.planning.units import Space, Units
from silicast.scenario import Layout
from silicast.serving.measures import PERCENTILES, SLO_PERCENTILE, Summary
from silicast.serving.pair import LET_IN
from silicast.simulation.run import Part, limited, serve
from silicast.simulation.scenario import Scenario, scenario_of
from silicast.simulation.tables import PoolTable
from silicast.simulation.traffic import draw
from silicast.tabulated import Tabulated, tabulate

Array = NDArray[Any]

#: requests of one run: enough for a 99th percentile, and several times those in flight
FEWEST_REQUESTS, MOST_REQUESTS, TURNOVERS = 2000, 20_000, 6
#: units that are simulated at a time: the router evens out what each of more would get
MOST_UNITS, MOST_IN_FLIGHT = 8, 500
#: standard deviation of the lengths over their mean, where no trace says
SPREAD = 0.5
#: the least share of the load of the closed form that is tried, and all that are: five halvings of the way to it
LEAST_SHARE = 0.2
SHARES = np.geomspace(LEAST_SHARE, 1.0, 33)
#: room for bursts beyond the sequences that a unit was chosen with, and of a pool that prefills
BURST, PREFILLS = 2.0, 64
MEASURES = ("ttft", "tpot", "itl", "e2el")
STATISTICS = ("mean", "median", *(f"p{one:g}" for one in PERCENTILES))


@dataclass(frozen=True, slots=True)
class Trials:
    """How deployments are simulated.

    percentile  share of the requests, in %, that must meet all targets
    limits      further limits in ms by measure, such as {"p99_ttft": 4000}: see STATISTICS and MEASURES
    trace       file that is replayed, its times scaled to the load; None = Poisson arrivals, lognormal lengths
    """

    percentile: float = SLO_PERCENTILE
    limits: Mapping[str, float] = field(default_factory=dict)
    trace: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise InputError(f"--percentile is above 0 and at most 100, got {self.percentile:g}.")
        known = [f"{statistic}_{measure}" for measure in MEASURES for statistic in STATISTICS]
        for name, value in self.limits.items():
            if name not in known:
                raise not_found("Measure", name, known, f"--limit knows {', '.join(STATISTICS)} of "
                                f"{', '.join(MEASURES)}, such as p99_ttft=4s.")  # fmt: skip
            if not value > 0:
                raise InputError(f"--limit {name} must be positive, in ms, got {value:g}.")


@dataclass(frozen=True, slots=True)
class Trial:
    """What a simulation says of a unit.

    share     part of the load of the closed form at which the targets are met, at most 1
    met       whether they are met at any
    as_told   whether they are met under the whole load of the closed form
    goodput   requests/s of one unit that meet all targets, at this share
    measures  of the run at this share, by the keys of `vllm bench serve`
    sequences that an attention rank of each pool could run at a time
    """

    share: float
    met: bool
    as_told: bool
    goodput: float
    measures: Summary
    sequences: tuple[int, ...] = ()

    @property
    def missing(self) -> float:
        """Share of the requests that miss a target; 0 where enough meet all."""
        share = self.measures["slo_attainment"]
        return 0.0 if self.met else 1.0 - float(share or 0)


class Bench:
    """Simulates units of a space for a question; tables of step times are made once for each pool."""

    def __init__(self, space: Space, question: Question, how: Trials) -> None:
        self.space, self.question, self.how = space, question, how
        self._tables: dict[tuple[int, Layout, str, int], tuple[PoolTable, Any, Tabulated]] = {}
        every = draw(self._scenario({"kind": "burst"}, MOST_REQUESTS, [{"chip": "any"}])).requests
        self.longest = int(np.max(every.input_tokens + every.output_tokens))

    def trial(self, units: Units, row: int, least: int = 0) -> Trial | None:
        """The highest of `SHARES` from the one at `least` on that a unit carries; None where it cannot be simulated."""
        try:
            return self._highest(units, row, least)
        except SilicastError:
            return None

    def _highest(self, units: Units, row: int, least: int) -> Trial:
        """Bisects the shares. Few units change in steps, so that one number of them is simulated once."""
        runs: dict[tuple[int, float], tuple[bool, float, Summary]] = {}

        def at(place: int) -> tuple[bool, float, Summary]:
            count, load = self._load(units, row, float(SHARES[place]))
            if (count, load) not in runs:
                runs[count, load] = self._run(units, row, count, load)
            return runs[count, load]

        full = SHARES.size - 1
        # what must carry much of its load to win is asked for that first
        found = at(least if least else full)
        as_told = found[0] and (not least or at(full)[0])
        good = full if as_told else least
        if as_told or not least:
            found = at(good)
        bad = full if found[0] else good
        while bad - good > 1:
            middle = (good + bad) // 2
            tried = at(middle)
            if tried[0]:
                good, found = middle, tried
            else:
                bad = middle
        room = tuple(int(part.table.max_sequences or 0) for part in self._parts(units, row, 1))
        return Trial(float(SHARES[good]), found[0], as_told, found[1], found[2], room)

    def _load(self, units: Units, row: int, share: float) -> tuple[int, float]:
        """Units to simulate, and what arrives at them: requests/s, or requests in flight."""
        work = self.question.workload
        rate, latency = float(units.requests[row]), float(units.e2e[row])
        room = int(np.clip(MOST_IN_FLIGHT / (rate * latency), 1, MOST_UNITS))
        if work.concurrency is not None:
            wanted = float(np.asarray(work.concurrency))
            count = int(np.ceil(wanted / (rate * latency * share)))
            shown = min(count, room)
            return shown, max(round(wanted * shown / count), 1)
        if work.rate is not None:
            wanted = float(np.asarray(work.rate))
            count = int(np.ceil(wanted / (LET_IN * rate * share)))
            shown = min(count, room)
            return shown, wanted * shown / count
        return room, LET_IN * rate * share * room

    def _run(self, units: Units, row: int, count: int, load: float) -> tuple[bool, float, Summary]:
        """(targets met, requests/s of one unit that meet them, measures) of `count` units under the load."""
        closed = self.question.workload.concurrency is not None
        flying = load if closed else load * float(units.e2e[row])
        requests = int(np.clip(TURNOVERS * flying, FEWEST_REQUESTS, MOST_REQUESTS))
        arrivals = {"kind": "closed", "concurrency": int(load)} if closed else {"kind": "poisson", "rate": load}
        parts = self._parts(units, row, count)
        scenario = self._scenario(arrivals, requests, [{"chip": "any"}])
        answer = serve(scenario, draw(scenario), parts, timeline=False, compiled=find_spec("numba") is not None)
        told = answer.summary
        limits = all((told[f"{name}_ms"] or 0) <= limit for name, limit in self.how.limits.items())
        met = told["slo_met"] is not False and not answer.saturated and limits
        offered = float(told["request_throughput"] or 0) if closed else load
        share = told["slo_attainment"]
        return met, offered * (1.0 if share is None else float(share)) / count, told

    def _scenario(self, arrivals: dict[str, Any], requests: int, pools: list[dict[str, Any]]) -> Scenario:
        work, targets = self.question.workload, self.question.targets
        known = {"ttft": targets.ttft_ms, "tpot": targets.tpot_ms, "e2e": targets.e2e_ms}
        slo = {name: f"{value} ms" for name, value in known.items() if value is not None}
        hit = float(np.asarray(work.prefix_hit))
        shared = round(hit * float(np.asarray(work.input_tokens)))
        means = {"input_tokens": float(np.asarray(work.input_tokens)) - shared,
                 "output_tokens": float(np.asarray(work.output_tokens))}  # fmt: skip
        traffic: dict[str, Any] = {"arrivals": arrivals} | {name: _lengths(mean) for name, mean in means.items()}
        if shared:
            traffic["prefixes"] = {"tokens": shared}
        if self.how.trace is not None:
            traffic = self._replayed(arrivals, requests)
        return scenario_of({
            "requests": requests, "traffic": traffic, "slo": slo | {"percentile": float(self.how.percentile)},
            "deployment": {"model": "planned", "router": "least_outstanding", "pools": pools},
        })  # fmt: skip

    def _replayed(self, arrivals: dict[str, Any], requests: int) -> dict[str, Any]:
        """The trace from its start at the rate of the load, or its lengths in a closed loop."""
        trace: dict[str, Any] = {"file": self.how.trace, "requests": requests}
        if arrivals["kind"] == "poisson":
            return {"trace": trace | {"rate": arrivals["rate"]}}
        return {"trace": trace, "arrivals": arrivals}

    def _parts(self, units: Units, row: int, count: int) -> list[Part]:
        """The pools of `count` units with their tables."""
        pools = layouts_of(self.space, units, row)
        parts = []
        for at, (place, layout, each) in enumerate(pools):
            role = "mixed" if len(pools) == 1 else ("prefill", "decode")[at]
            table, model, ready = self._pool(place, layout, role, float(units.sequences[row]))
            parts.append(Part(table.model_copy(update={"replicas": count * each}), model, ready))
        return parts

    def _pool(self, place: int, layout: Layout, role: str, sequences: float) -> tuple[PoolTable, Any, Tabulated]:
        pool = self.space.variants[place].pool
        stack = pool.machine.stack
        room = BURST * sequences
        if role == "prefill":
            room = max(PREFILLS, BURST * stack.chunk_tokens / float(np.asarray(self.question.workload.input_tokens)))
        # powers of two, so that batches of one layout share a table
        most = min(1 << int(np.ceil(np.log2(max(room, 16)))), stack.max_sequences)
        key = place, layout, role, most
        if key not in self._tables:
            sizes = {name: getattr(layout, name) for name in ("tp", "pp", "ep", "attention_dp", "cp")}
            drafts = int(np.asarray(pool.speculation.tokens))
            table = PoolTable.model_validate({
                "chip": pool.machine.chip.id, "role": role, "max_sequences": most, "mtp_tokens": drafts,
                "mtp_acceptance": float(np.asarray(pool.speculation.acceptance)), **sizes,
            })  # fmt: skip
            ours = limited(pool, table)
            self._tables[key] = table, ours, tabulate(ours, layout, self.longest)
        return self._tables[key]


def _lengths(mean: float) -> dict[str, Any]:
    if mean < 2:
        return {"kind": "fixed", "tokens": max(round(mean), 1)}
    return {"kind": "lognormal", "mean": mean, "spread": SPREAD}
