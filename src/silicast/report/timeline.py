"""A run over time: what its replicas held and what its requests felt, averaged over equal slices of the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.report.vega import Row
from silicast.serving.measures import MS, Rows, good
from silicast.serving.occupancy import spans
from silicast.serving.state import DOWN, DRAINING, STARTING, UP
from silicast.simulation.answer import Replicas, Simulation

Array = NDArray[Any]

#: slices of a run: at most one per three pixels of a chart, at least as many as show a shape, and between them so many
#: requests in each that the rates of a slice are not noise
MOST_SLICES, LEAST_SLICES, PER_SLICE = 240, 24, 20
#: what replicas do, by number
PHASES = {UP: "up", STARTING: "starting", DRAINING: "draining", DOWN: "failed"}
QUANTILES = (50.0, 90.0, 99.0)


@dataclass(frozen=True, slots=True)
class Slices:
    """Equal slices of a run; `edges` (s) has one more than there are slices."""

    edges: Array

    @classmethod
    def of(cls, answer: Simulation) -> "Slices | None":
        """The slices of a run, None where nothing was answered."""
        end = float(answer.summary["duration"] or 0)
        count = int(np.clip(answer.served.state.size // PER_SLICE, LEAST_SLICES, MOST_SLICES))
        return cls(np.linspace(0, end, count + 1)) if end > 0 else None

    @property
    def middles(self) -> Array:
        """Time (s) of each slice."""
        return np.asarray((self.edges[1:] + self.edges[:-1]) / 2)

    @property
    def width(self) -> float:
        """Seconds of one slice."""
        return float(self.edges[1] - self.edges[0])

    def per_second(self, times: Array) -> Array:
        """Events per second in each slice."""
        return np.asarray(np.histogram(times, self.edges)[0] / self.width)

    def mean(self, starts: Array, ends: Array, values: Array) -> Array:
        """Mean over each slice of a value that holds from `starts` to `ends` (s, in order, none overlaps the next)."""
        corners = np.stack((starts, ends), axis=-1).ravel()
        steps = np.stack((values * (ends - starts), np.zeros(values.size)), axis=-1).ravel()
        sums = np.concatenate(([0.0], np.cumsum(steps)[:-1]))
        if not corners.size:
            return np.zeros(self.edges.size - 1)
        return np.asarray(np.diff(np.interp(self.edges, corners, sums)) / self.width)


def held(answer: Simulation, slices: Slices, column: str) -> dict[str, Array]:
    """Sum over the replicas of each pool of a column of the timeline, mean over each slice."""
    timeline = answer.served.timeline
    if timeline is None:
        return {}
    replicas = answer.replicas
    found = {name: np.zeros(slices.edges.size - 1) for name in replicas.pools}
    for replica, pool in enumerate(replicas.pool.tolist()):
        found[replicas.pools[pool]] += slices.mean(*spans(timeline, replica, column, float(slices.edges[-1])))
    return found


def batch_rows(answer: Simulation, slices: Slices) -> list[Row]:
    """Requests that run and wait in each pool."""
    return [
        {"time": time, "value": value, "pool": pool, "what": what, "line": f"{pool}, {what}"}
        for column, what in (("running", "running"), ("waiting", "waiting"))
        for pool, values in held(answer, slices, column).items()
        for time, value in zip(slices.middles.tolist(), values.tolist(), strict=True)
    ]


def cache_rows(answer: Simulation, slices: Slices) -> list[Row]:
    """Share of the blocks of each pool that are in use, or their number where the room is not known."""
    return [
        {"time": time, "value": value, "pool": pool, "what": "KV cache", "line": pool}
        for pool, values in held(answer, slices, "kv_blocks").items()
        for time, value in zip(slices.middles.tolist(), (values / _room(answer.replicas, pool)).tolist(), strict=True)
    ]


def _room(replicas: Replicas, pool: str) -> float:
    if replicas.kv_blocks is None:
        return 1.0
    return float(np.sum(replicas.kv_blocks[replicas.pool == replicas.pools.index(pool)]))


def replica_rows(answer: Simulation, slices: Slices) -> list[Row]:
    """Replicas of each pool that take requests, start, drain, are down; none where nothing happens to them."""
    phases, replicas = answer.served.phases, answer.replicas
    if phases is None:
        return []
    end = float(slices.edges[-1])
    found: dict[str, Array] = {}
    for replica, pool in enumerate(replicas.pool.tolist()):
        starts, ends, phase = phases.spans(replica, end)
        weight = 1.0 if replicas.ranks is None else 1 / float(replicas.ranks[replica])
        for number, what in PHASES.items():
            values = weight * (phase == number)
            if values.any():
                name = f"{replicas.pools[pool]}, {what}"
                found[name] = found.get(name, 0.0) + slices.mean(starts, ends, values)
    return [
        {"time": time, "value": value, "line": line}
        for line, values in found.items()
        for time, value in zip(slices.middles.tolist(), values.tolist(), strict=True)
    ]


def rate_rows(answer: Simulation, slices: Slices) -> list[Row]:
    """Requests/s that were sent, answered, and answered within all targets."""
    rows = answer.rows
    slo = answer.scenario.slo.law()
    lines = {"sent": rows.arrival[np.isfinite(rows.arrival)], "answered": rows.finished[rows.done]}
    if slo.stated:
        lines["answered within the targets"] = rows.finished[good(rows, slo)]
    return [
        {"time": time, "value": value, "line": line}
        for line, times in lines.items()
        for time, value in zip(slices.middles.tolist(), slices.per_second(times).tolist(), strict=True)
    ]


def wait_rows(answer: Simulation, slices: Slices) -> list[Row]:
    """Percentiles of the TTFT (ms) of the requests that were sent in each slice."""
    done = answer.rows.where(answer.rows.done)
    order = np.argsort(done.arrival, kind="stable")
    times, waits = done.arrival[order], done.ttft[order] * MS
    bounds = np.searchsorted(times, slices.edges)
    found: list[Row] = []
    for time, first, last in zip(slices.middles.tolist(), bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if last > first:
            values = np.percentile(waits[first:last], QUANTILES)
            found += [{"time": time, "value": float(value), "line": f"p{share:g}"}
                      for share, value in zip(QUANTILES, values, strict=True)]  # fmt: skip
    return found


def share_rows(rows: Rows) -> list[Row]:
    """How many percent of the answered requests had at most which TTFT, TPOT and E2E, in ms."""
    done = rows.where(rows.done)
    shares = np.concatenate((np.arange(1.0, 100.0), [99.5, 99.9]))
    found: list[Row] = []
    for line, seconds in (("TPOT", done.tpot), ("TTFT", done.ttft), ("E2E", done.e2e)):
        known = seconds[seconds > 0]
        if known.size:
            values = np.percentile(known * MS, shares)
            found += [{"value": float(value), "share": float(share), "line": line, "text": f"{share:g} %"}
                      for share, value in zip(shares, values, strict=True)]  # fmt: skip
    return found


def curve_rows(runs: Sequence[Simulation]) -> list[Row]:
    """Latencies (ms) of several runs by the requests/s that were answered."""
    lines = {"TTFT, mean": "mean_ttft_ms", "TTFT, p99": "p99_ttft_ms", "TPOT, mean": "mean_tpot_ms",
             "TPOT, p99": "p99_tpot_ms"}  # fmt: skip
    return [
        {"rate": float(one.summary["request_throughput"] or 0), "value": float(value), "line": line}
        for line, key in lines.items()
        for one in runs
        if (value := one.summary[key])
    ]
