"""`silicast models`: what a user sees, and what a script reads."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from silicast.cli.models import app
from silicast.errors import InputError
from silicast.model.config import model_ids

runner = CliRunner()


def lines(*arguments: str) -> list[str]:
    found = runner.invoke(app, [*arguments])
    assert found.exit_code == 0, found.output
    return found.output.splitlines()


def answer(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads("\n".join(lines(*arguments, "--json")))
    assert set(found) == {"schema", "verb", "inputs", "result", "warnings"}
    return found


def test_the_list_is_complete_and_narrow() -> None:
    printed = lines()
    assert max(map(len, printed)) <= 100
    for identity in model_ids():
        assert any(line.startswith(identity) for line in printed), identity


def test_the_list_can_be_filtered() -> None:
    printed = lines("--filter", "DEEPSEEK-R1")
    assert [line.split()[0] for line in printed[2:4]] == ["deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-R1-0528"]
    assert lines("--filter", "nothing-like-it") == ["No id contains 'nothing-like-it'. All models: silicast models"]


def test_the_list_in_json() -> None:
    found = answer("--filter", "gpt-oss-120b")
    assert found["verb"] == "models"
    (row,) = found["result"]
    assert (row["parameters"], row["experts"], row["experts_per_token"]) == (116_829_156_672, 128, 4)
    assert (row["attention"], row["weights"], row["layers"]) == ("GQA window + GQA", "mxfp4", 36)


def test_one_model_says_what_it_is_made_of_and_where_it_is_from() -> None:
    text = "\n".join(lines("show", "moonshotai/Kimi-K2-Thinking"))
    for part in (
        "moonshotai/Kimi-K2-Thinking (kimi_k2)",
        "1,026,408,209,408 parameters, 31.69 B per token; 61 layers",
        "int4",
        "KV cache BF16: 70,272 B per further token",
        "note: checkpoint format: that of moonshotai/Kimi-K2.5",
        "read from: assembled: radixark/miles @ 31f1ca961a94",
        "published size: 1T (card)",
        "doubts: beta_fast 1 as in the source",
    ):
        assert part in text, part


def test_one_model_in_json() -> None:
    found = answer("show", "Qwen/Qwen3.5-35B-A3B")
    result = found["result"]
    assert sum(result["parameters_by_scope"].values()) == result["parameters"] == 34_660_610_688
    assert sum(block["count"] * block["parameters"] for block in result["blocks"]) < result["parameters"]
    assert result["cache"]["bf16_bytes_per_token"] == 10 * 2 * 2 * 256 * 2
    assert result["cache"]["state_bytes_per_sequence"] == 30 * (32 * 128 * 128 + 3 * 8192) * 4
    assert result["vision_parameters"] == 446_571_248
    assert result["source"]["counted_parameters"] == 35_107_181_936
    assert found["warnings"] == result["omissions"]


@pytest.mark.parametrize("name", ["gpt-22b", "gpt:layers=2,hidden=8,heads=2,vocab=16", "nvidia/Qwen3-32B-NVFP4"])
def test_names_that_are_no_shipped_id(name: str) -> None:
    assert answer("show", name)["result"]["parameters"] > 0


def test_a_wrong_name_is_an_input_error() -> None:
    found = runner.invoke(app, ["show", "Qwen/Qwen3-9B"])
    assert isinstance(found.exception, InputError)
    assert "Did you mean 'Qwen/Qwen3" in str(found.exception)


@pytest.mark.parametrize("identity", model_ids())
def test_every_model_can_be_shown(identity: str) -> None:
    assert any("KV cache FP8" in line for line in lines("show", identity))
