"""Properties of one step of real models on real chips: faster hardware, more work, bounds, arrays, draws."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from silicast import api
from silicast.estimate import Sampler
from silicast.parts import explained
from silicast.scenario import Layout, Load
from silicast.timed import ROOFS
from tests.unit.pools import (
    CHIPS,
    EXACT,
    FASTER,
    LLAMA,
    MODELS,
    QWEN,
    R1,
    Case,
    cases,
    decodes,
    faster,
    loads,
    on,
    pool,
    prefills,
    seconds,
    space,
)

DIMENSIONS = ("prefill_sequences", "prefill_tokens", "prefill_context", "decode_sequences", "decode_context")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases(), st.sampled_from(FASTER), st.floats(1, 8))
def test_a_faster_chip_is_never_slower(case: Case, what: str, factor: float) -> None:
    assert case.seconds(pool=faster(case.pool, what, factor)) <= case.seconds() * EXACT


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("chip", CHIPS)
def test_each_rate_of_a_chip_matters_somewhere(model: str, chip: str) -> None:
    """Ten times more of anything that binds makes a step shorter."""
    machine, found = pool(model, chip), space(model, chip)
    layout = found.pick(int(np.argmax(np.asarray(found.tp) - np.asarray(found.devices)))).whole()
    prefill = Load(prefill_sequences=1, prefill_tokens=8192)
    decode = Load(decode_sequences=64, decode_context=8192)
    assert seconds(faster(machine, "matrix", 10), layout, prefill) < seconds(machine, layout, prefill)
    assert seconds(faster(machine, "memory", 10), layout, decode) < seconds(machine, layout, decode)
    if layout.tp > 1:
        assert seconds(faster(machine, "links", 10), layout, prefill) < seconds(machine, layout, prefill)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases(), st.sampled_from(DIMENSIONS), st.floats(1.0, 4.0))
def test_more_work_is_never_faster(case: Case, dimension: str, factor: float) -> None:
    more = replace(case.load, **{dimension: int(np.ceil(getattr(case.load, dimension) * factor))})
    assert case.seconds(more) * EXACT >= case.seconds()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases(), prefills, decodes)
@example(Case(R1, "tpu-v5p", Layout(tp=1, attention_dp=2, ep=2), Load()), Load(1, 1), Load(0, 0, 0, 256, 1))
def test_a_step_that_does_both_takes_at_least_as_long_as_either(case: Case, prefill: Load, decode: Load) -> None:
    both = replace(prefill, decode_sequences=decode.decode_sequences, decode_context=decode.decode_context)
    assert case.seconds(both) * EXACT >= case.seconds(prefill)
    assert case.seconds(both) * EXACT >= case.seconds(decode)


@pytest.mark.parametrize("prefilled", [64, 512, 4096])
def test_more_work_is_never_faster_where_the_kind_of_step_changes(prefilled: int) -> None:
    """A step of mostly prefill becomes one of mostly decode as more sequences decode beside it."""
    machine, layout = pool(R1, "ascend-910c"), Layout(tp=1, attention_dp=32, ep=32)
    before = Load(prefill_sequences=1, prefill_tokens=prefilled, decode_sequences=prefilled - 1, decode_context=1024)
    after = replace(before, decode_sequences=prefilled + 1)
    assert seconds(machine, layout, after) * EXACT >= seconds(machine, layout, before)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("model", MODELS)
def test_a_second_token_is_never_faster_than_one(model: str, chip: str) -> None:
    """Where two microbatches become possible, and where a batch fills a tile."""
    machine, found = pool(model, chip), space(model, chip)
    for index in range(0, np.size(found.tp), 3):
        layout = found.pick(index).whole()
        for edge in (1, 2, 8, 15, 16, 17, 31, 32, 127, 128, 129):
            less, more = (Load(decode_sequences=size, decode_context=2048) for size in (edge, edge + 1))
            assert seconds(machine, layout, more) * EXACT >= seconds(machine, layout, less), (layout, edge)


@pytest.mark.parametrize("model", [R1, LLAMA, QWEN])
def test_context_parallel_ranks_share_the_work(model: str) -> None:
    machine = pool(model, "h200-sxm")
    prefill = Load(prefill_sequences=1, prefill_tokens=8192, prefill_context=65536)
    decode = Load(decode_sequences=1, decode_context=500_000)
    for load in (prefill, decode):
        one, two = (seconds(machine, Layout(tp=4, cp=cp), load) for cp in (1, 2))
        assert one > two > one / 2


def ends(case: Case) -> tuple[float, float]:
    """(largest roof, sum of all parts) of one step, the launches by the host among them."""
    step = case.step()
    repeats = float(np.max(step.microbatches))
    roofs = dict.fromkeys(ROOFS, 0.0)
    fixed = kernels = 0.0
    for group in step.groups:
        count = np.broadcast_to(group.count, group.seconds().shape)
        for resource in ROOFS:
            alone = np.broadcast_to(np.asarray(getattr(group.timing, resource)), count.shape)
            roofs[resource] += repeats * float((alone * count * (group.seconds() > 0)).sum())
        fixed += repeats * float((np.broadcast_to(np.asarray(group.timing.fixed), count.shape) * count).sum())
        kernels += repeats * float(count.sum())
    host = float(np.max(step.host))
    launched = kernels * case.pool.machine.coefficient("host", "eager_launch") if case.load.prefill_sequences else 0.0
    return max(roofs.values()) + host, sum(roofs.values()) + fixed + host + launched


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
def test_a_step_lies_between_its_roofline_and_the_sum_of_its_parts(case: Case) -> None:
    low, high = ends(case)
    assert low <= case.seconds() * EXACT
    assert case.seconds() <= high * EXACT


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
@example(Case(R1, "ascend-910c", Layout(tp=1, attention_dp=2, ep=2), Load(decode_sequences=256, decode_context=131072)))
def test_overlap_never_costs_more_than_it_hides(case: Case) -> None:
    """Two microbatches side by side take no longer than the same two one after the other."""
    assert float(np.min(case.step().hidden)) >= -1e-12


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
def test_no_device_computes_or_moves_faster_than_its_datasheet(case: Case) -> None:
    step = case.step()
    told = explained(step, case.pool.machine.tiers())
    chip = case.pool.machine.chip
    peak = max(float(number.value) for number in chip.compute.matrix.values())
    assert told.flops <= peak * told.seconds
    assert told.moved <= float(case.pool.machine.bandwidth) * told.seconds


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
@example(Case(R1, "h100-sxm", Layout(tp=8), Load(prefill_sequences=1, prefill_tokens=1)))
def test_the_tree_of_parts_adds_up(case: Case) -> None:
    step = case.step()
    told = explained(step, case.pool.machine.tiers())
    assert told.seconds == pytest.approx(float(step.seconds[0]), rel=1e-12)
    assert sum(part.value for part in told.tree.parts) == pytest.approx(told.seconds, rel=1e-9)
    for node in told.tree.parts:
        if node.parts:
            assert sum(leaf.value for leaf in node.parts) == pytest.approx(node.value, rel=1e-9)
    assert sum(told.by_resource.values()) == pytest.approx(told.seconds, rel=1e-9)
    assert min(told.by_resource.values()) >= -1e-12
    assert told.bound_by == max(told.by_resource, key=lambda name: told.by_resource[name])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases())
def test_every_time_is_a_time(case: Case) -> None:
    step = case.step()
    assert np.all(np.isfinite(step.seconds))
    assert np.all(step.seconds > 0)
    for group in step.groups:
        for name in ("total", *ROOFS, "fixed"):
            values = np.asarray(getattr(group.timing, name))
            assert np.all(np.isfinite(values)), (group.names, name)
            assert np.all(values >= 0), (group.names, name)
        assert np.all(group.count >= 0)
        assert np.all(np.asarray(group.flops) >= 0)
        assert np.all(np.asarray(group.moved) >= 0)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("model", MODELS)
def test_an_empty_step_takes_the_host_only(model: str, chip: str) -> None:
    machine = pool(model, chip)
    layout = space(model, chip).pick(0).whole()
    step = machine.step(Load(), layout)
    assert float(step.seconds[0]) == pytest.approx(float(np.max(step.host)), rel=1e-12)


# Arrays


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from(MODELS), st.sampled_from(CHIPS), st.data())
def test_a_row_of_an_array_is_the_call_alone(model: str, chip: str, data: st.DataObject) -> None:
    machine, found = pool(model, chip), space(model, chip)
    rows = data.draw(st.lists(st.tuples(st.integers(0, np.size(found.tp) - 1), loads), min_size=2, max_size=6))
    index = np.array([row for row, _ in rows])
    layout = found.pick(index)
    load = Load(**{item.name: np.array([float(getattr(one, item.name)) for _, one in rows]) for item in fields(Load)})
    context = load.decode_context + load.prefill_context + 1
    together, memory = api.forecast_many(machine, layout, load, context)
    for place, (row, one) in enumerate(rows):
        own = found.pick(row).whole()
        alone, needed = api.forecast_many(machine, own, one, one.decode_context + one.prefill_context + 1)
        assert together[place] == pytest.approx(float(alone[0]), rel=1e-12)
        for item in ("weights", "activations", "buffers", "sequence", "free", "sequences"):
            expected = float(np.asarray(getattr(needed, item)))
            assert np.broadcast_to(getattr(memory, item), index.size)[place] == pytest.approx(expected, rel=1e-12)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(cases())
def test_points_and_draws_have_one_code_path(case: Case) -> None:
    """With every range shut, each draw is the point."""

    class Shut(Sampler):
        def between(self, key: str, value: float, low: float, high: float, share: bool = False) -> Any:
            del key, low, high, share
            return np.full(self.draws, value)

    drawn = on(case.pool, sampler=Shut(3)).step(case.load, case.layout).seconds
    assert drawn.shape == (1, 3)
    np.testing.assert_allclose(drawn[0], case.seconds(), rtol=1e-12)


# Draws


@pytest.mark.parametrize("draws", [16, 255, 256])
def test_the_middle_of_the_draws_is_the_value(draws: int) -> None:
    machine = on(pool(R1, "ascend-910c"), sampler=Sampler(draws)).machine
    point = pool(R1, "ascend-910c").machine
    for law, name in (("gemm", "memory_efficiency"), ("host", "step"), ("attention", "prefill_efficiency")):
        values = machine.coefficient(law, name)
        assert values.shape == (draws,)
        assert np.median(values) == pytest.approx(point.coefficient(law, name), rel=0.02)
    assert np.median(machine.bandwidth) == pytest.approx(point.bandwidth, rel=0.02)


def test_low_and_high_are_the_tenth_and_the_ninetieth_percentile() -> None:
    machine = on(pool(R1, "ascend-910c"), sampler=Sampler(256)).machine
    values = machine.coefficient("host", "step")
    number = machine.used["host.step"][0]
    assert np.percentile(values, 10) == pytest.approx(number.low, rel=0.03)
    assert np.percentile(values, 90) == pytest.approx(number.high, rel=0.03)


def test_one_seed_one_answer() -> None:
    load = Load(decode_sequences=32, decode_context=4096)
    layout = Layout(tp=8)
    first, second = (on(pool(R1, "h200-sxm"), sampler=Sampler(64)).step(load, layout).seconds for _ in range(2))
    other = on(pool(R1, "h200-sxm"), sampler=Sampler(64, seed=7)).step(load, layout).seconds
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
    assert np.median(other) == pytest.approx(float(np.median(first)), rel=0.1)


def test_a_ratio_shares_what_both_sides_share() -> None:
    """Two layouts of one chip differ by less than either is known: the common coefficients cancel."""
    machine = on(pool(LLAMA, "h100-sxm"), sampler=Sampler(256))
    load = Load(decode_sequences=32, decode_context=4096)
    one, two = (machine.step(load, Layout(tp=tp)).seconds[0] for tp in (4, 8))

    def width(values: Any) -> float:
        low, high = np.percentile(values, (10, 90))
        return float(high / low)

    shuffled = np.random.default_rng(1).permutation(two)
    assert width(one / two) < width(one / shuffled)
    assert width(one / one) == 1


@pytest.mark.parametrize("kind", ["decode", "prefill"])
def test_the_value_of_a_step_is_near_its_point(kind: str) -> None:
    load = Load(decode_sequences=64, decode_context=4096) if kind == "decode" else Load(1, 4096)
    for model in (LLAMA, QWEN):
        drawn = on(pool(model, "h100-sxm"), sampler=Sampler(256)).step(load, Layout(tp=8)).seconds
        assert np.median(drawn) == pytest.approx(seconds(pool(model, "h100-sxm"), Layout(tp=8), load), rel=0.1)


# By hand


def test_a_dense_decode_step_reads_the_weights_once() -> None:
    """Llama 70B in BF16 on 8 devices, one sequence: 141 GB / 8 at 3.35 TB/s is the floor of the memory time."""
    machine = pool(LLAMA, "h100-sxm")
    step = machine.step(Load(decode_sequences=1, decode_context=1), Layout(tp=8))
    told = explained(step, machine.machine.tiers())
    weights = (machine.model.parameters - machine.model.vocabulary * machine.model.hidden) * 2 / 8
    assert told.moved == pytest.approx(weights, rel=0.02)


def test_prefill_does_two_flops_per_parameter_and_token() -> None:
    machine = pool(LLAMA, "h100-sxm")
    step = machine.step(Load(prefill_sequences=1, prefill_tokens=2048), Layout(tp=8))
    told = explained(step, machine.machine.tiers())
    linear = 2 * 2048 * (machine.model.parameters - 2 * machine.model.vocabulary * machine.model.hidden) / 8
    attention = 2 * 80 * 2048 * 2049 / 2 * 64 * 256 / 8
    assert told.flops == pytest.approx(linear + attention, rel=0.01)
