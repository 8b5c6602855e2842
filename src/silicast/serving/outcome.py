"""What the simulation tells: a row per request, events over time, and the gaps between tokens."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.serving.state import BIN, BINS, FINISHED, LOST, OPEN, REJECTED, SHED, SHORTEST_GAP

Array = NDArray[Any]

#: what `Served.state` says; `open`: still in the system when the run was interrupted
STATES = {OPEN: "open", FINISHED: "finished", REJECTED: "rejected", LOST: "lost", SHED: "shed"}


@dataclass(slots=True)
class Gaps:
    """Gaps between successive tokens of a request: a histogram of logarithmic bins 0.1 % wide, weighted by requests."""

    weights: Array

    @property
    def seconds(self) -> Array:
        """Middle of each bin."""
        return np.asarray(SHORTEST_GAP * (1 + BIN) ** (np.arange(BINS) + 1 / 2))

    def mean(self) -> float:
        """Mean gap, seconds; NaN without gaps."""
        total = self.weights.sum()
        return float(self.weights @ self.seconds / total) if total else float("nan")

    def percentile(self, q: float) -> float:
        """The gap that q % of gaps do not exceed, seconds."""
        below = np.cumsum(self.weights)
        if not below[-1]:
            return float("nan")
        return float(self.seconds[min(np.searchsorted(below, q / PERCENT * below[-1]), BINS - 1)])


#: a whole
PERCENT = 100.0


@dataclass(slots=True)
class Timeline:
    """One row per step or leap, in order of its beginning at each replica.

    start, end       seconds
    running, waiting requests at the end of the step, before it gives places free
    kv_blocks        blocks held
    kind             1 prefill, 2 decode, 3 both
    steps            equal steps in the row
    decodes, tokens  decoding requests and prompt tokens of each of these steps
    """

    start: Array
    end: Array
    running: Array
    waiting: Array
    kv_blocks: Array
    kind: Array
    steps: Array
    decodes: Array
    tokens: Array
    replica: Array


@dataclass(frozen=True, slots=True)
class Phases:
    """What replicas (queues) were up to: `first` phase of each, then changes in order of time; see `state.OFF` to DOWN.

    Columns of the changes: time (s), replica, phase.
    """

    first: Array
    time: Array
    replica: Array
    phase: Array

    def spans(self, replica: int, end: float) -> tuple[Array, Array, Array]:
        """From when to when (s) a replica was in which phase, up to the `end` of the run."""
        own = self.replica == replica
        starts = np.concatenate(([0.0], np.minimum(self.time[own], end)))
        return starts, np.append(starts[1:], end), np.concatenate((self.first[replica : replica + 1], self.phase[own]))

    def seconds(self, end: float, on: tuple[int, ...]) -> Array:
        """Seconds that each replica was in one of the phases `on`, shape `(replica,)`."""
        return np.array([
            float(np.sum((ends - starts)[np.isin(phase, on)]))
            for starts, ends, phase in (self.spans(replica, end) for replica in range(self.first.size))
        ])  # fmt: skip


@dataclass(slots=True)
class Served:
    """Requests as they were served, columns in the order of the traffic. Times in seconds, NaN = did not happen.

    arrival        the client sent it (a closed loop: its slot became free)
    dispatched     it left the queue for the first time
    first_token, finished   at the end of the step that made the token
    cached_tokens  prompt tokens found in the prefix cache; host_tokens, remote_tokens: those of them that came from the
                   memory of the host, from the remote store
    state          see STATES
    events         steps and leaps simulated; busy: seconds in which some step ran, by replica
    interrupted    the run was stopped from outside: what is here is right, requests that are open are not done
    retries        how often each was sent again because its replica had failed; phases: None = all were up all the time
    """

    arrival: Array
    dispatched: Array
    first_token: Array
    finished: Array
    output_tokens: Array
    preemptions: Array
    cached_tokens: Array
    host_tokens: Array
    remote_tokens: Array
    replica: Array
    state: Array
    gaps: Gaps
    timeline: Timeline | None
    events: int
    busy: Array
    interrupted: bool = False
    retries: Array | None = None
    phases: Phases | None = None

    @property
    def done(self) -> Array:
        """Which requests have all their tokens."""
        return np.asarray(self.state == FINISHED)

    @property
    def ttft(self) -> Array:
        """Seconds to the first token."""
        return self.first_token - self.arrival

    @property
    def e2e(self) -> Array:
        """Seconds to the last token."""
        return self.finished - self.arrival

    @property
    def tpot(self) -> Array:
        """Seconds per output token after the first; NaN for one token."""
        later = np.where(self.output_tokens > 1, self.output_tokens - 1, np.nan)
        return np.asarray((self.finished - self.first_token) / later)
