"""The short list of a search in draws: rows that may turn out best, and which of them meet the targets there."""

from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.planning.deployments import Deployments, Margin, deployments, within
from silicast.planning.outlook import Outlook, in_time, outlook, shortlist, states
from silicast.planning.question import Question
from silicast.planning.refusals import refusal
from silicast.planning.units import Space

Array = NDArray[Any]

#: rows of each group that are drawn before its best is named
MOST = 8
#: batches of one pair of layouts in it
BATCHES = 2
#: powers of the ratio of drawn to point latency that are tried where rows chosen without it miss the targets
POWERS = (0.0, 0.25, 0.5, 0.7, 0.85, 0.95, 1.0, 1.05, 1.15, 1.3)


@dataclass(slots=True)
class Short:
    """Rows of the points, their deployments, their draws, which meet all, and TTFT and TPOT over the points'."""

    rows: Array
    found: Deployments
    look: Outlook
    met: Array
    ratios: Array

    @property
    def draws(self) -> int:
        """Draws of each number."""
        return int(self.look.ttft.shape[1])

    def pick(self, rows: Any) -> "Short":
        """Some of the rows."""
        return Short(self.rows[rows], self.found.pick(rows), self.look.pick(rows), self.met[rows], self.ratios[:, rows])


def short_list(space: Space, points: Deployments, question: Question, groups: Array, sizes: tuple[int, int]) -> Short:
    """The best rows of each group in draws; `sizes` are (draws, rows of a group).

    A group of which none meets the targets at the asked end of the draws is ranked again with margins: powers of how
    far that end lies from the points. Raises RefusedError where no row is left.
    """
    draws, most = sizes
    none = Margin.none(int(groups.max()) + 1)
    first = drawn_rows(space, points, _best(points, question, groups, most), question, draws)
    if not first.rows.size:
        raise refusal(space, points, question)
    settled = set(groups[first.rows[first.met]].tolist())
    open_ = np.flatnonzero(~np.isin(groups[first.rows], list(settled)))
    if not open_.size:
        return first
    margin = _needed(Margin.none(none.ttft.size), space, (first, open_, groups), question, draws)
    missing = sorted(set(groups.tolist()) - settled)
    tried = [first]
    # a rate decides how many units there are: with no room for slow draws, with half of it, with all
    for power in (0.0, 0.5, 1.0) if question.workload.rate is not None else (0.0,):
        room = Margin(none.ttft, none.tpot, margin.requests**power)
        found = deployments(points.units, space.variants, question, room.of(groups))
        order = ranked(found, within(found, question))
        rows = [_with_margins(found, order[groups[order] == group], _at(margin, group), question) for group in missing]
        tried.append(drawn_rows(space, found, np.concatenate(rows), question, draws))
    return joined([one for one in tried if one.rows.size])


def ranked(found: Deployments, good: Array) -> Array:
    """Rows that meet everything by score, of equal ones the one with fewer devices and the lower TPOT."""
    rows = np.flatnonzero(good)
    return rows[np.lexsort((found.tpot[rows], found.devices[rows], found.score[rows]))]


def _best(found: Deployments, question: Question, groups: Array, most: int) -> Array:
    order = _distinct(found, ranked(found, within(found, question)))
    return shortlist(order, groups, most)


def _distinct(found: Deployments, order: Array) -> Array:
    """The best batches of each pair of layouts: more of the same would crowd the short list."""
    units = found.units
    pools = (units.prefill[order] + 1) * (np.max(units.decode, initial=0) + 1) + units.decode[order]
    rows = units.prefill_row[order] * (np.max(units.decode_row, initial=0) + 1) + units.decode_row[order]
    _, pairs = np.unique(pools * (np.max(rows, initial=0) + 1) + rows, return_inverse=True)
    return order[_place_within(pairs) < BATCHES]


def _place_within(groups: Array) -> Array:
    """How many earlier entries have the same value."""
    by_group = np.argsort(groups, kind="stable")
    sorted_ = groups[by_group]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(sorted_)) + 1])
    places = np.empty(groups.size, dtype=int)
    places[by_group] = np.arange(groups.size) - np.repeat(starts, np.diff(np.append(starts, groups.size)))
    return places


def drawn_rows(space: Space, found: Deployments, rows: Array, question: Question, draws: int) -> Short:
    """The given rows in draws."""
    few = found.pick(rows)
    if not rows.size:
        none = np.zeros((0, draws))
        look = Outlook(none, none, none, none, none, np.zeros(0))
        return Short(rows, few, look, np.zeros(0, dtype=bool), np.zeros((2, 0)))
    look = outlook(space, few, question, draws)
    points = np.stack([few.units.ttft, few.units.tpot])
    # one output token has no TPOT
    ratios = np.divide(np.stack(states(look, question)), points, out=np.ones(points.shape), where=points > 0)
    return Short(rows, few, look, meets(look, question), ratios)


def meets(look: Outlook, question: Question) -> Array:
    """Whether the asked end of the draws meets the targets and serves the load."""
    good = in_time(look, question)
    if question.workload.rate is not None:
        able = np.quantile(look.able, 1 - question.confidence, axis=1)
        good &= able >= np.asarray(question.workload.rate) * (1 - 1e-9)
    return good


def _needed(margin: Margin, space: Space, first: tuple[Short, Array, Array], question: Question, draws: int) -> Margin:
    """What the rows `open_` need, median by group, at the batch that they were chosen with."""
    short, open_, groups = first
    few, own = short.found.pick(open_), groups[short.rows[open_]]
    bare = replace(question, workload=replace(question.workload, rate=None, concurrency=None))
    look = outlook(space, few, bare, draws)
    ttft, tpot = states(look, question)
    slow = np.quantile(look.able / (few.count * few.units.requests)[:, None], 1 - question.confidence, axis=1)
    for group in np.unique(own):
        here = own == group
        margin.ttft[group] = np.median(ttft[here] / few.units.ttft[here])
        margin.tpot[group] = np.median(tpot[here] / few.units.tpot[here])
        margin.requests[group] = min(float(np.median(slow[here])), 1.0)
    return margin


def _at(margin: Margin, group: int) -> tuple[float, float]:
    return float(margin.ttft[group]), float(margin.tpot[group])


def _with_margins(found: Deployments, order: Array, margin: tuple[float, float], question: Question) -> Array:
    """The best of the rows `order` of one group under every power of the margins of the two latencies."""
    ttft, tpot = found.ttft[order] * 1e3, found.tpot[order] * 1e3
    after = found.e2e[order] * 1e3 - ttft
    targets = question.targets
    first, each, whole = (one or np.inf for one in (targets.ttft_ms, targets.tpot_ms, targets.e2e_ms))
    picked = []
    for late, slow in product((margin[0] ** power for power in POWERS), (margin[1] ** power for power in POWERS)):
        good = (ttft * late <= first) & (tpot * slow <= each) & (ttft * late + after * slow <= whole)
        picked.append(order[np.flatnonzero(good)[:BATCHES]])
    return np.unique(np.concatenate(picked))


def joined(parts: list[Short]) -> Short:
    """One short list, each row with one count once."""
    rows = np.concatenate([part.rows for part in parts])
    found = Deployments.joined([part.found for part in parts])
    _, kept = np.unique(np.stack([rows, found.count]), axis=1, return_index=True)
    look = Outlook(*(np.concatenate([getattr(part.look, item.name) for part in parts])[kept]
                     for item in fields(Outlook)))  # fmt: skip
    met, ratios = np.concatenate([part.met for part in parts]), np.concatenate([part.ratios for part in parts], axis=1)
    return Short(rows[kept], found.pick(kept), look, met[kept], ratios[:, kept])
