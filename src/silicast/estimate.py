"""Nouns of the answer: tiers, draws, and an Estimate with its range, parts and bibliography."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import log
from statistics import NormalDist
from typing import Any, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from silicast.hardware import Number, Source

Array = NDArray[Any]

Tier = Literal["measured", "calibrated", "transferred", "datasheet"]

#: best first
TIERS: tuple[Tier, ...] = ("measured", "calibrated", "transferred", "datasheet")

DRAWS = 256
SEED = 20261125
#: standard normal deviate of the 90th percentile: low and high are the 10th and 90th
Z90 = NormalDist().inv_cdf(0.9)


def worst(tiers: Iterable[Tier]) -> Tier:
    """The least certain of several tiers."""
    return max(tiers, key=TIERS.index, default="measured")


class Sampler:
    """Draws of uncertain numbers: the same key gives the same draws everywhere, so ratios get honest bands.

    A number is drawn log-normally on either side of its value, with low and high as 10th and 90th percentiles. The
    draws are stratified: their median is the value itself. With `draws` 0 every number is its value.
    """

    def __init__(self, draws: int = 0, seed: int = SEED) -> None:
        self.draws = draws
        self.seed = seed
        self._deviates = np.array([NormalDist().inv_cdf((i + 0.5) / draws) for i in range(draws)])

    def number(self, key: str, number: Number) -> Any:
        """The value, or `(draws,)` values. Shares (unit "") stay below 1 if they are below 1."""
        return self.between(key, number.value, number.low, number.high, share=number.unit == "" and number.high <= 1)

    def between(self, key: str, value: float, low: float, high: float, share: bool = False) -> Any:
        """As `number`, for a value with an 80 % range."""
        if not self.draws or low == high:
            return value
        z = np.random.default_rng([self.seed, crc32(key.encode())]).permutation(self._deviates)
        below, above = log(value / low) / Z90, log(high / value) / Z90
        spread = np.where(z < 0, below, above)
        drawn = value * np.exp(spread * z)
        return np.minimum(drawn, 1.0) if share else drawn


@dataclass(frozen=True, slots=True)
class Part:
    """A node of the tree of parts: seconds of something, what binds it, and the law and tier that answered.

    A leaf also has the FLOPs and the bytes of one device in one step (a dot on the roofline), and how often it ran.
    """

    name: str
    value: float
    unit: str
    bound_by: str = ""
    tier: Tier = "datasheet"
    parts: tuple["Part", ...] = ()
    law: str = ""
    calls: float = 0.0
    flops: float = 0.0
    moved: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The node as plain data."""
        own: dict[str, Any] = {"name": self.name, "value": self.value, "unit": self.unit, "tier": self.tier}
        if self.bound_by:
            own["bound_by"] = self.bound_by
        if self.law:
            own |= {"law": self.law, "calls": self.calls, "flops": self.flops, "bytes": self.moved}
        if self.parts:
            own["parts"] = [part.to_json() for part in self.parts]
        return own


@dataclass(frozen=True, slots=True)
class Estimate:
    """A forecast number: the median and the 10th and 90th percentile of its draws."""

    value: float
    low: float
    high: float
    unit: str
    tier: Tier = "datasheet"
    bound_by: str = ""
    parts: tuple[Part, ...] = ()
    citations: tuple[Source, ...] = field(default=())

    @classmethod
    def of(cls, samples: Array | float, unit: str, tier: Tier = "datasheet", bound_by: str = "") -> "Estimate":
        """From draws along the last axis, or from one number."""
        values = np.atleast_1d(np.asarray(samples, dtype=float))
        low, value, high = np.percentile(values, (10, 50, 90)) if values.size > 1 else (values[0],) * 3
        return cls(float(value), float(low), float(high), unit, tier, bound_by)

    def cite(self) -> list[str]:
        """The bibliography of this number."""
        return sorted({source.cite() for source in self.citations})

    def to_json(self) -> dict[str, Any]:
        """`{value, low, high, unit, tier, bound_by, parts}`."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "unit": self.unit,
            "tier": self.tier,
            "bound_by": self.bound_by,
            "parts": [part.to_json() for part in self.parts],
        }
