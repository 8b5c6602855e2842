"""What holds for every law, calibrated or not: one table of laws, and the properties of all of them.

More work never takes less time, a faster resource never makes it slower and a dearer overhead never faster; the time
lies between the bound of the busiest resource and the sum of the parts; an array is its rows; nothing is negative.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.laws.attention import AttentionEngine, Scores, attention_time, scan_time
from silicast.laws.collective import Fabric, all_gather_time, all_reduce_time, all_to_all_time, divide, send_time
from silicast.laws.gemm import MatrixUnit, Traffic, experts_hit, gemm_time, grouped_gemm_time
from silicast.laws.host import host_time
from silicast.laws.overlap import two_microbatches
from silicast.laws.routing import Routing, busiest_rank
from silicast.laws.timing import Timing, overlapped, overlapped3
from silicast.laws.vector import vector_time
from tests.strategies import bytes_per_value, launches, rates, rows, shares, sizes

EXACT = 1 + 1e-9
Numbers = dict[str, Any]


@dataclass(frozen=True)
class Law:
    """A law over a flat table of numbers: which of them are work, which rates and which costs, and its lower bound."""

    time: Callable[[Numbers], Any]
    numbers: dict[str, st.SearchStrategy[Any]]
    work: tuple[str, ...]
    rates: tuple[str, ...] = ()
    costs: tuple[str, ...] = ()
    least: Callable[[Numbers], float] = field(default=lambda given: 0.0)

    def seconds(self, given: Numbers) -> Any:
        found = self.time(given)
        return found.total if isinstance(found, Timing) else found


def unit(given: Numbers) -> MatrixUnit:
    names = ("peak", "efficiency", "cores", "tile_m", "tile_n", "operands", "k_ramp", "rounding", "split")
    return MatrixUnit(**{name: given[name] for name in names})


def traffic(given: Numbers) -> Traffic:
    return Traffic(*(given[name] for name in ("weight", "activation", "output", "bandwidth", "memory_efficiency")))


def fabric(given: Numbers) -> Fabric:
    return Fabric(**{name: given[name] for name in FABRIC})


def group(given: Numbers) -> Any:
    return divide(given["group"], given["stride"], fabric(given))


def attention(given: Numbers) -> Timing:
    work = Scores(*(given[name] for name in ("flops", "scores", "longest", "moved", "tiles")))
    engine = (given[name] for name in ("matrix", "vector", "cores", "bandwidth", "setup", "pipelined"))
    return attention_time(work, AttentionEngine(*engine), given["launch"])


def moved_by_gemm(given: Numbers) -> Any:
    m, n, k = (given[name] for name in "mnk")
    return given["batch"] * (n * k * given["weight"] + m * (k * given["activation"] + n * given["output"]))


def inside(given: Numbers) -> float:
    """Each member of a part gets the shards of the others over its link."""
    lies = group(given)
    return float(given["moved"] * (lies.inside - 1) / lies.inside / lies.bandwidth)


overheads = st.one_of(st.just(0.0), rates(1e-8, 1e-4))
UNIT: dict[str, Any] = {
    "peak": rates(1e13, 1e17),
    "efficiency": shares,
    "cores": st.integers(4, 512).map(float),
    "tile_m": st.sampled_from((64.0, 128.0, 256.0)),
    "tile_n": st.sampled_from((64.0, 128.0, 256.0)),
    "operands": st.one_of(st.just(np.inf), rates(1e12, 1e15)),
    "k_ramp": st.one_of(st.just(0.0), rates(1.0, 1e4)),
    "rounding": st.floats(0, 1),
    "split": overheads,
    "weight": bytes_per_value,
    "activation": bytes_per_value,
    "output": bytes_per_value,
    "bandwidth": rates(1e11, 3e13),
    "memory_efficiency": shares,
    "launch": launches,
}
FABRIC: dict[str, Any] = {
    "inner_size": st.integers(2, 1024).map(float),
    "inner_bandwidth": rates(1e10, 2e12),
    "inner_latency": rates(1e-7, 1e-4),
    "outer_bandwidth": rates(1e9, 2e11),
    "outer_latency": rates(1e-6, 1e-3),
    "launch": launches,
    "mesh": st.sampled_from((0.0, 1.0)),
    "axes": st.sampled_from((0.0, 2.0, 3.0)),
    "reduces": st.sampled_from((0.0, 1.0)),
    "second": overheads,
    "switch": shares,
    "hop": overheads,
}
EXCHANGE = FABRIC | {
    "moved": rates(1.0, 1e10),
    "group": st.integers(1, 512).map(float),
    "stride": st.sampled_from((1.0, 4.0, 8.0)),
}
#: what a law asks with `if`: the same for a whole array
BRANCHES = ("mesh", "axes", "reduces")
LINKS, LATENCIES = ("inner_bandwidth", "outer_bandwidth"), ("inner_latency", "outer_latency", "launch")
work = rates(1.0, 1e16)
roofs: dict[str, Any] = {"matrix": rates(1e12, 1e16), "bandwidth": rates(1e11, 3e13), "launch": launches}

LAWS: dict[str, Law] = {
    "gemm": Law(
        lambda given: gemm_time(*(given[name] for name in ("m", "n", "k", "batch")), unit(given), traffic(given),
                                given["launch"], given["ramp"]),
        UNIT | {"m": rows, "n": sizes, "k": sizes, "batch": st.integers(1, 64).map(float), "ramp": overheads},
        ("m", "n", "k", "batch"),
        ("peak", "efficiency", "bandwidth", "memory_efficiency", "operands"),
        ("launch", "ramp", "k_ramp", "rounding", "split"),
        lambda given: (given["m"] > 0) * (given["launch"] + max(
            2 * given["batch"] * given["m"] * given["n"] * given["k"] / (given["efficiency"] * given["peak"]),
            moved_by_gemm(given) / (given["memory_efficiency"] * given["bandwidth"]))),
    ),
    "grouped gemm": Law(
        lambda given: grouped_gemm_time(given["rows"], given["hit"], (given["n"], given["k"]), unit(given),
                                        traffic(given), (given["launch"], given["pad"]), given["sorting"]),
        UNIT | {"rows": rows, "hit": st.floats(1, 256), "n": sizes, "k": sizes, "pad": st.floats(0, 128),
                "sorting": overheads},
        ("rows", "hit", "n", "k"),
        ("peak", "efficiency", "bandwidth", "memory_efficiency"),
        ("launch", "pad", "k_ramp", "sorting"),
        lambda given: (given["rows"] > 0) * (given["launch"] + max(
            2 * given["rows"] * given["n"] * given["k"] / (given["efficiency"] * given["peak"]),
            given["hit"] * given["n"] * given["k"] * given["weight"] / given["bandwidth"])),
    ),
    "attention": Law(
        attention,
        roofs | {"flops": work, "scores": work, "longest": work, "moved": work, "tiles": rows, "setup": overheads,
                 "vector": rates(1e10, 1e14), "cores": st.integers(4, 512).map(float),
                 "pipelined": st.sampled_from((0.0, 1.0))},
        ("flops", "scores", "longest", "moved", "tiles"),
        ("matrix", "vector", "bandwidth"),
        ("launch", "setup"),
        lambda given: given["launch"] + max(given["flops"] / given["matrix"], given["scores"] / given["vector"],
                                            given["moved"] / given["bandwidth"]),
    ),
    "scan": Law(
        lambda given: scan_time(*(given[name] for name in ("flops", "moved", "matrix", "bandwidth", "launch"))),
        roofs | {"flops": work, "moved": work},
        ("flops", "moved"),
        ("matrix", "bandwidth"),
        ("launch",),
        lambda given: given["launch"] + max(given["flops"] / given["matrix"], given["moved"] / given["bandwidth"]),
    ),
    "vector": Law(
        lambda given: vector_time(*(given[name] for name in ("operations", "moved", "matrix", "bandwidth", "launch"))),
        roofs | {"operations": work, "moved": work},
        ("operations", "moved"),
        ("matrix", "bandwidth"),
        ("launch",),
        lambda given: given["launch"] + max(given["operations"] / given["matrix"],
                                            given["moved"] / given["bandwidth"]),
    ),
    "all-reduce": Law(
        lambda given: all_reduce_time(given["moved"], group(given), fabric(given)),
        EXCHANGE, ("moved",), (*LINKS, "switch"), (*LATENCIES, "second"), inside,
    ),
    "all-gather": Law(
        lambda given: all_gather_time(given["moved"], group(given), fabric(given)),
        EXCHANGE, ("moved",), LINKS, (*LATENCIES, "hop"), inside,
    ),
    "all-to-all": Law(
        lambda given: all_to_all_time(given["moved"], given["fan"], given["relayed"], group(given), fabric(given),
                                      given["fixed"]),
        EXCHANGE | {"fan": st.integers(1, 16).map(float), "relayed": st.sampled_from((0.0, 1.0)), "fixed": overheads},
        ("moved", "fan"), LINKS, (*LATENCIES, "fixed"),
    ),
    "send": Law(
        lambda given: send_time(given["moved"], given["inside"], fabric(given)),
        FABRIC | {"moved": rates(1.0, 1e10), "inside": st.booleans()},
        ("moved",), LINKS, LATENCIES,
        lambda given: given["launch"] + given["moved"] / max(given[link] for link in LINKS),
    ),
    "host": Law(
        lambda given: host_time(given["sequences"], given["step"], given["each"]),
        {"sequences": rows, "step": overheads, "each": overheads},
        ("sequences",), (), ("step", "each"),
    ),
    "two microbatches": Law(
        lambda given: two_microbatches(given["compute"], given["exchange"], given["tax"], given["floor_share"]
                                       * given["compute"]),
        {"compute": rates(1e-6, 1.0), "exchange": overheads, "tax": st.floats(0, 1), "floor_share": st.floats(0, 1)},
        ("compute", "exchange"), (), ("tax",),
        lambda given: given["compute"] + given["exchange"],
    ),
}  # fmt: skip


def cases(name: str) -> st.SearchStrategy[Numbers]:
    return st.fixed_dictionaries(LAWS[name].numbers)


@pytest.mark.parametrize("name", LAWS)
@settings(max_examples=60, deadline=None)
@given(st.data(), st.floats(1, 16))
def test_more_work_never_takes_less_time(name: str, data: st.DataObject, factor: float) -> None:
    law = LAWS[name]
    given, which = data.draw(cases(name)), data.draw(st.sampled_from(law.work))
    grown = given[which] * factor
    larger = given | {which: np.ceil(grown) if given[which] == round(given[which]) else grown}
    assert law.seconds(larger) * EXACT >= law.seconds(given)


@pytest.mark.parametrize("name", [name for name, law in LAWS.items() if law.rates])
@settings(max_examples=60, deadline=None)
@given(st.data(), st.floats(1, 16))
def test_a_faster_resource_never_makes_it_slower(name: str, data: st.DataObject, factor: float) -> None:
    law = LAWS[name]
    given, which = data.draw(cases(name)), data.draw(st.sampled_from(law.rates))
    assert law.seconds(given | {which: given[which] * factor}) <= law.seconds(given) * EXACT


@pytest.mark.parametrize("name", LAWS)
@settings(max_examples=60, deadline=None)
@given(st.data(), st.floats(1, 16))
def test_a_dearer_overhead_never_makes_it_faster(name: str, data: st.DataObject, factor: float) -> None:
    law = LAWS[name]
    given, which = data.draw(cases(name)), data.draw(st.sampled_from(law.costs))
    most = 1.0 if which in ("rounding", "tax") else np.inf
    assert law.seconds(given | {which: min(given[which] * factor, most)}) * EXACT >= law.seconds(given)


@pytest.mark.parametrize("name", LAWS)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_time_lies_between_the_busiest_resource_and_the_sum(name: str, data: st.DataObject) -> None:
    law = LAWS[name]
    given = data.draw(cases(name))
    found = law.time(given)
    seconds = law.seconds(given)
    assert np.isfinite(seconds)
    assert seconds >= 0
    assert seconds * EXACT >= law.least(given)
    if isinstance(found, Timing):
        parts = [found.matrix, found.vector, found.memory, found.link, found.fixed]
        assert min(float(part) for part in parts) >= 0
        assert seconds <= sum(parts) * EXACT


@pytest.mark.parametrize("name", LAWS)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_an_array_is_its_rows(name: str, data: st.DataObject) -> None:
    law = LAWS[name]
    listed = data.draw(st.lists(cases(name), min_size=2, max_size=5))
    same = {branch: listed[0][branch] for branch in BRANCHES if branch in listed[0]}
    listed = [given | same for given in listed]
    stacked = {key: np.array([given[key] for given in listed]) for key in listed[0]} | same
    np.testing.assert_allclose(law.seconds(stacked), [law.seconds(given) for given in listed], rtol=1e-12)


@pytest.mark.parametrize("name", ["gemm", "grouped gemm", "all-reduce", "all-gather", "all-to-all", "send"])
@given(st.data())
def test_no_work_takes_no_time(name: str, data: st.DataObject) -> None:
    law = LAWS[name]
    assert law.seconds(data.draw(cases(name)) | {law.work[0]: 0.0}) == 0


@given(st.lists(rates(1e-9, 1.0), min_size=3, max_size=3))
def test_overlapped_resources_take_the_longest_at_least_and_the_sum_at_most(times: list[float]) -> None:
    a, b, c = times
    assert max(a, b) <= overlapped(a, b) * EXACT <= (a + b) * EXACT**2
    assert max(times) <= overlapped3(a, b, c) * EXACT <= sum(times) * EXACT**2


# Routing: counts, not seconds

ranks = st.sampled_from((1.0, 2.0, 3.0, 8.0, 36.0, 72.0, 320.0, 1024.0))
skews = st.builds(Routing, imbalance=st.floats(1, 2), spread=st.floats(0.3, 1), chance=st.sampled_from((0.0, 1.0)))


@settings(max_examples=300)
@given(rates(0.1, 1e6), st.integers(1, 16).map(float), ranks, st.integers(1, 128).map(float), skews, st.floats(1, 8))
def test_the_fullest_rank(tokens, topk, ep, local, routing, factor) -> None:
    topk = min(topk, ep * local)
    rows, hit = busiest_rank(tokens, topk, ep, local, routing)
    assert tokens * topk / ep <= rows * EXACT
    assert rows <= max(tokens * min(topk, local), min(tokens * topk, 1)) * EXACT
    assert 0 < hit <= local * EXACT
    assert hit * EXACT >= experts_hit(tokens, topk, local * ep, local, routing.spread) * (1 - 1e-9)
    more, more_hit = busiest_rank(tokens * factor, topk, ep, local, routing)
    assert more * EXACT >= rows
    assert more_hit * EXACT >= hit
    together = busiest_rank(np.array([tokens, tokens * factor]), topk, ep, local, routing)
    np.testing.assert_allclose(together, [[rows, more], [hit, more_hit]], rtol=1e-12)
