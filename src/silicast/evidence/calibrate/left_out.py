"""How well siblings stand for a chip: its rows against coefficients that were fitted without any of them."""

from collections.abc import Mapping

import numpy as np

from silicast.evidence.calibrate.chips import Chip
from silicast.evidence.calibrate.device import device
from silicast.evidence.calibrate.fit import MICRO
from silicast.evidence.calibrate.plan import HELD, jobs, merged
from silicast.evidence.calibrate.pool import Number, pooled
from silicast.evidence.calibrate.predict import Values
from silicast.evidence.ingest.operators import Array, Operators


def errors(
    chip_id: str, table: Operators, chips: Mapping[str, Chip], stated: Mapping[str, Mapping[str, Number]]
) -> dict[str, Array]:
    """Log errors by law and kernel of the rows of one chip under the coefficients that its siblings lend it."""
    target = device(chip_id)
    others = {name: chip for name, chip in chips.items() if name != chip_id}
    lent = pooled(target, others, {name: table for name, table in stated.items() if name != chip_id})
    found: dict[str, Array] = {}
    for kind, kernel, rows in jobs(table):
        values = _values(kind.law, kernel, lent)
        if any(one.kept and one.name not in values for one in kind.coefficients if one.name != "outer_efficiency"):
            continue
        rows = merged(rows)
        seconds = kind.predict(rows, kernel, values, target)
        found[f"{kind.law}.{kernel}"] = np.log(seconds) - np.log(rows["latency_us"] * MICRO)
    return found


def _values(law: str, kernel: str, lent: Mapping[str, Number]) -> Values:
    prefix = f"{law}.{kernel}."
    own = {key.removeprefix(prefix): number.value for key, number in lent.items() if key.startswith(prefix)}
    vector = {key: number.value for key, number in lent.items() if key.startswith("vector.")}
    return {**HELD, **vector, **own}
