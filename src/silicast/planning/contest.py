"""The short list simulated: which of it meets the targets under traffic, with how many units, and what wins then.

The closed form compares means with the targets, so that what it likes best lies just below them and fails in the tail.
Its short list is therefore widened by units with more headroom, and all of a group are raced.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.planning.deployments import Deployments, Margin, deployments, excesses, within
from silicast.planning.outlook import outlook, scores
from silicast.planning.pareto import front
from silicast.planning.question import Question
from silicast.planning.race import Race, cut
from silicast.planning.shortlist import Short, drawn_rows, joined, meets
from silicast.planning.trials import SHARES, Bench, Trial, Trials
from silicast.planning.units import Space
from silicast.serving.pair import LET_IN

Array = NDArray[Any]

#: units of a group on each front of score against headroom, and how much dearer than the best one they may be
FRONT, DEARER = 24, 4.0
#: units of a group that are simulated to tell it, and to see whether it wins
OF_GROUP, OF_WINNER = 6, 12
#: units of a group that are to be told, where there is no other group
RUNNERS_UP = 2
#: the confidence that asks for no more than the medians
MEDIAN = 0.5
#: groups that may be ahead of one that is simulated
TOLD = 12


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often closed form and simulation disagree.

    simulated   units
    missed      of them miss the targets under the load that the closed form gives them
    carried     the share of that load at which they meet them, median; None where none does
    reordered   whether the winner is not that of the closed form
    """

    simulated: int
    missed: int
    carried: float | None
    reordered: bool


def contest(
    space: Space, points: Deployments, short: Short, question: Question, groups: Array, how: Trials
) -> tuple[Short, list[Trial | None], Agreement]:
    """The short list and its roomier rivals, simulated: as many units as meet the targets there.

    Of a simulated group only what was found to carry a share of its load is left, or what fails by least. Goodput
    decides: what carries half of its load needs twice the units. No group is simulated that many others beat even if it
    carried all of its load.
    """
    rivals, light = _rivals(points, question, groups)
    wider = joined([short, drawn_rows(space, points, rivals, question, short.draws)])
    prices, dear = _prices(space, wider, question)
    asks = _asks(points, wider.rows, light, question)
    own, bench = groups[wider.rows], Bench(space, question, how)
    order = np.lexsort((prices[:, -1], ~wider.met))
    # groups by their best row
    names = own[order][np.sort(np.unique(own[order], return_index=True)[1])]
    races: list[Race] = []
    kept: list[int] = []
    for group in names:
        rows = [int(row) for row in order[own[order] == group]]
        if sum(race.best <= prices[rows[0], -1] for race in races) >= TOLD:
            kept += rows[:TOLD]
            continue
        able = sorted(_able(wider, rows, question), key=lambda row: float(prices[row, -1]))
        races.append(Race(bench, wider.found.units, prices, asks, able))
        races[-1].run(OF_GROUP, dear)
    for race in sorted(races, key=lambda one: one.best):
        race.run(OF_WINNER, min(dear, *(one.best for one in races)))
    if all(race.best >= dear for race in races):
        # nothing meets the targets within the budget: what does beyond it
        for race in races:
            race.run(OF_WINNER + OF_GROUP)
    if len(races) == 1:
        races[0].fill(RUNNERS_UP, OF_WINNER)
    trials = {row: trial for race in races for row, trial in race.found.items()}
    told = [trial for race in races for trial in race.told]
    kept += [row for race in races for row in list(race.found) or race.rows[:TOLD]]
    tried = [trials.get(row) for row in kept]
    after = _with_units(space, wider.pick(kept), tried, question)
    worst = np.quantile(scores(after.found, after.look), question.confidence, axis=1)
    first = kept[int(np.lexsort((worst, ~after.met))[0])]
    shares = [one.share for one in told if one.met]
    turned = bool(np.any(after.met)) and cut(wider.found.units, first) != cut(wider.found.units, int(order[0]))
    carried = float(np.median(shares)) if shares else None
    return after, tried, Agreement(len(told), sum(not one.as_told for one in told), carried, turned)


def _able(short: Short, rows: list[int], question: Question) -> list[int]:
    """Rows that the draws do not exclude: a simulation knows the medians only."""
    met = [row for row in rows if short.met[row]]
    return met if met and question.confidence > MEDIAN else rows


def _rivals(points: Deployments, question: Question, groups: Array) -> tuple[Array, Array]:
    """Of each group, mixed and split, units of which none is both cheaper and farther from a target; and the latencies
    of all units under a light load `(latency, row)`, which no larger number of units lowers."""
    good = within(points, question)
    light = _light(points)
    over = [values for name, values in excesses(points, question).items() if name in question.targets.stated]
    tight = [np.max(over, axis=0), *over, *light] if over else [np.ones(len(points))]
    split = points.units.prefill >= 0
    rows: list[Array] = []
    for group in np.unique(groups):
        for kind in (split, ~split):
            here = np.flatnonzero(good & (groups == group) & kind)
            if here.size:
                near = here[points.score[here] <= DEARER * points.score[here].min()]
                rows += [_thinned(near[front(1 / each[near], points.score[near])]) for each in tight]
    return np.unique(np.concatenate(rows)) if rows else np.zeros(0, dtype=int), light


def _thinned(edge: Array) -> Array:
    return np.asarray(edge[np.unique(np.linspace(0, edge.size - 1, FRONT).round().astype(int))])


def _light(points: Deployments) -> Array:
    """The least TTFT among the units of the same first pool, and the least TPOT among those of the same last one."""
    units = points.units
    split = units.prefill >= 0
    ahead = np.where(split, units.prefill, units.decode), np.where(split, units.prefill_row, units.decode_row)
    found = []
    for seconds, (place, row) in ((points.ttft, ahead), (points.tpot, (units.decode, units.decode_row))):
        pools = ((place * (int(np.max(row)) + 1) + row) * 2 + split).astype(int)
        least = np.full(int(np.max(pools)) + 1, np.inf)
        np.fmin.at(least, pools, seconds)
        found.append(np.maximum(least[pools], np.finfo(float).tiny))
    return np.stack(found)


def _asks(points: Deployments, rows: Array, light: Array, question: Question) -> Array:
    """What the rows ask of the traffic `(row, what)`: the latencies that have a target, those under a light load, and
    how few replicas of the first pool share its bursts."""
    first = 1 / np.maximum(points.units.prefill_replicas[rows], 1)
    under_load = (getattr(points, name)[rows] for name in question.targets.stated)
    return np.stack([*under_load, *light[:, rows], first], axis=1)


def _prices(space: Space, short: Short, question: Question) -> tuple[Array, float]:
    """The pessimistic end of the score at each of `SHARES` `(row, share)`, and the price from which on it is beyond the
    budget."""
    worst = np.quantile(scores(short.found, short.look), question.confidence, axis=1)
    rows = np.repeat(np.arange(worst.size), SHARES.size)
    share = np.minimum(np.tile(SHARES, worst.size), _granted(short, question)[rows])
    found = _at(space, short.found.pick(rows), share, question)
    prices = worst[rows] * found.score / short.found.score[rows]
    dear = 2 * float(np.max(prices))
    return (prices + np.where(within(found, _free(question)), 0.0, dear)).reshape(worst.size, -1), dear


def _free(question: Question) -> Question:
    """The question without targets."""
    return replace(question, targets=replace(question.targets, ttft_ms=None, tpot_ms=None, e2e_ms=None))


def _granted(short: Short, question: Question) -> Array:
    """The most of its load that a unit is given: less where a confidence asked for more units, or where the asked end
    of the draws carries less."""
    if question.workload.rate is None:
        return np.ones(len(short.rows))
    units, count = short.found.units, short.found.count
    given = np.asarray(question.workload.rate) / (LET_IN * units.requests * count) * (1 + 1e-9)
    able = np.quantile(short.look.able, 1 - question.confidence, axis=1) / count
    return np.asarray(np.minimum(np.minimum(given, able / (LET_IN * units.requests)), 1.0))


def _at(space: Space, found: Deployments, share: Array, question: Question) -> Deployments:
    """The deployments of units that carry a share of their load."""
    even = np.ones(share.size)
    return deployments(found.units, space.variants, question, Margin(even, even, share))


def _with_units(space: Space, short: Short, trials: list[Trial | None], question: Question) -> Short:
    """The rows with the units that the share of their load asks for."""
    # more units do not help what misses the targets with hardly any load
    share = np.array([one.share if one is not None and one.met else 1.0 for one in trials])
    found = _at(space, short.found, np.minimum(share, _granted(short, question)), question)
    look = outlook(space, found, question, short.draws)
    met = np.array([old if one is None else one.met for old, one in zip(short.met, trials, strict=True)], dtype=bool)
    met &= within(found, _free(question))
    if question.confidence > MEDIAN:
        # the simulation knows the medians only
        met &= meets(look, question)
    return replace(short, found=found, look=look, met=met)
