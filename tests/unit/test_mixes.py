"""Mixed fleets: the integer program against enumeration, stock that is never exceeded, more of it never worse."""

import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.errors import InputError
from silicast.planning.mixes import Mix, _solve, mix
from silicast.planning.question import Budget, Question
from silicast.planning.trials import Trials
from silicast.planning.variants import Variant
from silicast.scenario import Targets, Workload
from tests.unit import pools
from tests.unit.test_plan import variant

WORK = Workload(1000, 200, rate=10.0)
QUESTION = Question(WORK, Targets(2000.0, 50.0), Budget(), "cost")
DRAWS = 16

small = st.integers(1, 9).map(float)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(small, small, small), min_size=1, max_size=3), st.integers(4, 40), st.integers(1, 12))
def test_the_program_finds_what_enumeration_finds(rows: list[tuple[float, ...]], rate: int, stock: int) -> None:
    weights, able, taken = (np.array(column) for column in zip(*rows, strict=True))
    question = replace(QUESTION, workload=replace(WORK, rate=float(rate)))
    every = [
        np.array(counts) for counts in product(*(range(int(np.ceil(rate / one)) + 1) for one in able))
        if np.dot(counts, able) >= rate and np.dot(counts, taken) <= stock
    ]  # fmt: skip
    if not every:
        with pytest.raises(InputError, match="serves at most"):
            _solve(weights, able, [(taken, float(stock))], question)
        return
    counts = _solve(weights, able, [(taken, float(stock))], question)
    assert np.dot(counts, able) >= rate - 1e-6
    assert np.dot(counts, taken) <= stock + 1e-6
    assert np.dot(counts, weights) == pytest.approx(min(np.dot(one, weights) for one in every))


def both() -> list[Variant]:
    return [variant(), variant(chip="mi300x")]


def planned(**available: int) -> Mix:
    return mix(both(), QUESTION, {name.replace("_", "-"): count for name, count in available.items()}, DRAWS)


def test_stock_is_never_exceeded_and_more_is_never_worse() -> None:
    told = [planned(h100_sxm=count, mi300x=64) for count in (2, 4, 8, 64)]
    for one in told:
        assert all(count <= one.available[chip] for chip, count in one.packages.items())
        assert one.able.value >= 10.0 - 1e-6
        assert one.usd_per_hour == pytest.approx(
            2.65 * one.packages.get("h100-sxm", 0) + 3.0 * one.packages.get("mi300x", 0)
        )
    costs = [one.usd_per_hour for one in told]
    assert costs == sorted(costs, reverse=True)


def _most(available: dict[str, int]) -> float:
    """What the stock serves at most, as the refusal of an absurd rate says."""
    with pytest.raises(InputError, match=r"serves at most") as refused:
        mix(both(), replace(QUESTION, workload=replace(WORK, rate=1e6)), available, DRAWS, split=False)
    return float(re.search(r"at most ([\d.e+]+) of", str(refused.value)).group(1))


def test_a_mix_serves_what_no_chip_serves_alone() -> None:
    alone = [_most({"h100-sxm": first, "mi300x": second}) for first, second in ((12, 1), (1, 8), (12, 8))]
    assert max(alone[:2]) < alone[2]
    told = mix(
        both(), replace(QUESTION, workload=replace(WORK, rate=0.95 * alone[2])), {"h100-sxm": 12, "mi300x": 8}, DRAWS,
        split=False,
    )  # fmt: skip
    assert set(told.packages) == {"h100-sxm", "mi300x"}


def test_what_a_mix_needs() -> None:
    with pytest.raises(InputError, match="give --rate"):
        mix(both(), replace(QUESTION, workload=replace(WORK, rate=None)), {"h100-sxm": 1}, DRAWS)
    with pytest.raises(InputError, match="below the floor"):
        mix(both(), replace(QUESTION, targets=Targets(2000.0, 0.1)), {"h100-sxm": 1}, DRAWS)
    assert pools.LLAMA in planned(h100_sxm=64, mi300x=64).model


def test_units_of_a_simulated_fleet_serve_what_they_do_under_traffic() -> None:
    stock = {"h100-sxm": 64, "mi300x": 64}
    strict = replace(QUESTION, targets=Targets(400.0, 30.0))
    told = mix(both(), strict, stock, DRAWS, trials=Trials(99.0))
    free = mix(both(), strict, stock, DRAWS)
    assert told.trials is not None
    assert free.trials is None
    assert told.able.value >= 10.0 - 1e-6
    assert told.usd_per_hour >= 0.98 * free.usd_per_hour
    with pytest.raises(InputError, match="under simulated traffic"):
        mix(both(), QUESTION, stock, DRAWS, trials=Trials(limits={"p99_ttft": 0.1}))
