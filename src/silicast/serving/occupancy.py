"""What replicas held: running and waiting requests and blocks of the cache, as means over time and peaks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.serving.measures import Summary
from silicast.serving.outcome import Timeline

Array = NDArray[Any]

#: column of the timeline -> name in the measures
HELD = {"running": "running", "waiting": "waiting", "kv_blocks": "kv_blocks"}


def spans(timeline: Timeline, replica: int, column: str, end: float) -> tuple[Array, Array, Array]:
    """From when to when (s) a column of one replica has which value; none overlaps the next.

    Requests are there until their step ends, or the next one begins; the cache holds its blocks until the next step,
    or the `end` of the run.
    """
    own = timeline.replica == replica
    starts, values = timeline.start[own], np.asarray(getattr(timeline, column)[own], dtype=float)
    following = np.append(starts[1:], max(end, float(np.max(starts, initial=0.0))))[: starts.size]
    return starts, following if column == "kv_blocks" else np.minimum(following, timeline.end[own]), values


def occupancy(timeline: Timeline, replicas: Array, end: float) -> Summary:
    """Mean and peak of each column over the run of `end` s: per replica, the mean over `replicas`, the largest peak."""
    found: Summary = {}
    for column, name in HELD.items():
        held = [spans(timeline, replica, column, end) for replica in replicas.tolist()]
        sums = [float(np.sum((stops - starts) * values)) for starts, stops, values in held]
        found[f"mean_{name}"] = float(np.mean(sums)) / end if end > 0 and sums else None
        found[f"max_{name}"] = max((float(np.max(values, initial=0.0)) for _, _, values in held), default=None)
    return found
