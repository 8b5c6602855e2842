"""Traces of one JSON object per line."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from silicast.errors import TraceError, nearest
from silicast.scenario import MOST_TOKENS
from silicast.traces.blocks import Block
from silicast.traces.cells import INT64, MOST_SECONDS
from silicast.traces.formats import Format

Array = NDArray[Any]

#: lines that are parsed in one go
AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Lines:
    """Some lines of a block with their numbers."""

    block: Block
    numbers: list[int]
    texts: list[bytes]


def columns(block: Block, form: Format) -> Iterator[dict[str, Array]]:
    """Columns of a block by what they hold, some thousand lines at a time, with `line` and `hash_counts`."""
    texts = block.data.splitlines()
    kept = [(block.line + place, text) for place, text in enumerate(texts) if text.strip()]
    for start in range(0, len(kept), AT_ONCE):
        numbers, lines = zip(*kept[start : start + AT_ONCE], strict=True)
        yield _parsed(Lines(block, list(numbers), list(lines)), form)


def _parsed(lines: Lines, form: Format) -> dict[str, Array]:
    rows = _objects(lines)
    found: dict[str, Array] = {"line": np.array(lines.numbers, dtype=np.int64)}
    found["arrival"] = _numbers(lines, rows, form.arrival) * form.unit
    _require(lines, form.arrival, rows, (found["arrival"] >= 0) & (found["arrival"] <= MOST_SECONDS),
             "is not a time from 0 on")  # fmt: skip
    for what, name in (("input_tokens", form.input_tokens), ("output_tokens", form.output_tokens)):
        values = _numbers(lines, rows, name)
        good = (values >= 1) & (values <= MOST_TOKENS) & (values == np.floor(values))
        _require(lines, name, rows, good, f"is not a number of tokens from 1 to {MOST_TOKENS:,}")
        found[what] = values.astype(np.int64)
    name = form.optional["hash_ids"]
    if any(name in row for row in rows):
        found["hash_counts"], found["hash_ids"] = _hashes(lines, rows, name)
    return found


def _objects(lines: Lines) -> list[dict[str, Any]]:
    try:
        rows = json.loads(b"[" + b",".join(lines.texts) + b"]", parse_constant=_no_number)
    except (ValueError, RecursionError):
        rows = []
    if len(rows) == len(lines.texts) and all(isinstance(row, dict) for row in rows):
        return list(rows)
    raise _bad_line(lines)


def _bad_line(lines: Lines) -> TraceError:
    for number, text in zip(lines.numbers, lines.texts, strict=True):
        where = f"{lines.block.name}, line {number}"
        try:
            row = json.loads(text, parse_constant=_no_number)
        except json.JSONDecodeError as error:
            ends = text.rstrip()[-1:] != b"}"
            hint = " The line is cut off." if ends else ""
            return TraceError(f"{where}, character {error.colno}: this is not JSON: {error.msg}.{hint}")
        except (ValueError, RecursionError) as error:
            return TraceError(f"{where}: this is not JSON: {error}.")
        if not isinstance(row, dict):
            return TraceError(f"{where}: a line must be one JSON object, got '{text[:40].decode(errors='replace')}'.")
    return TraceError(f"{lines.block.name}, line {lines.numbers[0]}: these lines are not one JSON object each.")


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _numbers(lines: Lines, rows: list[dict[str, Any]], name: str) -> Array:
    values = _values(lines, rows, name)
    if not set(map(type, values)) <= {int, float}:
        plain = np.array([type(value) in (int, float) for value in values])
        _require(lines, name, rows, plain, "is not a number")
    try:
        numbers = np.array(values, dtype=float)
    except OverflowError:
        fits = np.array([abs(value) < INT64.max for value in values])
        _require(lines, name, rows, fits, "is too large a number")
        raise
    _require(lines, name, rows, np.isfinite(numbers), "is not a finite number")
    return numbers


def _values(lines: Lines, rows: list[dict[str, Any]], name: str) -> list[Any]:
    try:
        return [row[name] for row in rows]
    except KeyError:
        place = next(place for place, row in enumerate(rows) if name not in row)
        guess = nearest(name, rows[place])
        hint = f" Did you mean it by '{guess[:60]}'?" if guess else f" Given: {', '.join(rows[place])[:120]}."
        raise lines.block.error(lines.numbers[place], name, f"the key is missing.{hint}") from None


def _hashes(lines: Lines, rows: list[dict[str, Any]], name: str) -> tuple[Array, Array]:
    values = _values(lines, rows, name)
    try:
        if set(map(type, values)) <= {list}:
            every = list(chain.from_iterable(values))
            if set(map(type, every)) <= {int}:
                return np.array(list(map(len, values)), dtype=np.int64), np.array(every, dtype=np.int64)
    except OverflowError:
        pass
    good = np.array([_is_hash_list(value) for value in values])
    raise _refused(lines, name, rows, good, "is not a list of whole numbers of at most 64 bits")


def _is_hash_list(value: Any) -> bool:
    if not isinstance(value, list) or not set(map(type, value)) <= {int}:
        return False
    return not value or (min(value) >= INT64.min and max(value) <= INT64.max)


def _require(lines: Lines, name: str, rows: list[dict[str, Any]], good: Array, problem: str) -> None:
    if not np.all(good):
        raise _refused(lines, name, rows, good, problem)


def _refused(lines: Lines, name: str, rows: list[dict[str, Any]], good: Array, problem: str) -> TraceError:
    place = int(np.argmin(good))
    given = json.dumps(rows[place][name])[:40] if name in rows[place] else "nothing"
    return lines.block.error(lines.numbers[place], name, f"{given} {problem}.")
