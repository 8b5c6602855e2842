"""Time of one step of a pool: operators timed by the laws, added up, overlapped, and the host."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.laws import host, overlap
from silicast.machine import Machine
from silicast.model.architecture import Model
from silicast.scenario import Load
from silicast.timed import LAWS, Pass, Timed, trailing, width_of

Array = NDArray[Any]


@dataclass(slots=True)
class Step:
    """One step. `seconds` has shape `(config[, draw])`; the groups explain it.

    `host` is what the device waits for, in which it may wait for launches: `eager` is how long the host takes to launch
    the step kernel by kernel, 0 where it is replayed from a graph.
    """

    seconds: Array
    host: Array
    eager: Array
    hidden: Array
    microbatches: Array
    groups: list[Timed] = field(default_factory=list)


def step_time(model: Model, load: Load, how: Pass, machine: Machine) -> Step:
    """Seconds of one step of `load` on every configuration, host time included.

    With two microbatches the operators run at half size twice; computes and all-to-all exchanges overlap
    (`laws.overlap`). Pipeline stages: all stages one after the other, as one microbatch passes them.
    """
    half = load.split(how.microbatches)
    ops = model.ops(half, how.layout, machine.stack)
    if model.mtp and np.any(np.asarray(load.query_tokens) > 1):
        ops = ops + model.draft_ops(half, how.layout, machine.stack)
    width = width_of(ops)
    groups = [group for group in (law(ops, width, how, machine) for law in LAWS) if group is not None]
    zero = np.zeros((width, 1) if machine.draws else width)
    compute = sum((_total(group, exchanged=False) for group in groups), zero)
    exchange = sum((_total(group, exchanged=True) for group in groups), zero)
    twice = np.asarray(how.microbatches) > 1
    serial = compute + exchange
    device, hidden = serial, zero
    if np.any(twice):
        floors = sum((_floors(group) for group in groups), zero) if machine.stack.microbatch_streams > 1 else 0.0
        both = overlap.two_microbatches(compute, exchange, _tax(load, machine), floors)
        device = np.where(trailing(twice, machine), both, serial)
        hidden = np.where(trailing(twice, machine), 2 * serial - both, zero)
    sequences = trailing(load.prefill_sequences + load.decode_sequences, machine)
    waiting = host.host_time(
        sequences, machine.coefficient("host", "step"), machine.coefficient("host", "per_sequence")
    )
    prefills = trailing(np.asarray(load.prefill_sequences * load.prefill_tokens) > 0, machine)
    calls = sum((group.count.sum(axis=0) for group in groups), zero) * trailing(how.microbatches, machine)
    eager = prefills * calls * machine.coefficient("host", "eager_launch")
    waiting = waiting + np.maximum(eager - device, 0)
    return Step(
        np.asarray(device + waiting), zero + waiting, zero + eager, hidden, np.asarray(how.microbatches), groups
    )


def _tax(load: Load, machine: Machine) -> Any:
    prefilling = np.asarray(load.prefill_sequences * load.prefill_tokens) > 0
    tax = machine.coefficient("overlap", "tax_prefill"), machine.coefficient("overlap", "tax_decode")
    return np.where(trailing(prefilling, machine), *tax)


def _total(group: Timed, exchanged: bool) -> Array:
    rows = np.flatnonzero(np.array(group.exchanged) == exchanged)
    if not rows.size:
        return np.zeros(1)
    if rows.size == len(group.exchanged):
        return np.asarray(group.seconds().sum(axis=0))
    return np.asarray(group.seconds()[rows].sum(axis=0))


def _floors(group: Timed) -> Array:
    """Launches and latencies of the computing kernels."""
    computing = ~np.array(group.exchanged)
    return np.asarray((group.timing.fixed * group.count)[computing].sum(axis=0))
