"""Exact parameters and forward FLOPs of every shipped model, against tables that `make proof` makes."""

import csv
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from silicast.model import Model, read_model
from silicast.model.config import Fields, aliases, model_ids
from silicast.model.families import build
from silicast.model.provenance import provenance
from silicast.scenario import Layout

ROOT = Path(__file__).parents[2]


def _script() -> ModuleType:
    """The proof itself: the half of it that counts our operators needs no torch."""
    spec = importlib.util.spec_from_file_location("prove_models", ROOT / "scripts" / "prove_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


proof = _script()


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


COUNTS, FLOPS = table(proof.COUNTS), table(proof.FLOPS)


def test_the_table_has_every_shipped_model() -> None:
    assert [row["id"] for row in COUNTS] == model_ids()


@pytest.mark.parametrize("row", COUNTS, ids=lambda row: row["id"])
def test_parameters_are_those_of_the_class(row: dict[str, str]) -> None:
    model = read_model(row["id"])
    assert model.parameters == int(row["ours"])
    assert model.model_type == row["model_type"]
    if row["status"] == "equal":
        assert model.parameters == int(row["transformers"])
    if row["vision_transformers"] and model.vision_parameters:
        assert model.vision_parameters == int(row["vision_transformers"])


def test_almost_all_are_equal_and_the_rest_is_named() -> None:
    others = {row["id"]: row["status"] for row in COUNTS if row["status"] != "equal"}
    assert others == {
        "meituan-longcat/LongCat-Flash-Chat": "library fault",
        "moonshotai/Kimi-K3": "not buildable",
        "nvidia/Llama-3_3-Nemotron-Super-49B-v1": "not buildable",
    }
    assert all(row["note"] for row in COUNTS if row["status"] != "equal")


@pytest.mark.parametrize("identity", model_ids())
def test_counts_of_the_sources_file(identity: str) -> None:
    """The same numbers once more, counted apart when the configs were collected; with towers where the file has one."""
    model, known = read_model(identity), provenance(identity)
    assert known is not None
    assert known.read_from
    if known.count is None:
        assert identity == "moonshotai/Kimi-K3"
    elif "llama4" in model.model_type:  # counted with the vision tower that the class adds by default
        assert known.count - model.parameters == 455_178_240
    else:
        assert known.count == model.parameters + model.vision_parameters


@pytest.mark.parametrize("row", FLOPS, ids=lambda row: f"{row['id']} {row['phase']}")
def test_flops_are_those_that_the_traced_class_runs(row: dict[str, str]) -> None:
    ours = proof.our_flops(row["id"], row["phase"])
    assert ours == pytest.approx(float(row["ours"]), abs=1)
    assert ours == pytest.approx(float(row["traced"]), rel=proof.TOLERANCE)


def test_flops_are_traced_for_all_that_can_be_built() -> None:
    built = {row["id"] for row in COUNTS if row["status"] != "not buildable"}
    assert {row["id"] for row in FLOPS} == built


def test_draft_layers_have_the_published_size() -> None:
    """R1: 671.03 B and 11.61 B of the draft layer's own, 13.46 B with copies of embedding and head (DeepSeek-V3 card:
    685 B in all, 14 B of them the draft module with its copies). Nemotron 3 Super: a public test has the exact number.
    """
    r1 = read_model("deepseek-ai/DeepSeek-R1")
    assert (r1.mtp_layers, round(r1.parameters / 1e9, 2), round(r1.mtp_parameters / 1e9, 2)) == (1, 671.03, 11.61)
    copies = 2 * r1.vocabulary * r1.hidden
    assert round((r1.mtp_parameters + copies) / 1e9, 2) == 13.46
    assert read_model("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8").mtp_parameters == 2_942_324_736


@pytest.mark.parametrize(
    ("identity", "billions"),
    [
        ("deepseek-ai/DeepSeek-R1", 37),
        ("moonshotai/Kimi-K2-Instruct", 32),
        ("Qwen/Qwen3-235B-A22B", 22),
        ("Qwen/Qwen3-30B-A3B", 3.3),
        ("openai/gpt-oss-120b", 5.1),
        ("openai/gpt-oss-20b", 3.6),
        ("zai-org/GLM-4.5", 32),
        ("zai-org/GLM-5", 40),
        ("mistralai/Mixtral-8x7B-v0.1", 12.9),
        ("meituan-longcat/LongCat-Flash-Chat", 27),
        ("nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16", 55),
        ("XiaomiMiMo/MiMo-V2-Flash", 15),
        ("google/gemma-4-26B-A4B", 4),
        ("deepseek-ai/DeepSeek-V4-Flash", 13),
        ("deepseek-ai/DeepSeek-V4-Pro", 49),
        ("tencent/Hunyuan-A13B-Instruct", 13),
        ("ascend-tribe/pangu-pro-moe", 16),
    ],
)
def test_active_parameters_are_as_published(identity: str, billions: float) -> None:
    """Published sizes round, and some leave out the head or the embedding; a wrong width would be off by more."""
    assert read_model(identity).active_parameters / 1e9 == pytest.approx(billions, rel=0.09)


@pytest.mark.parametrize(
    ("name", "parameters"), [("mpt-125m", 125_311_488), ("mpt-1b", 1_315_950_592), ("mpt-70b", 64_862_437_376)]
)
def test_models_given_by_dimensions_count_as_their_training_tables_do(name: str, parameters: int) -> None:
    assert read_model(name).parameters == parameters


def test_dimensions_in_text_and_in_python_are_one_model() -> None:
    from silicast.model.families.gpt import gpt_model

    text = "gpt:layers=96,hidden=12288,heads=96,vocab=51200"
    assert gpt_model(96, 12288, 96, 51200) == read_model(text)
    assert read_model(text).parameters / 1e9 == pytest.approx(174.6, abs=0.05)
    assert read_model("maxtext-32b").parameters / 1e9 == pytest.approx(32, rel=0.04)


@pytest.mark.parametrize("alias", sorted(aliases()))
def test_aliases_have_a_target(alias: str) -> None:
    target = aliases()[alias]
    assert read_model(alias).parameters == read_model(target).parameters
    assert read_model(alias).id == target


def test_from_hf_is_read_model() -> None:
    assert Model.from_hf("Qwen/Qwen3-8B") is read_model("Qwen/Qwen3-8B")


@pytest.mark.parametrize(
    ("changes", "parameters"),
    [({}, 5_077_177_856), ({"num_kv_shared_layers": 10, "use_double_wide_mlp": True}, 5_657_561_600)],
)
def test_small_gemma_4_with_per_layer_embeddings(changes: dict[str, Any], parameters: int) -> None:
    """No such file ships: the defaults of Gemma4TextConfig of transformers 5.24.0, counted with its class."""
    values = {
        "model_type": "gemma4_text", "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 30,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "sliding_window": 512,
        "vocab_size": 262144, "vocab_size_per_layer_input": 262144, "hidden_size_per_layer_input": 256,
    }  # fmt: skip
    model = build("gemma-4-small", Fields(values | changes, "config.json"))
    assert model.parameters == parameters
    owning = 20 if changes else 30  # layers that reuse K and V cache nothing; every sixth one is full
    full = owning // 6
    assert float(model.cache_values(Layout(), 1)) == 2 * 4 * ((owning - full) * 256 + full * 512)


def test_kimi_linear_the_layers_of_kimi_k3_that_transformers_has() -> None:
    """No such file ships: the defaults of KimiLinearConfig of transformers 5.24.0, counted with its class."""
    linear = {
        "kda_layers": [layer for layer in range(1, 28) if layer not in (5, 9, 13, 17, 21, 25)],
        "num_heads": 32, "head_dim": 128, "short_conv_kernel_size": 4,
    }  # fmt: skip
    values = {
        "model_type": "kimi_linear", "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 27,
        "num_attention_heads": 32, "vocab_size": 163840, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64, "v_head_dim": 128, "moe_intermediate_size": 1024, "num_experts": 256,
        "num_experts_per_token": 8, "num_shared_experts": 1, "first_k_dense_replace": 1,
        "max_position_embeddings": 1048576, "linear_attn_config": linear,
    }  # fmt: skip
    assert build("kimi-linear", Fields(values, "config.json")).parameters == 49_133_074_464
