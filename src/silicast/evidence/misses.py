"""Errors of the laws on operators that were left out of the fits, as `silicast calibrate --left-out` wrote them."""

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

from silicast import catalog

FOLDER, OPERATORS = "left_out", "operators.csv"


class Missed(NamedTuple):
    """A line of `operators.csv`: what was left out, rows, the signed log error (10 %, median, 90 %), its size.

    `name` and `chip` are empty for a law over all chips.
    """

    left_out: str
    name: str
    chip: str
    law: str
    kernel: str
    rows: int
    low: float
    middle: float
    high: float
    median_error: float
    p90_error: float


def read_misses(path: Path) -> list[Missed]:
    """The lines of an `operators.csv`."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(text for text in file if not text.startswith("#")))[1:]
    return [_missed(*line) for line in lines]


def _missed(left_out: str, name: str, chip: str, law: str, kernel: str, rows: str, *numbers: str) -> Missed:
    return Missed(left_out, name, chip, law, kernel, int(rows), *map(float, numbers))


@cache
def shipped_misses() -> tuple[Missed, ...]:
    """Errors of the laws on operators that were left out; none where the package has none."""
    path = catalog.data_folder() / FOLDER / OPERATORS
    return tuple(read_misses(path)) if path.is_file() else ()
