"""Properties of steady states: one request alone, bounds on throughput, monotone latency, Little's law, bursts."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from silicast import api
from silicast.estimate import Sampler
from silicast.planning.place import Sizes, place
from silicast.pool import PoolModel
from silicast.scenario import Layout, Load, Speculation, Targets, Workload
from silicast.serving.steady import Discipline, closed_loop, loads, open_loop
from tests.unit.pools import EXACT, LLAMA, QWEN, R1, on, pool, seconds

#: (model, chip, stack, layout): chunked and prefill-first engines, attention ranks, pipeline stages
POOLS = {
    "dense, chunked": (LLAMA, "h100-sxm", "vllm", Layout(tp=8)),
    "dense, prefill first": (LLAMA, "h100-sxm", "sglang", Layout(tp=4)),
    "experts, many ranks": (R1, "h200-sxm", "sglang", Layout(tp=1, attention_dp=16, ep=16)),
    "experts, chunked ranks": (QWEN, "ascend-910b1", "vllm-ascend", Layout(tp=4, attention_dp=4, ep=16)),
    "experts, overlapped": (R1, "ascend-910c", "cloudmatrix-infer", Layout(tp=1, attention_dp=32, ep=32)),
    "stages": (LLAMA, "h100-sxm", "vllm", Layout(tp=4, pp=2)),
}
NO_TARGETS = Targets()

names = st.sampled_from(list(POOLS))
workloads = st.builds(
    Workload,
    input_tokens=st.integers(16, 32768),
    output_tokens=st.integers(2, 4096),
    prefix_hit=st.sampled_from((0.0, 0.3, 0.9)),
)
batches = st.sampled_from((1, 2, 3, 4, 7, 8, 16, 31, 32, 64, 128, 256))


def case(name: str) -> tuple[PoolModel, Layout]:
    model, chip, stack, layout = POOLS[name]
    return pool(model, chip, stack), layout


def steady(machine: PoolModel, layout: Layout, workload: Workload, batch: float) -> dict[str, float]:
    found = machine.closed(layout.arrays(), workload, np.array([float(batch)]))
    return {name: float(getattr(found, name)[0]) for name in ("ttft", "tpot", "e2e", "requests", "busy", "decode_step")}


# One request alone


@pytest.mark.parametrize("prompt", [100, 4096, 30_000])
@pytest.mark.parametrize("name", POOLS)
def test_one_request_alone_is_its_prefill_and_its_decode(name: str, prompt: int) -> None:
    machine, layout = case(name)
    workload, alone = Workload(prompt, 256), 1 / layout.attention_dp
    found = steady(machine, layout, workload, alone)
    decode, chunk, chunks = loads(workload, alone, machine.machine.stack.chunk_tokens, 0)
    step = float(machine.staged_step(decode, layout).seconds[0])
    assert found["tpot"] == pytest.approx(step, rel=1e-9)
    assert found["e2e"] == pytest.approx(found["ttft"] + 255 * found["tpot"], rel=1e-9)
    assert found["requests"] * found["e2e"] == pytest.approx(1)
    # the first token: the way to the engine, the chunks one after another, the way back
    number = machine.machine.coefficient
    front = number("host", "front_end") + number("host", "front_end_per_token") * prompt
    prefill = float(chunks) * seconds(machine, layout, replace(chunk, prefill_share=alone))
    assert found["ttft"] == pytest.approx(front + prefill + number("host", "lag_steps") * step, rel=1e-6)


@pytest.mark.parametrize("name", POOLS)
def test_one_request_per_rank_is_served_by_little(name: str) -> None:
    machine, layout = case(name)
    found = steady(machine, layout, Workload(1024, 256), 1)
    assert found["requests"] * found["e2e"] == pytest.approx(layout.attention_dp)


def test_one_output_token_is_a_prefill() -> None:
    machine, layout = case("dense, chunked")
    found = steady(machine, layout, Workload(4096, 1), 1)
    assert found["e2e"] == pytest.approx(found["ttft"], rel=1e-6)


@pytest.mark.parametrize("name", POOLS)
def test_one_token_is_sooner_than_two(name: str) -> None:
    machine, layout = case(name)
    for prompt, batch in ((100, 8), (1000, 64), (8000, 256)):
        one, two = (steady(machine, layout, Workload(prompt, output), batch) for output in (1, 2))
        assert one["e2e"] <= two["e2e"] * EXACT
        assert one["ttft"] == pytest.approx(one["e2e"])


# Bounds


@settings(max_examples=30, deadline=None, derandomize=True)
@given(names, workloads, batches)
def test_a_mixed_pool_does_no_more_than_a_pure_one(name: str, workload: Workload, batch: int) -> None:
    machine, layout = case(name)
    found = steady(machine, layout, workload, batch)
    decode, _, _ = loads(workload, batch, machine.machine.stack.chunk_tokens, 0)
    output = found["requests"] * (workload.output_tokens - 1)
    assert output <= float(machine.decode_rates(layout, batch, decode.decode_context)[0]) * EXACT
    fresh = max(workload.input_tokens * (1 - workload.prefix_hit), 1)
    assert found["requests"] * fresh <= float(machine.prefill_rates(layout, workload)[0]) * 1.001


@settings(max_examples=30, deadline=None, derandomize=True)
@given(names, workloads, batches)
def test_every_mean_is_possible(name: str, workload: Workload, batch: int) -> None:
    machine, layout = case(name)
    found = steady(machine, layout, workload, batch)
    assert all(np.isfinite(value) and value >= 0 for value in found.values())
    assert found["tpot"] * EXACT >= found["decode_step"]
    assert found["e2e"] * EXACT >= found["ttft"]
    assert 0 <= found["busy"] <= 1
    # Little's law: what is in flight is what arrives times how long it stays
    assert found["requests"] * found["e2e"] == pytest.approx(batch * layout.attention_dp, rel=1e-9)


# Monotone


@settings(max_examples=30, deadline=None, derandomize=True)
@given(names, workloads, batches, st.sampled_from((1, 2, 5, 17, 64)))
@example("dense, chunked", Workload(16, 8), 7, 1)
def test_more_in_flight_never_makes_tokens_come_faster(name: str, workload: Workload, batch: int, more: int) -> None:
    machine, layout = case(name)
    less, crowded = (steady(machine, layout, workload, size) for size in (batch, batch + more))
    assert crowded["tpot"] * EXACT >= less["tpot"]
    assert crowded["e2e"] * EXACT >= less["e2e"]
    # a pass that more prompts share has fuller or emptier waves: a little is lost or won
    assert crowded["requests"] >= 0.9 * less["requests"]


@settings(max_examples=12, deadline=None, derandomize=True)
@given(names, workloads, batches, st.integers(1, 8192))
@example("dense, chunked", Workload(16, 8), 8, 1)
def test_longer_requests_never_finish_sooner(name: str, workload: Workload, batch: int, more: int) -> None:
    machine, layout = case(name)
    short = steady(machine, layout, workload, batch)
    output = steady(machine, layout, replace(workload, output_tokens=workload.output_tokens + more), batch)
    prompt = steady(machine, layout, replace(workload, input_tokens=workload.input_tokens + more), batch)
    assert output["e2e"] * EXACT >= short["e2e"]
    assert prompt["e2e"] * EXACT >= short["e2e"]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(names, workloads, batches)
def test_a_prefix_hit_never_hurts(name: str, workload: Workload, batch: int) -> None:
    machine, layout = case(name)
    cold, warm = (steady(machine, layout, replace(workload, prefix_hit=hit), batch) for hit in (0.0, 0.5))
    assert warm["ttft"] <= cold["ttft"] * EXACT
    if layout.attention_dp == 1:  # ranks in lock-step wait for the longest chunk, which a cached context lengthens
        assert warm["requests"] * EXACT >= cold["requests"]


@pytest.mark.parametrize("name", POOLS)
def test_a_burst_waits_longer_than_a_long_run(name: str) -> None:
    machine, layout = case(name)
    long, workload = Workload(2048, 256), Workload(2048, 256, requests=64 * layout.attention_dp)
    for batch in (1, 8, 64):
        assert steady(machine, layout, workload, batch)["ttft"] * EXACT >= steady(machine, layout, long, batch)["ttft"]


def test_drafts_that_are_accepted_make_tokens_come_faster() -> None:
    plain, layout = case("experts, many ranks")
    times = []
    for acceptance in (0.0, 0.5, 0.9):
        drafting = replace(plain, speculation=Speculation(1, acceptance))
        times.append(steady(drafting, layout, Workload(2048, 512), 16)["tpot"])
    assert times[0] > times[1] > times[2]
    assert times[0] > steady(plain, layout, Workload(2048, 512), 16)["tpot"]


# Arrays and draws


def test_rows_are_alone_in_an_array() -> None:
    machine, workload = pool(QWEN, "h200-sxm", "vllm"), Workload(3000, 300)
    layout = Layout(tp=np.array([8.0, 4.0, 2.0]), attention_dp=np.array([1.0, 2.0, 4.0]), ep=np.array([8.0, 8.0, 8.0]))
    together = machine.closed(layout, workload, np.array([64.0, 16.0, 1.0]))
    for row, batch in enumerate((64, 16, 1)):
        alone = steady(machine, layout.pick(row).whole(), workload, batch)
        for name, value in alone.items():
            assert float(getattr(together, name)[row]) == pytest.approx(value, rel=1e-12), name


def test_draws_have_a_last_axis() -> None:
    machine, layout = case("experts, many ranks")
    drawn = on(machine, sampler=Sampler(32)).closed(layout.arrays(), Workload(1000, 100), np.array([8.0]))
    for name in ("ttft", "tpot", "e2e", "requests", "busy", "decode_step", "prefill_step"):
        assert np.broadcast_to(getattr(drawn, name), (1, 32)).shape == (1, 32)
    assert np.median(drawn.tpot) == pytest.approx(steady(machine, layout, Workload(1000, 100), 8)["tpot"], rel=0.1)


# Open loop


@pytest.mark.parametrize("load", [0.05, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", POOLS)
def test_an_open_loop_holds_what_littles_law_says(name: str, load: float) -> None:
    machine, layout = case(name)
    workload = Workload(2048, 256)
    most = 64.0
    top = steady(machine, layout, workload, most)["requests"]
    rate = load * top
    batch, over = open_loop(lambda size: machine.closed(layout.arrays(), workload, size), rate, most)
    assert not over[0]
    found = steady(machine, layout, workload, float(batch[0]))
    # the batch of an interpolation serves nearly the rate that was asked for
    assert float(batch[0]) * layout.attention_dp == pytest.approx(rate * found["e2e"], rel=0.02)


def test_more_than_a_pool_can_do_is_said() -> None:
    machine, layout = case("dense, chunked")
    workload = Workload(2048, 256)
    top = steady(machine, layout, workload, 64)["requests"]
    batch, over = open_loop(lambda size: machine.closed(layout.arrays(), workload, size), 2 * top, 64)
    assert over[0]
    assert float(batch[0]) == 64
    told = api.forecast(LLAMA, "h100-sxm", Workload(2048, 256, rate=1000.0), tp=8)
    assert told.overloaded
    assert any("without bound" in warning for warning in told.warnings)


@pytest.mark.parametrize("rate", [0.02, 0.3, 1.0])
def test_what_arrives_is_what_is_served(rate: float) -> None:
    told = api.forecast(LLAMA, "h100-sxm", Workload(2048, 256, rate=rate), tp=8)
    assert told.estimates["requests_per_s"].value == pytest.approx(rate)
    output = told.estimates["output_tokens_per_s_per_device"].value
    assert output == pytest.approx(rate * 256 / 8)
    assert told.concurrency == pytest.approx(rate * told.estimates["e2e_ms"].value / 1e3, rel=0.03)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.floats(0.05, 0.9), st.floats(1.05, 2.0))
def test_a_busier_open_loop_holds_more_and_answers_later(load: float, factor: float) -> None:
    machine, layout = case("dense, chunked")
    workload = Workload(2048, 256)
    top = steady(machine, layout, workload, 64)["requests"]
    rates = load * top, min(load * factor, 0.99) * top
    placed = [place(machine, Sizes(tp=8), replace(workload, rate=rate), NO_TARGETS, 0) for rate in rates]
    assert placed[1].sequences >= placed[0].sequences
    quiet, busy = (steady(machine, layout, workload, one.sequences) for one in placed)
    assert busy["e2e"] * EXACT >= quiet["e2e"]


# Toys, by hand


def fixed(decode: float, prefill: float, both: float) -> object:
    """Steps that take the same time whatever they carry."""

    def step(load: Load) -> np.ndarray:
        prefills = np.asarray(load.prefill_sequences * load.prefill_tokens) > 0
        decodes = np.asarray(load.decode_sequences) > 0
        return np.atleast_1d(np.where(prefills & decodes, both, np.where(prefills, prefill, decode))).astype(float)

    return step


def test_a_chunked_pool_by_hand() -> None:
    """9 requests of 101 output tokens: the other 8 need 8 chunks per 100 steps, so 8 of 100 steps are mixed."""
    how = Discipline(8192, False)
    found = closed_loop(fixed(0.01, 0.2, 0.21), Workload(1000, 101), np.array([9.0]), how, Speculation())
    assert float(found.tpot[0]) == pytest.approx(0.01 + 0.08 * 0.2, rel=0.02)


def test_a_prefill_first_pool_by_hand() -> None:
    how = Discipline(8192, True)
    found = closed_loop(fixed(0.01, 0.2, 0.21), Workload(1000, 101), np.array([9.0]), how, Speculation())
    assert float(found.tpot[0]) == pytest.approx(0.01 + 0.08 * 0.2, rel=0.02)


@pytest.mark.parametrize("stalls", [False, True])
def test_prefill_alone_may_fill_the_time(stalls: bool) -> None:
    """Prompts of 1 s each and answers of 10 steps of 10 ms: the pool serves one request per second, no more."""
    how = Discipline(8192, stalls)
    found = closed_loop(fixed(0.01, 1.0, 1.0), Workload(8000, 11), np.array([32.0]), how, Speculation())
    assert float(found.requests[0]) <= 1.0 * EXACT
    assert float(found.requests[0]) == pytest.approx(1.0, rel=0.15)


SMALL, DENSE = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-32B"
#: what a search found to do more with more work: model, chip, stack, layout, (input, output, sequences per rank) twice
FOUND = {
    "many ranks, short answers": (
        "meta-llama/Llama-3.1-8B-Instruct",
        "mi300x",
        "rocm-vllm",
        Layout(attention_dp=8),
        (1024, 16, 8),
        (1024, 16, 16),
    ),
    "the edge of a chunk": (DENSE, "h200-sxm", "vllm", Layout(attention_dp=8), (8000, 16, 8), (9000, 16, 8)),
    "stages full of chunks": (R1, "mi300x", "vllm", Layout(tp=4, pp=2), (20000, 128, 32), (20000, 128, 48)),
}


@pytest.mark.parametrize("name", FOUND)
def test_more_work_is_never_done_faster(name: str) -> None:
    model, chip, stack, layout, *loads = FOUND[name]
    machine = pool(model, chip, stack=stack)
    less, more = (
        machine.closed(layout.arrays(), Workload(tokens, output), np.array([float(batch)]))
        for tokens, output, batch in loads
    )
    assert more.tpot >= less.tpot * 0.999
    if loads[0][2] == loads[1][2]:
        assert more.requests <= less.requests * 1.001
    else:
        assert more.requests >= less.requests * 0.999
