"""Measures of a run against requests counted by hand and against the definitions of the benchmark client."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.errors import InputError
from silicast.serving.measures import Hardware, Rows, Slo, gap_statistics, good, summaries, summary, sustainable_rate

#: keys of the JSON of `vllm bench serve` 0.11.0 (vllm/benchmarks/serve.py:717-780) that do not list requests
PUBLISHED = {
    "duration", "completed", "total_input_tokens", "total_output_tokens", "request_throughput", "request_goodput",
    "output_throughput", "total_token_throughput", "max_output_tokens_per_s", "max_concurrent_requests",
    *(f"{kind}_{name}_ms" for kind in ("mean", "median", "std", "p99") for name in ("ttft", "tpot", "itl", "e2el")),
}  # fmt: skip


@dataclass
class Histogram:
    seconds: Any
    weights: Any


def rows(**given: Any) -> Rows:
    """Three requests: 5 tokens at an even 0.1 s, one token, and one that was rejected."""
    columns = {
        "arrival": [0.0, 1.0, 2.0],
        "dispatched": [0.1, 1.0, np.nan],
        "first_token": [0.5, 1.2, np.nan],
        "finished": [0.9, 1.2, np.nan],
        "input_tokens": [100, 300, 10**7],
        "output_tokens": [5, 1, 0],
        "preemptions": [1, 0, 0],
        "cached_tokens": [64, 0, 0],
        "host_tokens": [32, 0, 0],
        "remote_tokens": [16, 0, 0],
        "state": [1, 1, 2],
    } | given
    return Rows(**{name: np.array(values) for name, values in columns.items()})


def test_three_requests_by_hand() -> None:
    found = summary(rows(), Slo(ttft_ms=300, tpot_ms=150), hardware=Hardware(4, 2))
    assert found["completed"] == 2
    assert (found["failed"], found["rejected"], found["lost"]) == (1, 1, 0)
    assert found["duration"] == pytest.approx(1.2)
    assert found["mean_ttft_ms"] == pytest.approx(350)
    assert found["median_ttft_ms"] == pytest.approx(350)
    assert found["std_ttft_ms"] == pytest.approx(150)
    assert found["mean_tpot_ms"] == pytest.approx(100)
    assert found["mean_e2el_ms"] == pytest.approx(550)
    assert found["mean_queue_ms"] == pytest.approx(50)
    assert found["p99_ttft_ms"] == pytest.approx(np.percentile([500, 200], 99))
    assert found["request_throughput"] == pytest.approx(2 / 1.2)
    assert found["output_throughput"] == pytest.approx(6 / 1.2)
    assert found["total_token_throughput"] == pytest.approx(406 / 1.2)
    assert found["output_tokens_per_s_per_device"] == pytest.approx(6 / 1.2 / 4)
    assert found["total_tokens_per_s_per_package"] == pytest.approx(406 / 1.2 / 2)
    assert found["prefix_hit"] == pytest.approx(64 / 400)
    assert found["preemptions"] == 1
    # one token has no TPOT to miss, and the rejected request counts against the SLO
    assert found["request_goodput"] == pytest.approx(1 / 1.2)
    assert found["slo_attainment"] == pytest.approx(1 / 3)
    assert found["slo_met"] is False
    assert found["max_output_tokens_per_s"] == pytest.approx(5)
    assert found["max_concurrent_requests"] == 1


def test_the_keys_are_those_of_the_benchmark_client() -> None:
    found = summary(rows(), Slo(ttft_ms=300), Histogram(np.array([0.1]), np.array([4.0])))
    assert found.keys() >= PUBLISHED


def test_all_targets_of_an_slo_count_at_once() -> None:
    assert good(rows(), Slo(e2e_ms=900.0001)).tolist() == [True, True, False]
    assert good(rows(), Slo(e2e_ms=900.0001, tpot_ms=90)).tolist() == [False, True, False]
    assert good(rows(), Slo(ttft_ms=1, tpot_ms=1e9)).tolist() == [False, False, False]


def test_an_slo_is_met_at_its_percentile() -> None:
    finished = rows(state=[1, 1, 1], first_token=[0.5, 1.2, 2.1], finished=[0.9, 1.2, 2.2], dispatched=[0.0, 1.0, 2.0])
    assert summary(finished, Slo(ttft_ms=300, percentile=66))["slo_met"] is True
    assert summary(finished, Slo(ttft_ms=300))["slo_met"] is False


def test_without_targets_there_is_no_goodput() -> None:
    found = summary(rows())
    assert found["request_goodput"] is None
    assert found["slo_met"] is None


@pytest.mark.parametrize("state", [[2, 2, 2], [3, 3, 3]])
def test_nothing_finished_is_not_an_error(state: list[int]) -> None:
    found = summary(rows(state=state), Slo(ttft_ms=300), Histogram(np.array([0.1]), np.array([0.0])), Hardware(8, 8))
    assert found["completed"] == 0
    assert found["failed"] == 3
    assert found["duration"] == 0
    assert found["request_throughput"] == 0
    assert found["request_goodput"] == 0
    assert found["slo_met"] is False
    assert all(found[f"{kind}_{name}_ms"] is None for kind in ("mean", "p99") for name in ("ttft", "tpot", "itl"))


def test_what_is_open_when_a_run_is_broken_off_counts_neither_way() -> None:
    found = summary(rows(state=[1, 1, 0]), Slo(ttft_ms=1000))
    assert (found["completed"], found["failed"]) == (2, 0)
    assert found["slo_attainment"] == 1


def test_no_requests_at_all() -> None:
    empty = rows().where(np.zeros(3, dtype=bool))
    assert summary(empty, Slo(ttft_ms=1))["slo_attainment"] is None


@given(st.lists(st.tuples(st.floats(0.0005, 2), st.integers(0, 500)), min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_gaps_have_the_statistics_of_what_was_counted(seen: list[tuple[float, int]]) -> None:
    seconds = np.array(sorted(gap for gap, _ in seen))
    counts = np.array([count for _, count in seen])
    found = gap_statistics(Histogram(seconds, counts.astype(float)))
    listed = np.repeat(seconds, counts) * 1000
    if not listed.size:
        assert found["mean_itl_ms"] is None
        return
    assert found["mean_itl_ms"] == pytest.approx(listed.mean())
    assert found["std_itl_ms"] == pytest.approx(listed.std(), abs=1e-6)
    for percent, key in ((50, "median_itl_ms"), (99, "p99_itl_ms")):
        assert found[key] == pytest.approx(np.percentile(listed, percent, method="inverted_cdf"))


@st.composite
def runs(draw: Any) -> Rows:
    count = draw(st.integers(1, 12))

    def times(most: float) -> Any:
        return np.array(draw(st.lists(st.floats(0, most), min_size=count, max_size=count)))

    arrival = np.sort(times(20))
    first = arrival + times(3)
    outputs = np.array(draw(st.lists(st.integers(1, 50), min_size=count, max_size=count)))
    finished = np.where(outputs > 1, first + times(9), first)
    zero = np.zeros(count, dtype=np.int64)
    return Rows(arrival, arrival, first, finished, zero + 10, outputs, zero, zero, zero, zero, zero + 1)


@given(runs())
@settings(max_examples=200, deadline=None)
def test_the_busiest_second_is_that_of_the_tokens(run: Rows) -> None:
    found = summary(run)
    start = run.arrival.min()
    begin, end = (run.arrival - start).astype(int), (run.finished - start).astype(int)
    seconds = range(int(end.max()) + 1)
    assert found["max_concurrent_requests"] == max(np.sum((begin <= one) & (one <= end)) for one in seconds)
    spread = [np.linspace(first, last, count) for first, last, count in
              zip(run.first_token, run.finished, run.output_tokens, strict=True)]  # fmt: skip
    counted = np.bincount((np.concatenate(spread) - start).astype(int))
    # spread evenly in time, a request is off by one token in a second at most
    assert found["max_output_tokens_per_s"] == pytest.approx(counted.max(), abs=run.arrival.size + 1e-6)
    assert found["max_output_tokens_per_s"] <= run.output_tokens.sum() * (1 + 1e-6)


@given(runs(), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_groups_add_up(run: Rows, groups: int) -> None:
    tenant = np.arange(run.arrival.size) % groups
    slo = Slo(ttft_ms=1500)
    whole = summary(run, slo)
    parts = summaries(run, tenant, [f"t{place}" for place in range(groups)], slo)
    for key in ("completed", "total_output_tokens", "request_throughput", "request_goodput", "output_throughput"):
        assert sum(part[key] or 0 for part in parts.values()) == pytest.approx(whole[key])
    assert {part["duration"] for part in parts.values()} == {whole["duration"]}


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_a_queue_that_keeps_up_is_not_saturated(load: float, seed: int) -> None:
    assert sustainable_rate(queue(load, seed)) is None


@pytest.mark.parametrize("load", [1.3, 2.0, 10.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_queue_that_cannot_keep_up_tells_its_capacity(load: float, seed: int) -> None:
    assert sustainable_rate(queue(load, seed)) == pytest.approx(5.0, rel=0.15)


def test_requests_that_come_at_once_have_no_rate() -> None:
    assert sustainable_rate(rows(arrival=[0.0, 0.0, 0.0])) is None


def queue(load: float, seed: int, count: int = 3000) -> Rows:
    """M/M/1 at 5 requests/s."""
    random = np.random.default_rng(seed)
    arrival = np.cumsum(random.exponential(1 / load / 5, count))
    service = random.exponential(0.2, count)
    finished = np.empty(count)
    free = 0.0
    for place in range(count):
        free = max(free, float(arrival[place])) + service[place]
        finished[place] = free
    none = np.zeros(count, dtype=np.int64)
    return Rows(arrival, arrival, finished, finished, none, none + 1, none, none, none, none, none + 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ttft_ms": 0.0}, "target ttft_ms must be a positive"),
        ({"tpot_ms": float("nan")}, "got nan"),
        ({"e2e_ms": float("inf")}, "got inf"),
        ({"percentile": 0.0}, "percentile of an SLO"),
        ({"percentile": 101.0}, "got 101"),
    ],
)
def test_impossible_targets_are_refused(given: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Slo(**given)
