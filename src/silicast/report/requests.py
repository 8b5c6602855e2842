"""One line per request: CSV (gzip for `.gz`), or Parquet with pyarrow."""

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import InputError, MissingExtraError
from silicast.report.files import replacing
from silicast.serving.measures import MS, Rows
from silicast.serving.outcome import STATES, Served
from silicast.serving.requests import Requests

Array = NDArray[Any]

INSTALL = "pip install 'silicast[parquet]'"
#: lines that are written in one go
AT_ONCE = 1 << 16


def columns(served: Served, requests: Requests, tenant: Array | None = None) -> dict[str, Array]:
    """Every request with its times (s from the start of the run), latencies (ms; NaN = none) and counts.

    `tenant` is the name of the kind of traffic of each, shape `(request,)`.
    """
    rows = Rows.of(served, requests)
    done = rows.done
    return {
        "request": np.arange(served.state.size),
        **({} if tenant is None else {"tenant": tenant}),
        "arrival_s": rows.arrival,
        "dispatched_s": rows.dispatched,
        "first_token_s": rows.first_token,
        "finished_s": rows.finished,
        "input_tokens": rows.input_tokens,
        "output_tokens": rows.output_tokens,
        "cached_tokens": rows.cached_tokens,
        "host_tokens": rows.host_tokens,
        "remote_tokens": rows.remote_tokens,
        "preemptions": rows.preemptions,
        "retries": np.zeros(served.state.size, dtype=np.int64) if served.retries is None else served.retries,
        "session": requests.session,
        "turn": requests.turn,
        "priority": requests.priority,
        "replica": served.replica,
        "state": np.array([STATES[state] for state in sorted(STATES)])[served.state],
        "ttft_ms": np.where(done, rows.ttft * MS, np.nan),
        "tpot_ms": np.where(done, rows.tpot * MS, np.nan),
        "e2e_ms": np.where(done, rows.e2e * MS, np.nan),
    }


def write_requests(table: dict[str, Array], path: Path) -> None:
    """Write `columns(...)`; the end of the name (.csv, .csv.gz, .parquet) says how.

    Raises InputError, or MissingExtraError where Parquet needs pyarrow.
    """
    name = path.name.lower()
    if name.endswith(".parquet"):
        _parquet(table, path)
    elif name.endswith((".csv", ".csv.gz")):
        _csv(table, path, name.endswith(".gz"))
    else:
        raise InputError(f"Requests are written to .csv, .csv.gz or .parquet, got '{path.name[:60]}'.")


def _csv(table: dict[str, Array], path: Path, packed: bool) -> None:
    with replacing(path, "requests") as fresh, fresh.open("wb") as raw:
        squeezed = gzip.GzipFile("", "wb", 6, raw, mtime=0) if packed else raw
        with io.TextIOWrapper(squeezed, encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(table)
            for start in range(0, len(table["request"]), AT_ONCE):
                cells = [_texts(values[start : start + AT_ONCE]) for values in table.values()]
                writer.writerows(zip(*cells, strict=True))


def _texts(values: Array) -> list[Any]:
    """Numbers as they are; an empty cell for what there is not."""
    if values.dtype.kind != "f":
        return list(values.tolist())
    return ["" if value != value else value for value in values.tolist()]


def _parquet(table: dict[str, Array], path: Path) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError(f"Parquet needs pyarrow. Install it with: {INSTALL}, or write .csv.gz.") from None
    arrays = {name: pa.array(values, from_pandas=True) for name, values in table.items()}
    with replacing(path, "requests") as fresh:
        pq.write_table(pa.table(arrays), fresh, compression="zstd")
