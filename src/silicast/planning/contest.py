"""The short list simulated: which of it meets the targets under traffic, with how many units, and what wins then."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.planning.deployments import Deployments, Margin, deployments, excesses, within
from silicast.planning.outlook import outlook, scores
from silicast.planning.pareto import front
from silicast.planning.question import Question
from silicast.planning.shortlist import Short, drawn_rows, joined, meets
from silicast.planning.trials import Bench, Trial, Trials
from silicast.planning.units import CUT, Space
from silicast.serving.pair import LET_IN

Array = NDArray[Any]

#: units of a group on the front of score against headroom, and how much dearer than the best one they may be
FRONT, DEARER = 8, 3.0
#: units that are simulated: of each group at least, and of all groups together
FEWEST_OF_GROUP, OF_ALL = 2, 8
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
    """The short list with what dearer units add in headroom, simulated: as many units as meet the targets there.

    Rows of a group that are not simulated are left out, unless none of it is. Goodput decides: what carries half of its
    load needs twice the units. No group is simulated that many others beat even if it carried all of its load.
    """
    wider = joined([short, drawn_rows(space, points, _roomy(points, question, groups), question, short.draws)])
    worst = np.quantile(scores(wider.found, wider.look), question.confidence, axis=1)
    own = groups[wider.rows]
    bench = Bench(space, question, how)
    trials: dict[int, Trial] = {}
    kept: list[int] = []
    reached: list[float] = []
    order = np.lexsort((worst, ~wider.met))
    # groups by their best row
    names = own[order][np.sort(np.unique(own[order], return_index=True)[1])]
    most = max(OF_ALL // names.size, FEWEST_OF_GROUP)
    for group in names:
        rows = [int(row) for row in order[own[order] == group]]
        ahead = sum(score <= worst[rows[0]] for score in reached)
        found = _of_group(bench, wider, worst, rows, most) if ahead < TOLD else {}
        scored = [float(worst[row]) / one.share for row, one in found.items() if one.met]
        reached += [min(scored)] if scored else []
        trials |= found
        kept += list(found) or rows
    tried = [trials.get(row) for row in kept]
    after = _with_units(space, wider.pick(kept), tried, question)
    return after, tried, _agreement(after, tried, worst[kept], question)


def _roomy(points: Deployments, question: Question, groups: Array) -> Array:
    """Of each group units of which none is both cheaper and farther from its targets."""
    over = [values for name, values in excesses(points, question).items() if name in question.targets.stated]
    tight = np.max(over, axis=0) if over else np.ones(len(points))
    good = within(points, question)
    rows: list[Array] = []
    for group in np.unique(groups):
        here = np.flatnonzero(good & (groups == group))
        if here.size:
            near = here[points.score[here] <= DEARER * points.score[here].min()]
            edge = near[front(1 / tight[near], points.score[near])]
            rows.append(edge[np.unique(np.linspace(0, edge.size - 1, FRONT).round().astype(int))])
    return np.concatenate(rows) if rows else np.zeros(0, dtype=int)


def _of_group(bench: Bench, short: Short, worst: Array, rows: list[int], most: int) -> dict[int, Trial]:
    """Trials of the rows of one group, best first, until no other can win."""
    found: dict[int, Trial] = {}
    seen: set[tuple[float, ...]] = set()
    best = np.inf
    for row in rows:
        cut = tuple(float(getattr(short.found.units, name)[row]) for name in CUT)
        if cut in seen:
            continue
        enough = len(found) >= FEWEST_OF_GROUP and worst[row] >= best
        if len(found) >= most or enough or (found and not short.met[row]):
            break
        trial = bench.trial(short.found.units, row)
        if trial is not None:
            seen.add(cut)
            found[row] = trial
            best = min(best, float(worst[row]) / trial.share if trial.met else np.inf)
    return found


def _with_units(space: Space, short: Short, trials: list[Trial | None], question: Question) -> Short:
    """The rows with the units that the share of their load asks for."""
    # more units do not help what misses the targets with hardly any load
    share = np.array([one.share if one is not None and one.met else 1.0 for one in trials])
    if question.workload.rate is not None:
        # units that a confidence asked for stay
        given = np.asarray(question.workload.rate) / (LET_IN * short.found.units.requests * short.found.count)
        share = np.minimum(share, given * (1 + 1e-9))
    even = np.ones(share.size)
    found = deployments(short.found.units, space.variants, question, Margin(even, even, share))
    look = outlook(space, found, question, short.draws)
    free = replace(question, targets=replace(question.targets, ttft_ms=None, tpot_ms=None, e2e_ms=None))
    met = np.array([old if one is None else one.met for old, one in zip(short.met, trials, strict=True)], dtype=bool)
    met &= within(found, free)
    if question.confidence > MEDIAN:
        # the simulation knows the medians only
        met &= meets(look, question)
    return replace(short, found=found, look=look, met=met)


def _agreement(after: Short, trials: list[Trial | None], before: Array, question: Question) -> Agreement:
    told = [one for one in trials if one is not None]
    shares = [one.share for one in told if one.met]
    worst = np.quantile(scores(after.found, after.look), question.confidence, axis=1)
    good = np.where(after.met, worst, np.inf)
    turned = bool(np.any(after.met)) and int(np.argmin(good)) != int(np.argmin(before))
    carried = float(np.median(shares)) if shares else None
    return Agreement(len(told), sum(not one.as_told for one in told), carried, turned)
