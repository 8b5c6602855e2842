"""Runs of one scenario at several rates: the highest rate that meets the targets, and the latency-throughput curve.

`run` answers one scenario; it is passed in. All rates stretch the same drawn arrivals, so that runs differ by the rate
alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from silicast.errors import InputError
from silicast.simulation import guidellm
from silicast.simulation.answer import Simulation
from silicast.simulation.scenario import Scenario
from silicast.simulation.tables import ArrivalTable, TraceTable, TrafficTable

Run = Callable[[Scenario], Simulation]

#: the rate is found to this share of itself
PRECISION = 0.01
#: the first rate is doubled or halved at most so often
MOST_DOUBLINGS = 20


@dataclass(frozen=True, slots=True)
class Found:
    """The highest rate whose run meets the SLO: factor on the rates of the scenario, requests/s, and that run.

    `best` is None where no rate meets it; `runs` are all runs in the order in which they were made.
    """

    factor: float
    rate: float
    best: Simulation | None
    runs: tuple[Simulation, ...]


def find_rate(run: Run, scenario: Scenario) -> Found:
    """Bisects the highest rate at which the SLO is met, to 1 %. Raises InputError without targets or without a rate."""
    if not scenario.slo.law().stated:
        raise InputError("The highest rate is sought under targets: give ttft, tpot or e2e.")
    runs: list[Simulation] = []

    def meets(factor: float) -> bool:
        runs.append(run(at_rate(scenario, factor)))
        return bool(runs[-1].summary["slo_met"]) and not runs[-1].saturated

    good, bad = _bracket(meets)
    best = next((one for one in reversed(runs) if one.summary["slo_met"] and not one.saturated), None)
    while good and bad and bad / good > 1 + PRECISION:
        middle = (good * bad) ** 0.5
        if meets(middle):
            good, best = middle, runs[-1]
        else:
            bad = middle
    return Found(good, offered(best) if best else 0.0, best, tuple(runs))


def _bracket(meets: Callable[[float], bool]) -> tuple[float, float]:
    """A factor that meets the targets and the double that does not; 0 where there is none."""
    factor = 1.0
    if meets(factor):
        for _ in range(MOST_DOUBLINGS):
            if not meets(2 * factor):
                return factor, 2 * factor
            factor *= 2
        return factor, 0.0
    for _ in range(MOST_DOUBLINGS):
        if meets(factor / 2):
            return factor / 2, factor
        factor /= 2
    return 0.0, factor


def offered(answer: Simulation) -> float:
    """Requests/s that were sent, mean from the start to the last one."""
    times = answer.drawn.requests.arrival
    last = float(times[-1]) if times.size else 0.0
    return times.size / last if last > 0 else float("inf")


def at_rate(scenario: Scenario, factor: float) -> Scenario:
    """The scenario with all rates times `factor`. Raises InputError for traffic that has no rate."""
    return scenario.model_copy(update={"traffic": tuple(_scaled(table, factor) for table in scenario.traffic)})


def _scaled(table: TrafficTable, factor: float) -> TrafficTable:
    if table.arrivals is not None:
        return table.model_copy(update={"arrivals": _faster(table.arrivals, factor)})
    if table.trace is None:
        raise InputError("This traffic has neither arrivals nor a trace.")
    return table.model_copy(update={"trace": _denser(table.trace, factor)})


def _faster(when: ArrivalTable, factor: float) -> ArrivalTable:
    if when.kind in ("closed", "burst"):
        raise InputError(
            f"{when.kind} arrivals have no rate to change; give poisson, gamma, constant, diurnal or ramp."
        )
    if when.knots is not None:
        return when.model_copy(update={"knots": tuple((time, rate * factor) for time, rate in when.knots)})
    return when.model_copy(update={"rate": float(when.rate or 0) * factor})


def _denser(trace: TraceTable, factor: float) -> TraceTable:
    if trace.rate is not None:
        return trace.model_copy(update={"rate": trace.rate * factor})
    return trace.model_copy(update={"time_scale": trace.time_scale / factor})


def sweep(run: Run, scenario: Scenario, size: int = guidellm.SWEEP, kind: str = "constant") -> list[Simulation]:
    """The latency-throughput curve: one request at a time, all at once, then rates evenly between, in that order.

    The scenario has one kind of traffic and a number of requests. A rate that cannot be is left out.
    """
    if len(scenario.traffic) > 1 or scenario.requests is None:
        raise InputError("A sweep needs one kind of traffic and a number of requests.")
    runs = [run(_arriving(scenario, table)) for table in guidellm.arrivals("sweep")]
    slow, fast = (float(one.summary["request_throughput"] or 0) for one in runs)
    for rate in guidellm.sweep_rates(slow, fast, size).tolist():
        if rate > 0:
            runs.append(run(_arriving(scenario, {"kind": kind, "rate": rate})))
    return runs


def _arriving(scenario: Scenario, arrivals: dict[str, Any]) -> Scenario:
    table = scenario.traffic[0].model_copy(update={"arrivals": ArrivalTable.model_validate(arrivals)})
    return scenario.model_copy(update={"traffic": (table,)})
