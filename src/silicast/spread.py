"""Estimates the fields that a chip's file lacks, from the ratio of that field to a known one over other chips.

A field is drawn from the spread of `field / reference` over the chips that have both: siblings of the generation where
at least two have it, then the vendor, then the kind (datacentre or workstation), then all. The value is the median
of the ratios times the chip's own reference, low and high are their 10th and 90th percentile. A dtype that a chip
lacks is lacking: no matrix peak is ever estimated.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import exp, hypot, log
from typing import Any

from pydantic import BaseModel

from silicast.hardware import Chip, Link, MemoryLevel, Number, Source

#: matrix modes whose sustained rate the laws use
MODES = ("bf16", "fp16", "fp8", "int8", "fp4")

#: the matrix peak to which other fields are related: the first of these that the chip has
REFERENCE_MODES = ("bf16", "fp16", "fp8", "int8", "fp4", "tf32", "fp32", "fp6", "fp64")

#: field -> references, best first; the last one, the matrix peak, is always known
REFERENCES: dict[str, tuple[str, ...]] = {
    "memory.hbm.bandwidth": ("matrix",),
    "memory.hbm.capacity": ("memory.hbm.bandwidth", "matrix"),
    "memory.l2.capacity": ("memory.hbm.bandwidth", "matrix"),
    "compute.vector.fp32": ("compute.vector.fp16", "matrix"),
    "compute.cores": ("matrix",),
    "links.scale_up.bandwidth": ("memory.hbm.bandwidth", "matrix"),
    "links.scale_out.bandwidth": ("memory.hbm.bandwidth", "matrix"),
    "power.package": ("matrix_per_package",),
}

#: fewest chips that make a spread
FEWEST = 2

LOW, MIDDLE, HIGH = 0.1, 0.5, 0.9

UNITS = {"capacity": "B", "bandwidth": "B/s", "fp32": "FLOP/s", "cores": "", "package": "W"}


@dataclass(frozen=True, slots=True)
class Member:
    """One chip of the sample with its numbers by dotted name."""

    chip: Chip
    numbers: dict[str, Number]


#: low, value, high
Range = tuple[float, float, float]

#: the ratios that one member contributes, none where it lacks a field
Ratios = Callable[[Member], list[float]]


def gaps(chip: Chip) -> list[str]:
    """The dotted names of the fields that the laws need and the chip lacks."""
    known = chip.numbers()
    fields = [field for field in REFERENCES if field not in known]
    modes = [mode for mode in MODES if mode in chip.compute.matrix and mode not in chip.compute.measured_gemm]
    return fields + [f"compute.measured_gemm.{mode}" for mode in modes]


def completed(chip: Chip, others: Sequence[Chip]) -> Chip:
    """The chip with its gaps filled from `others`; `missing` names every estimated field."""
    sample = [Member(other, other.numbers()) for other in others if other.id != chip.id and _exists(other)]
    full = chip
    for field in gaps(chip):
        found = _estimate(field, chip, sample)
        if found is not None:
            full = _with(full, field.split("."), found)
    missing = [name for name, number in full.numbers().items() if number.estimated]
    return full.model_copy(update={"missing": tuple(missing)})


def _exists(chip: Chip) -> bool:
    """A plan is no sample: only chips that were built count."""
    return not chip.status.startswith(("announced", "planned"))


def _estimate(field: str, chip: Chip, sample: Sequence[Member]) -> Number | None:
    if field.startswith("compute.measured_gemm."):
        return _sustained(field.rpartition(".")[2], chip, sample)
    itself = Member(chip, chip.numbers())
    name, own = next((name, own) for name in REFERENCES[field] if (own := _reference(itself, name, chip)))
    for group, members in _groups(chip, sample):
        drawn = _drawn(own, _ratio(field, name, chip), members)
        if drawn is not None:
            unit = UNITS[field.rpartition(".")[2]]
            return _number(drawn if unit else drawn.counted(), unit, f"ratio to {name}", group)
    return None


def _sustained(mode: str, chip: Chip, sample: Sequence[Member]) -> Number | None:
    """The best measured GEMM of a mode: its share of the peak; over all modes (the chip's own too) where it is rare."""
    peak = _range(chip.compute.matrix[mode])
    for group, members in _groups(chip, [*sample, Member(chip, {})]):
        for modes, what in (((mode,), f"share of the {mode} peak"), (MODES, "share of the peak of any mode")):
            drawn = _drawn(peak, _shares(modes), members)
            if drawn is not None:
                return _number(drawn, "FLOP/s", what, group)
    return None


def _shares(modes: Sequence[str]) -> Ratios:
    def ratios(member: Member) -> list[float]:
        measured, peak = member.chip.compute.measured_gemm, member.chip.compute.matrix
        return [measured[mode].value / peak[mode].value for mode in modes if mode in measured and mode in peak]

    return ratios


def _ratio(field: str, reference: str, chip: Chip) -> Ratios:
    def ratios(member: Member) -> list[float]:
        number, base = member.numbers.get(field), _reference(member, reference, chip)
        return [number.value / base[1]] if number and base else []

    return ratios


def _reference(member: Member, name: str, chip: Chip) -> Range | None:
    """The reference field of a member; the matrix peak in the mode that `chip` has."""
    if not name.startswith("matrix"):
        number = member.numbers.get(name)
        return _range(number) if number else None
    mode = next(mode for mode in REFERENCE_MODES if mode in chip.compute.matrix)
    peak = _peak(member.chip, mode)
    return _range(peak, member.chip.packages_of if name == "matrix_per_package" else 1) if peak else None


def _range(number: Number, times: float = 1.0) -> Range:
    return number.low * times, number.value * times, number.high * times


def _peak(chip: Chip, mode: str) -> Number | None:
    """The matrix peak that tells how large a chip is: a narrow mode slower than 16 bit (INT8 of B300) does not."""
    matrix = chip.compute.matrix
    half = matrix.get("bf16") or matrix.get("fp16")
    peak = half if mode in ("bf16", "fp16") else matrix.get(mode)
    if peak is None:
        return None
    vestigial = half is not None and mode in ("fp8", "int8", "fp4", "fp6") and peak.value < half.value
    return None if vestigial else peak


@dataclass(frozen=True, slots=True)
class _Drawn:
    low: float
    value: float
    high: float
    ids: tuple[str, ...]

    def counted(self) -> "_Drawn":
        """As whole things, of which there is at least one: half a core does not exist."""
        low, value, high = (float(max(round(end), 1)) for end in (self.low, self.value, self.high))
        return _Drawn(low, value, high, self.ids)


def _drawn(own: Range, ratios: Ratios, members: Sequence[Member]) -> _Drawn | None:
    """`own` times the spread of the ratios, both ranges combined; None where too few members have them."""
    found = {member.chip.id: known for member in members if (known := ratios(member))}
    if len(found) < FEWEST:
        return None
    values = [ratio for known in found.values() for ratio in known]
    low, value, high = (quantile(values, share) for share in (LOW, MIDDLE, HIGH))
    return _Drawn(
        low=own[1] * value / _both(own[1] / own[0], value / low),
        value=own[1] * value,
        high=own[1] * value * _both(own[2] / own[1], high / value),
        ids=tuple(sorted(found)),
    )


def _both(first: float, second: float) -> float:
    """Two independent spreads as one factor: their logarithms add in quadrature."""
    return exp(hypot(log(first), log(second)))


def _number(drawn: _Drawn, unit: str, what: str, group: str) -> Number:
    return Number(
        value=drawn.value,
        low=drawn.low,
        high=drawn.high,
        unit=unit,
        basis=("assumed",),
        source=Source(title=f"spread over {len(drawn.ids)} known chips: {', '.join(drawn.ids)}"),
        confidence="assumption",
        note=f"{what}, median and 10th to 90th percentile over chips of {group}",
        estimated=True,
    )


def _groups(chip: Chip, sample: Sequence[Member]) -> Iterator[tuple[str, list[Member]]]:
    for kin in ("generation", "vendor", "kind"):
        yield f"{kin} {getattr(chip, kin)}", [m for m in sample if getattr(m.chip, kin) == getattr(chip, kin)]
    yield "any kind", list(sample)


def quantile(values: Sequence[float], share: float) -> float:
    """The quantile of a few values, linear between the ordered ones."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _with(noun: Any, path: Sequence[str], number: Number) -> Any:
    """A copy of a frozen noun (or of one of its tables) in which the dotted field is `number`."""
    head, rest = path[0], path[1:]
    if isinstance(noun, BaseModel):
        return noun.model_copy(update={head: _with(getattr(noun, head), rest, number) if rest else number})
    if not rest:
        return {**noun, head: number}
    inner = noun.get(head) or (Link() if rest == ["bandwidth"] else MemoryLevel())
    return {**noun, head: _with(inner, rest, number)}
