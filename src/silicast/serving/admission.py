"""Time in front of a pool that is full: requests of a closed loop beyond its memory, arrivals beyond its capacity."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.scenario import Size

Array = NDArray[Any]


def closed_wait(wanted: Size, running: Size, requests: Size | None, rate: Any) -> Any:
    """Mean seconds that a request of a closed loop of C waits because only R = `running` of them fit at a time.

    (C - R) / X by Little's law (1961), once the loop turns; (C - R)^2 / (2 C X) for the C that start together, of
    which a run of N `requests` has the share min(C / N, 1). `rate` X in requests/s; shapes broadcast.
    """
    outside = np.maximum(np.asarray(wanted, dtype=float) - running, 0)
    first = 0.0 if requests is None else np.minimum(np.asarray(wanted, dtype=float) / requests, 1.0)
    ahead = first * outside**2 / (2 * np.asarray(wanted, dtype=float)) + (1 - first) * outside
    return ahead / rate


def overload_wait(arriving: Size, requests: Size | None, rate: Any) -> Any:
    """Mean seconds that a request waits where r = `arriving` requests/s exceed the X = `rate` that are served.

    N / 2 (1 / X - 1 / r): the k-th of N requests waits for the k (1 / X - 1 / r) that the queue has grown until then.
    Without end (N = None) the queue has no bound: infinite.
    """
    late = np.maximum(1 / np.asarray(rate, dtype=float) - 1 / np.asarray(arriving, dtype=float), 0)
    if requests is None:
        return np.where(late > 0, np.inf, 0.0)
    return late * np.asarray(requests, dtype=float) / 2
