"""Attention ranks of one replica step together: the slowest sets the pace, the experts see all of them."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from silicast.errors import InputError
from silicast.scenario import Load
from silicast.serving.fleet import Fleet, Transfer, simulate_fleet
from silicast.serving.outcome import Served
from silicast.serving.requests import ClosedLoop, Requests, requests
from silicast.serving.routers import ROUTERS
from silicast.serving.simulate import Limits, simulate
from silicast.serving.state import FINISHED, REJECTED
from silicast.serving.surface import compile_surface
from tests.serving.test_leaps import leaps_are_steps, same
from tests.serving.traffic import BLOCK, RANKS, SURFACE, Case, cases, seconds

LIMITS = Limits(96, 12, 300, BLOCK)
routers = st.sampled_from(list(ROUTERS))
ranks = st.integers(2, RANKS)


def run(case: Case, replicas: int, ranks: int, router: str, decoders: int = 0, **options: bool) -> Served:
    traffic = replace(case.traffic, session=np.arange(len(case.traffic)) % 5 - 1)
    pool = Fleet(replicas, case.surface, case.limits, case.policy, ranks)
    decode = Fleet(1, case.surface, case.limits, case.policy, decoders) if decoders else None
    return simulate_fleet(traffic, pool, router, decode, Transfer(0.0123, 1.7e-5), case.loop, **case.options, **options)


@settings(max_examples=100, deadline=None)
@given(cases(), routers, st.integers(1, 2), ranks, st.integers(0, 3))
def test_leaps_of_ranks_are_steps(case: Case, router: str, replicas: int, ranks: int, decoders: int) -> None:
    leaping, stepping = (
        run(case, replicas, ranks, router, decoders, compile=False, leaps=leaps) for leaps in (True, False)
    )
    leaps_are_steps(leaping, stepping)


@settings(max_examples=30, deadline=None)
@given(cases(), routers, st.integers(1, 2), ranks, st.integers(0, 3))
def test_compiled_ranks_make_the_same_events(case: Case, router: str, replicas: int, ranks: int, decoders: int) -> None:
    pytest.importorskip("numba")
    compiled, plain = (run(case, replicas, ranks, router, decoders, compile=fast) for fast in (True, False))
    same(compiled, plain, 1e-12)
    assert compiled.events == plain.events
    np.testing.assert_array_equal(compiled.replica, plain.replica)


@settings(max_examples=80, deadline=None)
@given(cases(), routers, st.integers(1, 2), ranks, st.integers(0, 3))
def test_nobody_is_lost_between_ranks(case: Case, router: str, replicas: int, ranks: int, decoders: int) -> None:
    out = run(case, replicas, ranks, router, decoders, compile=False)
    done = out.state == FINISHED
    assert np.all(done | (out.state == REJECTED))
    assert np.all(out.arrival[done] < out.first_token[done])
    assert np.all(out.first_token[done] <= out.finished[done])
    if done.all() and case.acceptance is None:
        assert out.gaps.weights.sum() == (case.traffic.output_tokens - 1).sum()


@settings(max_examples=60, deadline=None)
@given(cases(), ranks)
def test_ranks_that_carry_the_same_are_one_rank(case: Case, ranks: int) -> None:
    """Every request comes once for each rank, at one moment and in turn: each rank is the replica with one rank."""
    sent = replace(case.traffic, hashes=None)
    alone = simulate(sent, SURFACE, case.limits, case.policy, compile=False)
    # what is rejected is not outstanding: the next one would not come to the next rank
    assume(alone.done.all())
    sent = repeated(sent, ranks)
    out = simulate_fleet(sent, Fleet(1, SURFACE, case.limits, case.policy, ranks), compile=False)
    for rank in range(ranks):
        np.testing.assert_allclose(out.first_token[rank::ranks], alone.first_token, rtol=1e-9)
        np.testing.assert_allclose(out.finished[rank::ranks], alone.finished, rtol=1e-9)
    np.testing.assert_array_equal(out.replica, np.arange(len(sent)) % ranks)


def repeated(traffic: Requests, times: int) -> Requests:
    columns = (np.repeat(getattr(traffic, name), times) for name in ("arrival", "input_tokens", "output_tokens"))
    return replace(requests(*columns), priority=np.repeat(traffic.priority, times))


@settings(max_examples=50, deadline=None)
@given(cases(), ranks)
def test_ranks_step_at_one_moment(case: Case, ranks: int) -> None:
    out = run(case, 1, ranks, "round-robin", compile=False, timeline=True)
    line = out.timeline
    assert line is not None
    steps = sorted(set(zip(line.start, line.end, strict=True)))
    assert all(end <= start for (_, end), (start, _) in pairwise(steps))
    # ranks with nothing to do run along
    assert np.ptp(out.busy) <= 1e-9 * out.busy.max()


def test_whoever_decodes_waits_for_the_prompt_of_another_rank() -> None:
    """By hand: rank 0 decodes behind 40 tokens when rank 1 gets a prompt of 80; that step lasts as long as the prompt,
    whose experts see half of 80 + 1 tokens."""
    sent = requests([0.0, 0.05], [40, 80], [40, 1])
    out = simulate_fleet(sent, Fleet(1, SURFACE, LIMITS, "vllm", 2), compile=False, timeline=True)
    np.testing.assert_array_equal(out.replica, [0, 1])
    line = out.timeline
    assert line is not None
    prompt = (line.replica == 1) & (line.tokens == 80)
    beside = (line.replica == 0) & (line.start == line.start[prompt])
    assert line.decodes[beside] == 1
    law = Load(prefill_sequences=1, prefill_tokens=80, prefill_share=(80 + 1) / 2 / 80)
    expected = float(np.squeeze(seconds(law)))
    assert (line.end - line.start)[prompt] == pytest.approx(expected, rel=1e-3)
    assert (line.end - line.start)[beside] == (line.end - line.start)[prompt]


def test_a_rank_alone_has_faster_experts() -> None:
    """One request at a time on four ranks: the experts see a quarter of its tokens."""
    sent = requests(np.arange(5) * 100.0, 64, 10)
    alone, shared = (simulate_fleet(sent, Fleet(1, SURFACE, LIMITS, "vllm", ranks)) for ranks in (1, 4))
    whole, quarter = (
        float(np.squeeze(seconds(Load(prefill_sequences=1, prefill_tokens=64, prefill_share=share))))
        for share in (1.0, 0.25)
    )
    np.testing.assert_allclose((alone.ttft - shared.ttft), whole - quarter, rtol=1e-9)
    assert np.all(shared.tpot < alone.tpot)


def test_uneven_ranks_are_slower_than_even_ones() -> None:
    """The same tokens, long and short prompts in turn: in turn all long ones meet at one rank, by load they do not."""
    count = 400
    lengths = np.where(np.arange(count) % 2 == 0, 90, 6)
    sent = requests(np.zeros(count), lengths, 20)
    loop = ClosedLoop(16)
    law = compile_surface(seconds, 12, 96, 1024, ranks=2)
    turns, even = (
        simulate_fleet(replace(sent, input_tokens=tokens), Fleet(1, law, LIMITS, "sglang", 2), loop=loop)
        for tokens in (lengths, np.full(count, 48))
    )
    assert np.nanmax(turns.finished) > np.nanmax(even.finished)


def test_no_ranks_are_refused() -> None:
    with pytest.raises(InputError, match="at least 1 attention rank"):
        simulate_fleet(requests(0.0, 1, 1), Fleet(1, SURFACE, LIMITS, ranks=0))
