"""When requests arrive: renewal processes whose clock runs with the rate.

A process of unit rate is drawn once, x_1 < x_2 < ..., and stretched: the k-th request arrives when the expected number
of arrivals Lambda(t), the integral of the rate, reaches x_k. For exponential gaps this is the Poisson process of that
rate, exactly (time change; L. Devroye, Non-Uniform Random Variate Generation, 1986, ch. VI.1.3).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from silicast.errors import InputError

Array = NDArray[Any]

#: gaps drawn at a time where the number of arrivals is not known before
MOST_AT_ONCE = 1 << 20
#: bisections after which an interval of doubles cannot shrink further: their exponent and mantissa
BISECTIONS = 64
#: more arrivals than memory holds, which a slip of the pen asks for
MOST_ARRIVALS = 10**8


class Rate(Protocol):
    """A rate of arrivals over time."""

    def expected(self, time: Any) -> Any:
        """Lambda(t): arrivals expected up to `time` (s)."""

    def when(self, expected: Array) -> Array:
        """Its inverse: the time (s) at which so many arrivals are expected, infinite where that never happens."""


@dataclass(frozen=True, slots=True)
class Constant:
    """The same rate (requests/s) at all times."""

    rate: float

    def __post_init__(self) -> None:
        _positive("rate", self.rate)

    def expected(self, time: Any) -> Any:
        """Lambda(t) = r t."""
        return self.rate * time

    def when(self, expected: Array) -> Array:
        """t = x / r."""
        return np.asarray(expected / self.rate)


@dataclass(frozen=True, slots=True)
class Ramp:
    """A rate that runs straight from knot to knot: `times` (s, from 0) and `rates` (requests/s), shape `(knot,)`.

    Two knots at one time make a step. After the last knot its rate holds; 0 there ends the traffic.
    """

    times: Array
    rates: Array

    def __post_init__(self) -> None:
        times, rates = np.asarray(self.times, dtype=float), np.asarray(self.rates, dtype=float)
        if times.ndim != 1 or times.shape != rates.shape or times.size < 2:
            raise InputError("A rate schedule needs two or more knots, each a time and a rate.")
        if not (np.all(np.isfinite(times)) and times[0] == 0 and np.all(np.diff(times) >= 0)):
            raise InputError("The times of a rate schedule must start at 0 and never go back.")
        if not (np.all(np.isfinite(rates)) and np.all(rates >= 0)):
            raise InputError("The rates of a rate schedule must be zero or positive requests/s.")
        if not np.any(rates > 0):
            raise InputError("A rate schedule with no rate above zero sends no request.")

    def _knots(self) -> tuple[Array, Array, Array]:
        times, rates = np.asarray(self.times, dtype=float), np.asarray(self.rates, dtype=float)
        sums = np.diff(times) * (rates[1:] + rates[:-1]) / 2
        return times, rates, np.concatenate(([0.0], np.cumsum(sums)))

    def expected(self, time: Any) -> Any:
        """Lambda(t) = Lambda_i + r_i u + (r_{i+1} - r_i) u^2 / (2 d) with u = t - t_i in an interval of length d."""
        times, rates, sums = self._knots()
        place = np.clip(np.searchsorted(times, time, side="right") - 1, 0, times.size - 1)
        inside = np.asarray(time, dtype=float) - times[place]
        return sums[place] + rates[place] * inside + self._slopes(times, rates)[place] * inside**2 / 2

    def when(self, expected: Array) -> Array:
        """The root of the quadratic, written so that flat and steep intervals are both exact: u = 2 x / (r + root)."""
        times, rates, sums = self._knots()
        place = np.clip(np.searchsorted(sums, expected, side="right") - 1, 0, times.size - 1)
        rest = np.asarray(expected, dtype=float) - sums[place]
        slope = self._slopes(times, rates)[place]
        root = np.sqrt(np.maximum(rates[place] ** 2 + 2 * slope * rest, 0))
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = np.where(rest > 0, 2 * rest / (rates[place] + root), 0.0)
        return np.asarray(times[place] + inside)

    @staticmethod
    def _slopes(times: Array, rates: Array) -> Array:
        length = np.diff(times)
        rise = np.divide(np.diff(rates), length, out=np.zeros_like(length), where=length > 0)
        return np.append(rise, 0.0)


@dataclass(frozen=True, slots=True)
class Diurnal:
    """A day: r(t) = mean (1 + swing cos(2 pi (t - peak) / period)); `swing` 0 is flat, 1 falls to zero at night."""

    mean: float
    swing: float
    period: float
    peak: float = 0.0

    def __post_init__(self) -> None:
        _positive("mean rate", self.mean)
        _positive("period", self.period)
        if not 0 <= self.swing <= 1:
            raise InputError(f"swing is a share from 0 (flat) to 1 (nothing at night), got {self.swing:g}.")
        if not np.isfinite(self.peak):
            raise InputError(f"peak is a time of day in s, got {self.peak:g}.")

    def expected(self, time: Any) -> Any:
        """Lambda(t) = mean (t + swing / w (sin(w (t - peak)) + sin(w peak))) with w = 2 pi / period."""
        w = 2 * np.pi / self.period
        wave = np.sin(w * (np.asarray(time, dtype=float) - self.peak)) + np.sin(w * self.peak)
        return self.mean * (time + self.swing / w * wave)

    def when(self, expected: Array) -> Array:
        """Kepler's equation, solved by bisection between the two times that the wave can be off by."""
        middle = np.asarray(expected, dtype=float) / self.mean
        off = self.swing * self.period / np.pi
        low, high = np.maximum(middle - off, 0), middle + off
        for _ in range(BISECTIONS):
            time = (low + high) / 2
            late = self.expected(time) >= expected
            low, high = np.where(late, low, time), np.where(late, time, high)
        return np.asarray(high)


def renewal(burstiness: float, count: int, random: np.random.Generator) -> Array:
    """The first `count` points of a process of unit rate with gamma gaps of shape `burstiness` (CV = burstiness^-1/2).

    1 is Poisson, below 1 comes in bursts, infinity ticks like a clock. The first points do not depend on `count`.
    """
    if not burstiness > 0:
        raise InputError(f"burstiness must be positive (1 = Poisson, below 1 = bursts), got {burstiness:g}.")
    if not 0 <= count <= MOST_ARRIVALS:
        raise InputError(f"The number of requests must be from 0 to {MOST_ARRIVALS:,}, got {count:,}.")
    if np.isinf(burstiness):
        return np.arange(1.0, count + 1)
    return np.asarray(np.cumsum(random.standard_gamma(burstiness, count) / burstiness))


def first(rate: Rate, burstiness: float, count: int, random: np.random.Generator) -> Array:
    """Times (s, sorted) of the first `count` arrivals; fewer where the rate ends before."""
    return _stretched(renewal(burstiness, count, random), rate)


def within(rate: Rate, burstiness: float, duration: float, random: np.random.Generator) -> Array:
    """Times (s, sorted) of all arrivals before `duration` (s)."""
    _positive("duration", duration)
    limit = float(rate.expected(duration))
    if not limit <= MOST_ARRIVALS:
        raise InputError(
            f"This rate sends {limit:.3g} requests in {duration:g} s; at most {MOST_ARRIVALS:,} are drawn."
        )
    points = np.concatenate(list(_up_to(limit, burstiness, random)))
    times = _stretched(points[points < limit], rate)
    return np.asarray(times[times < duration])


def _stretched(points: Array, rate: Rate) -> Array:
    """Times that are ever reached. Two points an ulp apart may change places when they are inverted."""
    times = rate.when(points)
    return np.asarray(np.maximum.accumulate(times[np.isfinite(times)]))


def _up_to(limit: float, burstiness: float, random: np.random.Generator) -> Iterator[Array]:
    reached = 0.0
    while reached < limit or reached == 0:
        wanted = int(min(max(limit - reached, 0) + 8, MOST_AT_ONCE))
        points = reached + renewal(burstiness, wanted, random)
        reached = float(points[-1])
        yield points


def _positive(name: str, value: float) -> None:
    if not 0 < value < np.inf:
        raise InputError(f"The {name} of arrivals must be positive and finite, got {value:g}.")
