"""Properties of the exchanges and of the overlap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from silicast.laws.collective import Fabric, all_gather_time, all_reduce_time, all_to_all_time, divide, send_time
from silicast.laws.host import host_time
from silicast.laws.overlap import two_microbatches
from tests.strategies import fabrics, faster, rates

EXACT = 1 + 1e-9
groups = st.sampled_from((1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 320.0))
payloads = rates(1, 1e11)


def timings(moved, group, stride, fabric, fan=8.0, relayed=0.0):
    lies = divide(group, stride, fabric)
    return (
        all_reduce_time(moved, lies, fabric),
        all_gather_time(moved, lies, fabric),
        all_to_all_time(moved, fan, relayed, lies, fabric, 1e-6),
    )


@given(payloads, groups, st.sampled_from((1.0, 4.0, 8.0)), fabrics)
def test_one_rank_needs_no_exchange_and_more_ranks_take_time(moved, group, stride, fabric):
    for timing in timings(moved, group, stride, fabric):
        assert np.isfinite(timing.total)
        assert timing.total >= 0
        assert (timing.total == 0) == (group == 1)
        assert timing.total <= (timing.link + timing.fixed) * EXACT


@given(payloads, groups, fabrics, st.floats(1, 10), st.sampled_from((0.0, 1.0)))
def test_more_bytes_are_never_faster(moved, group, fabric, factor, relayed):
    before = timings(moved, group, 1.0, fabric, relayed=relayed)
    after = timings(moved * factor, group, 1.0, fabric, relayed=relayed)
    assert all(b.total * EXACT >= a.total for a, b in zip(before, after, strict=True))


@given(payloads, groups, fabrics, st.floats(1, 10), st.sampled_from(["inner_bandwidth", "outer_bandwidth"]))
def test_a_faster_link_is_never_slower(moved, group, fabric, factor, which):
    before = timings(moved, group, 1.0, fabric)
    after = timings(moved, group, 1.0, faster(fabric, which, factor))
    assert all(b.total <= a.total * EXACT for a, b in zip(before, after, strict=True))


@given(payloads, groups, fabrics)
def test_relaying_inside_a_node_never_sends_more_across(moved, group, fabric):
    wide = faster(fabric, "inner_bandwidth", 1e9)
    lies = divide(group, 1.0, wide)
    alone = all_to_all_time(moved, 8.0, 0.0, lies, wide, 0.0)
    assert all_to_all_time(moved, 8.0, 1.0, lies, wide, 0.0).total <= alone.total * EXACT


def test_ring_all_reduce_by_hand():
    """8 ranks on a switch of 450 GB/s, 64 MiB: two-shot 2 x 7/8 x 64 MiB / 450 GB/s; in the switch one pass."""
    fabric = Fabric(8.0, 450e9, 0.0, 50e9, 0.0, launch=0.0, mesh=0.0, reduces=0.0)
    moved = float(64 << 20)
    assert all_reduce_time(moved, divide(8.0, 1.0, fabric), fabric).total == pytest.approx(1.75 * moved / 450e9)
    reducing = Fabric(8.0, 450e9, 0.0, 50e9, 0.0, launch=0.0, mesh=0.0, reduces=1.0)
    assert all_reduce_time(moved, divide(8.0, 1.0, reducing), reducing).total == pytest.approx(moved / 450e9)


def test_a_group_in_a_mesh_gets_its_share_of_the_links():
    """4 of 8 fully meshed devices use 3 of the 7 links of each."""
    fabric = Fabric(8.0, 196e9, 0.0, 25e9, 0.0, launch=0.0, mesh=1.0, reduces=0.0)
    assert divide(4.0, 1.0, fabric).bandwidth == pytest.approx(196e9 * 3 / 7)
    assert divide(8.0, 1.0, fabric).bandwidth == pytest.approx(196e9)


def test_dispatch_by_hand():
    """EP16 on two nodes of 8, top-8: half of the copies cross; relayed, a token crosses once if any does."""
    fabric = Fabric(8.0, 1e18, 0.0, 50e9, 0.0, launch=0.0, mesh=0.0, reduces=0.0)
    lies = divide(16.0, 1.0, fabric)
    moved = 7168.0 * 128
    assert all_to_all_time(moved, 8.0, 0.0, lies, fabric, 0.0).total == pytest.approx(4 * moved / 50e9)
    assert all_to_all_time(moved, 8.0, 1.0, lies, fabric, 0.0).total == pytest.approx((1 - 0.5**8) * moved / 50e9)


@given(rates(1e-6, 1), rates(1e-6, 1), st.floats(0, 0.5))
def test_overlap_hides_no_more_than_the_shorter_half(compute, exchange, tax):
    both = two_microbatches(compute, exchange, tax)
    assert both * EXACT >= max(2 * compute, 2 * exchange)
    assert both <= 2 * (compute * (1 + tax) + exchange) * EXACT


@given(payloads, fabrics, st.booleans())
def test_sends_take_the_link_they_cross(moved, fabric, inside):
    timing = send_time(moved, inside, fabric)
    bandwidth = fabric.inner_bandwidth if inside else fabric.outer_bandwidth
    assert timing.total >= moved / bandwidth


def test_host_time_is_linear_in_sequences():
    assert host_time(64.0, 1e-3, 1e-5) == pytest.approx(1.64e-3)


def test_a_group_in_a_torus_gets_the_links_of_its_axes():
    """In an 8 x 8 x 8 torus 8 devices are one axis of three; an all-to-all over all of it takes 6 hops on average."""
    torus = Fabric(512.0, 600e9, 0.0, 25e9, 0.0, launch=0.0, axes=3.0)
    assert divide(8.0, 1.0, torus).bandwidth == pytest.approx(200e9)
    assert divide(512.0, 1.0, torus).bandwidth == pytest.approx(600e9)
    moved = 1e9
    time = all_to_all_time(moved, 1.0, 0.0, divide(512.0, 1.0, torus), torus, 0.0).total
    assert time == pytest.approx(moved * 511 / 512 / 600e9 * 3 * 8 / 4)
