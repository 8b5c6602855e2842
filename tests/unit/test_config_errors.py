"""A config.json that is broken in any way is one clear line, never a traceback."""

import copy
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from silicast import catalog
from silicast.errors import ConfigError, InputError, NotFoundError
from silicast.model import Model, read_model
from silicast.model.config import Fields, model_ids
from silicast.model.families import build
from silicast.scenario import Layout, Load

R1 = catalog.data_folder() / "models" / "deepseek-ai" / "DeepSeek-R1.json"


def written(folder: Path, text: str | bytes) -> str:
    path = folder / "config.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def changed(**changes: Any) -> str:
    values = json.loads(R1.read_text("utf-8")) | changes
    return json.dumps({key: value for key, value in values.items() if value != "removed"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (R1.read_text("utf-8")[:500], "is not JSON (truncated?)"),
        ("", "is not JSON"),
        ("model: llama", "is not JSON"),
        ("[1, 2]", "must hold one JSON object, got a list"),
        ("3", "must hold one JSON object, got a number"),
        ("null", "must hold one JSON object, got null"),
        ('{"model_type": "glm6"}', "The nearest supported one by name is 'glm4_moe'"),
        ('{"model_type": "mamba3"}', "The nearest supported one by name is '"),
        (b"\x80\x81\x82\x00", "is not a text file"),
        ("[" * 100_000, "nested too deeply"),
        ('{"hidden_size": ' + "9" * 5000 + "}", "is not JSON"),
        ("{}", "'model_type' is missing or null"),
        ('{"model_type": null}', "'model_type' is missing or null"),
        ('{"model_type": 3}', "'model_type' must be a string, got 3"),
        ('{"model_type": "qwen3moe"}', 'model_type "qwen3moe" is not supported. The nearest supported one by name is'),
        ('{"model_type": "zzz\\n"}', "docs/how-to-add.md"),
        ('{"model_type": "deepseek_v3"}', "is missing or null"),
        (changed(hidden_size="removed"), "'hidden_size' is missing or null"),
        (changed(hidden_size=None), "'hidden_size' is missing or null"),
        (changed(hidden_size="7168"), "'hidden_size' must be a whole number from 1 to 16777216, got \"7168\""),
        (changed(hidden_size=-1), "got -1"),
        (changed(hidden_size=0), "got 0"),
        (changed(moe_layer_freq=2), "moe_layer_freq = 2 is not supported"),
        (changed(moe_layer_freq=-1), "'moe_layer_freq' must be a whole number"),
        (changed(hidden_size=7168.5), "got 7168.5"),
        (changed(hidden_size=True), "got true"),
        (changed(hidden_size=math.nan), "got NaN"),
        (changed(hidden_size=math.inf), "got Infinity"),
        (changed(hidden_size=10**12), "got 1000000000000"),
        (changed(hidden_size=[7168]), "got [7168]"),
        (changed(hidden_size="x" * 10_000), "xxx..."),
        (changed(num_hidden_layers=10**6), "'num_hidden_layers' must be a whole number from 1 to 4096"),
        (changed(tie_word_embeddings="no"), "'tie_word_embeddings' must be true or false"),
        (changed(quantization_config=[]), "'quantization_config' must be an object"),
        (changed(quantization_config={"quant_method": 8}), "'quant_method' must be a string"),
        (changed(text_config=3), "'text_config' must be an object"),
        (changed(num_experts_per_tok=300), "a token cannot choose 300 of 256 experts"),
    ],
)
def test_broken_text_is_one_clear_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(ConfigError) as found:
        read_model(written(tmp_path, text))
    assert said in str(found.value)
    assert str(found.value).startswith("config.json")
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < 500


@pytest.mark.parametrize(
    ("identity", "changes", "said"),
    [
        ("Qwen/Qwen3-8B", {"num_key_value_heads": 7}, "7 KV heads do not divide 32 heads"),
        ("meta-llama/Llama-2-7b-hf", {"num_attention_heads": 33, "num_key_value_heads": 33}, "33 heads do not divide"),
        ("openai/gpt-oss-120b", {"layer_types": ["full_attention"]}, "'layer_types' has 1 entries for 36 layers"),
        ("openai/gpt-oss-120b", {"layer_types": ["odd"] * 36}, "'layer_types' knows sliding_attention, full_attention"),
        ("nvidia/Nemotron-H-56B-Base-8K", {"hybrid_override_pattern": "M-X"}, 'knows M * - E, not "X"'),
        ("nvidia/Nemotron-H-56B-Base-8K", {"n_groups": 7}, "7 groups do not divide 256 Mamba heads"),
        ("Qwen/Qwen-7B", {"intermediate_size": 22017}, "counts two equal halves"),
        ("mosaicml/mpt-7b", {"no_bias": False}, "MPT with biases"),
        ("deepseek-ai/DeepSeek-V4-Flash", {"compress_ratios": None}, "'compress_ratios' is missing or null"),
        ("deepseek-ai/DeepSeek-V4-Flash", {"o_groups": 7}, "7 groups of the output do not divide 64 heads"),
        ("nvidia/Llama-3_3-Nemotron-Super-49B-v1", {"block_configs": [3] * 80}, "'block_configs[0]' must be an object"),
        ("moonshotai/Kimi-K3", {"text_config": {"num_hidden_layers": 3}}, "is missing or null"),
    ],
)
def test_values_that_contradict_each_other(tmp_path: Path, identity: str, changes: dict[str, Any], said: str) -> None:
    values = json.loads((catalog.data_folder() / "models" / f"{identity}.json").read_text("utf-8"))
    with pytest.raises(ConfigError) as found:
        read_model(written(tmp_path, json.dumps(values | changes)))
    assert said in str(found.value)


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    assert read_model(written(tmp_path, b"\xef\xbb\xbf" + R1.read_bytes())).experts == 256


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(ConfigError, match=r"100 MB; a config\.json has at most 4 MB"):
        read_model(str(path))


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a folder without a config\.json"):
        read_model(str(tmp_path))
    written(tmp_path, R1.read_text("utf-8"))
    assert read_model(str(tmp_path)).parameters == read_model("deepseek-ai/DeepSeek-R1").parameters
    assert read_model(str(tmp_path)).id == tmp_path.name


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = Path(written(tmp_path, "{}"))
    path.chmod(0)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_model(str(path))


@pytest.mark.parametrize("name", ["", "x", "Qwen/Qwen3-8X", "../etc/passwd", "a" * 100_000, "a\0b", "/no/such", "gpt2"])
def test_unknown_names(name: str) -> None:
    with pytest.raises((NotFoundError, ConfigError)) as found:
        read_model(name)
    assert len(str(found.value)) < 400


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(NotFoundError, match=r"Did you mean 'Qwen/Qwen3-8B'\? List them with: silicast models"):
        read_model("Qwen/Qwen3-8b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpt:", 'unknown dimension ""'),
        ("gpt:layers=2", "hidden, heads, vocab missing. Write gpt:layers=96"),
        ("gpt:layer=2,hidden=8,heads=2,vocab=9", "Did you mean 'layers'?"),
        ("gpt:layers=x,hidden=8,heads=2,vocab=9", 'layers must be a whole number, as in layers=96, got "x"'),
        ("gpt:layers=-2,hidden=8,heads=2,vocab=9", 'got "-2"'),
        ("gpt:layers=2,hidden=9,heads=2,vocab=9", "2 heads do not divide the width 9"),
        ("gpt:layers=2,hidden=8,heads=2,vocab=0", "'vocab' must be a whole number from 1"),
        ("gpt:layers=5000,hidden=8,heads=2,vocab=9", "'layers' must be a whole number from 1 to 4096"),
        ("gpt:layers=2,hidden=8,heads=4,vocab=9,kv_heads=3", "3 KV heads do not divide 4 heads"),
    ],
)
def test_dimensions_that_make_no_model(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as found:
        read_model(text)
    assert said in str(found.value)


def _one_of_each_form() -> list[dict[str, Any]]:
    found: dict[tuple[str, bool], dict[str, Any]] = {}
    for identity in model_ids():
        values = json.loads((catalog.data_folder() / "models" / f"{identity}.json").read_text("utf-8"))
        found.setdefault((values["model_type"], "quantization_config" in values), values)
    return list(found.values())


FORMS = _one_of_each_form()
ODD_VALUES = (
    None, True, False, "", "x", "layers.*", "re:(a+)+$", -1, 0, 1, 2, 7, 1 << 24, 10**30, math.nan, math.inf, 1e308,
    -0.5, [], [None], [1], ["x"], {}, {"x": 1}, [[1]], [0] * 200, [1] * 200,
)  # fmt: skip


def _places(node: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node[:3]) if isinstance(node, list) else ()
    return [found for key, value in inner for found in ((*place, key), *_places(value, (*place, key)))]


PLACES = [_places(form) for form in FORMS]


@st.composite
def mutated_configs(draw: st.DrawFn) -> dict[str, Any]:
    """A real config with up to three of its values, at any depth, replaced or removed."""
    form = draw(st.integers(0, len(FORMS) - 1))
    values = copy.deepcopy(FORMS[form])
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(PLACES[form]))
        node: Any = values
        try:
            for key in path:
                node = node[key]
            if isinstance(node, dict) and draw(st.booleans()):
                del node[last]
            else:
                # a copy: a later step may put a value into one that is shared, even into itself, which no JSON holds
                node[last] = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
        except (KeyError, IndexError, TypeError):
            continue
    return values


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated_configs())
def test_a_mutated_config_is_a_model_or_an_input_error(values: dict[str, Any]) -> None:
    try:
        model = build("mutated", Fields(values, "config.json"))
    except InputError as error:
        message = str(error)
    else:
        message = ""
        assert_finite(model)
    assert "\n" not in message


def assert_finite(model: Model) -> None:
    assert 0 < model.parameters < 1 << 200
    assert model.active_parameters > 0
    stack = catalog.stack(catalog.ids("stacks")[0])
    with np.errstate(all="raise"):
        ops = model.ops(Load(1, 100, 10, 4, 1000, 2), Layout(), stack)
        flops = sum(float(np.asarray(op.flops * op.count)) for op in ops)
        cache = float(np.asarray(model.cache_bytes(Layout(), 1000, 2.0)))
    assert 0 < flops < math.inf
    assert 0 <= cache < math.inf
