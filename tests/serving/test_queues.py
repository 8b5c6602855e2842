"""Queues with known answers: a replica with steps of constant time, or of a time per request, is one of them.

A request of k output tokens on a replica with one place takes k steps. k is geometric (the discrete exponential) or
fixed. Bounds are four standard errors of batch means, and what steps of finite length shift.
"""

import math

import numpy as np
import pytest

from silicast.serving.requests import ClosedLoop, Requests, requests
from silicast.serving.simulate import Limits, simulate
from silicast.serving.surface import Surface, compile_surface, constant_surface

pytest.importorskip("numba")

STEP = 0.01
MEAN = 50.0
COUNT = 60_000
BATCHES = 20


def traffic(load: float, outputs: np.ndarray, servers: int = 1, seed: int = 7) -> Requests:
    random = np.random.default_rng(seed)
    rate = load * servers / (STEP * outputs.mean())
    return requests(np.cumsum(random.exponential(1 / rate, outputs.size)), 1, outputs)


def geometric(seed: int = 3, count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(seed).geometric(1 / MEAN, count)


def agrees(values: np.ndarray, expected: float, bias: float = 0.0) -> None:
    """The mean lies within four standard errors of batch means, the first batch left out, plus a known bias."""
    means = np.array([batch.mean() for batch in np.array_split(values, BATCHES)[1:]])
    error = means.std(ddof=1) / math.sqrt(means.size)
    print(f"mean {means.mean():.5g}, expected {expected:.5g}, standard error {error:.2g}")
    assert abs(means.mean() - expected) <= 4 * error + bias
    assert error < 0.05 * expected


def one_by_one(traffic: Requests, surface: Surface | None = None, places: int = 1) -> np.ndarray:
    """Seconds from arrival to the end."""
    limits = Limits(2 * places, places, 1 << 20, 16)
    return simulate(traffic, surface or constant_surface(STEP, places, 2 * places), limits, compile=True).e2e


def pollaczek_khinchine(load: float, service: np.ndarray) -> float:
    return service.mean() + load * (service**2).mean() / (2 * service.mean() * (1 - load))


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_server_with_exponential_service(load: float) -> None:
    agrees(one_by_one(traffic(load, geometric())), MEAN * STEP / (1 - load), bias=STEP / (1 - load))


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_server_with_constant_service(load: float) -> None:
    service = np.full(COUNT, int(MEAN))
    agrees(one_by_one(traffic(load, service)), pollaczek_khinchine(load, service * STEP))


def test_one_server_with_any_service() -> None:
    service = np.where(np.random.default_rng(5).random(COUNT) < 0.9, 20, 300)
    agrees(one_by_one(traffic(0.6, service)), pollaczek_khinchine(0.6, service * STEP))


@pytest.mark.parametrize(("servers", "load"), [(4, 0.7), (16, 0.85)])
def test_many_servers(servers: int, load: float) -> None:
    """Erlang's C formula. A place that is free waits for the running step to end: half a step on average."""
    offered = servers * load
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) / (1 - load)
    waits = last / (sum(terms) + last)
    expected = MEAN * STEP * (1 + waits / (servers * (1 - load)))
    agrees(one_by_one(traffic(load, geometric(), servers), places=servers) - STEP / 2, expected, bias=STEP)


def test_processor_sharing() -> None:
    """Every step gives each request a token and takes a time per request: E[T] = E[S] / (1 - rho)."""
    places, load = 256, 0.6
    surface = compile_surface(lambda load: STEP * load.tokens, places, 2 * places, 2048)
    taken = one_by_one(traffic(load, geometric()), surface, places)
    # a request waits for the step that runs when it comes, and its first token for all of its first step
    agrees(taken, MEAN * STEP / (1 - load), bias=2 * STEP / (1 - load) ** 2)


@pytest.mark.parametrize("clients", [2, 8])
def test_closed_network(clients: int) -> None:
    """Machine repairman: exponential service, any think time (a station without queue is insensitive to it)."""
    think, outputs = 2.0, geometric()
    limits = Limits(2, 1, 1 << 20, 16)
    out = simulate(
        requests(np.zeros(COUNT), 1, outputs),
        constant_surface(STEP, 1, 2), limits, loop=ClosedLoop(clients, think), compile=True,
    )  # fmt: skip
    service = MEAN * STEP
    weights = [
        math.factorial(clients) / math.factorial(clients - k) * (service / think) ** k for k in range(clients + 1)
    ]
    rate = (1 - weights[0] / sum(weights)) / service
    ends = np.sort(out.finished)
    agrees(np.diff(ends), 1 / rate)
