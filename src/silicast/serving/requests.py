"""Traffic as columns: who arrives when, with how many tokens, and which prefixes are shared."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests sorted by arrival, one row each.

    arrival         seconds at which the request reaches the service
    input_tokens    tokens of the prompt
    output_tokens   tokens that will be generated
    session, turn   conversation the request belongs to (-1 = none) and its turn in it
    hashes          None, or (offsets of length n + 1, ids): ids[offsets[i]:offsets[i + 1]] name the prefixes of request
                    i, one id per full block of `block_tokens` tokens; equal ids are equal prefixes
    block_tokens    tokens of one hashed block
    priority        lower goes first
    think           None, or seconds from the answer before a turn to that turn, which comes then and not before its
                    arrival; without it all arrivals are as they stand
    """

    arrival: Floats
    input_tokens: Ints
    output_tokens: Ints
    session: Ints
    turn: Ints
    hashes: tuple[Ints, Ints] | None
    block_tokens: int
    priority: Ints
    think: Floats | None = None

    def __len__(self) -> int:
        return len(self.arrival)


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """`concurrency` clients; each sends its next request `think_seconds` after its last one ended.

    Requests go out in their order; their arrival column is not used.
    """

    concurrency: int
    think_seconds: float = 0.0


def requests(arrival: Any, input_tokens: Any, output_tokens: Any) -> Requests:
    """Independent requests with nothing shared, from three columns (numbers are repeated)."""
    times = np.atleast_1d(np.asarray(arrival, dtype=np.float64))
    count = times.size
    inputs, outputs = (
        np.broadcast_to(np.asarray(column, dtype=np.int64), count).copy() for column in (input_tokens, output_tokens)
    )
    zero = np.zeros(count, dtype=np.int64)
    return Requests(times, inputs, outputs, zero - 1, zero, None, 1, zero)
