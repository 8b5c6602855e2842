"""How a value in SI is written for people: the prefix the field uses, four significant digits."""

import math

from silicast.estimate import Estimate
from silicast.hardware import Number
from silicast.scenario import Workload

#: SI unit -> (factor, name) from large to small; the first one that leaves at least 1 is used
_SCALES: dict[str, tuple[tuple[float, str], ...]] = {
    "B": ((1024.0**4, "TiB"), (1024.0**3, "GiB"), (1024.0**2, "MiB"), (1024.0, "KiB"), (1.0, "B")),
    "B/s": ((1e12, "TB/s"), (1e9, "GB/s"), (1e6, "MB/s"), (1.0, "B/s")),
    "FLOP/s": ((1e15, "PFLOPS"), (1e12, "TFLOPS"), (1e9, "GFLOPS"), (1.0, "FLOPS")),
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")),
    "Hz": ((1e9, "GHz"), (1e6, "MHz"), (1.0, "Hz")),
    "W": ((1e3, "kW"), (1.0, "W")),
}

#: a device is compared in TFLOPS and its package in W, however large they are
_LARGEST = {"FLOP/s": 1e12, "W": 1.0, "B": 1024.0**3}

DIGITS = 4


def shown(value: float, unit: str) -> str:
    """`shown(3.35e12, "B/s")` is `3.35 TB/s`; capacities are binary, rates decimal."""
    factor, name = scale(value, unit)
    return f"{digits(value / factor)} {name}".strip()


def scale(value: float, unit: str) -> tuple[float, str]:
    """The factor and name of the unit in which a value is shown."""
    known = [(factor, name) for factor, name in _SCALES.get(unit, ()) if factor <= _LARGEST.get(unit, factor)]
    fitting = [step for step in known if abs(value) >= step[0]]
    return (fitting or known[-1:] or [(1.0, unit)])[0]


def digits(value: float) -> str:
    """Four significant digits without trailing zeros; whole numbers whole up to a million, then as 53e9."""
    if abs(value) >= 1e6:
        mantissa, exponent = value, 0
        while abs(mantissa) >= 1e3:
            mantissa, exponent = mantissa / 1e3, exponent + 3
        return f"{mantissa:.{DIGITS}g}e{exponent}"
    if abs(value) >= 10**DIGITS:
        return f"{value:.0f}"
    return f"{value:.{DIGITS}g}"


def shown_range(number: Number) -> str:
    """`353.9 to 363.7` in the unit of the value as `shown`, empty where the number has no range."""
    if number.low == number.high:
        return ""
    factor, _ = scale(number.value, number.unit)
    return f"{digits(number.low / factor)} to {digits(number.high / factor)}"


def rounded(value: float, figures: int = 3) -> str:
    """A forecast rounded to what is known: `figures` significant digits, thousands separated, no exponent."""
    if value == 0 or value != value:
        return f"{value:g}"
    magnitude = math.floor(math.log10(abs(value)))
    decimals = figures - 1 - magnitude
    text = f"{round(value, decimals):,.{max(decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text and abs(value) >= 10 else text


def compact(value: float) -> str:
    """Two significant digits, which is what a forecast of this kind knows; thousands as `3.4k`."""
    if abs(value) < 1000:
        return rounded(value, 2)
    thousands = rounded(value / 1000, 2)
    return f"{thousands}k" if abs(value) < 1e6 else f"{rounded(value / 1e6, 2)}M"


def hardware(devices: int, packages: int) -> str:
    """`16 devices = 8 packages`."""
    return f"{counted(devices, 'device')} = {counted(packages, 'package')}"


def counted(count: int, what: str) -> str:
    """`1 device`, `16 devices`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def lengths(workload: Workload) -> str:
    """`4,096 input and 1,024 output tokens`."""
    return f"{workload.input_tokens:,} input and {counted(int(workload.output_tokens), 'output token')}"


def spread(estimate: Estimate, per: float = 1.0) -> str:
    """`0.62 (0.45-0.86)`: the forecast and its 80 % range, `per` times its unit."""
    value, low, high = (compact(number * per) for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low}-{high})"
