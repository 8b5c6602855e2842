"""Nouns of the question: precision, layout, what one step carries, the workload, pools and deployments.

Sizes may be arrays: one row per deployment. Shapes are `(config,)` throughout.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from silicast.arguments import given
from silicast.dtypes import checked
from silicast.errors import InputError, LayoutError

Array = NDArray[Any]
Size = int | float | Array

Role = Literal["mixed", "prefill", "decode"]

#: beyond these a size is a slip of the pen: ten times the longest context published, more devices than any fleet,
#: more requests than a fleet serves
MOST_TOKENS = 10**8
MOST_DEVICES = 10**6
MOST_REQUESTS = 10**9
#: standard deviation of the lengths over their mean
MOST_SPREAD = 100


@dataclass(frozen=True, slots=True)
class Precision:
    """Formats of stored weights, of activations in the matrix engine, and of the KV cache.

    `weights` and `activations` hold where the checkpoint quantises (its scopes); the rest runs in BF16.
    """

    weights: str = "bf16"
    activations: str = "bf16"
    kv_cache: str = "bf16"

    def __post_init__(self) -> None:
        for item in fields(self):
            checked(getattr(self, item.name))

    def __str__(self) -> str:
        return f"{self.weights}/{self.activations}, KV {self.kv_cache}"


@dataclass(frozen=True, slots=True)
class Layout:
    """How one replica is cut. `devices = tp x attention_dp x cp x pp`.

    tp            tensor-parallel size of attention
    attention_dp  copies of attention, each with its own sequences, that share the experts
    cp            ranks among which the tokens of one sequence are divided (context parallelism)
    pp            pipeline stages
    ep            ranks over which the routed experts are spread; each expert is cut over tp x attention_dp x cp / ep
    """

    tp: Size = 1
    pp: Size = 1
    ep: Size = 1
    attention_dp: Size = 1
    cp: Size = 1

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not _within(value, 1, MOST_DEVICES) or np.any(np.asarray(value) != np.floor(value)):
                raise LayoutError(
                    f"{item.name} must be a whole number from 1 to {MOST_DEVICES:,}, got {_first_bad(value)}."
                )
        if np.any(np.asarray(self.stage_devices) % np.asarray(self.ep)):
            raise LayoutError(
                f"ep must divide tp x attention_dp x cp = {_show(self.stage_devices)}, got ep = {_show(self.ep)}."
            )

    @property
    def stage_devices(self) -> Size:
        """Devices of one pipeline stage: the ranks that share its experts."""
        return self.tp * self.attention_dp * self.cp

    @property
    def devices(self) -> Size:
        """Devices of one replica."""
        return self.stage_devices * self.pp

    @property
    def expert_tp(self) -> Size:
        """Ranks over which one routed expert is cut."""
        return self.stage_devices // self.ep

    def whole(self) -> "Layout":
        """One layout with plain integers."""
        return Layout(*(int(np.asarray(getattr(self, item.name))) for item in fields(self)))

    def arrays(self) -> "Layout":
        """One layout as arrays of length one: the shape that laws expect."""
        return Layout(*(np.array([float(np.asarray(getattr(self, item.name)))]) for item in fields(self)))

    def pick(self, index: Any) -> Self:
        """The rows `index` of an array of layouts."""
        picked: Self = _pick(self, index)
        return picked


@dataclass(frozen=True, slots=True)
class Load:
    """What one step carries, per attention rank (a group of tp x cp devices that holds the same sequences).

    prefill_sequences  sequences that prefill in this step
    prefill_tokens     tokens each of them processes
    prefill_context    tokens each of them has in the cache already (earlier chunks, prefix hits)
    decode_sequences   sequences that decode
    decode_context     cached tokens each of them attends to
    query_tokens       tokens each of them processes: 1, or 1 + draft tokens under speculation
    prefill_share      share of the attention ranks that prefill in this step, and
    decode_share       share of them that decode: the load is that of a busy rank, while experts, which all ranks
                       share, see the mean
    """

    prefill_sequences: Size = 0
    prefill_tokens: Size = 0
    prefill_context: Size = 0
    decode_sequences: Size = 0
    decode_context: Size = 0
    query_tokens: Size = 1
    prefill_share: Size = 1
    decode_share: Size = 1

    @property
    def mean_tokens(self) -> Size:
        """Tokens per attention rank, mean over the ranks."""
        prefill = self.prefill_sequences * self.prefill_tokens * self.prefill_share
        return prefill + self.decode_sequences * self.query_tokens * self.decode_share

    @property
    def tokens(self) -> Size:
        """Tokens that pass through the layers."""
        return self.prefill_sequences * self.prefill_tokens + self.decode_sequences * self.query_tokens

    @property
    def logits(self) -> Size:
        """Rows of the output head: the last token of a prefill, every token of a decode."""
        return self.prefill_sequences + self.decode_sequences * self.query_tokens

    def split(self, parts: Size) -> "Load":
        """One of `parts` equal microbatches."""
        return replace(
            self,
            prefill_sequences=self.prefill_sequences / parts,
            decode_sequences=self.decode_sequences / parts,
        )


@dataclass(frozen=True, slots=True)
class Speculation:
    """Speculative tokens per step and the share of them accepted; a step yields 1 + tokens x acceptance."""

    tokens: Size = 0
    acceptance: Size = 0.0

    def __post_init__(self) -> None:
        if not _within(self.tokens, 0, MOST_TOKENS):
            raise InputError(f"Speculative tokens are a number from 0, got {_show(self.tokens)}.")
        if not _within(self.acceptance, 0, 1):
            raise InputError(f"acceptance is a share between 0 and 1, got {_show(self.acceptance)}.")

    @property
    def yield_per_step(self) -> Size:
        """Output tokens per sequence and step."""
        return 1 + self.tokens * self.acceptance


@dataclass(frozen=True, slots=True)
class Workload:
    """What arrives: mean lengths, prefix sharing, and either requests in flight or requests per second.

    `requests` is the number in the run (None = a long run): in a closed loop all slots start together.
    `length_spread` is the standard deviation of the lengths over their mean: 0 where every request is exactly alike, as
    in many benchmarks (requests that started together then end together and start together again), 0.06 for lengths
    drawn between 0.8 and 1 of a nominal value, about 1 for people.
    """

    input_tokens: Size = 4096
    output_tokens: Size = 1024
    prefix_hit: Size = 0.0
    concurrency: Size | None = None
    rate: Size | None = None
    requests: Size | None = None
    length_spread: Size = 1.0

    def __post_init__(self) -> None:
        for name in ("input_tokens", "output_tokens"):
            if not _within(getattr(self, name), 1, MOST_TOKENS):
                raise InputError(f"{name} must be from 1 to {MOST_TOKENS:,}, got {_show(getattr(self, name))}.")
        if not _within(self.prefix_hit, 0, 1):
            raise InputError(f"prefix_hit is a share between 0 and 1, got {_show(self.prefix_hit)}.")
        for name in ("concurrency", "rate", "requests"):
            value = getattr(self, name)
            if value is not None and not _within(value, np.finfo(float).tiny, MOST_REQUESTS):
                raise InputError(f"{name} must be positive and at most {MOST_REQUESTS:,}, got {_show(value)}.")
        if not _within(self.length_spread, 0, MOST_SPREAD):
            raise InputError(f"length_spread is from 0 to {MOST_SPREAD}, got {_show(self.length_spread)}.")
        if self.concurrency is not None and self.rate is not None:
            raise InputError("Give concurrency (a closed loop) or rate (requests/s), not both.")

    @property
    def has_tpot(self) -> bool:
        """Whether a request has time per output token: it is a mean over the tokens after the first."""
        return bool(np.any(np.asarray(self.output_tokens) > 1))


@dataclass(frozen=True, slots=True)
class Targets:
    """Latency targets on means, in ms. None = no target."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2e_ms: float | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not _within(value, np.finfo(float).tiny, np.finfo(float).max):
                raise InputError(f"{item.name} must be positive, in ms, got {_show(value)}.")

    @property
    def stated(self) -> dict[str, float]:
        """Those that there are in ms, by what they limit: ttft, tpot, e2e."""
        known = {"ttft": self.ttft_ms, "tpot": self.tpot_ms, "e2e": self.e2e_ms}
        return {name: value for name, value in known.items() if value is not None}

    def on(self, workload: Workload) -> "Targets":
        """Those that the workload can meet or miss: without a second output token there is no TPOT."""
        return self if workload.has_tpot else replace(self, tpot_ms=None)


@dataclass(frozen=True, slots=True)
class Pool:
    """Replicas of one role, cut and limited alike, on one chip."""

    chip: str
    role: Role = "mixed"
    replicas: int = 1
    layout: Layout = field(default_factory=Layout)
    precision: Precision = field(default_factory=Precision)
    system: str | None = None
    stack: str | None = None
    speculation: Speculation = field(default_factory=Speculation)
    microbatches: int | None = None
    balanced: bool = False


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model on a list of pools: one mixed pool, or prefill and decode pools, of any vendors."""

    model: str
    pools: tuple[Pool, ...]


def _pick(noun: Any, index: Any) -> Any:
    picked = {}
    for item in fields(noun):
        value = getattr(noun, item.name)
        picked[item.name] = value[index] if isinstance(value, np.ndarray) and value.ndim else value
    return type(noun)(**picked)


def _within(value: Size, low: float, high: float) -> bool:
    """Whether every value lies in the range; what is not a number does not."""
    return _numeric(value) and bool(np.all((np.asarray(value) >= low) & (np.asarray(value) <= high)))


def _numeric(value: Any) -> bool:
    """Whether it is a number or an array of numbers, whole ones beyond 64 bit included."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of unlike lengths
        return False
    whole = array.dtype.kind == "O" and all(isinstance(one, int | float) for one in array.flat)
    return whole or array.dtype.kind in "iuf"


def _show(value: Size) -> str:
    if not _numeric(value):
        return given(value)
    flat = np.unique(np.asarray(value))
    return _digits(flat[0]) if flat.size == 1 else f"{_digits(flat[0])}..{_digits(flat[-1])}"


def _first_bad(value: Size) -> str:
    if not _numeric(value):
        return given(value)
    flat = np.atleast_1d(np.asarray(value))
    return next(_digits(one) for one in flat if not (1 <= one <= MOST_DEVICES and one == int(one)))


def _digits(number: Any) -> str:
    """A number as people write it; one too long for a float by its length."""
    try:
        return f"{number:g}"
    except OverflowError:
        return f"a number of {len(str(number))} digits"
