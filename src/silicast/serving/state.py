"""The state of a replica: one row per request, a few numbers, and lists that run through the rows.

The same functions run on it compiled and uncompiled. Compiled, rows are records of one array and the numbers are a
record; uncompiled, they are the objects below. Requests are known by their row numbers; -1 is nobody.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from silicast.serving.surface import Surface

Array = NDArray[Any]

NOBODY = -1
#: what became of a request: it is still in the system, it is done, it can never fit, its replica failed, it was turned
#: away because queues were full; or its cache is on its way to another replica, or waits for that, or it was sent and
#: does not queue yet
OPEN, FINISHED, REJECTED, LOST, SHED, MOVING, PARKED, COMING = range(8)
#: what a replica does: nothing, it starts, takes requests, takes no more but finishes those it has, is being repaired
OFF, STARTING, UP, DRAINING, DOWN = range(5)
#: a prefix that is on the device though nobody holds it; one that only the host has
IDLE, ON_HOST = 1, -1
#: logarithmic bins of the histogram of gaps between tokens: width 0.1 %, from 1 us to 10^5 s
BIN, SHORTEST_GAP, LONGEST_GAP = 0.001, 1e-6, 1e5
BINS = int(np.log(LONGEST_GAP / SHORTEST_GAP) / np.log1p(BIN)) + 1
#: slots of the wheel that files decoding requests by their last step: a power of two; longer outputs go round again
WHEEL = 1 << 12


@dataclass(slots=True)
class Row:
    """A request on its way. Times in seconds, NaN = not yet, once it has entered.

    sent         the client sends it; entered: it stands in the queue; dispatched: it left it for the first time
    first, finished   the client has the first token, and the last
    token        its last token came before it lost its place, or when it began to decode
    end          step of the decode clock that makes its last token
    steps        decode steps that make all its tokens but the first: as many as these, fewer when guesses are accepted
    target       tokens to compute before it decodes: its prompt, and what it had generated before it was preempted
    computed     tokens of these in the cache
    blocks       blocks of the cache it holds; units: those of them that others may share, counted in hashed blocks
    hashed       hashed blocks of its prompt
    cached       tokens found in the prefix cache when it was first admitted; from_host, from_store: those of them that
                 came from the memory of the host, from the remote store
    following    the next request of its list (waiting or running); preceding: the one before
    alongside    the next request that ends in the same slot of the wheel; of one whose cache moves: where room is kept
    replica      where it is; loaded: tokens whose cache comes from another replica (then it entered when that arrived)
    """

    sent: float = 0.0
    entered: float = 0.0
    dispatched: float = 0.0
    first: float = 0.0
    finished: float = 0.0
    token: float = 0.0
    end: int = 0
    prompt: int = 0
    output: int = 0
    steps: int = 0
    target: int = 0
    computed: int = 0
    blocks: int = 0
    units: int = 0
    hashed: int = 0
    cached: int = 0
    from_host: int = 0
    from_store: int = 0
    preemptions: int = 0
    priority: int = 0
    state: int = OPEN
    following: int = 0
    preceding: int = 0
    alongside: int = 0
    replica: int = 0
    loaded: int = 0


@dataclass(slots=True)
class State:
    """The numbers of a replica.

    now, until    the last boundary of a step, and the next one (infinite = idle); start: when the leap began
    steps         equal steps until then
    clock         decode steps done; decoding: requests that decode
    context, growth   their cached tokens, and how many they add in a step
    running       requests that hold a place; waiting: those that queue; prompts: running ones that do not decode yet
    free          blocks that hold nothing; idle: blocks of cached prefixes that nobody holds
    promised      blocks that the running requests will hold when they end, and those kept for caches that come
    guarantees    the policy admits nobody to whom it cannot promise all of his
    most_tokens   tokens one step may carry; most_sequences: requests that may run together
    block         tokens of a block; blocks: blocks in all; unit: tokens of a hashed block
    spare         blocks that a policy keeps free when it admits; margin: blocks it wants to see beyond those it takes
    classes       priorities; clients: requests in flight in a closed loop (0 = open); think: their pause, seconds
    front, front_per_token   seconds from the client to the queue; lag: decode steps from the device to the client
    moved         a request was admitted or preempted by the last decision
    step_*        what the step carries: decoding requests, prompt tokens, prompts, query-key pairs, tokens cached, and
                  the seconds before it in which prefixes are loaded
    full, ghosts, aged, ratio   memory of a policy: nobody fits; decoding requests that ended since it looked; decode
                  steps since it last estimated, and that estimate
    token, groups, fresh   when the last decode step ended; groups of requests, and requests, that began to decode since
    step_loaded   requests of the step whose cache has come from elsewhere and who will decode
    hands_over    requests leave with their first token, to decode elsewhere; called: somebody came who may end a leap
    tells_first   who comes with his cache has his first token sent from here, when he is admitted
    arrived       rows that have come; finished: those that have left; ended: the last of these, the first of a list
    preempted, events, logged   counters
    ranks         attention ranks in lock-step, this one included; leader: the first of them in the cluster
    turns         whether they take requests in turn; turn: whose it is; experts: seconds of a decode step beyond one in
                  which all of them carry as much
    lower         whether there are levels of the prefix cache below the device; remote: whether there is a remote store
    watched       a router or another replica looks at what the cache holds
    leaps         whether equal steps are taken at once; log: whether events are logged
    """

    now: float = 0.0
    until: float = np.inf
    start: float = 0.0
    think: float = 0.0
    front: float = 0.0
    front_per_token: float = 0.0
    lag: float = 0.0
    step_pairs: float = 0.0
    step_load: float = 0.0
    context: float = 0.0
    growth: float = 0.0
    ratio: float = 0.0
    token: float = 0.0
    busy: float = 0.0
    steps: int = 0
    clock: int = 0
    decoding: int = 0
    running: int = 0
    waiting: int = 0
    prompts: int = 0
    free: int = 0
    idle: int = 0
    promised: int = 0
    policy: int = 0
    most_tokens: int = 0
    most_sequences: int = 0
    block: int = 1
    blocks: int = 0
    unit: int = 0
    spare: int = 0
    margin: int = 0
    guarantees: int = 0
    largest: int = 0
    classes: int = 1
    clients: int = 0
    moved: int = 0
    step_decodes: int = 0
    step_tokens: int = 0
    step_prompts: int = 0
    step_cached: int = 0
    step_loaded: int = 0
    hands_over: int = 0
    tells_first: int = 0
    called: int = 0
    full: int = 0
    ghosts: int = 0
    aged: int = 0
    groups: int = 0
    fresh: int = 0
    arrived: int = 0
    finished: int = 0
    ended: int = NOBODY
    preempted: int = 0
    events: int = 0
    logged: int = 0
    ranks: int = 1
    leader: int = 0
    turns: int = 0
    turn: int = 0
    experts: float = 0.0
    lower: int = 0
    remote: int = 0
    watched: int = 0
    leaps: int = 1
    log: int = 0


@dataclass(slots=True)
class Unit:
    """A hashed block of a prefix.

    claims       0 = neither on the device nor on its host, ON_HOST, IDLE = on the device and held by nobody, IDLE + n =
                 held by n requests; in a store 0 or IDLE
    older, newer its neighbours among the idle ones of its level, least recently used first
    """

    claims: int = 0
    older: int = 0
    newer: int = 0


@dataclass(slots=True)
class Level:
    """A level of the prefix cache: the ends of its list, least recently used first.

    capacity, held   hashed blocks that it has room for and has (not counted on the device, whose blocks are)
    seconds          it takes to load one of them
    """

    seconds: float = 0.0
    oldest: int = NOBODY
    newest: int = NOBODY
    capacity: int = 0
    held: int = 0


@dataclass(slots=True)
class Replica:
    """All that a policy and the event loop work on.

    rows         requests; heads, tails: first and last of each list, a waiting list per priority, then the running one
    wheel        first request that ends in a slot; needs: blocks that decoding requests will take in the steps to
                 come, by the clock modulo its length, a power of two
    prompts      running requests that do not decode yet, in the order of their admission
    chosen, chunks   prompts of the step and their tokens
    units        prefixes; offsets, hashes: which ones a prompt consists of
    levels       of the prefix cache, on the device and in the memory of its host; shelf, store: prefixes in the remote
                 store and its only level, which replicas share
    since, sizes groups of requests that began to decode: when, how many
    gaps         weights of the histogram of gaps between tokens
    log          (time, running, waiting, blocks, kind) of events
    decide       the policy of a user, or None
    """

    state: State
    rows: list[Row]
    heads: list[int]
    tails: list[int]
    wheel: list[int]
    needs: list[int]
    prompts: list[int]
    chosen: list[int]
    chunks: list[int]
    units: list[Unit]
    levels: list[Level]
    shelf: list[Unit]
    store: list[Level]
    offsets: list[int]
    hashes: list[int]
    since: list[float]
    sizes: list[int]
    gaps: Array
    log: Array
    surface: Surface
    decide: "Decide"


@dataclass(slots=True)
class ClusterState:
    """The numbers of a cluster.

    prefills      replicas that compute prompts only (0 = all do everything); the others decode
    latency, per_token   seconds that a cache travels: at least, and per token
    clients, think   of a closed loop (0 = open); departed: requests that have ended, in whatever way
    arrived       rows that have come; router: its number
    moving        requests on their way: caches between pools, turns to the queue
    turns         turns wait for the answer before them
    selective     not every replica takes every request at all times
    per_replica, in_all   most requests that queue at one replica, and at all of them (0 = no bound)
    holds         whoever finds no replica waits at the router, else is turned away
    held, first_held, last_held   the list of those
    pressed       a cache travels only when there is room for it
    parked, first_parked, last_parked   the list of requests whose cache waits for that
    control       when something is due that is done to replicas: a failure, a repair, a look at the load
    outage        the next row of outages; changed: rows of changes
    """

    latency: float = 0.0
    per_token: float = 0.0
    think: float = 0.0
    control: float = np.inf
    prefills: int = 0
    clients: int = 0
    departed: int = 0
    arrived: int = 0
    moving: int = 0
    router: int = 0
    turns: int = 0
    selective: int = 0
    per_replica: int = 0
    in_all: int = 0
    holds: int = 1
    held: int = 0
    first_held: int = NOBODY
    last_held: int = NOBODY
    pressed: int = 0
    parked: int = 0
    first_parked: int = NOBODY
    last_parked: int = NOBODY
    outage: int = 0
    changed: int = 0


@dataclass(slots=True)
class Instance:
    """A rank as its operator sees it: its phase, when it will be up, whether it takes who is routed now."""

    ready: float = np.inf
    phase: int = UP
    takes: int = 1


@dataclass(slots=True)
class PoolState:
    """How the replicas of a pool are kept.

    first, last   its queues, the last one excluded; ranks: those of one replica, which start and fail together
    retries       how often a request of a failed replica is sent again before it is lost; turn: of the round robin
    least, most   replicas that autoscaling keeps
    requests, kv_share   what it aims at: outstanding requests per replica, or share of the cache in use (0 = not this)
    every, startup   seconds between two looks at the load, and until a new replica takes requests; due: the next look
    """

    due: float = np.inf
    every: float = np.inf
    startup: float = 0.0
    requests: float = 0.0
    kv_share: float = 0.0
    first: int = 0
    last: int = 0
    ranks: int = 1
    retries: int = 0
    turn: int = 0
    least: int = 0
    most: int = 0


@dataclass(slots=True)
class Outage:
    """A queue is down from `start` to `end` (s). With nobody as replica: from `start` on no outage is known yet."""

    start: float = 0.0
    end: float = 0.0
    replica: int = NOBODY


@dataclass(slots=True)
class Change:
    """A queue enters a phase."""

    time: float = 0.0
    replica: int = 0
    phase: int = 0


@dataclass(slots=True)
class Cluster:
    """Replicas that share their rows.

    draws        two random numbers per request; homes: replica of each session
    taking       first ranks of the replicas that would take a request: those of each pool from its first place on
    outages      by their start; changes: what has happened to replicas, to be taken away now and then
    retries      of each request; turns: the turn that waits for it; thinks: s that it comes after the answer before it;
                 waits: whether it comes after an answer
    """

    state: ClusterState
    rows: list[Row]
    replicas: list[Replica]
    sessions: list[int]
    homes: list[int]
    draws: list[float]
    instances: list[Instance]
    pools: list[PoolState]
    taking: list[int]
    outages: list[Outage]
    changes: Any
    retries: list[int]
    turns: list[int]
    thinks: list[float]
    waits: list[int]


Decide = Callable[[Replica], None]
#: columns wider than 32 bits
WIDE = ("end",)


def layout(row: Any, wide: Sequence[str] = ()) -> np.dtype[Any]:
    """The record that holds the fields of a dataclass: 64-bit where they are wide, times always."""
    of = {float: "f8", int: "i4"}
    kinds = {field.name: "i8" if field.name in wide else of[cast(type, field.type)] for field in fields(row)}
    return np.dtype(list(kinds.items()), align=True)


ROW = layout(Row, WIDE)
STATE = layout(State, tuple(field.name for field in fields(State) if field.type is int))
UNIT, LEVEL = layout(Unit), layout(Level)
CLUSTER = layout(ClusterState, tuple(field.name for field in fields(ClusterState) if field.type is int))
INSTANCE, POOL, OUTAGE, CHANGE = layout(Instance), layout(PoolState), layout(Outage), layout(Change)
