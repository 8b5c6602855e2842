"""Lengths, shared prefixes and conversations: means and spreads as asked for, prefixes shared as meant."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.errors import InputError
from silicast.serving.lengths import Empirical, Fixed, Lognormal, Normal, Uniform
from silicast.serving.prefixes import Prefixes, block_hashes
from silicast.serving.sessions import Think, Turns


def random(seed: int = 7) -> np.random.Generator:
    return np.random.default_rng(seed)


LAWS = st.one_of(
    st.builds(Fixed, st.integers(1, 10**8)),
    st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)).map(lambda ends: Uniform(ends[0], ends[0] + ends[1])),
    st.builds(Lognormal, st.floats(1, 1e6), st.floats(0, 20)),
    st.builds(Normal, st.floats(1, 1e6), st.floats(0, 1e6)),
    st.lists(st.integers(1, 10**8), min_size=1, max_size=9).map(lambda values: Empirical(np.array(values))),
)


@given(LAWS, st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_lengths_are_whole_and_at_least_one(law: Any, seed: int) -> None:
    drawn = law.draw(100, random(seed))
    assert drawn.dtype == np.int64
    assert drawn.shape == (100,)
    assert drawn.min() >= 1
    assert drawn.max() <= 10**8
    assert np.array_equal(drawn, law.draw(100, random(seed)))


@pytest.mark.parametrize(
    ("law", "spread"),
    [
        (Fixed(300), 0.0),
        (Uniform(100, 500), np.sqrt((401**2 - 1) / 12) / 300),
        (Lognormal(1000.0, 1.0), 1.0),
        (Lognormal(200.0, 0.3), 0.3),
        (Normal(500.0, 50.0), 0.1),
        (Empirical(np.array([100, 500]), np.array([3.0, 1.0])), np.sqrt(0.75 * 0.25) * 400 / 200),
    ],
)
def test_the_mean_and_the_spread_are_those_asked_for(law: Any, spread: float) -> None:
    drawn = law.draw(200_000, random())
    assert drawn.mean() == pytest.approx(law.mean, rel=5 * spread / np.sqrt(drawn.size) + 1e-4)
    assert drawn.std() / drawn.mean() == pytest.approx(spread, rel=0.03, abs=1e-9)


def test_a_uniform_length_reaches_both_ends() -> None:
    assert set(Uniform(3, 5).draw(200, random()).tolist()) == {3, 4, 5}


def test_a_normal_length_stays_between_its_ends() -> None:
    drawn = Normal(100.0, 80.0, 50, 120).draw(5000, random())
    assert (drawn.min(), drawn.max()) == (50, 120)


def test_empirical_lengths_are_those_measured() -> None:
    assert set(Empirical(np.array([7, 9])).draw(100, random()).tolist()) == {7, 9}


@given(
    st.lists(st.integers(1, 900), min_size=1, max_size=30), st.integers(1, 4), st.integers(1, 64), st.integers(0, 90)
)
@settings(max_examples=100, deadline=None)
def test_two_prompts_share_exactly_their_common_prefix(inputs: list[int], groups: int, block: int, prefix: int) -> None:
    tokens, group = np.array(inputs), np.arange(len(inputs)) % groups - 1
    offsets, ids = block_hashes(tokens, group, np.arange(tokens.size), prefix, block)
    lists = [ids[a:b].tolist() for a, b in pairwise(offsets)]
    assert [len(one) for one in lists] == [length // block for length in inputs]
    for i, one in enumerate(lists):
        for j in range(i):
            agree = [a == b for a, b in zip(one, lists[j], strict=False)]
            common = min(prefix // block, len(one), len(lists[j])) if group[i] == group[j] >= 0 else 0
            assert agree == [True] * common + [False] * (len(agree) - common)
            assert len(set(one) & set(lists[j])) == common


def test_a_later_turn_begins_with_the_earlier_ones() -> None:
    offsets, ids = block_hashes(np.array([100, 230, 90]), np.array([0, 0, 0]), np.array([0, 0, 1]), 40, 20)
    first, second, other = (ids[a:b].tolist() for a, b in pairwise(offsets))
    assert second[: len(first)] == first
    assert other[:2] == first[:2]
    assert not set(other[2:]) & set(second)


def test_popular_groups_are_asked_for_more() -> None:
    counts = np.bincount(Prefixes(4, 100, skew=1.0).draw(100_000, random()), minlength=4) / 100_000
    assert counts == pytest.approx(np.array([12, 6, 4, 3]) / 25, abs=0.01)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=20), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_turns_come_after_their_time_to_think(counts: list[int], seed: int) -> None:
    turns = Turns.of(np.array(counts))
    draws = random(seed)
    thinking = Think(30.0).draw(turns.session.size, draws)
    times = turns.arrivals(np.sort(draws.uniform(0, 100, len(counts))), thinking)
    later = turns.turn > 0
    assert np.array_equal(np.bincount(turns.session), counts)
    assert np.diff(times)[later[1:]] == pytest.approx(thinking[later], rel=1e-9, abs=1e-9)


def test_a_conversation_grows_by_what_was_said_and_answered() -> None:
    turns = Turns.of(np.array([3, 2]))
    said, answered = np.array([10, 20, 30, 5, 6]), np.array([100, 200, 300, 7, 8])
    assert turns.contexts(said, answered, 10**6).tolist() == [10, 130, 360, 5, 18]
    assert turns.contexts(said, answered, 200).tolist() == [10, 130, 200, 5, 18]


def test_thinking_takes_its_mean() -> None:
    drawn = Think(20.0, 1.5).draw(200_000, random())
    assert drawn.mean() == pytest.approx(20, rel=0.02)
    assert Think(4.0, 0.0).draw(3, random()).tolist() == pytest.approx([4.0] * 3)
    assert Think(0.0).draw(2, random()).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Fixed(0), "from 1 to 100,000,000, got 0"),
        (lambda: Uniform(5, 3), "low <= high"),
        (lambda: Lognormal(float("nan"), 1.0), "got nan"),
        (lambda: Lognormal(10.0, -1.0), "spread is"),
        (lambda: Normal(10.0, float("inf")), "deviation must be"),
        (lambda: Normal(10.0, 1.0, 9, 8), "low <= high"),
        (lambda: Empirical(np.array([])), "at least one value"),
        (lambda: Empirical(np.array([5, 0])), "got 0"),
        (lambda: Empirical(np.array([5, 6]), np.array([1.0])), "one weight per value"),
        (lambda: Empirical(np.array([5, 6]), np.array([0.0, 0.0])), "one of them positive"),
        (lambda: Prefixes(0, 5), "Prefix groups"),
        (lambda: Prefixes(1, -5), "Prefix tokens"),
        (lambda: Prefixes(1, 5, -1.0), "skew"),
        (lambda: block_hashes(np.array([5]), np.array([0]), np.array([0]), 0, 0), "Tokens of a block"),
        (lambda: Think(-1.0), "time to think"),
        (lambda: Think(1.0, float("nan")), "spread of the time"),
    ],
)
def test_impossible_lengths_are_refused(make: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()
