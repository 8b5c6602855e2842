"""The columns of a part, with their units in their names: a row per deployment, and one per layout that does not fit.

A deployment is one unit of the planner: a replica of a mixed pool, or a group of prefill and decode replicas. A fleet
is a number of equal ones: tokens/s per device and USD per million tokens are the same for all of them.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from silicast.planning.deployments import Deployments
from silicast.planning.units import Space
from silicast.scenario import Layout, Workload

Array = NDArray[Any]
Kind = Literal["text", "whole", "real", "yes_no"]

SIZES = ("tp", "pp", "ep", "attention_dp")
#: what the planner gives as a range, from the 10th to the 90th percentile of the draws
RANGED = ("ttft_ms", "tpot_ms", "output_tokens_per_s_per_device", "usd_per_million_output_tokens")

#: name -> kind, in order; what does not apply or is not known is null. tp to attention_dp are of the pool that decodes,
#: `split` says whether another one prefills
COLUMNS: dict[str, Kind] = {
    "model": "text", "chip": "text", "system": "text", "stack": "text",
    "weights": "text", "activations": "text", "kv_cache": "text",
    "mtp_tokens": "whole", "microbatches": "whole", "prefill_microbatches": "whole",
    "workload": "text", "input_tokens": "whole", "output_tokens": "whole", "prefix_hit": "real",
    "fit": "yes_no", "reason": "text", "split": "yes_no",
    **dict.fromkeys(SIZES, "whole"), "replicas": "whole",
    **{f"prefill_{size}": "whole" for size in SIZES}, "prefill_replicas": "whole",
    "devices": "whole", "packages": "whole",
    "sequences_per_rank": "whole", "most_sequences_per_rank": "whole", "concurrency": "real",
    "ttft_ms": "real", "tpot_ms": "real", "e2e_ms": "real", "requests_per_s": "real",
    "output_tokens_per_s": "real", "output_tokens_per_s_per_device": "real",
    "usd_per_hour": "real", "usd_per_million_output_tokens": "real", "usd_per_million_total_tokens": "real",
    "power_w": "real",
    **{f"{name}_{end}": "real" for name in RANGED for end in ("low", "high")},
}  # fmt: skip

MS = 1e3
#: seconds of an hour over a million tokens
PER_MILLION = 1e6 / 3600.0


def deployed(space: Space, found: Deployments, ranges: Mapping[str, Array], rows: slice, work: Workload) -> Any:
    """Columns of some rows of `found`; a whole number of -1 and a NaN are null."""
    part = found.pick(rows)
    units, usd = part.units, part.usd_per_hour * PER_MILLION
    two = units.prefill >= 0
    return {
        "microbatches": _microbatches(space)[units.decode],
        "prefill_microbatches": np.where(two, _microbatches(space)[units.prefill], -1),
        "fit": np.ones(len(part), dtype=bool),
        "split": two,
        **_sizes(space, units.decode, units.decode_row, ""),
        "replicas": units.decode_replicas,
        **_sizes(space, units.prefill, units.prefill_row, "prefill_"),
        "prefill_replicas": np.where(two, units.prefill_replicas, -1),
        "devices": part.devices,
        "packages": part.packages,
        "sequences_per_rank": units.sequences,
        "most_sequences_per_rank": _looked_up(_most(space, work), units.decode, units.decode_row),
        "concurrency": part.requests * units.e2e,
        "ttft_ms": part.ttft * MS,
        "tpot_ms": part.tpot * MS,
        "e2e_ms": units.e2e * MS,
        "requests_per_s": part.requests,
        "output_tokens_per_s": part.output,
        "output_tokens_per_s_per_device": part.per_device,
        "usd_per_hour": part.usd_per_hour,
        "usd_per_million_output_tokens": usd / part.output,
        "usd_per_million_total_tokens": usd / part.total,
        "power_w": part.watts,
        **{name: values[rows] for name, values in ranges.items()},
    }


def unfit(layout: Layout, microbatches: int | None) -> Any:
    """Columns of layouts that hold no request."""
    many = np.size(layout.tp)
    return {
        "fit": np.zeros(many, dtype=bool),
        "split": np.zeros(many, dtype=bool),
        "microbatches": np.full(many, microbatches or -1),
        **{size: np.asarray(getattr(layout, size)) for size in SIZES},
        "replicas": np.ones(many),
        "devices": np.asarray(layout.devices),
        "most_sequences_per_rank": np.zeros(many),
    }


def _microbatches(space: Space) -> Array:
    return np.array([one.pool.microbatches or -1 for one in space.variants])


def _sizes(space: Space, places: Array, rows: Array, prefix: str) -> dict[str, Array]:
    tables = [None if layout is None else np.stack([np.asarray(getattr(layout, size)) for size in SIZES])
              for layout in space.layouts]  # fmt: skip
    return {
        prefix + size: _looked_up([table if table is None else table[row] for table in tables], places, rows)
        for row, size in enumerate(SIZES)
    }


def _most(space: Space, work: Workload) -> list[Array | None]:
    """Sequences per rank that fit each layout of each variant."""
    return [
        None if layout is None else one.pool.most_sequences(layout, work)
        for one, layout in zip(space.variants, space.layouts, strict=True)
    ]


def _looked_up(tables: list[Array | None], places: Array, rows: Array) -> Array:
    """`tables[place][row]` of every entry, -1 where the place is none."""
    found = np.full(places.shape, -1.0)
    for place, table in enumerate(tables):
        own = places == place
        if table is not None and own.any():
            found[own] = table[rows[own]]
    return found
