"""The folder of a sweep: one Parquet part per chunk, named by its content, and `sweep.json`, which says what belongs.

A part appears under its name only when it is whole: it is written to another name, flushed to the disk, then renamed.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import InputError, MissingExtraError
from silicast.sweep.columns import COLUMNS
from silicast.sweep.space import Space

Array = NDArray[Any]

INSTALL = "pip install 'silicast[sweep]'"
MANIFEST = "sweep.json"
BLOCK = 1 << 20
#: seconds after which a file that is not finished is what a killed driver left
ABANDONED = 3600.0


class Folder:
    """Parts in a folder, which is made."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, space: Space, names: Sequence[str]) -> None:
        """Say what belongs to the sweep. Raises InputError where the folder cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for left in self.path.glob(".*.tmp"):
                if time.time() - left.stat().st_mtime > ABANDONED:
                    left.unlink()
        except OSError as error:
            raise InputError(f"'{self.path}' cannot be made a folder: {error.strerror}.") from None
        content = {"space": space.model_dump(), "parts": list(names)}
        self._write(MANIFEST, json.dumps(content, indent=1).encode())

    def part(self, name: str) -> Path:
        """Where the part of a chunk is."""
        return self.path / f"{name}.parquet"

    def finished(self, names: Sequence[str]) -> set[str]:
        """Of these chunks, those that have a part that can be read."""
        there = {path.stem for path in self.path.glob("*.parquet")}
        return {name for name in names if name in there and rows_of(self.part(name)) is not None}

    def keep(self, name: str, content: bytes) -> None:
        """Write a part. Raises InputError where the disk is full or the folder is gone; what is finished stays."""
        self._write(self.part(name).name, content)

    def _write(self, name: str, content: bytes) -> None:
        fresh = self.path / f".{name}-{os.getpid()}.tmp"
        try:
            with fresh.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path / name)
            _flush(self.path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise InputError(
                f"Cannot write to '{self.path}': {error.strerror}. Finished parts are kept: make room, or name another "
                "--output, and run the same command again."
            ) from None

    def digest(self, names: Sequence[str]) -> str:
        """A hash of all parts: equal where every number is."""
        whole = hashlib.sha256()
        for name in sorted(names):
            whole.update(name.encode())
            with self.part(name).open("rb") as file:
                while block := file.read(BLOCK):
                    whole.update(block)
        return whole.hexdigest()

    def listed(self) -> list[str]:
        """The parts that belong to the sweep and are there. Raises InputError where this is no folder of a sweep."""
        try:
            names = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))["parts"]
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(
                f"'{self.path}' is no folder of a sweep: it has no {MANIFEST}. Name the --output of: silicast sweep"
            ) from None
        return [name for name in names if self.part(name).is_file()]


def _flush(folder: Path) -> None:
    """A rename lasts when the folder itself is on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def parquet() -> Any:
    """pyarrow with its Parquet module. Raises MissingExtraError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(f"Sweeps need pyarrow. Install it with: {INSTALL}") from None
    return pyarrow


def rows_of(path: Path) -> int | None:
    """Rows of a part by its footer; None where it cannot be read."""
    pa = parquet()
    try:
        return int(pa.parquet.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return None


@cache
def schema() -> Any:
    """The Arrow schema of every part."""
    pa = parquet()
    types = {"text": pa.string(), "whole": pa.int32(), "real": pa.float32(), "yes_no": pa.bool_()}
    return pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])


@contextmanager
def writing(sink: IO[bytes]) -> Iterator[Callable[[Mapping[str, Any], Mapping[str, Array]], None]]:
    """Takes (values that are the same in all rows, columns), a table at a time, and writes them as one Parquet file."""
    pa = parquet()
    with pa.parquet.ParquetWriter(sink, schema(), compression="zstd") as writer:

        def write(constants: Mapping[str, Any], columns: Mapping[str, Array]) -> None:
            many = len(next(iter(columns.values())))
            arrays = []
            for field in schema():
                if field.name in columns:
                    arrays.append(_array(columns[field.name], field.type))
                else:
                    arrays.append(pa.repeat(pa.scalar(constants.get(field.name), field.type), many))
            writer.write_table(pa.table(arrays, schema=schema()))

        yield write


def _array(values: Array, kind: Any) -> Any:
    """Whole numbers below 0 and NaN are null."""
    pa = parquet()
    if pa.types.is_boolean(kind):
        return pa.array(values)
    if pa.types.is_integer(kind):
        return pa.array(values.astype(np.int32), mask=values < 0)
    return pa.array(values.astype(np.float32), mask=~np.isfinite(values))
