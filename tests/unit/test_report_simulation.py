"""The report of a simulated run: terminal, JSON, HTML, and the averages over time behind its charts."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from silicast.errors import InputError
from silicast.report import simulation as report
from silicast.report import simulation_html, timeline
from silicast.report.timeline import Slices
from silicast.simulation import Simulation
from tests.unit import served as made
from tests.unit.test_report_html import CHROMIUM, Page, drawn, figures


@pytest.fixture(scope="module")
def answer() -> Simulation:
    return made.simulation()


def printed(answer: Simulation) -> str:
    out = io.StringIO()
    report.render(answer, Console(file=out, width=200))
    return out.getvalue()


def test_the_verdict_and_the_numbers_are_printed(answer: Simulation) -> None:
    text = printed(answer)
    found = answer.summary
    assert "392 answered" in text
    assert "8 rejected" in text
    assert f"{found['slo_attainment']:.1%} of the requests meet all, 90 % must: met" in text
    for label in ("TTFT", "TPOT", "ITL", "E2E", "queue"):
        assert any(line.startswith(label) for line in text.splitlines())
    assert "per device (8)" in text
    assert "J per output token" in text
    assert "warning: made for a test." in text
    # a name is text, not markup
    assert "chat [bold]" in text


def test_saturation_and_a_broken_run_are_said() -> None:
    answer = made.simulation(rate=20.0, complete=False)
    text = printed(answer)
    # eight slots, answers of 100 and 40 tokens at 50 tokens/s after 0.1 s
    assert answer.sustainable_rate == pytest.approx(8 / (0.1 + 69 / 50), rel=0.1)
    assert "Saturated: more came than the deployment can answer" in text
    assert "Broken off" in text


def test_the_json_has_the_keys_of_the_benchmark_client(answer: Simulation) -> None:
    content = json.loads(json.dumps(report.simulation_document(answer), allow_nan=False))
    assert content["verb"] == "simulate"
    assert content["inputs"]["seed"] == 5
    assert content["result"]["p99_ttft_ms"] == answer.summary["p99_ttft_ms"]
    assert content["result"]["tenants"].keys() == {"chat [bold]", "code"}
    assert content["result"]["pools"]["mixed"]["utilisation"] == pytest.approx(0.75)
    assert content["warnings"] == ["made for a test."]


def test_the_saved_result_is_flat(answer: Simulation, tmp_path: Path) -> None:
    simulation_html.write_result(answer, tmp_path / "result.json")
    flat = json.loads((tmp_path / "result.json").read_text())
    assert flat["model_id"] == "some/model"
    assert flat["request_rate"] == 3.0
    assert flat["num_prompts"] == 400
    assert flat["mean_itl_ms"] == pytest.approx(22)


def test_the_page_loads_nothing_and_escapes_names(answer: Simulation) -> None:
    page = simulation_html.render(answer, "silicast simulate 'a <b>.toml'", [answer, answer])
    parsed = Page(page)
    assert "<tenants>" not in page
    assert "two <tenants>" in parsed.text
    assert not parsed.having("src")
    assert all(str(target).startswith("#") for _, target in parsed.having("href"))
    places = [value for _, value in parsed.having("data-chart")]
    data = {attributes["id"]: json.loads(text) for attributes, text in parsed.scripts if "id" in attributes}
    assert places == list(data)
    assert len(places) == 6
    assert all(spec["data"]["values"] for spec in data.values())
    ids = {value for _, value in parsed.having("id")}
    assert all(str(target).removeprefix("#") in ids for _, target in parsed.having("href"))


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_a_browser_without_network_draws_every_chart(answer: Simulation, tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    simulation_html.write_simulation(answer, path, "silicast simulate day.toml", [answer, made.simulation(rate=9.0)])
    page, console = drawn(path, tmp_path / "profile")
    found = figures(page)
    assert len(found) == 6
    assert all("<svg" in figure for figure in found)
    assert not [figure for figure in found if "Infinity" in figure or "NaN" in figure]
    assert console == []


def test_a_run_that_answered_nothing_is_reported() -> None:
    base = made.simulation()
    none = np.full(base.served.state.size, np.nan)
    lost = made.Outcome(base.served.arrival, none, none, none, *(base.served.arrival.astype(int) * 0,) * 5,
                        base.served.replica * 0 - 1, base.served.state * 0 + 3)  # fmt: skip
    answer = Simulation(base.scenario, base.drawn, lost, base.hardware, base.replicas)
    assert "0 answered" in printed(answer)
    assert "No request was answered." in simulation_html.render(answer, "x")
    json.dumps(report.simulation_document(answer), allow_nan=False)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.integers(1, 12), st.integers(0, 2**31))
@settings(max_examples=100, deadline=None)
def test_a_mean_over_slices_keeps_the_integral(times: list[float], count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    starts = np.sort(np.array(times))
    ends = starts + random.uniform(0, 1, starts.size) * (np.append(starts[1:], 100.0) - starts)
    values = random.integers(0, 9, starts.size).astype(float)
    slices = Slices(np.linspace(0, 100, count + 1))
    total = np.sum(slices.mean(starts, ends, values)) * slices.width
    assert total == pytest.approx(np.sum(values * (ends - starts)), abs=1e-6)


def test_replicas_held_what_the_requests_spent(answer: Simulation) -> None:
    found = answer.pools["mixed"]
    done = answer.rows.where(answer.rows.done)
    duration = float(answer.summary["duration"] or 1)
    assert found["replicas"] == 2
    assert found["mean_running"] == pytest.approx(np.sum(done.finished - done.dispatched) / duration / 2)
    assert found["mean_waiting"] == pytest.approx(np.sum(done.dispatched - done.arrival) / duration / 2)
    assert found["max_running"] == 4
    assert found["max_kv_share"] == pytest.approx(0.4)
    assert found["energy_j"] == 6e5
    assert "waiting," in printed(answer)


def test_rates_over_time_add_up_to_the_requests(answer: Simulation) -> None:
    slices = Slices.of(answer)
    assert slices is not None
    rows = timeline.rate_rows(answer, slices)
    answered = sum(row["value"] for row in rows if row["line"] == "answered") * slices.width
    assert answered == pytest.approx(answer.summary["completed"])


def test_the_batch_over_time_is_little_s_law(answer: Simulation) -> None:
    slices = Slices.of(answer)
    assert slices is not None
    running = timeline.held(answer, slices, "running")["mixed"].mean()
    done = answer.rows.where(answer.rows.done)
    spent = np.sum(done.finished - done.dispatched) / float(answer.summary["duration"] or 1)
    assert running == pytest.approx(spent, rel=1e-6)


def test_shares_rise_to_the_percentiles(answer: Simulation) -> None:
    rows = [row for row in timeline.share_rows(answer.rows) if row["line"] == "TTFT"]
    assert [row["value"] for row in rows] == sorted(row["value"] for row in rows)
    at = {row["share"]: row["value"] for row in rows}
    assert at[99.0] == pytest.approx(answer.summary["p99_ttft_ms"])


def test_a_place_that_cannot_be_written_is_said(answer: Simulation, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Cannot write the report"):
        simulation_html.write_simulation(answer, tmp_path, "x")


def test_a_curve_has_a_line_per_run() -> None:
    runs: list[Any] = [made.simulation(rate=rate) for rate in (1.0, 4.0)]
    table = report.curve(runs)
    assert table.row_count == 2
    assert {row["line"] for row in timeline.curve_rows(runs)} == {"TTFT, mean", "TTFT, p99", "TPOT, mean", "TPOT, p99"}
