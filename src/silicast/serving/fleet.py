"""Replay requests through many replicas behind a router, in one pool or with prefill and decode apart."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import InputError, MissingExtraError, not_found
from silicast.serving.cluster import run_cluster
from silicast.serving.columns import ENTRY, Columns, Limits, columns, record
from silicast.serving.outcome import Gaps, Served, Timeline
from silicast.serving.policies import DEFAULT, OWN, policy_of
from silicast.serving.requests import ClosedLoop, Requests
from silicast.serving.routers import ROUTERS
from silicast.serving.simulate import COMPILED_GAIN, EVENTS, WORTHWHILE, Options
from silicast.serving.state import (
    CLUSTER,
    COMING,
    MOVING,
    NOBODY,
    OPEN,
    PARKED,
    UNIT,
    Cluster,
    ClusterState,
    Decide,
    Instance,
    Outage,
    PoolState,
)
from silicast.serving.surface import Surface
from silicast.serving.upkeep import Autoscaling, Failures, QueueLimits
from silicast.serving.watch import Upkeep

Array = NDArray[Any]

#: rows of the log of each replica between two looks at it
LOG_ROWS = 1 << 12
#: what each replica has its own of
OWN_FIELDS = ("state", "heads", "tails", "wheel", "needs", "prompts", "chosen", "chunks", "since", "sizes")
OWN_LATER = ("units", "levels", "gaps", "log")


@dataclass(frozen=True, slots=True)
class Fleet:
    """Replicas that are alike: how many, how long their steps take, what each may carry, and how it schedules.

    ranks      attention ranks of a replica in lock-step, each with a queue; surface and limits are those of one
    failures   when replicas fail; scaling: how many there are, `replicas` of them in the beginning
    """

    replicas: int
    surface: Surface
    limits: Limits
    policy: str | Decide = DEFAULT
    ranks: int = 1
    failures: Failures | None = None
    scaling: Autoscaling | None = None

    @property
    def most(self) -> int:
        """Replicas that there may be."""
        return self.replicas if self.scaling is None else self.scaling.most

    @property
    def queues(self) -> int:
        """One at each rank of each replica that there may be."""
        return self.most * self.ranks

    def check(self) -> None:
        """Raises InputError."""
        if self.replicas < 1 or self.ranks < 1:
            raise InputError("A fleet has at least 1 replica, and a replica at least 1 attention rank.")
        if self.scaling and not self.scaling.least <= self.replicas <= self.scaling.most:
            raise InputError(
                f"Autoscaling begins with {self.replicas} replicas; it keeps from {self.scaling.least} to "
                f"{self.scaling.most}."
            )


@dataclass(frozen=True, slots=True)
class Transfer:
    """The way of a cache from the replica that computed it to the one that decodes: seconds at least, and per token.

    in_ttft     the client gets its first token from the replica that decodes, once that has the cache and a place
    when_room   it travels only when a decoding replica has blocks for it, and keeps them
    """

    latency: float = 0.0
    per_token: float = 0.0
    in_ttft: bool = False
    when_room: bool = False


def simulate_fleet(
    traffic: Requests,
    fleet: Fleet,
    router: str = "round-robin",
    decode: Fleet | None = None,
    transfer: Transfer | None = None,
    loop: ClosedLoop | None = None,
    queue: QueueLimits | None = None,
    **options: Any,
) -> Served:
    """The requests as a fleet serves them; with `decode` the first fleet computes prompts and the second one decodes.

    Options: see `simulate.Options`; `random` also draws the replicas that the router `power-of-two` compares, and its
    children draw failures.
    Raises InputError, NotFoundError for an unknown router.
    """
    if router not in ROUTERS:
        raise not_found("Router", router, ROUTERS, f"Choose one of: {', '.join(ROUTERS)}.")
    how = Options(**options)
    pools = [fleet] if decode is None else [fleet, decode]
    for pool in pools:
        pool.check()
    whole = _Stacked(traffic, pools, how)
    way = transfer or Transfer()
    whole.own["state"]["tells_first"][whole.kinds > 0] = way.in_ttft
    known = {"router": ROUTERS[router], "latency": way.latency, "per_token": way.per_token}
    known |= {"prefills": fleet.queues if decode else 0, "pressed": way.when_room and decode is not None}
    bounds = queue or QueueLimits()
    known |= {"per_replica": bounds.per_replica or 0, "in_all": bounds.in_all or 0, "holds": bounds.holds}
    kept = queue or any(pool.failures or pool.scaling for pool in pools)
    known |= {"selective": bool(kept) or known["pressed"]}
    for name, value in known.items():
        whole.state[name] = value
    # a cache that has come is not looked up where it decodes
    looked_up = whole.kinds == 0 if router == "prefix-aware" or fleet.limits.remote.useful else False
    whole.own["state"]["watched"] = looked_up | (whole.own["state"]["remote"] > 0)
    if router == "power-of-two":
        whole.draws = (how.random or np.random.default_rng(0)).random(2 * len(traffic))
    if loop is not None:
        whole.parts[0].close(loop)
        whole.state["clients"], whole.state["think"] = loop.concurrency, loop.think_seconds
        whole.parts[0].state["clients"] = 0
    worthwhile = len(traffic) >= WORTHWHILE and find_spec("numba") is not None
    wanted = worthwhile if how.compile is None else how.compile
    built_in = all(policy_of(pool.policy).number != OWN for pool in pools)
    whole.run(wanted and built_in, how)
    return whole.served(traffic, how.timeline)


class _Stacked:
    """The replicas of a cluster in arrays with a leading axis, one row of requests for all of them."""

    def __init__(self, traffic: Requests, pools: list[Fleet], how: Options) -> None:
        self.pools = pools
        self.kinds = np.repeat(np.arange(len(pools)), [pool.queues for pool in pools])
        places = max(pool.limits.sequences for pool in pools)
        samples = [columns(traffic, pool.surface, pool.limits, policy_of(pool.policy), how.setting) for pool in pools]
        # the last fleet decodes
        self.rows = samples[-1].rows
        self.own: dict[str, Array] = {}
        self.own["units"] = np.zeros((len(self.kinds), len(samples[0].units)), UNIT)
        for name in (*OWN_FIELDS, "levels", "gaps", "log"):
            blanks = [_padded(getattr(sample, name), name, places) for sample in samples]
            width = max(len(blank) for blank in blanks)
            self.own[name] = np.stack([_wide(blanks[kind], width) for kind in self.kinds])
        self.own["state"] = self.own["state"][:, 0]
        if how.timeline:
            self.own["log"] = np.zeros((len(self.kinds), LOG_ROWS), ENTRY)
            self.own["state"]["log"] = True
        ranks = np.array([pool.ranks for pool in pools])[self.kinds]
        ahead = np.where(self.kinds > 0, pools[0].queues, 0)
        place = np.arange(len(self.kinds)) - ahead
        self.own["state"]["ranks"], self.own["state"]["leader"] = ranks, ahead + place // ranks * ranks
        self.own["state"]["turns"] = np.array([policy_of(pool.policy).turns for pool in pools])[self.kinds]
        if len(pools) > 1:
            self.own["state"]["hands_over"][self.kinds == 0] = True
        self.parts = [self._part(samples[kind], i) for i, kind in enumerate(self.kinds)]
        self.state = np.full(1, record(ClusterState(), CLUSTER))
        sessions = np.unique(traffic.session, return_inverse=True)[1]
        self.sessions = np.where(traffic.session < 0, NOBODY, sessions)
        self.homes = np.full(int(sessions.max(initial=0)) + 1, NOBODY)
        self.draws = np.zeros(1)
        self.upkeep = Upkeep(pools, how.random)
        self.state["control"] = self.upkeep.first_control
        self.retries = np.zeros(len(traffic) if any(pool.failures for pool in pools) else 1, np.int64)
        self.turns, self.thinks, self.waits = _turns(traffic)
        self.state["turns"] = bool(self.waits.any())
        self.state["arrived"] = np.argmin(self.waits)
        late = np.flatnonzero(self.waits)
        self.rows["entered"][late] = np.inf
        for name in ("dispatched", "first", "finished"):
            self.rows[name] = np.nan
        self.logs: list[tuple[int, Array]] = []
        self.interrupted = False

    def _part(self, sample: Columns, i: int) -> Columns:
        own = {name: values[i] for name, values in self.own.items() if name != "state"}
        return replace(sample, state=self.own["state"][i : i + 1], rows=self.rows, **own)

    def run(self, fast: bool, how: Options) -> None:
        """Until nothing is left to do, or until somebody interrupts from the keyboard."""
        more = self._more_compiled() if fast else self._more_in_objects()
        try:
            for left in more:
                if how.progress is not None:
                    how.progress(left, len(self.rows))
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            more.close()

    def _left(self) -> int:
        return int(self.state["departed"][0])

    def _more_compiled(self) -> Generator[int]:
        if find_spec("numba") is None:
            raise MissingExtraError("Compiled simulation needs numba: pip install 'silicast[simulate]'.")
        from silicast.serving import compiled

        own = tuple(self.own[name] for name in (*OWN_FIELDS, *OWN_LATER))
        tables = tuple(compiled.tables(pool.surface) for pool in (self.pools[0], self.pools[-1]))
        first = self.parts[0]
        common = first.offsets, first.hashes, first.shelf, first.store
        turns = self.retries, self.turns, self.thinks, self.waits
        more = True
        while more:
            kept = (self.upkeep.instances, self.upkeep.pools, self.upkeep.taking, self.upkeep.outages)
            shared = (self.state, self.rows, self.sessions, self.homes, self.draws, *kept, self.upkeep.changes, *turns)
            more = compiled.run_cluster(shared, own, common, tables, self.kinds, EVENTS)
            self._keep_logs()
            self.upkeep.look(self.state)
            yield self._left()

    def _more_in_objects(self) -> Generator[int]:
        replicas = [part.objects() for part in self.parts]
        for replica in replicas:
            replica.rows = replicas[0].rows
            replica.shelf, replica.store = replicas[0].shelf, replicas[0].store
        kept = self.upkeep
        whole = Cluster(
            ClusterState(*self.state[0].item()), replicas[0].rows, replicas, self.sessions.tolist(),
            self.homes.tolist(), self.draws.tolist(), [Instance(*one) for one in kept.instances.tolist()],
            [PoolState(*one) for one in kept.pools.tolist()], kept.taking.tolist(), [], kept.changes.view(np.recarray),
            self.retries.tolist(), self.turns.tolist(), self.thinks.tolist(), self.waits.tolist(),
        )  # fmt: skip
        more = True
        try:
            while more:
                whole.outages = [Outage(*one) for one in kept.outages.tolist()]
                more = run_cluster(whole, EVENTS // COMPILED_GAIN)
                self.own["state"]["logged"] = [replica.state.logged for replica in replicas]
                self.own["state"]["finished"] = [replica.state.finished for replica in replicas]
                self._keep_logs()
                for replica in replicas:
                    replica.state.logged = 0
                self._take_back(whole)
                kept.look(self.state)
                whole.state.outage, whole.state.changed = (int(self.state[name][0]) for name in ("outage", "changed"))
                yield self._left()
        finally:
            self._take_back(whole)
            kept.look(self.state)
            for part, replica in zip(self.parts, replicas, strict=True):
                part.take_back(replica)

    def _take_back(self, whole: Cluster) -> None:
        for name in CLUSTER.names or ():
            self.state[name] = getattr(whole.state, name)
        self.retries[:] = whole.retries

    def _keep_logs(self) -> None:
        for i, logged in enumerate(self.own["state"]["logged"]):
            if logged:
                self.logs.append((i, self.own["log"][i, :logged].copy()))
        self.own["state"]["logged"] = 0

    def served(self, traffic: Requests, timeline: bool) -> Served:
        """The outcome."""
        rows, state = self.rows, self.own["state"]
        sent = rows["sent"]
        if self.state["turns"][0]:
            # a turn whose answer before did not end was never sent
            never = self.waits.astype(bool) & np.isinf(rows["entered"]) & (rows["state"] == OPEN)
            sent = np.where(never, np.nan, sent)
        return Served(
            arrival=sent,
            dispatched=rows["dispatched"],
            first_token=rows["first"],
            finished=rows["finished"],
            output_tokens=traffic.output_tokens,
            preemptions=rows["preemptions"],
            cached_tokens=rows["cached"],
            host_tokens=rows["from_host"],
            remote_tokens=rows["from_store"],
            replica=rows["replica"],
            state=np.where(np.isin(rows["state"], (MOVING, PARKED, COMING)), OPEN, rows["state"]),
            gaps=Gaps(self.own["gaps"].sum(axis=0)),
            timeline=self._timeline() if timeline else None,
            events=int(state["events"].sum()),
            busy=state["busy"].copy(),
            interrupted=self.interrupted,
            retries=self.retries if len(self.retries) == len(rows) else np.zeros(len(rows), np.int64),
            phases=self.upkeep.phases(),
        )

    def _timeline(self) -> Timeline:
        # nobody may have run at all
        logs = [(0, np.zeros(0, ENTRY)), *self.logs]
        who = np.concatenate([np.full(len(log), i, np.int32) for i, log in logs])
        entries = np.concatenate([log for _, log in logs])
        order = np.argsort(entries["start"], kind="stable")
        return Timeline(**{name: entries[name][order] for name in ENTRY.names or ()}, replica=who[order])


def _turns(traffic: Requests) -> tuple[Array, Array, Array]:
    """(the turn that waits for each request, s after the answer that it comes, whether it waits); short without any."""
    if traffic.think is None:
        return np.full(1, NOBODY), np.zeros(1), np.zeros(1, np.int64)
    order = np.lexsort((np.arange(len(traffic)), traffic.turn, traffic.session))
    one, other = order[:-1], order[1:]
    same = (traffic.session[one] == traffic.session[other]) & (traffic.session[one] >= 0)
    following = np.full(len(traffic), NOBODY)
    following[one[same]] = other[same]
    waits = np.zeros(len(traffic), np.int64)
    waits[other[same]] = 1
    return following, np.asarray(traffic.think, dtype=float), waits


def _padded(blank: Array, name: str, places: int) -> Array:
    """Lists by place are as long as the largest replica needs."""
    by_place = name in ("prompts", "chosen", "chunks", "since", "sizes")
    return _wide(blank, places + 1) if by_place else blank


def _wide(blank: Array, width: int) -> Array:
    """The first entry repeated where a list is shorter than those of other replicas."""
    if len(blank) >= width or not len(blank):
        return blank
    return np.concatenate([blank, np.full(width - len(blank), blank[0])])
