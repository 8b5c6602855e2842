"""Seconds of measured operators by the laws: the functions that `step` calls, on the columns of an operator table.

What the micro-benchmark does and serving does not is modelled here only: operands that stay in the cache between
repetitions, and routing that a generator made.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from silicast.evidence.calibrate.device import Device, activation_bytes, mode_of, stored_bytes
from silicast.evidence.ingest.operators import BARE, Array, Operators
from silicast.laws import attention, collective, gemm
from silicast.laws.vector import vector_time

Values = Mapping[str, float]

#: as in `step`: bytes of activations, tile of a product, operations to quantise one value, queries of a tile
WIDE = 2.0
TILE = 128.0
QUANTISE_OPERATIONS = 4
QUERY_TILE = 128.0
DECODE_ROWS = 64.0
#: as in `model.blocks`: operations of a gated activation per value
ACTIVATION_OPERATIONS = 8
#: how sharply residence in the cache ends with the size of the operands
CLIFF = 4
#: latent attention: key and value widths, expanded and absorbed
EXPANDED_V, LATENT_V = 128.0, 512.0


def quantise(table: Operators, kernel: str, values: Values, device: Device) -> Array:
    """Rows quantised to a narrow format: 16 bit read, narrow written."""
    count = table["m"] * table["k"]
    moved = count * (WIDE + activation_bytes(kernel))
    return _vector(QUANTISE_OPERATIONS * count, moved, values, device)


def copy(table: Operators, kernel: str, values: Values, device: Device) -> Array:
    """Bytes read and written."""
    del kernel
    return _vector(np.zeros(len(table)), 2 * table["bytes"], values, device)


def _vector(operations: Array, moved: Array, values: Values, device: Device) -> Array:
    rate = device.vector * values["vector.compute_efficiency"]
    bandwidth = _cached(moved, values["vector.memory_efficiency"] * device.bandwidth, values, device)
    return np.asarray(vector_time(operations, moved, rate, bandwidth, values["vector.launch"]).total)


def _cached(moved: Array, bandwidth: Any, values: Values, device: Device) -> Array:
    """Bandwidth of a repeated call: `cache_ratio` times the main memory's where all of it stays in the cache."""
    if "cache_share" not in values:
        return np.asarray(bandwidth)
    hit = 1 / (1 + (moved / (values["cache_share"] * device.cache)) ** CLIFF)
    return np.asarray(1 / (hit / (values["cache_ratio"] * device.bandwidth) + (1 - hit) / bandwidth))


def _unit(kernel: str, values: Values, device: Device) -> gemm.MatrixUnit:
    return gemm.MatrixUnit(
        device.peak(kernel), values["compute_efficiency_of_peak"], device.cores, TILE, TILE,
        values["operand_ratio"] * device.bandwidth if "operand_ratio" in values else np.inf,
        values.get("k_ramp", 0.0), values.get("wave_rounding", 1.0), values.get("split_cost", 0.0),
    )  # fmt: skip


def product(table: Operators, kernel: str, values: Values, device: Device) -> Array:
    """A dense product, behind the kernel that quantises its input where the format is narrow."""
    m, n, k = table["m"], table["n"], table["k"]
    stored, narrow = stored_bytes(kernel), activation_bytes(kernel)
    moved = n * k * stored + m * (k * narrow + n * WIDE)
    bandwidth = _cached(moved, values["memory_efficiency"] * device.bandwidth, values, device)
    traffic = gemm.Traffic(stored, narrow, WIDE, bandwidth, 1.0)
    ramp = values.get("row_ramp", 0.0)
    total = gemm.gemm_time(m, n, k, 1.0, _unit(kernel, values, device), traffic, values["launch"], ramp).total
    if mode_of(kernel) != "bf16":
        total = total + np.where(table["library"] == BARE, 0.0, quantise(table, kernel, values, device))
    return np.asarray(total)


def grouped(table: Operators, kernel: str, values: Values, device: Device) -> Array:
    """One grouped product of `m` rows spread evenly over `experts` groups."""
    rows, hit = table["m"], np.minimum(table["experts"], table["m"])
    return _group(rows, hit, table["n"], table["k"], kernel, values, device)


def _group(rows: Array, hit: Array, n: Array, k: Array, kernel: str, values: Values, device: Device) -> Array:
    traffic = gemm.Traffic(
        stored_bytes(kernel), activation_bytes(kernel), WIDE, device.bandwidth, values["memory_efficiency"]
    )
    floor = values["launch"], values["row_padding"]
    unit = _unit(kernel, values, device)
    return np.asarray(gemm.grouped_gemm_time(rows, hit, (n, k), unit, traffic, floor, values["sorting"]).total)


def experts(table: Operators, kernel: str, values: Values, device: Device) -> Array:
    """Gated experts of one device: permute, up, activate, down, un-permute, as the model's block lists them."""
    m, n, k, topk = table["m"], table["n"], table["k"], table["topk"]
    ranks = np.maximum(table["ep"], 1)
    local, rows = np.ceil(table["experts"] / ranks), m * topk / ranks
    spread = np.where(table["routing"] == "balanced", 1.0, values.get("routing_spread", 1.0))
    random = gemm.experts_hit(m, topk, local * ranks, local, spread)
    hit = np.where(table["routing"] == "balanced", np.minimum(local, np.maximum(rows, 1.0)), random)
    up = _group(rows, hit, 2 * n, k, kernel, values, device)
    down = _group(rows, hit, k, n, kernel, values, device)
    x, inner = rows * k, rows * n
    moved = (2 * x, 3 * inner, x + x / topk)
    operations = (x, ACTIVATION_OPERATIONS * inner, x)
    parts = [_vector(o, b * WIDE, values, device) for o, b in zip(operations, moved, strict=True)]
    return np.asarray(up + down + sum(parts))


def attend(table: Operators, kernel: str, values: Values, device: Device) -> Array:
    """Attention, prefill or decode, grouped or latent; `kernel` says which and the format of the cache."""
    latent, decode = kernel.startswith("mla"), "decode" in kernel
    b, q, c, heads = table["batch"], table["query"], table["context"], table["heads"]
    qk = table["head_dim"]
    v = np.full_like(qk, LATENT_V if decode else EXPANDED_V) if latent else qk
    kept = qk if latent and decode else table["kv_heads"] * (qk + v)
    pairs = b * (q * c + q * (q + 1) / 2)
    flops = 2 * pairs * heads * (qk + v)
    cell = 1.0 if kernel.endswith("fp8") else WIDE
    moved = b * (c + q) * kept * cell + b * q * heads * (qk + v) * WIDE
    longest = 0.0 if decode else 2 * np.minimum(q, QUERY_TILE) * (c + q) * (qk + v)
    tiles = np.maximum(np.maximum(kept / (qk + v), heads * q / DECODE_ROWS), 1.0)
    tiles = tiles if decode else heads * np.ceil(q / QUERY_TILE)
    phase = "decode" if decode else "prefill"
    engine = attention.AttentionEngine(
        device.peak("bf16") * values[f"{phase}_efficiency_of_peak"],
        device.vector / values["softmax_operations"],
        device.cores,
        _cached(moved, values["memory_efficiency"] * device.bandwidth, values, device),
        values["tile_setup"],
        float(decode),
    )
    work = attention.Scores(flops, pairs * heads, longest, moved, b * tiles)
    return np.asarray(attention.attention_time(work, engine, values["launch"]).total)


def exchange(table: Operators, kernel: str, values: Values, device: Device) -> Array:
    """A collective between the ranks of one system."""
    fabric = collective.Fabric(
        device.inner_size,
        device.inner * values["bandwidth_efficiency"],
        device.inner_latency,
        device.outer * values.get("outer_efficiency", values["bandwidth_efficiency"]),
        device.outer_latency,
        values.get("launch", values["launch.kernel"]),
        reduces=device.reduces,
        second=values.get("second_exchange", 0.0),
        switch=values.get("switch_share", 1.0),
        hop=values.get("hop", 0.0),
    )
    group = collective.divide(table["group"], np.ones(len(table)), fabric)
    if kernel == "all_reduce":
        return np.asarray(collective.all_reduce_time(table["bytes"], group, fabric).total)
    if kernel.startswith("all_to_all"):
        relayed = np.full(len(table), float(kernel.endswith("relayed")))
        width = np.where(table["op"] == "moe_dispatch", [activation_bytes(d) for d in table["dtype"]], WIDE)
        moved, fan = table["m"] * table["k"] * width, table["topk"]
        fixed = values["latency_all_to_all"]
        return np.asarray(collective.all_to_all_time(moved, fan, relayed, group, fabric, fixed).total)
    return np.asarray(collective.all_gather_time(table["bytes"], group, fabric).total)
