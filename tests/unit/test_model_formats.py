"""Formats of published checkpoints: which scopes are quantised, to what, and where the config or the name says it."""

import json
from pathlib import Path
from typing import Any

import pytest

from silicast import catalog
from silicast.model import Model, read_model
from silicast.model.config import Fields, model_ids
from silicast.model.families.quantisation import quantisation
from silicast.scenario import Precision

LINEARS = {"attention", "indexer", "ffn", "experts", "shared"}


def quantised(model: Model) -> set[str]:
    """Scopes that have parameters and are not 16 bit as published."""
    formats = model.formats(model.default_precision())
    return {str(scope) for scope, number in model.parameters_by_scope.items() if number and formats[scope][0] != "bf16"}


@pytest.mark.parametrize(
    ("name", "weights", "activations", "scopes"),
    [
        ("deepseek-ai/DeepSeek-R1", "fp8_block", "fp8_block", {"attention", "ffn", "experts", "shared"}),
        ("deepseek-ai/DeepSeek-V3.2", "fp8_block", "fp8_block", LINEARS),
        ("zai-org/GLM-5-FP8", "fp8_block", "fp8_block", LINEARS),
        ("Qwen/Qwen3-235B-A22B-FP8", "fp8_block", "fp8_block", {"attention", "experts"}),
        ("Qwen/Qwen3-32B-FP8", "fp8_block", "fp8_block", {"attention", "ffn"}),
        ("Qwen/Qwen3-32B-FP8-Static-PerTensor", "fp8", "fp8", {"attention", "ffn"}),
        ("openai/gpt-oss-120b", "mxfp4", "bf16", {"experts"}),
        ("moonshotai/Kimi-K2.5", "int4", "bf16", {"experts"}),
        ("moonshotai/Kimi-K2-Thinking", "int4", "bf16", {"experts"}),
        ("moonshotai/Kimi-K3", "mxfp4", "bf16", {"experts"}),
        ("nvidia/Kimi-K2.5-NVFP4", "fp4", "fp4", {"ffn", "experts", "shared"}),
        ("nvidia/MiniMax-M2.5-NVFP4", "fp4", "fp4", {"experts"}),
        ("nvidia/Qwen3.5-397B-A17B-NVFP4", "fp4", "fp4", {"experts"}),
        ("deepseek-ai/DeepSeek-V4-Flash", "mxfp4", "fp8_block", {"attention", "indexer", "experts", "shared"}),
        ("nvidia/GLM-5-NVFP4", "fp4", "fp4", {"ffn", "experts", "shared"}),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", "fp8", "fp8", {"attention", "ffn"}),
        ("nvidia/Qwen3-32B-NVFP4", "fp4", "fp4", {"attention", "ffn"}),
        ("nvidia/DeepSeek-R1-FP4", "fp4", "fp4", {"ffn", "experts", "shared"}),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8", "fp8_block", "fp8_block", {"attention", "experts"}),
        ("Qwen/Qwen3-8B", "bf16", "bf16", set()),
    ],
)
def test_published_checkpoints(name: str, weights: str, activations: str, scopes: set[str]) -> None:
    model = read_model(name)
    precision = model.default_precision()
    assert (precision.weights, precision.activations) == (weights, activations)
    assert quantised(model) == scopes


def test_a_checkpoint_with_two_formats_has_both() -> None:
    model = read_model("deepseek-ai/DeepSeek-V4-Flash")
    formats = model.formats(model.default_precision())
    assert (formats["experts"], formats["attention"]) == (("mxfp4", "fp8_block"), ("fp8_block", "fp8_block"))
    assert model.formats(Precision("fp8", "fp8"))["attention"] == ("fp8", "fp8")


def test_the_cache_format_is_read_where_the_checkpoint_has_one() -> None:
    assert read_model("nvidia/Kimi-K2.5-NVFP4").default_precision().kv_cache == "fp8"
    assert read_model("moonshotai/Kimi-K2.5").default_precision().kv_cache == "bf16"


@pytest.mark.parametrize("identity", model_ids())
def test_every_quantization_config_is_understood(identity: str) -> None:
    values = json.loads((catalog.data_folder() / "models" / f"{identity}.json").read_text("utf-8"))
    text = values.get("text_config") or {}
    model = read_model(identity)
    if values.get("quantization_config") or text.get("quantization_config"):
        assert model.quantisation is not None
        assert not any("not known" in line for line in model.omissions)


@pytest.mark.parametrize(
    ("config", "formats"),
    [
        ({"quant_method": "fp8"}, ("fp8", "fp8")),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, ("fp8_block", "fp8_block")),
        ({"quant_method": "awq", "bits": 4}, ("int4", "bf16")),
        ({"quant_method": "gptq", "bits": 8}, ("int8", "bf16")),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, ("int4", "bf16")),
        ({"quant_method": "bitsandbytes"}, ("int8", "bf16")),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, ("fp4", "fp4")),
        ({"quant_method": "fbgemm_fp8"}, ("fp8", "fp8")),
        (
            {"config_groups": {"g": {"weights": {"num_bits": 8, "type": "int"}, "input_activations": {"num_bits": 8}}}},
            ("int8", "int8"),
        ),
        ({"config_groups": {"g": {"weights": {"num_bits": 8, "type": "float", "group_size": 32}}}}, ("mxfp8", "bf16")),
    ],
)
def test_methods(config: dict[str, Any], formats: tuple[str, str]) -> None:
    found = quantisation(Fields({"quantization_config": config}, "config.json"))
    assert found is not None
    assert (found.weights, found.activations) == formats


@pytest.mark.parametrize(
    ("entries", "excluded"),
    [
        (["lm_head"], set()),
        (["model.layers.0.self_attn", "model.layers.1.self_attn", "model.layers.31.self_attn"], set()),
        ([f"model.layers.{layer}.self_attn" for layer in range(32)], {"attention", "indexer"}),
        (["model.layers.*.self_attn"], {"attention", "indexer"}),
        (["model.layers.13.self_attn*"], {"attention", "indexer"}),
        (["re:.*self_attn.*"], {"attention", "indexer"}),
        (["self_attn"], {"attention", "indexer"}),
        (["model.layers.7.self_attn.kv_a_layernorm"], set()),
        (["gate", "model.layers.3.mlp.gate"], set()),
        (["re:.*mlp\\.(gate|up|gate_up|down)_proj.*"], {"ffn"}),
        (["re:.*shared_experts.*"], {"shared"}),
        (["*.mlp.shared_expert.*"], {"shared"}),
        (["language_model.model.layers.15.mlp.experts"], {"experts"}),
        (["re:(a+)+$", "re:(", "re:" + "x" * 1000, 3, None], set()),
    ],
)
def test_lists_of_exclusions(entries: list[Any], excluded: set[str]) -> None:
    """An entry for a middle layer stands for all: checkpoints list every layer, or spare the first and last ones."""
    config = {"quant_method": "fp8", "modules_to_not_convert": entries}
    found = quantisation(Fields({"quantization_config": config, "num_hidden_layers": 32}, "config.json"))
    assert found is not None
    assert LINEARS - found.scopes == excluded


def test_an_unknown_method_is_said_and_16_bit(tmp_path: Path) -> None:
    values = json.loads((catalog.data_folder() / "models" / "Qwen" / "Qwen3-8B.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(values | {"quantization_config": {"quant_method": "aqlm"}}))
    model = read_model(str(tmp_path))
    assert model.quantisation is None
    assert "weights are taken to be BF16" in model.omissions[-1]


def test_modelopt_writes_a_file_beside_the_config(tmp_path: Path) -> None:
    values = json.loads((catalog.data_folder() / "models" / "Qwen" / "Qwen3-30B-A3B.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert read_model(str(tmp_path)).quantisation is None
    quantised_as = {
        "quant_algo": "NVFP4",
        "kv_cache_quant_algo": "FP8",
        "exclude_modules": ["model.layers.*.self_attn"],
    }
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": quantised_as}))
    model = read_model(str(tmp_path))
    assert model.default_precision() == Precision("fp4", "fp4", "fp8")
    assert quantised(model) == {"experts"}
