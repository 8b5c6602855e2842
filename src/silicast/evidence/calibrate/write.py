"""Writes coefficient files: built beside the output and put in place at once, so that nothing is ever half-written."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from silicast.errors import EvidenceError
from silicast.evidence.calibrate.chips import ALL, Chip, Fit
from silicast.evidence.calibrate.pool import Number, own

MARK = "# Written by `silicast calibrate`; do not edit: put your own numbers into your own folder (SILICAST_HOME)."
#: microseconds in a second: how times are written
MICRO = 1e-6


def document(
    tier: str, numbers: Mapping[str, Number], fits: list[Fit], sources: Mapping[str, Mapping[str, str]]
) -> str:
    """One coefficient file as TOML."""
    lines = [MARK, f'tier = "{tier}"', ""]
    used = {number.source for number in numbers.values()} | ({"fit"} if fits else set())
    for key in sorted(used):
        about = sources[key]
        lines += [f"[sources.{key}]", *(f"{name} = {_text(value)}" for name, value in about.items()), ""]
    tables: dict[str, list[str]] = {}
    for key, number in sorted(numbers.items()):
        table, _, name = key.rpartition(".")
        tables.setdefault(table, []).append(f"{name} = {_number(number)}")
    for one in fits:
        tables.setdefault(one.name, []).append(f"residual = {_number(residual(one))}")
    for table, entries in sorted(tables.items()):
        lines += [f"[{table}]", *entries, ""]
    return "\n".join(lines)


def residual(one: Fit) -> Number:
    """Median, 10th and 90th percentile of the absolute log error on held-out rows: how far the law itself is off."""
    low, value, high = (max(float(x), LEAST) for x in np.quantile(np.abs(one.found.errors), (0.1, 0.5, 0.9)))
    note = f"log error on held-out rows: median, 10th and 90th percentile; {one.found.rows} rows fitted"
    return Number(value, low, high, "", "fit", "derived", note)


#: the smallest error that is written: a number must be positive
LEAST = 1e-4


def _number(number: Number) -> str:
    low, value, high = (_quantity(x, number.unit) for x in (number.low, number.value, number.high))
    note = f", note = {_text(number.note)}" if number.note else ""
    return (
        f'{{ value = "{value}", low = "{low}", high = "{high}", source = "{number.source}", '
        f'confidence = "{number.confidence}"{note} }}'
    )


def _quantity(value: float, unit: str) -> str:
    return f"{value / MICRO:.4g} us" if unit == "us" else f"{value:.4g}"


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def replaced(output: Path, files: Mapping[str, str]) -> None:
    """Puts `files` (`<chip>/<stack>.toml` -> text) into `output`: generated files there go, hand-written ones stay.

    The new folder is complete before it takes the place of the old one. Raises EvidenceError when it cannot be made.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    except OSError as error:
        raise EvidenceError(f"Output folder '{output}' cannot be written: {error.strerror}.") from None
    try:
        fresh.chmod(0o755)
        _keep_written_by_hand(output, fresh)
        for name, text in files.items():
            place = fresh / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.write_text(text, encoding="utf-8")
        _swap(fresh, output)
    except OSError as error:
        raise EvidenceError(f"Output folder '{output}' cannot be written: {error.strerror}.") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def put(place: Path, text: str) -> None:
    """Writes one file, all of it or nothing. Raises EvidenceError when it cannot be written."""
    half = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        half.write_text(text, encoding="utf-8")
        half.replace(place)
    except OSError as error:
        raise EvidenceError(f"File '{place}' cannot be written: {error.strerror}.") from None
    finally:
        half.unlink(missing_ok=True)


def _keep_written_by_hand(output: Path, fresh: Path) -> None:
    for path in sorted(output.rglob("*")) if output.is_dir() else ():
        if path.is_file() and not path.read_bytes().startswith(MARK.encode()):
            place = fresh / path.relative_to(output)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)


def _swap(fresh: Path, output: Path) -> None:
    old = fresh.with_name(f"{fresh.name}-old")
    there = output.exists()
    if there:
        output.rename(old)
    try:
        fresh.rename(output)
    except OSError:
        if there:
            old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def chip_files(chip: Chip, lent: Mapping[str, Number]) -> dict[str, dict[str, Number]]:
    """Numbers of each file of a chip: `all` has its own and what others lend, a stack has its own."""
    return {ALL: {**lent, **own(chip)}, **{stack: own(chip, stack) for stack in chip.stacks if stack != ALL}}
