"""A race of units under simulated traffic: a handful of simulations finds the one that is cheapest there.

Branch and bound: a unit costs at least what the closed form says, so that one which is dearer than the best that was
simulated cannot win, and one which is cheaper is simulated first at the least share of its load at which it would.
They run from cheap and tight to dear and roomy; of those that are left the middle one is taken, as in a bisection.
What asks more of the traffic than one that failed is not tried.
"""

import numpy as np
from numpy.typing import NDArray

from silicast.planning.trials import SHARES, Bench, Trial
from silicast.planning.units import CUT, Units

Array = NDArray[np.float64]

#: a candidate asks as much of the traffic as another if it asks less by no more than this share
ALIKE = 0.02


class Race:
    """Candidates of one group.

    prices  `(row, share)`: what a row costs if it carries a share of its load, one of `SHARES`
    asks    `(row, what)`: what a row asks of the traffic, such as latencies in closed form; less is easier
    rows    by price
    found   the trials of those that met the targets, else of the one that missed them by least
    told    all trials
    best    price of the best that met the targets
    """

    def __init__(self, bench: Bench, units: Units, prices: Array, asks: Array, rows: list[int]) -> None:
        self.bench, self.units, self.prices, self.asks, self.rows = bench, units, prices, asks, rows
        self.found: dict[int, Trial] = {}
        self.told: list[Trial] = []
        self.best = np.inf
        self._rest = list(rows)

    def run(self, most: int, below: float = np.inf) -> None:
        """Simulates what can win at a price below the given one, until none is left or `most` trials were made."""
        while len(self.told) < most:
            below = min(below, self.best)
            left = [row for row in self._rest if self._least(row, below) < SHARES.size]
            if not left:
                break
            middle = left[len(left) // 2]
            self._try(middle, self._least(middle, below))

    def fill(self, wanted: int, most: int) -> None:
        """Simulates what comes next by price, until `wanted` meet the targets or `most` trials were made."""
        while self._rest and len(self.found) < wanted and len(self.told) < most:
            self._try(self._rest[0], 0)

    def _try(self, row: int, least: int) -> None:
        """Simulates a row from the share at `least` on, and drops what it decides."""
        self._rest.remove(row)
        trial = self.bench.trial(self.units, row, least)
        if trial is None:
            return
        self.told.append(trial)
        if trial.met:
            self.found = {place: one for place, one in self.found.items() if one.met} | {row: trial}
            self.best = min(self.best, float(self.prices[row, np.searchsorted(SHARES, trial.share * (1 - 1e-9))]))
        else:
            nearest = min((one.missing for one in self.found.values()), default=np.inf)
            if not any(one.met for one in self.found.values()) and trial.missing < nearest:
                self.found = {row: trial}
            self._rest = [one for one in self._rest if not self._asks_more(one, row, least)]
        if not trial.as_told:
            # another batch of the same pools is the same at another load
            self._rest = [one for one in self._rest if cut(self.units, one) != cut(self.units, row)]

    def _least(self, row: int, below: float) -> int:
        """Place of the least share of its load with which a row costs less; beyond the last where it cannot."""
        return int(np.argmax(np.append(self.prices[row] < below, True)))

    def _asks_more(self, row: int, other: int, least: int) -> bool:
        return self._least(row, self.best) >= least and bool(np.all(self.asks[row] >= self.asks[other] * (1 - ALIKE)))


def cut(units: Units, row: int) -> tuple[float, ...]:
    """What a unit is, whatever it is loaded with."""
    return tuple(float(getattr(units, name)[row]) for name in CUT)
