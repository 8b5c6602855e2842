"""Units at the border, SI inside. `quantity("80 GiB")` is `(85899345920.0, "B")`.

Decimal and binary prefixes differ by 7 % at giga: a file must say GB or GiB.
"""

import re

from silicast.errors import NotFoundError, not_found

KIBI = 1024.0

#: unit -> (factor to SI, SI unit). FLOP/s and OP/s are one dimension: multiply-adds count twice.
UNITS: dict[str, tuple[float, str]] = {
    "": (1.0, ""),
    "count": (1.0, ""),
    "%": (0.01, ""),
    "s": (1.0, "s"),
    "ms": (1e-3, "s"),
    "us": (1e-6, "s"),
    "ns": (1e-9, "s"),
    "min": (60.0, "s"),
    "h": (3600.0, "s"),
    "Hz": (1.0, "Hz"),
    "MHz": (1e6, "Hz"),
    "GHz": (1e9, "Hz"),
    "B": (1.0, "B"),
    "kB": (1e3, "B"),
    "MB": (1e6, "B"),
    "GB": (1e9, "B"),
    "TB": (1e12, "B"),
    "KiB": (KIBI, "B"),
    "MiB": (KIBI**2, "B"),
    "GiB": (KIBI**3, "B"),
    "TiB": (KIBI**4, "B"),
    "B/s": (1.0, "B/s"),
    "MB/s": (1e6, "B/s"),
    "GB/s": (1e9, "B/s"),
    "TB/s": (1e12, "B/s"),
    "Gb/s": (1e9 / 8, "B/s"),
    "FLOPS": (1.0, "FLOP/s"),
    "GFLOPS": (1e9, "FLOP/s"),
    "TFLOPS": (1e12, "FLOP/s"),
    "PFLOPS": (1e15, "FLOP/s"),
    "TOPS": (1e12, "FLOP/s"),
    "W": (1.0, "W"),
    "kW": (1e3, "W"),
    "MW": (1e6, "W"),
    "mm2": (1.0, "mm2"),
    "nm": (1.0, "nm"),
    "USD": (1.0, "USD"),
    "USD/h": (1.0, "USD/h"),
}

_NUMBER = re.compile(r"^\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S*)\s*$")


def quantity(text: str) -> tuple[float, str]:
    """A number with a unit in SI. Raises NotFoundError naming the nearest unit."""
    match = _NUMBER.match(text)
    if not match:
        raise NotFoundError(f"'{text[:60]}' is not a number with a unit, such as '80 GiB' or '3.35 TB/s'.")
    number, unit = match.groups()
    if unit not in UNITS:
        raise not_found(
            "Unit", unit, [u for u in UNITS if u], f"It was read from '{text[:60]}'. Units are case-sensitive."
        )
    factor, si = UNITS[unit]
    return float(number) * factor, si


def duration_ms(text: str) -> float:
    """A latency option: `2s`, `50ms`, or a bare number in ms -> ms. Must be positive and finite."""
    match = _NUMBER.match(text)
    if not match or match.group(2) not in ("", "s", "ms", "us", "min"):
        raise NotFoundError(f"'{text[:60]}' is not a duration. Write 2s, 50ms, or a bare number in ms.")
    factor, _ = UNITS[match.group(2) or "ms"]
    milliseconds = float(match.group(1)) * factor * 1e3
    if not 0 < milliseconds < float("inf"):
        raise NotFoundError(f"A duration must be positive, got '{text[:60]}'.")
    return milliseconds
