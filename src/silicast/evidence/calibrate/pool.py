"""Coefficients of a chip without rows, from its siblings: same generation, then vendor, then all vendors alike."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from silicast.evidence.calibrate.chips import ALL, Chip
from silicast.evidence.calibrate.device import Device, mode_of

#: range of a coefficient that one sibling only knows: a quarter either way
ALONE = 1.25
#: of several siblings the range also reaches this far beyond the nearest: they share stacks and layouts
AT_LEAST = 1.1


@dataclass(frozen=True, slots=True)
class Number:
    """One coefficient as it is written."""

    value: float
    low: float
    high: float
    unit: str = ""
    source: str = ""
    confidence: str = "medium"
    note: str = ""


def own(chip: Chip, stack: str = ALL) -> dict[str, Number]:
    """The fitted coefficients of a chip by dotted name."""
    found: dict[str, Number] = {}
    for one in chip.of(stack):
        for name, unit in one.found.units.items():
            key = one.kind.key(one.kernel, name)
            ends = one.found.low[name], one.found.high[name]
            found[key] = Number(one.found.values[name], *ends, unit, "+".join(one.found.sources))
    return found


def pooled(target: Device, chips: Mapping[str, Chip]) -> dict[str, Number]:
    """Every coefficient that siblings of `target` know and that makes sense on it."""
    fitted = {chip_id: own(chip) for chip_id, chip in sorted(chips.items()) if chip_id != target.id}
    keys = sorted({key for table in fitted.values() for key in table})
    found: dict[str, Number] = {}
    for key in keys:
        siblings = [chip_id for chip_id, table in fitted.items() if key in table]
        near = _nearest(target, [chips[chip_id].device for chip_id in siblings], key)
        if near and _fits(target, key):
            found[key] = _combined(target, key, [(device, fitted[device.id][key]) for device in near])
    return found


def _nearest(target: Device, siblings: list[Device], key: str) -> list[Device]:
    """Siblings of the same generation, else of the vendor, else all, unless the key is of a format of one vendor."""
    for field in ("generation", "vendor"):
        same = [one for one in siblings if getattr(one, field) == getattr(target, field)]
        if same:
            return same
    del key
    return siblings


def _fits(target: Device, key: str) -> bool:
    parts = key.split(".")
    if parts[0] not in ("gemm", "grouped_gemm") or len(parts) < 3:
        return True
    return mode_of(parts[1]) in target.peaks


def _combined(target: Device, key: str, siblings: list[tuple[Device, Number]]) -> Number:
    """The geometric mean over vendors of that over their chips; the range is that of all siblings."""
    scaled = [(device.vendor, number, _scale(target, device, key)) for device, number in siblings]
    vendors = sorted({vendor for vendor, _, _ in scaled})
    each = [np.mean([np.log(n.value * s) for v, n, s in scaled if v == vendor]) for vendor in vendors]
    value = float(np.exp(np.mean(each)))
    reach = ALONE if len(scaled) == 1 else AT_LEAST
    low = min(value / reach, *(n.low * s for _, n, s in scaled))
    high = max(value * reach, *(n.high * s for _, n, s in scaled))
    first = siblings[0][1]
    names = ", ".join(device.id for device, _ in siblings)
    if "efficiency" in key.rpartition(".")[2] or key.endswith(("rounding", "share")):
        value, low, high = min(value, 1.0), min(low, 1.0), min(high, 1.0)
    return Number(value, low, high, first.unit, "pooled", "low", f"from {names}")


def _scale(target: Device, sibling: Device, key: str) -> float:
    """Across generations a share of the peak moves with the share that the best GEMM reaches."""
    if not key.endswith("_of_peak") or target.generation == sibling.generation:
        return 1.0
    parts = key.split(".")
    mode = mode_of(parts[1]) if parts[0] in ("gemm", "grouped_gemm") else "bf16"
    if mode not in target.sustained or mode not in sibling.sustained:
        return 1.0
    return target.sustained[mode] / sibling.sustained[mode]


def spread(numbers: Iterable[Number]) -> float:
    """Median ratio of high to low."""
    return float(np.median([number.high / number.low for number in numbers]))
