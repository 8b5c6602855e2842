"""Draws, ranges, tiers and the tree of parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from silicast import api
from silicast.estimate import DRAWS, TIERS, Estimate, Part, Sampler, worst
from silicast.hardware import Number, Source
from silicast.scenario import Workload
from tests.strategies import rates
from tests.unit.pools import LLAMA, R1

SOURCE = Source(title="a measurement", date="2026")


def number(value: float, low: float, high: float, unit: str = "s") -> Number:
    return Number(value=value, low=low, high=high, unit=unit, source=SOURCE, confidence="low")


spreads = st.tuples(rates(1e-6, 1e15), st.floats(1.01, 10), st.floats(1.01, 10))


@given(spreads, st.integers(1, 300), st.text(max_size=20))
def test_half_of_the_draws_lie_on_either_side(spread: tuple[float, float, float], draws: int, key: str) -> None:
    value, below, above = spread
    drawn = np.atleast_1d(Sampler(draws).number(key, number(value, value / below, value * above)))
    assert np.all(np.isfinite(drawn))
    assert np.all(drawn > 0)
    assert (drawn < value * (1 - 1e-9)).sum() <= draws / 2
    assert (drawn > value * (1 + 1e-9)).sum() <= draws / 2


@given(spreads)
def test_eight_of_ten_draws_lie_in_the_range(spread: tuple[float, float, float]) -> None:
    value, below, above = spread
    drawn = Sampler(DRAWS).between("key", value, value / below, value * above)
    inside = np.mean((drawn >= value / below * (1 - 1e-9)) & (drawn <= value * above * (1 + 1e-9)))
    assert inside == pytest.approx(0.8, abs=0.02)
    assert np.median(drawn) == pytest.approx(value, rel=0.02)


@given(st.floats(0.01, 1), st.floats(1, 5))
def test_a_share_stays_a_share(value: float, spread: float) -> None:
    high = min(value * spread, 1.0)
    drawn = Sampler(64).number("share", number(value, value / spread, high, unit=""))
    assert np.all(np.asarray(drawn) <= 1)


def test_a_number_without_a_range_is_no_draw() -> None:
    assert Sampler(64).number("key", number(3.0, 3.0, 3.0)) == 3.0
    assert Sampler(0).number("key", number(3.0, 1.0, 9.0)) == 3.0


def test_one_key_is_one_uncertainty_and_two_keys_are_two() -> None:
    wide = number(1.0, 0.5, 2.0)
    first, again, other = Sampler(256).number("a", wide), Sampler(256).number("a", wide), Sampler(256).number("b", wide)
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(np.log(first), np.log(other))[0, 1]) < 0.2
    assert not np.array_equal(first, Sampler(256, seed=1).number("a", wide))


@given(st.lists(rates(1e-9, 1e9), min_size=1, max_size=50))
def test_an_estimate_is_ordered(samples: list[float]) -> None:
    found = Estimate.of(np.array(samples), "ms", "datasheet", "matrix")
    assert found.low <= found.value <= found.high
    assert min(samples) <= found.low
    assert found.high <= max(samples)
    assert list(found.to_json()) == ["value", "low", "high", "unit", "tier", "bound_by", "parts"]


def test_a_point_is_its_own_range() -> None:
    found = Estimate.of(5.0, "ms")
    assert (found.low, found.value, found.high) == (5, 5, 5)


def test_the_worst_tier_wins() -> None:
    assert worst(["measured", "datasheet", "calibrated"]) == "datasheet"
    assert worst(["calibrated", "measured"]) == "calibrated"
    assert worst([]) == "measured"
    assert TIERS[0] == "measured"


def test_a_part_says_what_it_is() -> None:
    leaf = Part("qkv", 1e-3, "s", "matrix", law="gemm", calls=80.0, flops=1e12, moved=1e9)
    tree = Part("step", 2e-3, "s", "matrix", parts=(leaf,))
    shown = tree.to_json()
    assert shown["parts"][0] == {
        "name": "qkv", "value": 1e-3, "unit": "s", "tier": "datasheet", "bound_by": "matrix", "law": "gemm",
        "calls": 80.0, "flops": 1e12, "bytes": 1e9,
    }  # fmt: skip


@pytest.mark.parametrize(("model", "chip", "tp"), [(LLAMA, "h100-sxm", 8), (R1, "ascend-910c", 16)])
def test_a_forecast_is_whole(model: str, chip: str, tp: int) -> None:
    told = api.forecast(model, chip, Workload(2048, 256, concurrency=8), tp=tp)
    assert {"ttft_ms", "tpot_ms", "e2e_ms", "decode_mfu", "decode_mbu", "prefill_mfu"} <= set(told.estimates)
    for name, estimate in told.estimates.items():
        assert 0 < estimate.low <= estimate.value <= estimate.high, name
        assert estimate.cite(), name
    for phase in ("decode", "prefill"):
        assert told.estimates[f"{phase}_mfu"].high <= 1
        assert told.estimates[f"{phase}_mbu"].high <= 1
    e2e, ttft, tpot = (told.estimates[f"{name}_ms"].value for name in ("e2e", "ttft", "tpot"))
    assert e2e == pytest.approx(ttft + 255 * tpot, rel=0.06)  # medians do not add up exactly


def test_the_band_holds_what_a_wider_range_gives() -> None:
    """A chip of which little is known has a wider band than its sibling with a full data sheet."""
    known = api.forecast(LLAMA, "h100-sxm", Workload(2048, 256, concurrency=8), tp=8).estimates["tpot_ms"]
    unknown = api.forecast(LLAMA, "ascend-910b", Workload(2048, 256, concurrency=8), tp=8).estimates["tpot_ms"]
    assert known.high / known.low < unknown.high / unknown.low < 4
