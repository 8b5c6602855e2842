"""From rows to forecasts: defaults of the schema, reasons, and that nothing but the scenario is read."""

import random
from typing import Any

import numpy as np
import pytest

from silicast.evidence.columns import Scenario
from silicast.evidence.deployment import NoForecastError, Plan, Pools, plan
from silicast.evidence.forecast import Outcome, forecast
from silicast.evidence.record import Row, load, shipped
from silicast.scenario import Speculation, Workload
from silicast.serving.steady import GRID, Discipline
from silicast.serving.two_pools import Prefilled, TwoPools, disaggregated, prefill_pool

R1 = "deepseek-ai/DeepSeek-R1"
SMALL: dict[str, Any] = {
    "kind": "serve", "model": "Qwen/Qwen3-8B", "chip": "h100-sxm", "stack": "vllm", "devices": 1, "tp": 1,
    "weights": "bf16", "activations": "bf16", "input_tokens": 1024, "output_tokens": 256, "concurrency": 16,
}  # fmt: skip


def row(metric: str = "tpot_ms", **cells: Any) -> Row:
    return Row("s", "i", 2, Scenario(**SMALL)._replace(**cells), metric, 10.0, None, "validate", None, None, "")


def told(metric: str = "tpot_ms", **cells: Any) -> Outcome:
    (found,), _ = forecast([row(metric, **cells)])
    return found


def planned(**cells: Any) -> Plan:
    return plan(Scenario(**SMALL)._replace(**cells), Pools())


def test_ids_sources_notes_and_values_are_not_read() -> None:
    rows = [found for found in load([shipped()]).rows if found.source in ("lmsys-96h100", "omni-infer-910b", "deepep")]
    shuffled = rows.copy()
    random.Random(1).shuffle(shuffled)
    masked = [
        found._replace(id=other.id, note=other.note, source=other.source, value=other.value, use=other.use)
        for found, other in zip(rows, shuffled, strict=True)
    ]
    plain, hidden = forecast(rows)[0], forecast(masked)[0]
    assert plain == hidden
    assert sum(outcome.value is not None for outcome in plain) > 30


def test_order_of_rows_changes_nothing() -> None:
    rows = [row(concurrency=c, input_tokens=n) for c in (1, 8, 64) for n in (128, 4096)]
    forward, backward = forecast(rows)[0], forecast(rows[::-1])[0]
    assert [found.value for found in forward] == pytest.approx([found.value for found in backward[::-1]])


def test_empty_tp_is_what_the_other_sizes_leave() -> None:
    assert planned(devices=4, tp=None).parts[0].sizes == (4, 1, 1, 1, 1)
    with pytest.raises(NoForecastError, match="is not tp x attention_dp"):
        planned(devices=4, tp=2)


def test_empty_ep_of_experts_is_the_default_of_engines() -> None:
    r1: dict[str, Any] = {"model": R1, "weights": "fp8", "activations": "fp8", "chip": "h200-sxm", "tp": None}
    assert planned(**r1, devices=8).parts[0].sizes == (8, 1, 1, 1, 1)
    assert planned(**r1, devices=8, attention_dp=8).parts[0].sizes == (1, 1, 8, 8, 1)
    with pytest.raises(NoForecastError, match="ep = 3 does not divide"):
        planned(**r1, devices=8, ep=3)


def test_an_engine_that_sets_ep_itself_overrules_the_recorded_flag() -> None:
    r1 = {"model": "deepseek-ai/DeepSeek-R1", "chip": "gb200", "ep": 1}
    spread = {"stack": "sglang", "devices": 32, "attention_dp": 32}
    assert planned(**r1, **spread).parts[0].sizes == (1, 1, 32, 32, 1)
    # below the size from which it exchanges by all-to-all, without data-parallel attention, in another engine: as said
    assert planned(**r1, **spread | {"devices": 4, "attention_dp": 4}).parts[0].sizes == (1, 1, 1, 4, 1)
    assert planned(**r1, stack="sglang", devices=8, tp=8, attention_dp=1).parts[0].sizes == (8, 1, 1, 1, 1)
    assert planned(**r1, **spread | {"stack": "trtllm"}).parts[0].sizes == (1, 1, 1, 32, 1)


def test_lengths_are_the_drawn_mean() -> None:
    assert planned(length_low=0.8, length_high=1.0).lengths == pytest.approx((921.6, 230.4))
    assert planned().lengths == (1024, 256)


def test_draft_tokens_per_step() -> None:
    assert planned(mtp_tokens=1, mtp_acceptance=0.7).acceptance == 0.7
    assert planned(mtp_tokens=2).acceptance == pytest.approx((0.75 + 0.75**2) / 2)
    assert planned().acceptance == 0.0


def test_fp8_is_the_recipe_of_the_checkpoint() -> None:
    pools = Pools()
    blocked = plan(Scenario(**SMALL)._replace(model=R1, chip="h200-sxm", devices=8, tp=8, weights="fp8"), pools)
    plain = plan(Scenario(**SMALL)._replace(weights="fp8", activations="fp8"), pools)
    assert pools.pool(blocked.parts[0].key).precision.weights == "fp8_block"
    assert pools.pool(plain.parts[0].key).precision.weights == "fp8"


def test_cache_of_a_checkpoint_made_anew_in_fp4_is_fp8() -> None:
    pools = Pools()

    def cache(**cells: Any) -> str:
        return pools.pool(
            plan(Scenario(**SMALL)._replace(chip="b200-sxm", **cells), pools).parts[0].key
        ).precision.kv_cache

    assert cache(weights="fp4", activations="fp4") == "fp8"
    assert cache(weights="fp4", activations="fp4", kv_cache="bf16") == "bf16"
    assert cache(weights="fp8", activations="fp8", stack="trtllm") == "fp8"
    assert cache(weights="fp8", activations="fp8", stack="vllm") == "bf16"


def test_an_absurd_row_does_not_spoil_its_neighbours() -> None:
    rows = [row(), row(concurrency=1e12, requests=10**12), row(input_tokens=1e14), row(concurrency=32)]
    found = forecast(rows)[0]
    assert [outcome.value is None for outcome in found] == [False, True, True, False]
    assert found[0] == told()


def kernel(metric: str, **cells: Any) -> float:
    empty = dict.fromkeys(("tp", "input_tokens", "output_tokens", "concurrency"))
    value = told(metric, kind="kernel", model="none", stack="deepgemm", **{**empty, **cells}).value
    assert value is not None
    return value


def test_kernels_lie_below_the_roof_and_agree_among_metrics() -> None:
    shape = {"op": "gemm", "m": 8192, "n": 8192, "k": 8192}
    seconds = kernel("latency_us", **shape) * 1e-6
    assert kernel("tflops", **shape) == pytest.approx(2 * 8192**3 / seconds / 1e12)
    assert 400 < kernel("tflops", **shape) < 989
    thin = {**shape, "m": 1}
    assert 1500 < kernel("gb_per_s", **thin) < 3350


def test_causal_attention_counts_half_of_the_pairs() -> None:
    shape = {"batch_per_device": 4, "input_tokens": 8192, "heads": 16, "kv_heads": 16, "head_dim": 128}
    full, half = (kernel("latency_us", op=op, **shape) for op in ("attention_fwd", "attention_fwd_causal"))
    assert half == pytest.approx(full / 2, rel=0.15)


def test_grouped_products_read_every_group() -> None:
    shape: dict[str, Any] = {
        "op": "grouped_gemm",
        "m": 32,
        "n": 4096,
        "k": 7168,
        "weights": "fp8",
        "activations": "fp8",
    }
    few, many = (kernel("latency_us", experts=experts, **shape) for experts in (4, 32))
    assert many > 5 * few


def test_exchanges_slow_down_across_nodes() -> None:
    shape: dict[str, Any] = {"op": "moe_dispatch", "m": 128, "k": 7168, "topk": 8, "activations": "fp8"}
    near, far = (kernel("latency_us", group=group, devices=group, **shape) for group in (8, 64))
    assert far > near


def test_system_of_another_chip_is_its_own() -> None:
    two: dict[str, Any] = {
        "prefill_chip": "h100-sxm", "prefill_devices": 1, "decode_chip": "ascend-910c", "decode_devices": 2,
        "system": "hgx-hopper",
    }  # fmt: skip
    first, second = planned(**two).parts
    assert (first.key.system, second.key.system) == ("hgx-hopper", None)
    assert (first.key.role, second.key.role) == ("prefill", "decode")


@pytest.mark.parametrize(
    ("metric", "cells", "reason"),
    [
        ("tpot_ms", {"kind": "train"}, "training is not yet forecast"),
        ("tpot_ms", {"chip": "h1000"}, "Chip 'h1000' not found."),
        ("tpot_ms", {"model": "Qwen/Qwen3-8X"}, "Model 'Qwen/Qwen3-8X' not found."),
        ("tpot_ms", {"system": "no-such-system"}, "System 'no-such-system' not found."),
        ("tpot_ms", {"tp": 3, "devices": 3}, "tp = 3 does not divide"),
        ("ttft_ms_p90", {}, "a percentile over requests"),
        ("mfu", {}, "mfu is not forecast"),
        ("tpot_ms", {"input_tokens": None}, "input_tokens is not stated"),
        ("tpot_ms", {"model": "meta-llama/Llama-3.1-405B-Instruct"}, "does not fit: short of"),
        ("step_ms", {"kind": "decode"}, "batch_per_device is not stated"),
        ("latency_us", {"kind": "kernel", "op": "attention_fwd_bwd"}, "backward"),
        ("latency_us", {"kind": "kernel", "op": "dance"}, "op 'dance' has no law"),
        ("latency_us", {"kind": "kernel", "op": "gemm"}, "m is not stated"),
    ],
)
def test_rows_that_cannot_be_forecast_say_why(metric: str, cells: dict[str, Any], reason: str) -> None:
    found = told(metric, **cells)
    assert found.value is None
    assert reason in found.reason


def test_an_unknown_stack_is_the_generic_one_and_says_so() -> None:
    found = told(stack="my-engine")
    assert found.value is not None
    assert "forecast with 'generic', one tier lower" in found.reason


def test_band_holds_the_value() -> None:
    (found,), _ = forecast([row()], draws=64)
    assert found.low is not None
    assert found.low < found.value < found.high  # type: ignore[operator]
    assert told().low is None


def test_saturated_runs_give_the_most_output() -> None:
    names = "output_tokens_per_s_per_device"
    few, many, saturated = (told(names, concurrency=c).value for c in (4, 64, None))
    assert many > 2 * few  # type: ignore[operator]
    assert saturated > 0.95 * many  # type: ignore[operator]


def test_a_slow_open_loop_answers_its_rate_and_a_fast_one_queues() -> None:
    calm = told("requests_per_s", concurrency=None, rate=0.5).value
    assert calm == pytest.approx(0.5, rel=0.05)
    assert "no steady state" in told("ttft_ms", concurrency=None, rate=1000).reason
    waits = told("ttft_ms", concurrency=None, rate=1000, requests=2000).value
    assert waits is not None
    assert waits > 10 * told("ttft_ms", concurrency=None, rate=0.5).value  # type: ignore[operator]


def test_requests_that_do_not_fit_wait_before_their_first_token() -> None:
    long = {"input_tokens": 32000, "output_tokens": 1000}
    few, many = (told("ttft_ms", concurrency=c, **long).value for c in (8, 200))
    assert many > 20 * few  # type: ignore[operator]
    throughput = "output_tokens_per_s_per_device"
    most = told(throughput, concurrency=200, **long).value
    assert told(throughput, concurrency=400, **long).value == pytest.approx(most)


def work(concurrency: float, output: float = 101) -> Workload:
    return Workload(np.array([1000.0]), np.array([output]), concurrency=np.array([concurrency]))


def two(concurrency: float, replicas: float = 1, most: float = 1e9, step: float = 0.01) -> Any:
    prefill = Prefilled(np.array([0.1]), np.array([0.1]), np.array([0.1]), np.array([10.0]))
    pools = TwoPools(np.array([replicas]), np.ones(1), np.array([4.0]), np.array([most]), np.array([0.02]))
    pace = lambda batches: np.full_like(batches, step)  # noqa: E731
    return disaggregated(prefill, pace, work(concurrency), pools, Speculation())


def test_two_pools_keep_littles_law() -> None:
    for concurrency in (1, 5, 20, 200):
        found = two(concurrency)
        assert found.requests * found.e2e == pytest.approx(concurrency)


def test_two_pools_at_low_load_wait_for_nobody() -> None:
    found = two(0.01)
    assert found.ttft == pytest.approx(0.12, rel=0.01)
    assert found.tpot == pytest.approx(0.01)


def test_a_full_prefill_pool_limits_throughput_and_makes_requests_queue() -> None:
    found = two(200)
    assert found.requests == pytest.approx(10, rel=0.02)
    assert found.ttft == pytest.approx(200 / found.requests - 1.0, rel=0.01)
    assert two(200, replicas=2).requests == pytest.approx(20, rel=0.02)


def test_a_full_decode_pool_limits_throughput() -> None:
    found = two(200, replicas=100, most=10)
    assert found.requests == pytest.approx(4 * 10 / 1.0, rel=0.01)
    assert found.sequences == pytest.approx(10)


def test_prefill_pool_starts_full_chunks() -> None:
    found = prefill_pool(lambda load: 1e-4 * np.ones(1) * load.tokens, work(1), Discipline(4000, True, 2.0, 1))
    assert found.alone == pytest.approx(0.1)
    assert found.full == pytest.approx(0.4)
    assert found.capacity == pytest.approx(2 * 4 / 0.4)
    assert GRID > 8
