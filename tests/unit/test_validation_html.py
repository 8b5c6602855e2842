"""The report of a validation: one file that loads nothing, escapes what a user wrote, and draws its charts."""

import json
import re
from pathlib import Path

import pytest

from silicast.evidence.deployment import Pools
from silicast.evidence.explain import explained_run
from silicast.evidence.record import load, shipped
from silicast.evidence.validate import Question, Validation, validate
from silicast.report.scatter import KINDS, scatter_rows, spread_rows
from silicast.report.validation_html import render, write_validation
from tests.unit.test_report_html import CHROMIUM, HOSTILE, Page, drawn, figures

SOURCES = ("lmsys-96h100", "gpustack", "deepep", "ds-isca25", "llama3")


@pytest.fixture(scope="module")
def answer() -> Validation:
    return validate(Question(tuple(shipped() / name for name in SOURCES)))


@pytest.fixture(scope="module")
def page(answer: Validation) -> str:
    return render(answer, [], "silicast validate --html x.html")


def test_nothing_is_loaded_and_links_stay_on_the_page(page: str) -> None:
    parsed = Page(page)
    assert not parsed.having("src")
    ids = {value for _, value in parsed.having("id")}
    assert {str(target).removeprefix("#") for _, target in parsed.having("href")} <= ids
    policies = [found["content"] for tag, found in parsed.elements if tag == "meta" and "http-equiv" in found]
    assert "default-src 'none'" in str(policies[0])
    assert not re.search(r"\$[a-z_]+", parsed.text)


def test_every_chart_has_its_data_and_a_table(page: str) -> None:
    parsed = Page(page)
    places = [value for _, value in parsed.having("data-chart")]
    data = {attributes["id"]: json.loads(text) for attributes, text in parsed.scripts if "id" in attributes}
    assert places == list(data)
    assert len(places) >= 3
    assert page.count("<summary>The same as a table</summary>") == len(places)


def test_it_says_headline_misses_reasons_and_sources(answer: Validation, page: str) -> None:
    text = Page(page).text
    assert f"{len(answer.checked):,} rows of {len(answer.sources)} sources" in text
    for source in answer.sources:
        assert source.title in text
    assert "training is not yet forecast" in text
    assert "decode step:" in text
    assert "silicast validate --html x.html" in text


def test_what_a_user_wrote_is_escaped(tmp_path: Path) -> None:
    place = tmp_path / "mine"
    place.mkdir()
    (place / "source.toml").write_text(f"title = {json.dumps(HOSTILE)}")
    cells = ["serve", "Qwen/Qwen3-8B", "h100-sxm", "vllm", "1", "512", "64", "4", "tpot_ms"]
    quoted = HOSTILE.replace('"', '""')
    lines = [",".join([f'"{quoted}{row}"', *cells, f"{9 + row}", f'"{quoted}"']) for row in range(9)]
    head = "id,kind,model,chip,stack,devices,input_tokens,output_tokens,concurrency,metric,value,note"
    (place / "points.csv").write_text("\n".join([head, *lines]))
    page = render(validate(Question((place,))), [], "x")
    assert "<script>alert" not in page
    assert "onerror=alert(1)>" not in page
    assert "alert(1)" in Page(page).text


def test_points_are_ours_and_the_peers() -> None:
    answer = validate(Question((shipped() / "inferencex-2026",)))
    items = [item for item in answer.checked if item.row.metric == "tpot_ms"]
    rows = scatter_rows(items)
    assert [kind for kind in KINDS if kind in {row["kind"] for row in rows}] == list(KINDS)
    assert sum(row["kind"] == "unseen" for row in rows) == sum(
        item.seen == "unseen" and item.outcome.value is not None for item in items
    )
    assert all(row["low"] <= row["value"] <= row["high"] for row in spread_rows(items))


@pytest.mark.parametrize("kind", ["serve", "prefill", "decode"])
def test_steps_of_a_run_add_up(kind: str) -> None:
    row = next(row for row in load([shipped()]).rows if row.scenario.kind == kind and not row.suspect)
    steps = explained_run(row.scenario, Pools())
    assert steps
    for step in steps.values():
        assert sum(part.value for part in step.tree.parts) == pytest.approx(step.seconds, rel=1e-6)


def test_two_pools_have_a_step_each_and_kernels_none() -> None:
    rows = load([shipped()]).rows
    two = next(row for row in rows if row.scenario.decode_chip)
    assert set(explained_run(two.scenario, Pools())) == {"prefill", "decode"}
    assert explained_run(next(row for row in rows if row.scenario.kind == "kernel").scenario, Pools()) == {}


@pytest.mark.skipif(CHROMIUM is None, reason="no browser")
def test_a_browser_draws_every_chart(answer: Validation, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_validation(answer, [], path, ["validate"])
    page, console = drawn(path, tmp_path / "profile")
    found = figures(page)
    assert len(found) == page.count("data-chart=") >= 3
    assert all("<svg" in figure for figure in found)
    assert not [figure for figure in found if "Infinity" in figure or "NaN" in figure]
    assert console == []
