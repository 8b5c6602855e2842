"""Fleets of several chips: how many units of each, by integer programming, where no chip is there in the number needed.

    minimise  sum_u w_u n_u   subject to   0.95 sum_u X_u n_u >= R,   packages of each chip <= what is available,
              devices, packages, USD/h and W of all within the budget,   n_u whole

over units u that meet the targets: X_u requests/s of one, w_u what the objective counts. A router sends each unit its
share of R in proportion to X_u. Solved with HiGHS (Huangfu and Hall 2018) through SciPy, which keeps it quiet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import DoesNotFitError, InputError, MissingExtraError
from silicast.estimate import DRAWS, Estimate
from silicast.planning.deployments import Deployments, Margin, deployments, limits_of
from silicast.planning.economics import usd_per_million
from silicast.planning.options import PoolChoice, pools_of
from silicast.planning.outlook import shortlist
from silicast.planning.question import Budget, Objective, Question
from silicast.planning.shortlist import MOST, short_list
from silicast.planning.trials import Bench, Trials
from silicast.planning.units import Space, units
from silicast.planning.variants import Variant
from silicast.serving.pair import LET_IN

Array = NDArray[Any]

#: units of each group that are simulated
TRIED = 4
#: units up to this size also enter by themselves: they fill what larger ones leave
SMALL_DEVICES = 8


@dataclass(frozen=True)
class Part:
    """`count` equal units of a mix, and the requests/s that all of them can serve."""

    count: int
    pools: tuple[PoolChoice, ...]
    requests: float


@dataclass(frozen=True)
class Mix:
    """A fleet of several chips for one rate. `able` is what it can serve, requests/s; `packages` is by chip.

    `trials` say how its units were simulated, None where they were not.
    """

    model: str
    question: Question
    parts: tuple[Part, ...]
    packages: Mapping[str, int]
    devices: int
    usd_per_hour: float | None
    watts: float | None
    usd_per_million_output_tokens: float | None
    able: Estimate
    available: Mapping[str, int]
    trials: Trials | None = None


def mix(
    variants: Sequence[Variant],
    question: Question,
    available: Mapping[str, int],
    draws: int = DRAWS,
    split: bool = True,
    trials: Trials | None = None,
) -> Mix:
    """The best mix of chips for the rate of the question; a chip that `available` (packages) lacks is unlimited.

    With `trials` a unit serves what it does in a simulation. Raises InputError where none serves the rate or meets the
    targets, DoesNotFitError, MissingExtraError without SciPy.
    """
    if question.workload.rate is None:
        raise InputError("A mixed fleet is planned for a rate: give --rate.")
    one = _of_one_unit(question)
    space = Space.of(variants, one)
    every = units(space, one, split)
    if every is None:
        raise DoesNotFitError(f"{'; '.join(f'{variants[i].chip.id}: {why}' for i, why in space.refused.items())}.")
    found, able = _units_that_meet(space, deployments(every, variants, one, _no_margin(len(every))), one, draws)
    if trials is not None:
        found, able = _simulated(Bench(space, one, trials), found, able, question)
    bought = _packages(variants, found)
    floor = LET_IN * np.quantile(able, 1 - question.confidence, axis=1)
    counts = _solve(_weights(found, question), floor, _limits(found, bought, question, available), question)
    told = _told(space, found.pick(counts > 0), (able[counts > 0], counts[counts > 0]), question, available)
    return replace(told, trials=trials)


def _of_one_unit(question: Question) -> Question:
    """The targets alone: a unit by itself, without load and budget."""
    aim: Objective = "packages" if question.objective == "goodput" else question.objective
    return replace(question, workload=replace(question.workload, rate=None), budget=Budget(), objective=aim)


def _no_margin(rows: int) -> Margin:
    return Margin.none(1).of(np.zeros(rows, dtype=int))


def _units_that_meet(space: Space, alone: Deployments, question: Question, draws: int) -> tuple[Deployments, Array]:
    """Units of each group that meet the targets at the asked end of their draws, and their requests/s in draws."""
    groups = alone.units.prefill.astype(int) * len(space.variants) + alone.units.decode.astype(int)
    small = alone.pick(np.flatnonzero(alone.devices <= SMALL_DEVICES))
    found, able = [], []
    for part, of in ((alone, groups), (small, groups[alone.devices <= SMALL_DEVICES])):
        if not len(part) or (part is small and not np.any(np.isfinite(part.score))):
            continue
        try:
            short = short_list(space, part, question, np.unique(of, return_inverse=True)[1], (draws, MOST))
        except InputError:
            if part is alone:
                raise
            continue
        found.append(short.found.pick(short.met))
        able.append(short.look.able[short.met])
    joined = Deployments.joined(found)
    if not len(joined):
        raise InputError(f"No unit of any chip meets the targets at --confidence {question.confidence:g}.")
    return joined, np.concatenate(able)


def _simulated(bench: Bench, found: Deployments, able: Array, question: Question) -> tuple[Deployments, Array]:
    """The best units of each group, with the share of their requests/s at which the targets are met under traffic.

    Raises InputError where none meets them.
    """
    groups = found.units.prefill.astype(int) * len(bench.space.variants) + found.units.decode.astype(int)
    order = np.argsort(_weights(found, question) / np.median(able, axis=1))
    kept: list[int] = []
    shares: list[float] = []
    for row in shortlist(order, groups, TRIED).tolist():
        told = bench.trial(found.units, row)
        if told is not None and told.met:
            kept.append(row)
            shares.append(told.share)
    if not kept:
        raise InputError("No unit of any chip meets the targets under simulated traffic: relax them.")
    return found.pick(kept), able[kept] * np.array(shares)[:, None]


def _weights(found: Deployments, question: Question) -> Array:
    return {
        "cost": found.usd_per_hour, "packages": found.packages, "goodput": found.packages, "devices": found.devices,
        "power": found.watts,
    }[question.objective]  # fmt: skip


def _packages(variants: Sequence[Variant], found: Deployments) -> dict[str, Array]:
    """Packages of each chip that one unit of each row takes, shared packages as parts of one."""
    chips = np.array([one.chip.id for one in variants])
    packed = np.array([one.chip.packages_of for one in variants], dtype=float)
    made = found.units
    pools = ((made.prefill, made.prefill_devices), (made.decode, made.decode_devices))
    return {
        chip: sum(
            (np.where(chips[place] == chip, devices / packed[place], 0.0) for place, devices in pools), np.zeros(1)
        )
        for chip in dict.fromkeys(chips.tolist())
    }


def _limits(
    found: Deployments, bought: Mapping[str, Array], question: Question, available: Mapping[str, int]
) -> list[tuple[Array, float]]:
    """(what one unit of each row takes, the most of all)."""
    known = {
        "devices": found.devices,
        "packages": found.packages,
        "usd_per_hour": found.usd_per_hour,
        "mw": found.watts,
    }
    rows = [(known[name], limit) for name, limit in limits_of(question).items()]
    return rows + [(taken, float(available[chip])) for chip, taken in bought.items() if chip in available]


def _solve(weights: Array, able: Array, limits: list[tuple[Array, float]], question: Question) -> Array:
    """Units of each row. Raises InputError with the most that can be served, MissingExtraError without SciPy."""
    try:
        from scipy.optimize import Bounds, LinearConstraint, milp
    except ImportError:
        raise MissingExtraError("Mixed fleets need SciPy. Install it with: pip install 'silicast[plan]'") from None
    known = np.isfinite(weights)
    rate = float(np.asarray(question.workload.rate))
    most = np.where(known, np.ceil(rate / able), 0.0)
    below = [LinearConstraint(np.where(known, np.nan_to_num(taken), 0.0), ub=limit) for taken, limit in limits]
    costs, whole, box = np.where(known, weights, 0.0), np.ones(weights.size), Bounds(0, most)
    solved = milp(costs, constraints=[*below, LinearConstraint(able, lb=rate)], integrality=whole, bounds=box)
    if solved.x is None:
        least = milp(-np.where(known, able, 0.0), constraints=below, integrality=whole, bounds=box)
        reach = 0.0 if least.x is None else abs(float(least.fun))
        raise InputError(
            f"What is available serves at most {reach:.3g} of {rate:g} requests/s under the targets and the budget. "
            "Lower --rate, or make more packages available."
        )
    return np.asarray(np.round(solved.x))


def _told(
    space: Space, found: Deployments, sizes: tuple[Array, Array], question: Question, available: Mapping[str, int]
) -> Mix:
    able, counts = sizes
    parts = tuple(
        Part(int(count), pools_of(space, found.units, row, int(count), question), float(np.median(able[row]) * count))
        for row, count in enumerate(counts)
    )
    packages: dict[str, int] = {}
    for part in parts:
        for pool in part.pools:
            packages[pool.chip] = packages.get(pool.chip, 0) + pool.packages
    usd, watts = (_whole(packages, space, name) for name in ("usd_per_hour", "watts"))
    output = float(np.asarray(question.workload.rate)) * float(np.asarray(question.workload.output_tokens))
    devices = sum(pool.devices for one in parts for pool in one.pools)
    return Mix(
        space.variants[0].pool.model.id, question, parts, packages, devices,
        usd, watts, None if usd is None else usd_per_million(usd, output),
        Estimate.of(counts @ able, "requests/s"), dict(available),
    )  # fmt: skip


def _whole(packages: Mapping[str, int], space: Space, name: str) -> float | None:
    """USD/h or W of all packages; None where one chip has none."""
    each = {one.chip.id: getattr(one.bill, name) for one in space.variants}
    known = [count * each[chip] for chip, count in packages.items() if each[chip] is not None]
    return float(sum(known)) if len(known) == len(packages) else None
