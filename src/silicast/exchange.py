"""Time of an exchange between devices: its pattern picks the law, calibration the fabric as that pattern finds it."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.laws import collective
from silicast.laws.timing import Timing
from silicast.machine import Machine
from silicast.model.ops import Collective

Array = NDArray[Any]


def time(op: Collective, moved: Array, group: Array, stride: Array, machine: Machine) -> Timing:
    """Seconds of one exchange by its pattern; `moved` bytes, `(config[, draw])`."""
    if op.pattern == "p2p":
        return collective.send_time(moved, stride * group <= machine.links.inner_size, machine.fabric)
    if op.pattern == "all_to_all":
        share = np.asarray(_trailing(op.relayed, machine))
        apart = _to_all(op, moved, group, stride, 0.0, machine)
        if not np.any(share > 0):
            return apart
        passed = _to_all(op, moved, group, stride, 1.0, machine)
        # relaying adds a hop: its latency is never less than that of the exchange it replaces
        more = np.maximum(np.asarray(apart.fixed) - passed.fixed, 0)
        passed = replace(passed, fixed=passed.fixed + more, total=passed.total + more)
        return Timing(*(share * getattr(passed, name) + (1 - share) * getattr(apart, name) for name in _PARTS))
    if op.pattern == "all_reduce":
        fabric = _fabric("all_reduce", machine)
        return collective.all_reduce_time(moved, collective.divide(group, stride, fabric), fabric)
    fabric = _fabric("all_gather", machine)
    return collective.all_gather_time(moved, collective.divide(group, stride, fabric), fabric)


def crosses(group: Array, stride: Array, machine: Machine) -> Array:
    """1 where a group of ranks, `stride` apart, does not lie in one innermost domain."""
    return np.asarray((group > 1) & (group * stride > machine.links.inner_size))


def _to_all(op: Collective, moved: Array, group: Array, stride: Array, relayed: float, machine: Machine) -> Timing:
    kind = "all_to_all_relayed" if relayed else "all_to_all"
    fabric = _fabric(kind, machine)
    # where only one kind was measured, its latency is the better guess for the other
    fixed = machine.coefficient("collective", "latency_all_to_all", kind, "all_to_all")
    return collective.all_to_all_time(
        moved, _trailing(op.fan, machine), relayed, collective.divide(group, stride, fabric), fabric, fixed
    )


def _fabric(kind: str, machine: Machine) -> collective.Fabric:
    """The fabric as one kind of exchange finds it: what calibration knows of the kind replaces the general figures."""
    links = machine.links
    inner = machine.coefficient("collective", "bandwidth_efficiency", kind)
    outer = machine.optional("collective", "outer_efficiency", kind)
    known = {
        "inner_bandwidth": links.inner_bandwidth * inner,
        "outer_bandwidth": links.outer_bandwidth * (inner if outer is None else outer),
    }
    for name, coefficient in _EXCHANGE_NAMES.items():
        value = machine.optional("collective", coefficient, kind)
        if value is not None:
            known[name] = value * machine.coefficient("launch", "replay_share") if name == "launch" else value
    return replace(links, **known)


#: fields of a fabric that only calibration knows
_EXCHANGE_NAMES = {"second": "second_exchange", "switch": "switch_share", "hop": "hop", "launch": "launch"}

_PARTS = ("total", "matrix", "vector", "memory", "link", "fixed")


def _trailing(value: Any, machine: Machine) -> Any:
    """One number per configuration, with room for draws behind."""
    array = np.asarray(value)
    return array[..., None] if machine.draws and array.ndim else array
