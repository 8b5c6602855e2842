"""What a caller in Python may hand over: one clear line for anything else, as on the command line."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from silicast.errors import InputError, not_found

T = TypeVar("T")

LONGEST = 60


def given(value: Any) -> str:
    """The value as it was given, cut off where it is long."""
    shown = repr(value)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 3] + "..."


def name(what: str, value: Any, look: str) -> str:
    """An id or a path as text. Raises InputError that says where to `look`."""
    if hasattr(value, "__fspath__"):
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"{what} is one id or path as text, got {given(value)}. {look}")
    return value


def names(what: str, values: Any, look: str) -> list[str]:
    """Several ids or paths. Raises InputError."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError(f"{what} is a list of ids or paths, such as ['h100-sxm'], got {given(values)}. {look}")
    return [name(f"Each of {what}", value, look) for value in values]


def noun(what: str, value: Any, kind: type[T]) -> T:
    """An object of one class. Raises InputError."""
    if not isinstance(value, kind):
        raise InputError(f"{what} is a silicast.{kind.__name__}, got {given(value)}.")
    return value


def count(what: str, value: Any, error: type[InputError] = InputError) -> int | None:
    """A whole number from 1, or None. Raises `error`."""
    if value is None:
        return None
    whole = isinstance(value, int) or (hasattr(value, "__index__") and not hasattr(value, "__len__"))
    if not whole or isinstance(value, bool) or value < 1:
        raise error(f"{what} must be a whole number of at least 1, got {given(value)}.")
    return int(value)


def amounts(values: Mapping[str, Any]) -> None:
    """Raises InputError unless all are numbers from 0 up, or arrays of them, of one length."""
    shapes = {}
    for what, value in values.items():
        array = np.asarray(value)
        if array.dtype.kind not in "iuf" or not np.all(np.isfinite(array) & (array >= 0)):
            raise InputError(f"{what} must be a number from 0 up, or an array of such, got {given(value)}.")
        shapes[what] = array.shape
    try:
        wide = np.broadcast_shapes(*shapes.values())
    except ValueError:
        wide = (0, 0)
    if len(wide) > 1:
        told = ", ".join(f"{what} {shape}" for what, shape in shapes.items() if shape)
        raise InputError(f"Arrays must be of one length, one entry per configuration; got the shapes {told}.")


def known_keywords(what: str, values: Iterable[str], known: Sequence[str]) -> None:
    """Raises NotFoundError for a keyword that does not exist."""
    for keyword in values:
        if keyword not in known:
            raise not_found(what, keyword, known, f"Known: {', '.join(known)}.")
