"""How long prompts and answers are: draws of whole tokens, at least 1.

Each law is a frozen noun with `draw(count, random)`; the same law gives think times with `seconds(count, random)`.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from silicast.errors import InputError
from silicast.scenario import MOST_TOKENS

Array = NDArray[Any]


class Lengths(Protocol):
    """A law of lengths."""

    @property
    def mean(self) -> float:
        """The mean, before rounding and clipping."""

    def draw(self, count: int, random: np.random.Generator) -> Array:
        """`count` lengths in tokens, int64, from 1 to MOST_TOKENS."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """Every request alike."""

    tokens: int

    def __post_init__(self) -> None:
        _check("tokens", self.tokens)

    @property
    def mean(self) -> float:
        """The length itself."""
        return float(self.tokens)

    def draw(self, count: int, random: np.random.Generator) -> Array:  # noqa: ARG002 - the protocol of all laws
        """The same number `count` times; nothing is drawn."""
        return np.full(count, self.tokens, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every length from `low` to `high`, both included, equally often."""

    low: int
    high: int

    def __post_init__(self) -> None:
        _check("low", self.low)
        _check("high", self.high)
        if self.low > self.high:
            raise InputError(f"A uniform length needs low <= high, got {self.low:,} and {self.high:,}.")

    @property
    def mean(self) -> float:
        """Halfway."""
        return (self.low + self.high) / 2

    def draw(self, count: int, random: np.random.Generator) -> Array:
        """Whole numbers, equally often."""
        return random.integers(self.low, self.high, count, dtype=np.int64, endpoint=True)


@dataclass(frozen=True, slots=True)
class Lognormal:
    """ln L is normal, with given mean of L and `spread` = standard deviation over mean: s^2 = ln(1 + spread^2)."""

    mean: float
    spread: float

    def __post_init__(self) -> None:
        _check("mean", self.mean)
        _spread(self.spread)

    def draw(self, count: int, random: np.random.Generator) -> Array:
        """exp(ln mean - s^2 / 2 + s z), rounded."""
        return _whole(lognormal(self.mean, self.spread, count, random))


@dataclass(frozen=True, slots=True)
class Normal:
    """A normal law whose draws are moved to `low` and `high` where they lie outside, as load generators do."""

    mean: float
    deviation: float
    low: int = 1
    high: int = MOST_TOKENS

    def __post_init__(self) -> None:
        for name in ("mean", "low", "high"):
            _check(name, getattr(self, name))
        if not 0 <= self.deviation < np.inf:
            raise InputError(f"deviation must be zero or positive tokens, got {self.deviation:g}.")
        if self.low > self.high:
            raise InputError(f"A normal length needs low <= high, got {self.low:,} and {self.high:,}.")

    def draw(self, count: int, random: np.random.Generator) -> Array:
        """mean + deviation z between the ends, rounded."""
        return _whole(np.clip(random.normal(self.mean, self.deviation, count), self.low, self.high))


@dataclass(frozen=True, slots=True)
class Empirical:
    """Lengths somebody measured, each as likely as its weight; shape `(value,)`, all alike without weights."""

    values: Array
    weights: Array | None = None

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim != 1 or values.size == 0:
            raise InputError("An empirical length needs at least one value.")
        for value in (values.min(), values.max()):
            _check("value", value)
        if self.weights is not None:
            _weights(np.asarray(self.weights, dtype=float), values.size)

    @property
    def mean(self) -> float:
        """The weighted mean of the values."""
        return float(np.average(self.values, weights=self.weights))

    def draw(self, count: int, random: np.random.Generator) -> Array:
        """With replacement."""
        chances = None
        if self.weights is not None:
            weights = np.asarray(self.weights, dtype=float)
            chances = weights / weights.sum()
        return random.choice(np.asarray(self.values, dtype=np.int64), count, p=chances)


def lognormal(mean: float, spread: float, count: int, random: np.random.Generator) -> Array:
    """Positive numbers with this mean and this standard deviation over mean."""
    variance = np.log1p(spread**2)
    return np.asarray(np.exp(np.log(mean) - variance / 2 + np.sqrt(variance) * random.standard_normal(count)))


def _whole(values: Array) -> Array:
    return np.clip(np.rint(values), 1, MOST_TOKENS).astype(np.int64)


def _check(name: str, value: Any) -> None:
    if not 1 <= value <= MOST_TOKENS:
        raise InputError(f"A length in tokens ({name}) must be from 1 to {MOST_TOKENS:,}, got {value:g}.")


def _spread(value: float) -> None:
    if not 0 <= value < np.inf:
        raise InputError(f"spread is the standard deviation over the mean, zero or positive, got {value:g}.")


def _weights(weights: Array, count: int) -> None:
    if weights.shape != (count,):
        raise InputError(f"An empirical length needs one weight per value, got {weights.size} for {count}.")
    if not (np.all(np.isfinite(weights)) and np.all(weights >= 0) and weights.sum() > 0):
        raise InputError("Weights of an empirical length must be zero or positive, and one of them positive.")
