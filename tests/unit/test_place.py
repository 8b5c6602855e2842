"""What a user leaves open is filled in: the layout from devices and some sizes, the batch from a load or targets."""

import numpy as np
import pytest

from silicast import api
from silicast.errors import DoesNotFitError, InputError, LayoutError
from silicast.evidence.binding import told as told_of
from silicast.outcome import Forecast, forecast
from silicast.parts import explained
from silicast.planning.place import Sizes, given_layout, place
from silicast.planning.space import layouts
from silicast.scenario import Layout, Load, Targets, Workload
from tests.unit.pools import CHIPS, LLAMA, MODELS, QWEN, R1, pool

TARGETS = Targets(2000.0, 50.0)


@pytest.mark.parametrize(
    ("model", "sizes", "expected"),
    [
        (LLAMA, Sizes(tp=4), Layout(tp=4)),
        (LLAMA, Sizes(devices=8, pp=2), Layout(tp=4, pp=2)),
        (R1, Sizes(tp=8), Layout(tp=8)),
        (R1, Sizes(tp=8, ep=8), Layout(tp=8, ep=8)),
        (R1, Sizes(tp=4, attention_dp=8), Layout(tp=4, attention_dp=8, ep=32)),
        (R1, Sizes(devices=32, attention_dp=32), Layout(attention_dp=32, ep=32)),
        (R1, Sizes(devices=32, attention_dp=8), Layout(tp=4, attention_dp=8, ep=32)),
        (LLAMA, Sizes(tp=2, cp=4), Layout(tp=2, cp=4)),
    ],
)
def test_open_sizes_follow_from_the_given_ones(model: str, sizes: Sizes, expected: Layout) -> None:
    assert given_layout(pool(model, "h200-sxm"), sizes) == expected


@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(devices=8, tp=4),
        Sizes(devices=6, tp=4),
        Sizes(devices=7, attention_dp=2),
        Sizes(tp=3),
        Sizes(tp=8, ep=3),
        Sizes(tp=0),
        Sizes(pp=-1),
        Sizes(devices=0),
        Sizes(tp=10**30),
    ],
)
def test_sizes_that_disagree_are_refused(sizes: Sizes) -> None:
    with pytest.raises(LayoutError):
        place(pool(QWEN, "h200-sxm"), sizes, Workload(), TARGETS, 0)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("model", MODELS)
def test_the_space_has_only_layouts_that_can_run(model: str, chip: str) -> None:
    machine = pool(model, chip)
    found = layouts(machine, 64)
    machine.model.check(found)
    machine.machine.check_devices(found.devices)
    assert np.all(np.asarray(found.devices) <= 64)
    assert np.all(np.asarray(found.tp) <= machine.machine.system.devices_per_node)
    assert len({tuple(float(np.asarray(size)[i]) for size in (found.tp, found.pp, found.ep, found.attention_dp))
                for i in range(np.size(found.tp))}) == np.size(found.tp)  # fmt: skip


@pytest.mark.parametrize("devices", [1, 2, 4, 8, 16])
def test_exactly_so_many_devices(devices: int) -> None:
    found = layouts(pool(R1, "h200-sxm"), devices, exactly=True)
    assert np.all(np.asarray(found.devices) == devices)


def test_concurrency_is_spread_over_the_attention_ranks() -> None:
    machine = pool(R1, "h200-sxm")
    placed = place(machine, Sizes(tp=1, attention_dp=16), Workload(concurrency=64), TARGETS, 0)
    assert placed.sequences == 4
    assert api.forecast(R1, "h200-sxm", Workload(concurrency=64), tp=1, attention_dp=16).concurrency == 64


def test_under_a_load_the_targets_choose_the_layout() -> None:
    machine, workload = pool(LLAMA, "h100-sxm"), Workload(1024, 256, concurrency=8)
    placed = place(machine, Sizes(devices=8), workload, TARGETS, 0)
    assert placed.layout.devices == 8
    chosen = float(machine.closed(placed.layout.arrays(), workload, np.array([placed.sequences])).tpot[0])
    for other in (Layout(tp=8), Layout(tp=4, pp=2)):
        assert chosen <= float(machine.closed(other.arrays(), workload, np.array([8.0])).tpot[0]) * (1 + 1e-9)


DENSE = "Qwen/Qwen3-32B"


def closed(concurrency: float, requests: int | None = None) -> Forecast:
    return api.forecast(DENSE, "h100-sxm", Workload(concurrency=concurrency, requests=requests), tp=2)


@pytest.mark.parametrize("concurrency", [64, 640, 10_000])
def test_a_closed_loop_runs_what_fits_and_the_others_wait(concurrency: int) -> None:
    fit = closed(1).memory["max_requests"]
    assert 1 < fit < concurrency
    told, full = closed(concurrency), closed(fit)
    assert (told.running, told.waiting, told.concurrency) == (fit, concurrency - fit, concurrency)
    assert not told.overloaded
    assert not told.saturated
    for metric in ("tpot_ms", "requests_per_s", "decode_step_ms"):
        assert told.estimates[metric].value == full.estimates[metric].value
    # Little: all of them are in flight, and only those that run decode
    seconds = concurrency / told.estimates["requests_per_s"].value
    assert told.estimates["e2e_ms"].value == pytest.approx(seconds * 1e3, rel=0.02)
    decoding = told.estimates["tpot_ms"].value * 1023
    # medians of draws do not add up exactly
    assert told.estimates["ttft_ms"].value == pytest.approx(seconds * 1e3 - decoding, abs=0.02 * seconds * 1e3)
    assert any(f"{fit:g} of {concurrency:,} requests run at a time" in warning for warning in told.warnings)
    assert not any("bound" in warning for warning in told.warnings)


def test_a_closed_loop_that_fits_does_not_wait() -> None:
    told = closed(closed(1).memory["max_requests"])
    assert told.waiting == 0
    assert not any("wait" in warning for warning in told.warnings)


def test_a_short_run_waits_for_half_of_those_in_front() -> None:
    fit = closed(1).memory["max_requests"]
    told, full = closed(8 * fit, requests=round(8 * fit)), closed(8 * fit)
    # all start together, so that on average 7/16 of the run is done before a request starts
    seconds = 7 * fit * 7 / 16 / told.estimates["requests_per_s"].value
    assert told.estimates["ttft_ms"].value > seconds * 1e3
    assert told.estimates["ttft_ms"].value < 0.6 * full.estimates["ttft_ms"].value


def test_of_layouts_that_are_all_too_small_the_fastest_is_chosen() -> None:
    wanted = Workload(concurrency=100_000)
    told = api.forecast(DENSE, "h100-sxm", wanted, devices=8)
    for tp, pp in ((8, 1), (4, 2)):
        other = api.forecast(DENSE, "h100-sxm", wanted, tp=tp, pp=pp)
        best = told.estimates["requests_per_s"].value
        assert best > 0.97 * other.estimates["requests_per_s"].value


def test_an_open_loop_beyond_capacity_has_no_latency_and_names_what_it_sustains() -> None:
    told = api.forecast(DENSE, "h100-sxm", Workload(rate=20.0), tp=2)
    assert told.overloaded
    assert set(told.undefined) == {"ttft_ms", "e2e_ms"}
    assert told.estimates.get("ttft_ms") is None
    assert told.estimates.get("e2e_ms") is None
    sustained = told.estimates["requests_per_s"].value
    assert sustained < 20
    assert any(f"{sustained:.3g} requests/s: the queue grows without bound" in line for line in told.warnings)
    below = api.forecast(DENSE, "h100-sxm", Workload(rate=0.8 * sustained), tp=2)
    assert not below.overloaded
    assert below.undefined == {}
    assert not any("queue" in line for line in below.warnings)


def test_an_overloaded_run_that_ends_has_a_bounded_queue() -> None:
    short, long = (api.forecast(DENSE, "h100-sxm", Workload(rate=20.0, requests=count), tp=2) for count in (500, 5000))
    assert short.undefined == {}
    assert long.estimates["ttft_ms"].value > 5 * short.estimates["ttft_ms"].value


@pytest.mark.parametrize("load", [{}, {"concurrency": 4}, {"rate": 0.1}])
@pytest.mark.parametrize("sizes", [{"tp": 1}, {}])
def test_cache_blocks_that_hold_no_request_or_exceed_memory_are_refused(
    load: dict[str, float], sizes: dict[str, int]
) -> None:
    work = Workload(4000, 96, **load)
    for blocks, words in ((255, "one of 4,096 tokens needs 256 blocks of 16"), (10**8, "exceed the memory of h100")):
        with pytest.raises(DoesNotFitError, match=words):
            api.forecast("Qwen/Qwen3-8B", "h100-sxm", work, setup=api.Setup(stack="vllm", kv_blocks=blocks), **sizes)
    told = api.forecast("Qwen/Qwen3-8B", "h100-sxm", work, setup=api.Setup(stack="vllm", kv_blocks=256), **sizes)
    assert told.memory["max_requests"] == 1


def test_fit_refuses_cache_blocks_too() -> None:
    with pytest.raises(DoesNotFitError, match="needs 320 blocks"):
        api.fit("Qwen/Qwen3-8B", "h100-sxm", setup=api.Setup(stack="vllm", kv_blocks=100), tp=1)


@pytest.mark.parametrize("load", [{}, {"concurrency": 8}, {"rate": 0.1}])
def test_one_output_token_has_no_time_per_token(load: dict[str, float]) -> None:
    work = Workload(1024, 1, **load)
    told = api.forecast(DENSE, "h100-sxm", work, Targets(60_000.0, 1e-6), tp=2)
    assert told.undefined == {"tpot_ms": "-"}
    assert told.estimates.get("tpot_ms") is None
    assert not any("targets" in warning for warning in told.warnings)
    assert told.estimates["e2e_ms"].value >= told.estimates["ttft_ms"].value


@pytest.mark.parametrize("workload", [Workload(), Workload(concurrency=4), Workload(rate=0.1)])
@pytest.mark.parametrize("sizes", [{"tp": 1}, {"devices": 1}])
def test_what_does_not_fit_is_refused(workload: Workload, sizes: dict[str, int]) -> None:
    with pytest.raises(DoesNotFitError, match=r"short of [\d.,]+ GiB"):
        api.forecast(LLAMA, "h100-sxm", workload, **sizes)


def test_without_a_load_the_best_batch_meets_the_targets() -> None:
    told = api.forecast(LLAMA, "h100-sxm", Workload(), TARGETS, tp=8)
    assert told.estimates["tpot_ms"].value <= 50
    assert told.estimates["ttft_ms"].value <= 2000
    strict = api.forecast(LLAMA, "h100-sxm", Workload(), Targets(2000.0, 20.0), tp=8)
    assert strict.sequences < told.sequences
    hopeless = api.forecast(LLAMA, "h100-sxm", Workload(), Targets(1.0, 0.1), tp=8)
    assert any("No batch meets the targets" in warning for warning in hopeless.warnings)


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises((InputError, TypeError), match="tensor"):
        api.forecast(LLAMA, "h100-sxm", tensor=8)


def test_only_the_domains_that_are_crossed_count_for_the_tier() -> None:
    """No rows tell how the network between nodes behaves, but a layout within one node does not cross it."""
    for tp, pp, beyond in ((4, 1, ()), (8, 2, ("pipeline_send",)), (16, 1, ("all_reduce", "logits_gather"))):
        told = api.forecast(LLAMA, "h100-sxm", Workload(concurrency=8), tp=tp, pp=pp)
        for leaf in told.decode.leaves() + told.prefill.leaves():
            if leaf.law == "collective":
                assert (leaf.tier == "datasheet") == (bool(beyond) and leaf.name.endswith(beyond)), (tp, leaf.name)


def test_what_takes_little_time_does_not_lower_the_tier() -> None:
    """Stages hand over across nodes, which no rows describe, in under 5 % of the time: the numbers stay calibrated."""
    told = api.forecast(LLAMA, "h100-sxm", Workload(concurrency=8), tp=8, pp=2)
    sent = sum(leaf.value for leaf in told.decode.leaves() if leaf.tier == "datasheet")
    assert 0 < sent < 0.05 * told.decode.seconds
    assert told.estimates["tpot_ms"].tier == told.estimates["ttft_ms"].tier == "calibrated"


def test_the_one_who_tells_arrays_says_the_same_tier() -> None:
    for tp, pp in ((8, 1), (8, 2), (16, 1)):
        pool = api.pool_model(LLAMA, "h100-sxm")
        step = pool.staged_step(Load(decode_sequences=8, decode_context=4096), Layout(tp=tp, pp=pp).arrays())
        tiers = pool.machine.tiers()
        assert told_of(step, tiers).tier == [explained(step, tiers).tier]


def test_a_chip_on_its_own_needs_no_links() -> None:
    alone = api.pool_model("Qwen/Qwen3-8B", "h100-sxm")
    forecast(alone, Layout(), 8, Workload())
    assert not [name for name in alone.machine.used if name.startswith(("links", "collective"))]
