"""Explains a step: the tree of parts by operator, what binds it, MFU, MBU, and the tier. Of the middle draw."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.estimate import Part, Tier, worst
from silicast.machine import INSIDE
from silicast.step import Step
from silicast.timed import ROOFS, Timed

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
#: a tier counts for a number when it answers for more than this share of its time: one part in twenty
TIER_SHARE = 1 / (4 * 5)


@dataclass(frozen=True, slots=True)
class Explained:
    """One configuration of a step: seconds, tree, seconds by resource, matrix FLOPs and bytes moved on one device."""

    seconds: float
    tree: Part
    by_resource: dict[str, float]
    flops: float
    moved: float

    @property
    def bound_by(self) -> str:
        """The resource that takes most of the time."""
        return self.tree.bound_by

    @property
    def tier(self) -> Tier:
        """The worst tier that answers for more than 5 % of the time."""
        return self.tree.tier

    def leaves(self) -> list[Part]:
        """Operators, longest first."""
        found = [leaf for node in self.tree.parts for leaf in (node.parts or (node,))]
        return sorted(found, key=lambda part: -part.value)


def explained(step: Step, tiers: Mapping[str, Tier], index: int = 0) -> Explained:
    """The parts of configuration `index`; their sum, less what overlap hides, is the step. `tiers` is by law.

    Of draws the one with the median step time is explained, so that its parts add up.
    """
    at = _Place(index, _middle_draw(step.seconds, index))
    repeats = float(np.broadcast_to(step.microbatches, step.seconds.shape[:1])[index])
    leaves: dict[str, list[Part]] = {}
    resources = dict.fromkeys(BOUNDS.values(), 0.0)
    for group in step.groups:
        for row, part in enumerate(group.parts):
            leaf, shares = _leaf(group, row, at, repeats, tiers)
            for resource, seconds in shares.items():
                resources[resource] += seconds
            if leaf.value:
                leaves.setdefault(part, []).append(leaf)
    host = Part("host", at.of(step.host), "s", BOUNDS["host"], tiers["host"], law="host", calls=1.0)
    resources[BOUNDS["host"]] += host.value
    hidden = at.of(step.hidden)
    _hide(resources, hidden)
    nodes = [*(_node(name, parts) for name, parts in leaves.items()), host]
    tree = _root(at.of(step.seconds), nodes, hidden, resources)
    everything = [leaf for parts in leaves.values() for leaf in parts]
    flops = sum(leaf.flops for leaf in everything if leaf.law not in ("vector", "collective"))
    moved = sum(leaf.moved for leaf in everything if leaf.law != "collective")
    return Explained(tree.value, tree, resources, flops, moved)


def _leaf(
    group: Timed, row: int, at: "_Place", repeats: float, tiers: Mapping[str, Tier]
) -> tuple[Part, dict[str, float]]:
    calls = repeats * at.cell(group.count, row)
    total = calls * at.cell(group.timing.total, row)
    fixed = min(calls * at.cell(group.timing.fixed, row), total)
    roofs = {resource: at.cell(getattr(group.timing, resource), row) for resource in ROOFS}
    binding = BOUNDS[max(roofs, key=lambda resource: roofs[resource])]
    inside = group.crosses is not None and not at.cell(group.crosses, row)
    part = Part(
        group.names[row],
        total,
        "s",
        binding if total - fixed >= fixed else BOUNDS["fixed"],
        tiers[INSIDE if inside else group.law],
        law=group.law,
        calls=calls,
        flops=calls * at.cell(group.flops, row),
        moved=calls * at.cell(group.moved, row),
    )
    return part, {binding: total - fixed, BOUNDS["fixed"]: fixed}


def _node(name: str, parts: list[Part]) -> Part:
    ordered = tuple(sorted(parts, key=lambda part: -part.value))
    total = sum(part.value for part in parts)
    return Part(name, total, "s", _largest(parts), _tier(ordered, total), ordered)


def _root(seconds: float, nodes: list[Part], hidden: float, resources: dict[str, float]) -> Part:
    ordered = sorted(nodes, key=lambda part: -part.value)
    leaves = [leaf for node in ordered for leaf in (node.parts or (node,))]
    saved = [Part("hidden by overlap", -hidden, "s", "", law="overlap")] if hidden else []
    bound = max(resources, key=lambda name: resources[name])
    return Part("step", seconds, "s", bound, _tier(leaves, seconds), (*ordered, *saved))


def _tier(leaves: list[Part] | tuple[Part, ...], seconds: float) -> Tier:
    by_tier: dict[Tier, float] = {}
    for leaf in leaves:
        by_tier[leaf.tier] = by_tier.get(leaf.tier, 0.0) + leaf.value
    return worst(tier for tier, value in by_tier.items() if value > TIER_SHARE * seconds)


def _largest(parts: list[Part]) -> str:
    by_bound: dict[str, float] = {}
    for part in parts:
        by_bound[part.bound_by] = by_bound.get(part.bound_by, 0.0) + part.value
    return max(by_bound, key=lambda name: by_bound[name])


def _hide(resources: dict[str, float], hidden: float) -> None:
    """Overlap hides the exchange, which runs beside the compute: its link time first, then its latency."""
    for resource in ("link", "fixed"):
        taken = min(resources[BOUNDS[resource]], hidden)
        resources[BOUNDS[resource]] -= taken
        hidden -= taken


@dataclass(frozen=True, slots=True)
class _Place:
    """One configuration and one draw of it in arrays that may be broadcast along any axis."""

    index: int
    draw: int

    def cell(self, values: Any, row: int) -> float:
        """Of `(operator, config[, draw])`."""
        return self._pick(values, (row, self.index, self.draw))

    def of(self, values: Any) -> float:
        """Of `(config[, draw])`."""
        return self._pick(values, (self.index, self.draw))

    def _pick(self, values: Any, where: tuple[int, ...]) -> float:
        array = np.asarray(values, dtype=float)
        for position in where:
            if array.ndim:
                array = array[position if array.shape[0] > 1 else 0]
        return float(array)


def _middle_draw(seconds: Array, index: int) -> int:
    draws = np.atleast_1d(seconds[index if seconds.shape[0] > 1 else 0])
    return int(np.argsort(draws, kind="stable")[draws.size // 2])
