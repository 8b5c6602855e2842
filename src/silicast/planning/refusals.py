"""Why no deployment answers a question: the physical floor of a target, or the constraint to relax and by how much."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.disaggregation import decode_load
from silicast.errors import InputError
from silicast.parts import explained
from silicast.planning.deployments import Deployments, excesses, limits_of
from silicast.planning.outlook import layouts_of
from silicast.planning.question import Question
from silicast.planning.units import Space

Array = NDArray[Any]

#: constraint -> (how its value is written, option of the command line)
SHOWN = {
    "ttft": ("TTFT of {:,.0f} ms", "--ttft"),
    "tpot": ("TPOT of {:,.1f} ms", "--tpot"),
    "e2e": ("E2E of {:,.0f} ms", "--e2e"),
    "devices": ("{:,.0f} devices", "--devices"),
    "packages": ("{:,.0f} packages", "--packages"),
    "usd_per_hour": ("{:,.2f} USD/h", "--usd-per-hour"),
    "mw": ("{:,.4f} MW", "--max-mw"),
}
#: constraints that count things
WHOLE = ("devices", "packages")


class RefusedError(InputError):
    """No deployment answers a question in closed form; `changes` of constraints, by name, with which one would."""

    def __init__(self, message: str, changes: dict[str, float]) -> None:
        super().__init__(message)
        self.changes = changes


@dataclass(frozen=True)
class Relaxation:
    """One constraint: its limit, and the least at which all others can be met too."""

    constraint: str
    given: float
    needed: float

    def __str__(self) -> str:
        pattern, option = SHOWN[self.constraint]
        return f"{option}: {pattern.format(self.needed)} instead of {pattern.format(self.given)}"


def relaxations(found: Deployments, question: Question) -> list[Relaxation]:
    """Constraints of which one alone, relaxed, lets something through; the smallest change first."""
    over = excesses(found, question)
    possible = np.isfinite(found.score)
    known = question.targets.stated | limits_of(question)
    changes = []
    for name, excess in over.items():
        others = possible & np.isfinite(excess)
        for other, values in over.items():
            others &= (values <= 1) | (other == name)
        if np.any(others):
            given, least = float(known[name] or 0), float(np.min(excess[others]))
            scale = 1e-6 if name == "mw" else 1.0
            changes.append((least, Relaxation(name, given * scale, _rounded(name, given * scale * least))))
    return [change for _, change in sorted(changes, key=lambda item: item[0])]


def _rounded(name: str, value: float) -> float:
    """A value that is enough as it is printed: rounded up to its digits."""
    digits = {"tpot": 1, "usd_per_hour": 2, "mw": 4}.get(name, 0)
    return float(np.ceil(value * 10**digits * (1 - 1e-12)) / 10**digits)


def refusal(space: Space, found: Deployments, question: Question) -> RefusedError:
    """Why nothing in `found` meets the question, in one to three sentences."""
    alone = relaxations(found, question)
    # a larger budget always helps, a laxer target alone need not
    changes = [one for one in alone if one.constraint in limits_of(question)][:1] or alone[:1]
    changes = changes or _together(found, question)
    floors = [text for name in question.targets.stated if (text := _floor(space, found, question, name))]
    if floors:
        text = " ".join(floors)
    elif alone:
        text = f"No deployment meets everything. Relax one of these: {'; '.join(map(str, alone))}."
    elif changes:
        told = " and ".join(map(str, changes))
        text = f"No deployment meets everything, and relaxing one constraint is not enough. Relax: {told}."
    else:
        text = f"No candidate has what '{question.objective}' counts: give --price, or another --objective."
    return RefusedError(text, {one.constraint: one.needed for one in changes})


def _together(found: Deployments, question: Question) -> list[Relaxation]:
    """What the deployment that misses the fewest constraints, and those by least, needs; empty where none has a
    score."""
    over = excesses(found, question)
    if not over or not np.any(np.isfinite(found.score)):
        return []
    beyond = np.stack(list(over.values()))
    worst = np.where(np.isfinite(found.score), np.max(beyond, axis=0), np.inf)
    row = int(np.lexsort((worst, np.sum(beyond > 1, axis=0) + len(over) * np.isinf(worst)))[0])
    known = question.targets.stated | limits_of(question)
    return [
        Relaxation(name, scale * float(known[name] or 0), _rounded(name, scale * float(known[name] or 0) * one))
        for name, excess in over.items()
        for scale, one in [(1e-6 if name == "mw" else 1.0, float(excess[row]))]
        if one > 1
    ]


def _floor(space: Space, found: Deployments, question: Question, name: str) -> str:
    """The least value of a target that any candidate reaches, where that is above the target; else empty."""
    target, seconds = question.targets.stated[name], getattr(found, name)
    row = int(np.argmin(seconds))
    least = float(seconds[row]) * 1e3
    if least <= target:
        return ""
    early = name == "ttft" or (name == "e2e" and float(found.ttft[row]) > float(seconds[row]) / 2)
    place, layout, _ = layouts_of(space, found.units, row)[0 if early else -1]
    variant = space.variants[place]
    pool, work = variant.pool, question.workload
    load = pool.full_chunk(work) if early else decode_load(pool, work, float(found.units.sequences[row]))
    told = explained(pool.staged_step(load, layout), pool.machine.tiers())
    step = "prefill" if early else "decode step"
    shown = SHOWN[name][0]
    return (
        f"{shown.format(target)} is below the floor of every candidate: {shown.format(_rounded(name, least))} on "
        f"{variant.chip.id} ({layout.devices} devices, tp {layout.tp}), set by {told.bound_by} in the {step}. "
        f"Give {SHOWN[name][1]} {_rounded(name, least):g}ms or more, or a faster chip."
    )
