"""`silicast calibrate`: fits the coefficients of the laws to measured operators and writes them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from silicast.errors import EvidenceError

if TYPE_CHECKING:
    from silicast.evidence.calibrate.run import Calibration


def command(
    tables: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Operator tables (systems/data of aiconfigurator-core).")
    ] = None,
    operators: Annotated[
        Path | None, typer.Option(metavar="DIR", help="CSV files of your own measurements, or of others.")
    ] = None,
    evidence: Annotated[list[Path] | None, typer.Option(metavar="DIR", help="Evidence instead of what ships.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write; default: your folder, SILICAST_HOME.")
    ] = None,
    without_chip: Annotated[list[str] | None, typer.Option(metavar="CHIP", help="Leave a chip out.")] = None,
    without_source: Annotated[list[str] | None, typer.Option(metavar="ID", help="Leave a source out.")] = None,
    without_generation: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Leave a generation out.")
    ] = None,
) -> None:
    from silicast.evidence.calibrate.run import Choice, calibrate, write
    from silicast.report.screen import screen

    place = output or _home()
    choice = Choice(
        tables, operators, tuple(evidence or ()), tuple(without_chip or ()), tuple(without_source or ()),
        tuple(without_generation or ()),
    )  # fmt: skip
    found = calibrate(choice, lambda text: print(text))
    write(found, place)
    _render(found, place, screen())


def _render(found: "Calibration", place: Path, console: Console) -> None:
    """Law, kernel and stack by chip: rows, and the errors on rows that were not fitted."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("chip", "law", "stack"):
        table.add_column(name, no_wrap=True)
    for name in ("rows", "median %", "P90 %"):
        table.add_column(name, justify="right")
    for chip_id, chip in sorted(found.chips.items()):
        for one in chip.fits:
            errors = one.found
            table.add_row(
                chip_id, one.name, one.stack, f"{errors.rows}", f"{100 * errors.median:.1f}", f"{100 * errors.p90:.1f}"
            )
    console.print(table)
    for chip in found.chips.values():
        for reason in chip.skipped:
            console.print(f"not fitted: {reason}")
    console.print(f"{len(found.files)} files in {place}: {len(found.chips)} chips fitted, the others from siblings.")


def _home() -> Path:
    home = os.environ.get("SILICAST_HOME")
    if not home:
        raise EvidenceError("Say where to write the coefficients: --output DIR, or set SILICAST_HOME.")
    return Path(home) / "coefficients"
