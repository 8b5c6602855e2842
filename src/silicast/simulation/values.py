"""Values as scenario files write them: whole and real numbers, times, bytes and bandwidths with their unit, latency
targets."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from silicast.errors import InputError
from silicast.units import duration_ms, quantity


def _seconds(value: Any) -> float:
    if not isinstance(value, str):
        raise InputError('write a time as text with its unit, such as "30 s" or "10 min"')
    number, unit = quantity(value)
    if unit != "s":
        raise InputError(f'\'{value[:40]}\' is not a time; write it with its unit, such as "30 s" or "10 min"')
    return number


def _in_unit(value: Any, unit: str, example: str) -> float:
    number, found = quantity(value) if isinstance(value, str) else (0.0, "")
    if found != unit:
        raise InputError(f"'{str(value)[:40]}' is not in {unit}; write text with its unit, such as \"{example}\"")
    return number


def _milliseconds(value: Any) -> float:
    return duration_ms(value if isinstance(value, str) else f"{value}")


Whole = Annotated[int, Field(strict=True)]
Real = Annotated[float, Field(strict=True)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
Bytes = Annotated[float, BeforeValidator(lambda value: _in_unit(value, "B", "1 TB"))]
BytesPerSecond = Annotated[float, BeforeValidator(lambda value: _in_unit(value, "B/s", "50 GB/s"))]
Milliseconds = Annotated[float, BeforeValidator(_milliseconds)]
