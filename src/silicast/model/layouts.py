"""Which layouts cut a model into equal parts: conditions on arrays of layouts, with what to say where one is broken."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from silicast.errors import LayoutError
from silicast.scenario import Layout

#: experts held twice for balance, as a share of the routed ones, at most (DeepSeek: 32 of 256; CloudMatrix384: 64)
MOST_REDUNDANT = 0.5
#: sizes that are offered where one does not divide
OFFERED = (1, 2, 4, 8, 16, 32, 64, 128, 256, 320)


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on one size of a layout: where it holds, and what to say where it does not."""

    name: str
    size: Any
    holds: Any
    problem: str
    advice: str


def attention_rules(layout: Layout, units: Iterable[tuple[int, str]], layers: int) -> Iterator[Rule]:
    """tp divides the heads and the columns of dense networks; a pipeline stage has at least one layer.

    KV heads need not be divided: beyond them K and V are replicated.
    """
    tp, pp = np.asarray(layout.tp), np.asarray(layout.pp)
    for number, name in units:
        yield Rule("tp", tp, number % tp == 0, f"does not divide the {number} {name}", _divisors(number))
    yield Rule("pp", pp, pp <= layers, f"exceeds the {layers} layers", f"Use at most {layers}.")


def expert_rules(layout: Layout, experts: int, columns: Iterable[int]) -> Iterator[Rule]:
    """Every rank of the ep group has an expert, some held twice where ep does not divide; the rest cuts each expert."""
    ep = np.asarray(layout.ep)
    if not experts:
        yield Rule("ep", ep, ep <= 1, "exceeds the 0 routed experts", "Leave ep at 1.")
        return
    copies = np.ceil(experts / ep) * ep
    fits = copies <= experts * (1 + MOST_REDUNDANT)
    yield Rule("ep", ep, fits, f"leaves ranks without one of the {experts} experts", _divisors(experts))
    cut = np.asarray(layout.expert_tp)
    for number in columns:
        problem = f"(tp x attention_dp x cp / ep) does not divide the {number} columns of an expert"
        yield Rule("expert tp", cut, number % cut == 0, problem, f"{_divisors(number)} Or raise ep.")


def raise_broken(identity: str, rules: Iterable[Rule]) -> None:
    """Raises LayoutError for the first rule that does not hold on every row."""
    for rule in rules:
        broken = np.atleast_1d(~np.asarray(rule.holds))
        if np.any(broken):
            size = np.broadcast_to(rule.size, broken.shape)[broken][0]
            raise LayoutError(f"{rule.name} = {size:.15g} {rule.problem} of {identity}. {rule.advice}")


def all_hold(rules: Iterable[Rule]) -> Any:
    """The rows on which every rule holds."""
    good: Any = True
    for rule in rules:
        good = good & np.asarray(rule.holds)
    return good


def _divisors(number: int) -> str:
    good = [size for size in OFFERED if number % size == 0]
    return f"Use one of {', '.join(map(str, good))}."
