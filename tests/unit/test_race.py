"""The race of units under traffic: what it finds, with how few simulations, and that more room is never worse."""

import re
from dataclasses import fields, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from silicast.errors import InputError
from silicast.planning.economics import bill
from silicast.planning.plan import Plan, plan
from silicast.planning.question import Budget, Question
from silicast.planning.race import Race
from silicast.planning.trials import SHARES, Bench, Trial, Trials
from silicast.planning.units import CUT, Units
from silicast.planning.variants import Variant
from silicast.scenario import Targets, Workload
from tests.unit import pools

Array = NDArray[Any]

CANDIDATES = 60
DRAWS = 16
#: two simulations of nearly the same traffic may differ by one of the shares that are tried
NOISE = float(SHARES[1] / SHARES[0])


class Known(Bench):
    """A bench of which every answer is known: the place of the share that each row carries, -1 = none."""

    def __init__(self, carried: Array) -> None:
        self.carried = carried
        self.simulated: list[int] = []

    def trial(self, units: Units, row: int, least: int = 0) -> Trial | None:
        self.simulated.append(row)
        place, full = int(self.carried[row]), SHARES.size - 1
        met = place >= least
        return Trial(float(SHARES[place if met else least]), met, place == full, 1.0, {"slo_attainment": 0.5})


def distinct(rows: int) -> Units:
    """Units of which no two have the same pools."""
    ones = np.ones(rows)
    return Units(*(np.arange(rows) if name in CUT else ones for name in (item.name for item in fields(Units))))


@pytest.mark.parametrize("seed", range(20))
def test_a_race_finds_the_cheapest_of_all_with_few_simulations(seed: int) -> None:
    """Where what asks more of the traffic carries no larger share, all others are as an exhaustive search has them."""
    draw = np.random.default_rng(seed)
    asks = 2.0 ** draw.integers(0, 6, (CANDIDATES, 2))
    # what asks less is dearer, but not in order
    price = np.sort(draw.uniform(1, 4, CANDIDATES))
    asks = asks[np.argsort(-asks.sum(axis=1) + draw.normal(0, 8, CANDIDATES))]
    carried = np.clip(50 - asks.max(axis=1) * 1.5 - asks.min(axis=1), -1, SHARES.size - 1).astype(int)
    prices = price[:, None] / SHARES
    reached = np.where(carried >= 0, price / SHARES[carried], np.inf)
    bench = Known(carried)
    race = Race(bench, distinct(CANDIDATES), prices, asks, list(range(CANDIDATES)))
    race.run(CANDIDATES)
    assert race.best == pytest.approx(reached.min())
    assert len(bench.simulated) <= CANDIDATES / 2
    assert len(set(bench.simulated)) == len(bench.simulated)


def test_the_nearest_is_told_where_nothing_meets_the_targets() -> None:
    bench = Known(np.full(4, -1))
    race = Race(bench, distinct(4), np.ones((4, 1)) / SHARES, np.array([[8.0], [4.0], [2.0], [1.0]]), [0, 1, 2, 3])
    race.run(10)
    assert race.best == np.inf
    assert [one.met for one in race.found.values()] == [False]


@cache
def variants(chip: str) -> list[Variant]:
    pool = pools.pool(pools.QWEN, chip)
    return [Variant(pool, bill(pool.machine.chip, pool.machine.system))]


def answer(chip: str, asked: Question) -> Plan:
    return plan(variants(chip), asked, draws=DRAWS, trials=Trials())


TIGHTER = [
    ("h100-sxm", Question(Workload(2000, 200), Targets(2000.0, 50.0), Budget(devices=16), "goodput"),
     [{"ttft_ms": 1200.0}, {"ttft_ms": 600.0}, {"tpot_ms": 30.0}]),
    ("ascend-910c", Question(Workload(3000, 500, rate=20.0), Targets(2000.0, 50.0)),
     [{"ttft_ms": 1000.0}, {"ttft_ms": 500.0}, {"tpot_ms": 35.0}]),
    ("h200-sxm", Question(Workload(8000, 200, rate=6.0), Targets(1000.0, 25.0)),
     [{"ttft_ms": 700.0}, {"tpot_ms": 15.0}]),
]  # fmt: skip


@pytest.mark.parametrize(("chip", "asked", "tighter"), TIGHTER, ids=[chip for chip, *_ in TIGHTER])
def test_a_tighter_target_never_gives_a_better_answer(
    chip: str, asked: Question, tighter: list[dict[str, float]]
) -> None:
    loose = answer(chip, asked).best
    assert loose.met
    for change in tighter:
        tight = answer(chip, replace(asked, targets=replace(asked.targets, **change))).best
        assert not tight.met or np.median(tight.samples) >= np.median(loose.samples) / NOISE, change


def test_a_budget_that_holds_the_answer_gives_no_other() -> None:
    asked = Question(Workload(3000, 500, rate=20.0), Targets(2000.0, 50.0))
    free = answer("ascend-910c", asked).best
    for packages in (free.packages, free.packages + 8):
        bound = answer("ascend-910c", replace(asked, budget=Budget(packages=packages))).best
        assert bound.met
        assert bound.packages <= packages
        assert np.median(bound.samples) == pytest.approx(np.median(free.samples), rel=NOISE - 1)


LACKING = [
    (Question(Workload(3000, 500, rate=20.0), Targets(2000.0, 50.0), Budget(packages=12)), "packages"),
    (Question(Workload(3000, 500, rate=20.0), Targets(2000.0, 50.0), Budget(packages=26)), "packages"),
    (Question(Workload(3000, 500, rate=20.0), Targets(2000.0, 50.0), Budget(packages=40)), "packages"),
    (Question(Workload(3000, 500, rate=2.0), Targets(1.0, 50.0)), "ttft"),
    (Question(Workload(3000, 500), Targets(200.0, 50.0), Budget(devices=16), "goodput"), "ttft"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "name"), LACKING)
def test_what_is_said_to_be_enough_is_enough(asked: Question, name: str) -> None:
    try:
        text = " ".join(answer("ascend-910c", asked).lacks)
    except InputError as refused:
        text = str(refused)
        assert "means of the closed form" in text
    found = re.search(rf"this is enough: --{name} (\d+)(ms)?\.", text)
    assert found, text
    value = int(found[1])
    targets = replace(asked.targets, ttft_ms=float(value)) if name == "ttft" else asked.targets
    budget = Budget(packages=value) if name == "packages" else asked.budget
    assert answer("ascend-910c", replace(asked, targets=targets, budget=budget)).best.met
