"""A trace file to `Requests`: format, order, time scale.

trace = read_trace("AzureLLMInferenceTrace_conv.csv")
trace = read_trace("conversation_trace.jsonl", Reading(time_scale=0.5))     # twice as fast
trace.requests, trace.notes
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import InputError, TraceError, not_found
from silicast.serving.prefixes import picked
from silicast.serving.requests import Requests
from silicast.traces import cells, jsonl
from silicast.traces.blocks import Block, blocks
from silicast.traces.formats import FORMATS, Format, detected, placed
from silicast.traces.grid import Grid, grid

Array = NDArray[Any]
Columns = dict[str, Array]

NANOSECOND = 1e-9


@dataclass(frozen=True, slots=True)
class Reading:
    """How a trace is read.

    format        one of FORMATS; None = told by the first line
    time_scale    factor on all times: 0.5 = twice the rate
    rate          mean requests/s to which times are scaled instead
    requests      only so many from the start
    sort          put lines that are out of order in order; else they are an error
    block_tokens  tokens per hash; None = as the format has it
    """

    format: str | None = None
    time_scale: float = 1.0
    rate: float | None = None
    requests: int | None = None
    sort: bool = False
    block_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise not_found("Trace format", self.format, FORMATS, f"Known: {', '.join(FORMATS)}.")
        for name in ("time_scale", "rate", "requests", "block_tokens"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise InputError(f"{name} of a trace must be positive and finite, got {value:g}.")
        if self.rate is not None and self.time_scale != 1:
            raise InputError("Give time_scale or rate of a trace, not both.")


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests, time from the first one; `tenant` is a place in `tenants` for each; notes on what was left out."""

    requests: Requests
    format: str
    tenant: Array
    tenants: tuple[str, ...] = ("all",)
    notes: tuple[str, ...] = field(default=())


def read_trace(path: Path | str, how: Reading | None = None) -> Trace:
    """A trace file, plain or gzip. Raises TraceError naming file, line and column of what is wrong."""
    file, how = Path(path), how or Reading()
    form, parts = _parts(file, how)
    found: list[Columns] = []
    count = failed = 0
    for part in parts:
        kept, gone = _successful(part, form)
        failed += gone
        found.append(kept)
        count += kept["arrival"].size
        if how.requests is not None and count >= how.requests:
            break
    if not count:
        raise TraceError(f"{file.name} has no requests after its header." if not failed else
                         f"{file.name} has only failed requests.")  # fmt: skip
    table = _ordered(file.name, _joined(found, int(how.requests or count)), how)
    notes = (f"{failed:,} failed requests without output were left out.",) if failed else ()
    return _trace(file.name, table, form, how, notes)


def _parts(file: Path, how: Reading) -> tuple[Format, Iterator[Columns]]:
    """The format, and the columns in parts."""
    stream = blocks(file)
    first = next(stream)
    opening, _, rest = first.data.partition(b"\n")
    if how.format == "mooncake" or (how.format is None and opening.lstrip(b"\xef\xbb\xbf \t").startswith(b"{")):
        whole = Block(first.name, 1, first.data.removeprefix(b"\xef\xbb\xbf"))
        form = FORMATS["mooncake"]
        return form, (part for block in _again(whole, stream) for part in jsonl.columns(block, form))
    names = _header(first.name, opening)
    form = FORMATS[how.format] if how.format else detected(first.name, names)
    places = placed(first.name, names, form)
    below = _again(Block(first.name, 2, rest), stream)
    return form, (_converted(grid(block, names, list(places.values())), names, places, form) for block in below)


def _again(first: Block, stream: Iterator[Block]) -> Iterator[Block]:
    if first.data.strip():
        yield first
    yield from stream


def _header(name: str, opening: bytes) -> list[str]:
    try:
        text = opening.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise TraceError(f"{name}, line 1: this is not text in UTF-8.") from None
    return [column.strip().strip('"') for column in text.rstrip("\r").split(",")]


def _converted(block: Grid, names: list[str], places: dict[str, int], form: Format) -> Columns:
    at = {what: (place, names[place]) for what, place in places.items()}
    read = cells.moments(block, *at["arrival"]) if form.dates else cells.seconds(block, *at["arrival"], form.unit)
    found = {"line": block.lines, "arrival": read}
    found["input_tokens"] = cells.tokens(block, *at["input_tokens"])
    found["output_tokens"] = cells.tokens(block, *at["output_tokens"], least=0 if form.failed else 1)
    found |= {what: cells.labels(block, *at[what]) for what in ("session", "tenant") if what in at}
    found |= {what: cells.whole(block, *at[what]) for what in ("turn", "priority") if what in at}
    if "hash_ids" in at:
        found["hash_counts"], found["hash_ids"] = cells.hashes(block, *at["hash_ids"])
    return found


def _successful(part: Columns, form: Format) -> tuple[Columns, int]:
    if not form.failed:
        return part, 0
    good = part["output_tokens"] > 0
    return {name: values[good] for name, values in part.items()}, int(np.sum(~good))


def _joined(parts: list[Columns], count: int) -> Columns:
    names = {name for part in parts for name in part}
    table = {name: np.concatenate([part[name] for part in parts if name in part]) for name in names}
    hashed = int(table["hash_counts"][:count].sum()) if "hash_counts" in table else 0
    return {name: values[: hashed if name == "hash_ids" else count] for name, values in table.items()}


def _ordered(name: str, table: Columns, how: Reading) -> Columns:
    back = np.flatnonzero(np.diff(table["arrival"]) < 0)
    if not back.size:
        return table
    if not how.sort:
        line = int(table["line"][back[0] + 1])
        raise TraceError(
            f"{name}, line {line}: this request arrives before the one above it. Sort the file by time, or set sort."
        )
    order = np.argsort(table["arrival"], kind="stable")
    rows = {key: values[order] for key, values in table.items() if key != "hash_ids"}
    if "hash_ids" in table:
        offsets = np.concatenate(([0], np.cumsum(table["hash_counts"])))
        rows["hash_ids"] = picked((offsets, table["hash_ids"]), order)[1]
    return rows


def _trace(name: str, table: Columns, form: Format, how: Reading, notes: tuple[str, ...]) -> Trace:
    count = table["arrival"].size
    session = _numbered(table["session"]) if "session" in table else np.full(count, -1, dtype=np.int64)
    block_tokens = int(how.block_tokens or form.block_tokens)
    requests = Requests(
        arrival=_times(name, table["arrival"], form, how),
        input_tokens=table["input_tokens"],
        output_tokens=table["output_tokens"],
        session=session,
        turn=table["turn"] if "turn" in table else _turns(session),
        hashes=_offsets(name, table, block_tokens),
        block_tokens=block_tokens,
        priority=table.get("priority", np.zeros(count, dtype=np.int64)),
    )
    if "tenant" not in table:
        return Trace(requests, form.name, np.zeros(count, dtype=np.int64), notes=notes)
    tenants, tenant = np.unique(table["tenant"], return_inverse=True)
    names = tuple(one.decode("utf-8", errors="replace") or "unnamed" for one in tenants.tolist())
    return Trace(requests, form.name, tenant.astype(np.int64), names, notes)


def _times(name: str, arrival: Array, form: Format, how: Reading) -> Array:
    times = (arrival - arrival[0]) * (NANOSECOND if form.dates else 1.0)
    if how.rate is None:
        return np.asarray(times * how.time_scale)
    if times[-1] == 0:
        raise TraceError(f"{name}: all requests arrive at one time, which no time scale turns into {how.rate:g}/s.")
    return np.asarray(times * ((times.size - 1) / times[-1] / how.rate))


def _numbered(names: Array) -> Array:
    """Conversations by number from 0, -1 where there is no name."""
    found, number = np.unique(names, return_inverse=True)
    has_blank = int(found.size > 0 and found[0] == b"")
    return number.astype(np.int64) - has_blank


def _turns(session: Array) -> Array:
    """Place of each request among those of its conversation, in order; 0 without one."""
    if session.max(initial=-1) < 0:
        return np.zeros(session.size, dtype=np.int64)
    order = np.argsort(session, kind="stable")
    ordered = session[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    place = np.arange(session.size) - np.repeat(starts, np.diff(starts, append=session.size))
    turn = np.empty(session.size, dtype=np.int64)
    turn[order] = np.where(ordered >= 0, place, 0)
    return turn


def _offsets(name: str, table: Columns, block_tokens: int) -> tuple[Array, Array] | None:
    """The ragged pair of whole blocks; no prompt has more blocks than its tokens fill."""
    if "hash_counts" not in table:
        return None
    counts = table["hash_counts"]
    over = np.flatnonzero(counts > -(-table["input_tokens"] // block_tokens))
    if over.size:
        row = int(over[0])
        raise TraceError(
            f"{name}, line {table['line'][row]}, column 'hash_ids': {counts[row]} hashes of {block_tokens} tokens are "
            f"more than an input of {table['input_tokens'][row]:,} tokens has; check block_tokens."
        )
    # a hash of the part of a block at the end is in the trace, but no engine keeps part of a block
    whole = np.minimum(counts, table["input_tokens"] // block_tokens)
    ends = np.cumsum(whole)
    kept = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) < np.repeat(whole, counts)
    return np.concatenate(([0], ends)), table["hash_ids"][kept]
