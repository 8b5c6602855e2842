"""Coefficients of a chip without rows, from its siblings: same generation, then vendor, then all vendors alike."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from silicast.evidence.calibrate.chips import ALL, Chip
from silicast.evidence.calibrate.device import Device, device, mode_of

#: range of a coefficient that one sibling only knows: a quarter either way
ALONE = 1.25
#: from so many siblings on, the 10th and 90th percentile of their values is the range
FEW = 4
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


def pooled(target: Device, chips: Mapping[str, Chip], stated: Mapping[str, Mapping[str, Number]]) -> dict[str, Number]:
    """Every coefficient that siblings of `target` know (fitted, else `stated` by a source) and that fits it."""
    names = sorted({*chips, *stated} - {target.id})
    measured = {name: own(chip) for name, chip in chips.items()}
    fitted = {name: {**stated.get(name, {}), **measured.get(name, {})} for name in names}
    known = {name: chips[name].device if name in chips else device(name) for name in names}
    keys = sorted({key for table in fitted.values() for key in table})
    found: dict[str, Number] = {}
    for key in keys:
        siblings = [chip_id for chip_id, table in fitted.items() if key in table]
        # what a source states of one chip is no measurement that other vendors' chips could share
        siblings = [name for name in siblings if key in measured.get(name, {}) or known[name].vendor == target.vendor]
        near = _nearest(target, [known[chip_id] for chip_id in siblings], key)
        if near and _fits(target, key):
            found[key] = _combined(target, key, [(one, fitted[one.id][key]) for one in near])
    return found


def _nearest(target: Device, siblings: list[Device], key: str) -> list[Device]:
    """Siblings of the same generation, else of the vendor, else all; links are never lent across vendors."""
    for field in ("generation", "vendor"):
        same = [one for one in siblings if getattr(one, field) == getattr(target, field)]
        if same:
            return same
    return [] if key.startswith("collective.") else siblings


def _fits(target: Device, key: str) -> bool:
    parts = key.split(".")
    if parts[0] not in ("gemm", "grouped_gemm") or len(parts) < 3:
        return True
    return mode_of(parts[1]) in target.peaks


def _combined(target: Device, key: str, siblings: list[tuple[Device, Number]]) -> Number:
    """The median of the siblings; the range is that of their values, or of their ranges where they are few."""
    scaled = [(number, _scale(target, one, key)) for one, number in siblings]
    values = np.array([number.value * scale for number, scale in scaled])
    value = float(np.exp(np.median(np.log(values))))
    if len(scaled) < FEW:
        ends = [number.low * scale for number, scale in scaled], [number.high * scale for number, scale in scaled]
        reach = ALONE if len(scaled) == 1 else AT_LEAST
    else:
        ends = [float(np.quantile(values, 0.1))], [float(np.quantile(values, 0.9))]
        reach = AT_LEAST
    low, high = min(value / reach, *ends[0]), max(value * reach, *ends[1])
    names = ", ".join(one.id for one, _ in siblings)
    if "efficiency" in key.rpartition(".")[2] or key.endswith(("rounding", "share")):
        value, low, high = min(value, 1.0), min(low, 1.0), min(high, 1.0)
    return Number(value, low, high, siblings[0][1].unit, "pooled", "low", f"from {names}")


def _scale(target: Device, sibling: Device, key: str) -> float:
    """Across generations a share of the peak moves with the share that the best GEMM reaches."""
    if not key.endswith("_of_peak") or target.generation == sibling.generation:
        return 1.0
    parts = key.split(".")
    mode = mode_of(parts[1]) if parts[0] in ("gemm", "grouped_gemm") else "bf16"
    if mode not in target.sustained or mode not in sibling.sustained:
        return 1.0
    return target.sustained[mode] / sibling.sustained[mode]
