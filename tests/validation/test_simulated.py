"""Serving runs of the evidence through the simulator."""

import json

import numpy as np
import pytest

from silicast.evidence.deployment import NoForecastError
from silicast.evidence.record import Row, load, shipped
from silicast.evidence.simulated import Replay, simulated
from tests.cli.program import run

WORDS = ("validate", "--points", "--chip", "h200-sxm", "--stack", "vllm", "--model", "meta-llama/Llama-3.1-70B")


def rows() -> list[Row]:
    found = [
        row
        for row in load([shipped()]).rows
        if row.scenario.chip == "h200-sxm" and row.scenario.stack == "vllm" and "Llama-3.1-70B" in row.scenario.model
    ]
    return [row for row in found if row.scenario.concurrency == 16 and row.metric in ("tpot_ms", "ttft_ms")]


def test_a_run_is_replayed_near_what_was_measured() -> None:
    chosen = rows()
    assert chosen
    found = simulated(chosen)
    errors = [abs(found[row.id] / row.value - 1) for row in chosen if row.metric == "tpot_ms"]
    assert np.median(errors) < 0.25


def test_one_run_is_simulated_once_for_all_its_metrics() -> None:
    told: list[tuple[int, int]] = []
    chosen = rows()
    simulated(chosen, lambda done, of: told.append((done, of)))
    assert told[-1][0] == told[-1][1] == len({row.scenario for row in chosen})


def test_a_run_of_unstated_length_has_forgotten_its_start() -> None:
    """Equal requests of a stated run wait for each other in their start burst, those of a long one do not."""
    one = rows()[0]
    equal = one.scenario._replace(length_low=None, length_high=None, input_tokens=4000, output_tokens=500)
    short, long = (one._replace(scenario=equal._replace(requests=count)) for count in (32, None))
    replay = Replay()
    assert replay.run(long)["ttft_ms"] < 0.8 * replay.run(short)["ttft_ms"]
    assert replay.run(long)["requests_per_s"] == pytest.approx(replay.run(short)["requests_per_s"], rel=0.1)


def test_what_is_no_closed_loop_is_left_out() -> None:
    row = next(row for row in load([shipped()]).rows if row.scenario.kind == "decode")
    with pytest.raises(NoForecastError):
        Replay().run(row)
    assert simulated([row]) == {}


def test_validate_tells_both() -> None:
    answer = run(*WORDS, "--simulate", "--json")
    assert answer.code == 0, answer.err
    both = [row for row in json.loads(answer.out)["rows"] if row["simulated"] is not None]
    assert both
    assert all(row["simulated"] > 0 and "forecast" in row for row in both)
    assert "Closed form beside simulation" in run(*WORDS, "--simulate").out
