"""Replicas that fail, start and stop, queues with bounds, caches that wait for room: nobody is lost without a word."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.errors import InputError
from silicast.serving.columns import NOTHING, Below
from silicast.serving.fleet import Fleet, Transfer, simulate_fleet
from silicast.serving.outcome import Served
from silicast.serving.requests import Requests, requests
from silicast.serving.routers import ROUTERS
from silicast.serving.simulate import Limits
from silicast.serving.state import DOWN, DRAINING, FINISHED, LOST, OFF, REJECTED, SHED, STARTING, UP
from silicast.serving.surface import compile_surface, constant_surface
from silicast.serving.upkeep import Autoscaling, Failures, QueueLimits
from tests.serving.test_leaps import same
from tests.serving.test_levels import PROMPT, asked
from tests.serving.test_queues import MEAN, STEP, agrees, geometric
from tests.serving.traffic import BLOCK, RANKS, SURFACE, Case, cases

LIMITS = Limits(96, 12, 300, BLOCK)
HAS_NUMBA = find_spec("numba") is not None


@dataclass(frozen=True)
class Kept:
    """How a cluster is kept."""

    router: str
    failures: Failures | None
    scaling: Autoscaling | None
    queue: QueueLimits | None
    replicas: int
    decoders: int
    when_room: bool
    ranks: int = 1


@st.composite
def ways(draw: st.DrawFn) -> Kept:
    replicas = draw(st.integers(1, 3))
    mtbf = draw(st.sampled_from([None, 0.7, 5.0]))
    planned = tuple(
        (draw(st.integers(0, replicas - 1)), draw(st.floats(0, 5)), draw(st.floats(0, 2))) for _ in range(2)
    )
    fails = Failures(mtbf, draw(st.sampled_from([0.0, 0.6])), planned, draw(st.integers(0, 2)))
    aims = draw(st.sampled_from([{"requests": 2.5}, {"kv_share": 0.3}]))
    scales = Autoscaling(1, replicas + 1, every=0.37, startup=draw(st.sampled_from([0.0, 0.8])), **aims)
    bound = QueueLimits(draw(st.sampled_from([None, 1, 3])), draw(st.sampled_from([None, 2, 8])), draw(st.booleans()))
    return Kept(
        draw(st.sampled_from(list(ROUTERS))),
        draw(st.sampled_from([None, fails])),
        draw(st.sampled_from([None, scales])),
        draw(st.sampled_from([None, bound])),
        replicas,
        draw(st.integers(0, 2)),
        draw(st.booleans()),
        draw(st.integers(1, RANKS)),
    )


def run(case: Case, how: Kept, **options: Any) -> Served:
    traffic = replace(case.traffic, session=np.arange(len(case.traffic)) % 5 - 1)
    if case.loop is None:
        traffic = replace(traffic, think=np.full(len(traffic), 0.05))
    first = Fleet(how.replicas, case.surface, case.limits, case.policy, how.ranks, how.failures, how.scaling)
    decode = None
    if how.decoders:
        planned = how.failures and replace(how.failures, planned=())
        decode = Fleet(how.decoders, case.surface, case.limits, case.policy, how.ranks, planned)
    return simulate_fleet(
        traffic, first, how.router, decode, Transfer(0.0123, 1.7e-5, when_room=how.when_room), case.loop, how.queue,
        **case.options, **options,
    )  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(cases(), ways())
def test_everybody_has_an_end_and_no_token_is_lost(case: Case, how: Kept) -> None:
    out = run(case, how, compile=False)
    done = out.state == FINISHED
    assert np.all(np.isin(out.state, (FINISHED, REJECTED, LOST, SHED)))
    assert out.retries is not None
    assert np.all(out.arrival <= out.finished)
    assert np.all(out.arrival[done] < out.first_token[done])
    assert np.all(out.dispatched[done] <= out.first_token[done])
    assert np.all(out.first_token[done] <= out.finished[done])
    if how.failures is None:
        assert not np.any(out.state == LOST)
        assert not out.retries.any()
        if done.all() and case.acceptance is None:
            assert out.gaps.weights.sum() == (case.traffic.output_tokens - 1).sum()
    else:
        assert np.all(out.retries[out.state == LOST] == how.failures.retries)
        assert out.retries.max(initial=0) <= how.failures.retries
        if done.all() and case.acceptance is None:
            # tokens of an attempt that failed had been sent, and are made again
            assert out.gaps.weights.sum() >= (case.traffic.output_tokens - 1).sum()
    if how.queue is None or how.queue.holds:
        assert not np.any(out.state == SHED)


@settings(max_examples=80, deadline=None)
@given(cases(), ways())
def test_leaps_are_steps_whatever_happens_to_replicas(case: Case, how: Kept) -> None:
    leaping, stepping = run(case, how, compile=False), run(case, how, compile=False, leaps=False)
    same(leaping, stepping, 1e-9)
    assert leaping.gaps.weights.sum() == stepping.gaps.weights.sum()
    np.testing.assert_array_equal(leaping.retries, stepping.retries)


@settings(max_examples=40, deadline=None)
@given(cases(), ways())
def test_compiled_the_same_happens(case: Case, how: Kept) -> None:
    pytest.importorskip("numba")
    compiled, plain = run(case, how, compile=True), run(case, how, compile=False)
    same(compiled, plain, 1e-12)
    assert compiled.events == plain.events
    np.testing.assert_array_equal(compiled.replica, plain.replica)
    np.testing.assert_array_equal(compiled.retries, plain.retries)
    if compiled.phases is not None and plain.phases is not None:
        np.testing.assert_array_equal(compiled.phases.time, plain.phases.time)
        np.testing.assert_array_equal(compiled.phases.phase, plain.phases.phase)


@settings(max_examples=60, deadline=None)
@given(cases(), ways())
def test_the_cache_is_never_over_its_budget(case: Case, how: Kept) -> None:
    timeline = run(case, how, compile=False, timeline=True).timeline
    assert timeline is not None
    assert np.all((timeline.kv_blocks >= 0) & (timeline.kv_blocks <= case.limits.blocks))


@settings(max_examples=40, deadline=None)
@given(cases(), st.sampled_from(list(ROUTERS)), st.integers(1, 3), st.integers(0, 2))
def test_upkeep_that_never_acts_changes_nothing(case: Case, router: str, replicas: int, decoders: int) -> None:
    """Failures after the end, as many replicas as there are, queues without bounds, room for all caches."""
    never = Failures(planned=((0, 1e9, 1.0),))
    still = Autoscaling(replicas, replicas, requests=1.0, every=0.2)
    plain = Kept(router, None, None, None, replicas, decoders, False)
    kept = replace(plain, failures=never, scaling=still, queue=QueueLimits(1 << 20, 1 << 20))
    one, other = run(case, plain, compile=False), run(case, kept, compile=False)
    same(one, other, 0.0)
    np.testing.assert_array_equal(one.replica, other.replica)


def traffic(count: int, rate: float, seed: int = 4) -> Requests:
    random = np.random.default_rng(seed)
    arrival = np.cumsum(random.exponential(1 / rate, count))
    return requests(arrival, random.integers(10, 90, count), random.integers(2, 60, count))


ONE = Limits(2, 1, 1 << 20, 16)


def queue_of_one(outputs: Any, arrival: Any = 0.0) -> Requests:
    """Requests that take as many steps as they have output tokens at a replica with one place."""
    lengths = np.asarray(outputs)
    return requests(np.broadcast_to(np.asarray(arrival, dtype=float), lengths.shape), 1, lengths)


def one_place(replicas: int, failures: Failures | None = None, scaling: Autoscaling | None = None) -> Fleet:
    return Fleet(replicas, constant_surface(STEP, 1, 2), ONE, failures=failures, scaling=scaling)


def test_one_of_two_fails_worked_by_hand() -> None:
    """Steps of 10 ms, one place each, requests of 10 steps: r0 and r2 at replica 0, r1 and r3 at replica 1.

    Replica 0 fails at 45 ms for 50 ms: r0 (4 tokens out) and r2 (waits) begin again at replica 1 behind r3. r1 ends at
    0.1, r3 at 0.2, r0 at 0.3, r2 at 0.4. r4 comes at 97 ms: replica 0 is up again since 95 ms and empty.
    """
    sent = queue_of_one([10] * 5, [0.0, 0.0, 0.0, 0.0, 0.097])
    for compiled in (False, True) if HAS_NUMBA else (False,):
        out = simulate_fleet(
            sent, one_place(2, Failures(planned=((0, 0.045, 0.05),))), "least-outstanding", compile=compiled
        )
        np.testing.assert_allclose(out.finished, [0.3, 0.1, 0.4, 0.2, 0.197])
        np.testing.assert_allclose(out.ttft, [0.21, 0.01, 0.31, 0.11, 0.01], atol=1e-12)
        np.testing.assert_array_equal(out.retries, [1, 0, 1, 0, 0])
        np.testing.assert_array_equal(out.replica, [1, 1, 1, 1, 0])
        np.testing.assert_allclose(out.busy, [0.045 + 0.1, 0.4])
        assert out.phases is not None
        np.testing.assert_allclose(out.phases.time, [0.045, 0.095])
        np.testing.assert_array_equal(out.phases.phase, [DOWN, UP])
        # gaps: 9 of each answer, and the 3 that r0 had seen before
        assert out.gaps.weights.sum() == 5 * 9 + 3


def test_without_retries_the_requests_of_a_failed_replica_are_lost() -> None:
    sent = queue_of_one([10] * 4)
    out = simulate_fleet(sent, one_place(2, Failures(planned=((0, 0.045, 0.05),), retries=0)), "round-robin")
    np.testing.assert_array_equal(out.state, [LOST, FINISHED, LOST, FINISHED])
    np.testing.assert_allclose(out.finished, [0.045, 0.1, 0.045, 0.2])


def test_a_failed_cache_is_empty() -> None:
    """The same prompt four times: found in the cache by the second and, after the failure, only by the fourth."""
    prompt = np.arange(8)
    sent = requests(np.array([0.0, 1.0, 3.0, 4.0]), 8 * BLOCK + 1, 3)
    sent = replace(sent, hashes=(np.arange(5) * 8, np.tile(prompt, 4)), block_tokens=BLOCK)
    out = simulate_fleet(sent, Fleet(1, SURFACE, LIMITS, failures=Failures(planned=((0, 2.0, 0.5),))))
    np.testing.assert_array_equal(out.cached_tokens, [0, 8 * BLOCK, 0, 8 * BLOCK])


def test_ranks_fail_together() -> None:
    """Nobody is sent on to the other rank of a replica that fails: four queues, two replicas."""
    out = simulate_fleet(queue_of_one([10] * 4), two_ranks(2, Failures(planned=((0, 0.045, 1.0),))), "round-robin")
    np.testing.assert_array_equal(out.retries, [1, 0, 1, 0])
    assert np.all(out.replica >= 2)


def two_ranks(replicas: int, failures: Failures | None = None) -> Fleet:
    law = compile_surface(lambda load: np.full(np.shape(load.tokens), STEP), 1, 2, 16, ranks=2)
    return Fleet(replicas, law, ONE, ranks=2, failures=failures)


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(1, 2), st.integers(2, RANKS), st.floats(0, 5), st.floats(0, 2))
def test_an_outage_takes_all_ranks_of_a_replica(
    case: Case, replicas: int, ranks: int, time: float, down: float
) -> None:
    how = Kept("least-outstanding", Failures(3.0, 0.4, ((0, time, down),), 1), None, None, replicas, 0, False, ranks)
    out, stepping = (run(case, how, compile=False, timeline=True, leaps=leaps) for leaps in (True, False))
    same(out, stepping, 1e-9)
    assert np.all(np.isin(out.state, (FINISHED, REJECTED, LOST)))
    assert out.phases is not None
    assert out.timeline is not None
    line, phases = out.timeline, out.phases
    changes = []
    for at in range(ranks):
        own = phases.replica % ranks == at
        changes.append(list(zip(phases.time[own], phases.replica[own] // ranks, phases.phase[own], strict=True)))
    assert all(rank == changes[0] for rank in changes[1:])
    for replica in range(replicas):
        assert np.ptp(out.busy[replica * ranks : (replica + 1) * ranks]) <= 1e-9 * out.busy.max()
    for start, replica, phase in changes[0]:
        during = (line.replica // ranks == replica) & (line.start < start) & (line.end > start)
        assert phase != DOWN or not during.any()


def test_an_outage_takes_the_host_and_not_the_store() -> None:
    """Five prompts of which a device has room for three; the first one again after an outage."""
    sent = asked([0, 1, 2, 3, 4, 0])
    outage = Failures(planned=((0, 45.0, 1.0),))

    def again(host: Below, remote: Below, failures: Failures | None) -> tuple[int, int]:
        limits = Limits(96, 12, 30, BLOCK, host, remote)
        out = simulate_fleet(sent, Fleet(1, SURFACE, limits, failures=failures), compile=False)
        return int(out.host_tokens[5]), int(out.remote_tokens[5])

    large, kept = Below(10_000, 0.001), PROMPT - BLOCK
    assert again(large, NOTHING, None) == (kept, 0)
    assert again(large, NOTHING, outage) == (0, 0)
    assert again(NOTHING, large, None) == again(NOTHING, large, outage) == (0, kept)


def test_a_bounded_queue_is_that_of_all_ranks() -> None:
    bound = QueueLimits(3, holds=False)
    out = simulate_fleet(queue_of_one([10] * 8), two_ranks(1), queue=bound)
    np.testing.assert_array_equal(out.state, [FINISHED] * 3 + [SHED] * 5)


def test_availability_is_that_of_the_alternating_process() -> None:
    """MTBF / (MTBF + MTTR), each replica with its own repairman; bounds of four standard errors."""
    mtbf, mttr, replicas = 2.0, 0.5, 8
    sent = requests(np.linspace(0, 4000, 4000), 1, 2)
    out = simulate_fleet(sent, one_place(replicas, Failures(mtbf, mttr)))
    end = float(out.finished.max())
    assert out.phases is not None
    shares = out.phases.seconds(end, (UP,)) / end
    error = shares.std(ddof=1) / np.sqrt(replicas)
    assert abs(shares.mean() - mtbf / (mtbf + mttr)) < 4 * error
    assert error < 0.01


@pytest.mark.parametrize("load", [0.8, 1.3])
def test_blocking_of_a_bounded_queue(load: float) -> None:
    """M/M/1/K: the share rho^K (1 - rho) / (1 - rho^(K + 1)) is turned away, K with the one in service."""
    pytest.importorskip("numba")
    room = 4
    random = np.random.default_rng(11)
    outputs = geometric()
    sent = queue_of_one(outputs, np.cumsum(random.exponential(STEP * MEAN / load, outputs.size)))
    out = simulate_fleet(sent, one_place(1), queue=QueueLimits(room, holds=False), compile=True)
    size = room + 1
    expected = load**size * (1 - load) / (1 - load ** (size + 1))
    agrees((out.state == SHED).astype(float), expected, bias=0.02 * expected)
    assert np.all(np.isin(out.state, (FINISHED, SHED)))


def test_whoever_waits_at_the_router_comes_in_order() -> None:
    """Two replicas with room for one in the queue: the router keeps the others, and loses no time by it."""
    out = simulate_fleet(queue_of_one([10] * 8), one_place(2), "least-outstanding", queue=QueueLimits(1))
    np.testing.assert_allclose(np.sort(out.finished), np.repeat([0.1, 0.2, 0.3, 0.4], 2))
    assert np.all(np.diff(out.dispatched) > -1e-12)


def test_a_fleet_queue_bounds_all_queues_together() -> None:
    out = simulate_fleet(queue_of_one([10] * 8), one_place(2), queue=QueueLimits(None, 5, holds=False))
    np.testing.assert_array_equal(out.state, [FINISHED] * 5 + [SHED] * 3)


def test_caches_wait_for_room_and_keep_theirs() -> None:
    """A decode pool with room for one prompt: with back pressure the next waits in the prefill pool's blocks."""
    tight = Limits(96, 12, 12, BLOCK)
    sent = requests(np.zeros(6), 4 * 8, 9)
    pools = Fleet(1, SURFACE, tight), Fleet(1, SURFACE, tight)
    at_once, waiting = (
        simulate_fleet(sent, pools[0], decode=pools[1], transfer=Transfer(0.01, 0.0, when_room=when), timeline=True)
        for when in (False, True)
    )
    assert waiting.done.all()
    # 12 blocks hold one prompt of 8 blocks: one decodes, one waits with its cache, the others have no room to begin
    assert np.all(np.diff(np.sort(waiting.first_token))[1:] > 0.05)
    assert np.max(np.diff(np.sort(at_once.first_token))) < 0.05
    for out in (at_once, waiting):
        assert out.timeline is not None
        assert out.timeline.kv_blocks.max() <= tight.blocks


@pytest.mark.parametrize(("prefills", "ranks"), [(2, 1), (1, 2)])
def test_who_decodes_alone_gives_way_to_caches_on_their_way(prefills: int, ranks: int) -> None:
    """Room for one long answer, or for the caches that were promised it while it was short: nobody gets too much."""
    tight = Limits(96, 4, 26, BLOCK)
    sent = requests(np.arange(12) * 0.01, [40, 24] * 6, [60, 12] * 6)
    pools = (Fleet(count, SURFACE, tight, "sglang", ranks) for count in (prefills, 1))
    out = simulate_fleet(sent, next(pools), "round-robin", next(pools), Transfer(0.2, when_room=True))
    assert out.done.all()
    assert out.preemptions.any()


def test_autoscaling_follows_the_load() -> None:
    """One replica; 30 requests of 1 s each come at once. Looked at after 0.5 s: 30 / 10 = 3 replicas are wanted, two
    start within 1 s and take what comes from then on; without load they stop. Replica-seconds worked by hand."""
    scaling = Autoscaling(1, 4, requests=10.0, every=0.5, startup=1.0)
    sent = queue_of_one([100] * 33, [0.0] * 30 + [1.6, 1.7, 60.0])
    out = simulate_fleet(sent, one_place(1, scaling=scaling), "least-outstanding")
    assert out.done.all()
    assert out.phases is not None
    columns = (out.phases.time, out.phases.replica, out.phases.phase)
    # of several changes of a replica into one phase the first
    first = {(int(i), int(phase)): float(time) for time, i, phase in reversed(list(zip(*columns, strict=True)))}
    assert first[1, STARTING] == first[2, STARTING] == 0.5
    assert first[1, UP] == first[2, UP] == 1.5
    np.testing.assert_array_equal(out.replica[30:32], [1, 2])
    # r30 runs from 1.6 to 2.6 and r31 to 2.7: with 30 left the third replica is wanted until 20 are left, after 10 s
    assert first[2, OFF] == 10.0
    assert first[1, OFF] == 20.0
    on = out.phases.seconds(61.0, (STARTING, UP))
    np.testing.assert_allclose(on, [61.0, 19.5, 9.5, 0.0])


def test_a_replica_that_stops_finishes_what_it_has() -> None:
    scaling = Autoscaling(1, 2, requests=4.0, every=0.5, startup=0.0)
    out = simulate_fleet(queue_of_one([300, 300, 100], [0.0, 0.0, 4.0]), one_place(2, scaling=scaling), "round-robin")
    np.testing.assert_allclose(out.finished, [3.0, 3.0, 5.0])
    assert out.phases is not None
    np.testing.assert_array_equal(out.phases.phase[:2], [DRAINING, OFF])
    np.testing.assert_allclose(out.phases.time[:2], [0.5, 3.0])


def test_a_turn_waits_for_the_answer_before_it() -> None:
    """Turns of 1 s each, 0.5 s to think: they come at 0, 1.5 and 3.0, wherever the traffic had put them; a recorded
    turn that came later than that keeps its time."""
    sent = queue_of_one([100, 100, 100], [0.0, 0.5, 1.0])
    talk = replace(sent, session=np.zeros(3, int), turn=np.arange(3), think=np.array([0.0, 0.5, 0.5]))
    out = simulate_fleet(talk, one_place(2))
    np.testing.assert_allclose(out.arrival, [0.0, 1.5, 3.0])
    np.testing.assert_allclose(out.finished, [1.0, 2.5, 4.0])
    recorded = replace(talk, arrival=np.array([0.0, 5.0, 5.5]), think=np.zeros(3))
    np.testing.assert_allclose(simulate_fleet(recorded, one_place(2)).arrival, [0.0, 5.0, 6.0])
    np.testing.assert_allclose(simulate_fleet(replace(sent, session=talk.session), one_place(2)).arrival, sent.arrival)


@settings(max_examples=60, deadline=None)
@given(cases(), ways(), st.integers(1, 4))
def test_no_turn_comes_before_the_answer_before_it(case: Case, how: Kept, sessions: int) -> None:
    count = len(case.traffic)
    talk = replace(case.traffic, session=np.arange(count) % sessions, turn=np.arange(count) // sessions)
    think = np.random.default_rng(count).exponential(0.2, count)
    fleet = Fleet(how.replicas, case.surface, case.limits, case.policy, how.ranks, how.failures, how.scaling)
    out = simulate_fleet(replace(talk, think=think), fleet, how.router, queue=how.queue, compile=False, **case.options)
    for session in range(sessions):
        own = np.flatnonzero(talk.session == session)
        earliest = np.maximum(out.finished[own[:-1]] + think[own[1:]], case.traffic.arrival[own[1:]])
        np.testing.assert_allclose(out.arrival[own[1:]], earliest, rtol=1e-12)


def sample(seed: int) -> tuple[bytes, bytes]:
    """What comes of a run with everything in it."""
    scaling = Autoscaling(1, 4, kv_share=0.3, every=0.5, startup=0.7)
    fleet = Fleet(2, SURFACE, LIMITS, failures=Failures(3.0, 0.5), scaling=scaling)
    talk = replace(traffic(400, 20.0), session=np.arange(400) % 90, turn=np.arange(400) // 90, think=np.full(400, 0.1))
    out = simulate_fleet(talk, fleet, "power-of-two", queue=QueueLimits(20), random=np.random.default_rng(seed))
    return out.finished.tobytes(), out.replica.tobytes()


def test_the_same_seed_gives_the_same_run_in_any_process() -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(sample, [1, 2, 1])) == [sample(1), sample(2), sample(1)]
    assert sample(1) != sample(2)


def test_bad_upkeep_is_refused() -> None:
    with pytest.raises(InputError, match="mtbf must be a positive time, got 0 s"):
        Failures(0.0)
    with pytest.raises(InputError, match="retries must be 0"):
        Failures(1.0, retries=-1)
    with pytest.raises(InputError, match="planned for replica 3; the pool has 2"):
        simulate_fleet(traffic(1, 1.0), one_place(2, Failures(planned=((3, 1.0, 1.0),))))
    with pytest.raises(InputError, match="1 <= min <= max"):
        Autoscaling(3, 2, requests=1.0)
    with pytest.raises(InputError, match="give one"):
        Autoscaling(1, 2)
    with pytest.raises(InputError, match="begins with 3 replicas; it keeps from 1 to 2"):
        simulate_fleet(traffic(1, 1.0), one_place(3, scaling=Autoscaling(1, 2, requests=1.0)))
    with pytest.raises(InputError, match="room for at least 1"):
        QueueLimits(0)
