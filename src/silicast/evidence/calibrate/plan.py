"""What is fitted to what: for each kind of kernel its rows, its law, its coefficients and where they are written."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from silicast.evidence.calibrate import predict
from silicast.evidence.calibrate.device import Device, known
from silicast.evidence.calibrate.fit import Coefficient
from silicast.evidence.ingest.operators import Array, Operators, shapes

Predictor = Callable[[Operators, str, Mapping[str, float], Device], Array]


@dataclass(frozen=True, slots=True)
class Kind:
    """One law of the coefficient files, and how a kernel of it is predicted from a table."""

    law: str
    predict: Predictor
    coefficients: tuple[Coefficient, ...]

    def key(self, kernel: str, name: str) -> str:
        """Dotted name in a coefficient file; a name that carries its law stays as it is."""
        if "." in name:
            return name
        return f"{self.law}.{kernel}.{name}" if kernel else f"{self.law}.{name}"


_CACHE = (
    Coefficient("cache_share", 0.5, 0.02, 1.5, 1.0, kept=False),
    Coefficient("cache_ratio", 2.0, 0.5, 8.0, 0.7, kept=False),
)
_LAUNCH = Coefficient("launch", 4e-6, 0.2e-6, 300e-6, 2.0, "us")
_EFFICIENCY = Coefficient("memory_efficiency", 0.8, 0.05, 1.0, 0.5)

VECTOR = Kind(
    "vector",
    predict.quantise,
    (
        Coefficient("vector.launch", 2e-6, 0.3e-6, 100e-6, 2.0, "us"),
        Coefficient("vector.memory_efficiency", 0.6, 0.05, 1.0, 0.5),
        *_CACHE,
    ),
)
COPY = Kind("vector", predict.copy, VECTOR.coefficients[:2])
PRODUCT = Kind(
    "gemm",
    predict.product,
    (
        Coefficient("compute_efficiency_of_peak", 0.7, 0.03, 1.0, 0.7),
        _EFFICIENCY,
        _LAUNCH,
        Coefficient("operand_ratio", 4.0, 0.5, 60.0, 0.7),
        Coefficient("k_ramp", 150.0, 1.0, 5000.0, 1.0),
        Coefficient("wave_rounding", 0.2, 0.002, 1.0, 1.0),
        Coefficient("split_cost", 3e-6, 0.2e-6, 300e-6, 0.7, "us"),
        Coefficient("row_ramp", 0.5e-6, 0.01e-6, 100e-6, 1.5, "us"),
        *_CACHE,
    ),
)
EXPERTS = Kind(
    "grouped_gemm",
    predict.experts,
    (
        Coefficient("compute_efficiency_of_peak", 0.5, 0.03, 1.0, 0.7),
        _EFFICIENCY,
        Coefficient("launch", 8e-6, 0.2e-6, 300e-6, 1.5, "us"),
        Coefficient("row_padding", 40.0, 0.5, 300.0, 0.8),
        Coefficient("k_ramp", 150.0, 1.0, 5000.0, 1.0),
        Coefficient("sorting", 5e-6, 0.05e-6, 300e-6, 1.5, "us"),
        Coefficient("routing_spread", 0.85, 0.4, 1.0, 0.3, kept=False),
    ),
)
GROUPED = Kind("grouped_gemm", predict.grouped, EXPERTS.coefficients[:-1])


def _attention(phase: str) -> Kind:
    return Kind(
        "attention",
        predict.attend,
        (
            Coefficient(f"{phase}_efficiency_of_peak", 0.5, 0.02, 1.0, 0.7),
            Coefficient("memory_efficiency", 0.8, 0.05, 1.0, 0.5),
            Coefficient("launch", 10e-6, 1e-6, 200e-6, 1.0, "us"),
            Coefficient("softmax_operations", 25.0, 2.0, 400.0, 0.7 if phase == "prefill" else 0.2),
            Coefficient("tile_setup", 1.5e-6, 0.01e-6, 100e-6, 1.0, "us"),
            *(_CACHE if phase == "decode" else ()),
        ),
    )


PREFILL, DECODE = _attention("prefill"), _attention("decode")
ALL_REDUCE = Kind(
    "collective",
    predict.exchange,
    (
        Coefficient("bandwidth_efficiency", 0.8, 0.02, 1.0, 0.5),
        Coefficient("launch", 3e-6, 0.2e-6, 100e-6, 1.5, "us"),
        Coefficient("second_exchange", 4e-6, 0.1e-6, 100e-6, 1.5, "us"),
        Coefficient("switch_share", 0.6, 0.05, 1.0, 0.7),
    ),
)
ALL_GATHER = Kind(
    "collective",
    predict.exchange,
    (
        Coefficient("bandwidth_efficiency", 0.8, 0.02, 1.0, 0.5),
        Coefficient("launch", 4e-6, 0.2e-6, 100e-6, 1.5, "us"),
        Coefficient("hop", 1e-6, 0.01e-6, 50e-6, 1.5, "us"),
    ),
)
ALL_TO_ALL = Kind(
    "collective",
    predict.exchange,
    (
        Coefficient("bandwidth_efficiency", 0.75, 0.02, 1.0, 0.2),
        Coefficient("latency_all_to_all", 12e-6, 0.5e-6, 500e-6, 1.5, "us"),
        Coefficient("outer_efficiency", 0.8, 0.02, 1.0, 0.5),
    ),
)
#: what the laws need and the rows cannot tell apart from other coefficients: held at the datasheet value
HELD = {
    "vector.compute_efficiency": 0.5,
    "vector.launch": 2e-6,
    "vector.memory_efficiency": 0.7,
    "launch.kernel": 3e-6,
}


def jobs(table: Operators) -> Iterator[tuple[Kind, str, Operators]]:
    """Every (law, kernel) that the rows of one chip can fit, vector operators first: the others stand on them."""
    table = fastest_library(table)
    op, dtype = table["op"].astype(str), table["dtype"].astype(str)
    for name, kind in (("quantise", VECTOR), ("copy", COPY)):
        if np.any(op == name):
            rows = table.where(op == name)
            yield kind, str(rows["dtype"][0]) if name == "quantise" else "", rows
    for kernel in filter(known, sorted(set(dtype[op == "gemm"]))):
        yield PRODUCT, kernel, table.where((op == "gemm") & (dtype == kernel))
    for name, kind in (("moe_mlp", EXPERTS), ("grouped_gemm", GROUPED)):
        for kernel in filter(known, sorted(set(dtype[op == name]))):
            yield kind, kernel, table.where((op == name) & (dtype == kernel))
    yield from _attentions(table, op, dtype)
    yield from _exchanges(table, op)


_ATTENTION_OPS = {
    "attention_fwd_causal": ("prefill", PREFILL),
    "mla_prefill": ("mla_prefill", PREFILL),
    "attention_decode": ("decode", DECODE),
    "mla_decode": ("mla_decode", DECODE),
}


def _attentions(table: Operators, op: Array, dtype: Array) -> Iterator[tuple[Kind, str, Operators]]:
    cache = table["kv_cache"].astype(str)
    for name, (kernel, kind) in _ATTENTION_OPS.items():
        wide = (op == name) & (dtype == "bf16") & np.isin(cache, ("", "bf16"))
        if np.any(wide):
            yield kind, kernel, table.where(wide)
        narrow = (op == name) & (dtype == "bf16") & (cache == "fp8")
        if np.any(narrow) and "decode" in kernel:
            yield kind, f"{kernel}_fp8", table.where(narrow)


def _exchanges(table: Operators, op: Array) -> Iterator[tuple[Kind, str, Operators]]:
    reduce = table.where(op == "all_reduce")
    if len(reduce):
        yield ALL_REDUCE, "all_reduce", _fastest(reduce)
    gather = table.where(np.isin(op, ("all_gather", "reduce_scatter")))
    if len(gather):
        yield ALL_GATHER, "all_gather", gather
    travel = np.isin(op, ("moe_dispatch", "moe_combine"))
    throughput = table["library"].astype(str) == "deepep_normal"
    for kernel, rows in (("all_to_all", travel & ~throughput), ("all_to_all_relayed", travel & throughput)):
        if np.any(rows):
            yield ALL_TO_ALL, kernel, table.where(rows)


def within(kind: Kind, rows: Operators, device: Device) -> Kind:
    """The kind without the coefficients of the outer link where no row crosses it."""
    if kind is ALL_TO_ALL and not np.any(rows["group"] > device.inner_size):
        return replace(kind, coefficients=kind.coefficients[:-1])
    return kind


def _fastest(table: Operators) -> Operators:
    """Stacks switch from their own all-reduce to NCCL where that is faster: the faster of the two per message."""
    own, general = (table.where((table["library"] == "nccl") == flag) for flag in (False, True))
    if not len(own) or not len(general):
        return table
    best = {(g, b): t for g, b, t in zip(general["group"], general["bytes"], general["latency_us"], strict=True)}
    times = [min(t, best.get((g, b), t)) for g, b, t in zip(own["group"], own["bytes"], own["latency_us"], strict=True)]
    return Operators({**own.columns, "latency_us": np.array(times)})


def merged(table: Operators) -> Operators:
    """One row per shape: the median over the stacks that measured it, the faster one of two."""
    return _reduced(table, shapes(table), lambda values: np.sort(values)[(len(values) - 1) // 2])


def fastest_library(table: Operators) -> Operators:
    """One row per shape and stack: a stack that has several kernel libraries for a shape takes the fastest.

    The all-reduce of a stack and that of NCCL stay apart: they are compared per message, not per table.
    """
    stacks, place = np.unique(table["stack"].astype(str), return_inverse=True)
    del stacks
    with np.errstate(over="ignore"):
        return _reduced(table, shapes(table) + place.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15), np.min)


def _reduced(table: Operators, code: Array, reduce: Callable[[Array], Any]) -> Operators:
    if not len(table):
        return table
    order = np.argsort(code, kind="stable")
    sorted_code = code[order]
    starts = np.flatnonzero(np.r_[True, sorted_code[1:] != sorted_code[:-1]])
    groups = np.split(order, starts[1:])
    found = table.where(np.array([group[0] for group in groups]))
    found.columns["latency_us"] = np.array([reduce(table["latency_us"][group]) for group in groups])
    return found
