"""Replay requests through one replica: uncompiled where the run is small or the policy is the user's own."""

from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import InputError, MissingExtraError
from silicast.serving.outcome import Gaps, Served, Timeline
from silicast.serving.policies import Policy, policy_of
from silicast.serving.replica import run
from silicast.serving.requests import ClosedLoop, Requests
from silicast.serving.state import BINS, NOBODY, ROW, STATE, UNIT, WHEEL, Decide, Replica, Row, State, Unit
from silicast.serving.surface import Surface

Array = NDArray[Any]

#: rows of the log added at once, and events between two looks at it
LOG_ROWS = 1 << 16
EVENTS = 1 << 20
ENTRY = np.dtype(
    [(name, "f8") for name in ("time", "end")]
    + [(name, "i8") for name in ("running", "waiting", "blocks", "kind", "steps", "decodes", "tokens")]
)


#: requests below which compiled code is not worth loading: an uncompiled request takes about 50 us, loading a second
WORTHWHILE = 20_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What one replica may carry: tokens in one step, requests at once, blocks of the cache, tokens of a block."""

    step_tokens: int
    sequences: int
    blocks: int
    block_tokens: int = 16

    def __post_init__(self) -> None:
        for name in ("step_tokens", "sequences", "blocks", "block_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}.")


def simulate(
    traffic: Requests,
    surface: Surface,
    limits: Limits,
    policy: str | Decide = "vllm",
    loop: ClosedLoop | None = None,
    **options: Any,
) -> Served:
    """The requests as one replica serves them. Options: see `Options`.

    `policy` is a name of `silicast.serving.policies.POLICIES` or a function of the replica (see `verbs`).
    """
    how = Options(**options)
    chosen = policy_of(policy)
    fast = how.compile if how.compile is not None else _worthwhile(traffic, chosen)
    replica = new_replica(traffic, surface, limits, chosen, how)
    if loop is not None:
        close(replica, loop)
    run_all(replica, fast)
    return served(traffic, replica)


@dataclass(frozen=True, slots=True)
class Options:
    """compile: None = where it pays; leaps: equal steps at once (False is the test of it); timeline: log the steps."""

    compile: bool | None = None
    leaps: bool = True
    timeline: bool = False


def _worthwhile(traffic: Requests, policy: Policy) -> bool:
    return policy.number >= 0 and len(traffic) >= WORTHWHILE and find_spec("numba") is not None


def new_replica(traffic: Requests, surface: Surface, limits: Limits, policy: Policy, how: Options) -> Replica:
    """An idle replica with all requests still to come, in arrays."""
    rows = _rows(traffic, limits)
    units, offsets, hashes = _prefixes(traffic, rows, limits)
    state = np.zeros(1, STATE)
    state[0] = tuple(getattr(State(), name) for name in STATE.names or ())
    levels = int(rows["priority"].max(initial=0)) + 1
    known = {
        "policy": policy.number, "most_tokens": limits.step_tokens, "most_sequences": limits.sequences,
        "block": limits.block_tokens, "blocks": limits.blocks, "free": limits.blocks, "classes": levels,
        "unit": traffic.block_tokens if units.size else 0, "spare": policy.spared(limits.blocks), "margin": policy.spare > 0,
        "largest": policy.largest(limits.blocks, limits.block_tokens),
        "leaps": how.leaps, "log": how.timeline,
    }  # fmt: skip
    for name, value in known.items():
        state[name] = value
    places = limits.sequences + 1
    return Replica(
        state=state,
        rows=rows,
        heads=np.full(levels + 1, NOBODY),
        tails=np.full(levels + 1, NOBODY),
        wheel=np.full(WHEEL, NOBODY, np.int32),
        phases=np.zeros(limits.block_tokens, np.int64),
        prompts=np.zeros(places, np.int64),
        chosen=np.zeros(places, np.int64),
        chunks=np.zeros(places, np.int64),
        units=units,
        offsets=offsets,
        hashes=hashes,
        since=np.zeros(places),
        sizes=np.zeros(places, np.int64),
        gaps=np.zeros(BINS),
        log=np.zeros(LOG_ROWS if how.timeline else 1, ENTRY),
        surface=surface,
        decide=policy.decide,
    )


def _rows(traffic: Requests, limits: Limits) -> Array:
    rows = np.zeros(len(traffic), ROW)
    blank = Row()
    for name in ROW.names or ():
        rows[name] = getattr(blank, name)
    rows["entered"] = traffic.arrival
    rows["prompt"] = rows["target"] = traffic.input_tokens
    rows["output"] = traffic.output_tokens
    rows["priority"] = np.unique(traffic.priority, return_inverse=True)[1]
    return rows


def _prefixes(traffic: Requests, rows: Array, limits: Limits) -> tuple[Array, Array, Array]:
    """(a blank unit per prefix, first prefix of each request, prefixes by number); sets how many a request has."""
    if traffic.hashes is None:
        return np.zeros(0, UNIT), np.zeros(1, np.int64), np.zeros(1, np.int64)
    if traffic.block_tokens % limits.block_tokens:
        raise InputError(
            f"Prefixes are hashed in blocks of {traffic.block_tokens} tokens, which must be a multiple of the cache's "
            f"block of {limits.block_tokens} tokens."
        )
    offsets, ids = traffic.hashes
    names, numbers = np.unique(ids, return_inverse=True)
    rows["hashed"] = np.minimum(np.diff(offsets), traffic.input_tokens // traffic.block_tokens)
    units = np.zeros(max(names.size, 1), UNIT)
    units[:] = tuple(getattr(Unit(), name) for name in UNIT.names or ())
    return units, offsets.astype(np.int64), numbers.astype(np.int64)


def close(replica: Replica, loop: ClosedLoop) -> None:
    """Requests come from a fixed number of clients: each when an earlier one has ended."""
    if loop.concurrency < 1:
        raise InputError(f"concurrency must be at least 1, got {loop.concurrency}.")
    replica.rows["entered"][: loop.concurrency] = 0.0
    replica.rows["entered"][loop.concurrency :] = np.inf
    replica.state["clients"], replica.state["think"] = loop.concurrency, loop.think_seconds


def run_all(replica: Replica, fast: bool) -> None:
    """Run until nothing is left to do."""
    if fast:
        _run_compiled(replica)
        return
    plain = in_objects(replica)
    while run(plain, EVENTS):
        pass
    into_arrays(plain, replica)


def _run_compiled(replica: Replica) -> None:
    if find_spec("numba") is None:
        raise MissingExtraError("Compiled simulation needs numba: pip install 'silicast[simulate]'.")
    from silicast.serving import compiled

    parts = compiled.arguments(replica)
    while compiled.run(*parts, EVENTS):
        pass


def in_objects(replica: Replica) -> Replica:
    """The same replica with objects for records and lists for arrays: faster in plain Python."""
    lists = {
        name: getattr(replica, name).tolist()
        for name in ("heads", "tails", "wheel", "phases", "prompts", "chosen", "chunks", "offsets", "hashes", "since")
    }
    return replace(
        replica,
        state=State(*replica.state[0].item()),
        rows=[Row(*row) for row in replica.rows.tolist()],
        units=[Unit(*unit) for unit in replica.units.tolist()],
        sizes=replica.sizes.tolist(),
        log=replica.log.view(np.recarray),
        **lists,
    )


def into_arrays(plain: Replica, replica: Replica) -> None:
    """What a run in objects has changed, back into arrays."""
    for name in ROW.names or ():
        replica.rows[name] = [getattr(row, name) for row in plain.rows]
    for name in STATE.names or ():
        replica.state[name] = getattr(plain.state, name)


def served(traffic: Requests, replica: Replica) -> Served:
    """The outcome of a run."""
    rows, state = replica.rows, replica.state[0]
    arrival = np.where(np.isfinite(rows["entered"]), rows["entered"], np.nan)
    log = replica.log[: state["logged"]]
    timeline = None
    if state["log"]:
        columns = ("time", "end", "running", "waiting", "blocks", "kind", "steps", "decodes", "tokens")
        timeline = Timeline(*(log[name].copy() for name in columns), np.zeros(log.size, np.int64))
    return Served(
        arrival, rows["dispatched"], rows["first"], rows["finished"], traffic.output_tokens, rows["preemptions"],
        rows["cached"], np.zeros(len(rows), np.int32), rows["state"], Gaps(replica.gaps), timeline,
        int(state["events"]), float(state["busy"]),
    )  # fmt: skip
