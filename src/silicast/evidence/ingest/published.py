"""Kernel and collective rows of the evidence (`use = calibrate`) as operators; what is suspect or validates stays out.

Rates become microseconds. A product without its quantisation is of library `bare`. Throughput all-to-alls print the
bandwidth of the link that decides, counting the copies that stay at home: bytes = m k width x places hit.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from silicast import catalog
from silicast.dtypes import BYTES
from silicast.evidence.columns import Scenario
from silicast.evidence.ingest.operators import BARE, Operators, joined, operators
from silicast.evidence.record import Row, load
from silicast.machine import UNBOUNDED

#: the kernels of these libraries scale FP8 in blocks
BLOCK_SCALED = ("deepgemm", "infersim")
#: rows per rank from which the throughput kernels of an all-to-all are meant
THROUGHPUT_FROM = 1024


def read_evidence(folders: Iterable[Path]) -> Operators:
    """All rows of evidence folders that a law can be fitted to."""
    found = (operator(row) for row in load(folders).rows)
    return joined(table for table in found if table is not None)


def operator(row: Row) -> Operators | None:
    """A row of the evidence as the operator that a law is fitted to; None for a row that stays out of every fit."""
    scenario = row.scenario
    if row.use != "calibrate" or row.suspect or scenario.kind not in ("kernel", "collective"):
        return None
    build = _BUILDERS.get(scenario.op or "")
    return build(row, scenario) if build and scenario.chip in catalog.ids("chips") else None


def _one(row: Row, latency_us: float, **columns: object) -> Operators:
    scenario = row.scenario
    about = {"chip": scenario.chip, "stack": scenario.stack or "", "version": scenario.stack_version or ""}
    return operators(1, latency_us=latency_us, source=row.source, **about, **columns)


def _kernel(scenario: Scenario) -> str:
    weights = scenario.weights or "bf16"
    return "fp8_block" if weights == "fp8" and scenario.stack in BLOCK_SCALED else weights


def _product(row: Row, scenario: Scenario) -> Operators | None:
    sizes = scenario.m, scenario.n, scenario.k
    if None in sizes:
        return None
    m, n, k = (float(size or 0) for size in sizes)
    seconds = {"latency_us": row.value * MICRO, "tflops": 2 * m * n * k / (row.value * TERA)}.get(row.metric)
    if seconds is None or (scenario.op == "grouped_gemm" and not scenario.experts):
        return None
    library = BARE if scenario.stack in BLOCK_SCALED else ""
    return _one(
        row, seconds / MICRO, op=scenario.op, m=m, n=n, k=k, experts=scenario.experts or 0, dtype=_kernel(scenario),
        library=library,
    )  # fmt: skip


MICRO, TERA, GIGA = 1e-6, 1e12, 1e9


def _latent(row: Row, scenario: Scenario) -> Operators | None:
    decode = scenario.op == "mla_decode"
    if row.metric != "latency_us" or not scenario.batch_per_device or not scenario.heads:
        return None
    query = float(scenario.input_tokens or 1)
    return _one(
        row, row.value, op=scenario.op, batch=scenario.batch_per_device, query=query,
        context=(scenario.kv_tokens or 0) if decode else 0, heads=scenario.heads, kv_heads=scenario.kv_heads or 1,
        head_dim=scenario.head_dim, dtype="bf16", kv_cache=scenario.kv_cache or "bf16",
    )  # fmt: skip


def _exchange(row: Row, scenario: Scenario) -> Operators | None:
    sizes = scenario.m, scenario.k, scenario.topk, scenario.group
    if None in sizes:
        return None
    m, k, topk, group = (float(size or 0) for size in sizes)
    narrow, throughput = _sent_as(scenario), m >= THROUGHPUT_FROM
    if row.metric == "latency_us":
        latency = row.value
    elif row.metric == "gb_per_s" and throughput:
        latency = counted_bytes(scenario) / (row.value * GIGA) / MICRO
    else:  # bandwidth and latency of a low-latency row are one measurement
        return None
    return _one(
        row, latency, op=scenario.op, m=m, k=k, topk=topk, group=group, ep=group,
        dtype=narrow, library="deepep_normal" if throughput else "deepep_ll",
    )  # fmt: skip


def _sent_as(scenario: Scenario) -> str:
    return scenario.activations or ("int8" if scenario.op == "moe_dispatch" else "bf16")


def counted_bytes(scenario: Scenario) -> float:
    """Bytes of one rank that a printed bandwidth of an expert exchange counts, those that stay at home included.

    Throughput kernels send a token once to each place that holds an expert of it, low-latency ones once per expert.
    """
    m, k, topk, group = (float(size or 0) for size in (scenario.m, scenario.k, scenario.topk, scenario.group))
    copies = _places_hit(scenario, topk, group) if m >= THROUGHPUT_FROM else topk
    return m * k * BYTES[_sent_as(scenario)] * copies


def _places_hit(scenario: Scenario, topk: float, group: float) -> float:
    """Expected ranks of one node, or nodes, that hold an expert of a token, the own one included."""
    chip = catalog.chip(scenario.chip or "")
    size = float(catalog.system(scenario.system or chip.system).domains[0].size or UNBOUNDED)
    places = group / size if group > size else group
    return float(places * -np.expm1(topk * np.log1p(-1 / places)))


_BUILDERS: dict[str, Callable[[Row, Scenario], Operators | None]] = {
    "gemm": _product,
    "grouped_gemm": _product,
    "mla_decode": _latent,
    "mla_prefill": _latent,
    "moe_dispatch": _exchange,
    "moe_combine": _exchange,
}
