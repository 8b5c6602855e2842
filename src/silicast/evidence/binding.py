"""What binds a step, and the worst tier that matters to it, for all configurations of an array at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.estimate import TIERS, Tier
from silicast.machine import INSIDE
from silicast.parts import BOUNDS, TIER_SHARE
from silicast.step import Step
from silicast.timed import ROOFS, Timed

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Told:
    """By configuration: the resource that takes most of the time, and the worst tier above 5 % of it."""

    bound_by: list[str]
    tier: list[Tier]


def told(step: Step, tiers: Mapping[str, Tier]) -> Told:
    """The binding resource and the tier of every configuration of a step of points."""
    width = step.seconds.shape[0]
    by_resource = {name: np.zeros(width) for name in BOUNDS.values()}
    by_tier = {tier: np.zeros(width) for tier in TIERS}
    repeats = np.broadcast_to(step.microbatches, width)
    for group in step.groups:
        seconds = _add(group, repeats, by_resource)
        inside = 0.0 if group.crosses is None else (seconds * (1.0 - group.crosses)).sum(axis=0)
        by_tier[tiers[INSIDE]] += inside
        by_tier[tiers[group.law]] += seconds.sum(axis=0) - inside
    host = np.broadcast_to(step.host, width)
    by_resource[BOUNDS["host"]] = by_resource[BOUNDS["host"]] + host
    by_tier[tiers["host"]] += host
    _hide(by_resource, np.broadcast_to(step.hidden, width))
    names = list(by_resource)
    largest = np.argmax(np.stack(list(by_resource.values())), axis=0)
    matters = np.stack([by_tier[tier] > TIER_SHARE * step.seconds for tier in TIERS])
    worst = len(TIERS) - 1 - np.argmax(matters[::-1], axis=0)
    return Told([names[index] for index in largest], [TIERS[index] for index in worst])


def _add(group: Timed, repeats: Array, by_resource: dict[str, Array]) -> Array:
    """Adds the seconds of one group of operators to their resources; returns them."""
    shape = np.broadcast_shapes(np.shape(group.timing.total), np.shape(group.count), (1, repeats.size))
    calls = np.broadcast_to(group.count, shape) * repeats
    total = group.timing.total * calls
    fixed = np.minimum(group.timing.fixed * calls, total)
    roofs = np.stack([np.broadcast_to(getattr(group.timing, roof), shape) for roof in ROOFS])
    binding = np.argmax(roofs, axis=0)
    for index, roof in enumerate(ROOFS):
        by_resource[BOUNDS[roof]] += np.where(binding == index, total - fixed, 0).sum(axis=0)
    by_resource[BOUNDS["fixed"]] += fixed.sum(axis=0)
    return np.asarray(total)


def _hide(by_resource: dict[str, Array], hidden: Array) -> None:
    """Overlap hides the exchange: its link time first, then its latency."""
    for resource in ("link", "fixed"):
        taken = np.minimum(by_resource[BOUNDS[resource]], hidden)
        by_resource[BOUNDS[resource]] = by_resource[BOUNDS[resource]] - taken
        hidden = hidden - taken
