"""Many replicas: one of them is a replica, nobody is lost, and routers do what they say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.errors import InputError, NotFoundError
from silicast.serving.fleet import Fleet, Transfer, simulate_fleet
from silicast.serving.outcome import Served
from silicast.serving.requests import ClosedLoop, Requests, requests
from silicast.serving.routers import ROUTERS
from silicast.serving.simulate import Limits, simulate
from silicast.serving.state import FINISHED, REJECTED
from tests.serving.test_leaps import same
from tests.serving.traffic import BLOCK, SURFACE, Case, cases

routers = st.sampled_from(list(ROUTERS))


def fleet(case: Case, replicas: int) -> Fleet:
    return Fleet(replicas, case.surface, case.limits, case.policy)


def run(case: Case, replicas: int, router: str, decoders: int = 0, **options: bool) -> Served:
    traffic = replace(case.traffic, session=np.arange(len(case.traffic)) % 5 - 1)
    return simulate_fleet(
        traffic, fleet(case, replicas), router, fleet(case, decoders) if decoders else None, Transfer(0.0123, 1.7e-5),
        case.loop, **case.options, **options,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(cases(), routers)
def test_a_fleet_of_one_is_a_replica(case: Case, router: str) -> None:
    alone = simulate(case.traffic, case.surface, case.limits, case.policy, case.loop, compile=False, **case.options)
    same(run(case, 1, router, compile=False), alone, 1e-12)


@settings(max_examples=80, deadline=None)
@given(cases(), routers, st.integers(1, 4), st.integers(0, 3))
def test_nobody_is_lost(case: Case, router: str, replicas: int, decoders: int) -> None:
    out = run(case, replicas, router, decoders, compile=False)
    done = out.state == FINISHED
    assert np.all(done | (out.state == REJECTED))
    assert np.all(out.first_token[done] <= out.finished[done])
    assert np.all(out.arrival[done] < out.first_token[done])
    assert np.all((out.replica >= 0) & (out.replica < replicas + decoders))
    if decoders and done.all():
        moved = case.traffic.output_tokens > 1
        assert np.all(out.replica[moved] >= replicas)
        assert np.all((out.finished - out.first_token)[moved] > 0.0123)
    if done.all() and case.acceptance is None:
        assert out.gaps.weights.sum() == (case.traffic.output_tokens - 1).sum()


@settings(max_examples=50, deadline=None)
@given(cases(), routers, st.integers(0, 2))
def test_leaps_in_a_fleet_are_steps(case: Case, router: str, decoders: int) -> None:
    same(
        run(case, 3, router, decoders, compile=False), run(case, 3, router, decoders, compile=False, leaps=False), 1e-9
    )


@settings(max_examples=30, deadline=None)
@given(cases(), routers, st.integers(0, 2))
def test_a_compiled_fleet_makes_the_same_events(case: Case, router: str, decoders: int) -> None:
    pytest.importorskip("numba")
    compiled, plain = run(case, 3, router, decoders, compile=True), run(case, 3, router, decoders, compile=False)
    same(compiled, plain, 1e-12)
    assert compiled.events == plain.events
    np.testing.assert_array_equal(compiled.replica, plain.replica)


def traffic(count: int, rate: float) -> Requests:
    random = np.random.default_rng(4)
    arrival = np.cumsum(random.exponential(1 / rate, count))
    return requests(arrival, random.integers(10, 90, count), random.integers(2, 60, count))


LIMITS = Limits(96, 12, 300, BLOCK)


def test_round_robin_takes_turns() -> None:
    out = simulate_fleet(traffic(60, 5.0), Fleet(3, SURFACE, LIMITS), "round-robin")
    np.testing.assert_array_equal(out.replica, np.arange(60) % 3)


def test_round_robin_takes_turns_in_each_pool() -> None:
    """Whoever has come one after the other to three prefill replicas is spread over both decode replicas too."""
    pools = Fleet(3, SURFACE, LIMITS), Fleet(2, SURFACE, LIMITS)
    out = simulate_fleet(requests(np.arange(60.0), 20, 5), pools[0], "round-robin", pools[1])
    np.testing.assert_array_equal(out.replica, 3 + np.arange(60) % 2)


def test_less_load_means_less_waiting() -> None:
    """Few long requests among many short ones: whoever counts requests keeps clear of them."""
    random = np.random.default_rng(4)
    arrival = np.cumsum(random.exponential(1 / 60, 3000))
    uneven = requests(arrival, 20, np.where(random.random(3000) < 0.1, 140, 10))
    narrow = Limits(96, 3, 300, BLOCK)
    waits = {router: simulate_fleet(uneven, Fleet(8, SURFACE, narrow), router).ttft.mean() for router in ROUTERS}
    assert waits["least-outstanding"] < waits["power-of-two"] < waits["round-robin"], waits


def test_sessions_stay_at_home() -> None:
    sticky = replace(traffic(300, 20.0), session=np.arange(300) % 17)
    out = simulate_fleet(sticky, Fleet(4, SURFACE, LIMITS), "session-sticky")
    assert all(len(set(out.replica[sticky.session == session])) == 1 for session in range(17))
    assert len(set(out.replica)) == 4


def test_prefixes_meet_their_cache() -> None:
    """Thirty prompts that all repeat, room for ten at each of four replicas: who looks at caches finds more."""
    random = np.random.default_rng(4)
    plain = requests(np.cumsum(random.exponential(0.3, 600)), 600, 20)
    blocks = plain.input_tokens // BLOCK
    offsets = np.concatenate([[0], np.cumsum(blocks)])
    family = np.repeat(random.integers(0, 30, 600), blocks)
    ids = family * 150 + np.arange(offsets[-1]) - np.repeat(offsets[:-1], blocks)
    shared = replace(plain, hashes=(offsets, ids), block_tokens=BLOCK)
    roomy = Limits(96, 12, 1500, BLOCK)
    hits = {
        router: simulate_fleet(shared, Fleet(4, SURFACE, roomy), router).cached_tokens.sum()
        for router in ("round-robin", "prefix-aware")
    }
    assert hits["prefix-aware"] > 1.2 * hits["round-robin"]


def test_transfer_delays_the_second_token_only() -> None:
    pools = Fleet(2, SURFACE, LIMITS), Fleet(2, SURFACE, LIMITS)
    light = traffic(50, 0.5)
    near, far = (simulate_fleet(light, pools[0], decode=pools[1], transfer=Transfer(s)) for s in (0.0, 0.5))
    np.testing.assert_allclose(near.first_token, far.first_token)
    assert np.all(far.finished - near.finished > 0.4)


def test_a_closed_loop_keeps_its_clients_busy() -> None:
    out = simulate_fleet(traffic(200, 1.0), Fleet(2, SURFACE, LIMITS), "least-outstanding", loop=ClosedLoop(10))
    ends, starts = np.sort(out.finished), np.sort(out.arrival)
    np.testing.assert_allclose(starts[10:], ends[:-10])


def test_bad_fleets_are_refused() -> None:
    with pytest.raises(NotFoundError, match="Did you mean 'round-robin'"):
        simulate_fleet(traffic(1, 1.0), Fleet(1, SURFACE, LIMITS), "round_robin")
    with pytest.raises(InputError, match="at least 1 replica"):
        simulate_fleet(traffic(1, 1.0), Fleet(0, SURFACE, LIMITS))
