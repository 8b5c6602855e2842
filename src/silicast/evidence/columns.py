"""The schema of a measurement: columns of `points.csv`, what each may hold, and the scenario they describe."""

import re
from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple

from silicast.dtypes import BYTES
from silicast.errors import EvidenceError, nearest

Kind = Literal["serve", "prefill", "decode", "train", "kernel", "collective"]
Number = int | float
Cell = str | int | float | None

KINDS = ("serve", "prefill", "decode", "train", "kernel", "collective")
#: metrics that may be a percentile over requests: `ttft_ms_p90`
LATENCIES = ("ttft_ms", "tpot_ms", "e2e_ms")
PERCENTILES = ("_p50", "_p90", "_p99")
METRICS = (
    *LATENCIES,
    *(f"{metric}{percentile}" for metric in LATENCIES for percentile in PERCENTILES),
    "input_tokens_per_s_per_device",
    "output_tokens_per_s_per_device",
    "total_tokens_per_s_per_device",
    "requests_per_s",
    "step_ms",
    "iteration_s",
    "tokens_per_s_per_device",
    "mfu",
    "model_tflops_per_device",
    "device_hours",
    "latency_us",
    "tflops",
    "gb_per_s",
    "ratio",
)


class Scenario(NamedTuple):
    """All that a forecast may read of a row: who ran what, where, how cut, under which load.

    Equal scenarios are one run. None = not stated or not applicable. Dtypes, lengths and sizes are as printed:
    `deployment` resolves the defaults.
    """

    kind: str = "serve"
    model: str = "none"
    chip: str | None = None
    system: str | None = None
    stack: str | None = None
    stack_version: str | None = None
    devices: int | None = None
    role: str | None = None
    tp: int | None = None
    pp: int | None = None
    ep: int | None = None
    attention_dp: int | None = None
    cp: int | None = None
    weights: str | None = None
    activations: str | None = None
    kv_cache: str | None = None
    input_tokens: Number | None = None
    output_tokens: Number | None = None
    length_low: Number | None = None
    length_high: Number | None = None
    prefix_hit: Number | None = None
    concurrency: Number | None = None
    rate: Number | None = None
    requests: int | None = None
    batch_per_device: Number | None = None
    kv_tokens: Number | None = None
    expert_load: str | None = None
    microbatches: int | None = None
    domain: str | None = None
    mtp_tokens: int | None = None
    mtp_acceptance: Number | None = None
    prefill_chip: str | None = None
    prefill_devices: int | None = None
    prefill_replicas: int | None = None
    prefill_tp: int | None = None
    prefill_ep: int | None = None
    prefill_attention_dp: int | None = None
    prefill_cp: int | None = None
    decode_chip: str | None = None
    decode_devices: int | None = None
    decode_replicas: int | None = None
    decode_tp: int | None = None
    decode_ep: int | None = None
    decode_attention_dp: int | None = None
    decode_cp: int | None = None
    global_batch: Number | None = None
    sequence: int | None = None
    microbatch: Number | None = None
    recompute: str | None = None
    schedule: str | None = None
    op: str | None = None
    m: int | None = None
    n: int | None = None
    k: int | None = None
    experts: int | None = None
    topk: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    bytes: Number | None = None
    group: int | None = None


#: columns beside the scenario: the measurement, and what is known about it
MEASURED = ("id", "measured", "metric", "value", "rel_spread", "use", "suspect", "note")
COLUMNS = (*MEASURED, *Scenario._fields)
#: a row without these says nothing
REQUIRED = ("id", "kind", "model", "metric", "value")
#: beyond this a number is a mistake
MOST = 1e15

_WORDS: dict[str, tuple[str, ...]] = {
    "kind": KINDS,
    "metric": METRICS,
    "role": ("mixed", "prefill", "decode", "train"),
    "use": ("calibrate", "validate"),
    "expert_load": ("balanced",),
    **dict.fromkeys(("weights", "activations", "kv_cache"), tuple(BYTES)),
}
_TEXT = {
    "id", "measured", "suspect", "note", "model", "chip", "system", "stack", "stack_version", "domain", "prefill_chip",
    "decode_chip", "recompute", "schedule", "op",
}  # fmt: skip
_SHARES = {"prefix_hit", "mtp_acceptance"}
_POSITIVE = {
    "value", "input_tokens", "output_tokens", "length_low", "length_high", "concurrency", "rate", "batch_per_device",
    "kv_tokens", "global_batch", "microbatch", "bytes",
}  # fmt: skip
_ZERO_ALLOWED = {"mtp_tokens", "rel_spread"}

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_LEADING_ZERO = re.compile(r"[+-]?0[0-9]", re.ASCII)


def known(column: str) -> bool:
    """Whether the schema has the column."""
    return column in COLUMNS


def unknown_column(column: str) -> str:
    """What to say about a column that the schema lacks."""
    guess = nearest(column[:100], COLUMNS)
    hint = f" Did you mean '{guess}'?" if guess else ""
    return f"unknown column '{column[:60]}'.{hint} The columns are those of the evidence schema"


def reader(column: str) -> Callable[[str], Cell]:
    """The function that reads one non-empty cell of the column. It raises EvidenceError: what is wrong with it."""
    if column in _TEXT:
        return str
    if column in _WORDS:
        return _word_reader(_WORDS[column])
    return _number_reader(column)


def _word_reader(words: tuple[str, ...]) -> Callable[[str], Cell]:
    allowed = frozenset(words)

    def read(text: str) -> Cell:
        if text in allowed:
            return text
        guess = nearest(text[:100], words)
        hint = f" Did you mean '{guess}'?" if guess else ""
        raise EvidenceError(f"is '{text[:40]}'.{hint} Known: {', '.join(words[:12])}")

    return read


def _number_reader(column: str) -> Callable[[str], Cell]:
    whole = column not in _POSITIVE | _SHARES | {"rel_spread"}

    @cache
    def read(text: str) -> Cell:
        value = _number(text)
        if whole and value != int(value):
            raise EvidenceError(f"is '{text[:40]}': a whole number is needed")
        if column in _SHARES and not 0 <= value <= 1:
            raise EvidenceError(f"is '{text[:40]}': a share between 0 and 1 is needed")
        if value < 0 or (value == 0 and column not in _SHARES | _ZERO_ALLOWED):
            raise EvidenceError(f"is '{text[:40]}': it must be positive")
        return int(value) if value == int(value) else value

    return read


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise EvidenceError(f"is '{text[:40]}', which is not a number{_separator(text)}")
    if _LEADING_ZERO.match(text):
        raise EvidenceError(f"is '{text[:40]}': a number has no leading zero")
    value = float(text)
    if abs(value) > MOST:
        raise EvidenceError(f"is '{text[:40]}': that is beyond {MOST:g}")
    return value


def _separator(text: str) -> str:
    return "; write it without thousands separators" if re.fullmatch(r"[0-9]{1,3}([,_ ][0-9]{3})+", text) else ""
