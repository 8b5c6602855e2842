"""Properties of the matrix-product laws."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from silicast.laws.gemm import MatrixUnit, Traffic, experts_hit, gemm_time, grouped_gemm_time
from tests.strategies import faster, launches, matrix_units, rows, sizes, traffics

EXACT = 1 + 1e-9


@given(rows, sizes, sizes, st.integers(1, 64).map(float), matrix_units, traffics, launches)
def test_a_gemm_lies_between_its_roofline_and_the_sum_of_its_parts(m, n, k, batch, unit, traffic, launch):
    timing = gemm_time(m, n, k, batch, unit, traffic, launch)
    flops = 2 * batch * m * n * k / unit.peak
    moved = batch * (n * k * traffic.weight + m * (k * traffic.activation + n * traffic.output)) / traffic.bandwidth
    if m == 0:
        assert timing.total == 0
        return
    assert timing.total * EXACT >= max(flops, moved) + launch
    assert timing.total <= (timing.matrix + timing.memory + timing.fixed) * EXACT
    assert np.isfinite(timing.total)


@given(rows, sizes, sizes, matrix_units, traffics, launches, st.sampled_from("mnk"), st.floats(1, 8))
def test_a_larger_gemm_is_never_faster(m, n, k, unit, traffic, launch, which, factor):
    shape = {"m": m, "n": n, "k": k}
    larger = shape | {which: np.ceil(shape[which] * factor)}
    small = gemm_time(**shape, batch=1.0, unit=unit, traffic=traffic, launch=launch).total
    large = gemm_time(**larger, batch=1.0, unit=unit, traffic=traffic, launch=launch).total
    assert large * EXACT >= small


@given(sizes, sizes, sizes, matrix_units, traffics, launches, st.sampled_from(["peak", "bandwidth"]), st.floats(1, 10))
def test_a_faster_chip_is_never_slower(m, n, k, unit, traffic, launch, which, factor):
    before = gemm_time(m, n, k, 1.0, unit, traffic, launch).total
    if which == "peak":
        unit = faster(unit, "peak", factor)
    else:
        traffic = faster(traffic, "bandwidth", factor)
    assert gemm_time(m, n, k, 1.0, unit, traffic, launch).total <= before * EXACT


@given(st.lists(st.tuples(rows, sizes, sizes), min_size=1, max_size=6), matrix_units, traffics, launches)
def test_arrays_equal_scalars(shapes, unit, traffic, launch):
    m, n, k = (np.array(column) for column in zip(*shapes, strict=True))
    together = gemm_time(m, n, k, 1.0, unit, traffic, launch).total
    alone = [gemm_time(*shape, 1.0, unit, traffic, launch).total for shape in shapes]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_a_gemm_by_hand():
    """m = n = k = 4096 on 132 cores, tile 128 x 128: 1,024 tiles, 8 waves of 132, so 8 x 132 / 1024 of the ideal."""
    unit = MatrixUnit(peak=989e12, efficiency=1.0, cores=132.0, tile_m=128.0, tile_n=128.0)
    traffic = Traffic(2.0, 2.0, 2.0, 3.35e12, 1.0)
    timing = gemm_time(4096.0, 4096.0, 4096.0, 1.0, unit, traffic, 0.0)
    assert timing.matrix == 2 * 4096**3 / 989e12 * 8 * 132 / 1024
    assert timing.memory == 3 * 4096**2 * 2 / 3.35e12


@given(st.integers(1, 1 << 16), st.integers(1, 16), st.integers(16, 512), st.integers(1, 64), st.floats(0.1, 1.0))
def test_hit_experts_are_between_one_tokens_and_all(tokens, topk, experts, ep, spread):
    local = np.ceil(experts / ep)
    hit = experts_hit(float(tokens), float(topk), local * ep, local, spread)
    assert 0 < hit <= local * EXACT
    assert hit <= tokens * topk / ep * (1 + 1e-6)
    assert experts_hit(float(tokens + 1), float(topk), local * ep, local, spread) * EXACT >= hit


def test_hit_experts_by_hand():
    """One token with top-8 of 256 experts on one device hits exactly 8 of them."""
    assert np.isclose(experts_hit(1.0, 8.0, 256.0, 256.0, 1.0), 8.0)


@given(rows, st.floats(0, 256), sizes, sizes, matrix_units, traffics, launches, st.floats(0, 64))
def test_a_grouped_gemm_lies_between_roofline_and_sum(total, hit, n, k, unit, traffic, launch, pad):
    timing = grouped_gemm_time(total, hit, (n, k), unit, traffic, (launch, pad))
    if total == 0:
        assert timing.total == 0
        return
    moved = hit * n * k * traffic.weight + total * (k * traffic.activation + n * traffic.output)
    assert timing.total * EXACT >= launch + max(2 * total * n * k / unit.peak, moved / traffic.bandwidth)
    assert timing.total <= (timing.matrix + timing.memory + timing.fixed) * EXACT
    more = grouped_gemm_time(2 * total, hit, (n, k), unit, traffic, (launch, pad))
    assert more.total * EXACT >= timing.total
