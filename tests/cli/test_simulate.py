"""`silicast simulate` from end to end: one pool, two pools of two vendors, what it writes, what it refuses."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import run

DENSE = ("simulate", "Qwen/Qwen3-8B", "h100-sxm", "--input-tokens", "500", "--output-tokens", "40")

TWO_POOLS = """
seed = 3
requests = 60
[traffic]
arrivals = { kind = "poisson", rate = 4.0 }
input_tokens = { kind = "lognormal", mean = 800, spread = 0.6 }
output_tokens = 50
[deployment]
model = "Qwen/Qwen3-8B"
[[deployment.pools]]
chip = "ascend-910c"
role = "prefill"
[[deployment.pools]]
chip = "h100-sxm"
role = "decode"
[slo]
ttft = "5s"
"""


def result(*words: str) -> dict[str, Any]:
    answer = run(*words, "--json")
    assert answer.code == 0, answer.err
    found: dict[str, Any] = json.loads(answer.out)["result"]
    return found


def test_every_request_is_answered_under_the_names_of_vllm() -> None:
    found = result(*DENSE, "--rate", "5", "--requests", "80")
    assert found["completed"] == 80
    assert found["total_output_tokens"] == 80 * 40
    assert 0 < found["mean_ttft_ms"] <= found["p99_ttft_ms"]
    assert found["mean_tpot_ms"] > 0


def test_the_same_seed_gives_the_same_answer() -> None:
    words = *DENSE, "--rate", "5", "--requests", "50", "--seed", "4"
    assert result(*words) == result(*words)


def test_a_prompt_is_computed_on_one_vendors_chip_and_answered_on_anothers(tmp_path: Path) -> None:
    scenario = tmp_path / "two.toml"
    scenario.write_text(TWO_POOLS)
    files = {name: tmp_path / name for name in ("report.html", "trace.json.gz", "requests.csv", "result.json")}
    options = ("--html", "--trace", "--save-requests", "--save-result")
    words = [word for pair in zip(options, map(str, files.values()), strict=True) for word in pair]
    answer = run("simulate", str(scenario), *words)
    assert answer.code == 0, answer.err
    assert "60 answered" in answer.out
    assert files["report.html"].read_text().lower().startswith("<!doctype html>")
    with gzip.open(files["trace.json.gz"], "rt") as file:
        assert json.load(file)["traceEvents"]
    with files["requests.csv"].open() as file:
        assert len(list(csv.DictReader(file))) == 60
    assert json.loads(files["result.json"].read_text())["completed"] == 60


def test_the_highest_rate_meets_the_targets() -> None:
    words = *DENSE, "--rate", "5", "--requests", "150", "--ttft", "1s", "--tpot", "30ms", "--find-rate"
    assert result(*words)["highest_rate"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (DENSE, "Say how requests arrive"),
        ((*DENSE, "--rate", "0"), "rate"),
        ((*DENSE, "--rate", "5", "--policy", "vlm"), "policy"),
        ((*DENSE, "--rate", "5", "--concurrency", "4"), "not both"),
        (("simulate", "no.toml"), "no.toml"),
        (("simulate", "Qwen/Qwen3-8B", "h100-sxmm", "--rate", "5"), "h100-sxm"),
    ],
)
def test_bad_input_is_one_clear_line(words: tuple[str, ...], told: str) -> None:
    answer = run(*words)
    assert answer.code == 2
    assert told in answer.err
    assert "Traceback" not in answer.err
