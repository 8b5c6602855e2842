"""The short list under simulated traffic: what a unit carries, what wins, how often the closed form is contradicted."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from silicast.errors import InputError
from silicast.planning.contest import contest
from silicast.planning.deployments import Deployments, Margin, deployments
from silicast.planning.economics import bill
from silicast.planning.outlook import outlook, scores
from silicast.planning.plan import Plan, plan
from silicast.planning.question import Budget, Question
from silicast.planning.shortlist import short_list
from silicast.planning.trials import LEAST_SHARE, Bench, Trial, Trials
from silicast.planning.units import CUT, Space, Units, units
from silicast.planning.variants import Variant
from silicast.scenario import Targets, Workload
from tests.unit import pools

WORK = Workload(1000, 100, rate=8.0)
TARGETS = Targets(1000.0, 30.0)
DRAWS = 16


@cache
def variant() -> Variant:
    pool = pools.pool(pools.QWEN, "h100-sxm")
    return Variant(pool, bill(pool.machine.chip, pool.machine.system))


def question(targets: Targets = TARGETS, work: Workload = WORK, **budget: float) -> Question:
    return Question(work, targets, Budget(**budget), "devices" if work.rate or work.concurrency else "goodput")


def searched(asked: Question) -> tuple[Space, Deployments]:
    space = Space.of([variant()], asked)
    every = units(space, asked, split=False)
    assert every is not None
    return space, deployments(every, [variant()], asked, Margin.none(1).of(np.zeros(len(every), dtype=int)))


def trial(targets: Targets, how: Trials | None = None, work: Workload = WORK) -> Trial:
    """Of the smallest unit with the most requests/s."""
    asked = question(targets, work, devices=64)
    space, found = searched(asked)
    small = np.flatnonzero(found.units.devices == found.units.devices.min())
    row = int(small[np.argmax(found.units.requests[small])])
    told = Bench(space, asked, how or Trials()).trial(found.units, row)
    assert told is not None
    return told


def test_a_tighter_target_leaves_a_smaller_share_of_the_load() -> None:
    work = replace(WORK, rate=None)
    shares = [trial(Targets(ttft, tpot), work=work).share for ttft, tpot in ((5000, 100), (500, 30), (250, 15))]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


def test_more_requests_that_must_meet_the_targets_leave_a_smaller_share() -> None:
    work = replace(WORK, rate=None)
    shares = [trial(Targets(400.0, 25.0), Trials(percent), work).share for percent in (50, 90, 99.9)]
    assert shares == sorted(shares, reverse=True)


def test_what_no_load_meets_is_said() -> None:
    told = trial(Targets(0.001, None))
    assert not told.met
    assert told.share == LEAST_SHARE
    assert told.goodput == 0


def test_a_limit_on_a_percentile_is_met() -> None:
    work = replace(WORK, rate=None)
    free = trial(Targets(), work=work)
    limit = free.measures["p99_tpot_ms"] * 0.8
    told = trial(Targets(), Trials(limits={"p99_tpot": limit}), work)
    assert told.met
    assert told.measures["p99_tpot_ms"] <= limit
    assert told.share < free.share


def test_a_limit_on_an_unknown_measure_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"p98_ttft.*p99_ttft"):
        Trials(limits={"p98_ttft": 1.0})
    with pytest.raises(InputError, match="percentile"):
        Trials(101)
    with pytest.raises(InputError, match="positive"):
        Trials(limits={"p99_ttft": 0.0})


def test_half_the_load_takes_twice_the_units() -> None:
    asked = question(work=replace(WORK, rate=500.0))
    _, found = searched(asked)
    half = deployments(found.units, [variant()], asked, Margin(*(np.ones(len(found)), np.ones(len(found)),
                                                                 np.full(len(found), 0.5))))  # fmt: skip
    assert np.all(np.abs(half.count - 2 * found.count) <= 1)


def test_a_smaller_load_shows_in_the_outlook() -> None:
    asked = question(work=replace(WORK, rate=None), devices=8)
    space, found = searched(asked)
    rows = np.argsort(found.score)[:3]
    even = np.ones(3)
    less = deployments(found.units.pick(rows), [variant()], asked, Margin(even, even, even / 2))
    full, part = (outlook(space, one, asked, DRAWS) for one in (found.pick(rows), less))
    assert np.all(part.tpot < full.tpot)
    assert np.allclose(np.median(part.served, axis=1), less.requests, rtol=0.2)


def answer(how: Trials | None = None) -> Plan:
    return plan([variant()], question(devices=64), draws=DRAWS, trials=how or Trials())


def test_the_winner_meets_the_targets_in_the_simulation() -> None:
    told = answer()
    best = told.best
    assert best.met
    assert best.trial is not None
    assert best.trial.measures["slo_attainment"] >= 0.9
    assert told.agreement is not None
    assert 0 <= told.agreement.missed <= told.agreement.simulated
    assert best.devices <= 64


def test_a_plan_that_is_not_simulated_says_so() -> None:
    told = plan([variant()], question(), draws=DRAWS)
    assert told.agreement is None
    assert told.best.trial is None
    assert any("closed-form" in note for note in told.notes)


def test_a_simulation_decides_the_winner(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = question()
    space, found = searched(asked)
    groups = np.zeros(len(found), dtype=int)
    short = short_list(space, found, asked, groups, (DRAWS, 8))
    first = short.found.units.pick([int(np.argmin(np.median(scores(short.found, short.look), axis=1)))])

    def swamped(_: Bench, units: Units, row: int, least: int = 0) -> Trial:
        same = all(getattr(units, name)[row] == getattr(first, name)[0] for name in CUT)
        return Trial(0.25 if same else 1.0, True, not same, 1.0, {"slo_attainment": 1.0})

    monkeypatch.setattr(Bench, "trial", swamped)
    after, trials, said = contest(space, found, short, asked, groups, Trials())
    assert said.missed == 1
    assert said.reordered
    slow = [one is not None and one.share < 1 for one in trials]
    units_before = np.ceil(8.0 / (0.95 * after.found.units.requests[slow]))
    assert np.all(after.found.count[slow] == np.ceil(8.0 / (0.95 * after.found.units.requests[slow] * 0.25)))
    assert np.all(after.found.count[slow] > units_before)


def test_e2e_is_a_target_of_the_closed_form_too() -> None:
    free = plan([variant()], question(Targets()), draws=DRAWS).best
    bound = free.estimates["e2e_ms"].value / 2
    told = plan([variant()], question(Targets(e2e_ms=bound)), draws=DRAWS).best
    assert told.met
    assert told.estimates["e2e_ms"].value <= bound
    with pytest.raises(InputError, match=r"E2E of 1 ms is below the floor .* --e2e"):
        plan([variant()], question(Targets(e2e_ms=1.0)), draws=DRAWS)


def test_a_trace_is_replayed(tmp_path: Path) -> None:
    file = tmp_path / "azure.csv"
    lines = [f"2023-11-16 18:00:{second:02d}.{part}00000,1000,100" for second in range(60) for part in range(8)]
    file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(lines) + "\n")
    told = answer(Trials(trace=str(file)))
    assert told.best.met


def test_confidence_holds_beside_the_simulation() -> None:
    asked = replace(question(devices=64), confidence=0.9)
    best = plan([variant()], asked, draws=DRAWS, trials=Trials()).best
    assert best.met
    assert best.sure >= 0.85
    assert best.trial is not None
    assert best.trial.met
