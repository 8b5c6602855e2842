"""What a law returns, and how the resources of one kernel add up."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Value = float | Array


@dataclass(slots=True)
class Timing:
    """Seconds of one call of an operator, and what each resource alone would take.

    `fixed` is launch and latency. `total` lies between fixed + the largest roof and fixed + the sum of the roofs.
    """

    total: Value
    matrix: Value = 0.0
    vector: Value = 0.0
    memory: Value = 0.0
    link: Value = 0.0
    fixed: Value = 0.0

    def slowed(self, factor: Value) -> "Timing":
        """The kernel where every resource takes `factor` times as long; launch and latency stay."""
        if np.all(np.equal(factor, 1)):
            return self
        busy = (self.total - self.fixed) * factor
        matrix, vector, memory = self.matrix * factor, self.vector * factor, self.memory * factor
        return Timing(self.fixed + busy, matrix, vector, memory, self.link * factor, self.fixed)


def overlapped(first: Value, second: Value) -> Value:
    """Two resources used side by side by one pipelined kernel: (a^3 + b^3)^(1/3), seconds.

    The exponent 3 gives 26 % over the larger one where both take equally long and under 4 % at a ratio of two: the
    rounding of measured rooflines (Williams, Waterman, Patterson 2009 draw it sharp). Between max(a, b) and a + b.
    """
    return np.cbrt(first * first * first + second * second * second)


def overlapped3(first: Value, second: Value, third: Value) -> Value:
    """The same for three resources."""
    return np.cbrt(first * first * first + second * second * second + third * third * third)
