"""Rows of one kernel or one exchange: each becomes the operator of the model layer that the laws time in a step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from silicast.dtypes import BYTES, matrix_mode
from silicast.evidence.binding import Told, told
from silicast.evidence.columns import Scenario
from silicast.evidence.deployment import ONE_LOWER, NoForecastError, Pools
from silicast.evidence.ingest.published import BLOCK_SCALED, counted_bytes
from silicast.evidence.residual import strayed
from silicast.evidence.serve import Answer
from silicast.machine import Format, Machine
from silicast.model.architecture import Model
from silicast.model.ops import Attention, Collective, Gemm, GroupedGemm, Op, Vector
from silicast.scenario import Layout, Load
from silicast.stack import Stack
from silicast.step import Step, step_time
from silicast.timed import ACTIVATION_BYTES, Pass, Timed

Array = NDArray[Any]

#: latent attention as published (DeepSeek-V2 and V3): 512 latent and 64 rope values; unabsorbed 192 and 128
LATENT_QK, LATENT_V, EXPANDED_QK, EXPANDED_V = 576, 512, 192, 128
#: tokens per rank from which expert exchanges are throughput kernels, which relay (DeepEP: low latency up to 128)
RELAYED_FROM = 512
#: bytes of a message so small that only latency counts
SMALL_MESSAGE = 64.0
#: vector operations per value of a gated activation
ACTIVATION_OPERATIONS = 8


@dataclass(frozen=True, slots=True)
class Kernel:
    """A row made ready: its operators, the machine they run on, formats of products and of the cache."""

    scenario: Scenario
    chip: str
    system: str | None
    stack: str | None
    ops: tuple[Op, ...]
    format: Format
    kv_bytes: float
    notes: tuple[str, ...] = ()

    @property
    def group(self) -> tuple[Any, ...]:
        """Kernels with the same group are evaluated together."""
        return self.chip, self.system, self.stack, self.format, self.kv_bytes


@dataclass(frozen=True, slots=True)
class _Operators:
    """What `step_time` needs of a model: here it is a bare list of operators."""

    listed: list[Op]
    mtp: tuple[()] = ()

    def ops(self, load: Load, layout: Layout, stack: Stack) -> list[Op]:
        del load, layout, stack
        return self.listed


def kernel(scenario: Scenario, pools: Pools) -> Kernel:
    """The operators of one row. Raises NoForecastError: what is not stated, or not covered by a law."""
    op = scenario.op or ""
    if "bwd" in op:
        raise NoForecastError("backward: training is not yet forecast")
    build = _BUILDERS.get(op)
    if build is None:
        raise NoForecastError(f"op '{op}' has no law")
    if scenario.chip is None:
        raise NoForecastError("chip is not stated")
    machine = pools.machine(scenario.chip, scenario.system, scenario.stack)
    fmt = _format(scenario, machine)
    cache = scenario.kv_cache or scenario.activations or "bf16"
    return Kernel(
        scenario, scenario.chip, scenario.system, scenario.stack, tuple(build(scenario, machine)), fmt, BYTES[cache],
        _notes(scenario, machine),
    )  # fmt: skip


def _notes(scenario: Scenario, machine: Machine) -> tuple[str, ...]:
    if scenario.stack in (None, "none", machine.stack.id):
        return ()
    return (f"'{scenario.stack}' has no coefficients of its own: forecast with '{machine.stack.id}', {ONE_LOWER}",)


def _format(scenario: Scenario, machine: Machine) -> Format:
    activations = scenario.activations or scenario.weights or ("int8" if scenario.op == "moe_dispatch" else "bf16")
    mode = matrix_mode(activations)
    if scenario.kind == "kernel" and mode not in machine.modes:
        raise NoForecastError(f"{machine.chip.id} has no {mode} matrix mode")
    stored = scenario.weights or activations
    return Format("fp8_block" if stored == "fp8" and scenario.stack in BLOCK_SCALED else stored, mode)


def timed(pool_of_draws: Pools, kernels: Sequence[Kernel]) -> Answer:
    """All kernels of one group on one machine, as the operators of one step."""
    first = kernels[0]
    machine = pool_of_draws.machine(first.chip, first.system, first.stack)
    listed = [_named(op, row) for row, item in enumerate(kernels) for op in item.ops]
    formats: Any = dict.fromkeys(("ffn", "experts"), first.format)
    one = np.ones(1)
    how = Pass(Layout(one, one, one, one, one), formats, first.kv_bytes, balanced=True)
    step = step_time(cast(Model, _Operators(listed)), Load(), how, machine)
    found = [_Total(step, row, machine) for row in range(len(kernels))]
    samples = {
        name: np.stack(
            [np.broadcast_to(getattr(of, name)(item), of.shape) for of, item in zip(found, kernels, strict=True)]
        )
        for name in ("latency_us", "tflops", "gb_per_s")
    }
    answer = Answer(samples)
    if machine.draws:
        answer.samples = _scattered(samples, kernels, machine)
    else:
        tiers = machine.tiers()
        each = [told(total.alone(), tiers) for total in found]
        why = Told([one.bound_by[0] for one in each], [one.tier[0] for one in each])
        answer.told = dict.fromkeys(samples, why)
    return answer


def _scattered(samples: dict[str, Array], kernels: Sequence[Kernel], machine: Machine) -> dict[str, Array]:
    """The draws with what the laws miss of single shapes."""
    each = (strayed(item.scenario, item.format, machine) for item in kernels)
    slower = np.stack([np.broadcast_to(one, (machine.draws,)) for one in each])
    return {name: found * (slower if name == "latency_us" else 1 / slower) for name, found in samples.items()}


def _named(op: Op, row: int) -> Op:
    return replace(op, name=str(row))


class _Total:
    """Seconds, FLOPs and bytes of the operators of one row of a step, without the kernels that prepare its input."""

    def __init__(self, step: Step, row: int, machine: Machine) -> None:
        self.machine = machine
        self.shape = (machine.draws,) if machine.draws else ()
        self.groups = [picked for group in step.groups if (picked := _pick(group, str(row))) is not None]
        self.seconds = sum((group.seconds().sum(axis=0)[0] for group in self.groups), np.zeros(()))

    def alone(self) -> Step:
        """A step of these operators only."""
        zero = np.zeros(1)
        return Step(np.atleast_1d(self.seconds), zero, zero, zero, np.ones(1), self.groups)

    def latency_us(self, item: Kernel) -> Array:
        """Microseconds."""
        del item
        return np.asarray(self.seconds * 1e6)

    def tflops(self, item: Kernel) -> Array:
        """Useful TFLOP/s: causal pairs counted once."""
        del item
        flops = sum(np.asarray(group.flops * group.count).sum(axis=0)[0] for group in self.groups)
        return np.asarray(flops / self.seconds / 1e12)

    def gb_per_s(self, item: Kernel) -> Array:
        """GB/s of memory; of an expert exchange, of the bytes that sources count; of another, through its link."""
        group = self.groups[-1]
        if item.scenario.op in ("moe_dispatch", "moe_combine"):
            return np.asarray(counted_bytes(item.scenario) / self.seconds / 1e9)
        if group.law != "collective":
            moved = np.asarray(group.moved).sum(axis=0)[0]
            return np.asarray(moved / self.seconds / 1e9)
        fabric = self.machine.fabric
        crosses = _spread(item) > fabric.inner_size
        bandwidth = np.where(crosses, fabric.outer_bandwidth, fabric.inner_bandwidth)
        if item.scenario.op == "p2p" and item.scenario.bytes is None:
            return np.asarray(bandwidth / 1e9)
        link = np.asarray(group.timing.link)[0, 0]
        return np.asarray(bandwidth * link / self.seconds / 1e9)


def _spread(item: Kernel) -> float:
    """Ranks over which the exchange of a row spreads."""
    op = item.ops[0]
    return float(op.group * op.stride) if isinstance(op, Collective) else 1.0


def _pick(group: Timed, name: str) -> Timed | None:
    rows = [index for index, known in enumerate(group.names) if known == name]
    if not rows:
        return None
    timing = type(group.timing)(*(_take(getattr(group.timing, part), rows) for part in _TIMING))
    parts, exchanged = [group.parts[row] for row in rows], [group.exchanged[row] for row in rows]
    flops, moved, count = (_take(values, rows) for values in (group.flops, group.moved, group.count))
    crosses = None if group.crosses is None else _take(group.crosses, rows)
    return Timed(group.law, [name] * len(rows), parts, timing, count, flops, moved, exchanged, crosses)


_TIMING = ("total", "matrix", "vector", "memory", "link", "fixed")


def _take(values: Any, rows: list[int]) -> Any:
    array = np.asarray(values)
    return array[rows] if array.ndim and array.shape[0] > 1 else array if array.ndim else float(array)


def _stated(scenario: Scenario, *names: str) -> tuple[float, ...]:
    found = [getattr(scenario, name) for name in names]
    if None in found:
        raise NoForecastError(f"{names[found.index(None)]} is not stated (a ceiling, not a shape)")
    return tuple(float(value) for value in found)


def _gemm(scenario: Scenario, machine: Machine) -> list[Op]:
    del machine
    m, n, k = _stated(scenario, "m", "n", "k")
    return [Gemm("gemm", "ffn", "ffn", m, n, k)]


def _grouped(scenario: Scenario, machine: Machine) -> list[Op]:
    """`m` rows spread evenly over all groups of the device: each group is multiplied."""
    del machine
    m, n, k, experts = _stated(scenario, "m", "n", "k", "experts")
    return [GroupedGemm("grouped", "experts", "experts", m / experts, int(experts), int(experts), 1, n, k)]


def _moe_mlp(scenario: Scenario, machine: Machine) -> list[Op]:
    """Gate, up and down projection of `m` tokens that choose `topk` experts each."""
    del machine
    m, n, k, experts, topk = _stated(scenario, "m", "n", "k", "experts", "topk")
    routed = m, int(topk), int(experts), 1
    inner = m * topk * n
    return [
        GroupedGemm("up", "experts", "experts", *routed, 2 * n, k),
        Vector("activation", "experts", 2 * inner, inner, ACTIVATION_OPERATIONS * inner),
        GroupedGemm("down", "experts", "experts", *routed, k, n),
    ]


def _prefill(causal: bool) -> Callable[[Scenario, Machine], list[Op]]:
    def build(scenario: Scenario, machine: Machine) -> list[Op]:
        del machine
        batch, query, heads, qk = _stated(scenario, "batch_per_device", "input_tokens", "heads", "head_dim")
        v = EXPANDED_V if qk == EXPANDED_QK else qk
        context = max((scenario.kv_tokens or query) - query, 0)
        values = (scenario.kv_heads or heads) * (qk + v)
        return [
            Attention(
                "attention",
                "attention",
                "prefill",
                batch,
                query,
                context,
                heads,
                int(qk),
                int(v),
                values,
                causal=causal,
            )
        ]

    return build


def _mla_decode(scenario: Scenario, machine: Machine) -> list[Op]:
    """Absorbed: one latent head; a sparse one reads `topk` latents per query."""
    del machine
    batch, context, heads = _stated(scenario, "batch_per_device", "kv_tokens", "heads")
    query = scenario.input_tokens or 1
    dims, limit = (LATENT_QK, LATENT_V, LATENT_QK), float(scenario.topk or "inf")
    return [
        Attention("attention", "attention", "decode", batch, query, context, heads, *dims, limit, limited_by="topk")
    ]


def _decode(scenario: Scenario, machine: Machine) -> list[Op]:
    del machine
    names = "batch_per_device", "kv_tokens", "heads", "kv_heads", "head_dim"
    batch, context, heads, kv_heads, dim = _stated(scenario, *names)
    query = scenario.input_tokens or 1
    values = 2 * kv_heads * dim
    return [Attention("attention", "attention", "decode", batch, query, context, heads, int(dim), int(dim), values)]


def _copy(scenario: Scenario, machine: Machine) -> list[Op]:
    """Bytes read and bytes written, both counted."""
    del machine
    (size,) = _stated(scenario, "bytes")
    values = size / ACTIVATION_BYTES
    return [Vector("copy", "ffn", values, values, 0)]


def _all_to_all(dispatch: bool) -> Callable[[Scenario, Machine], list[Op]]:
    """Dispatch in the format of the activations; combine in 16 bit where its own format is not stated."""

    def build(scenario: Scenario, machine: Machine) -> list[Op]:
        del machine
        m, k, topk, group = _stated(scenario, "m", "k", "topk", "group")
        narrow = dispatch or scenario.activations is not None
        relayed = float(m > RELAYED_FROM)
        return [Collective("exchange", "exchange", "all_to_all", m * k, group, 1, int(topk), narrow, relayed)]

    return build


def _p2p(scenario: Scenario, machine: Machine) -> list[Op]:
    """A message between two devices; where its size is not stated, latency is of a small one, bandwidth the link's."""
    inner, outer = machine.system.domains[0], machine.system.domains[min(1, len(machine.system.domains) - 1)]
    named = scenario.domain or ""
    if named.startswith((inner.name, *_INSIDE)) or not named:
        stride = 1.0
    elif named.startswith((outer.name, outer.kind, *_ACROSS)):
        stride = float(inner.size or 1)
    else:
        raise NoForecastError(f"link '{named}' is not a domain of {machine.system.id}")
    size = scenario.bytes or SMALL_MESSAGE
    return [Collective("send", "exchange", "p2p", size / ACTIVATION_BYTES, 2, stride)]


#: how sources name the domain inside which, and across which, two devices lie
_INSIDE = ("node", "fabric", "one switch", "two switches")
_ACROSS = ("roce", "infiniband")

_BUILDERS: dict[str, Callable[[Scenario, Machine], list[Op]]] = {
    "gemm": _gemm,
    "grouped_gemm": _grouped,
    "moe_mlp": _moe_mlp,
    "attention_fwd": _prefill(causal=False),
    "attention_fwd_causal": _prefill(causal=True),
    "mla_prefill": _prefill(causal=True),
    **dict.fromkeys(("mla_decode", "mla_sparse_decode", "mla_sparse_prefill"), _mla_decode),
    "attention_decode": _decode,
    "copy": _copy,
    "moe_dispatch": _all_to_all(dispatch=True),
    "moe_combine": _all_to_all(dispatch=False),
    "p2p": _p2p,
}
