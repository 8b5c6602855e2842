"""Memory of one device: weights are counted once, cuts divide them, caches are replicated where they must be."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast import api
from silicast.dtypes import BYTES
from silicast.errors import DoesNotFitError
from silicast.memory import GIB
from silicast.planning.choose import require_fit
from silicast.planning.space import holding
from silicast.scenario import Layout, Precision, Speculation, Workload
from tests.unit.pools import CHIPS, EXACT, HYBRID, LLAMA, MODELS, QWEN, R1, pool, space

GEMMA = "google/gemma-3-27b-it"


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("model", MODELS)
def test_one_device_holds_every_parameter_once(model: str, chip: str) -> None:
    machine = pool(model, chip)
    formats, _ = machine.machine.formats(machine.model, machine.precision)
    expected = sum(number * formats[scope].weight_bytes for scope, number in machine.model.parameters_by_scope.items())
    assert float(machine.memory(Layout(), 4096).weights) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_bf16_takes_two_bytes_per_parameter(model: str) -> None:
    machine = replace(pool(model, "h100-sxm"), precision=Precision())
    assert float(machine.memory(Layout(), 4096).weights) == pytest.approx(2 * machine.model.parameters, rel=1e-12)


@pytest.mark.parametrize("model", [LLAMA, QWEN])
def test_the_ranks_together_hold_the_model(model: str) -> None:
    """What is cut is held once, what is replicated once per rank: never less than the model, little more."""
    machine = pool(model, "h100-sxm")
    whole = float(machine.memory(Layout(), 4096).weights)
    for layout in (Layout(tp=2), Layout(tp=4), Layout(tp=8), Layout(tp=4, pp=2)):
        together = float(machine.memory(layout, 4096).weights) * float(layout.devices)
        assert whole <= together * EXACT
        assert together <= 1.12 * whole


def test_expert_parallel_ranks_together_hold_the_experts_once() -> None:
    machine = pool(R1, "h200-sxm")
    for layout in (Layout(tp=8, ep=8), Layout(tp=1, attention_dp=32, ep=32), Layout(tp=4, attention_dp=8, ep=32)):
        held = machine.model.weights(layout, machine.machine.stack)["experts"]
        assert float(np.asarray(held)) * float(layout.devices) == machine.model.parameters_by_scope["experts"]


def test_spare_ranks_hold_the_shared_expert() -> None:
    """320 ranks for 256 experts: every rank has one routed expert or the shared one, none has both."""
    machine = pool(R1, "ascend-910c")
    even = machine.memory(Layout(tp=1, attention_dp=256, ep=256), 4096).weights
    spare = machine.memory(Layout(tp=1, attention_dp=320, ep=320), 4096).weights
    shared = 58 * 3 * 7168 * 2048
    assert float(even) - float(spare) == pytest.approx(shared)


def test_redundant_experts_take_room() -> None:
    """288 ranks for 256 experts under a stack that keeps the shared expert everywhere: 32 are held twice."""
    machine = pool(R1, "h100-sxm")
    even = machine.memory(Layout(tp=1, attention_dp=256, ep=256), 4096).weights
    redundant = machine.memory(Layout(tp=1, attention_dp=288, ep=288), 4096).weights
    assert float(redundant) == pytest.approx(float(even))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MODELS), st.sampled_from(CHIPS), st.sampled_from((1, 2, 4)), st.integers(1, 1 << 17))
def test_more_ranks_never_hold_more_each(model: str, chip: str, tp: int, context: int) -> None:
    machine = pool(model, chip)
    less, more = (machine.memory(Layout(tp=size), context) for size in (tp, 2 * tp))
    for item in ("weights", "activations", "sequence"):
        assert float(getattr(more, item)) <= float(getattr(less, item)) * EXACT
    assert float(more.free) * EXACT >= float(less.free)
    assert float(more.sequences) >= float(less.sequences)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from((*MODELS, GEMMA)), st.integers(1, 1 << 17), st.integers(0, 1 << 16))
def test_a_longer_sequence_never_takes_less(model: str, context: int, more: int) -> None:
    machine = pool(model, "h200-sxm")
    short, long = (machine.memory(Layout(tp=8), tokens) for tokens in (context, context + more))
    assert float(long.sequence) >= float(short.sequence)
    assert float(long.sequences) <= float(short.sequences)
    assert float(long.weights) == float(short.weights)


def test_the_cache_is_replicated_beyond_the_kv_heads() -> None:
    """Llama 70B has 8 KV heads, Qwen3-235B 4: more ranks than heads hold copies."""
    for model, heads in ((LLAMA, 8), (QWEN, 4)):
        machine = pool(model, "h200-sxm")
        size = {tp: float(machine.memory(Layout(tp=tp), 4096).sequence) for tp in (1, 2, 4, 8, 16)}
        for tp in (2, 4, 8, 16):
            assert size[tp] == pytest.approx(size[1] / min(tp, heads))


def test_the_latent_is_replicated_on_every_rank() -> None:
    machine = pool(R1, "h200-sxm")
    size = [float(machine.memory(Layout(tp=tp), 4096).sequence) for tp in (1, 2, 8, 16)]
    assert size[0] == pytest.approx(61 * 576 * 4096 * BYTES[machine.precision.kv_cache])
    assert size == pytest.approx([size[0]] * 4)


def test_pipeline_stages_divide_the_cache_and_context_parallelism_too() -> None:
    machine = pool(R1, "h200-sxm")
    one = float(machine.memory(Layout(tp=8), 65536).sequence)
    assert float(machine.memory(Layout(tp=8, cp=4), 65536).sequence) == pytest.approx(one / 4, rel=1e-3)
    assert float(machine.memory(Layout(tp=8, pp=4), 65536).sequence) == pytest.approx(one * 16 / 61)


def test_a_sliding_window_bounds_its_layers() -> None:
    machine = pool(GEMMA, "h100-sxm")
    at = {tokens: float(machine.memory(Layout(), tokens).sequence) for tokens in (1024, 65536, 131072)}
    window = 62 - 10  # layers of Gemma 3 27B that see 1,024 tokens; 10 see all
    assert at[131072] - at[65536] == pytest.approx(at[1024] / 62 * 10 * 64)
    assert at[65536] == pytest.approx(at[1024] / 62 * (10 * 64 + window))


def test_recurrent_state_does_not_grow() -> None:
    """Of 48 layers of Qwen3-Next 12 have a cache; the state of the others is there from the first token."""
    machine = pool(HYBRID, "h100-sxm")
    state = float(machine.model.state_values(Layout())) * 4
    cached = 12 * 2 * 2 * 256 * 2  # layers, K and V, KV heads, values, bytes
    assert state > 0
    for tokens in (16, 4096, 65536):
        assert float(machine.memory(Layout(), tokens).sequence) == pytest.approx(state + cached * tokens)


def test_the_cache_is_kept_in_whole_blocks() -> None:
    machine = pool(LLAMA, "h100-sxm")
    block = machine.machine.stack.block_tokens
    full, begun, next_full = (
        float(machine.memory(Layout(tp=8), tokens).sequence) for tokens in (block * 10, block * 10 + 1, block * 11)
    )
    if block > 1:
        assert full < begun == next_full


def test_narrow_formats_take_less_room() -> None:
    def weights(name: str) -> float:
        return float(replace(pool(LLAMA, "h100-sxm"), precision=Precision(name, "bf16")).memory(Layout(), 16).weights)

    assert weights("bf16") > weights("fp8_block") > weights("fp8") > weights("int4") > weights("mxfp4")
    narrow = replace(pool(LLAMA, "h100-sxm"), precision=Precision(kv_cache="fp8"))
    wide = replace(pool(LLAMA, "h100-sxm"), precision=Precision())
    assert float(narrow.memory(Layout(), 16).sequence) == float(wide.memory(Layout(), 16).sequence) / 2


def test_draft_layers_take_room_where_they_run() -> None:
    plain = pool(R1, "h200-sxm")
    drafting = replace(plain, speculation=Speculation(1, 0.7))
    less, more = (machine.memory(Layout(tp=8), 4096) for machine in (plain, drafting))
    assert float(more.sequence) == pytest.approx(float(less.sequence) * 62 / 61)
    assert 0.5 < (float(more.weights) - float(less.weights)) * 8 / 11.6e9 < 2


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("model", MODELS)
def test_the_books_balance(model: str, chip: str) -> None:
    machine = pool(model, chip)
    found = machine.memory(space(model, chip), 8192)
    for item in ("weights", "activations", "buffers", "runtime", "sequence"):
        values = getattr(found, item)
        assert np.all(np.isfinite(values))
        assert np.all(values >= 0)
    fits = found.sequences > 0
    assert np.all((found.usable <= found.capacity * EXACT) | ~fits)
    spent = found.weights + found.activations + found.buffers + found.runtime + found.sequences * found.sequence
    assert np.all((spent <= found.capacity * EXACT) | ~fits)
    assert np.all(fits == (found.free >= found.sequence))


def test_what_does_not_fit_says_how_much_is_missing() -> None:
    machine, workload = pool(LLAMA, "h100-sxm"), Workload(4096, 1024)
    with pytest.raises(DoesNotFitError, match=r"short of ([\d.]+) GiB") as caught:
        require_fit(machine, Layout(tp=1), workload)
    short = float(str(caught.value).partition("short of ")[2].split()[0])
    found = machine.memory(Layout(tp=1), 5120)
    assert short == pytest.approx((float(found.sequence) - float(found.free)) / GIB, abs=0.06)


def test_what_is_said_to_fit_fits() -> None:
    machine, workload = pool(R1, "h100-sxm"), Workload(4096, 1024)
    with pytest.raises(DoesNotFitError, match=r"--devices (\d+)") as caught:
        api.fit(R1, "h100-sxm", workload, devices=4)
    enough = int(str(caught.value).rpartition("--devices ")[2].rstrip("."))
    found = api.fit(R1, "h100-sxm", workload, devices=enough)
    assert found.devices == enough
    assert found.memory["max_requests"] >= 16
    tried = holding(machine, 64)
    held = machine.most_sequences(tried, workload) * np.asarray(tried.attention_dp)
    assert np.max(held[np.asarray(tried.devices) < enough]) < 16
    assert np.max(held[np.asarray(tried.devices) == enough]) >= 16


@pytest.mark.parametrize(("model", "chip"), [(R1, "ascend-910c"), (LLAMA, "l40s"), (QWEN, "mi300x")])
def test_fit_and_memory_agree(model: str, chip: str) -> None:
    found = api.fit(model, chip, Workload(1000, 200))
    machine = pool(model, chip)
    memory = machine.memory(found.layout, 1200)
    assert found.memory["weights_gib"] * GIB == pytest.approx(float(memory.weights))
    most = min(float(memory.sequences), machine.machine.stack.max_sequences)
    assert found.memory["max_requests"] == most * float(found.layout.attention_dp)
    assert found.packages * machine.machine.chip.packages_of >= found.devices


def test_cache_blocks_may_be_given() -> None:
    machine = replace(pool(LLAMA, "h100-sxm"), kv_blocks=1000)
    block = machine.machine.stack.block_tokens
    held = machine.most_sequences(Layout(tp=8), Workload(10 * block, block))
    assert float(held) == 1000 // 11


def test_fit_says_that_memory_is_estimated_and_how_much_fits() -> None:
    found = api.fit("Qwen/Qwen3-8B", "ascend-910a")
    assert found.missing == ("memory.hbm.capacity",)
    assert any("no source gives memory.hbm.capacity" in warning for warning in found.warnings)
    assert {"capacity_gib", "free_gib", "max_requests"} <= set(found.ranges)
    for name, (low, high) in found.ranges.items():
        assert low < found.memory[name] < high, name


def test_fit_of_a_chip_whose_memory_is_known_has_no_range() -> None:
    found = api.fit("Qwen/Qwen3-8B", "h100-sxm")
    assert (found.ranges, found.missing, found.warnings) == ({}, (), ())


def test_fit_tells_where_the_low_end_of_the_memory_holds_nothing() -> None:
    found = api.fit("Qwen/Qwen3-14B", "ascend-910b", tp=1)
    assert found.ranges["max_requests"][0] < found.memory["max_requests"]
    full = api.fit("Qwen/Qwen3-14B", "ascend-910b", Workload(40_000, 10_000), tp=1)
    assert full.ranges["max_requests"][0] == 0
    assert "at the low end of the memory's range no request fits." in full.warnings
