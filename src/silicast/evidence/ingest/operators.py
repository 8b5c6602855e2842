"""The tidy schema of operator measurements: one row per measured kernel or exchange, columns as in EVIDENCE's rows.

`op` is one of `gemm moe_mlp grouped_gemm attention_fwd_causal attention_decode mla_prefill mla_decode all_reduce
all_gather reduce_scatter all_to_all moe_dispatch moe_combine quantise copy`; `latency_us` is microseconds of one call.

| columns | meaning |
|---|---|
| `m n k` | GEMM: rows, outputs, inputs. `moe_mlp`: tokens, intermediate width on this device, hidden width |
| | exchanges of tokens: `m` tokens per device of hidden width `k` |
| `experts topk ep` | experts of the whole layer, choices per token, expert-parallel width |
| `batch query context` | attention: sequences, new tokens and cached tokens of each |
| `heads kv_heads head_dim` | on this device |
| `bytes group` | exchanges: bytes of the tensor on one rank (all-gather: of the result), ranks |
| `dtype` | the kernel: `bf16`, `fp8_block`, `int4xbf16` (weights widened), as `machine.Format.kernel` names it |
| `kv_cache` | format of the cache |
| `chip stack version library` | what ran it: catalog ids, engine version, kernel library or path |
| | library `bare`: a product without the quantisation of its input |
| `routing` | `balanced` or `skewed` (experts) |
| `source` | where the row comes from |

A user's own micro-benchmarks are CSV files with these columns (`--operators DIR`); columns that an operator does not
have may be missing or empty.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import EvidenceError

Array = NDArray[Any]

#: library of a product that was timed without the quantisation of its input
BARE = "bare"
TEXT = ("op", "dtype", "kv_cache", "chip", "stack", "version", "library", "routing", "source")
SIZES = (
    "m", "n", "k", "experts", "topk", "ep", "batch", "query", "context", "heads", "kv_heads", "head_dim", "bytes",
    "group",
)  # fmt: skip
COLUMNS = (*TEXT, *SIZES, "latency_us")


@dataclass(slots=True)
class Operators:
    """Rows as columns: text, sizes (0 where an operator has none) and microseconds."""

    columns: dict[str, Array]

    def __len__(self) -> int:
        return len(self.columns["latency_us"])

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def where(self, keep: Array) -> "Operators":
        """The rows of a mask or of an index."""
        return Operators({name: values[keep] for name, values in self.columns.items()})


def operators(rows: int, **given: Any) -> Operators:
    """Rows from columns; what is not given is empty. Raises EvidenceError for a latency that is none."""
    columns: dict[str, Array] = {}
    for name in COLUMNS:
        text = name in TEXT
        value = given.get(name, "" if text else 0.0)
        columns[name] = np.broadcast_to(np.asarray(value, dtype=object if text else float), (rows,)).copy()
    return checked(Operators(columns))


def checked(table: Operators) -> Operators:
    """The table itself. Raises EvidenceError when a number is not finite or a latency not positive."""
    for name in (*SIZES, "latency_us"):
        values = table[name]
        bad = ~np.isfinite(values) | ((values <= 0) if name == "latency_us" else (values < 0))
        if np.any(bad):
            row = int(np.flatnonzero(bad)[0])
            of = table["source"][row] or "the operator table"
            raise EvidenceError(
                f"{of}: column '{name}' of row {row + 1} is {values[row]:g}; expected a "
                f"{'positive' if name == 'latency_us' else 'finite'} number ({int(bad.sum())} such rows)."
            )
    return table


def joined(tables: Iterable[Operators]) -> Operators:
    """All rows of several tables."""
    found: Sequence[Operators] = [table for table in tables if len(table)]
    if not found:
        return operators(0)
    return Operators({name: np.concatenate([table[name] for table in found]) for name in COLUMNS})


def shapes(table: Operators) -> Array:
    """One number per row that two rows share when they measure the same shape (of the same kernel, any stack)."""
    code = np.zeros(len(table), dtype=np.uint64)
    for name in SIZES:
        code = _mixed(code, table[name].astype(np.float64).view(np.uint64))
    for name in ("op", "dtype", "kv_cache", "routing"):
        code = _mixed(code, _text_code(table[name]))
    return code


def _text_code(values: Array) -> Array:
    from zlib import crc32

    names, places = np.unique(values.astype(str), return_inverse=True)
    return np.array([crc32(name.encode()) for name in names], dtype=np.uint64)[places]


def _mixed(code: Array, word: Array) -> Array:
    """One round of SplitMix64: the same on every machine and in every run."""
    with np.errstate(over="ignore"):
        z = code * np.uint64(0x9E3779B97F4A7C15) + word + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))
