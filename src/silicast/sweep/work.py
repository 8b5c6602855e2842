"""The work of a sweep: a chunk goes in, a Parquet part comes out. The same on one process, on many, on a cluster."""

import io
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import ChipFileError, ConfigError, InputError, NotFoundError
from silicast.estimate import DRAWS
from silicast.planner import Choices, variants
from silicast.planning.deployments import Deployments, Margin, deployments
from silicast.planning.economics import HOUR_S, MILLION
from silicast.planning.outlook import outlook
from silicast.planning.pareto import front
from silicast.planning.question import Budget, Question
from silicast.planning.units import Space, units, widest
from silicast.planning.variants import Variant, replica_layouts
from silicast.scenario import Targets
from silicast.sweep.chunks import Chunk, release
from silicast.sweep.columns import MS, RANGED, deployed, unfit
from silicast.sweep.parts import writing
from silicast.sweep.space import DeploymentsTable

Array = NDArray[Any]

#: rows that become columns at a time
ROWS = 1 << 16
#: variants kept: of the chunks that follow each other
KEPT = 8
#: ends of a range
LOW, HIGH = 0.1, 0.9
NO_ROOM = "no request fits beside the weights"


def evaluate(chunk: Chunk) -> bytes:
    """The part of a chunk. Raises InputError where this machine has another release than the one that asks."""
    if chunk.release != release():
        raise InputError(
            "A worker has another version of Silicast or of its catalog than the driver: install the same one on all "
            "machines, with the same SILICAST_HOME."
        )
    sink = io.BytesIO()
    with writing(sink) as write:
        for constants, columns in tables(chunk):
            write(constants, columns)
    return sink.getvalue()


def tables(chunk: Chunk) -> Iterator[tuple[dict[str, Any], dict[str, Array]]]:
    """(values that are the same in all rows, columns) of a chunk, a few rows at a time."""
    work = chunk.workload
    asked = {
        "model": chunk.model, "chip": chunk.chip, "system": chunk.system, "stack": chunk.stack,
        "workload": chunk.workload_name, "input_tokens": work.input_tokens, "output_tokens": work.output_tokens,
        "prefix_hit": work.prefix_hit,
    }  # fmt: skip
    try:
        found = _variants(chunk.model, chunk.chip, chunk.system, chunk.stack, chunk.deployments, chunk.price)
    except (NotFoundError, ChipFileError, ConfigError):  # a file that this machine lacks says nothing of the chip
        raise
    except InputError as error:
        yield {**asked, "reason": str(error)}, {"fit": np.zeros(1, dtype=bool)}
        return
    for way, group in groupby(found, key=lambda one: one.way[:4]):
        _, matrix, cache, drafts = way
        stored, multiplied = matrix.split("/")
        said = {"weights": stored, "activations": multiplied, "kv_cache": cache, "mtp_tokens": drafts}
        yield from _of_group(list(group), chunk, asked | said)


@lru_cache(KEPT)
def _variants(
    model: str, chip: str, system: str, stack: str, table: DeploymentsTable, price: float | None
) -> list[Variant]:
    choices = Choices(
        (stack,), table.recast, table.mtp_tokens, table.mtp_acceptance, table.split,
        prices={} if price is None else {chip: price}, system=system,
    )  # fmt: skip
    found, _ = variants(model, [chip], choices)
    return sorted(found, key=lambda one: one.way[:4])


def _of_group(
    group: list[Variant], chunk: Chunk, said: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], dict[str, Array]]]:
    """Deployments of variants whose pools may work together: they differ in microbatches only."""
    table, work = chunk.deployments, chunk.workload
    question = Question(work, Targets(), Budget(devices=table.max_devices))
    for one in group:
        layouts = replica_layouts(one.pool, widest(one, question))
        none = np.zeros(0, dtype=int)
        if layouts is not None:
            none = np.flatnonzero(one.pool.most_sequences(layouts, work) < 1)
        if layouts is not None and none.size:
            yield {**said, "reason": NO_ROOM}, unfit(layouts.pick(none), one.pool.microbatches)
    space = Space.of(group, question)
    every = units(space, question, table.split)
    if every is None:
        return
    # one unit each: a budget would fill itself with as many as it holds
    alone = replace(question, budget=Budget())
    found = deployments(every, group, alone, Margin.none(1).of(np.zeros(len(every), dtype=int)))
    ranges = _ranges(space, found, alone, table.ranges)
    for start in range(0, len(found), ROWS):
        yield said, deployed(space, found, ranges, slice(start, start + ROWS), work)


def _ranges(space: Space, found: Deployments, question: Question, most: int) -> dict[str, Array]:
    """Low and high of `most` rows along the front of tokens/s per user against tokens/s per device; NaN elsewhere."""
    ends = {f"{name}_{end}": np.full(len(found), np.nan) for name in RANGED for end in ("low", "high")}
    best = front(1 / found.tpot, -found.per_device)
    rows = best[np.unique(np.linspace(0, best.size - 1, most).round().astype(int))] if best.size and most else best[:0]
    if not rows.size:
        return ends
    few = found.pick(rows)
    drawn = outlook(space, few, question, DRAWS)
    output = drawn.served * float(np.asarray(question.workload.output_tokens))
    draws = (
        drawn.ttft * MS, drawn.tpot * MS, output / few.devices[:, None],
        few.usd_per_hour[:, None] / HOUR_S / output * MILLION,
    )  # fmt: skip
    for name, values in zip(RANGED, draws, strict=True):
        for end, share in (("low", LOW), ("high", HIGH)):
            ends[f"{name}_{end}"][rows] = np.quantile(values, share, axis=1)
    return ends
