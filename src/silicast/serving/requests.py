"""Traffic as columns: what arrives, in the order in which it arrives."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests sorted by arrival, one row each; every array has shape `(request,)`.

    arrival        s after the start of the run, float64
    input_tokens   tokens of the prompt, int64
    output_tokens  tokens to generate, int64
    session        requests of one conversation share a number, -1 = none, int64
    turn           place in its conversation, from 0, int64
    hashes         prefix block hashes as a ragged pair `(offsets (request + 1,), ids)`, int64; None = nothing is shared
    block_tokens   tokens that one hash stands for
    priority       a smaller one goes first where the policy looks at it, int64
    """

    arrival: Array
    input_tokens: Array
    output_tokens: Array
    session: Array
    turn: Array
    hashes: tuple[Array, Array] | None
    block_tokens: int
    priority: Array


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """Requests go out in order, each when one of `concurrency` slots is free and has thought for `think_seconds`."""

    concurrency: int
    think_seconds: float = 0.0
