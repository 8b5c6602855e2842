"""The planner: every deployment in closed form, the best of each chip with its range, the front, and why.

The closed form compares means with the targets; the simulation of the short list counts the requests that meet them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import DoesNotFitError, InputError
from silicast.estimate import DRAWS
from silicast.planning.contest import Agreement, contest
from silicast.planning.deployments import Deployments, Margin, deployments, within
from silicast.planning.options import Option, held_back, option
from silicast.planning.outlook import layouts_of, scores
from silicast.planning.pareto import front
from silicast.planning.question import OBJECTIVES, Question
from silicast.planning.refusals import RefusedError
from silicast.planning.shortfall import Asked, Changes, eased, lacking
from silicast.planning.shortlist import MOST, Short, short_list
from silicast.planning.trials import Trial, Trials
from silicast.planning.units import Space, Units, units
from silicast.planning.variants import Variant

Array = NDArray[Any]

#: variants up to which prefill on one chip and decode on another is tried
MOST_CROSSED = 8
#: points of the front that are kept for a chart, of each chip
FRONT_POINTS = 60
#: two candidates are told apart where one is better in this share of the draws
APART = 0.9


@dataclass(frozen=True, slots=True)
class Point:
    """One deployment on a front."""

    chips: str
    tokens_per_s_per_user: float
    output_tokens_per_s_per_device: float
    usd_per_million_output_tokens: float | None
    recipe: str


@dataclass(frozen=True)
class Plan:
    """The answer. `options` are the best of each chip, best first; `others` the next ones of the best chip.

    `evaluated` deployments took `seconds`; `refused` chips by reason; `bills` say price and power by chip;
    `trials` say how the short list was simulated, `agreement` how often closed form and simulation disagree; None where
    nothing was. `lacks` says what to relax where nothing meets the targets under traffic.
    """

    model: str
    question: Question
    options: tuple[Option, ...]
    others: tuple[Option, ...]
    front: tuple[Point, ...]
    evaluated: int
    seconds: float
    refused: dict[str, str]
    bills: dict[str, str]
    notes: tuple[str, ...]
    agreement: Agreement | None = None
    trials: Trials | None = None
    lacks: tuple[str, ...] = ()

    @property
    def best(self) -> Option:
        """The winner."""
        return self.options[0]

    @property
    def shortfall(self) -> str:
        """That no deployment meets the targets, and where; empty where one does."""
        if self.best.met:
            return ""
        trial = self.best.trial
        sure = trial is None or (trial.met and not self.lacks)
        where = f"at --confidence {self.question.confidence:g}" if sure else "under simulated traffic"
        return f"No deployment meets the targets {where}"

    @property
    def runner_up(self) -> Option | None:
        """The best of the next chip, else the next deployment of the same, that meets the targets."""
        rest = [one for one in (*self.options[1:], *self.others) if one.met]
        return rest[0] if rest else None

    @property
    def better_in(self) -> float | None:
        """Share of the draws in which the winner beats the runner-up; equal ones count half."""
        other = self.runner_up
        if other is None:
            return None
        own, its = self.best.samples, other.samples
        return float(np.mean(own < its) + np.mean(own == its) / 2)

    @property
    def told_apart(self) -> bool:
        """Whether the winner beats the runner-up in nearly all draws."""
        share = self.better_in
        return share is None or share >= APART


def plan(
    variants: Sequence[Variant],
    question: Question,
    top: int = 3,
    draws: int = DRAWS,
    split: bool = True,
    trials: Trials | None = None,
) -> Plan:
    """The best deployments of `variants`, all of one model. Raises DoesNotFitError, and InputError where none is left.

    `top` options of the best chip are told; `split` also tries prefill and decode in pools of their own; with `trials`
    the short list is simulated, and its goodput there decides. What to relax is then simulated too.
    """
    if not variants:
        raise InputError("Name at least one chip to plan with.")
    try:
        found = _planned(variants, question, top, draws, split, trials)
    except RefusedError as refused:
        if trials is None or not refused.changes:
            raise
        enough = _eased(variants, (question, trials), refused.changes, draws, split)
        raise InputError(f"{refused} These are means of the closed form. {enough}") from None
    if trials is None or found.best.met or found.best.trial is None:
        return found
    wanted = lacking(found.best, (question, trials))
    if not wanted:
        return found
    return replace(found, lacks=(_eased(variants, (question, trials), wanted, draws, split),))


def _eased(variants: Sequence[Variant], asked: Asked, changes: Changes, draws: int, split: bool) -> str:
    """What is enough under traffic, in one sentence."""

    def answer(asked: Asked) -> Option | Changes:
        try:
            return _planned(variants, asked[0], 1, draws, split, asked[1]).best
        except RefusedError as refused:
            return refused.changes

    enough = eased(asked, changes, answer)
    many = f"{asked[1].percentile:g} % of the requests"
    if enough:
        return f"Under simulated traffic, with {many} in time, this is enough: {enough}."
    return f"Under simulated traffic {many} need more than that: relax several constraints."


def _planned(
    variants: Sequence[Variant], question: Question, top: int, draws: int, split: bool, trials: Trials | None
) -> Plan:
    """The answer, or the nearest there is. Raises DoesNotFitError, RefusedError."""
    started = perf_counter()
    space = Space.of(variants, question)
    every = units(space, question, split, len(variants) <= MOST_CROSSED)
    if every is None:
        raise DoesNotFitError(f"{'; '.join(f'{variants[i].chip.id}: {why}' for i, why in space.refused.items())}.")
    points = deployments(every, variants, question, Margin.none(1).of(np.zeros(len(every), dtype=int)))
    seconds = perf_counter() - started
    names, groups = groups_of(space, every)
    short = short_list(space, points, question, groups, (draws, max(MOST, top)))
    said: Sequence[Trial | None] = [None] * short.rows.size
    agreement = None
    if trials is not None:
        short, said, agreement = contest(space, points, short, question, groups, trials)
    told = _options(space, points, short, said, question, top)
    best = sorted((options[0] for options in told.values()), key=lambda one: _rank(one, question))
    refused = {variants[place].chip.id: why for place, why in space.refused.items()}
    refused |= dict.fromkeys(sorted({*names} - {*told}), "no deployment meets the targets within the budget")
    return Plan(
        variants[0].pool.model.id, question, tuple(best), tuple(told[best[0].name][1:]),
        _front(space, points, question),
        len(every), seconds, {name: why for name, why in refused.items() if name not in told},
        {one.chip.id: f"{one.bill.price_note}; {one.bill.power_note}" for one in variants},
        _notes(variants, question, trials), agreement, trials,
    )  # fmt: skip


def groups_of(space: Space, every: Units) -> tuple[list[str], Array]:
    """(chips of each group as `Option.name` says them, group of each row); mixed and split pools are groups apart."""
    chips = [variant.chip.id for variant in space.variants]
    codes, groups = np.unique(every.prefill.astype(int) * len(chips) + every.decode.astype(int), return_inverse=True)
    names = []
    for code in codes.tolist():
        first, second = divmod(code, len(chips))
        one = first < 0 or chips[first] == chips[second]
        names.append(chips[second] if one else f"{chips[first]} -> {chips[second]}")
    return names, groups


def _options(
    space: Space, points: Deployments, short: Short, trials: Sequence[Trial | None], question: Question, top: int
) -> dict[str, list[Option]]:
    """The best options of each chip by the pessimistic end of their score; those that meet the targets first."""
    worst = np.quantile(scores(short.found, short.look), question.confidence, axis=1)
    told: dict[str, list[Option]] = {}
    names, groups = groups_of(space, short.found.units)
    missing = np.array([one.missing if one else 0.0 for one in trials])
    for place in np.lexsort((worst, missing, ~short.met)):
        options = told.setdefault(names[groups[place]], [])
        if len(options) < top:
            held_by = held_back(points, int(short.rows[place]), question, space, short.ratios[:, place])
            one = option(space, short.found, short.look, int(place), question, bool(short.met[place]), held_by)
            options.append(replace(one, trial=trials[place]))
    return told


def _rank(one: Option, question: Question) -> tuple[bool, float, float]:
    """What meets the targets first, then what misses them by least, by the pessimistic end of the score."""
    missing = one.trial.missing if one.trial else 0.0
    return not one.met, missing, float(np.quantile(one.samples, question.confidence))


def _front(space: Space, found: Deployments, question: Question) -> tuple[Point, ...]:
    """Tokens/s/user against output tokens/s/device, of each chip: deployments that meet all but the TPOT target."""
    free = replace(question, targets=replace(question.targets, tpot_ms=None, e2e_ms=None))
    good = within(found, free) & (found.tpot > 0)
    names, groups = groups_of(space, found.units)
    points = []
    for name in sorted(set(names)):
        codes = [code for code, known in enumerate(names) if known == name]
        rows = np.flatnonzero(good & np.isin(groups, codes))
        kept = rows[front(1 / found.tpot[rows], -found.per_device[rows])]
        step = max(kept.size // FRONT_POINTS, 1)
        points += [_point(space, found, int(row), name) for row in kept[::step]]
    return tuple(points)


def _point(space: Space, found: Deployments, row: int, name: str) -> Point:
    usd = float(found.usd_per_million[row])
    parts = [
        f"{int(found.count[row]) * each} x {space.variants[place].chip.id} tp {layout.tp} pp {layout.pp} "
        f"ep {layout.ep} attention_dp {layout.attention_dp} cp {layout.cp} ({space.variants[place].label})"
        for place, layout, each in layouts_of(space, found.units, row)
    ]
    return Point(
        name, 1 / float(found.tpot[row]), float(found.per_device[row]), usd if np.isfinite(usd) else None,
        f"{' + '.join(parts)}, {found.units.sequences[row]:g} sequences per rank",
    )  # fmt: skip


def _notes(variants: Sequence[Variant], question: Question, trials: Trials | None) -> tuple[str, ...]:
    notes = []
    if trials is None:
        notes.append("The search compared closed-form means with the targets, not percentiles of requests.")
    notes.append(f"Ranked by {OBJECTIVES[question.objective]}, at the end of the draws that --confidence "
                 f"{question.confidence:g} asks for.")  # fmt: skip
    if len(variants) > MOST_CROSSED:
        notes.append(f"Prefill on one chip and decode on another is tried for up to {MOST_CROSSED} variants only.")
    notes += dict.fromkeys(
        f"What if: steps of {one.chip.id} at {one.pool.efficiency:.0%} of the speed forecast."
        for one in variants if one.pool.efficiency != 1
    )  # fmt: skip
    notes += dict.fromkeys(warning for variant in variants for warning in variant.pool.warnings)
    return tuple(notes)
