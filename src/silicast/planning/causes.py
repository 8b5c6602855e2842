"""Where a ratio of two chips comes from: hybrids that take one cause from one chip and the next from the other."""

from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import combinations, product
from math import factorial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from silicast.dtypes import BYTES
from silicast.hardware import Number
from silicast.laws.collective import Fabric
from silicast.machine import Format, Machine
from silicast.model.architecture import Model
from silicast.model.ops import Scope
from silicast.scenario import Precision

Array = NDArray[Any]
Cause = Literal["matrix peak", "precision", "memory bandwidth", "memory capacity", "links", "software"]

CAUSES: tuple[Cause, ...] = ("matrix peak", "precision", "memory bandwidth", "memory capacity", "links", "software")
#: causes that are only numbers: their combinations are the columns of one hybrid
NUMERIC: tuple[Cause, ...] = ("matrix peak", "memory bandwidth")
STRUCTURAL: tuple[Cause, ...] = tuple(cause for cause in CAUSES if cause not in NUMERIC)
COLUMNS: tuple[frozenset[Cause], ...] = tuple(
    frozenset(cause for cause, taken in zip(NUMERIC, choice, strict=True) if taken)
    for choice in product((False, True), repeat=len(NUMERIC))
)


class Hybrid(Machine):
    """Machines put together from two: `other` gives the structural causes listed, `base` the rest.

    The numeric causes are tried in all combinations at once, as columns on the trailing axis (`COLUMNS`), where other
    machines have draws. matrix peak: matrix and vector rates, cores; precision: the formats a checkpoint runs in (as
    widths, where the matrix engine of the donor lacks the format); links: domains and their coefficients; software:
    stack, efficiencies, floors, host.
    """

    def __init__(self, base: Machine, other: Machine, causes: frozenset[Cause]) -> None:
        donors: dict[Cause, Machine] = {cause: other if cause in causes else base for cause in STRUCTURAL}
        self._donors, self._pair = donors, (base, other)
        software, links = donors["software"], donors["links"]
        super().__init__(base.chip, links.system, software.stack, software._coefficients, base.sampler)
        self.stack = software.stack  # set up for its own chip

    @property
    def draws(self) -> int:
        return len(COLUMNS)

    def optional(self, law: str, name: str, *kernels: str, needed: bool = False) -> Any | None:
        giver = self._donors["links" if law == "collective" else "software"]
        return giver.optional(law, name, *kernels, needed=needed)

    def field(self, name: str, number: Number | None) -> Any:
        return self._donors["software"].field(name, number)

    def _columns(self, cause: Cause, number: Callable[[Machine], Any]) -> Array:
        base, other = (float(number(machine)) for machine in self._pair)
        return np.array([other if cause in taken else base for taken in COLUMNS])

    def peak(self, mode: str) -> Any:
        return self._columns("matrix peak", lambda machine: machine.peak(_of_width(machine, mode)))

    def sustained(self, mode: str) -> Any:
        return self._columns("matrix peak", lambda machine: machine.sustained(_of_width(machine, mode)))

    @property
    def cores(self) -> Any:
        return self._columns("matrix peak", lambda machine: machine.cores)

    @property
    def vector_rate(self) -> Any:
        return self._columns("matrix peak", lambda machine: machine.vector_rate)

    @property
    def bandwidth(self) -> Any:
        return self._columns("memory bandwidth", lambda machine: machine.bandwidth)

    @property
    def capacity(self) -> Any:
        return self._donors["memory capacity"].capacity

    @cached_property
    def links(self) -> Fabric:
        return self._donors["links"].links

    def formats(self, model: Model, precision: Precision) -> tuple[dict[Scope, Format], tuple[str, ...]]:
        giver = self._donors["precision"]
        return giver.formats(model, giver.native_precision(model, precision.kv_cache))


def _of_width(machine: Machine, mode: str) -> str:
    """The mode of a matrix engine of the same width, else of the next wider one."""
    if mode in machine.modes:
        return mode
    wide_enough = [known for known in machine.modes if BYTES[known] >= BYTES[mode]]
    return min(wide_enough, key=lambda known: BYTES[known])


def structural() -> list[frozenset[Cause]]:
    """Every choice of the causes that need a search of their own."""
    return _subsets(frozenset(STRUCTURAL))


def shares(values: Mapping[frozenset[Cause], float]) -> dict[Cause, float]:
    """Factor of each cause from the value of every subset; their product is value(all) / value(none).

    log factor_c = mean over all orders of exchanging one cause of the change of log value when c is exchanged: the
    Shapley value (1953), weights |S|! (n - |S| - 1)! / n! over the subsets S without c.
    """
    logs = {subset: float(np.log(value)) for subset, value in values.items()}
    n = len(CAUSES)
    factors: dict[Cause, float] = {}
    for cause in CAUSES:
        total = 0.0
        for subset in _subsets(frozenset(CAUSES) - {cause}):
            weight = factorial(len(subset)) * factorial(n - len(subset) - 1) / factorial(n)
            total += weight * (logs[subset | {cause}] - logs[subset])
        factors[cause] = float(np.exp(total))
    return factors


def _subsets(whole: frozenset[Cause]) -> list[frozenset[Cause]]:
    ordered = [cause for cause in CAUSES if cause in whole]
    return [frozenset(chosen) for size in range(len(ordered) + 1) for chosen in combinations(ordered, size)]
