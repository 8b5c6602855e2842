"""SQL over the parts of a sweep, by DuckDB: the view `results` has one row per deployment."""

import math
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from silicast.errors import InputError, MissingExtraError
from silicast.sweep.parts import INSTALL, Folder

VIEW = "results"


@dataclass(frozen=True, slots=True)
class Answer:
    """Columns and rows of a query; `more` where it has more rows than were asked for."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    more: bool


def query(path: Path, sql: str, most: int | None = None) -> Answer:
    """The first `most` rows of a query. Raises InputError for SQL that DuckDB refuses, MissingExtraError."""
    try:
        import duckdb
    except ImportError:
        raise MissingExtraError(f"Queries need duckdb. Install it with: {INSTALL}") from None
    folder = Folder(path)
    files = [str(folder.part(name)) for name in folder.listed()]
    if not files:
        raise InputError(f"'{path}' has no finished part yet. Run the sweep again: it goes on where it stopped.")
    with duckdb.connect() as database:
        try:
            database.read_parquet(files).create_view(VIEW)
            cursor = database.execute(sql)
            if cursor is None:
                raise InputError(f"Give a query of the table {VIEW}, such as 'SELECT count(*) FROM {VIEW}'.")
            columns = tuple(column[0] for column in cursor.description or ())
            fetched = cursor.fetchall() if most is None else cursor.fetchmany(most + 1)
        except duckdb.Error as error:
            raise InputError(_told(str(error))) from None
    rows = [tuple(map(_plain, row)) for row in fetched[:most]]
    return Answer(columns, rows, len(rows) < len(fetched))


def _plain(cell: Any) -> Any:
    """A decimal number as a float, None for a number that is not finite, also inside of lists and structures."""
    if isinstance(cell, float | Decimal):
        return float(cell) if math.isfinite(cell) else None
    if isinstance(cell, list | tuple):
        return [_plain(one) for one in cell]
    return {name: _plain(one) for name, one in cell.items()} if isinstance(cell, dict) else cell


def _told(problem: str) -> str:
    """What DuckDB says, without the drawing of the place."""
    first = problem.partition("\n\nLINE")[0].partition("\nLINE")[0]
    return f"{' '.join(first.split()).rstrip('.')}. The table is {VIEW}; its columns: DESCRIBE {VIEW}"
