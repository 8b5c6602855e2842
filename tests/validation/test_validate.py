"""`silicast validate`: the JSON object of the schema, the tables, filters, what stands apart."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from silicast.cli.validate import command
from silicast.errors import EvidenceError
from silicast.evidence.record import load, shipped
from silicast.evidence.validate import Filter, Question, validate

ROW_KEYS = [
    "id", "source", "kind", "chip", "stack", "model", "metric", "measured", "forecast", "low", "high", "error",
    "inside", "tier", "bound_by", "reason",
]  # fmt: skip
SCORES = {
    "rows", "evidence", "share_forecast", "median_absolute_error", "mean_absolute_error", "bias", "p90_absolute_error",
    "rank_correlation", "coverage", "width", "peer_rows", "peer_median_absolute_error",
    "median_absolute_error_on_peer_rows",
}  # fmt: skip
SOME = [name for s in ("lmsys-96h100", "gpustack", "sglang-ascend-best-practice") for name in ("--source", s)]


def run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*SOME, "--json"))
    return found


def test_top_level_is_the_object_of_the_schema(document: dict[str, Any]) -> None:
    assert set(document) == {"schema", "rows", "groups", "overall", "warnings"}
    assert set(document["overall"]) == SCORES
    for group in document["groups"]:
        assert set(group) == SCORES | {"source", "chip", "stack", "model", "metric"}


def test_one_row_per_input_row_in_input_order(document: dict[str, Any]) -> None:
    wanted = {"lmsys-96h100", "gpustack", "sglang-ascend-best-practice"}
    rows = [row for row in load([shipped()]).rows if row.source in wanted]
    assert [(row["source"], row["id"]) for row in document["rows"]] == [(row.source, row.id) for row in rows]
    assert [row["measured"] for row in document["rows"]] == [row.value for row in rows]


def test_rows_are_consistent(document: dict[str, Any]) -> None:
    for row in document["rows"]:
        assert list(row) == ROW_KEYS
        if row["forecast"] is None:
            assert row["reason"]
            assert [row[name] for name in ("low", "high", "error", "inside", "tier")] == [None] * 5
        else:
            assert row["low"] <= row["forecast"] <= row["high"]
            assert row["error"] == pytest.approx(row["forecast"] / row["measured"] - 1)
            assert row["inside"] == (row["low"] <= row["measured"] <= row["high"])
            assert row["tier"] in ("measured", "calibrated", "transferred", "datasheet")


def test_groups_add_up_to_the_headline(document: dict[str, Any]) -> None:
    assert sum(group["rows"] for group in document["groups"]) == document["overall"]["rows"]
    assert document["overall"]["rows"] < len(document["rows"])


def test_suspect_rows_and_unrecorded_acceptance_stand_apart() -> None:
    answer = validate(Question((shipped() / "gpustack", shipped() / "lmsys-96h100")))
    apart = {item.row.id: item.apart for item in answer.checked if item.apart}
    assert apart["sgl96-decode-mtp4000"].startswith("suspect: speculative decoding")
    assert "acceptance of draft tokens is not recorded" in apart.values()
    assert answer.overall.rows == len(answer.headline)


def test_training_rows_are_listed_and_in_no_figure() -> None:
    answer = validate(Question((shipped() / "llama3", shipped() / "lmsys-96h100")))
    training = [item for item in answer.checked if item.row.scenario.kind == "train"]
    assert len(training) == 6
    assert all(item.outcome.reason == "training is not yet forecast" for item in training)
    assert "llama3" not in {group.keys["source"] for group in answer.groups}


def test_tables_fit_a_hundred_columns() -> None:
    text = run(*SOME, "--points")
    assert max(map(len, text.splitlines())) <= 100
    for part in ("Errors in %", "largest misses", "Rows without a forecast", "Rows outside the figures above"):
        assert part in text


def test_filters_and_their_nearest_names() -> None:
    folder = (shipped() / "gpustack",)
    answer = validate(
        Question(
            folder,
            Filter(chip=("h200-sxm",), model=("deepseek-v3.2", "deepseek-ai/DeepSeek-R1-0528"), metric=("ttft_ms",)),
        )
    )
    assert {item.key("chip") for item in answer.checked} == {"h200-sxm"}
    assert {item.row.metric for item in answer.checked} == {"ttft_ms"}
    with pytest.raises(EvidenceError, match="Did you mean 'h200-sxm'"):
        validate(Question(folder, Filter(chip=("h200-sxn",))))


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    place = tmp_path / "mine"
    place.mkdir()
    (place / "source.toml").write_text('title = "Mine"')
    (place / "points.csv").write_text(
        "id,kind,model,chip,stack,devices,input_tokens,output_tokens,concurrency,metric,value\n"
        "a,serve,Qwen/Qwen3-8B,h100-sxm,vllm,1,1024,256,16,tpot_ms,9\n"
        "b,serve,nobody/Knows,h100-sxm,vllm,1,1024,256,16,tpot_ms,9\n"
        "c,serve,Qwen/Qwen3-8B,unknown-chip,vllm,1,1024,256,16,tpot_ms,9\n"
    )
    document = json.loads(run("--evidence", str(place), "--points", "--json"))
    assert [row["forecast"] is None for row in document["rows"]] == [False, True, True]
    assert [row["low"] for row in document["rows"]] == [None] * 3
    assert document["overall"]["share_forecast"] == pytest.approx(1 / 3)
    both = json.loads(run("--evidence", str(place), "--shipped", "--source", "mine", "--points", "--json"))
    assert both["rows"] == document["rows"]


def test_all_shipped_rows_are_forecast_in_seconds() -> None:
    answer = validate(Question((shipped(),)))
    assert len(answer.checked) > 7000
    assert answer.overall.share_forecast > 0.97


def test_fitted_rows_have_a_column_of_their_own_under_a_refit() -> None:
    source = ("--source", "sglang-ascend-best-practice", "--points", "--json")
    plain, more = json.loads(run(*source)), json.loads(run(*source, "--leave-one-source-out"))
    assert list(plain["rows"][0]) == ROW_KEYS
    told = [row for row in more["rows"] if row["forecast_left_out"] is not None]
    assert told
    for row in told:
        assert row["error_left_out"] == pytest.approx(row["forecast_left_out"] / row["measured"] - 1)
        assert row["forecast_left_out"] != row["forecast"]
    assert [{key: row[key] for key in ROW_KEYS} for row in more["rows"]] == plain["rows"]


def test_a_report_is_written_beside_the_answer(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.html"
    text = run("--source", "gpustack", "--points", "--html", str(path))
    assert f"Report: {path}"[:60] in text.replace("\n", "")
    assert "Forecast against measurement" in path.read_text(encoding="utf-8")
