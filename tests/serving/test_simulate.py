"""The front door: policies of one's own, timelines, interruptions and bad input."""

import numpy as np
import pytest

from silicast.errors import InputError, NotFoundError
from silicast.serving.fleet import Fleet, simulate_fleet
from silicast.serving.requests import ClosedLoop, Requests, requests
from silicast.serving.simulate import Host, Limits, simulate
from silicast.serving.state import NOBODY, REJECTED, Replica
from silicast.serving.verbs import admit, decode, fits, left, prefill
from tests.serving.traffic import BLOCK, SURFACE

LIMITS = Limits(96, 12, 300, BLOCK)


def traffic(count: int = 200, rate: float = 20.0) -> Requests:
    random = np.random.default_rng(8)
    arrival = np.cumsum(random.exponential(1 / rate, count))
    return requests(arrival, random.integers(1, 90, count), random.integers(1, 60, count))


def shortest_first(replica: Replica) -> None:
    """Whole prompts one at a time, the shortest that waits first; the others decode beside it."""
    decode(replica)
    state = replica.state
    best, r = NOBODY, replica.heads[0]
    while r != NOBODY:
        if best == NOBODY or left(replica, r) < left(replica, best):
            best = r
        r = replica.rows[r].following
    # room to the end of everybody who runs: nobody is ever preempted
    whole = replica.rows[best].prompt + replica.rows[best].output if best != NOBODY else 0
    room = state.blocks - state.promised
    if best != NOBODY and state.running < state.most_sequences and -(-whole // state.block) <= room:
        assert fits(replica, best, 0, left(replica, best))
        admit(replica, best, 0)
        prefill(replica, best, left(replica, best))


def test_a_policy_of_ones_own_is_a_function() -> None:
    sent = traffic()
    mine, stepping = (simulate(sent, SURFACE, LIMITS, shortest_first, leaps=leaps) for leaps in (True, False))
    theirs = simulate(sent, SURFACE, LIMITS, "vllm")
    assert mine.done.all()
    np.testing.assert_allclose(mine.finished, stepping.finished, rtol=1e-9)
    short = sent.input_tokens < 20
    assert mine.ttft[short].mean() < mine.ttft[~short].mean()
    assert mine.ttft[short].mean() < theirs.ttft[short].mean()


@pytest.mark.parametrize("fast", [False, True])
def test_the_timeline_is_the_run(fast: bool) -> None:
    if fast:
        pytest.importorskip("numba")
    out = simulate(traffic(), SURFACE, LIMITS, timeline=True, compile=fast)
    line = out.timeline
    assert line is not None
    assert len(line.start) == out.events
    assert np.all(line.start[1:] >= line.end[:-1])
    assert (line.end - line.start).sum() == pytest.approx(out.busy.sum())
    assert (line.tokens * line.steps).sum() == traffic().input_tokens.sum()
    assert (line.decodes * line.steps).sum() == (traffic().output_tokens - 1).sum()
    assert line.kv_blocks.max() <= LIMITS.blocks
    fleet = simulate_fleet(traffic(), Fleet(3, SURFACE, LIMITS), timeline=True, compile=fast)
    assert fleet.timeline is not None
    assert set(fleet.timeline.replica) == {0, 1, 2}
    assert (fleet.timeline.end - fleet.timeline.start).sum() == pytest.approx(fleet.busy.sum())


def test_an_interrupted_run_tells_what_it_has() -> None:
    def stop(done: int, everybody: int) -> None:
        assert 0 < done < everybody
        raise KeyboardInterrupt

    many = traffic(30_000)
    out = simulate(many, SURFACE, LIMITS, compile=False, progress=stop)
    assert out.interrupted
    assert 0 < out.done.sum() < len(many)
    whole = simulate(many, SURFACE, LIMITS, compile=False)
    np.testing.assert_array_equal(out.finished[out.done], whole.finished[out.done])
    assert np.all(np.isnan(out.finished[~out.done]))
    assert simulate_fleet(many, Fleet(2, SURFACE, LIMITS), compile=False, progress=stop).interrupted


def test_the_host_stands_around_the_steps() -> None:
    bare = simulate(traffic(20, 0.01), SURFACE, LIMITS)
    late = simulate(traffic(20, 0.01), SURFACE, LIMITS, host=Host(0.25, 0.001))
    np.testing.assert_allclose(late.ttft - bare.ttft, 0.25 + 0.001 * traffic(20, 0.01).input_tokens)
    np.testing.assert_allclose(late.tpot, bare.tpot)
    lagging = simulate(traffic(20, 0.01), SURFACE, LIMITS, host=Host(lag=2.0))
    assert np.all(lagging.ttft - bare.ttft > 0.02)


def test_what_can_never_fit_is_rejected_and_counted() -> None:
    sent = requests([0.0, 0.1, 0.2], [10, 5000, 10], [5, 5, 5])
    for out in (simulate(sent, SURFACE, LIMITS), simulate(sent, SURFACE, LIMITS, loop=ClosedLoop(1))):
        assert out.state.tolist() == [1, REJECTED, 1]
        assert np.isnan(out.first_token[1])


def test_no_requests_are_no_events() -> None:
    out = simulate(requests(np.zeros(0), 1, 1), SURFACE, LIMITS)
    assert len(out.arrival) == out.events == 0


def test_bad_input_is_refused() -> None:
    with pytest.raises(NotFoundError, match="Did you mean 'sglang'"):
        simulate(traffic(), SURFACE, LIMITS, "sg-lang")
    with pytest.raises(InputError, match="sequences must be at least 1"):
        Limits(10, 0, 10)
    with pytest.raises(InputError, match="known up to 12 sequences"):
        simulate(traffic(), SURFACE, Limits(96, 13, 300, BLOCK))
    with pytest.raises(InputError, match="at least 1 client"):
        simulate(traffic(), SURFACE, LIMITS, loop=ClosedLoop(0))
