"""SQL over the parts of a sweep, by DuckDB: the view `results` has one row per deployment."""

from dataclasses import dataclass
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
        database.read_parquet(files).create_view(VIEW)
        try:
            cursor = database.execute(sql)
            columns = tuple(column[0] for column in cursor.description or ())
            rows = cursor.fetchmany(most + 1) if most is not None else cursor.fetchall()
        except duckdb.Error as error:
            raise InputError(_told(str(error))) from None
    return Answer(columns, rows if most is None else rows[:most], most is not None and len(rows) > most)


def _told(problem: str) -> str:
    """What DuckDB says, without the drawing of the place."""
    first = problem.partition("\n\nLINE")[0].partition("\nLINE")[0]
    return f"{' '.join(first.split()).rstrip('.')}. The table is {VIEW}; its columns: DESCRIBE {VIEW}"
