"""NVIDIA's operator tables: `systems/data/<system>/<family>/<framework>/<version>/*.parquet` of aiconfigurator-core.

Only these Parquet files are ever opened: the package also carries serving rows from which others were withheld.
Traps that this adapter takes care of: latencies are milliseconds (DeepEP: microseconds), message sizes of NCCL and of
the custom all-reduce count elements, module tables (whole layers) are no operators, sliding windows and experts
without a gate are left out, and of each framework only the newest complete version is read.
"""

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from silicast.errors import EvidenceError, MissingExtraError
from silicast.evidence.ingest.operators import Array, Operators, operators

#: system of the tables -> chip of the catalog. a100_sxm does not say its memory; 80 GB is the part its tables name
CHIPS = {
    "a100_sxm": "a100-sxm-80",
    "h100_sxm": "h100-sxm",
    "h200_sxm": "h200-sxm",
    "b200_sxm": "b200-sxm",
    "b300_sxm": "b300-sxm",
    "gb200": "gb200",
    "gb300": "gb300",
    "l40s": "l40s",
    "rtx_pro_6000_server": "rtx-pro-6000",
}
DTYPES = {
    "bfloat16": "bf16",
    "half": "bf16",
    "nvfp4": "fp4",
    "int4_wo": "int4xbf16",
    "int8_wo": "int8xbf16",
    "w4a16_mxfp4": "mxfp4xbf16",
    "w4a8_mxfp4_mxfp8": "mxfp4xfp8",
}
BYTES = {"half": 2.0, "bfloat16": 2.0, "int8": 1.0}
TITLE = "NVIDIA AIConfigurator operator tables, aiconfigurator-core 0.12.0 (Apache-2.0)"
URL = "https://pypi.org/project/aiconfigurator-core/0.12.0/"
DATE = "2026-08"
INSTALL = "pip install 'silicast[calibrate]'"
#: experts without a gate (squared ReLU): hidden or intermediate width of the only such models in the tables
UNGATED_TOPK, UNGATED_WIDTH = 22, 2688

HEAD_DIMS = (64, 128, 256)
MOST_GROUPED = 16

Columns = dict[str, Array]


def tables(folder: Path) -> list[Path]:
    """The Parquet files of a `systems/data` folder (or of a folder that holds one), the newest version of each.

    Raises EvidenceError when there are none.
    """
    root = _root(folder)
    versions: dict[tuple[str, ...], list[Path]] = {}
    for path in sorted(root.glob("*/*/*/*/*.parquet")):
        system, family, framework = path.relative_to(root).parts[:3]
        if system in CHIPS and path.stem in _READERS:
            versions.setdefault((system, family, framework, path.stem), []).append(path)
    if not versions:
        raise EvidenceError(
            f"'{folder}' has no operator tables; expected <system>/<family>/<framework>/<version>/*.parquet "
            f"of aiconfigurator-core under systems/data, for one of {', '.join(CHIPS)}."
        )
    return [path for key in sorted(versions) for path in _chosen(versions[key])]


def _chosen(paths: list[Path]) -> list[Path]:
    """All versions of the expert-parallel tables, which differ in the number of nodes; else the newest complete one."""
    return paths if "deepep" in paths[0].stem else [_newest(paths)]


def _newest(paths: list[Path]) -> Path:
    """The newest version that is not a partial rerun: at least half as large as the largest."""
    if len(paths) == 1:
        return paths[0]
    most = max(path.stat().st_size for path in paths)
    whole = [path for path in paths if 2 * path.stat().st_size >= most]
    return max(whole, key=lambda path: _order(path.parent.name))


def _root(folder: Path) -> Path:
    try:
        readable = folder.is_dir() and any(True for _ in folder.iterdir())
    except OSError as error:
        raise EvidenceError(f"Folder '{folder}' cannot be read: {error.strerror}.") from None
    if not readable:
        raise EvidenceError(f"Folder '{folder}' not found or empty; give the folder of operator tables.")
    for inner in ("", "systems/data", "aiconfigurator_core/systems/data"):
        if any((folder / inner / system).is_dir() for system in CHIPS):
            return folder / inner
    return folder


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def read(path: Path) -> Operators:
    """The operators of one table. Raises EvidenceError when the file is no such table, or pyarrow is missing."""
    if path.suffix != ".parquet":
        raise EvidenceError(f"'{path.name}' is not an operator table; only Parquet tables are read.")
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise MissingExtraError(f"Operator tables need pyarrow. Install it with: {INSTALL}") from None
    try:
        table = parquet.read_table(path)
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
    except Exception as error:  # a broken file raises whatever pyarrow finds first
        raise EvidenceError(f"Operator table '{path.name}' cannot be read: {error}") from None
    system, _, framework = path.parts[-5:-2]
    about = {
        "chip": CHIPS[system],
        "stack": framework,
        "version": path.parts[-2],
        "source": f"{system}/{framework}/{path.stem}",
    }
    try:
        parts = list(_READERS[path.stem](columns, about))
    except KeyError as error:
        raise EvidenceError(f"Operator table '{path.name}' has no column {error}.") from None
    return Operators({name: np.concatenate([part[name] for part in parts]) for name in parts[0].columns})


def _picked(columns: Columns, keep: Array) -> Columns:
    return {name: values[keep] for name, values in columns.items()}


def _named(values: Array, table: dict[str, str]) -> Array:
    names, places = np.unique(values.astype(str), return_inverse=True)
    return np.array([table.get(str(name), str(name)) for name in names], dtype=object)[places]


def _library(columns: Columns) -> Array:
    return columns["kernel_source"].astype(str).astype(object)


def _gemm(columns: Columns, about: dict[str, Any]) -> Iterator[Operators]:
    """vLLM's block-scaled FP8 products are launched eagerly here: 60 to 200 us of host time each, so left out."""
    if about["stack"] == "vllm":
        columns = _picked(columns, columns["gemm_dtype"].astype(str) != "fp8_block")
    yield operators(
        len(columns["m"]), op="gemm", m=columns["m"], n=columns["n"], k=columns["k"],
        dtype=_named(columns["gemm_dtype"], DTYPES), library=_library(columns), latency_us=columns["latency"] * 1e3,
        **about,
    )  # fmt: skip


def _moe(columns: Columns, about: dict[str, Any]) -> Iterator[Operators]:
    """Experts with a gate, all of them on one device.

    With ep > 1 several frameworks also time the rows that other ranks own (activation and sum over all of them), and
    under skewed routing the rows of one rank are unknown.
    """
    topk = columns["topk"]
    ungated = (topk == UNGATED_TOPK) | (columns["hidden_size"] == UNGATED_WIDTH)
    ungated |= np.char.find(columns["kernel_source"].astype(str), "nongated") >= 0
    keep = ~ungated & (columns["moe_ep_size"] == 1) & (columns["latency"] > 0)
    columns = _picked(columns, keep)
    kind = columns["distribution"].astype(str)
    yield operators(
        len(kind), op="moe_mlp", m=columns["num_tokens"], n=columns["inter_size"] / columns["moe_tp_size"],
        k=columns["hidden_size"], experts=columns["num_experts"], topk=columns["topk"], ep=columns["moe_ep_size"],
        dtype=_named(columns["moe_dtype"], DTYPES), library=_library(columns),
        routing=np.where(kind == "balanced", "balanced", "skewed").astype(object), latency_us=columns["latency"] * 1e3,
        **about,
    )  # fmt: skip


def _attention(op: str) -> Callable[[Columns, dict[str, Any]], Iterator[Operators]]:
    def read_table(columns: Columns, about: dict[str, Any]) -> Iterator[Operators]:
        columns = _picked(columns, _full_attention(columns))
        prefill = op == "attention_fwd_causal"
        kv_heads = columns["num_key_value_heads"]
        yield operators(
            len(kv_heads), op=op, batch=columns["batch_size"], query=columns["isl"] if prefill else 1,
            context=0 if prefill else columns["step"], heads=columns["num_heads"],
            kv_heads=np.where(kv_heads == 0, columns["num_heads"], kv_heads), head_dim=columns["head_dim"],
            dtype=_named(columns["attn_dtype"], DTYPES), kv_cache=_named(columns["kv_cache_dtype"], DTYPES),
            library=_library(columns), latency_us=columns["latency"] * 1e3, **about,
        )  # fmt: skip

    return read_table


def _full_attention(columns: Columns) -> Array:
    """Rows without a window whose shape a main kernel covers.

    Head sizes of 192 and 512, and more than 16 query heads per key head on one device, run on fallback kernels there.
    """
    heads, keys = columns["num_heads"], np.maximum(columns["num_key_value_heads"], 1)
    grouped = np.where(columns["num_key_value_heads"] == 0, 1, heads / keys)
    windowed = columns["window_size"] > 0 if "window_size" in columns else np.zeros(len(heads), dtype=bool)
    return np.asarray(~windowed & np.isin(columns["head_dim"], HEAD_DIMS) & (grouped <= MOST_GROUPED))


def _mla(op: str) -> Callable[[Columns, dict[str, Any]], Iterator[Operators]]:
    def read_table(columns: Columns, about: dict[str, Any]) -> Iterator[Operators]:
        prefill = op == "mla_prefill"
        yield operators(
            len(columns["isl"]), op=op, batch=columns["batch_size"], query=columns["isl"] if prefill else 1,
            context=0 if prefill else columns["step"], heads=columns["num_heads"],
            kv_heads=columns["num_heads"] if prefill else 1, head_dim=192 if prefill else 576,
            dtype=_named(columns["mla_dtype"], DTYPES), kv_cache=_named(columns["kv_cache_dtype"], DTYPES),
            library=_library(columns), latency_us=columns["latency"] * 1e3, **about,
        )  # fmt: skip

    return read_table


def _nccl(columns: Columns, about: dict[str, Any]) -> Iterator[Operators]:
    kind = columns["nccl_dtype"].astype(str)
    keep = kind == "half"
    columns, kind = _picked(columns, keep), kind[keep]
    size = columns["message_size"] * _bytes(kind)
    op = _named(columns["op_name"], {"alltoall": "all_to_all"})
    about = about | {"library": "nccl"}
    yield operators(
        len(kind), op=op, bytes=size, group=columns["num_gpus"], latency_us=columns["latency"] * 1e3, **about
    )


def _bytes(kinds: Array) -> Array:
    return np.array([BYTES[str(kind)] for kind in kinds])


def _custom(columns: Columns, about: dict[str, Any]) -> Iterator[Operators]:
    library = _library(columns)
    keep = np.array(["eager" not in str(name) for name in library], dtype=bool)
    columns, library = _picked(columns, keep), library[keep]
    yield operators(
        len(library), op="all_reduce", bytes=columns["message_size"] * _bytes(columns["allreduce_dtype"]),
        group=columns["num_gpus"], library="custom", latency_us=columns["latency"] * 1e3, **about,
    )  # fmt: skip


def _deepep(library: str) -> Callable[[Columns, dict[str, Any]], Iterator[Operators]]:
    def read_table(columns: Columns, about: dict[str, Any]) -> Iterator[Operators]:
        low = library == "deepep_ll"
        best = np.ones(len(columns["num_token"]), dtype=bool) if low else columns["dispatch_sms"] == 24
        columns = _picked(columns, best)
        ranks = columns["node_num"] * 8.0
        for op in ("dispatch", "combine"):
            latency = columns[f"{op}_avg_t_us"] if low else columns[f"{op}_transmit_us"] + columns[f"{op}_notify_us"]
            yield operators(
                len(latency), op=f"moe_{op}", m=columns["num_token"], k=columns["hidden_size"],
                topk=columns["num_topk"], experts=columns["num_experts"], group=ranks, ep=ranks,
                dtype="fp8" if op == "dispatch" else "bf16", library=library, latency_us=latency, **about,
            )  # fmt: skip

    return read_table


def _quantise(columns: Columns, about: dict[str, Any]) -> Iterator[Operators]:
    """SGLang's table times another path (a tenth of the bandwidth, 8 us): left out."""
    columns = _picked(columns, (columns["latency"] > 0) & (about["stack"] != "sglang"))
    yield operators(
        len(columns["m"]), op="quantise", m=columns["m"], k=columns["k"], dtype=_named(columns["quant_dtype"], DTYPES),
        library=_library(columns), latency_us=columns["latency"] * 1e3, **about,
    )  # fmt: skip


_READERS: dict[str, Callable[[Columns, dict[str, Any]], Iterator[Operators]]] = {
    "gemm_perf": _gemm,
    "moe_perf": _moe,
    "context_attention_perf": _attention("attention_fwd_causal"),
    "generation_attention_perf": _attention("attention_decode"),
    "context_mla_perf": _mla("mla_prefill"),
    "generation_mla_perf": _mla("mla_decode"),
    "nccl_perf": _nccl,
    "custom_allreduce_perf": _custom,
    "wideep_deepep_ll_perf": _deepep("deepep_ll"),
    "wideep_deepep_normal_perf": _deepep("deepep_normal"),
    "scale_matrix_perf": _quantise,
}
