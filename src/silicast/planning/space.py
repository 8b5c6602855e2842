"""The layouts worth trying: what the model divides into and what the system's domains allow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import LayoutError
from silicast.pool import PoolModel
from silicast.scenario import Layout

Array = NDArray[Any]

TP_SIZES = (1, 2, 4, 8, 16)
PP_SIZES = (1, 2, 4)
#: pipeline depths where the question is only what holds a model
DEPTHS = tuple(range(1, 17))
#: context-parallel sizes of pools that only prefill: engines divide prompts, and decode with whole sequences
CP_SIZES = (1, 2, 4, 8)
#: batch sizes per attention rank, as fractions of the largest that fits, and the small absolute ones
SMALL_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


def device_counts(most: int, node: int) -> list[int]:
    """Counts up to `most` that are deployed in practice: powers of two and whole nodes (1 to 4, 6, 8, 12 ...)."""
    powers = [1 << power for power in range(most.bit_length())]
    nodes = [node * many for power in powers for many in (power, 3 * power)]
    return sorted({count for count in (*powers, *nodes, most) if count <= most})


def layouts(pool: PoolModel, most: int, exactly: bool = False) -> Layout:
    """All layouts of up to (or `exactly`) `most` devices that model and system allow, as one Layout of arrays.

    Tensor parallelism stays inside a node; experts are spread over all ranks of a stage (expert parallelism) or cut
    (tensor parallelism); dense models scale beyond a node by pipeline stages, and by replicas outside of this space.
    """
    limit = min(most, pool.machine.system.max_devices or most)
    counts = [most] if exactly else device_counts(limit, pool.machine.system.devices_per_node)
    found = _allowed(pool, [row for devices in counts for row in _rows(pool, devices)])
    if found is None:
        raise LayoutError(
            f"No layout of {pool.model.id} has exactly {most:,} devices. Nearest that have one: "
            f"{_nearest_counts(pool, most)}; more devices are more replicas."
        )
    return found


def holding(pool: PoolModel, most: int) -> Layout:
    """Layouts of every device count up to `most`, odd ones and deep pipelines too: for what fits, not for what is fast.

    Raises LayoutError where none cuts the model into equal parts.
    """
    limit = min(most, pool.machine.system.max_devices or most)
    found = _allowed(pool, [row for devices in range(1, limit + 1) for row in _rows(pool, devices, DEPTHS)])
    if found is None:
        raise LayoutError(f"No layout of {pool.model.id} has up to {limit:,} devices.")
    return found


def _allowed(pool: PoolModel, rows: list[tuple[int, int, int, int]]) -> Layout | None:
    """The rows (tp, pp, ep, attention_dp) that cut the model into equal parts; None where none does."""
    if not rows:
        return None
    tp, pp, ep, attention_dp = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    layout = Layout(tp=tp, pp=pp, ep=ep, attention_dp=attention_dp)
    allowed = np.flatnonzero(pool.model.allows(layout))
    return layout.pick(allowed) if allowed.size else None


def _nearest_counts(pool: PoolModel, wanted: int) -> str:
    """The device counts below and above `wanted` for which there is a layout."""
    limit = min(2 * wanted, pool.machine.system.max_devices or 2 * wanted)
    counts = device_counts(limit, pool.machine.system.devices_per_node)
    good = [count for count in counts if _allowed(pool, _rows(pool, count)) is not None]
    below, above = [count for count in good if count < wanted][-1:], [count for count in good if count > wanted][:1]
    return ", ".join(f"{count:,}" for count in (*below, *above))


def _rows(pool: PoolModel, devices: int, depths: Sequence[int] = PP_SIZES) -> list[tuple[int, int, int, int]]:
    node = pool.machine.system.devices_per_node
    rows = []
    for pp in depths:
        for tp in TP_SIZES:
            if tp > node or devices % (tp * pp):
                continue
            copies = devices // (tp * pp)
            if not pool.model.experts:
                rows += [(tp, pp, 1, 1)] if copies == 1 else []
                continue
            stage = tp * copies
            rows += [(tp, pp, ep, copies) for ep in sorted({1, stage}) if ep == stage or copies == 1]
    return rows


@dataclass(frozen=True, slots=True)
class Candidates:
    """Layouts crossed with batches: row i runs `layout.pick(i)` with `sequences[i]` per attention rank."""

    layout: Layout
    sequences: Array

    def pick(self, index: Any) -> "Candidates":
        """Some of the rows."""
        return Candidates(self.layout.pick(index), self.sequences[index])


def with_batches(layout: Layout, most: Array) -> Candidates:
    """Every layout with every batch size up to the largest that fits it (`most`), and that largest one."""
    rows, batches = [], []
    for index, limit in enumerate(np.atleast_1d(most)):
        sizes = [size for size in SMALL_BATCHES if size < limit]
        sizes += [int(limit)] if limit >= 1 else []
        rows += [index] * len(sizes)
        batches += sizes
    chosen = np.array(rows, dtype=int)
    whole = Layout(
        *(
            np.broadcast_to(np.asarray(getattr(layout, name), float), np.shape(most))
            for name in ("tp", "pp", "ep", "attention_dp", "cp")
        )
    )
    return Candidates(whole.pick(chosen), np.array(batches, dtype=float))
