"""A short list of deployments with their uncertainty: the state under the load that each unit really gets, in draws."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.disaggregation import decode_step, prefilled, transfer
from silicast.planning.deployments import Deployments
from silicast.planning.question import Question
from silicast.planning.units import Space, Units, paired_steady
from silicast.scenario import Layout
from silicast.serving.steady import GRID, LEAST_SEQUENCES, Steady
from silicast.serving.two_pools import SPAN

Array = NDArray[Any]


@dataclass(slots=True)
class Outlook:
    """Draws `(row, draw)`: seconds, requests/s that the whole deployment can serve and that it serves; the batch."""

    ttft: Array
    tpot: Array
    e2e: Array
    able: Array
    served: Array
    sequences: Array

    def pick(self, rows: Any) -> "Outlook":
        """Some of the rows."""
        return Outlook(*(getattr(self, item.name)[rows] for item in fields(self)))


def outlook(space: Space, found: Deployments, question: Question, draws: int) -> Outlook:
    """Every row of `found` in draws; rows of the same pools are evaluated together."""
    units = found.units
    kinds = sorted({(int(first), int(second)) for first, second in zip(units.prefill, units.decode, strict=True)})
    used = {place for kind in kinds for place in kind if place >= 0}
    variants = [one.drawn(draws) if place in used else one for place, one in enumerate(space.variants)]
    drawing = Space(variants, space.layouts, space.refused)
    parts, places = [], []
    for kind in kinds:
        rows = np.flatnonzero((units.prefill == kind[0]) & (units.decode == kind[1]))
        look = _mixed if kind[0] < 0 else _pair
        parts.append(look((space, drawing), kind, found.pick(rows), question))
        places.append(rows)
    back = np.argsort(np.concatenate(places))
    return Outlook(*(np.concatenate([getattr(part, item.name) for part in parts])[back] for item in fields(Outlook)))


Spaces = tuple[Space, Space]


def _mixed(spaces: Spaces, kind: tuple[int, int], found: Deployments, question: Question) -> Outlook:
    units, count = found.units, found.count
    points, pool = (space.variants[kind[1]].pool for space in spaces)
    layout, work = spaces[0].layout(kind[1], units.decode_row), question.workload
    ranks = np.asarray(layout.attention_dp)
    batch = units.sequences
    if work.concurrency is not None:
        batch = np.asarray(work.concurrency) / (count * ranks)
    elif _loaded(found, question):
        grid = np.maximum(batch * np.geomspace(1 / SPAN, 1, GRID)[:, None], LEAST_SEQUENCES)
        wide = layout.pick(np.tile(np.arange(len(units)), GRID))
        batch = _under_load(points.closed(wide, work, grid.reshape(-1)), grid, found, question)
    now = pool.closed(layout, work, batch)
    most = now if batch is units.sequences else pool.closed(layout, work, units.sequences)
    return _told(now, most, found, batch, question)


def _loaded(found: Deployments, question: Question) -> bool:
    """Whether the units get less than they can carry."""
    return question.loaded or bool(np.any(found.requests < found.count * found.units.requests * (1 - 1e-9)))


def _pair(spaces: Spaces, kind: tuple[int, int], found: Deployments, question: Question) -> Outlook:
    points, drawing = spaces
    units, batch = found.units, found.units.sequences
    if _loaded(found, question):
        grid = batch * np.geomspace(1 / SPAN, 1, GRID)[:, None]
        wide = units.pick(np.tile(np.arange(len(units)), GRID))
        steady = _pair_steady(points, kind, wide, grid.reshape(-1), question)
        batch = _under_load(steady, grid, found, question)
    now = _pair_steady(drawing, kind, units, batch, question)
    most = now if batch is units.sequences else _pair_steady(drawing, kind, units, units.sequences, question)
    return _told(now, most, found, batch, question)


def _under_load(steady: Steady, grid: Array, found: Deployments, question: Question) -> Array:
    """The batch at which a unit has its share of the load, by interpolation; at most the one it was chosen with."""
    closed, count = question.workload.concurrency, found.count
    passed = steady.requests if closed is None else steady.requests * steady.e2e
    wanted = (found.requests if closed is None else np.asarray(closed)) / count
    curve = np.maximum.accumulate(passed.reshape(grid.shape), axis=0)
    return np.array([np.interp(wanted[row], curve[:, row], grid[:, row]) for row in range(count.size)])


def _pair_steady(space: Space, kind: tuple[int, int], units: Units, batch: Array, question: Question) -> Steady:
    """Every row has a prefill layout of its own."""
    work = question.workload
    prefill, decode = (space.variants[place].pool for place in kind)
    own, layout = space.layout(kind[0], units.prefill_row), space.layout(kind[1], units.decode_row)
    travel = transfer(prefill, decode, own, work)
    step = decode_step(decode, layout, work, batch)
    sizes = units.prefill_replicas, units.decode_replicas, batch
    return paired_steady(space, kind, (own, prefilled(prefill, own, work)), (layout, step), sizes, (work, travel))


def _told(now: Steady, most: Steady, found: Deployments, batch: Array, question: Question) -> Outlook:
    """`now` is the state under the load, `most` the one at the batch that the unit was chosen with."""
    work, many = question.workload, found.count[:, None]
    able = many * _drawn(most.requests)
    served = many * _drawn(now.requests)
    if work.rate is not None:
        served = np.minimum(able, np.asarray(work.rate))
    elif work.concurrency is not None:
        served = np.asarray(work.concurrency) / _drawn(now.e2e)
    return Outlook(_drawn(now.ttft), _drawn(now.tpot), _drawn(now.e2e), able, served, batch)


def _drawn(values: Array) -> Array:
    return values if values.ndim > 1 else values[:, None]


def states(outlook: Outlook, question: Question) -> tuple[Array, Array]:
    """TTFT and TPOT in seconds at the end of the draws that the confidence asks for, by row."""
    return _state(outlook, question, "ttft"), _state(outlook, question, "tpot")


def _state(outlook: Outlook, question: Question, name: str) -> Array:
    return np.asarray(np.quantile(getattr(outlook, name), question.confidence, axis=1))


def in_time(outlook: Outlook, question: Question) -> Array:
    """Whether the asked end of the draws is within every target, by row."""
    stated = question.targets.stated.items()
    met = [_state(outlook, question, name) * 1e3 <= target for name, target in stated]
    return np.asarray(np.all(met, axis=0)) if met else np.ones(len(outlook.ttft), dtype=bool)


def scores(found: Deployments, outlook: Outlook) -> Array:
    """The score of each row in draws: that of the points, times how far a draw's throughput is from theirs."""
    point = found.count * found.units.requests
    return np.asarray(found.score[:, None] * point[:, None] / outlook.able)


def layouts_of(space: Space, units: Units, row: int) -> list[tuple[int, Layout, int]]:
    """(variant, layout, replicas of one unit) of the pools of a row, prefill first."""
    pools = []
    if units.prefill[row] >= 0:
        place = int(units.prefill[row])
        own = space.layout(place, int(units.prefill_row[row])).whole()
        pools.append((place, own, int(units.prefill_replicas[row])))
    place = int(units.decode[row])
    pools.append((place, space.layout(place, int(units.decode_row[row])).whole(), int(units.decode_replicas[row])))
    return pools


def shortlist(order: Array, groups: Array, most: int) -> Array:
    """The first `most` rows of each group, in the given order; `groups` is by row."""
    kept: list[Array] = [order[groups[order] == group][:most] for group in np.unique(groups[order])]
    return np.concatenate(kept) if kept else np.zeros(0, dtype=int)
