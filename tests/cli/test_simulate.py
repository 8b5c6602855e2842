"""`simulate` on the command line, over a stand-in for the simulator: options, files, errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from silicast import api
from silicast.cli.main import VERBS
from silicast.simulation import Scenario, Simulation
from tests.cli.program import Ran, run
from tests.unit.test_report_trace import events
from tests.unit.test_scenario_file import SHORT
from tests.unit.test_search import run as served


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Scenario]:
    scenarios: list[Scenario] = []

    def simulate(scenario: Scenario, told: Any = None) -> Simulation:
        scenarios.append(scenario)
        return served(scenario)

    monkeypatch.setattr(api, "simulate", simulate, raising=False)
    monkeypatch.setitem(VERBS, "simulate", "Requests over time.")
    return scenarios


FLAGS = ("m", "c", "--input-tokens", "1000", "--output-tokens", "11")


def simulate(*arguments: str) -> Ran:
    return run("simulate", *arguments)


def test_a_scenario_file(tmp_path: Path, asked: list[Scenario]) -> None:
    path = tmp_path / "day.toml"
    path.write_text(SHORT)
    content = simulate(str(path), "--json", "--seed", "3").document()
    assert content["verb"] == "simulate"
    assert content["result"]["completed"] == 100
    assert content["inputs"]["seed"] == 3


def test_the_same_as_flags(asked: list[Scenario]) -> None:
    ran = simulate(*FLAGS, "--rate", "2", "--requests", "50", "--tp", "4", "--ttft", "150ms", "--replicas", "2")
    assert ran.code == 0, ran.err
    assert "50 answered" in ran.out
    (scenario,) = asked
    pool = scenario.deployment.pools[0]
    assert (pool.replicas, pool.layout().devices) == (2, 4)
    assert scenario.slo.law().ttft_ms == 150


def test_several_rates_are_a_curve(asked: list[Scenario]) -> None:
    ran = simulate(*FLAGS, "--rate", "1", "--rate", "2", "--requests", "50")
    assert "sent, req/s" in ran.out
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("profile", "runs"),
    [(("synchronous",), 1), (("concurrent", "--rate", "2"), 1), (("throughput",), 1), (("poisson", "--rate", "1"), 1),
     (("sweep",), 10)],
)  # fmt: skip
def test_profiles(asked: list[Scenario], profile: tuple[str, ...], runs: int) -> None:
    ran = simulate("m", "c", "--data", "prompt_tokens=100,output_tokens=11", "--requests", "40", "--profile", *profile)
    assert ran.code == 0, ran.err
    assert len(asked) == runs


def test_the_highest_rate(asked: list[Scenario]) -> None:
    asks = (*FLAGS, "--profile", "constant", "--rate", "1", "--requests", "400", "--ttft", "150ms", "--find-rate")
    ran = simulate(*asks)
    assert ran.code == 0, ran.err
    assert "Highest rate within the targets: 3.3" in ran.out
    assert simulate(*asks, "--json").document()["result"]["highest_rate"] == pytest.approx(3.33, rel=0.02)
    ran = simulate(*asks, "--ttft", "1ms")
    assert "No rate meets the targets; the gentlest run is shown." in ran.out


def test_a_trace_is_replayed(tmp_path: Path, asked: list[Scenario]) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n0,1,1\n4,1,1\n")
    content = simulate("m", "c", "--replay", str(path), "--time-scale", "0.5", "--json").document()
    assert content["result"]["completed"] == 2


def test_files_are_written(tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in ("run.html", "run.json.gz", "run.csv", "result.json")}
    options = zip(("--html", "--trace", "--save-requests", "--save-result"), paths.values(), strict=True)
    ran = simulate(*FLAGS, "--rate", "2", "--requests", "50", *(str(word) for pair in options for word in pair))
    assert ran.code == 0, ran.err
    assert "ui.perfetto.dev" in ran.out
    assert events(paths["run.json.gz"])
    assert len(paths["run.csv"].read_text().splitlines()) == 51
    assert json.loads(paths["result.json"].read_text())["completed"] == 50
    assert "<title>" in paths["run.html"].read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("m",), "Give a scenario file (.toml), or a model and a chip"),
        (("none.toml",), "none.toml cannot be read"),
        (("none.toml", "--rate", "2"), "A scenario file says rate itself"),
        ((*FLAGS,), "Say how requests arrive"),
        ((*FLAGS, "--rate", "0"), "rate of arrivals must be positive and finite, got 0"),
        ((*FLAGS, "--rate", "nan"), "got nan"),
        ((*FLAGS, "--rate", "2", "--concurrency", "2"), "not both"),
        ((*FLAGS, "--rate", "2", "--data", "prompt_tokens=1,output_tokens=1"), "not both"),
        ((*FLAGS, "--profile", "poison"), "Did you mean 'poisson'"),
        ((*FLAGS, "--rate", "2", "--ttft", "-1s"), "must be positive"),
        ((*FLAGS, "--rate", "2", "--duration", "10"), "is not a time; write it with its unit"),
        ((*FLAGS, "--rate", "2", "--find-rate"), "sought under targets"),
        ((*FLAGS, "--profile", "sweep", "--find-rate"), "not both"),
        ((*FLAGS, "--rate", "2", "--router", "robin"), "router"),
        ((*FLAGS, "--rate", "2", "--save-requests", "x.xlsx"), ".csv, .csv.gz or .parquet"),
        (("m", "c", "--replay", "none.csv"), "none.csv' cannot be read"),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments: tuple[str, ...], said: str) -> None:
    ran = simulate(*arguments)
    assert ran.code == 2
    assert said in ran.err
    assert ran.err.count("\n") == 1
