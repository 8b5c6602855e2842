"""Speculative decoding: how many steps a request takes when each checks a few guessed tokens."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import InputError

Array = NDArray[Any]

#: halvings of an interval of 1: to the last bit of a double
HALVINGS = 52


def steps_with_guesses(tokens: Array, guesses: int, acceptance: float, random: np.random.Generator) -> Array:
    """Decode steps that write `tokens` each, by chance: a step writes one token and the guesses before the first miss.

    `acceptance` is the mean share of the guesses that is accepted, as an engine prints it. Each guess hits with the
    same probability p, and one behind a miss is lost: sum of p^i over i = 1 .. guesses = guesses x acceptance
    (Leviathan et al. 2023, arXiv:2211.17192, section 3.1). Raises InputError.
    """
    if not 0 <= acceptance <= 1:
        raise InputError(f"acceptance is a share between 0 and 1, got {acceptance}.")
    hit = hit_probability(guesses, acceptance)
    steps, left = np.zeros(tokens.shape, np.int64), tokens.astype(np.int64)
    open_ = np.flatnonzero(left > 0)
    while open_.size:
        misses = random.geometric(max(1 - hit, np.finfo(float).tiny), open_.size) if hit < 1 else guesses + 1
        left[open_] -= np.minimum(misses, guesses + 1)
        steps[open_] += 1
        open_ = open_[left[open_] > 0]
    return steps


def hit_probability(guesses: int, acceptance: float) -> float:
    """The p with sum of p^i over i = 1 .. guesses = guesses x acceptance, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        share = sum(middle**i for i in range(1, guesses + 1)) / guesses
        low, high = (middle, high) if share < acceptance else (low, middle)
    return high
