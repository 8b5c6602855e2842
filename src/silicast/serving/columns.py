"""A replica in arrays, as it is built, as compiled code takes it and as results are read; and the same in objects."""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import InputError
from silicast.serving.guesses import steps_with_guesses
from silicast.serving.policies import Policy
from silicast.serving.requests import ClosedLoop, Requests
from silicast.serving.state import (
    BINS,
    LEVEL,
    NOBODY,
    ROW,
    STATE,
    UNIT,
    WHEEL,
    Level,
    Replica,
    Row,
    State,
    Unit,
)
from silicast.serving.surface import Surface

Array = NDArray[Any]

#: tokens of a block where nobody says: the default of most engines
BLOCK = 16
#: ids up to so many times their count are used as they are: a prefix costs 12 bytes, sorting the ids far more time
DENSE = 4
#: rows of the log between two looks at it
LOG_ROWS = 1 << 16
ENTRY = np.dtype(
    [(name, "f8") for name in ("start", "end")]
    + [(name, "i8") for name in ("running", "waiting", "kv_blocks", "kind", "steps", "decodes", "tokens")]
)


@dataclass(frozen=True, slots=True)
class Below:
    """A level of the prefix cache below the device: blocks it has room for, and the seconds to load one of them."""

    blocks: int
    seconds: float

    @property
    def useful(self) -> bool:
        """Whether anything ever comes back from it."""
        return self.blocks > 0 and self.seconds < np.inf


#: no such level
NOTHING = Below(0, 0.0)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one replica may carry: tokens in one step, requests at once, blocks of the cache, tokens of a block.

    host     the memory of the host, where prefixes go that the device has no room for
    remote   the store, where they go when the host has none either; its blocks are shared by all replicas of a fleet
    """

    step_tokens: int
    sequences: int
    blocks: int
    block_tokens: int = BLOCK
    host: Below = NOTHING
    remote: Below = NOTHING

    def __post_init__(self) -> None:
        for name in ("step_tokens", "sequences", "blocks", "block_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}.")


@dataclass(frozen=True, slots=True)
class Host:
    """What surrounds the steps.

    front, front_per_token   seconds from the client to the queue, per request and per prompt token
    lag                      decode steps from the device to the client, where an engine hands out results late
    """

    front: float = 0.0
    front_per_token: float = 0.0
    lag: float = 0.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What else a run depends on: leaps taken at once, the host, the share of guesses accepted and who draws them."""

    leaps: bool = True
    host: Host = field(default_factory=Host)
    acceptance: float = 0.0
    random: np.random.Generator | None = None


@dataclass(slots=True)
class Columns:
    """The fields of `Replica` as arrays; `state` and `rows` are records."""

    state: Array
    rows: Array
    heads: Array
    tails: Array
    wheel: Array
    needs: Array
    prompts: Array
    chosen: Array
    chunks: Array
    units: Array
    levels: Array
    shelf: Array
    store: Array
    offsets: Array
    hashes: Array
    since: Array
    sizes: Array
    gaps: Array
    log: Array
    surface: Surface
    policy: Policy

    def objects(self) -> Replica:
        """The same replica for plain Python: objects for records and lists for arrays are faster there."""
        lists = ("heads", "tails", "wheel", "needs", "prompts", "chosen", "chunks")
        more = ("offsets", "hashes", "since", "sizes")
        return Replica(
            state=State(*self.state[0].item()),
            rows=[Row(*row) for row in self.rows.tolist()],
            units=[Unit(*unit) for unit in self.units.tolist()],
            levels=[Level(*level) for level in self.levels.tolist()],
            shelf=[Unit(*unit) for unit in self.shelf.tolist()],
            store=[Level(*level) for level in self.store.tolist()],
            gaps=self.gaps,
            log=self.log.view(np.recarray),
            surface=self.surface,
            decide=self.policy.decide,
            **{name: getattr(self, name).tolist() for name in lists + more},
        )

    def take_back(self, replica: Replica) -> None:
        """What a run in objects has changed."""
        for name in ROW.names or ():
            self.rows[name] = [getattr(row, name) for row in replica.rows]
        for name in STATE.names or ():
            self.state[name] = getattr(replica.state, name)

    def close(self, loop: ClosedLoop) -> None:
        """Requests come from a fixed number of clients: each when an earlier one has ended. Raises InputError."""
        if loop.concurrency < 1 or not loop.think_seconds >= 0:
            given = f"{loop.concurrency} clients that think for {loop.think_seconds} s"
            raise InputError(f"A closed loop needs at least 1 client and a pause of 0 s or more, got {given}.")
        rows, state, first = self.rows, self.state[0], loop.concurrency
        reach = state["front"] + state["front_per_token"] * rows["prompt"][:first]
        rows["sent"][:first], rows["sent"][first:] = 0.0, np.nan
        rows["entered"][:first], rows["entered"][first:] = np.maximum.accumulate(reach), np.inf
        self.state["clients"], self.state["think"] = loop.concurrency, loop.think_seconds


def columns(
    traffic: Requests, surface: Surface, limits: Limits, policy: Policy, setting: Setting | None = None
) -> Columns:
    """An idle replica with all requests still to come. Raises InputError where the surface ends before the limits."""
    _within(surface, limits)
    how = setting or Setting()
    host = how.host
    rows = _rows(traffic, host)
    if surface.query > 1:
        random = how.random or np.random.default_rng(0)
        rows["steps"] = steps_with_guesses(rows["steps"], surface.query - 1, how.acceptance, random)
    units, offsets, hashes = _prefixes(traffic, rows, limits)
    levels = int(rows["priority"].max(initial=0)) + 1
    places = limits.sequences + 1
    whole = Columns(
        state=np.full(1, record(State(), STATE)),
        rows=rows,
        heads=np.full(levels + 1, NOBODY),
        tails=np.full(levels + 1, NOBODY),
        wheel=np.full(WHEEL, NOBODY, np.int32),
        needs=np.zeros(1 << int(rows["steps"].max(initial=0) + 1).bit_length(), np.int64),
        prompts=np.zeros(places, np.int64),
        chosen=np.zeros(places, np.int64),
        chunks=np.zeros(places, np.int64),
        units=units,
        levels=np.array([record(Level(), LEVEL), _level(limits.host, limits, traffic)]),
        shelf=np.zeros(len(units) if limits.remote.useful else 0, UNIT),
        store=np.array([_level(limits.remote, limits, traffic)]),
        offsets=offsets,
        hashes=hashes,
        since=np.zeros(places),
        sizes=np.zeros(places, np.int64),
        gaps=np.zeros(BINS),
        log=np.zeros(1, ENTRY),
        surface=surface,
        policy=policy,
    )
    known = {
        "policy": policy.number,
        "most_tokens": limits.step_tokens,
        "most_sequences": limits.sequences,
        "block": limits.block_tokens,
        "blocks": limits.blocks,
        "free": limits.blocks,
        "classes": levels,
        "unit": traffic.block_tokens if units.size else 0,
        "spare": policy.spared(limits.blocks),
        "margin": policy.spare > 0,
        "guarantees": policy.guarantees,
        "largest": policy.largest(limits.blocks, limits.block_tokens),
        "lower": whole.levels["capacity"].any() or whole.store["capacity"].any(),
        "remote": whole.store["capacity"].any(),
        "leaps": how.leaps,
        "front": host.front,
        "front_per_token": host.front_per_token,
        "lag": host.lag,
    }
    for name, value in known.items():
        whole.state[name] = value
    return whole


def _level(below: Below, limits: Limits, traffic: Requests) -> Any:
    """A level as it begins, empty; counted in hashed blocks."""
    blocks = max(traffic.block_tokens // limits.block_tokens, 1)
    room = below.blocks // blocks if below.useful else 0
    return record(Level(seconds=below.seconds * blocks, capacity=room), LEVEL)


def _within(surface: Surface, limits: Limits) -> None:
    sequences = len(surface.decode) - 1
    tokens = len(surface.cell) - 1 - limits.sequences * surface.query
    if limits.sequences > sequences or limits.step_tokens > tokens:
        raise InputError(
            f"The step times are known up to {sequences} sequences and {tokens} prompt tokens beside them; "
            f"the limits are {limits.sequences} and {limits.step_tokens}."
        )


def record(blank: Any, kind: np.dtype[Any]) -> Any:
    """The fields of an object as a record."""
    return np.array(tuple(getattr(blank, item.name) for item in fields(blank)), dtype=kind)


def _rows(traffic: Requests, host: Host) -> Array:
    rows = np.zeros(len(traffic), ROW)
    rows["sent"] = traffic.arrival
    # the queue is served in the order in which requests were sent
    reach = host.front + host.front_per_token * traffic.input_tokens
    rows["entered"] = np.maximum.accumulate(traffic.arrival + reach)
    rows["prompt"] = rows["target"] = traffic.input_tokens
    rows["output"] = traffic.output_tokens
    rows["steps"] = traffic.output_tokens - 1
    if traffic.priority.any():
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
    count, numbers = _numbered(ids)
    rows["hashed"] = np.minimum(np.diff(offsets), traffic.input_tokens // traffic.block_tokens)
    return np.zeros(max(count, 1), UNIT), np.asarray(offsets, np.int64), np.asarray(numbers, np.int64)


def _numbered(ids: Array) -> tuple[int, Array]:
    """(numbers in use, a small number for each id): ids that are small already, as in traces, stay as they are."""
    if ids.size and ids.min() >= 0 and ids.max() < DENSE * ids.size:
        return int(ids.max()) + 1, ids
    names, numbers = np.unique(ids, return_inverse=True)
    return names.size, numbers
