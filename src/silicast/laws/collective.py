"""Exchanges between devices over nested domains (alpha-beta model, hierarchical).

A group of g ranks, `stride` apart, has g_1 members inside one inner domain of n_1 devices and g / g_1 such parts.
Bandwidths are per device and direction.
"""

from dataclasses import dataclass

import numpy as np

from silicast.laws.timing import Timing, Value


@dataclass(slots=True)
class Fabric:
    """Two nested domains as collectives see them. Sizes in devices, bandwidths in B/s (sustained), latencies in s.

    `mesh` is 1 where the inner domain is a full mesh: a group of g of its n devices gets (g-1)/(n-1) of the bandwidth.
    `axes` is the number of dimensions where it is a torus, else 0. `reduces` is 1 where its switches add up.
    `launch` is the kernel that every exchange starts with. Neutral unless calibrated: `second`, s of the barrier
    between the two halves of a two-shot all-reduce; `switch`, share of the link at which switches add up; `hop`, s per
    further rank of a ring.
    """

    inner_size: Value
    inner_bandwidth: Value
    inner_latency: Value
    outer_bandwidth: Value
    outer_latency: Value
    launch: Value
    mesh: float = 0.0
    axes: float = 0.0
    reduces: float = 0.0
    second: Value = 0.0
    switch: Value = 1.0
    hop: Value = 0.0


@dataclass(slots=True)
class Group:
    """Members inside one inner domain, number of such parts, and the bandwidth a member gets inside."""

    inside: Value
    parts: Value
    bandwidth: Value


def divide(group: Value, stride: Value, fabric: Fabric) -> Group:
    """How a group lies in the domains: inside = clip(n_1 / stride, 1, g), parts = g / inside.

    In a mesh it gets (g-1)/(n-1) of the bandwidth; in a torus of side n^(1/axes) the links of the axes that it
    spans, ceil(log g / log side) of them; behind a switch all of it.
    """
    inside = np.clip(np.floor(fabric.inner_size / stride), 1, group)
    share: Value = 1.0
    if fabric.mesh:
        share = np.where(inside > 1, (inside - 1) / np.maximum(fabric.inner_size - 1, 1), 1.0)
    elif fabric.axes:
        side = fabric.inner_size ** (1 / fabric.axes)
        share = np.clip(np.ceil(np.log(inside) / np.log(side)), 1, fabric.axes) / fabric.axes
    return Group(inside, np.ceil(group / inside), fabric.inner_bandwidth * share)


def all_reduce_time(moved: Value, group: Group, fabric: Fabric) -> Timing:
    """All-reduce of `moved` bytes per rank: reduce-scatter and all-gather inside, all-reduce of the shards outside.

    inside: min(V (g-1) / B_1, second + min(2 V (g-1)/g / B_1, [V / (switch B_1) with in-network reduction])): one-shot,
    two-shot, in-switch; outside: 2 (V / g_1)(p-1)/p / B_2. Latency: a launch, one exchange inside, two outside.
    Reference: Thakur, Rabenseifner, Gropp 2005; NVLink SHARP.
    """
    ring = 2 * (group.inside - 1) / group.inside
    if fabric.reduces:
        ring = np.minimum(ring, np.where(group.inside > 1, 1 / fabric.switch, 0.0))
    two_shot = moved * ring / group.bandwidth + np.where(group.inside > 1, fabric.second, 0.0)
    inner = np.minimum(moved * (group.inside - 1) / group.bandwidth, two_shot)
    outer = 2 * moved / group.inside * (group.parts - 1) / group.parts / fabric.outer_bandwidth
    return _timed(inner + outer, group, fabric, 1.0, 2.0, moved)


def all_gather_time(moved: Value, group: Group, fabric: Fabric) -> Timing:
    """All-gather to (or reduce-scatter from) `moved` bytes: shards across first, then inside.

    t = alpha + hop (g_1-1) + (V / g_1)(p-1)/p / B_2 + V (g_1-1)/g_1 / B_1. Reference: Thakur et al. 2005.
    """
    outer = moved / group.inside * (group.parts - 1) / group.parts / fabric.outer_bandwidth
    hops = (moved > 0) * fabric.hop * (group.inside - 1)
    inner = moved * (group.inside - 1) / group.inside / group.bandwidth + hops
    return _timed(inner + outer, group, fabric, 1.0, 1.0, moved)


def all_to_all_time(moved: Value, fan: Value, relayed: Value, group: Group, fabric: Fabric, fixed: Value) -> Timing:
    """Expert dispatch or combine: each rank owns `moved` bytes of tokens and sends `fan` copies to random ranks.

    inside:  fan V (g_1 - 1)/g / B_1 where every copy travels alone; outside: copies V / B_2 with copies = fan (p-1)/p.
    Relayed, one copy per part that is hit crosses, (p-1)(1 - (1 - 1/p)^fan), and inside one copy goes to each rank that
    is hit, g (g_1-1)/g_1 (1 - (1 - 1/g)^fan). Both links work side by side: the slower decides. In a torus of side s
    every copy takes s / 4 hops on average along each axis that the group spans, so it uses that many links.
    Reference: DeepSeek-V3 (arXiv:2412.19437, section 3.2.2), DeepEP.
    """
    ranks = group.inside * group.parts
    parts = group.parts
    direct = fan * (parts - 1) / parts
    copies = np.where(relayed > 0, np.minimum((parts - 1) * _chosen(fan, parts), direct), direct)
    alone = fan * (group.inside - 1) / ranks
    once = parts * (group.inside - 1) * _chosen(fan, ranks)
    inner = moved * np.where(relayed > 0, once, alone) / group.bandwidth * _hops(group, fabric)
    outer = moved * copies / fabric.outer_bandwidth
    timing = _timed(np.maximum(inner, outer), group, fabric, 1.0, 1.0, moved)
    busy = ((moved > 0) & (ranks > 1)) * 1.0
    return Timing(timing.total + busy * fixed, 0.0, 0.0, 0.0, timing.link, timing.fixed + busy * fixed)


def _chosen(fan: Value, places: Value) -> Value:
    """Share of `places` that at least one of `fan` random choices hits: 1 - (1 - 1/places)^fan."""
    return -np.expm1(fan * np.log1p(-1 / np.maximum(places, 1 + np.finfo(float).eps)))


def _hops(group: Group, fabric: Fabric) -> Value:
    """Links that one copy of an all-to-all occupies: 1 behind a switch; in a torus a quarter of each axis it spans."""
    if not fabric.axes:
        return 1.0
    side = fabric.inner_size ** (1 / fabric.axes)
    spans = np.clip(np.ceil(np.log(group.inside) / np.log(side)), 1, fabric.axes)
    return np.maximum(spans * np.where(spans > 1, side, group.inside) / 4, 1.0)


def send_time(moved: Value, inside: Value, fabric: Fabric) -> Timing:
    """Point to point: t = alpha + V / B on the inner link where `inside` is true, else on the outer one."""
    latency = fabric.launch + np.where(inside, fabric.inner_latency, fabric.outer_latency)
    link = moved / np.where(inside, fabric.inner_bandwidth, fabric.outer_bandwidth)
    busy = (moved > 0) * 1.0
    return Timing(busy * (latency + link), 0.0, 0.0, 0.0, link, busy * latency)


def _timed(
    link: Value, group: Group, fabric: Fabric, inner_exchanges: float, outer_exchanges: float, moved: Value
) -> Timing:
    inner = np.where(group.inside > 1, inner_exchanges * fabric.inner_latency, 0.0)
    outer = np.where(group.parts > 1, outer_exchanges * fabric.outer_latency, 0.0)
    alone = (group.inside <= 1) & (group.parts <= 1)
    fixed = np.where((moved > 0) & ~alone, fabric.launch + inner + outer, 0.0)
    return Timing(fixed + link, 0.0, 0.0, 0.0, link, fixed)
