"""Fills in what a user leaves open: the layout from devices and a few sizes, the batch from a rate or from targets."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.arguments import count
from silicast.errors import LayoutError
from silicast.planning.choose import best, drawn, require_blocks, require_fit
from silicast.planning.space import layouts
from silicast.pool import PoolModel
from silicast.scenario import Layout, Targets, Workload
from silicast.serving.steady import open_loop

Array = NDArray[Any]

#: devices that a search may use where nothing is given
DEVICES = 64


@dataclass(frozen=True, slots=True)
class Sizes:
    """Parallel sizes as given; None = open. `devices` alone leaves the layout to the search."""

    devices: int | None = None
    tp: int | None = None
    pp: int | None = None
    ep: int | None = None
    attention_dp: int | None = None
    cp: int | None = None

    def check(self) -> None:
        """Raises LayoutError for a size that is no whole number of at least 1."""
        for item in fields(self):
            count(item.name, getattr(self, item.name), LayoutError)

    @property
    def open(self) -> bool:
        """Whether no size but `devices` is given."""
        return all(size is None for size in (self.tp, self.pp, self.ep, self.attention_dp, self.cp))


@dataclass(frozen=True, slots=True)
class Placement:
    """A layout and the sequences that run at a time on one of its attention ranks.

    met      the targets hold
    over     open loop: more requests arrive than the pool can serve
    waiting  closed loop: requests of the replica that wait, because only the others fit at a time
    """

    layout: Layout
    sequences: float
    met: bool = True
    over: bool = False
    waiting: float = 0.0


def place(pool: PoolModel, sizes: Sizes, workload: Workload, targets: Targets, draws: int) -> Placement:
    """The layout and batch of a forecast. Raises LayoutError and DoesNotFitError."""
    sizes.check()
    targets = targets.on(workload)
    if sizes.open:
        space = layouts(pool, sizes.devices or DEVICES, exactly=sizes.devices is not None)
    else:
        space = given_layout(pool, sizes).arrays()
    pool.machine.check_devices(space.devices)
    space = require_blocks(pool, space, workload)
    if workload.concurrency is None and workload.rate is None:
        choice = best(pool, space, workload, targets, draws)
        return Placement(choice.layout, choice.sequences, choice.met)
    return _loaded(pool, space, workload, targets, draws)


def given_layout(pool: PoolModel, sizes: Sizes) -> Layout:
    """The layout of explicit sizes: tp = devices / (attention_dp cp pp) where it is open; experts over all ranks of a
    stage under attention data parallelism, else cut like the rest (ep = 1). Raises LayoutError."""
    sizes.check()
    attention_dp, cp, pp = sizes.attention_dp or 1, sizes.cp or 1, sizes.pp or 1
    others = attention_dp * cp * pp
    tp = sizes.tp or (sizes.devices or others) // others or 1
    if sizes.devices is not None and tp * others != sizes.devices:
        raise LayoutError(
            f"tp x attention_dp x cp x pp = {tp} x {attention_dp} x {cp} x {pp} = {tp * others}, "
            f"but devices = {sizes.devices}. Leave one of them out or make them agree."
        )
    spread = pool.model.experts > 0 and attention_dp * cp > 1
    layout = Layout(tp, pp, sizes.ep or (tp * attention_dp * cp if spread else 1), attention_dp, cp)
    pool.model.check(layout)
    return layout


def _loaded(pool: PoolModel, space: Layout, workload: Workload, targets: Targets, draws: int) -> Placement:
    """Under a given load: of the layouts that hold it, one that meets the targets, then the lowest TPOT.

    Where none holds it, the one that serves most requests/s.
    """
    most = pool.most_sequences(space, workload)
    fits = np.flatnonzero(most >= 1)
    if not fits.size:
        require_fit(pool, space.pick(int(np.argmax(most))), workload)
    space, most = space.pick(fits), most[fits]
    sequences, over = _batches(pool, space, workload, most)
    index = _choose(pool, space, workload, targets, sequences, over) if fits.size > 1 else 0
    layout = space.pick([index])
    if workload.rate is not None:
        sequences, over = _batches(drawn(pool, draws), layout, workload, most[[index]])
        index = 0
    one = layout.pick(0).whole()
    running = float(sequences[index])
    if workload.concurrency is None:
        return Placement(one, running, over=bool(over[index]))
    waiting = float(np.asarray(workload.concurrency)) - running * float(one.attention_dp)
    return Placement(one, running, waiting=max(waiting, 0.0) if over[index] else 0.0)


def _choose(pool: PoolModel, space: Layout, workload: Workload, targets: Targets, sequences: Array, over: Array) -> int:
    steady = pool.closed(space, workload, sequences)
    missed = over.copy()
    for name, target in targets.stated.items():
        missed |= getattr(steady, name) * 1e3 > target
    return int(np.lexsort((np.where(over, -steady.requests, steady.tpot), missed, over))[0])


def _batches(pool: PoolModel, space: Layout, workload: Workload, most: Array) -> tuple[Array, Array]:
    """Sequences that run on an attention rank under the load, and where the load is more than the layout holds."""
    if workload.concurrency is not None:
        wanted = float(np.asarray(workload.concurrency)) / np.asarray(space.attention_dp)
        return np.minimum(wanted, most), np.asarray(wanted > most)
    rate = float(np.asarray(workload.rate))
    return open_loop(lambda batch: pool.closed(space, workload, batch), rate, most)
