"""Plain data as YAML for foreign tools: mappings, lists, text, numbers, booleans and None, two blanks per level."""

import json
import re
from collections.abc import Iterator
from typing import Any

from silicast.errors import InputError, MissingExtraError

#: text that YAML reads as text without quotes; what could be a number, a date, a boolean or null is quoted
PLAIN = re.compile(r"[A-Za-z_/$.-][A-Za-z0-9_./$@+-]*")
WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "~", ".nan", ".inf", "-.inf"}


def dump(value: Any) -> str:
    """One document."""
    return "\n".join(_lines(value, 0)) + "\n"


def load(text: str, name: str) -> Any:
    """One document. Raises InputError for text that is none, MissingExtraError without PyYAML."""
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("Reading YAML needs PyYAML: pip install 'silicast[launch]'.") from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{name} is not YAML: {' '.join(str(error).split())[:120]}.") from None


def _lines(value: Any, depth: int) -> Iterator[str]:
    blank = "  " * depth
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from _entry(f"{blank}{_text(str(key))}:", below, depth)
    elif isinstance(value, list | tuple) and value:
        for below in value:
            if _block(below):
                yield from _entry(f"{blank}-", below, depth)
                continue
            nested = list(_lines(below, depth + 1))
            yield f"{blank}- {nested[0].lstrip()}"
            yield from nested[1:]
    else:
        yield blank + _scalar(value)


def _entry(head: str, value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, dict | list | tuple) and value:
        yield head
        yield from _lines(value, depth + 1)
    elif _block(value):
        yield f"{head} |{'' if value.endswith(chr(10)) else '-'}"
        yield from ("  " * (depth + 1) + line if line else "" for line in value.removesuffix("\n").split("\n"))
    else:
        yield f"{head} {_scalar(value)}"


def _block(value: Any) -> bool:
    """Whether text of several lines can stand as it is."""
    plain = isinstance(value, str) and value.replace("\n", "").isprintable()
    return plain and "\n" in value.rstrip("\n") and value[0] not in " \n" and not value.endswith("\n\n")


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    shown = json.dumps(list(value) if isinstance(value, tuple) else value)
    # YAML reads 1e-05 as text
    return shown.replace("e", ".0e") if isinstance(value, float) and "e" in shown and "." not in shown else shown


def _text(text: str) -> str:
    safe = PLAIN.fullmatch(text) and text.lower() not in WORDS and not re.fullmatch(r"[-.]+[\d.eE+-]*", text)
    return text if safe else json.dumps(text, ensure_ascii=False)
