"""Which experts are hit, and how full the busiest rank is: a step lasts as long as its slowest rank."""

from dataclasses import dataclass

import numpy as np

from silicast.laws.gemm import experts_hit
from silicast.laws.timing import Value

#: expected maximum of 1, 2, 4, 8 ... 1024 standard normal variables (Harter 1961, order statistics)
EXPECTED_MAXIMUM = (0.0, 0.564, 1.029, 1.424, 1.766, 2.070, 2.343, 2.594, 2.826, 3.041, 3.245)


@dataclass(slots=True)
class Routing:
    """How tokens meet experts.

    imbalance  lasting skew: mean rows of the busiest rank over the mean of all, beyond chance
    spread     skewed routing hits as many distinct experts as this share of the tokens would with even routing
    chance     1 where tokens choose at random, 0 where the load is forced even
    """

    imbalance: Value
    spread: Value
    chance: float = 1.0


def busiest_rank(tokens: Value, topk: Value, ep: Value, local: Value, routing: Routing) -> tuple[Value, Value]:
    """(rows, experts hit) of the fullest of `ep` ranks, each with `local` experts.

    rows = max(imbalance mu + c sqrt(mu), 1), mu = tokens topk / ep, at most tokens min(topk, local);
    hit = min(h + c sqrt(h (1 - h / local)), local), h the expected hits of any one rank. Rows are nearly Poisson and
    hits binomial; c is the expected maximum of ep standard normals (0 for one rank). At least one expert is hit.
    Reference: Harter 1961, Expected values of normal order statistics, Biometrika 48.
    """
    doublings = np.log2(np.maximum(ep, 1))
    worst = routing.chance * np.interp(doublings, np.arange(len(EXPECTED_MAXIMUM)), EXPECTED_MAXIMUM)
    mean = tokens * topk / ep
    skewed = np.where(ep > 1, routing.imbalance, 1.0) * mean
    least = np.minimum(tokens * topk, 1)
    rows = np.clip(skewed + worst * np.sqrt(mean), least, tokens * np.minimum(topk, local))
    each = experts_hit(tokens, topk, local * ep, local, routing.spread)
    hit = each + worst * np.sqrt(np.maximum(each * (1 - each / local), 0))
    return rows, np.clip(hit, np.minimum(least, local), local)
