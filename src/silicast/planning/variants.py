"""One way to run the model on a chip (formats, stack, draft tokens), and the layouts it allows."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.hardware import Chip
from silicast.planning.choose import drawn
from silicast.planning.economics import Bill
from silicast.planning.space import CP_SIZES, PP_SIZES, TP_SIZES
from silicast.pool import PoolModel
from silicast.scenario import Layout

Array = NDArray[Any]


@dataclass(frozen=True)
class Variant:
    """A pool whose layout is open, and what a package of its chip costs."""

    pool: PoolModel
    bill: Bill

    @property
    def chip(self) -> Chip:
        """The chip it runs on."""
        return self.pool.machine.chip

    @property
    def label(self) -> str:
        """Stack, formats and draft tokens in one line."""
        drafts = self.pool.speculation.tokens
        told = f"{self.pool.machine.stack.id}, {self.pool.precision}" + (f", {drafts} draft tokens" if drafts else "")
        return told + (", no microbatches" if self.pool.microbatches == 1 else "")

    @cached_property
    def _drawn(self) -> dict[int, PoolModel]:
        return {}

    def drawn(self, draws: int) -> "Variant":
        """The same with its numbers as draws, which are made once."""
        if draws not in self._drawn:
            self._drawn[draws] = drawn(self.pool, draws)
        return replace(self, pool=self._drawn[draws])

    @cached_property
    def way(self) -> tuple[str, str, str, int, int | None]:
        """What tells variants of a chip apart: stack, formats, cache, draft tokens, microbatches."""
        own = self.pool.precision
        drafts = int(np.asarray(self.pool.speculation.tokens))
        return (
            self.pool.machine.stack.id,
            f"{own.weights}/{own.activations}",
            own.kv_cache,
            drafts,
            self.pool.microbatches,
        )


def replica_layouts(pool: PoolModel, most: int) -> Layout | None:
    """Every layout of up to `most` devices that model and system allow; None where there is none.

    Powers of two and whole nodes (1 and 3 times a power of two), so that a larger budget only adds layouts. Tensor
    parallelism stays inside a node; experts are spread over all ranks of a stage or cut like the rest. Context
    parallelism is for prefill: `whole_sequences` leaves it out.
    """
    system = pool.machine.system
    node, limit = system.devices_per_node, min(most, system.max_devices or most)
    powers = [1 << power for power in range(limit.bit_length())]
    counts = {count for power in powers for count in (power, node * power, 3 * node * power) if count <= limit}
    rows = [row for devices in sorted(counts) for row in _rows(pool, devices, node)]
    if not rows:
        return None
    layout = Layout(*(np.array(column, dtype=float) for column in zip(*rows, strict=True)))
    allowed = np.flatnonzero(pool.model.allows(layout))
    return layout.pick(allowed) if allowed.size else None


def _rows(pool: PoolModel, devices: int, node: int) -> list[tuple[int, int, int, int, int]]:
    """(tp, pp, ep, attention_dp, cp) of so many devices."""
    rows = []
    for pp, cp, tp in product(PP_SIZES, CP_SIZES, TP_SIZES):
        if tp > node or devices % (tp * pp * cp):
            continue
        stage = devices // pp
        copies = stage // (tp * cp)
        experts = pool.model.experts > 0
        if experts or copies == 1:
            rows += [(tp, pp, ep, copies, cp) for ep in sorted({1, stage} if experts else {1})]
    return rows


def whole_sequences(layout: Layout) -> Array:
    """Rows of the layouts in which one attention rank holds all of a sequence."""
    return np.flatnonzero(np.broadcast_to(np.asarray(layout.cp), np.shape(layout.tp)) == 1)
