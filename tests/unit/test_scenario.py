"""The nouns of the question refuse what cannot be, one clear line each, whole numbers or arrays."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from silicast.errors import InputError, LayoutError
from silicast.scenario import MOST_DEVICES, MOST_REQUESTS, MOST_TOKENS, Layout, Load, Speculation, Workload
from silicast.units import duration_ms

WILD = st.one_of(
    st.integers(-(10**40), 10**40), st.floats(), st.sampled_from([10**500, -(10**500), math.nan, math.inf, 0, 0.5])
)
SIZES = ("tp", "pp", "ep", "attention_dp", "cp")


def outcome(build: Callable[[], Any]) -> Any:
    """The noun, or the one line of an input error; anything else fails the test."""
    try:
        return build()
    except InputError as error:
        return str(error)


@given(st.sampled_from(SIZES), WILD)
def test_a_size_is_a_whole_number_in_range_or_refused(name: str, value: Any) -> None:
    found = outcome(lambda: Layout(**{name: value}))
    if isinstance(found, str):
        assert name in found
        assert "\n" not in found
        assert len(found) < 200
    else:
        assert 1 <= value <= MOST_DEVICES
        assert value == int(value)
        assert found.devices >= 1


@given(st.sampled_from(("input_tokens", "output_tokens", "prefix_hit", "concurrency", "rate", "requests")), WILD)
def test_a_workload_is_possible_or_refused(name: str, value: Any) -> None:
    most = {"input_tokens": MOST_TOKENS, "output_tokens": MOST_TOKENS, "prefix_hit": 1}.get(name, MOST_REQUESTS)
    found = outcome(lambda: Workload(**{name: value}))
    if isinstance(found, str):
        assert name in found
        assert "\n" not in found
        assert len(found) < 200
    else:
        assert 0 <= value <= most
        assert value > 0 or name == "prefix_hit"


@given(st.lists(st.floats(-2, 64), min_size=1, max_size=5))
def test_one_bad_row_spoils_an_array(values: list[float]) -> None:
    good = all(value >= 1 and value == int(value) for value in values)
    if good:
        assert np.size(Layout(tp=np.array(values)).devices) == len(values)
    else:
        with pytest.raises(LayoutError, match="tp must be a whole number"):
            Layout(tp=np.array(values))


def test_experts_divide_the_ranks_of_a_stage() -> None:
    layout = Layout(tp=4, attention_dp=8, pp=2, ep=16)
    assert (layout.devices, layout.stage_devices, layout.expert_tp) == (64, 32, 2)
    with pytest.raises(LayoutError, match="ep must divide tp x attention_dp x cp = 8, got ep = 3"):
        Layout(tp=8, ep=3)


def test_a_closed_loop_is_not_open() -> None:
    with pytest.raises(InputError, match="not both"):
        Workload(concurrency=8, rate=1.0)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9), st.integers(0, 9))
def test_two_microbatches_are_the_whole(sequences: int, tokens: int, decodes: int, drafts: int) -> None:
    load = Load(sequences, tokens, 0, decodes, 100, 1 + drafts)
    half = load.split(2)
    assert 2 * half.tokens == load.tokens == sequences * tokens + decodes * (1 + drafts)
    assert 2 * half.logits == load.logits


def test_rows_are_picked_with_all_their_sizes() -> None:
    layout = Layout(tp=np.array([1.0, 2.0, 4.0]), pp=2)
    assert layout.pick(2).whole() == Layout(tp=4, pp=2)
    assert np.array_equal(np.asarray(layout.pick([0, 2]).devices), [2, 8])


def test_accepted_drafts_add_to_the_yield() -> None:
    assert Speculation(2, 0.75).yield_per_step == 2.5
    assert Speculation().yield_per_step == 1


@given(st.floats(1e-3, 1e6), st.sampled_from(["ms", "s", "us", "min", ""]))
def test_durations_are_read_with_their_unit(value: float, unit: str) -> None:
    factor = {"ms": 1, "": 1, "s": 1e3, "us": 1e-3, "min": 6e4}[unit]
    assert duration_ms(f"{value}{unit}") == pytest.approx(value * factor)


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    found = outcome(lambda: duration_ms(text))
    assert isinstance(found, str) or 0 < found < math.inf
