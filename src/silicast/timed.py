"""Times of the operators of a step, stacked by kind: the glue between operators, formats and laws.

One code path for one configuration and for 100,000: arrays have shape `(operator, config[, draw])`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast import exchange
from silicast.laws import attention, gemm, routing, vector
from silicast.laws.timing import Timing
from silicast.machine import Format, Machine
from silicast.model.ops import Attention, Collective, Gemm, GroupedGemm, Op, Scan, Scope, Vector
from silicast.scenario import Layout, Size

Array = NDArray[Any]

#: resources of `Timing` that may bind an operator
ROOFS = ("matrix", "vector", "memory", "link")
#: vector operations to quantise one value: scale, round, clip, and the maximum of its group
QUANTISE_OPERATIONS = 4
#: bytes of activations, logits and of recurrent states between operators
ACTIVATION_BYTES = 2.0
STATE_BYTES = 4.0
#: rows of queries of one key head that one core takes in decode: the tile of FlashAttention-3 and FlashMLA
DECODE_ROWS = 64.0
#: what is not quantised
PLAIN = Format("bf16", "bf16")
#: with one scale for the whole tensor
PER_TENSOR = "fp8"
EIGHT_BIT = Format("fp8", "fp8")


@dataclass(slots=True)
class Timed:
    """Operators of one kind with times (per call), counts, FLOPs and bytes, rows of `(operator, config[, draw])`.

    `crosses` is 1 where an exchange leaves the innermost domain.
    """

    law: str
    names: list[str]
    parts: list[str]
    timing: Timing
    count: Array
    flops: Array
    moved: Array
    exchanged: list[bool]
    crosses: Array | None = None

    def seconds(self) -> Array:
        """Time of all calls of each operator."""
        return np.asarray(self.timing.total * self.count)


@dataclass(frozen=True, slots=True)
class Pass:
    """What a step runs under: layout, formats by scope, cache bytes per value, routing and overlap choices."""

    layout: Layout
    formats: dict[Scope, Format]
    kv_bytes: float
    balanced: bool = False
    microbatches: Size = 1


def width_of(ops: Iterable[Op]) -> int:
    """Configurations that the dimensions of the operators are arrays of."""
    sizes = [np.size(getattr(op, name)) for op in ops for name in ("count", *_DIMENSIONS[type(op)])]
    return max(sizes)


_DIMENSIONS: dict[type[Op], tuple[str, ...]] = {
    Gemm: ("m", "n", "k", "batch"),
    GroupedGemm: ("tokens", "n", "k", "ep"),
    Attention: ("sequences", "query", "context", "heads"),
    Scan: ("sequences", "tokens", "heads"),
    Vector: ("read", "written", "operations"),
    Collective: ("values", "group", "stride"),
}


_LAW_OF: dict[type[Op], str] = {
    Gemm: "gemm",
    GroupedGemm: "grouped_gemm",
    Attention: "attention",
    Scan: "scan",
    Vector: "vector",
    Collective: "collective",
}


def _rows(values: Sequence[Size], width: int, machine: Machine) -> Array:
    """Stack one dimension of several operators: `(operator, config)`, or `(operator, config, 1)` with draws."""
    stacked = np.empty((len(values), width))
    for row, value in enumerate(values):
        stacked[row] = value
    return stacked[..., None] if machine.draws else stacked


def _column(values: Sequence[Any], machine: Machine) -> Array:
    """One number per operator (a float or draws) as `(operator, 1)`, or `(operator, 1, draw)`."""
    if not machine.draws:
        return np.array(values, dtype=float)[:, None]
    stacked = np.empty((len(values), 1, machine.draws))
    for row, value in enumerate(values):
        stacked[row] = value
    return stacked


def trailing(value: Any, machine: Machine) -> Any:
    """A number per configuration with room for the draws behind, where there are any."""
    array = np.asarray(value)
    return array[..., None] if machine.draws and array.ndim else array


def _kind(ops: Iterable[Op], kind: type[Op]) -> list[Any]:
    return [op for op in ops if type(op) is kind and np.any(op.count)]


def _timed(ops: Sequence[Any], width: int, machine: Machine, timing: Timing, flops: Array, moved: Array) -> Timed:
    if type(ops[0]) is not Collective:
        timing = timing.slowed(machine.coefficient("launch", "in_engine"))
    return Timed(
        _LAW_OF[type(ops[0])],
        [op.name for op in ops],
        [op.part for op in ops],
        timing,
        _rows([op.count for op in ops], width, machine),
        flops,
        moved,
        [isinstance(op, Collective) and op.pattern == "all_to_all" for op in ops],
    )


def _matrix_unit(formats: Sequence[Format], law: str, machine: Machine) -> gemm.MatrixUnit:
    return gemm.MatrixUnit(
        peak=_column([machine.peak(fmt.mode) for fmt in formats], machine),
        efficiency=_column([machine.matrix_efficiency(law, "compute_efficiency", fmt) for fmt in formats], machine),
        cores=machine.cores,
        tile_m=machine.coefficient("gemm", "tile_m"),
        tile_n=machine.coefficient("gemm", "tile_n"),
        operands=machine.bandwidth * _fitted(formats, law, "operand_ratio", np.inf, machine),
        k_ramp=_fitted(formats, law, "k_ramp", 0.0, machine),
        rounding=_fitted(formats, law, "wave_rounding", 1.0, machine),
        split=_fitted(formats, law, "split_cost", 0.0, machine),
    )


def _fitted(formats: Sequence[Format], law: str, name: str, neutral: float, machine: Machine) -> Array:
    """A coefficient that only calibration gives, per operator; `neutral` where there is none."""
    found = [machine.optional(law, name, fmt.kernel, fmt.mode) for fmt in formats]
    return _column([neutral if value is None else value for value in found], machine)


def _traffic(formats: Sequence[Format], law: str, machine: Machine) -> gemm.Traffic:
    efficiency = [machine.coefficient(law, "memory_efficiency", fmt.kernel, fmt.mode) for fmt in formats]
    return gemm.Traffic(
        weight=_column([fmt.weight_bytes for fmt in formats], machine),
        activation=_column([fmt.activation_bytes for fmt in formats], machine),
        output=ACTIVATION_BYTES,
        bandwidth=machine.bandwidth,
        efficiency=_column(efficiency, machine),
    )


def _own_kernel(ops: Sequence[Any], width: int, machine: Machine) -> Array:
    """1 per operator that is a kernel of its own, 0 where it runs inside its neighbour's."""
    return 1 - _rows([op.inside for op in ops], width, machine)


def _launches(formats: Sequence[Format], law: str, machine: Machine) -> Array:
    return _column([machine.launch(law, fmt) for fmt in formats], machine)


def _gemms(ops: Sequence[Op], width: int, how: Pass, machine: Machine) -> Timed | None:
    found = _kind(ops, Gemm)
    if not found:
        return None
    formats = [how.formats[op.scope] for op in found]
    m, n, k, batch = (_rows([getattr(op, name) for op in found], width, machine) for name in _DIMENSIONS[Gemm])
    traffic = _traffic(formats, "gemm", machine)
    unit = _matrix_unit(formats, "gemm", machine)
    # what a product of narrow values takes longer to start than one of 16 bit, and its ramp, is of the pass that
    # quantises the rows: gone where that is fused into what comes before
    before = [_quantised_before(fmt, machine) for fmt in formats]
    ramp = _fitted(formats, "gemm", "row_ramp", 0.0, machine) * (1 - _column(before, machine))
    plain = [PLAIN if fused and fmt.stored == PER_TENSOR else fmt for fused, fmt in zip(before, formats, strict=True)]
    launch = np.minimum(_launches(formats, "gemm", machine), _launches(plain, "gemm", machine))
    launch = launch * _own_kernel(found, width, machine)
    timing = gemm.gemm_time(m, n, k, batch, unit, traffic, launch, ramp)
    moved = batch * (n * k * traffic.weight + m * (k * traffic.activation + n * ACTIVATION_BYTES))
    return _timed(found, width, machine, timing, 2 * batch * m * n * k, moved)


def _grouped(ops: Sequence[Op], width: int, how: Pass, machine: Machine) -> Timed | None:
    found = _kind(ops, GroupedGemm)
    if not found:
        return None
    formats = [how.formats[op.scope] for op in found]
    tokens, n, k, ep = (_rows([getattr(op, name) for op in found], width, machine) for name in _DIMENSIONS[GroupedGemm])
    topk = _rows([op.topk for op in found], width, machine)
    local = np.ceil(_rows([op.experts for op in found], width, machine) / ep)
    rows, hit = routing.busiest_rank(tokens, topk, ep, local, _routing(how, machine))
    padding = [machine.coefficient("grouped_gemm", "row_padding", fmt.kernel, fmt.mode) for fmt in formats]
    floor = _launches(formats, "grouped_gemm", machine), _column(padding, machine)
    sorting = _fitted(formats, "grouped_gemm", "sorting", 0.0, machine)
    traffic, unit = _traffic(formats, "grouped_gemm", machine), _matrix_unit(formats, "grouped_gemm", machine)
    timing = gemm.grouped_gemm_time(rows, hit, (n, k), unit, traffic, floor, sorting)
    moved = hit * n * k * traffic.weight + rows * (k * traffic.activation + n * ACTIVATION_BYTES)
    return _timed(found, width, machine, timing, 2 * tokens * topk / ep * n * k, moved)


def _routing(how: Pass, machine: Machine) -> routing.Routing:
    if how.balanced:
        return routing.Routing(1.0, 1.0, chance=0.0)
    return routing.Routing(machine.coefficient("routing", "imbalance"), machine.coefficient("routing", "spread"))


def _attentions(ops: Sequence[Op], width: int, how: Pass, machine: Machine) -> Timed | None:
    found = _kind(ops, Attention)
    if not found:
        return None
    rows = {
        name: _rows([getattr(op, name) for op in found], width, machine)
        for name in ("sequences", "query", "context", "heads", "kv_values", "share", "pairs", "keys", "flops")
    }
    dims = _column([op.qk_dim + op.v_dim for op in found], machine)
    limit = _column([op.limit for op in found], machine)
    prefill = _column([float(op.phase == "prefill") for op in found], machine)
    whole = machine.coefficient("attention", "query_tile")
    longest = prefill * 2 * np.minimum(rows["query"], whole) * np.minimum(rows["context"] + rows["query"], limit) * dims
    kv_bytes = _column([how.kv_bytes if op.kv_bytes is None else op.kv_bytes for op in found], machine)
    divided = np.where(prefill > 0, rows["share"], 1.0)
    moved = rows["keys"] * rows["kv_values"] * kv_bytes
    moved = moved + rows["sequences"] * rows["query"] * divided * rows["heads"] * dims * ACTIVATION_BYTES
    key_heads = np.maximum(rows["kv_values"] / dims, rows["heads"] * rows["query"] / DECODE_ROWS)
    tiles = np.where(prefill > 0, rows["heads"] * np.ceil(rows["query"] / whole), np.maximum(key_heads, 1.0))
    kernels = [_attention_kernels(op, how.kv_bytes) for op in found]
    engine = attention.AttentionEngine(
        matrix=_attention_rate(found, kernels, machine),
        scores=machine.vector_rate / _attending(kernels, "softmax_operations", machine),
        cores=machine.cores,
        bandwidth=machine.bandwidth * _attending(kernels, "memory_efficiency", machine),
        setup=_attending(kernels, "tile_setup", machine, 0.0),
        pipelined=1.0 - prefill,
    )
    work = attention.Scores(rows["flops"], rows["pairs"] * rows["heads"], longest, moved, rows["sequences"] * tiles)
    timing = attention.attention_time(work, engine, _attention_launch(kernels, machine))
    return _timed(found, width, machine, timing, rows["flops"], moved)


def _attention_kernels(op: Attention, kv_bytes: float) -> tuple[str, ...]:
    """Names under which the coefficients of an attention kernel are looked up: phase, latent or not, cache format."""
    unabsorbed = op.phase == "prefill" and op.qk_dim != op.v_dim
    latent = unabsorbed or bool(np.all(np.asarray(op.kv_values) < op.qk_dim + op.v_dim))
    name = f"mla_{op.phase}" if latent else op.phase
    return (f"{name}_fp8", name, op.phase) if kv_bytes < ACTIVATION_BYTES else (name, op.phase)


def _attending(kernels: Sequence[tuple[str, ...]], name: str, machine: Machine, neutral: float | None = None) -> Array:
    """A coefficient of attention per operator; `neutral` where only calibration gives it."""
    if neutral is None:
        return _column([machine.coefficient("attention", name, *names) for names in kernels], machine)
    found = [machine.optional("attention", name, *names) for names in kernels]
    return _column([neutral if value is None else value for value in found], machine)


def _attention_launch(kernels: Sequence[tuple[str, ...]], machine: Machine) -> Array:
    fitted = [machine.optional("attention", "launch", *names) for names in kernels]
    left = machine.coefficient("launch", "replay_share")
    floors = [machine.launch("attention") if value is None else value * left for value in fitted]
    return _column(floors, machine)


def _attention_rate(ops: Sequence[Attention], kernels: Sequence[tuple[str, ...]], machine: Machine) -> Array:
    """Scores and values are 16-bit products."""
    rates = []
    for op, names in zip(ops, kernels, strict=True):
        share = machine.optional("attention", f"{op.phase}_efficiency_of_peak", *names)
        if share is None:
            share = machine.matrix_efficiency("attention", f"{op.phase}_efficiency", PLAIN)
        rates.append(machine.peak(PLAIN.mode) * share)
    return _column(rates, machine)


def _scans(ops: Sequence[Op], width: int, how: Pass, machine: Machine) -> Timed | None:
    del how
    found = _kind(ops, Scan)
    if not found:
        return None
    flops = _rows([op.flops for op in found], width, machine)
    moved = _rows([2 * STATE_BYTES * op.state_values for op in found], width, machine)
    rate = machine.peak(PLAIN.mode) * machine.matrix_efficiency("scan", "compute_efficiency", PLAIN)
    bandwidth = machine.bandwidth * machine.coefficient("scan", "memory_efficiency")
    timing = attention.scan_time(flops, moved, rate, bandwidth, machine.launch("scan"))
    return _timed(found, width, machine, timing, flops, moved)


def _vectors(ops: Sequence[Op], width: int, how: Pass, machine: Machine) -> Timed | None:
    found = _kind(ops, Vector) + _quantising(ops, how, machine)
    if not found:
        return None
    read, written, operations = (
        _rows([getattr(op, name) for op in found], width, machine) for name in _DIMENSIONS[Vector]
    )
    moved = (read + written) * ACTIVATION_BYTES
    rate = machine.vector_rate * machine.coefficient("vector", "compute_efficiency")
    bandwidth = machine.bandwidth * machine.coefficient("vector", "memory_efficiency")
    launch = machine.launch("vector") * _own_kernel(found, width, machine)
    timing = vector.vector_time(operations, moved, rate, bandwidth, launch)
    return _timed(found, width, machine, timing, operations, moved)


def _quantising(ops: Sequence[Op], how: Pass, machine: Machine) -> list[Vector]:
    """The kernel that quantises the input of each product with narrow activations, unless the stack fuses it."""
    kernels = []
    for op in _kind(ops, Gemm):
        fmt = how.formats[op.scope]
        if fmt.casts_activations and not _quantised_before(fmt, machine):
            values = op.batch * op.m * op.k
            written = values * fmt.activation_bytes / ACTIVATION_BYTES
            sizes = values, written, QUANTISE_OPERATIONS * values
            kernels.append(Vector(f"quantise_{op.name}", op.part, *sizes, op.count, op.inside))
    return kernels


def _quantised_before(fmt: Format, machine: Machine) -> bool:
    """Whether the kernel before a product quantises its input."""
    fused = machine.stack.fused
    return fmt.casts_activations and ("quantise" in fused or ("quantise_tensor" in fused and fmt.stored == PER_TENSOR))


def _collectives(ops: Sequence[Op], width: int, how: Pass, machine: Machine) -> Timed | None:
    found = _kind(ops, Collective)
    if not found:
        return None
    narrow = min(how.formats["experts"].activation_bytes, ACTIVATION_BYTES)
    moved = _rows([op.values * (narrow if op.quantised else ACTIVATION_BYTES) for op in found], width, machine)
    group, stride = (_rows([getattr(op, name) for op in found], width, machine) for name in ("group", "stride"))
    timings = [exchange.time(op, moved[row], group[row], stride[row], machine) for row, op in enumerate(found)]
    shape = moved.shape if not machine.draws else (len(found), width, machine.draws)
    stacked = np.empty((len(_TIMING), *shape))
    for row, one in enumerate(timings):
        for column, name in enumerate(_TIMING):
            stacked[column, row] = getattr(one, name)
    timed = _timed(found, width, machine, Timing(*stacked), np.zeros_like(moved), moved)
    return replace(timed, crosses=exchange.crosses(group, stride, machine))


_TIMING = ("total", "matrix", "vector", "memory", "link", "fixed")


LAWS: tuple[Callable[[Sequence[Op], int, Pass, Machine], Timed | None], ...] = (
    _gemms,
    _grouped,
    _attentions,
    _scans,
    _vectors,
    _collectives,
)
