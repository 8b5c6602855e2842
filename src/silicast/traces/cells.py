"""Cells of a column as numbers: times, tokens, labels. A cell that is none is named with its file, line and column."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import TraceError
from silicast.scenario import MOST_TOKENS
from silicast.traces.grid import Grid

Array = NDArray[Any]

#: the years that 64 bits of nanoseconds hold
YEARS = (b"1678", b"2262")
#: a thousand years in s: later is a slip of the unit
MOST_SECONDS = 3.2e10
INT64 = np.iinfo(np.int64)

#: numbers of so many digits are exact in a double
EXACT_DIGITS = 15
DOT, ZERO = ord("."), ord("0")


def seconds(grid: Grid, place: int, name: str, unit: float) -> Array:
    """Times in s, not negative; `unit` is the number of seconds that the column counts in."""
    values = _floats(grid, place, name, "a time") * unit
    _require(grid, name, place, np.isfinite(values), "is not a finite time")
    _require(grid, name, place, values >= 0, "is negative; times start at 0")
    _require(grid, name, place, values <= MOST_SECONDS, "is too late a time; check the unit")
    return values


def tokens(grid: Grid, place: int, name: str, least: int = 1) -> Array:
    """Numbers of tokens, int64, from `least` to the most that a prompt may have."""
    values = whole(grid, place, name)
    range_text = f"is not a number of tokens from {least} to {MOST_TOKENS:,}"
    _require(grid, name, place, (values >= least) & (values <= MOST_TOKENS), range_text)
    return values


def whole(grid: Grid, place: int, name: str) -> Array:
    """Whole numbers, int64; `12.0` is one."""
    values = _floats(grid, place, name, "a whole number")
    _require(grid, name, place, np.isfinite(values), "is not a whole number")
    _require(grid, name, place, values == np.floor(values), "is not a whole number")
    _require(grid, name, place, np.abs(values) < INT64.max, "is too large a number")
    return values.astype(np.int64)


def moments(grid: Grid, place: int, name: str) -> Array:
    """Dates with times (ISO 8601, up to ns, UTC or one zone throughout), as ns since 1970, int64."""
    problem = "is not a date with time, such as 2023-11-16 18:17:03"
    cells: Any = np.char.strip(grid.column(place, name))
    early, late = YEARS
    _require(
        grid, name, place, (cells >= early) & (cells < late), "is not a date with time, such as 2023-11-16 18:17:03"
    )
    try:
        return _nanoseconds(cells)
    except ValueError:
        raise _first(grid, place, name, lambda cell: _nanoseconds(np.array([cell])), problem) from None


def _nanoseconds(dates: Any) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # numpy converts a zone to UTC, and warns
        return np.asarray(dates.astype("M8[ns]").astype(np.int64))


def labels(grid: Grid, place: int, name: str) -> Array:
    """Names as they stand, without blanks around them."""
    return np.asarray(np.char.strip(grid.column(place, name)))


def hashes(grid: Grid, place: int, name: str) -> tuple[Array, Array]:
    """Whole numbers separated by blanks: how many each row has, and all of them."""
    rows = [cell.split() for cell in grid.texts(place)]
    counts = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    try:
        return counts, _listed([one for row in rows for one in row])
    except (ValueError, OverflowError):
        problem = "is not a list of whole numbers separated by blanks"
        raise _first(grid, place, name, lambda cell: _listed(cell.split()), problem) from None


def _listed(numbers: Sequence[bytes | str]) -> Array:
    return np.array([int(one) for one in numbers], dtype=np.int64)


def _floats(grid: Grid, place: int, name: str, what: str) -> Array:
    cells = grid.column(place, name)
    plain = decimals(cells)
    if plain is not None:
        return plain
    try:
        return cells.astype(float)
    except ValueError:
        raise _first(grid, place, name, float, f"is not {what}") from None


def decimals(cells: Array) -> Array | None:
    """Plain numbers such as `12` and `0.25`, digit by digit over all rows; None where a cell is anything else.

    Digits and a power of ten that doubles hold exactly divide to the nearest double: the same as `float`.
    """
    letters = cells.view(np.uint8).reshape(cells.size, cells.dtype.itemsize)
    value, after = np.zeros(cells.size), np.zeros(cells.size, dtype=np.int64)
    length = np.count_nonzero(letters, axis=1)
    dots = np.count_nonzero(letters == DOT, axis=1)
    if np.any(length <= dots) or np.any(dots > 1) or np.any(length > EXACT_DIGITS):
        return None
    for column in letters.T:
        digit = (column >= ZERO) & (column <= ZERO + 9)
        if not np.all(digit | (column == DOT) | (column == 0)):
            return None
        value = np.where(digit, value * 10 + (column - ZERO), value)
        after += column == DOT
        after += digit & (after > 0)
    return np.asarray(value / 10.0 ** np.maximum(after - 1, 0))


def _first(grid: Grid, place: int, name: str, read: Any, problem: str) -> TraceError:
    """The first cell that `read` refuses."""
    for row, cell in enumerate(grid.texts(place)):
        try:
            read(cell.decode())
        except (ValueError, OverflowError):
            return _refused(grid, place, name, row, problem)
    return _refused(grid, place, name, 0, problem)


def _require(grid: Grid, name: str, place: int, good: Array, problem: str) -> None:
    if not np.all(good):
        raise _refused(grid, place, name, int(np.argmin(good)), problem)


def _refused(grid: Grid, place: int, name: str, row: int, problem: str) -> TraceError:
    cell = grid.texts(place)[row].decode("utf-8", errors="replace")
    shown = f"'{cell[:40]}'" if cell.strip() else "an empty cell"
    return grid.block.error(int(grid.lines[row]), name, f"{shown} {problem}.")
