"""Every unit of deployment as arrays: one replica of a mixed pool, or a group of prefill and decode replicas.

A row is one unit at one batch; a deployment is a number of equal units.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from silicast.disaggregation import connected, decode_step, prefilled, transfer
from silicast.disaggregation import front as front_end
from silicast.planning.pareto import front
from silicast.planning.question import Question
from silicast.planning.space import SMALL_BATCHES, with_batches
from silicast.planning.variants import Variant, replica_layouts, whole_sequences
from silicast.pool import PoolModel
from silicast.scenario import Layout, Workload
from silicast.serving.pair import at_batch, later_first_tokens
from silicast.serving.steady import Steady
from silicast.serving.two_pools import Prefilled, TwoPools

Array = NDArray[Any]

#: rows evaluated at a time: arrays of (operator, row) stay in the cache of a core
CHUNK = 4096
#: decode replicas of a group, and what they may take of the prefill pool: beyond 1 the prefill pool sets the rate
DECODE_REPLICAS = (1, 2, 3, 4)
PREFILL_BUSY = (1.2, 1.05, 0.9, 0.8, 0.7, 0.5)
#: rows of a variant that enter pairs as they are; beyond, only those that no other one beats
FEW_PREFILLS = 12
FEW_DECODES = 200
#: times that unbeaten decode rows are taken: in draws a row that is beaten by little may win
FRONTS = 3


@dataclass(slots=True)
class Units:
    """Columns, one row per unit.

    prefill, decode                    places of the variants; prefill -1 = one mixed pool, which is `decode`
    prefill_row, decode_row            rows of the layouts of these variants
    prefill_replicas, decode_replicas  replicas of one unit
    prefill_devices, decode_devices    devices of one unit
    sequences                          in flight (mixed) or decoding per attention rank
    ttft, tpot, e2e, requests          seconds (means) and requests/s of one unit
    """

    prefill: Array
    decode: Array
    prefill_row: Array
    decode_row: Array
    prefill_replicas: Array
    decode_replicas: Array
    prefill_devices: Array
    decode_devices: Array
    sequences: Array
    ttft: Array
    tpot: Array
    e2e: Array
    requests: Array

    def __len__(self) -> int:
        return int(self.decode.size)

    @property
    def devices(self) -> Array:
        """Devices of one unit."""
        return self.prefill_devices + self.decode_devices

    def pick(self, index: Any) -> Self:
        """Some of the rows."""
        return type(self)(*(getattr(self, item.name)[index] for item in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence["Units"]) -> "Units":
        """All rows of several."""
        return cls(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(cls)))


#: columns of `Units` that say what one is, whatever it is loaded with
CUT = ("prefill", "decode", "prefill_row", "decode_row", "prefill_replicas", "decode_replicas")


@dataclass(slots=True)
class Space:
    """The variants of a question with their layouts, which `Units` point into; `refused` says what has none and why."""

    variants: Sequence[Variant]
    layouts: list[Layout | None]
    refused: dict[int, str]

    @classmethod
    def of(cls, variants: Sequence[Variant], question: Question) -> "Space":
        """Layouts that hold at least one request, by variant."""
        layouts: list[Layout | None] = []
        refused = {}
        for place, variant in enumerate(variants):
            most = widest(variant, question)
            found = replica_layouts(variant.pool, most)
            held = None if found is None else variant.pool.most_sequences(found, question.workload)
            if found is None or held is None or not np.any(held >= 1):
                refused[place] = f"{variant.pool.model.id} does not fit on up to {most} devices"
                layouts.append(None)
            else:
                layouts.append(found.pick(np.flatnonzero(held >= 1)))
        return cls(variants, layouts, refused)

    def layout(self, place: int, row: Any) -> Layout:
        """Rows of the layouts of a variant."""
        found = self.layouts[place]
        if found is None:
            raise IndexError(f"variant {place} has no layout")
        return found.pick(row)


def widest(variant: Variant, question: Question) -> int:
    """The most devices of one replica that are tried."""
    most = question.replica_devices(_domain(variant))
    packages = question.budget.packages
    return most if packages is None else min(most, packages * variant.chip.packages_of)


def _domain(variant: Variant) -> int:
    """Devices of the innermost scale-up domain."""
    domain = variant.pool.machine.system.domains[0]
    return domain.size or 1 if domain.kind == "scale_up" else 1


def units(space: Space, question: Question, split: bool = True, crossed: bool = True) -> Units | None:
    """Every unit: mixed pools, with `split` pairs of pools of one chip, with `crossed` of two; None where none fits."""
    work = question.workload
    parts = [part for place in range(len(space.variants)) for part in _mixed(space, place, work)]
    if split:
        parts += list(_pairs(space, question, crossed))
    return Units.joined(parts) if parts else None


def _mixed(space: Space, place: int, work: Workload) -> Iterator[Units]:
    layouts = space.layouts[place]
    if layouts is None:
        return
    pool, rows = space.variants[place].pool, whole_sequences(layouts)
    layouts = layouts.pick(rows)
    candidates = with_batches(layouts, pool.most_sequences(layouts, work))
    rows = np.repeat(rows, _batches(pool, layouts, work))
    for start in range(0, rows.size, CHUNK):
        part = candidates.pick(slice(start, start + CHUNK))
        steady = pool.closed(part.layout, work, part.sequences)
        n = part.sequences.size
        yield _columns(
            (-1, place), (np.zeros(n, dtype=int), rows[start : start + CHUNK]), (np.zeros(n), np.ones(n)),
            (np.zeros(n), np.asarray(part.layout.devices, dtype=float)), part.sequences, steady,
        )  # fmt: skip


def _batches(pool: PoolModel, layouts: Layout, work: Workload) -> Array:
    """How many batches `with_batches` tries each layout with."""
    most = pool.most_sequences(layouts, work)
    return np.searchsorted(SMALL_BATCHES, most) + (most >= 1)


def _columns(
    places: tuple[int, int],
    rows: tuple[Array, Array],
    replicas: tuple[Array, Array],
    devices: tuple[Array, Array],
    sequences: Array,
    steady: Steady,
) -> Units:
    n = sequences.size
    return Units(
        np.full(n, places[0]), np.full(n, places[1]), *rows, *replicas, *devices, sequences,
        steady.ttft, steady.tpot, steady.e2e, steady.requests,
    )  # fmt: skip


@dataclass(slots=True)
class _Decoding:
    """Decode steps of all layouts and batches of a variant."""

    row: Array
    layout: Layout
    sequences: Array
    step: Array


def _pairs(space: Space, question: Question, crossed: bool) -> Iterator[Units]:
    """Prefill on one variant, decode on another with the same cache: any chips that a network joins."""
    work, most = question.workload, question.unit_devices
    known = [place for place, layout in enumerate(space.layouts) if layout is not None]
    decoding = {place: _decoding(space, place, work) for place in known}
    for first in known:
        prefill = space.variants[first].pool
        layouts = space.layout(first, slice(None))
        ready = prefilled(prefill, layouts, work)
        for second in known:
            decode = space.variants[second].pool
            if not _match(space.variants[first], space.variants[second], crossed) or not connected(prefill, decode):
                continue
            travel = np.broadcast_to(transfer(prefill, decode, layouts, work), ready.capacity.shape)
            rows = _unbeaten(layouts, ready, travel)
            for row in rows:
                found = _paired((first, second), space, decoding[second], (row, ready, travel[row]), (work, most))
                if len(found):
                    yield found


def _match(first: Variant, second: Variant, crossed: bool) -> bool:
    """One chip runs both pools in the same stack and formats; two chips run their own, with the same cache."""
    if first.chip.id == second.chip.id:
        return first.way[:4] == second.way[:4]
    return crossed and first.way[2:4] == second.way[2:4]


def _decoding(space: Space, place: int, work: Workload) -> _Decoding:
    pool, rows = space.variants[place].pool, whole_sequences(space.layout(place, slice(None)))
    layouts = space.layout(place, rows)
    rows = np.repeat(rows, _batches(pool, layouts, work))
    found = with_batches(layouts, pool.most_sequences(layouts, work))
    step = np.concatenate(
        [
            decode_step(pool, part.layout, work, part.sequences)
            for start in range(0, rows.size, CHUNK)
            for part in [found.pick(slice(start, start + CHUNK))]
        ]
    )
    rate = found.sequences * np.asarray(found.layout.attention_dp) / step
    kept = _best_decodes(np.asarray(found.layout.devices), step, rate)
    return _Decoding(rows[kept], found.layout.pick(kept), found.sequences[kept], step[kept])


def _unbeaten(layouts: Layout, ready: Prefilled, travel: Array) -> Array:
    """Prefill layouts that no other beats in requests/s per device and time alone, and the smallest; all of a few."""
    devices = np.asarray(layouts.devices, dtype=float)
    if devices.size <= FEW_PREFILLS:
        return np.arange(devices.size)
    return np.union1d(front(ready.capacity / devices, ready.alone + travel), np.flatnonzero(devices == devices.min()))


def _best_decodes(devices: Array, step: Array, rate: Array) -> Array:
    """Rows that none with as few devices beats in step time and requests/s per device, and those that only such rows
    beat; all of a few."""
    if step.size <= FEW_DECODES:
        return np.arange(step.size)
    kept: list[Array] = []
    for most in np.unique(devices):
        rows = np.flatnonzero(devices <= most)
        for _ in range(FRONTS):
            best = rows[front(rate[rows] / devices[rows], step[rows])]
            kept.append(best[devices[best] == most])
            rows = np.setdiff1d(rows, best)
    return np.concatenate(kept)


def _paired(
    places: tuple[int, int],
    space: Space,
    decoding: _Decoding,
    first: tuple[int, Prefilled, Any],
    question: tuple[Workload, int],
) -> Units:
    """One prefill layout with every decode layout, batch and ratio of replicas."""
    (row, ready, travel), (work, most) = first, question
    pool, own = space.variants[places[1]].pool, space.layout(places[0], int(row))
    ranks, devices = np.asarray(decoding.layout.attention_dp), np.asarray(decoding.layout.devices)
    steps = np.maximum(np.asarray(work.output_tokens) - 1, 1) / pool.speculation.yield_per_step
    alone = decoding.sequences * ranks / (steps * decoding.step)
    ahead, many, base = _ratios(alone, float(ready.capacity[row]))
    taken = ahead * float(np.asarray(own.devices)), many * devices[base]
    kept = np.flatnonzero(taken[0] + taken[1] <= most)
    base, ahead, many = base[kept], ahead[kept], many[kept]
    steady = paired_steady(
        space, places, (own, ready_row(ready, row)), (decoding.layout.pick(base), decoding.step[base]),
        (ahead, many, decoding.sequences[base]), (work, travel),
    )  # fmt: skip
    rows = np.full(base.size, row), decoding.row[base]
    return _columns(places, rows, (ahead, many), (taken[0][kept], taken[1][kept]), decoding.sequences[base], steady)


def _ratios(alone: Array, capacity: float) -> tuple[Array, Array, Array]:
    """(prefill replicas, decode replicas, row) of every ratio to try; `alone` is requests/s of one decode replica.

    What is another ratio twice is left out: two units of that one are the same.
    """
    many, busy = (np.array(sizes, dtype=float)[:, None] for sizes in (DECODE_REPLICAS, PREFILL_BUSY))
    ahead = np.maximum(np.ceil(many[:, :, None] * alone / (busy * capacity)), 1.0)
    fresh = np.ones(ahead.shape, dtype=bool)
    fresh[:, 1:] = np.diff(ahead, axis=1) > 0
    fresh &= np.gcd(ahead.astype(int), many[:, :, None].astype(int)) == 1
    of, _, rows = np.nonzero(fresh)
    return ahead[fresh], many[of, 0], rows


def ready_row(ready: Prefilled, row: int) -> Prefilled:
    """One layout of a prefill pool, as length one."""
    return Prefilled(*(getattr(ready, item.name)[[row]] for item in fields(ready)))


def paired_steady(
    space: Space,
    places: tuple[int, int],
    first: tuple[Layout, Prefilled],
    second: tuple[Layout, Array],
    sizes: tuple[Array, Array, Array],
    question: tuple[Workload, Any],
) -> Steady:
    """The steady state of two pools: `first` layout and prefill times, `second` layouts and their steps, `sizes`
    (prefill replicas, decode replicas, sequences), `question` (workload, seconds of the transfer)."""
    (own, ready), (layout, step), (ahead, many, batch), (work, travel) = first, second, sizes, question
    prefill, decode = (space.variants[place].pool for place in places)
    host, stack = prefill.machine.coefficient, prefill.machine.stack
    pools = TwoPools(
        ahead, np.asarray(own.attention_dp, dtype=float), many * np.asarray(layout.attention_dp), batch, travel,
        stack.transfer_in_ttft, front_end(prefill, work) + host("host", "hand_over"),
        decode.machine.coefficient("host", "lag_steps"),
    )  # fmt: skip
    steady = at_batch(ready, step, batch, work, pools, decode.speculation)
    return later_first_tokens(steady, prefill.discrepancy("first_token"))
