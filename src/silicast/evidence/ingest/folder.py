"""A folder of operator measurements (`--operators DIR`): CSV files in the tidy schema of `operators`.

The files of `ascend-910b-operators` are such a folder; their names for the columns of expert and attention rows are
understood too. A file may say its chip and stack per row; rows without a chip are of `DEFAULT_CHIP`.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from silicast.errors import EvidenceError, nearest
from silicast.evidence.ingest.operators import COLUMNS, SIZES, TEXT, Array, Operators, joined, operators

#: the part that the published Ascend tables were measured on, by their own rates: 24 cores
DEFAULT_CHIP, DEFAULT_STACK = "ascend-910b1", "vllm-ascend"
#: other names of the columns
ALIASES = {"hidden": "k", "intermediate": "n", "tokens": "m", "seq_len": "seq_len", "local_experts": "local_experts"}
IGNORED = ("model", "phase", "local_experts", "note", "id")
#: expert rows below this depend on which experts the random routing of the benchmark hit
FEWEST_TOKENS = 64


def read_folder(folder: Path) -> Operators:
    """All operators of a folder. Raises EvidenceError when it cannot be read, or a column or a number is wrong."""
    try:
        paths = sorted(folder.glob("*.csv")) if folder.is_dir() else []
    except OSError as error:
        raise EvidenceError(f"Folder '{folder}' cannot be read: {error.strerror}.") from None
    if not paths:
        raise EvidenceError(
            f"Folder '{folder}' has no operator tables; expected CSV files with the columns of the schema."
        )
    return joined(_read(path) for path in paths)


def _read(path: Path) -> Operators:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvidenceError(f"Operator table '{path.name}' cannot be read: {error}") from None
    known = (*COLUMNS, *ALIASES, *IGNORED)
    for name in names:
        if name not in known:
            guess = nearest(name, known)
            hint = f" Did you mean '{guess}'?" if guess else ""
            raise EvidenceError(f"{path.name}: column '{name[:40]}' not found.{hint} Known: {', '.join(COLUMNS)}.")
    if "latency_us" not in names or "op" not in names:
        raise EvidenceError(f"{path.name}: an operator table needs the columns 'op' and 'latency_us'.")
    given = {ALIASES.get(name, name): [row[name] for row in rows] for name in names}
    return _tidy({name: _column(name, values, path) for name, values in given.items()}, len(rows), path)


def _column(name: str, values: list[str], path: Path) -> Array:
    if name in TEXT or name in IGNORED:
        return np.array([value or "" for value in values], dtype=object)
    numbers = np.empty(len(values))
    for row, value in enumerate(values):
        try:
            numbers[row] = float(value) if value else 0.0
        except ValueError:
            raise EvidenceError(
                f"{path.name}: column '{name}' of row {row + 1} is '{value[:40]}', not a number."
            ) from None
    return numbers


def _tidy(given: Mapping[str, Array], rows: int, path: Path) -> Operators:
    columns = {name: values for name, values in given.items() if name in SIZES or name in TEXT or name == "latency_us"}
    op = np.array([str(name).removeprefix("dynamic_quant_") for name in given["op"]], dtype=object)
    columns["op"] = op
    if "seq_len" in given:
        decode = np.char.find(op.astype(str), "decode") >= 0
        columns["query"] = np.where(decode, 1, given["seq_len"])
        columns["context"] = np.where(decode, given["seq_len"], 0)
    columns.setdefault("chip", np.full(rows, DEFAULT_CHIP, dtype=object))
    columns.setdefault("stack", np.full(rows, DEFAULT_STACK, dtype=object))
    columns.setdefault("source", np.full(rows, path.name, dtype=object))
    found = operators(rows, **columns)
    few = (found["op"] == "moe_mlp") & (found["m"] < FEWEST_TOKENS)
    return found.where(~few)
