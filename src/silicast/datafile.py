"""Reads a TOML data file into a noun: units become SI, source keys become sources, a mistake becomes one clear line.

The walk follows the types of the noun, so that an error can name the dotted place, the nearest name and the unit that
was expected. What a file may say, apart from the fields of the nouns, is in the tables `UNIT_OF` and `KEYS_OF`.
"""

import math
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from silicast.dtypes import BYTES
from silicast.errors import ChipFileError, InputError, nearest
from silicast.hardware import Number, Source
from silicast.units import quantity

T = TypeVar("T", bound=BaseModel)

MAX_FILE_BYTES = 4 * 1024 * 1024

#: last or last but one part of a field's name -> SI unit of its value
UNIT_OF = {
    "matrix": "FLOP/s",
    "marketing": "FLOP/s",
    "vector": "FLOP/s",
    "measured_gemm": "FLOP/s",
    "capacity": "B",
    "usable": "B",
    "bandwidth": "B/s",
    "latency": "s",
    "kernel_launch": "s",
    "clock": "Hz",
    "power": "W",
    "power_per_package": "W",
    "die_area": "mm2",
    "cores": "",
    "tile_m": "",
    "tile_n": "",
    "devices_per_package": "",
    "transistors": "",
    "dies": "",
    "oversubscription": "",
    "memory_share": "",
}

#: last part of the name of fields that count things; half of one does not exist
WHOLE = ("cores", "devices_per_package", "dies", "tile_m", "tile_n")

EXAMPLE_OF = {
    "FLOP/s": "989 TFLOPS",
    "B": "80 GiB",
    "B/s": "3.35 TB/s",
    "s": "2 us",
    "Hz": "1.8 GHz",
    "W": "700 W",
    "mm2": "814 mm2",
    "": "24 count",
}

#: FP6 and FP64 are matrix modes of some chips although no checkpoint is stored in them
_MODES = (*BYTES, "fp6", "fp64")

#: tables whose keys are free in the noun but few in the field: a typo must not pass as a new name
KEYS_OF: dict[str, tuple[str, ...]] = {
    "compute.matrix": _MODES,
    "compute.marketing": _MODES,
    "compute.vector": _MODES,
    "compute.measured_gemm": _MODES,
    "memory": ("hbm", "l2", "infinity_cache", "l1", "l0a", "l0b", "l0c", "unified_buffer"),
    "links": ("scale_up", "scale_out", "die_to_die", "host", "pcie"),
    "power": ("package", "idle"),
}


def read(path: Path, noun: type[T], prepare: Callable[[dict[str, Any]], None] | None = None) -> T:
    """The noun of a TOML file; `prepare` may add what a file may leave out. Raises ChipFileError, one line."""
    document = read_toml(path)
    try:
        sources = _sources(document.pop("sources", {}))
        if prepare is not None:
            prepare(document)
        return _noun(document, noun, "", sources)
    except InputError as error:
        raise ChipFileError(f"{path.name}: {_one_line(error)}") from None


def read_numbers(path: Path) -> tuple[dict[str, Any], dict[str, Number]]:
    """A file of free tables of numbers: its plain entries, and its numbers by dotted name."""
    document = read_toml(path)
    try:
        sources = _sources(document.pop("sources", {}))
        plain = {key: value for key, value in document.items() if not isinstance(value, dict)}
        tables = {key: value for key, value in document.items() if isinstance(value, dict)}
        return plain, dict(_free_numbers(tables, "", sources))
    except InputError as error:
        raise ChipFileError(f"{path.name}: {_one_line(error)}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """The document of a TOML file. Raises ChipFileError with the reason."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ChipFileError(f"{path.name} has {size / 1e6:.0f} MB; a data file has at most 4 MB.")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except InputError:
        raise
    except UnicodeDecodeError as error:
        raise ChipFileError(f"{path.name} is not text in UTF-8: {_one_line(error)}") from None
    except (ValueError, RecursionError) as error:  # tomllib: syntax, numbers too long, tables too deep
        raise ChipFileError(f"{path.name} is not TOML: {_one_line(error)}") from None
    except OSError as error:
        raise ChipFileError(f"{path.name} cannot be read: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 600 else text[:597] + "..."


def _sources(node: Any) -> dict[str, Source]:
    tables = _table(node, "sources")
    return {key: _noun(value, Source, f"sources.{key}", {}) for key, value in tables.items()}


def _free_numbers(node: dict[str, Any], where: str, sources: dict[str, Source]) -> Iterator[tuple[str, Number]]:
    for key, value in node.items():
        name = _join(where, key)
        if not isinstance(value, dict):
            raise ChipFileError(f"'{name}' must be a table with value, source and confidence; got {_kind(value)}.")
        if "value" in value:
            yield name, _number(value, name, sources, None)
        else:
            yield from _free_numbers(value, name, sources)


def _noun(node: Any, noun: type[T], where: str, sources: dict[str, Source]) -> T:
    table = _table(node, where)
    fields = _annotations(noun)
    _check_keys(table, fields, where)
    values = {key: _value(value, fields[key], _join(where, key), sources) for key, value in table.items()}
    try:
        return noun.model_validate(values)
    except ValidationError as error:
        raise ChipFileError(first_problem(error, where)) from None


def _value(node: Any, annotation: Any, where: str, sources: dict[str, Source]) -> Any:
    shape, inner = _shape(annotation)
    if shape == "number":
        return _number(node, where, sources, expected_unit(where))
    if shape == "source":
        return _source(node, where, sources) if isinstance(node, str) else _noun(node, Source, where, sources)
    if shape == "noun":
        return _noun(node, inner, where, sources)
    if shape == "map":
        table = _table(node, where)
        _check_keys(table, KEYS_OF.get(where, table), where)
        return {key: _value(value, inner, f"{where}.{key}", sources) for key, value in table.items()}
    if shape == "list":
        return [_value(item, inner, f"{where}[{place}]", sources) for place, item in enumerate(_list(node, where))]
    return node


@cache
def _shape(annotation: Any) -> tuple[str, Any]:
    """What a field holds: a number, a source, another noun, a map or a list of something, or a plain value."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _shape(next(kind for kind in arguments if kind is not type(None)))
    if origin is Annotated:
        return _shape(arguments[0])
    if origin is dict:
        return "map", arguments[1]
    if origin is tuple:
        return "list", arguments[0]
    if annotation is Number or annotation is Source:
        return annotation.__name__.lower(), annotation
    is_noun = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return ("noun" if is_noun else "plain"), annotation


def _number(node: Any, where: str, sources: dict[str, Source], expected: str | None) -> Number:
    """`value`, `low` and `high` are text with a unit; the range is the value itself where it is left out."""
    table = _table(node, where)
    fields = {key: kind for key, kind in _annotations(Number).items() if key != "unit"}
    _check_keys(table, fields, where)
    if "value" not in table:
        raise ChipFileError(f"'{where}' needs a 'value', such as value = \"{EXAMPLE_OF[expected or '']}\".")
    value, unit = _quantity(table["value"], f"{where}.value", expected)
    ends = {end: _quantity(table[end], f"{where}.{end}", expected) for end in ("low", "high") if end in table}
    for end, (_, end_unit) in ends.items():
        if end_unit != unit:
            raise ChipFileError(f"'{where}.{end}' has another kind of unit than its value '{table['value']}'.")
    rest = {k: _value(v, fields[k], f"{where}.{k}", sources) for k, v in table.items() if k not in ("value", *ends)}
    low, high = (ends.get(end, (value, unit))[0] for end in ("low", "high"))
    if not low <= value <= high:
        raise ChipFileError(f"'{where}' needs low <= value <= high, got {low:g}, {value:g}, {high:g} {unit}.")
    try:
        return Number(value=value, low=low, high=high, unit=unit, **rest)
    except ValidationError as error:
        raise ChipFileError(first_problem(error, where)) from None


def _quantity(node: Any, where: str, expected: str | None) -> tuple[float, str]:
    hint = f'write it as text with its unit, such as "{EXAMPLE_OF[expected or ""]}"'
    if not isinstance(node, str):
        raise ChipFileError(f"'{where}': {hint}; got {_kind(node)}.")
    try:
        value, unit = quantity(node)
    except InputError as error:
        raise ChipFileError(f"'{where}': {error}") from None
    if expected is not None and unit != expected:
        raise ChipFileError(f"'{where}' needs the unit {expected or 'count'}: {hint}; got '{node[:40]}'.")
    if not 0 < value < math.inf:
        raise ChipFileError(f"'{where}' must be positive and finite, got '{node[:40]}'.")
    if expected == "" and where.split(".")[-2] in WHOLE and value != math.floor(value):
        raise ChipFileError(f"'{where}' must be a whole number, got '{node[:40]}'.")
    return value, unit


def expected_unit(field: str) -> str | None:
    """The SI unit of a dotted field, None where the schema does not fix one."""
    parts = field.split(".")
    return next((UNIT_OF[part] for part in reversed(parts[-2:]) if part in UNIT_OF), None)


def _source(key: str, where: str, sources: dict[str, Source]) -> Source:
    if key in sources:
        return sources[key]
    raise ChipFileError(f"Source '{key[:60]}' of '{where}' not found.{_hint(key, sources)} Add [sources.{key[:60]}].")


def _check_keys(table: dict[str, Any], known: Iterable[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise ChipFileError(
                f"Field '{_join(where, key)[:120]}' not found.{_hint(key, known, where)} "
                f"Known {'here' if where else 'at the top'}: {', '.join(known)}."
            )


def _hint(given: str, known: Iterable[str], where: str = "") -> str:
    guess = nearest(given[:200], known)
    return f" Did you mean '{_join(where, guess)}'?" if guess else ""


@cache
def _annotations(noun: type[BaseModel]) -> dict[str, Any]:
    return {name: field.annotation for name, field in noun.model_fields.items()}


def _table(node: Any, where: str) -> dict[str, Any]:
    if isinstance(node, dict):
        return node
    raise ChipFileError(f"'{where}' must be a table, such as [{where}]; got {_kind(node)}.")


def _list(node: Any, where: str) -> list[Any]:
    if isinstance(node, list):
        return node
    raise ChipFileError(f"'{where}' must be a list; got {_kind(node)}.")


def _kind(node: Any) -> str:
    names = {dict: "a table", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    name = names.get(type(node), "a date")
    return name if isinstance(node, dict | list) else f"{name} ({str(node)[:40]})"


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def first_problem(error: ValidationError, where: str) -> str:
    """The first thing that is wrong with a noun, with its dotted place, in one line."""
    first = error.errors(include_url=False)[0]
    place = _join(where, ".".join(str(part) for part in first["loc"])) if first["loc"] else where
    if first["type"] == "missing":
        return f"'{place}' is required and missing."
    if first["type"] == "string_pattern_mismatch":
        return f"'{place}' is a name without slashes, brackets and control characters; got {_kind(first['input'])}."
    if first["type"] == "literal_error":
        allowed = first["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        given = str(first["input"])
        return f"'{place}' is '{given[:40]}'.{_hint(given, allowed)} Known: {', '.join(allowed)}."
    return f"'{place}': {first['msg'].removeprefix('Value error, ')}; got {_kind(first['input'])}."
