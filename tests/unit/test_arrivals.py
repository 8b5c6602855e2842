"""Arrivals: the rate that was asked for, the burstiness that was asked for, sorted, and the same for the same seed."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.errors import InputError
from silicast.serving.arrivals import Constant, Diurnal, Ramp, Rate, first, renewal, within

DAY = 86_400.0


def random(seed: int = 7) -> np.random.Generator:
    return np.random.default_rng(seed)


@st.composite
def ramps(draw: Any) -> Ramp:
    gaps = draw(st.lists(st.just(0.0) | st.floats(1e-3, 1e4), min_size=1, max_size=6))
    rates = draw(st.lists(st.just(0.0) | st.floats(1e-6, 1e3), min_size=len(gaps) + 1, max_size=len(gaps) + 1))
    if not any(rates):
        rates[-1] = 1.0
    return Ramp(np.concatenate(([0.0], np.cumsum(gaps))), np.array(rates))


RATES = st.one_of(
    st.floats(1e-3, 1e6).map(Constant),
    st.builds(Diurnal, st.floats(1e-3, 1e4), st.floats(0, 1), st.floats(1, 1e6), st.floats(-1e5, 1e5)),
    ramps(),
)


@given(RATES, st.sampled_from([0.2, 1.0, 4.0, np.inf]), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_times_are_sorted_and_not_before_the_start(rate: Rate, burstiness: float, seed: int) -> None:
    times = first(rate, burstiness, 200, random(seed))
    assert times.size <= 200
    assert np.all(times >= 0)
    assert np.all(np.diff(times) >= 0)


@given(RATES, st.lists(st.floats(0, 1e4), min_size=1, max_size=20))
@settings(max_examples=200, deadline=None)
def test_the_inverse_is_the_inverse(rate: Rate, expected: list[float]) -> None:
    wanted = np.array(expected)
    times = rate.when(wanted)
    reached = np.isfinite(times)
    assert rate.expected(times[reached]) == pytest.approx(wanted[reached], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 9.0])
def test_gaps_have_the_mean_and_the_variation_asked_for(burstiness: float) -> None:
    gaps = np.diff(first(Constant(20.0), burstiness, 200_000, random()))
    assert gaps.mean() == pytest.approx(1 / 20, rel=5 / np.sqrt(burstiness * gaps.size))
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.03)


def test_poisson_counts_have_their_mean_as_variance() -> None:
    counts = np.bincount(within(Constant(5.0), 1.0, 20_000.0, random()).astype(int), minlength=20_000)
    assert counts.mean() == pytest.approx(5, abs=5 * np.sqrt(5 / 20_000))
    assert counts.var() == pytest.approx(5, rel=0.06)


def test_infinite_burstiness_ticks() -> None:
    assert first(Constant(4.0), np.inf, 3, random()).tolist() == [0.25, 0.5, 0.75]
    assert within(Constant(4.0), np.inf, 1.0, random()).tolist() == [0.25, 0.5, 0.75]


def test_the_same_seed_gives_the_same_times_and_more_requests_extend_them() -> None:
    few, many = (first(Constant(3.0), 0.5, count, random(11)) for count in (1000, 5000))
    assert np.array_equal(few, many[:1000])
    assert not np.array_equal(few, first(Constant(3.0), 0.5, 1000, random(12)))


def test_a_duration_and_a_count_draw_the_same_process() -> None:
    inside = within(Constant(3.0), 1.0, 100.0, random(5))
    assert np.all(inside < 100)
    assert abs(inside.size - 300) < 6 * np.sqrt(300)


@pytest.mark.parametrize("burstiness", [0.01, 1.0])
def test_a_duration_is_filled_to_its_end(burstiness: float) -> None:
    counts = [within(Constant(2.0), burstiness, 50.0, random(seed)).size for seed in range(300)]
    spread = np.sqrt(100 / burstiness)
    assert np.mean(counts) == pytest.approx(100, abs=5 * spread / np.sqrt(300) + 0.5 / burstiness + 1)


def test_a_day_has_its_peak_and_its_night() -> None:
    times = within(Diurnal(2.0, 0.8, DAY, peak=14 * 3600), 1.0, 20 * DAY, random()) % DAY
    hours = np.bincount((times / 3600).astype(int), minlength=24) / 20 / 3600
    middle = np.arange(24) + 0.5
    wave = np.sinc(1 / 24)  # the mean of the cosine over one hour
    expected = 2 * (1 + 0.8 * wave * np.cos(2 * np.pi * (middle - 14) / 24))
    assert hours == pytest.approx(expected, abs=5 * np.sqrt(3.6 / 20 / 3600))


def test_a_ramp_rises_in_a_straight_line() -> None:
    ramp = Ramp(np.array([0.0, 1000.0]), np.array([0.0, 100.0]))
    times = within(ramp, 1.0, 1000.0, random())
    assert times.size == pytest.approx(50_000, abs=5 * np.sqrt(50_000))
    # a linear density has its mean at two thirds
    assert times.mean() == pytest.approx(2000 / 3, abs=5 * 1000 / np.sqrt(18 * 50_000))


def test_a_step_and_an_end() -> None:
    steps = Ramp(np.array([0.0, 10.0, 10.0, 20.0, 20.0]), np.array([1.0, 1.0, 9.0, 9.0, 0.0]))
    times = first(steps, np.inf, 1000, random())
    assert times.size == 100
    assert np.sum(times <= 10) == 10
    assert times[-1] == pytest.approx(20)


def test_points_of_unit_rate_may_be_none() -> None:
    assert renewal(1.0, 0, random()).size == 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Constant(0.0), "rate of arrivals must be positive and finite, got 0"),
        (lambda: Constant(np.nan), "got nan"),
        (lambda: Constant(np.inf), "got inf"),
        (lambda: Diurnal(1.0, 1.5, DAY), "swing is a share"),
        (lambda: Diurnal(1.0, 0.5, 0.0), "period of arrivals must be positive"),
        (lambda: Diurnal(1.0, 0.5, 1.0, np.nan), "peak is a time"),
        (lambda: Ramp(np.array([0.0]), np.array([1.0])), "two or more knots"),
        (lambda: Ramp(np.array([1.0, 2.0]), np.array([1.0, 1.0])), "must start at 0"),
        (lambda: Ramp(np.array([0.0, 5.0, 4.0]), np.ones(3)), "never go back"),
        (lambda: Ramp(np.array([0.0, 5.0]), np.array([1.0, -1.0])), "zero or positive"),
        (lambda: Ramp(np.array([0.0, 5.0]), np.zeros(2)), "sends no request"),
        (lambda: first(Constant(1.0), 0.0, 5, random()), "burstiness must be positive"),
        (lambda: first(Constant(1.0), 1.0, -1, random()), "number of requests"),
        (lambda: within(Constant(1.0), 1.0, 0.0, random()), "duration"),
        (lambda: within(Constant(1e9), 1.0, 1e9, random()), "at most 100,000,000"),
    ],
)
def test_what_cannot_be_sent_is_refused(make: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()
