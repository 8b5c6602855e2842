"""An outcome to test reports with, made by the simplest of servers: a queue before replicas with fixed speeds."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from silicast.serving.requests import Requests

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


def outcome(sent: Requests, replicas: int = 2, slots: int = 4) -> Outcome:
    """Each replica answers `slots` requests at once at 10,000 input and 50 output tokens/s; every 50th is rejected."""
    free = np.zeros((replicas, slots))
    state = (np.arange(sent.arrival.size) % 50 == 49).astype(np.int64)
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
        running[own] = np.cumsum((kind[order] == 1).astype(int) - (kind[order] == 2))[own]
        waiting[own] = np.cumsum((kind[order] == 0).astype(int) - (kind[order] == 1))[own]
    return Changes(moments[order], replica[order], running, waiting, running * 100)
