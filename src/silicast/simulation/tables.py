"""The tables of a scenario file: what may stand in each, and the law that it describes.

A table with a `kind` takes the fields of that kind only, so that no number is read past. Times are text with their
unit (`"30 s"`, `"10 min"`, `"24 h"`), latency targets as on the command line (`"2s"`, `"50ms"`, a bare number in ms).
"""

from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from silicast.errors import InputError
from silicast.hardware import Frozen
from silicast.scenario import MOST_TOKENS, Layout, Pool, Precision, Role, Speculation
from silicast.serving.arrivals import Constant, Diurnal, Ramp, Rate
from silicast.serving.lengths import Empirical, Fixed, Lengths, Lognormal, Normal, Uniform
from silicast.serving.measures import SLO_PERCENTILE, Slo
from silicast.serving.prefixes import Prefixes
from silicast.serving.requests import ClosedLoop
from silicast.serving.sessions import Think
from silicast.simulation.upkeep import AutoscaleTable, FailureTable, QueueTable
from silicast.simulation.values import Bytes, BytesPerSecond, Milliseconds, Real, Seconds, Whole
from silicast.traces import Reading

DAY = 86_400.0
MOST_CONCURRENT = 10**7


class Kinded(Frozen):
    """A table whose `kind` says which other fields it takes."""

    def _fields_of(self, needed: dict[str, tuple[str, ...]], free: dict[str, tuple[str, ...]]) -> None:
        """Raises InputError for a field of another kind, or one that this kind needs and that is not there."""
        kind = getattr(self, "kind", "")
        must, may = needed[kind], free.get(kind, ())
        for name in sorted(self.model_fields_set - {"kind"}):
            if name not in (*must, *may):
                takes = ", ".join((*must, *may)) or "nothing else"
                raise InputError(f"'{name}' is no field of kind '{kind}', which takes {takes}")
        for name in must:
            if getattr(self, name) is None:
                raise InputError(f"kind '{kind}' needs '{name}'")


class ArrivalTable(Kinded):
    """When requests arrive.

    poisson   rate (requests/s)
    gamma     rate, burstiness (below 1 = bursts, 1 = Poisson)
    constant  rate: like a clock
    diurnal   rate (mean over the day), swing, peak (time of day), period
    ramp      knots: [["0 s", requests/s], ["10 min", requests/s], ...], straight between them
    burst     all at once
    closed    concurrency, think: each request when a slot is free
    """

    kind: Literal["poisson", "gamma", "constant", "diurnal", "ramp", "burst", "closed"] = "poisson"
    rate: Real | None = None
    burstiness: Real | None = None
    swing: Real | None = None
    peak: Seconds = 0.0
    period: Seconds = DAY
    knots: tuple[tuple[Seconds, Real], ...] | None = None
    concurrency: Whole | None = None
    think: Seconds = 0.0

    @model_validator(mode="after")
    def _known(self) -> Self:
        needed = {
            "poisson": ("rate",), "gamma": ("rate", "burstiness"), "constant": ("rate",), "burst": (),
            "diurnal": ("rate", "swing"), "ramp": ("knots",), "closed": ("concurrency",),
        }  # fmt: skip
        free = {"diurnal": ("peak", "period", "burstiness"), "ramp": ("burstiness",), "closed": ("think",)}
        self._fields_of(needed, free)
        if self.kind == "closed":
            self.loop()
        elif self.kind != "burst":
            self.law()
        if self.burstiness is not None and not self.burstiness > 0:
            raise InputError(f"burstiness must be positive (1 = Poisson, below 1 = bursts), got {self.burstiness:g}")
        return self

    def law(self) -> Rate:
        """The rate over time of an open loop."""
        if self.kind == "ramp":
            times, rates = np.array(self.knots, dtype=float).reshape(-1, 2).T
            return Ramp(times, rates)
        rate = float(self.rate or 0)
        if self.kind == "diurnal":
            return Diurnal(rate, float(self.swing or 0), self.period, self.peak)
        return Constant(rate)

    @property
    def gap_shape(self) -> float:
        """Burstiness of the gaps."""
        return np.inf if self.kind == "constant" else 1.0 if self.burstiness is None else self.burstiness

    def loop(self) -> ClosedLoop | None:
        """The closed loop, None in an open one."""
        if self.kind != "closed":
            return None
        count = int(self.concurrency or 0)
        if not 1 <= count <= MOST_CONCURRENT:
            raise InputError(f"concurrency must be from 1 to {MOST_CONCURRENT:,}, got {count:,}")
        if self.think < 0:
            raise InputError(f"think must be zero or positive, got {self.think:g} s")
        return ClosedLoop(count, self.think)


class LengthTable(Kinded):
    """Tokens of a prompt or an answer, or turns of a conversation.

    fixed      tokens
    uniform    low, high
    lognormal  mean, spread (standard deviation over mean)
    normal     mean, deviation, low, high: draws outside are moved to the ends
    empirical  values, weights
    """

    kind: Literal["fixed", "uniform", "lognormal", "normal", "empirical"] = "fixed"
    tokens: Whole | None = None
    low: Whole | None = None
    high: Whole | None = None
    mean: Real | None = None
    spread: Real | None = None
    deviation: Real | None = None
    values: tuple[Whole, ...] | None = None
    weights: tuple[Real, ...] | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        needed = {
            "fixed": ("tokens",), "uniform": ("low", "high"), "lognormal": ("mean", "spread"),
            "normal": ("mean", "deviation"), "empirical": ("values",),
        }  # fmt: skip
        self._fields_of(needed, {"normal": ("low", "high"), "empirical": ("weights",)})
        self.law()
        return self

    def law(self) -> Lengths:
        """The law to draw from."""
        given: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set - {"kind"}}
        if self.kind == "empirical":
            weights = None if self.weights is None else np.array(self.weights)
            return Empirical(np.array(self.values), weights)
        laws: dict[str, Any] = {"fixed": Fixed, "uniform": Uniform, "lognormal": Lognormal, "normal": Normal}
        law: Lengths = laws[self.kind](**given)
        return law


class SessionTable(Frozen):
    """Conversations: what arrives is their first turn; each later turn brings all that was said before.

    `context` is the window: a conversation that is full keeps its last tokens.
    """

    turns: LengthTable
    think: Seconds = 0.0
    think_spread: Real = 1.0
    context: Whole = MOST_TOKENS

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.thinking()
        if not 1 <= self.context <= MOST_TOKENS:
            raise InputError(f"context must be from 1 to {MOST_TOKENS:,} tokens, got {self.context:,}")
        return self

    def thinking(self) -> Think:
        """The law of the time between an answer and the next question."""
        return Think(self.think, self.think_spread)


class PrefixTable(Frozen):
    """One of `groups` common prefixes of `tokens` tokens comes before what is asked, on top of the input tokens.

    `skew` 0 = all prefixes as often (Zipf).
    """

    groups: Whole = 1
    tokens: Whole
    skew: Real = 0.0

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.law()
        return self

    def law(self) -> Prefixes:
        """The law to draw groups from."""
        return Prefixes(self.groups, self.tokens, self.skew)


class TraceTable(Frozen):
    """A recorded trace; `file` is relative to the scenario file. The other fields are those of `Reading`."""

    file: str
    format: str | None = None
    time_scale: Real = 1.0
    rate: Real | None = None
    requests: Whole | None = None
    sort: bool = False
    block_tokens: Whole | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.reading()
        return self

    def reading(self) -> Reading:
        """How the trace is read."""
        return Reading(self.format, self.time_scale, self.rate, self.requests, self.sort, self.block_tokens)


class TrafficTable(Frozen):
    """Requests of one kind: a tenant, a class. Arrivals and lengths come from the trace where they are left out."""

    name: str = "all"
    arrivals: ArrivalTable | None = None
    input_tokens: LengthTable | None = None
    output_tokens: LengthTable | None = None
    sessions: SessionTable | None = None
    prefixes: PrefixTable | None = None
    trace: TraceTable | None = None
    priority: Whole = 0

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.trace is None:
            for name in ("arrivals", "input_tokens", "output_tokens"):
                if getattr(self, name) is None:
                    raise InputError(f"traffic '{self.name[:40]}' needs '{name}', or a trace")
        elif self.sessions is not None or self.prefixes is not None:
            raise InputError("sessions and prefixes of a trace come from its file; leave them out")
        if self.sessions is not None and self.prefixes is not None and self.sessions.context <= self.prefixes.tokens:
            raise InputError(f"a context of {self.sessions.context:,} tokens has no room after a prefix of as many")
        if self.sessions is not None and self.arrivals is not None and self.arrivals.kind == "closed":
            raise InputError("a closed loop has no sessions: give think in arrivals instead")
        return self


class SloTable(Frozen):
    """Latency targets that each request must meet, and the percent of requests that must meet all of them."""

    ttft: Milliseconds | None = None
    tpot: Milliseconds | None = None
    e2e: Milliseconds | None = None
    percentile: Real = SLO_PERCENTILE

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.law()
        return self

    def law(self) -> Slo:
        """The targets."""
        return Slo(self.ttft, self.tpot, self.e2e, self.percentile)


class CacheTable(Frozen):
    """A level of the prefix cache below the devices: room ("1 TB"), and bandwidth ("50 GB/s") of one replica's way up.

    The room of a host is that of one replica, the room of a remote store that of the whole deployment.
    """

    room: Bytes
    bandwidth: BytesPerSecond

    @model_validator(mode="after")
    def _known(self) -> Self:
        for name, value in (("room", self.room), ("bandwidth", self.bandwidth)):
            if not 0 <= value < np.inf:
                raise InputError(f"{name} must be zero or positive, got {value:g}")
        return self


class PoolTable(Frozen):
    """Replicas of one role. Left out = the chip's own system and stack, native formats, the limits of the stack."""

    chip: str
    name: str = ""
    role: Role = "mixed"
    replicas: Whole = Field(default=1, ge=1)
    tp: Whole = 1
    pp: Whole = 1
    ep: Whole = 1
    attention_dp: Whole = 1
    cp: Whole = 1
    system: str | None = None
    stack: str | None = None
    weights: str | None = None
    activations: str | None = None
    kv_cache: str | None = None
    kv_blocks: Whole | None = Field(default=None, ge=1)
    mtp_tokens: Whole = Field(default=0, ge=0)
    mtp_acceptance: Real = Field(default=0.7, ge=0, le=1)
    microbatches: Literal[1, 2] | None = None
    balanced: bool = False
    policy: str | None = None
    max_sequences: Whole | None = Field(default=None, ge=1)
    chunk_tokens: Whole | None = Field(default=None, ge=1)
    block_tokens: Whole | None = Field(default=None, ge=1)
    prefix_cache: bool = True
    host_cache: CacheTable | None = None
    remote_cache: CacheTable | None = None
    failures: FailureTable | None = None
    autoscale: AutoscaleTable | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.layout()
        self.speculation()
        if self.role == "decode" and (self.host_cache or self.remote_cache):
            raise InputError("a decode pool computes no prompts: give host_cache and remote_cache to the prefill pool")
        how = self.autoscale
        if how is not None and not how.min <= self.replicas <= how.max:
            raise InputError(
                f"autoscale begins with replicas = {self.replicas}, which must be from min {how.min} to max {how.max}"
            )
        planned = self.failures.planned if self.failures else ()
        most = self.replicas if how is None else how.max
        unknown = next((replica for replica, _, _ in planned if replica >= most), None)
        if unknown is not None:
            raise InputError(f"a failure is planned for replica {unknown}; the pool has {most}, counted from 0")
        return self

    def layout(self) -> Layout:
        """How one replica is cut."""
        return Layout(self.tp, self.pp, self.ep, self.attention_dp, self.cp)

    def speculation(self) -> Speculation:
        """Draft tokens per step and their acceptance."""
        return Speculation(self.mtp_tokens, self.mtp_acceptance if self.mtp_tokens else 0.0)

    def pool(self, precision: Precision) -> Pool:
        """The pool in the given formats, which default to those of the model on the chip."""
        return Pool(
            self.chip, self.role, self.replicas, self.layout(), precision, self.system, self.stack,
            self.speculation(), self.microbatches, self.balanced,
        )  # fmt: skip


class DeploymentTable(Frozen):
    """What serves: a model on pools behind a router.

    `queue` bounds the queues; `handover` says whether a cache leaves a prefill pool at once, or when the decode pool
    has room for it.
    """

    model: str
    pools: tuple[PoolTable, ...] = Field(min_length=1)
    router: Literal["round_robin", "least_outstanding", "power_of_two", "prefix_aware", "session_sticky"] = (
        "round_robin"
    )
    queue: QueueTable | None = None
    handover: Literal["at_once", "when_room"] = "at_once"

    @model_validator(mode="after")
    def _known(self) -> Self:
        roles = {pool.role for pool in self.pools}
        if "mixed" in roles and len(roles) > 1:
            raise InputError("pools are all mixed, or prefill and decode; a mixed pool does both already")
        if roles in ({"prefill"}, {"decode"}):
            missing = "decode" if "prefill" in roles else "prefill"
            raise InputError(f"a {roles.pop()} pool needs a {missing} pool beside it")
        if self.handover == "when_room" and "decode" not in roles:
            raise InputError("handover is between a prefill and a decode pool; a mixed pool has none")
        return self
