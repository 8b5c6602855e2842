"""`silicast results 'SQL'`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from silicast.report.document import document, emit
from silicast.report.numbers import rounded
from silicast.report.screen import screen
from silicast.sweep.results import VIEW, Answer, query

#: rows that a table shows
SHOWN = 100


def command(
    sql: Annotated[str, typer.Argument(help=f"A query of the table '{VIEW}'.", show_default=False)],
    folder: Annotated[Path, typer.Option(help="The --output of the sweep.")] = Path("sweep"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")] = False,
) -> None:
    answer = query(folder, sql, None if as_json else SHOWN)
    if as_json:
        rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
        emit(document("results", {"sql": sql, "folder": str(folder)}, rows))
        return
    console = screen()
    table = _table(answer)
    if Measurement.get(console, console.options.update(width=10**6), table).maximum <= console.width:
        console.print(table)
    else:
        _print_long(answer, console)
    if answer.more:
        console.print(f"The first {SHOWN} rows; the rest with --json, or LIMIT and OFFSET.")


def _table(answer: Answer) -> Table:
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(answer.columns):
        numbers = any(isinstance(row[place], int | float) for row in answer.rows)
        table.add_column(name, justify="right" if numbers else "left", no_wrap=True)
    for row in answer.rows:
        table.add_row(*(_shown(cell) for cell in row))
    return table


def _print_long(answer: Answer, console: Console) -> None:
    """A line per value where a row is wider than the screen."""
    width = max(map(len, answer.columns))
    for number, row in enumerate(answer.rows, 1):
        console.print(f"row {number}")
        for name, cell in zip(answer.columns, row, strict=True):
            console.print(f"  {name:<{width}}  {_shown(cell)}", markup=False, soft_wrap=True)


def _shown(cell: Any) -> str:
    if isinstance(cell, float):
        return rounded(cell)
    return "-" if cell is None else str(cell)
