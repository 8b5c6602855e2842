"""Points that no other point beats."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def front(benefit: Array, cost: Array) -> NDArray[np.int_]:
    """Rows of which no other has as much benefit at less cost, or more at the same; by falling benefit.

    Sorted by benefit, a row is on the front if it is cheaper than all before it. Rows that are not finite are left out.
    """
    known = np.flatnonzero(np.isfinite(benefit) & np.isfinite(cost))
    order = known[np.lexsort((cost[known], -benefit[known]))]
    before = np.concatenate([[np.inf], np.minimum.accumulate(cost[order])[:-1]]) if order.size else np.zeros(0)
    return order[cost[order] < before]
