"""Where a ratio of two chips comes from: hybrids that take one cause from one chip and the next from the other."""

from collections.abc import Callable
from functools import cached_property
from itertools import combinations
from math import factorial
from typing import Any, Literal

import numpy as np

from silicast.dtypes import BYTES
from silicast.hardware import Number
from silicast.laws.collective import Fabric
from silicast.machine import Format, Machine
from silicast.model.architecture import Model
from silicast.model.ops import Scope
from silicast.scenario import Precision

Cause = Literal["matrix peak", "precision", "memory bandwidth", "memory capacity", "links", "software"]

CAUSES: tuple[Cause, ...] = ("matrix peak", "precision", "memory bandwidth", "memory capacity", "links", "software")


class Hybrid(Machine):
    """A machine put together from two: `other` gives the causes listed, `base` the rest.

    matrix peak: matrix and vector rates, cores; precision: the formats a checkpoint runs in (as widths, if the matrix
    engine of the donor lacks the format); links: domains and their coefficients; software: stack, efficiencies,
    floors, host.
    """

    def __init__(self, base: Machine, other: Machine, causes: frozenset[Cause]) -> None:
        donors: dict[Cause, Machine] = {cause: other if cause in causes else base for cause in CAUSES}
        self._donors = donors
        software, links = donors["software"], donors["links"]
        super().__init__(base.chip, links.system, software.stack, software._coefficients, base.sampler)
        self.stack = software.stack  # set up for its own chip

    def coefficient(self, law: str, name: str, *kernels: str) -> Any:
        return self._giver(law).coefficient(law, name, *kernels)

    def optional(self, law: str, name: str, *kernels: str) -> Any | None:
        return self._giver(law).optional(law, name, *kernels)

    def _giver(self, law: str) -> Machine:
        return self._donors["links" if law == "collective" else "software"]

    def field(self, name: str, number: Number | None) -> Any:
        return self._donors["software"].field(name, number)

    def peak(self, mode: str) -> Any:
        return self._donors["matrix peak"].peak(mode)

    def sustained(self, mode: str) -> Any:
        return self._donors["matrix peak"].sustained(mode)

    @property
    def cores(self) -> Any:
        return self._donors["matrix peak"].cores

    @property
    def vector_rate(self) -> Any:
        return self._donors["matrix peak"].vector_rate

    @property
    def bandwidth(self) -> Any:
        return self._donors["memory bandwidth"].bandwidth

    @property
    def capacity(self) -> Any:
        return self._donors["memory capacity"].capacity

    @cached_property
    def fabric(self) -> Fabric:
        return self._donors["links"].fabric

    def formats(self, model: Model, precision: Precision) -> tuple[dict[Scope, Format], tuple[str, ...]]:
        giver = self._donors["precision"]
        table, warnings = giver.formats(model, giver.native_precision(model, precision.kv_cache))
        return {scope: self._as_width(found) for scope, found in table.items()}, warnings

    def _as_width(self, wanted: Format) -> Format:
        """The mode of this matrix engine of the same width, else of the next wider one."""
        modes = self._donors["matrix peak"].modes
        if wanted.mode in modes:
            return wanted
        wide_enough = [mode for mode in modes if BYTES[mode] >= BYTES[wanted.mode]]
        return Format(wanted.stored, min(wide_enough, key=lambda mode: BYTES[mode]))


def shares(value: Callable[[frozenset[Cause]], float]) -> dict[Cause, float]:
    """Factor of each cause; their product is value(all) / value(none).

    log factor_c = mean over all orders of exchanging one cause of the change of log value when c is exchanged: the
    Shapley value (1953), weights |S|! (n - |S| - 1)! / n! over the subsets S without c.
    """
    logs = {subset: float(np.log(value(subset))) for subset in _subsets(frozenset(CAUSES))}
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
