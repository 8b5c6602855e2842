"""Explains a step: the tree of parts by operator, what binds it, MFU, MBU. Shares are of the middle draw."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.estimate import Part, Tier
from silicast.step import ROOFS, Step, Timed

Array = NDArray[Any]

#: what a reader sees for each resource of `Timing`
BOUNDS = {
    "matrix": "matrix",
    "vector": "vector",
    "memory": "memory bandwidth",
    "link": "link bandwidth",
    "fixed": "launch and latency",
    "host": "host",
}


@dataclass(frozen=True, slots=True)
class Explained:
    """One configuration of a step: seconds, tree, seconds by resource, FLOPs and bytes of one device."""

    seconds: float
    tree: Part
    by_resource: dict[str, float]
    flops: float
    moved: float

    @property
    def bound_by(self) -> str:
        """The resource that takes most of the time."""
        return max(self.by_resource, key=lambda name: self.by_resource[name])

    def mfu(self, peak: float) -> float:
        """FLOPs of the matrix operators over `peak` x time."""
        return self.flops / (peak * self.seconds)

    def mbu(self, bandwidth: float) -> float:
        """Bytes that had to move over `bandwidth` x time."""
        return self.moved / (bandwidth * self.seconds)


def explained(step: Step, index: int = 0, tier: Tier = "datasheet") -> Explained:
    """The parts of configuration `index`. Their sum, less what overlap hides, is the step."""
    repeats = float(np.broadcast_to(step.microbatches, step.seconds.shape[:1])[index])
    leaves: dict[str, list[Part]] = {}
    resources = dict.fromkeys(BOUNDS.values(), 0.0)
    flops = moved = 0.0
    for group in step.groups:
        for row, name in enumerate(group.names):
            leaf, shares = _leaf(group, row, index, repeats, name, tier)
            if leaf.value:
                leaves.setdefault(group.parts[row], []).append(leaf)
            for resource, seconds in shares.items():
                resources[resource] += seconds
            calls = repeats * _at(group.count, row, index)
            if group.kind == "matrix":
                flops += calls * _at(group.flops, row, index)
            if group.kind != "exchange":
                moved += calls * _at(group.moved, row, index)
    host, hidden = _middle(step.host, index), _middle(step.hidden, index)
    resources["host"] += host
    seconds = _middle(step.seconds, index)
    nodes = [_node(name, parts, tier) for name, parts in leaves.items()]
    nodes.append(Part("host", host, "s", "host", tier))
    if hidden:
        nodes.append(Part("hidden by overlap", -hidden, "s", "", tier))
        _hide(resources, hidden)
    nodes.sort(key=lambda part: -part.value)
    bound = max(resources, key=lambda name: resources[name])
    return Explained(seconds, Part("step", seconds, "s", bound, tier, tuple(nodes)), resources, flops, moved)


def _leaf(group: Timed, row: int, index: int, repeats: float, name: str, tier: Tier) -> tuple[Part, dict[str, float]]:
    calls = repeats * _at(group.count, row, index)
    total = calls * _at(group.timing.total, row, index)
    fixed = min(calls * _at(group.timing.fixed, row, index), total)
    roofs = {resource: _at(getattr(group.timing, resource), row, index) for resource in ROOFS}
    binding = BOUNDS[max(roofs, key=lambda resource: roofs[resource])]
    shares = {binding: total - fixed, BOUNDS["fixed"]: fixed}
    bound = binding if total - fixed >= fixed else BOUNDS["fixed"]
    return Part(name, total, "s", bound, tier), shares


def _node(name: str, parts: list[Part], tier: Tier) -> Part:
    by_bound: dict[str, float] = {}
    for part in parts:
        by_bound[part.bound_by] = by_bound.get(part.bound_by, 0.0) + part.value
    ordered = tuple(sorted(parts, key=lambda part: -part.value))
    bound = max(by_bound, key=lambda key: by_bound[key])
    return Part(name, sum(part.value for part in parts), "s", bound, tier, ordered)


def _hide(resources: dict[str, float], hidden: float) -> None:
    """Overlap hides the exchange first: it is what runs beside the compute."""
    link = BOUNDS["link"]
    taken = min(resources[link], hidden)
    resources[link] -= taken
    fixed = BOUNDS["fixed"]
    resources[fixed] = max(resources[fixed] - (hidden - taken), 0.0)


def _at(values: Any, row: int, index: int) -> float:
    array = np.asarray(values, dtype=float)
    if array.ndim == 0:
        return float(array)
    line = array[row if array.shape[0] > 1 else 0]
    if line.ndim == 0:
        return float(line)
    cell = line[index if line.shape[0] > 1 else 0]
    return float(np.median(cell))


def _middle(values: Array, index: int) -> float:
    cell = values[index if values.shape[0] > 1 else 0]
    return float(np.median(cell))
