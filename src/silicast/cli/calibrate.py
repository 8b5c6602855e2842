"""`silicast calibrate`: fits the coefficients of the laws to measured operators and writes them."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from silicast.cli.options import AsJson
from silicast.errors import EvidenceError
from silicast.report.document import document, emit

if TYPE_CHECKING:
    from silicast.evidence.calibrate.run import Calibration, Choice
    from silicast.evidence.record import Row


#: folder of the tables of what was left out, beside that of the coefficients
LEFT_OUT = "left_out"


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
    stacks: Annotated[
        bool, typer.Option("--stacks", help="Fit the serving stacks to serving runs instead of the chips: minutes.")
    ] = False,
    left_out: Annotated[
        bool, typer.Option("--left-out", help="Refit without each source, chip and generation: tables of the errors.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    from silicast.evidence.calibrate.run import Choice, calibrate, write
    from silicast.report.screen import screen

    choice = Choice(
        tables, operators, tuple(evidence or ()), tuple(without_chip or ()), tuple(without_source or ()),
        tuple(without_generation or ()),
    )  # fmt: skip
    if left_out:
        _leave_out(choice, output or _home() / LEFT_OUT, as_json)
        return
    place = output or _home() / "coefficients"
    if stacks:
        _fit_stacks(place / "stacks", _serving_rows(choice), as_json)
        return
    found = calibrate(choice, _told)
    write(found, place)
    if as_json:
        emit(document("calibrate", {"output": str(place)}, _result(found)))
    else:
        _render(found, place, screen())


def _told(text: str) -> None:
    """Progress, beside the one answer on stdout."""
    print(text, file=sys.stderr)


def _result(found: "Calibration") -> dict[str, Any]:
    fits = [
        {
            "chip": chip_id, "law": one.name, "stack": one.stack, "rows": one.found.rows,
            "median_error": one.found.median, "p90_error": one.found.p90,
        }
        for chip_id, chip in sorted(found.chips.items())
        for one in chip.fits
    ]  # fmt: skip
    skipped = [reason for chip in found.chips.values() for reason in chip.skipped]
    return {"fits": fits, "not_fitted": skipped, "files": sorted(found.files)}


def _serving_rows(choice: "Choice") -> list["Row"]:
    """The evidence without what is left out."""
    from silicast.evidence.calibrate.run import checked
    from silicast.evidence.fitted import chip_of
    from silicast.evidence.left_out import Left
    from silicast.evidence.record import load, shipped

    checked(choice)
    gone = [
        *(Left(chip=name) for name in choice.without_chips),
        *(Left(generation=name) for name in choice.without_generations),
    ]
    return [
        row
        for row in load(choice.evidence or (shipped(),)).rows
        if row.source not in choice.without_sources and not any(left.covers(chip_of(row)) for left in gone)
    ]


def _leave_out(choice: "Choice", place: Path, as_json: bool) -> None:
    """Both tables of what was left out, and their medians on the screen."""
    from silicast.evidence.calibrate.refits import left_out
    from silicast.evidence.calibrate.run import needs_extra
    from silicast.evidence.calibrate.write import replaced
    from silicast.evidence.misses import OPERATORS, read_misses
    from silicast.report.screen import screen

    needs_extra()
    files = left_out(choice, _serving_rows(choice), _told)
    replaced(place, files)
    totals = [one for one in read_misses(place / OPERATORS) if not one.chip]
    if as_json:
        result = {"totals": [one._asdict() for one in totals], "files": sorted(files)}
        emit(document("calibrate", {"output": str(place)}, result))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("left out", "law", "rows", "median %", "P90 %"):
        table.add_column(name, justify="left" if name in ("left out", "law") else "right")
    for one in totals:
        table.add_row(
            one.left_out, one.law, f"{one.rows}", f"{100 * one.median_error:.1f}", f"{100 * one.p90_error:.1f}"
        )
    console = screen()
    console.print(table)
    console.print(f"{len(files)} files in {place}.")


def _fit_stacks(place: Path, rows: list["Row"], as_json: bool) -> None:
    """One file for each stack with enough rows."""
    import datetime

    from silicast import catalog
    from silicast.evidence.calibrate import stacks
    from silicast.evidence.calibrate.run import needs_extra
    from silicast.evidence.calibrate.write import put
    from silicast.report.screen import screen

    needs_extra()
    fits, skipped = stacks.fit_stacks(tuple(catalog.ids("stacks")), rows, _told)
    for stack, fit in fits.items():
        put(place / f"{stack}.toml", stacks.document(fit, datetime.date.today().isoformat()))
    result = {
        "fits": [{"stack": one.stack, "rows": one.rows, **one.values, "error": one.after} for one in fits.values()],
        "not_fitted": skipped,
        "files": sorted(f"{stack}.toml" for stack in fits),
    }
    if as_json:
        emit(document("calibrate", {"output": str(place)}, result))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("stack", "rows", "metric", "median % before", "after"):
        table.add_column(name, justify="left" if name in ("stack", "metric") else "right")
    for stack, one in fits.items():
        for metric, error in sorted(one.after.items()):
            table.add_row(stack, f"{one.rows}", metric, f"{100 * one.before[metric]:.1f}", f"{100 * error:.1f}")
    console = screen()
    console.print(table)
    for reason in skipped:
        console.print(f"not fitted: {reason}")
    console.print(f"{len(fits)} files in {place}.")


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
        raise EvidenceError("Say where to write: --output DIR, or set SILICAST_HOME.")
    return Path(home)
