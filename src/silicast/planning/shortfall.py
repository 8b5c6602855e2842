"""What to relax where nothing meets a question under traffic: numbers that hold, as each is asked for and simulated."""

from collections.abc import Callable
from dataclasses import replace
from math import ceil
from typing import Any

from silicast.planning.deployments import WATTS_PER_MW, limits_of
from silicast.planning.options import Option
from silicast.planning.question import Question
from silicast.planning.refusals import SHOWN, WHOLE
from silicast.planning.trials import Trials
from silicast.serving.measures import PERCENTILES

#: measure of the simulation -> its target
MEASURED = {"ttft": "ttft", "tpot": "tpot", "e2el": "e2e"}
#: times that what is lacking is relaxed and the question asked again; each adds so much more to a latency, as a laxer
#: question has another nearest deployment
TRIES, MORE = 4, 0.05
#: what is paid and fed is told with so much more that it is enough as it is printed
ROUNDING = 1.01

#: a question as it was relaxed, and how it is simulated
Asked = tuple[Question, Trials]
#: by constraint, or by measure with a limit: what it must be at least
Changes = dict[str, float]


def eased(asked: Asked, changes: Changes, answer: Callable[[Asked], Option | Changes]) -> str:
    """Options of the command line with which a simulated answer meets everything; empty where none was found.

    `changes` are the first to try; `answer` plans a question: its best option, or what the closed form wants relaxed.
    """
    changed: set[str] = set()
    now = asked
    for attempt in range(TRIES):
        if not changes:
            break
        changed |= set(changes)
        now = _relaxed(now, changes, 1 + MORE * max(attempt - 1, 0))
        found = answer(now)
        if not isinstance(found, Option):
            changes = found
        elif found.met:
            return " ".join(_told(name, asked[0], now, found) for name in sorted(changed))
        else:
            changes = lacking(found, now)
    return ""


def lacking(one: Option, asked: Asked) -> Changes:
    """What a deployment that was simulated needs beyond a question."""
    question, how = asked
    if one.trial is None:
        return {}
    if one.trial.met:
        limits, taken = limits_of(question), _taken(one)
        return {name: value for name, value in taken.items() if name in limits and value > limits[name]}
    key = next((f"p{each:g}" for each in PERCENTILES if each >= how.percentile), f"p{PERCENTILES[-1]:g}")
    seen = {target: float(one.trial.measures[f"{key}_{name}_ms"] or 0) for name, target in MEASURED.items()}
    over = {name: seen[name] for name, target in question.targets.stated.items() if seen[name] > target}
    reached = {name: float(one.trial.measures[f"{name}_ms"] or 0) for name in how.limits}
    return over | {name: value for name, value in reached.items() if value > how.limits[name]}


def _taken(one: Option) -> Changes:
    known = {"devices": one.devices, "packages": one.packages, "usd_per_hour": one.usd_per_hour, "mw": one.watts}
    return {name: float(value) for name, value in known.items() if value is not None}


def _relaxed(asked: Asked, changes: Changes, more: float) -> Asked:
    """The question with what is changed: latencies times `more` and rounded up, a budget open where a load asks for
    units."""
    question, how = asked
    targets, limits = question.targets, dict(how.limits)
    budget: Any = question.budget
    for name, value in changes.items():
        if name in limits:
            limits[name] = float(ceil(value * more))
        elif name in question.targets.stated:
            targets = replace(targets, **{f"{name}_ms": _latency(name, value * more)})
        elif question.loaded:
            budget = replace(budget, **{name: None})
        else:
            enough = value / (WATTS_PER_MW if name == "mw" else 1)
            budget = replace(budget, **{name: ceil(enough) if name in WHOLE else enough * ROUNDING})
    return replace(question, targets=targets, budget=budget), replace(how, limits=limits)


def _latency(name: str, value: float) -> float:
    """Milliseconds, rounded up to what is printed."""
    return ceil(value * 10) / 10 if name == "tpot" else float(ceil(value))


def _told(name: str, before: Question, now: Asked, found: Option) -> str:
    """The option of a constraint, with a value that is enough as it is printed."""
    question, how = now
    if name in how.limits:
        return f"--limit {name}={how.limits[name]:g}ms"
    if name in before.targets.stated:
        return f"{SHOWN[name][1]} {question.targets.stated[name]:g}ms"
    value = _taken(found)[name]
    if name in WHOLE:
        return f"{SHOWN[name][1]} {value:.0f}"
    return f"{SHOWN[name][1]} {value * ROUNDING / (WATTS_PER_MW if name == 'mw' else 1):.4g}"
