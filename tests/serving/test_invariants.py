"""What holds in every run, whatever the policy."""

import numpy as np
from hypothesis import given, settings

from silicast.serving.blocks import available, blocks_of
from silicast.serving.columns import Columns, Setting, columns
from silicast.serving.levels import DEVICE, HOST
from silicast.serving.outcome import Served
from silicast.serving.policies import POLICIES
from silicast.serving.replica import run
from silicast.serving.simulate import Log, served, simulate
from silicast.serving.state import FINISHED, IDLE, ON_HOST, REJECTED, Level, Replica, Unit
from silicast.serving.verbs import generated
from tests.serving.traffic import Case, cases

#: more events than any of the cases needs
MOST_EVENTS = 100_000
#: policies that never let a request pass one that came earlier
IN_ORDER = ("vllm", "sglang", "sarathi")


def watched(case: Case) -> Served:
    """The run, each decision looked at."""
    policy = POLICIES[case.policy]
    arrays = start(case)
    replica = arrays.objects()

    def decide(replica: Replica) -> None:
        policy.decide(replica)
        look(replica, case)

    replica.decide = decide
    # a policy that gives and takes the same blocks for ever would never end
    assert not run(replica, MOST_EVENTS)
    assert replica.state.running == replica.state.waiting == replica.state.decoding == replica.state.prompts == 0
    assert available(replica) == case.limits.blocks
    assert all(unit.claims <= IDLE for unit in replica.units)
    look_at_levels(replica)
    arrays.take_back(replica)
    return served(case.traffic, arrays, Log())


def start(case: Case) -> Columns:
    whole = columns(case.traffic, case.surface, case.limits, POLICIES[case.policy], Setting(**case.options))
    if case.loop is not None:
        whole.close(case.loop)
    return whole


def look(replica: Replica, case: Case) -> None:
    state = replica.state
    assert state.free >= 0
    look_at_levels(replica)
    assert available(replica) <= state.blocks
    assert state.running <= case.limits.sequences
    assert state.step_tokens <= case.limits.step_tokens
    if case.policy in ("vllm", "sarathi"):
        assert state.step_tokens + state.step_decodes * case.surface.query <= case.limits.step_tokens
    # nobody waits at an idle replica
    assert state.step_tokens or state.step_decodes or not state.waiting
    rows = members(replica)
    assert len(rows) == state.running
    decoding = [r for r in rows if replica.rows[r].computed == replica.rows[r].target]
    assert len(decoding) == state.decoding
    cached = [replica.rows[r].prompt + generated(replica, r) - 1 for r in decoding]
    # the sum counts guesses evenly: half a token more for each on average, never a whole one less
    assert sum(cached) - 1e-6 <= state.context <= sum(cached) + len(cached) + 1e-6
    if case.acceptance is None:
        assert sum(cached) == state.context
    if case.traffic.hashes is None and case.acceptance is None:
        growing = 1 if state.step_decodes else 0
        held = sum(blocks_of(replica, tokens + growing) for tokens in cached)
        held += sum(replica.rows[r].blocks for r in rows if r not in decoding)
        assert held == state.blocks - available(replica)


def look_at_levels(replica: Replica) -> None:
    """Each prefix is once on the device or on its host, each level lists what it has and has room for it."""
    host, store = replica.levels[HOST], replica.store[0]
    on_host = [u for u, unit in enumerate(replica.units) if unit.claims == ON_HOST]
    assert sorted(listed(replica.units, host)) == on_host
    assert host.held == len(on_host) <= host.capacity
    stored = [u for u, unit in enumerate(replica.shelf) if unit.claims]
    assert sorted(listed(replica.shelf, store)) == stored
    assert store.held == len(stored) <= store.capacity
    idle = [u for u, unit in enumerate(replica.units) if unit.claims == IDLE]
    assert sorted(listed(replica.units, replica.levels[DEVICE])) == idle
    assert replica.state.idle == len(idle) * blocks_of(replica, replica.state.unit)


def listed(units: list[Unit], level: Level) -> list[int]:
    u, found = level.oldest, []
    while u >= 0:
        found.append(u)
        u = units[u].newer
    return found


def members(replica: Replica) -> list[int]:
    r, found = replica.heads[replica.state.classes], []
    while r >= 0:
        found.append(r)
        r = replica.rows[r].following
    return found


@settings(max_examples=150, deadline=None)
@given(cases())
def test_a_run_keeps_its_books(case: Case) -> None:
    out = watched(case)
    done, traffic = out.state == FINISHED, case.traffic
    assert np.all(done | (out.state == REJECTED))
    needed = traffic.input_tokens + traffic.output_tokens - 1
    assert np.all(needed[done] <= case.limits.blocks * case.limits.block_tokens)
    # one token with the prompt, all others after a gap, none twice; with guesses several come at once
    later = (traffic.output_tokens[done] - 1).sum()
    if case.acceptance is None:
        assert out.gaps.weights.sum() == later
    else:
        assert later / case.surface.query <= out.gaps.weights.sum() <= later + out.preemptions.sum()
    assert np.all(out.arrival[done] <= out.dispatched[done])
    assert np.all(out.dispatched[done] < out.first_token[done])
    assert np.all(out.first_token[done] <= out.finished[done])
    assert np.all((out.first_token == out.finished)[done] == (traffic.output_tokens[done] == 1))
    assert np.all(out.cached_tokens < traffic.input_tokens)
    assert np.all(out.host_tokens + out.remote_tokens <= out.cached_tokens)
    if case.policy in IN_ORDER and not traffic.priority.any():
        assert np.all(np.diff(out.dispatched[done]) >= 0)


@settings(max_examples=30, deadline=None)
@given(cases())
def test_the_same_run_twice_is_the_same(case: Case) -> None:
    one, other = (
        simulate(case.traffic, case.surface, case.limits, case.policy, case.loop, compile=False, **case.options)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one.finished, other.finished)
