"""Conversations: each turn begins with all that was said before it and comes after a time to think."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import InputError
from silicast.serving.lengths import lognormal

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Think:
    """Seconds from an answer to the next question: lognormal, `spread` = standard deviation over mean, 0 = fixed."""

    mean: float
    spread: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.mean < np.inf:
            raise InputError(f"The time to think must be zero or positive seconds, got {self.mean:g}.")
        if not 0 <= self.spread < np.inf:
            raise InputError(f"The spread of the time to think must be zero or positive, got {self.spread:g}.")

    def draw(self, count: int, random: np.random.Generator) -> Array:
        """`count` times in s."""
        if self.mean == 0:
            return np.zeros(count)
        return lognormal(self.mean, self.spread, count, random)


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns of all conversations, in order of conversation and turn; shape `(request,)`."""

    session: Array
    turn: Array

    @classmethod
    def of(cls, counts: Array) -> "Turns":
        """From the number of turns of each conversation."""
        counts = np.asarray(counts, dtype=np.int64)
        session = np.repeat(np.arange(counts.size), counts)
        return cls(session, np.arange(session.size) - (np.cumsum(counts) - counts)[session])

    def arrivals(self, starts: Array, thinking: Array) -> Array:
        """Times (s) at which the turns would come if answers took no time: the start plus all thinking so far.

        None comes earlier than that; a simulator, which knows when an answer ended, sends the next turn `thinking`
        after it (`Requests.think`). `thinking` of a first turn is not used.
        """
        return np.asarray(starts)[self.session] + self._running(np.where(self.turn > 0, thinking, 0.0))

    def contexts(self, said: Array, answered: Array, most: int) -> Array:
        """Input tokens of each turn: everything said and answered before and what is new, at most `most`.

        A conversation that is full keeps its window of `most` tokens.
        """
        before = self._running(said + answered) - (said + answered)
        return np.asarray(np.minimum(before + said, most))

    def _running(self, values: Array) -> Array:
        """Sums within each conversation, the present turn included; turn by turn, so that no long sum rounds them."""
        sums = np.array(values)
        place = np.flatnonzero(self.turn == 0)
        while place.size:
            following = place + 1
            place = following[following < sums.size]
            place = place[self.turn[place] > 0]
            sums[place] += sums[place - 1]
        return sums
