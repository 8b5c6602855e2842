"""From units to deployments: how many units a load needs or a budget holds, what they cost, how good they are."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from silicast.planning.question import Question
from silicast.planning.units import Units
from silicast.planning.variants import Variant
from silicast.serving.pair import LET_IN

Array = NDArray[Any]

WATTS_PER_MW = 1e6


@dataclass(slots=True)
class Margin:
    """Factors from points to the end of the draws that a confidence asks for, by group of rows: `(group,)`.

    `ttft` and `tpot` lengthen; `requests`, the load that a unit carries, shrinks; all 1 without one.
    """

    ttft: Array
    tpot: Array
    requests: Array

    @classmethod
    def none(cls, groups: int) -> Self:
        """No margin."""
        return cls(*(np.ones(groups) for _ in range(3)))

    def of(self, groups: Any) -> "Margin":
        """By row, from the group of each."""
        return Margin(self.ttft[groups], self.tpot[groups], self.requests[groups])


@dataclass(slots=True)
class Deployments:
    """Columns over the rows of `units`, of whole deployments of `count` units.

    devices, packages, usd_per_hour, watts   NaN where a price or a power is not known
    requests                                 requests/s that are served
    output, total                            output and input + output tokens/s
    ttft, tpot, e2e                          seconds, at the end of the draws that the confidence asks for
    score                                    to be minimised: what the objective counts, per output token/s
    """

    units: Units
    count: Array
    devices: Array
    packages: Array
    usd_per_hour: Array
    watts: Array
    requests: Array
    output: Array
    total: Array
    ttft: Array
    tpot: Array
    e2e: Array
    score: Array

    def __len__(self) -> int:
        return len(self.units)

    def pick(self, rows: Any) -> "Deployments":
        """Some of the rows."""
        columns = {item.name: getattr(self, item.name)[rows] for item in fields(self) if item.name != "units"}
        return Deployments(self.units.pick(rows), **columns)

    @classmethod
    def joined(cls, parts: Sequence["Deployments"]) -> "Deployments":
        """All rows of several."""
        names = [item.name for item in fields(cls) if item.name != "units"]
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(Units.joined([part.units for part in parts]), **columns)

    @property
    def per_device(self) -> Array:
        """Output tokens/s per device."""
        return self.output / self.devices

    @property
    def usd_per_million(self) -> Array:
        """USD per million output tokens, all cost on the output."""
        return np.asarray(self.usd_per_hour / (3600 * self.output) * 1e6)


def deployments(units: Units, variants: Sequence[Variant], question: Question, margin: Margin) -> Deployments:
    """What every unit makes of the question: enough units for the load, else as many as the budget holds.

    `margin` is by row.

    A rate R needs ceil(R / (0.95 X)) units of X requests/s, as an open queue at full load has no end; C requests in
    flight need ceil(C / (X E)) units, as X E of them are in one unit (Little 1961; E = end-to-end latency), and are
    served at C / E.
    """
    work = question.workload
    if work.rate is not None:
        count = np.ceil(np.asarray(work.rate) / (LET_IN * units.requests * margin.requests))
        requests = np.full(count.shape, float(np.asarray(work.rate)))
    elif work.concurrency is not None:
        count = np.ceil(np.asarray(work.concurrency) / (units.requests * units.e2e * margin.requests))
        requests = np.asarray(work.concurrency) / units.e2e
    else:
        count = _filled(units, variants, question)
        requests = count * units.requests * margin.requests
    devices, packages, usd, watts = _taken(units, variants, count)
    output = requests * np.asarray(work.output_tokens)
    weight = {"cost": usd, "packages": packages, "devices": devices, "power": watts}
    score = weight[question.objective] / output if question.objective in weight else 1 / output
    return Deployments(
        units, count, devices, packages, usd, watts, requests, output,
        requests * (np.asarray(work.output_tokens) + np.asarray(work.input_tokens)),
        units.ttft * margin.ttft, units.tpot * margin.tpot,
        units.ttft * margin.ttft + (units.e2e - units.ttft) * margin.tpot, score,
    )  # fmt: skip


def _per_variant(variants: Sequence[Variant]) -> tuple[Array, Array, Array]:
    """Devices per package, USD per package-hour and W per package, by variant; NaN = not known."""
    packed = np.array([one.chip.packages_of for one in variants], dtype=float)
    usd = np.array([one.bill.usd_per_hour for one in variants], dtype=float)
    watts = np.array([one.bill.watts for one in variants], dtype=float)
    return packed, usd, watts


def _taken(units: Units, variants: Sequence[Variant], count: Array) -> tuple[Array, Array, Array, Array]:
    """Devices, packages, USD/h and W of `count` units. Whole packages are paid; both pools have their own."""
    packed, price, power = _per_variant(variants)
    ahead = np.ceil(count * units.prefill_devices / packed[units.prefill])
    behind = np.ceil(count * units.decode_devices / packed[units.decode])
    two = units.prefill_devices > 0
    usd, watts = (
        behind * each[units.decode] + np.where(two, ahead * each[units.prefill], 0.0) for each in (price, power)
    )
    return count * units.devices, ahead + behind, usd, watts


def _filled(units: Units, variants: Sequence[Variant], question: Question) -> Array:
    """Units that the budget holds, at least one: what is over the budget is refused later."""
    if question.budget.open:
        return np.ones(len(units))
    devices, packages, usd, watts = _taken(units, variants, np.ones(len(units)))
    limits = limits_of(question)
    most = np.full(len(units), np.inf)
    for name, each in (("devices", devices), ("packages", packages), ("usd_per_hour", usd), ("mw", watts)):
        if name in limits:
            most = np.fmin(most, np.floor(limits[name] / each * (1 + 1e-12)))
    return np.maximum(np.where(np.isfinite(most), most, 1.0), 1.0)


def limits_of(question: Question) -> dict[str, float]:
    """The limits of the budget by name, MW in W."""
    budget = question.budget
    known = {
        "devices": budget.devices, "packages": budget.packages, "usd_per_hour": budget.usd_per_hour,
        "mw": None if budget.mw is None else budget.mw * WATTS_PER_MW,
    }  # fmt: skip
    return {name: float(value) for name, value in known.items() if value is not None}


def excesses(found: Deployments, question: Question) -> dict[str, Array]:
    """By constraint: the value over its limit (1 or less = met). A price or power that is not known is not within."""
    values = {"devices": found.devices, "packages": found.packages, "usd_per_hour": found.usd_per_hour,
              "mw": found.watts}  # fmt: skip
    limits = limits_of(question)
    over = {name: np.nan_to_num(values[name] / limit, nan=np.inf) for name, limit in limits.items()}
    return over | {name: getattr(found, name) * 1e3 / target for name, target in question.targets.stated.items()}


def within(found: Deployments, question: Question) -> Array:
    """Which rows meet every target and limit, and have what the objective counts."""
    good = np.isfinite(found.score) & np.isfinite(found.ttft)
    for over in excesses(found, question).values():
        good &= over <= 1 + 1e-12
    return good
