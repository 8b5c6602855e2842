"""What it takes to move a fleet to another chip: two planned deployments of equal goodput for every service.

A ratio of peaks is never used: each ratio is packages per output token/s of two deployments that meet the same targets
under the same load, from draws that they share.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.estimate import Estimate, worst
from silicast.planning.economics import usd_per_million
from silicast.planning.options import Option
from silicast.planning.plan import Plan

Array = NDArray[Any]

#: TPOT targets of the latency classes, ms: agents and code, chat, reading speed, batch work
CLASSES_MS = (10.0, 20.0, 50.0, 100.0)
#: beyond these a substitution is a bad idea: dearer per token by half, twice the power per token
MOST_PREMIUM = 1.5
MOST_POWER = 2.0


@dataclass(frozen=True)
class Move:
    """One service on its own chip (`old`) and on another one (`new`; None = cannot, `reason` says why).

    packages, devices   new over old at equal goodput, with the range over shared draws
    lost                latency classes (TPOT in ms) that the old chip serves and the new one cannot
    break_even          USD per package-hour of the new chip at which a token costs the same; None without a price
    """

    service: str
    chip: str
    old: Option
    new: Option | None
    packages: Estimate | None
    devices: Estimate | None
    power: float | None
    premium: float | None
    break_even: float | None
    lost: tuple[float, ...]
    precisions: tuple[str, str]
    network: str
    reason: str

    @property
    def possible(self) -> bool:
        """Whether the new chip meets the targets."""
        return self.new is not None

    @property
    def advised(self) -> bool:
        """Whether it is possible and not a bad idea."""
        return self.possible and not self.reason


def move(service: str, chip: str, old: Plan, new: Plan | None, refusal: str = "", reach: Plan | None = None) -> Move:
    """The comparison of two plans for the same load and targets.

    `refusal` says why there is no new plan; `reach` is then the one without the target of TPOT, for its front.
    """
    before, after = old.best, new.best if new is not None and new.best.met else None
    precision = _precision(before), _precision(after) if after else ""
    if new is None or after is None:
        reason = refusal or (". ".join([new.shortfall, *new.lacks]) if new else "")
        return Move(
            service, chip, before, None, None, None, None, None, None, _lost(old, reach or new), precision, "", reason
        )  # fmt: skip
    ratio = _over(after.samples, before.samples, after, before)
    count = after.packages / before.packages
    packages = _at(ratio, count)
    devices = _at(ratio, after.devices / before.devices)
    power = None if before.watts is None or after.watts is None else after.watts / before.watts
    premium, even = _money(before, after)
    return Move(
        service, chip, before, after, packages, devices, power, premium, even, _lost(old, new), precision,
        _network(after), _doubt(power, premium),
    )  # fmt: skip


def _over(new: Array, old: Array, after: Option, before: Option) -> Estimate:
    return Estimate.of(new / old, "", worst([after.score.tier, before.score.tier]))


def _at(ratio: Estimate, value: float) -> Estimate:
    """The planned whole numbers as the value, the spread of the draws around it."""
    low, high = ratio.low / ratio.value * value, ratio.high / ratio.value * value
    return Estimate(value, min(low, value), max(high, value), "", ratio.tier)


def _money(before: Option, after: Option) -> tuple[float | None, float | None]:
    """(USD per output token over the old one, USD per package-hour at which they are equal)."""
    if before.usd_per_hour is None:
        return None, None
    output = "output_tokens_per_s"
    tokens = after.estimates[output].value / before.estimates[output].value
    even = before.usd_per_hour * tokens / after.packages
    if after.usd_per_hour is None:
        return None, even
    return after.usd_per_hour / before.usd_per_hour / tokens, even


def _lost(old: Plan, new: Plan | None) -> tuple[float, ...]:
    """Classes of TPOT that a point of the old front reaches and none of the new one does."""
    reach = [_fastest(one) for one in (old, new)]
    return tuple(ms for ms in CLASSES_MS if reach[0] <= ms < reach[1])


def _fastest(answer: Plan | None) -> float:
    """The least mean TPOT on the front, ms."""
    if answer is None or not answer.front:
        return float("inf")
    return 1e3 / max(point.tokens_per_s_per_user for point in answer.front)


def _precision(one: Option) -> str:
    return " -> ".join(dict.fromkeys(str(pool.precision) for pool in one.pools))


def _network(one: Option) -> str:
    """Which network the widest replica needs: the innermost domain that holds it."""
    wide = max(one.pools, key=lambda pool: int(pool.layout.devices))
    replica = int(wide.layout.devices)
    where = "inside a node" if replica <= wide.devices_per_node else "across nodes"
    return f"{wide.system}, replicas of {replica} devices {where}, over {wide.link}" + (
        ", KV transfer between pools" if one.split else ""
    )


def _doubt(power: float | None, premium: float | None) -> str:
    """Why a possible substitution is a bad idea; empty where it is not."""
    reasons = []
    if premium is not None and premium > MOST_PREMIUM:
        reasons.append(f"a token costs {premium:.3g} times as much")
    if power is not None and power > MOST_POWER:
        reasons.append(f"a token takes {power:.3g} times the power")
    return " and ".join(reasons)


@dataclass(frozen=True, slots=True)
class Independence:
    """Of one chip: the share of the fleet's output tokens/s that can move, and what the moved part takes.

    packages and power are new over old of the services that can move; `premium` of those with both prices.
    """

    chip: str
    share: float
    advised: float
    packages: float | None
    power: float | None
    premium: float | None
    usd_per_million: tuple[float, float] | None


def independence(moves: list[Move]) -> list[Independence]:
    """One line per chip over all services."""
    chips = dict.fromkeys(move.chip for move in moves)
    return [_independence(chip, [move for move in moves if move.chip == chip]) for chip in chips]


def _independence(chip: str, moves: list[Move]) -> Independence:
    tokens = [_tokens(one.old) for one in moves]
    moved = [one for one in moves if one.new is not None]
    pairs = [(one.old, one.new) for one in moved if one.new is not None]
    priced = [(old, new) for old, new in pairs if old.usd_per_hour and new.usd_per_hour]
    powered = [(old, new) for old, new in pairs if old.watts and new.watts]
    usd = (_usd([old for old, _ in priced]), _usd([new for _, new in priced])) if priced else None
    return Independence(
        chip,
        sum(_tokens(one.old) for one in moved) / sum(tokens),
        sum(_tokens(one.old) for one in moves if one.advised) / sum(tokens),
        sum(new.packages for _, new in pairs) / sum(old.packages for old, _ in pairs) if pairs else None,
        sum(new.watts or 0 for _, new in powered) / sum(old.watts or 0 for old, _ in powered) if powered else None,
        usd[1] / usd[0] if usd else None,
        usd,
    )


def _tokens(one: Option) -> float:
    return one.estimates["output_tokens_per_s"].value


def _usd(options: list[Option]) -> float:
    hourly = sum(one.usd_per_hour or 0 for one in options)
    return usd_per_million(hourly, float(np.sum([_tokens(one) for one in options])))
