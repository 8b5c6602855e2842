"""The report of a plan: measured runs of the evidence over the forecast fronts, or that there are none."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from silicast import planner
from silicast.evidence.columns import Scenario
from silicast.evidence.record import Row
from silicast.evidence.runs import runs_near
from silicast.planning.plan import Plan
from silicast.planning.question import Budget
from silicast.report import plan_charts
from silicast.report.plan_html import measured, render, write_plan
from silicast.scenario import Workload
from tests.unit.test_report_html import CHROMIUM, Page, drawn, figures

QWEN, H100 = "Qwen/Qwen3-32B", "h100-sxm"
WORK = Workload(1024, 512)
RUN = Scenario(model=QWEN, chip=H100, devices=2, tp=2, input_tokens=1000, output_tokens=401, concurrency=16)


@cache
def answer(chip: str = H100) -> Plan:
    choices = planner.Choices(split=False, simulate=False)
    return planner.plan(QWEN, [chip], WORK, budget=Budget(devices=8), choices=choices)


def rows(run: Scenario, suspect: str | None = None, **values: float) -> list[Row]:
    return [
        Row("own", f"{metric}{place}", 2, run, metric, value, None, "validate", suspect, None, "")
        for place, (metric, value) in enumerate(values.items())
    ]


def test_throughput_is_that_measured_else_by_littles_law() -> None:
    latencies = rows(RUN, ttft_ms=1000.0, tpot_ms=10.0)
    (found,) = runs_near(latencies, QWEN, [H100], WORK)
    # 16 requests in flight for 1 + 400 x 0.01 s
    assert found.output_tokens_per_s_per_device == pytest.approx(16 * 401 / 5 / 2)
    assert found.tokens_per_s_per_user == pytest.approx(100)
    assert found.recipe == "2 devices, tp 2, 16 in flight, 1000 input and 401 output tokens"
    (found,) = runs_near([*latencies, *rows(RUN, output_tokens_per_s_per_device=7.0)], QWEN, [H100], WORK)
    assert found.output_tokens_per_s_per_device == 7.0
    (found,) = runs_near([*latencies, *rows(RUN, tpot_ms=30.0)], QWEN, [H100], WORK)
    assert found.tokens_per_s_per_user == pytest.approx(50), "repeats are averaged"


@pytest.mark.parametrize(
    "change",
    [
        {"model": "Qwen/Qwen3-8B"}, {"chip": "mi300x"}, {"input_tokens": 3000}, {"output_tokens": 200},
        {"prefix_hit": 0.5}, {"concurrency": None}, {"prefill_chip": H100, "decode_chip": "mi300x"},
    ],
)  # fmt: skip
def test_other_runs_are_left_out(change: dict[str, object]) -> None:
    assert not runs_near(rows(RUN._replace(**change), ttft_ms=1000.0, tpot_ms=10.0), QWEN, [H100], WORK)
    assert not runs_near(rows(RUN, "a typo", ttft_ms=1000.0, tpot_ms=10.0), QWEN, [H100], WORK)


def test_two_chips_are_named_as_a_plan_names_them() -> None:
    run = RUN._replace(prefill_chip=H100, prefill_devices=4, prefill_tp=4, decode_chip="mi300x", decode_devices=8)
    (found,) = runs_near(rows(run, ttft_ms=1000.0, tpot_ms=10.0), QWEN, [f"{H100} -> mi300x"], WORK)
    assert found.output_tokens_per_s_per_device == pytest.approx(16 * 401 / 5 / 12)
    assert found.recipe.startswith("prefill 1 x (devices 4 tp 4) + decode 1 x (devices 8)")


def test_the_chart_shows_the_measured_runs_within_its_axes() -> None:
    runs = measured(answer())
    assert len(runs) > 5
    spec = plan_charts.throughput(answer(), measured=runs)
    (layer,) = [layer for layer in spec["layer"] if "data" in layer]
    assert len(layer["data"]["values"]) == len(runs)
    for axis, field in (("x", "tokens_per_s_per_user"), ("y", "output_tokens_per_s_per_device")):
        low, high = layer["encoding"][axis]["scale"]["domain"]
        assert all(low <= row[field] <= high for row in layer["data"]["values"])
    page = Page(render(answer(), "silicast plan"))
    assert f"Crosses are {len(runs)} measured runs of {QWEN}" in page.text
    assert all(run.recipe in page.text for run in runs)


def test_without_measured_runs_the_page_says_so() -> None:
    own = replace(answer(), model="mine")
    assert not measured(own)
    text = render(own, "silicast plan")
    assert "No run of mine on these chips" in Page(text).text
    chart = json.loads(next(data for about, data in Page(text).scripts if about.get("id") == "chart-1"))
    assert not [layer for layer in chart["layer"] if "data" in layer]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_a_browser_without_network_draws_every_chart(tmp_path: Path) -> None:
    path = tmp_path / "plan.html"
    write_plan(answer(), path, "silicast plan")
    page, said = drawn(path, tmp_path / "profile")
    assert not said
    assert all("<svg" in one for one in figures(page))
