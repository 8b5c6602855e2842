"""An outcome to test reports with, made by the simplest of servers: a queue before replicas with fixed speeds."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from silicast.serving.measures import Hardware
from silicast.serving.requests import Requests
from silicast.simulation import Simulation, draw, scenario_of
from silicast.simulation.answer import Replicas

Array = Any


@dataclass
class Outcome:
    """The columns of an outcome."""

    arrival: Array
    dispatched: Array
    first_token: Array
    finished: Array
    output_tokens: Array
    preemptions: Array
    cached_tokens: Array
    host_tokens: Array
    remote_tokens: Array
    replica: Array
    state: Array
    gaps: Any = None
    timeline: Any = None
    retries: Any = None
    phases: Any = None


@dataclass
class Steps:
    """A timeline."""

    start: Array
    end: Array
    running: Array
    waiting: Array
    kv_blocks: Array
    kind: Array
    steps: Array
    decodes: Array
    tokens: Array
    replica: Array


@dataclass
class Histogram:
    """Gaps between tokens."""

    seconds: Array
    weights: Array


def requests(count: int = 200, rate: float = 4.0, seed: int = 3) -> Requests:
    """Poisson arrivals of mixed lengths."""
    random = np.random.default_rng(seed)
    none = np.zeros(count, dtype=np.int64)
    return Requests(
        np.cumsum(random.exponential(1 / rate, count)), random.integers(1, 2000, count), random.integers(1, 200, count),
        none - 1, none, None, 16, none,
    )  # fmt: skip


def outcome(sent: Requests, replicas: int = 2, slots: int = 4, reject: bool = True) -> Outcome:
    """Each replica answers `slots` requests at once at 10,000 input and 50 output tokens/s; every 50th is rejected."""
    free = np.zeros((replicas, slots))
    state = 1 + (reject & (np.arange(sent.arrival.size) % 50 == 49)).astype(np.int64)
    served = [np.full(sent.arrival.size, np.nan) for _ in range(3)]
    replica = np.full(sent.arrival.size, -1)
    for place in np.flatnonzero(state == 1):
        at = np.unravel_index(np.argmin(free), free.shape)
        begin = max(float(free[at]), float(sent.arrival[place]))
        first = begin + sent.input_tokens[place] / 10_000
        free[at] = first + (sent.output_tokens[place] - 1) / 50
        replica[place] = at[0]
        for column, value in zip(served, (begin, first, free[at]), strict=True):
            column[place] = value
    none = np.zeros(sent.arrival.size, dtype=np.int64)
    return Outcome(
        sent.arrival,
        *served,
        np.where(state == 1, sent.output_tokens, 0),
        none,
        sent.input_tokens // 4,
        none,
        none,
        replica,
        state,
    )


def steps(served: Outcome) -> Steps:
    """One row for the time between two starts or ends at a replica, with what ran and waited then."""
    done = served.state == 1
    parts = []
    for one in np.unique(served.replica[done]):
        own = done & (served.replica == one)
        moments = np.unique(np.concatenate([served.arrival[own], served.dispatched[own], served.finished[own]]))
        middles = (moments[1:] + moments[:-1]) / 2
        came, began, ended = (
            np.searchsorted(np.sort(times[own]), middles)
            for times in (served.arrival, served.dispatched, served.finished)
        )
        busy = began > ended
        running, waiting = (began - ended)[busy], (came - began)[busy]
        ones = np.ones(running.size, dtype=int)
        parts.append((moments[:-1][busy], moments[1:][busy], running, waiting, running * 100, ones * 2, ones, running,
                      ones * 0, ones * one))  # fmt: skip
    return Steps(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def simulation(count: int = 400, rate: float = 3.0, **given: Any) -> Simulation:
    """A run of two kinds of traffic on two pools, answered by the simplest of servers."""
    lengths = {"input_tokens": {"kind": "uniform", "low": 1, "high": 2000}}
    scenario = scenario_of(
        {
            "name": "two <tenants>",
            "seed": 5,
            "requests": count,
            "traffic": [
                {"name": name, "arrivals": {"kind": "poisson", "rate": rate / 2}, **lengths, "output_tokens": tokens}
                for name, tokens in (("chat [bold]", 100), ("code", 40))
            ],
            "deployment": {"model": "some/model", "pools": [{"chip": "chip-a", "replicas": 2, "tp": 4}]},
            "slo": {"ttft": "300ms", "tpot": "50ms"},
        }
    )
    drawn = draw(scenario)
    served = outcome(drawn.requests)
    end = float(np.nanmax(served.finished))
    replicas = Replicas(("mixed",), np.zeros(2, dtype=int), np.array([end, end / 2]), np.full(2, 3e5), np.full(2, 1000))
    served.gaps = Histogram(np.array([0.02, 0.04]), np.array([9.0, 1.0]))
    served.timeline = steps(served)
    return Simulation(
        scenario, drawn, served, Hardware(8, 4), replicas,
        **{"tier": "datasheet", "warnings": ("made for a test.",)} | given,
    )  # fmt: skip
