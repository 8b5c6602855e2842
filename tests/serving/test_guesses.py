"""Speculative decoding: accepted guesses are fewer steps."""

import numpy as np
import pytest

from silicast.errors import InputError
from silicast.serving.guesses import hit_probability, steps_with_guesses
from silicast.serving.requests import requests
from silicast.serving.simulate import Limits, simulate
from tests.serving.traffic import BLOCK, GUESSING


@pytest.mark.parametrize(("guesses", "acceptance"), [(1, 0.85), (3, 0.6), (2, 0.0), (4, 1.0)])
def test_steps_are_as_many_as_the_acceptance_says(guesses: int, acceptance: float) -> None:
    tokens = np.full(4000, 400)
    steps = steps_with_guesses(tokens, guesses, acceptance, np.random.default_rng(2))
    assert (tokens / steps).mean() == pytest.approx(1 + guesses * acceptance, rel=0.01)
    assert steps.min() >= np.ceil(400 / (1 + guesses))
    assert sum(hit_probability(guesses, acceptance) ** i for i in range(1, guesses + 1)) == pytest.approx(
        guesses * acceptance
    )


def test_nothing_to_write_takes_no_step() -> None:
    assert steps_with_guesses(np.array([0, 1]), 2, 0.5, np.random.default_rng(2)).tolist() == [0, 1]


def test_accepted_guesses_make_tokens_faster() -> None:
    traffic = requests(np.arange(50) * 2.0, 40, 100)
    limits = Limits(96, 12, 4000, BLOCK)
    tpot = [simulate(traffic, GUESSING, limits, acceptance=share).tpot.mean() for share in (0.0, 0.5, 1.0)]
    assert tpot[1] == pytest.approx(tpot[0] / 2, rel=0.05)
    assert tpot[2] == pytest.approx(tpot[0] / 3, rel=0.05)


def test_an_impossible_acceptance_is_refused() -> None:
    with pytest.raises(InputError, match=r"between 0 and 1, got 1\.2"):
        simulate(requests(0.0, 4, 4), GUESSING, Limits(96, 12, 400, BLOCK), acceptance=1.2)
