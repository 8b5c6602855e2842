"""What runs for a format that a chip lacks, and what is said about it."""

from dataclasses import replace

import pytest

from silicast import api, catalog
from silicast.dtypes import BYTES, MATRIX_MODE
from silicast.errors import InputError, PrecisionError
from silicast.machine import Machine
from silicast.scenario import Layout, Load, Precision, Workload
from tests.unit.pools import CHIPS, LLAMA, MODELS, R1, pool, seconds

FP8 = "Qwen/Qwen3-32B-FP8"


@pytest.mark.parametrize("chip", catalog.ids("chips"))
def test_every_chip_runs_an_fp8_checkpoint_and_says_what_it_does(chip: str) -> None:
    if not {"bf16", "fp16"} & set(catalog.chip(chip).compute.matrix):
        with pytest.raises(PrecisionError, match="cannot multiply"):
            pool(FP8, chip)._formats  # noqa: B018
        return
    machine = pool(FP8, chip)
    formats, _ = machine.machine.formats(machine.model, machine.precision)
    modes = {fmt.mode for fmt in formats.values()}
    assert modes <= set(machine.machine.modes)
    recast = (machine.precision.weights, machine.precision.activations) != ("fp8_block", "fp8_block")
    assert bool(machine.warnings) == recast
    if recast:
        told = " ".join(machine.warnings)
        assert "fp8_block/fp8_block" in told
        assert f"{machine.precision.weights}/{machine.precision.activations}" in told
        assert chip in told


def test_known_fallbacks() -> None:
    """8-bit weights with 16-bit products on A100; W8A8 INT8 on the 910C; 4-bit weights, 16-bit products on Hopper."""
    assert str(pool(FP8, "a100-sxm-80").precision) == "fp8_block/bf16, KV bf16"
    assert str(pool(R1, "ascend-910c").precision).startswith("int8/int8")
    assert str(pool(R1, "h100-sxm").precision).startswith("fp8_block/fp8_block")
    assert str(pool("openai/gpt-oss-120b", "h100-sxm").precision).startswith("mxfp4/bf16")
    assert str(pool(LLAMA, "b200-sxm").precision) == "bf16/bf16, KV bf16"


def test_a_chip_without_bf16_runs_and_says_fp16() -> None:
    chip = "ascend-910a"
    assert "bf16" not in catalog.chip(chip).compute.matrix
    machine = pool("Qwen/Qwen3-8B", chip)
    assert str(machine.precision) == "fp16/fp16, KV fp16"
    assert any("bf16/bf16; it runs as fp16/fp16 on " + chip in warning for warning in machine.warnings)
    asked = api.pool_model("Qwen/Qwen3-8B", chip, api.Setup(weights="bf16", kv_cache="bf16"))
    assert asked.precision == machine.precision
    assert asked.warnings
    narrow = api.pool_model("Qwen/Qwen3-8B", chip, api.Setup(weights="int8"))
    assert any("no bf16 matrix mode: what is stored in bf16 is multiplied as fp16" in w for w in narrow.warnings)
    told = api.forecast("Qwen/Qwen3-8B", chip, Workload(128, 16, concurrency=1), tp=2)
    assert told.mfu_peak == "fp16 matrix peak"


def test_a_ratio_with_such_a_chip_names_both_precisions() -> None:
    answer = api.compare("Qwen/Qwen3-8B", ["ascend-910a", "h100-sxm"], Workload(1024, 128), devices=2)
    assert answer.ratios[0].precisions == ("fp16/fp16, KV fp16", "bf16/bf16, KV bf16")


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("model", MODELS)
def test_every_scope_has_a_format(model: str, chip: str) -> None:
    machine = pool(model, chip)
    formats, _ = machine.machine.formats(machine.model, machine.precision)
    assert set(machine.model.parameters_by_scope) <= set(formats)
    for fmt in formats.values():
        assert fmt.weight_bytes == BYTES[fmt.stored]
        assert fmt.activation_bytes <= 2
    assert formats["embedding"].stored == formats["head"].stored == "bf16"


@pytest.mark.parametrize("weights", list(BYTES))
@pytest.mark.parametrize("chip", ["h100-sxm", "ascend-910c", "a100-sxm-80", "b200-sxm", "mi300x", "tpu-v5p"])
def test_every_format_runs_or_says_why_not(chip: str, weights: str) -> None:
    load = Load(decode_sequences=8, decode_context=1024)
    try:
        machine = api.pool_model(LLAMA, chip, api.Setup(weights=weights))
        taken, problem = seconds(machine, Layout(tp=8), load), weights
    except InputError as error:
        taken, problem = 0.5, str(error)
    assert weights in problem
    assert 0 < taken < 1


def test_narrower_weights_decode_faster() -> None:
    load, layout = Load(decode_sequences=1, decode_context=1024), Layout(tp=2)
    times = [
        seconds(replace(pool(LLAMA, "h100-sxm"), precision=Precision(weights, "bf16")), layout, load)
        for weights in ("bf16", "fp8", "int4")
    ]
    assert times[0] > times[1] > times[2]


def test_narrower_products_prefill_faster() -> None:
    load, layout = Load(prefill_sequences=1, prefill_tokens=8192), Layout(tp=4)
    wide, narrow = (
        seconds(replace(pool(LLAMA, "h100-sxm"), precision=Precision("fp8", activations)), layout, load)
        for activations in ("bf16", "fp8")
    )
    assert narrow < 0.9 * wide


def test_a_narrower_cache_reads_faster() -> None:
    load, layout = Load(decode_sequences=64, decode_context=16384), Layout(tp=8)
    wide, narrow = (
        seconds(replace(pool(LLAMA, "h100-sxm"), precision=Precision(kv_cache=cache)), layout, load)
        for cache in ("bf16", "fp8")
    )
    assert narrow < wide


def test_what_nothing_can_run_is_an_error() -> None:
    chip = catalog.complete(catalog.chip("h100-sxm"))
    only = {"fp32": chip.compute.matrix["tf32"]} if "tf32" in chip.compute.matrix else {}
    assert only
    old = chip.model_copy(update={"compute": chip.compute.model_copy(update={"matrix": only, "measured_gemm": {}})})
    stack = catalog.stack("generic")
    machine = Machine(old, catalog.system(chip.system), stack, catalog.coefficients(chip.id, stack.id))
    with pytest.raises(PrecisionError, match="cannot multiply bf16 x bf16: its matrix modes are fp32"):
        machine.formats(pool(LLAMA, "h100-sxm").model, Precision())


@pytest.mark.parametrize("field", ["weights", "activations", "kv_cache"])
def test_an_unknown_format_names_the_nearest(field: str) -> None:
    with pytest.raises(PrecisionError, match=r"'bf61'.*Did you mean 'bf16'.*Known: fp32"):
        Precision(**{field: "bf61"})


def test_scales_cost_room() -> None:
    assert BYTES["fp8"] == 1 < BYTES["fp8_block"] < BYTES["mxfp8"] == 1 + 1 / 32
    assert BYTES["mxfp4"] == 0.53125
    assert BYTES["fp4"] == 0.5625
    assert set(MATRIX_MODE) <= set(BYTES)


def test_a_cache_that_no_kernel_multiplies_is_told() -> None:
    narrow = replace(pool(LLAMA, "h100-sxm"), precision=Precision("bf16", "bf16", "fp4"))
    assert any("fp4 cache is widened" in line for line in narrow.warnings)
    wide = replace(narrow, precision=Precision("bf16", "bf16", "fp8"))
    assert not any("cache" in line for line in wide.warnings)
    on_blackwell = replace(pool(LLAMA, "b200-sxm"), precision=narrow.precision)
    assert not any("cache" in line for line in on_blackwell.warnings)
