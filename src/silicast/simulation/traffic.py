"""Draws the traffic of a scenario: each kind with random streams of its own, then all in order of arrival.

Arrivals, lengths, thinking, groups and turns are independent streams of one seed, so that changing one of them does
not change the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import InputError
from silicast.scenario import MOST_TOKENS
from silicast.serving import arrivals
from silicast.serving.prefixes import block_hashes, picked
from silicast.serving.requests import ClosedLoop, Requests
from silicast.serving.sessions import Turns
from silicast.simulation.scenario import Scenario
from silicast.simulation.tables import TrafficTable
from silicast.traces import read_trace

Array = NDArray[Any]

STREAMS = ("arrivals", "input", "output", "turns", "think", "groups", "rows")
#: tokens that one hash of drawn traffic stands for: a multiple of the blocks that engines cut their cache into
BLOCK_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Drawn:
    """The requests of a scenario; `tenant` is a place in `tenants` for each, `loop` is None in an open loop."""

    requests: Requests
    tenant: Array
    tenants: tuple[str, ...]
    loop: ClosedLoop | None = None
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class _End:
    """Where the traffic ends: after so many requests, or so many seconds."""

    requests: int | None
    duration: float | None


def draw(scenario: Scenario) -> Drawn:
    """All requests of a scenario. The same seed gives the same ones. Raises InputError, TraceError."""
    end = _End(scenario.requests, scenario.duration)
    try:
        parts = [_one(table, _streams(scenario.seed, place), end) for place, table in enumerate(scenario.traffic)]
        merged = _cut(_merged(parts), end)
    except MemoryError:
        raise InputError("This traffic has more requests than this machine has memory for; ask for fewer.") from None
    if not merged.requests.arrival.size:
        raise InputError("This traffic sends no request before its end; raise the rate or the duration.")
    return merged


def _streams(seed: int, place: int) -> dict[str, np.random.Generator]:
    return {name: np.random.default_rng([seed, place, number]) for number, name in enumerate(STREAMS)}


def _one(table: TrafficTable, random: dict[str, np.random.Generator], end: _End) -> Drawn:
    if table.trace is not None:
        return _traced(table, random, end)
    times = _times(table, random["arrivals"], end)
    if table.sessions is not None:
        return _alone(_conversations(table, times, random, end), table)
    count = times.size
    inputs, outputs = _lengths(table, count, random)
    inputs = np.minimum(inputs + _prefix(table), MOST_TOKENS)
    none = np.full(count, -1, dtype=np.int64)
    hashes = _hashes(table, inputs, np.arange(count), random["groups"])
    sent = Requests(times, inputs, outputs, none, none + 1, hashes, BLOCK_TOKENS, none + 1 + table.priority)
    return _alone(sent, table)


def _alone(requests: Requests, table: TrafficTable) -> Drawn:
    loop = table.arrivals.loop() if table.arrivals else None
    return Drawn(requests, np.zeros(requests.arrival.size, dtype=np.int64), (table.name,), loop)


def _times(table: TrafficTable, random: np.random.Generator, end: _End) -> Array:
    when = table.arrivals
    if when is None or when.kind in ("closed", "burst"):
        return np.zeros(int(end.requests or 0))
    if end.requests is not None:
        return arrivals.first(when.law(), when.gap_shape, end.requests, random)
    return arrivals.within(when.law(), when.gap_shape, float(end.duration or 0), random)


def _lengths(table: TrafficTable, count: int, random: dict[str, np.random.Generator]) -> tuple[Array, Array]:
    laws = (table.input_tokens, "input"), (table.output_tokens, "output")
    inputs, outputs = (law.law().draw(count, random[name]) for law, name in laws if law is not None)
    return inputs, outputs


def _hashes(
    table: TrafficTable, inputs: Array, stream: Array, random: np.random.Generator
) -> tuple[Array, Array] | None:
    """Blocks of common prefixes and of conversations; None where nothing can be shared."""
    if table.prefixes is None and table.sessions is None:
        return None
    streams = int(np.max(stream, initial=-1)) + 1
    group = table.prefixes.law().draw(streams, random) if table.prefixes else np.full(streams, -1)
    return block_hashes(inputs, group[stream], stream, _prefix(table), BLOCK_TOKENS)


def _prefix(table: TrafficTable) -> int:
    """Tokens that stand before what is asked."""
    return table.prefixes.tokens if table.prefixes else 0


def _conversations(table: TrafficTable, starts: Array, random: dict[str, np.random.Generator], end: _End) -> Requests:
    how = table.sessions
    if how is None:
        raise InputError("This traffic has no sessions.")
    turns = Turns.of(how.turns.law().draw(starts.size, random["turns"]))
    count = turns.session.size
    said, answered = _lengths(table, count, random)
    thinking = how.thinking().draw(count, random["think"])
    times = turns.arrivals(starts, thinking)
    # only turns before the end are kept; those that they build on came before
    kept = np.argsort(times, kind="stable")[: end.requests]
    inputs = _prefix(table) + turns.contexts(said, answered, how.context - _prefix(table))[kept]
    session = turns.session[kept]
    hashes = _hashes(table, inputs, session, random["groups"])
    priority = np.full(kept.size, table.priority, dtype=np.int64)
    columns = times[kept], inputs, answered[kept], session, turns.turn[kept], hashes, BLOCK_TOKENS, priority
    return Requests(*columns, think=thinking[kept])


def _traced(table: TrafficTable, random: dict[str, np.random.Generator], end: _End) -> Drawn:
    """A trace as it is, or with arrivals or lengths drawn: then pairs of lengths are drawn from its lines."""
    if table.trace is None:
        raise InputError("This traffic has no trace.")
    trace = read_trace(table.trace.file, table.trace.reading())
    sent, tenant, loop, notes = trace.requests, trace.tenant, None, trace.notes
    if table.arrivals is not None:
        size = sent.arrival.size
        loop, times = table.arrivals.loop(), _times(table, random["arrivals"], end)
        rows = random["rows"].integers(0, size, times.size)
        sent, tenant = replace(_picked(replace(sent, hashes=None), rows), arrival=times), tenant[rows]
        alone = np.full(times.size, -1, dtype=np.int64)
        sent = replace(sent, session=alone, turn=alone + 1)
        notes = (*notes, "Lengths are drawn from the lines of the trace; its sessions and prefixes are not used.")
    count = sent.arrival.size
    if table.input_tokens is not None:
        sent = replace(sent, input_tokens=table.input_tokens.law().draw(count, random["input"]), hashes=None)
    if table.output_tokens is not None:
        sent = replace(sent, output_tokens=table.output_tokens.law().draw(count, random["output"]))
    sent = replace(sent, priority=sent.priority + table.priority)
    if np.any(sent.session >= 0):
        # a recorded turn comes when it did, but not before the answer that it follows
        sent = replace(sent, think=np.zeros(count))
    names = trace.tenants if len(trace.tenants) > 1 else (table.name,)
    return Drawn(sent, tenant, names, loop, notes)


def _picked(requests: Requests, order: Array) -> Requests:
    """Rows of requests in another order."""
    rows = {name: getattr(requests, name)[order] for name in _COLUMNS}
    hashes = None if requests.hashes is None else picked(requests.hashes, order)
    think = None if requests.think is None else requests.think[order]
    return Requests(**rows, hashes=hashes, block_tokens=requests.block_tokens, think=think)


_COLUMNS = ("arrival", "input_tokens", "output_tokens", "session", "turn", "priority")


def _merged(parts: Sequence[Drawn]) -> Drawn:
    """All kinds of traffic as one, sorted by arrival; sessions and hashes of different kinds stay apart."""
    if len(parts) == 1:
        return parts[0]
    sent = [part.requests for part in parts]
    columns = {name: np.concatenate([getattr(one, name) for one in sent]) for name in _COLUMNS}
    columns["session"] = np.concatenate(_apart([one.session for one in sent]))
    hashes, block_tokens = _joined_hashes(sent)
    order = np.argsort(columns["arrival"], kind="stable")
    think = None
    if any(one.think is not None for one in sent):
        think = np.concatenate([np.zeros(len(one)) if one.think is None else one.think for one in sent])
    requests = _picked(Requests(**columns, hashes=hashes, block_tokens=block_tokens, think=think), order)
    tenants = tuple(dict.fromkeys(name for part in parts for name in part.tenants))
    tenant = np.concatenate([np.array([tenants.index(name) for name in part.tenants])[part.tenant] for part in parts])
    notes = tuple(note for part in parts for note in part.notes)
    return Drawn(requests, tenant[order], tenants, None, notes)


def _apart(numbers: Sequence[Array]) -> list[Array]:
    """Numbers of several sets moved so that no two sets share one; -1 stays."""
    moved, start = [], 0
    for one in numbers:
        moved.append(np.where(one < 0, one, one + start))
        start += int(np.max(one, initial=-1)) + 1
    return moved


def _joined_hashes(sent: Sequence[Requests]) -> tuple[tuple[Array, Array] | None, int]:
    having = [one for one in sent if one.hashes is not None]
    if not having:
        return None, sent[0].block_tokens
    sizes = sorted({one.block_tokens for one in having})
    if len(sizes) > 1:
        raise InputError(f"Hashes of {sizes[0]} and of {sizes[-1]} tokens cannot share a cache; leave one kind out.")
    counts, ids = [], []
    for one in sent:
        offsets, own = one.hashes or (np.zeros(one.arrival.size + 1, dtype=np.int64), np.zeros(0, dtype=np.int64))
        counts.append(np.diff(offsets))
        ids.append(np.unique(own, return_inverse=True)[1].astype(np.int64))
    offsets = np.concatenate(([0], np.cumsum(np.concatenate(counts))))
    return (offsets, np.concatenate(_apart(ids))), sizes[0]


def _cut(drawn: Drawn, end: _End) -> Drawn:
    """The first requests up to the end; a trace alone has its own."""
    times = drawn.requests.arrival
    last = times.size if end.requests is None else min(end.requests, times.size)
    if end.duration is not None:
        last = min(last, int(np.searchsorted(times, end.duration, side="left")))
    if last == times.size:
        return drawn
    kept = np.arange(last)
    return replace(drawn, requests=_picked(drawn.requests, kept), tenant=drawn.tenant[kept])
