"""Prefixes that leave the device go to the memory of its host, then to a remote store, and come back at a price."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.serving.columns import NOTHING, Below
from silicast.serving.fleet import Fleet, simulate_fleet
from silicast.serving.outcome import Served
from silicast.serving.requests import ClosedLoop, Requests, requests
from silicast.serving.simulate import Limits, simulate
from tests.serving.test_leaps import same
from tests.serving.traffic import BLOCK, SURFACE, Case, cases, prefixed

PROMPT = 32
LIMITS = Limits(96, 12, 30, BLOCK)
ALL = 10_000


def asked(order: list[int], gap: float = 10.0) -> Requests:
    """One prompt after another, each the same as all of its number; the cache has room for three."""
    plain = requests(np.arange(len(order)) * gap, PROMPT, 4)
    blocks = PROMPT // BLOCK
    ids = np.concatenate([number * blocks + np.arange(blocks) for number in order])
    return replace(plain, hashes=(np.arange(len(order) + 1) * blocks, ids), block_tokens=BLOCK)


def served(traffic: Requests, host: Below = NOTHING, remote: Below = NOTHING, **options: bool) -> Served:
    return simulate(traffic, SURFACE, replace(LIMITS, host=host, remote=remote), compile=False, **options)


def test_what_left_the_device_comes_back_from_the_host_at_its_price() -> None:
    """By hand: five prompts, then the first one again, which has gone by then; its last block is always computed."""
    order = [0, 1, 2, 3, 4, 0]
    gone = served(asked(order))
    kept = served(asked(order), Below(ALL, 0.01))
    free = served(asked(order), Below(ALL, 0.0))
    assert gone.cached_tokens[5] == 0
    assert kept.cached_tokens[5] == kept.host_tokens[5] == PROMPT - BLOCK
    blocks = (PROMPT - BLOCK) / BLOCK
    assert kept.ttft[5] - free.ttft[5] == pytest.approx(blocks * 0.01)
    assert free.ttft[5] < gone.ttft[5]
    assert kept.remote_tokens.sum() == 0


def test_what_left_the_host_comes_back_from_the_store() -> None:
    order = [0, 1, 2, 3, 4, 5, 6, 0]
    out = served(asked(order), Below(16, 0.001), Below(ALL, 0.01))
    assert out.remote_tokens[7] > 0
    assert out.host_tokens[7] + out.remote_tokens[7] == out.cached_tokens[7] == PROMPT - BLOCK
    assert served(asked(order), Below(16, 0.001)).cached_tokens[7] == out.host_tokens[7]


def test_whoever_loads_in_one_step_shares_the_way() -> None:
    """Two prompts that come at one moment are loaded in one step, which waits for both."""
    traffic = asked([0, 1, 2, 3, 4, 0, 1])
    times = traffic.arrival.copy()
    times[6] = times[5]
    traffic = replace(traffic, arrival=times)
    slow, free = (served(traffic, Below(ALL, seconds)) for seconds in (0.01, 0.0))
    blocks = (slow.host_tokens[5] + slow.host_tokens[6]) / BLOCK
    assert blocks == 2 * (PROMPT - BLOCK) / BLOCK
    np.testing.assert_allclose((slow.ttft - free.ttft)[5:], blocks * 0.01)


def test_replicas_share_the_store() -> None:
    """What one replica let go another one finds."""
    traffic = asked([0, 10, 1, 11, 2, 12, 3, 13, 4, 14, 15, 0])
    fleet = Fleet(2, SURFACE, replace(LIMITS, remote=Below(ALL, 0.001)))
    out = simulate_fleet(traffic, fleet, "round-robin", compile=False)
    assert out.replica[0] == 0
    assert out.replica[11] == 1
    assert out.remote_tokens[11] == PROMPT - BLOCK


def sequences(draw: st.DrawFn) -> Requests:
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    count = draw(st.integers(5, 60))
    plain = requests(np.zeros(count), random.integers(1, 80, count), random.integers(1, 20, count))
    return prefixed(plain, random, BLOCK)


traffic_with_prefixes = st.composite(sequences)()


@settings(max_examples=60, deadline=None)
@given(traffic_with_prefixes, st.sampled_from(["vllm", "sglang"]))
def test_levels_that_hold_all_and_cost_nothing_are_an_endless_device(traffic: Requests, policy: str) -> None:
    """One request at a time, so that who is in the cache does not depend on who fits beside whom."""
    small, large = replace(LIMITS, blocks=40), replace(LIMITS, blocks=ALL)
    for below in ({"host": Below(ALL, 0.0)}, {"remote": Below(ALL, 0.0)}):
        one = simulate(traffic, SURFACE, replace(small, **below), policy, ClosedLoop(1), compile=False)
        endless = simulate(traffic, SURFACE, large, policy, ClosedLoop(1), compile=False)
        np.testing.assert_array_equal(one.cached_tokens, endless.cached_tokens)
        np.testing.assert_allclose(one.finished, endless.finished, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_no_room_or_no_bandwidth_is_recomputing(case: Case) -> None:
    def run(host: Below, remote: Below) -> Served:
        limits = replace(case.limits, host=host, remote=remote)
        return simulate(case.traffic, case.surface, limits, case.policy, case.loop, compile=False, **case.options)

    without = run(NOTHING, NOTHING)
    for below in (Below(0, 1e-3), Below(ALL, np.inf)):
        same(run(below, below), without, 0)


@settings(max_examples=60, deadline=None)
@given(traffic_with_prefixes, st.integers(0, 60), st.integers(0, 60), st.integers(1, 30))
def test_more_room_never_finds_less(traffic: Requests, host: int, remote: int, more: int) -> None:
    """Least recently used: what a small level has a large one has too (one request at a time)."""

    def found(host: int, remote: int) -> int:
        limits = replace(LIMITS, blocks=40, host=Below(host, 0.001), remote=Below(remote, 0.01))
        out = simulate(traffic, SURFACE, limits, loop=ClosedLoop(1), compile=False)
        assert out.done.all()
        return int(out.cached_tokens.sum())

    least = found(host, remote)
    assert found(host + more, 0) >= found(host, 0)
    assert found(host, remote + more) >= least
