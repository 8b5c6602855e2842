"""A run as a Chrome trace (JSON, gzip for `.gz`) that opens in Perfetto and chrome://tracing.

Replicas are processes. Each has a lane for its steps, lanes for queue, prefill, transfer and decode of requests (as
many of a kind as run at once) and counters for the batch, the queue and the blocks of the KV cache. Format: "Trace
Event Format" of the Chromium project; `ts` and `dur` are in microseconds.
"""

import gzip
import heapq
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from silicast.report.files import replacing
from silicast.serving.outcome import STATES, Served, Timeline
from silicast.serving.state import FINISHED, LOST, REJECTED, SHED

Array = NDArray[Any]

NANOSECONDS = 1e9
LANES = ("steps", "queue", "prefill", "transfer", "decode")
STEPS, QUEUE, PREFILL, TRANSFER, DECODE = range(len(LANES))
#: rows of one kind of lane; more would share a number with the next kind
ROWS = 100_000
#: a trace with more is slow to open; the rest of the run is left out, and the file says so
MOST_REQUESTS = 100_000
MOST_STEPS = 200_000
#: by number of the kind of a step
KINDS = ("idle", "prefill", "decode", "prefill and decode")
COUNTERS = {"batch": ("running", "requests"), "queue": ("waiting", "requests"), "KV cache": ("kv_blocks", "blocks")}


@dataclass(frozen=True, slots=True)
class Spans:
    """What a request did where and when: lane is a place in LANES, times in s; shape `(span,)`."""

    request: Array
    replica: Array
    lane: Array
    start: Array
    end: Array

    @classmethod
    def of(cls, served: Served) -> "Spans":
        """Queue, prefill and decode of the finished requests, in the order of the requests."""
        done = np.flatnonzero(served.state == FINISHED)
        stages = (
            (QUEUE, served.arrival, served.dispatched),
            (PREFILL, served.dispatched, served.first_token),
            (DECODE, served.first_token, served.finished),
        )
        parts = [cls(done, served.replica[done], np.full(done.size, lane), start[done], end[done])
                 for lane, start, end in stages]  # fmt: skip
        return cls.joined(parts)

    @classmethod
    def joined(cls, parts: Sequence["Spans"]) -> "Spans":
        """Several sets of spans as one."""
        return cls(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(cls)))

    def where(self, kept: Array) -> "Spans":
        """Some of the spans."""
        return Spans(*(getattr(self, item.name)[kept] for item in fields(self)))


def write_trace(path: Path, served: Served, spans: Spans | None = None, names: Sequence[str] = ()) -> tuple[str, ...]:
    """Write the trace; returns notes on what was left out. `names`: one per replica. Raises InputError.

    `spans` may hold more than `Spans.of(served)`, such as transfers between pools.
    """
    shown = _first(spans or Spans.of(served))
    notes = _notes(served)
    with replacing(path, "trace") as fresh, _opened(fresh, path.suffix == ".gz") as file:
        file.write('{"displayTimeUnit":"ms","otherData":' + json.dumps({"notes": list(notes)}) + ',"traceEvents":[\n')
        events = _events(served, shown, names)
        file.write(next(events, ""))
        for event in events:
            file.write(",\n" + event)
        file.write("\n]}\n")
    return notes


@contextmanager
def _opened(path: Path, packed: bool) -> Iterator[IO[str]]:
    with path.open("wb") as raw:
        if not packed:
            with io.TextIOWrapper(raw, encoding="utf-8") as file:
                yield file
            return
        # no name and no time in the header: the same run gives the same file
        with gzip.GzipFile("", "wb", 6, raw, mtime=0) as squeezed, io.TextIOWrapper(squeezed, encoding="utf-8") as file:
            yield file


def _first(spans: Spans) -> Spans:
    return spans.where(spans.request < MOST_REQUESTS)


def _notes(served: Served) -> tuple[str, ...]:
    notes = []
    if served.state.size > MOST_REQUESTS:
        notes.append(f"The first {MOST_REQUESTS:,} of {served.state.size:,} requests are shown.")
    if served.timeline is not None and served.timeline.start.size > MOST_STEPS:
        notes.append(f"The first {MOST_STEPS:,} of {served.timeline.start.size:,} steps are shown.")
    return tuple(notes)


def _events(served: Served, spans: Spans, names: Sequence[str]) -> Iterator[str]:
    steps, kept = _steps(served.timeline)
    both = Spans.joined([spans, steps])
    rows = _rows(both)
    yield from _processes(served, both, rows, names)
    columns = (both.request, both.replica, both.lane, rows, both.start, both.end)
    for request, replica, lane, row, start, end in zip(*(column.tolist() for column in columns), strict=True):
        name, arguments = _shown(served, request, lane)
        yield (
            f'{{"ph":"X","pid":{replica + 1},"tid":{_thread(lane, row)},"ts":{_us(_ns(start))},'
            f'"dur":{_us(_ns(end) - _ns(start))},'
            f'"cat":"{LANES[lane]}","name":"{name}","args":{arguments}}}'
        )
    yield from _failures(served)
    if served.timeline is not None:
        yield from _counters(served.timeline, kept)


def _steps(timeline: Timeline | None) -> tuple[Spans, Array]:
    """The first steps as spans, whose `request` is the row of the timeline; and these rows."""
    none = np.zeros(0, dtype=np.int64)
    if timeline is None:
        return Spans(none, none, none, none, none), none
    kept = np.argsort(timeline.start, kind="stable")[:MOST_STEPS]
    lane = np.full(kept.size, STEPS)
    return Spans(kept, timeline.replica[kept], lane, timeline.start[kept], timeline.end[kept]), kept


def _shown(served: Served, row: int, lane: int) -> tuple[str, str]:
    """The name of a span and what a click on it shows."""
    if lane != STEPS or served.timeline is None:
        return f"{row}", _arguments(served, row, lane)
    log = served.timeline
    details = {"steps": log.steps, "decoding requests": log.decodes, "prompt tokens": log.tokens}
    return KINDS[log.kind[row]], json.dumps({name: int(column[row]) for name, column in details.items()})


def _arguments(served: Served, request: int, lane: int) -> str:
    """What a click on a span shows."""
    if lane == PREFILL:
        return f'{{"request":{request},"cached_tokens":{int(served.cached_tokens[request])}}}'
    if lane == DECODE:
        tokens, again = int(served.output_tokens[request]), int(served.preemptions[request])
        return f'{{"request":{request},"output_tokens":{tokens},"preemptions":{again}}}'
    return f'{{"request":{request}}}'


def _rows(spans: Spans) -> Array:
    """The row of each span within its lane: the lowest that is free, so that no two spans of a row overlap."""
    rows = np.zeros(spans.start.size, dtype=np.int64)
    order = np.lexsort((spans.end, spans.start, spans.lane, spans.replica))
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    before: tuple[int, int] | None = None
    columns = (order, spans.replica[order], spans.lane[order], spans.start[order], spans.end[order])
    for place, replica, lane, start, end in zip(*(column.tolist() for column in columns), strict=True):
        if (replica, lane) != before:
            busy, free, before = [], [], (replica, lane)
        while busy and busy[0][0] <= start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        row = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (end, row))
        rows[place] = row
    return rows


def _processes(served: Served, spans: Spans, rows: Array, names: Sequence[str]) -> Iterator[str]:
    """Names of replicas and lanes, in the order in which they are shown; the router comes first."""
    yield _named("process_name", 0, 0, {"name": "router"})
    for replica in sorted(set(np.unique(served.replica[served.replica >= 0]).tolist()) | set(spans.replica.tolist())):
        name = names[replica] if replica < len(names) else f"replica {replica}"
        yield _named("process_name", replica + 1, 0, {"name": name})
        yield _named("process_sort_index", replica + 1, 0, {"sort_index": replica + 1})
    for replica, lane, row in sorted(set(zip(spans.replica.tolist(), spans.lane.tolist(), rows.tolist(), strict=True))):
        thread = _thread(lane, row)
        yield _named("thread_name", replica + 1, thread, {"name": f"{LANES[lane]} {row + 1}"})
        yield _named("thread_sort_index", replica + 1, thread, {"sort_index": thread})


def _named(kind: str, process: int, thread: int, what: dict[str, Any]) -> str:
    return f'{{"ph":"M","pid":{process},"tid":{thread},"name":"{kind}","args":{json.dumps(what)}}}'


def _failures(served: Served) -> Iterator[str]:
    """Requests that were rejected or lost, as marks of the router."""
    for request in np.flatnonzero(np.isin(served.state, (REJECTED, LOST, SHED))).tolist()[:MOST_REQUESTS]:
        name = STATES[int(served.state[request])]
        time = _us(_ns(float(served.arrival[request])))
        yield f'{{"ph":"i","s":"p","pid":0,"tid":0,"ts":{time},"name":"{name}","args":{{"request":{request}}}}}'


def _counters(timeline: Timeline, kept: Array) -> Iterator[str]:
    """The state from the start of each step; nothing runs and waits from its end where no step follows at once."""
    order = kept[np.lexsort((timeline.start[kept], timeline.replica[kept]))]
    replicas, starts, ends = timeline.replica[order], timeline.start[order], timeline.end[order]
    idle = np.append((replicas[1:] != replicas[:-1]) | (starts[1:] > ends[:-1]), True)[: order.size]
    for name, (column, unit) in COUNTERS.items():
        values = getattr(timeline, column)[order]
        for replica, start, end, value, last in zip(
            replicas.tolist(), starts.tolist(), ends.tolist(), values.tolist(), idle.tolist(), strict=True
        ):
            yield _count(replica, start, name, unit, value)
            if last and column != "kv_blocks":
                yield _count(replica, end, name, unit, 0)


def _count(replica: int, time: float, name: str, unit: str, value: int) -> str:
    return f'{{"ph":"C","pid":{replica + 1},"ts":{_us(_ns(time))},"name":"{name}","args":{{"{unit}":{value}}}}}'


def _thread(lane: int, row: int) -> int:
    return 1 + lane * ROWS + row


def _ns(seconds: float) -> int:
    """Whole nanoseconds: ends and starts that were equal stay so, and spans of one row never overlap."""
    return round(seconds * NANOSECONDS)


def _us(nanoseconds: int) -> str:
    """Microseconds with three digits, without an exponent."""
    return f"{nanoseconds // 1000}.{nanoseconds % 1000:03d}"
