"""The highest rate under targets, and the sweep, over a server whose answer is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from silicast.errors import InputError
from silicast.serving.measures import Hardware
from silicast.simulation import Scenario, Simulation, draw, scenario_of
from silicast.simulation.answer import Replicas
from silicast.simulation.search import at_rate, find_rate, offered, sweep
from tests.unit import served as made


def scenario(arrivals: dict[str, Any] | None = None, **given: Any) -> Scenario:
    traffic = {"arrivals": arrivals or {"kind": "constant", "rate": 1.0}, "input_tokens": 1000, "output_tokens": 11}
    deployment = {"model": "m", "pools": [{"chip": "c"}]}
    return scenario_of(
        {"requests": 400, "traffic": traffic, "deployment": deployment, "slo": {"ttft": "150ms"}} | given
    )


def run(asked: Scenario) -> Simulation:
    """One slot that takes 0.1 + 0.2 s per request: a clock of up to 1 / 0.3 requests/s never waits."""
    drawn = draw(asked)
    loop = drawn.loop.concurrency if drawn.loop else 1
    outcome = made.outcome(drawn.requests, replicas=1, slots=loop, reject=False)
    if drawn.loop:
        outcome.arrival = outcome.dispatched
    replicas = Replicas(("mixed",), np.zeros(1, dtype=int), np.ones(1))
    return Simulation(asked, drawn, outcome, Hardware(), replicas)


def test_the_highest_rate_is_the_capacity_of_the_slot() -> None:
    found = find_rate(run, scenario())
    assert found.rate == pytest.approx(1 / 0.3, rel=0.02)
    assert found.best is not None
    assert found.best.summary["slo_met"]
    assert len(found.runs) < 15


def test_a_rate_above_capacity_is_halved_first() -> None:
    found = find_rate(run, scenario({"kind": "constant", "rate": 40.0}))
    assert found.rate == pytest.approx(1 / 0.3, rel=0.02)


def test_impossible_targets_are_said_with_the_gentlest_run() -> None:
    found = find_rate(run, scenario(slo={"ttft": "50ms"}))
    assert found.best is None
    assert found.rate == 0
    assert offered(found.runs[-1]) < 1e-5


def test_saturation_ends_the_search_where_no_target_does() -> None:
    found = find_rate(run, scenario(slo={"tpot": "10s"}, requests=20_000))
    assert found.rate == pytest.approx(1 / 0.3, rel=0.1)
    assert not found.best.saturated


def test_a_run_too_short_to_fail_ends_the_search() -> None:
    found = find_rate(run, scenario(slo={"tpot": "10s"}, requests=2))
    assert found.factor == 2**20
    assert len(found.runs) == 21


@pytest.mark.parametrize(
    "arrivals",
    [
        {"kind": "poisson", "rate": 2.0},
        {"kind": "gamma", "rate": 2.0, "burstiness": 0.3},
        {"kind": "diurnal", "rate": 2.0, "swing": 0.5, "period": "10 s"},
        {"kind": "ramp", "knots": [["0 s", 1.0], ["1 h", 1.0]]},
    ],
)
def test_rates_are_scaled(arrivals: dict[str, Any]) -> None:
    plain, fast = scenario(arrivals), at_rate(scenario(arrivals), 3.0)
    assert offered(run(fast)) == pytest.approx(3 * offered(run(plain)), rel=0.1)


def test_a_trace_is_scaled(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n0,1,1\n4,1,1\n")
    for own in ({}, {"rate": 0.25}):
        given = scenario(traffic={"trace": {"file": str(path), **own}}, requests=2)
        assert draw(at_rate(given, 2.0)).requests.arrival.tolist() == [0, 2]


def test_a_sweep_goes_from_one_at_a_time_to_all_at_once() -> None:
    runs = sweep(run, scenario(), size=5)
    kinds = [one.scenario.traffic[0].arrivals.kind for one in runs]
    assert kinds == ["closed", "burst", "constant", "constant", "constant"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: find_rate(run, scenario(slo={})), "sought under targets"),
        (lambda: find_rate(run, scenario({"kind": "burst"})), "burst arrivals have no rate"),
        (lambda: sweep(run, scenario(requests=None, duration="5 s")), "a number of requests"),
    ],
)
def test_what_cannot_be_sought_is_refused(make: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()
