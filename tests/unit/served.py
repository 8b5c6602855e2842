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
    replica: Array
    state: Array


@dataclass
class Changes:
    """A timeline."""

    time: Array
    replica: Array
    running: Array
    waiting: Array
    kv_blocks: Array


@dataclass
class Histogram:
    """Gaps between tokens."""

    seconds: Array
    counts: Array


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
    state = (reject & (np.arange(sent.arrival.size) % 50 == 49)).astype(np.int64)
    served = [np.full(sent.arrival.size, np.nan) for _ in range(3)]
    replica = np.full(sent.arrival.size, -1)
    for place in np.flatnonzero(state == 0):
        at = np.unravel_index(np.argmin(free), free.shape)
        begin = max(float(free[at]), float(sent.arrival[place]))
        first = begin + sent.input_tokens[place] / 10_000
        free[at] = first + (sent.output_tokens[place] - 1) / 50
        replica[place] = at[0]
        for column, value in zip(served, (begin, first, free[at]), strict=True):
            column[place] = value
    none = np.zeros(sent.arrival.size, dtype=np.int64)
    return Outcome(
        sent.arrival, *served, np.where(state == 0, sent.output_tokens, 0), none, sent.input_tokens // 4, replica, state
    )


def changes(served: Outcome) -> Changes:
    """Running and waiting requests of each replica at every start and end."""
    done = served.state == 0
    moments = np.concatenate([served.arrival[done], served.dispatched[done], served.finished[done]])
    kind = np.repeat([0, 1, 2], done.sum())
    replica = np.tile(served.replica[done], 3)
    order = np.argsort(moments, kind="stable")
    running, waiting = np.zeros(order.size, dtype=int), np.zeros(order.size, dtype=int)
    for one in np.unique(replica):
        own = replica[order] == one
        came, began, ended = (own & (kind[order] == what) for what in range(3))
        running[own] = np.cumsum(began.astype(int) - ended)[own]
        waiting[own] = np.cumsum(came.astype(int) - began)[own]
    return Changes(moments[order], replica[order], running, waiting, running * 100)


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
    gaps = Histogram(np.array([0.02, 0.04]), np.array([9.0, 1.0]))
    return Simulation(
        scenario, drawn, served, Hardware(8, 4), replicas, gaps=gaps, timeline=changes(served),
        **{"tier": "datasheet", "warnings": ("made for a test.",)} | given,
    )  # fmt: skip
