"""`silicast sweep SPACE.toml`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from silicast.cli import scenario
from silicast.errors import InputError
from silicast.report.document import document, emit
from silicast.report.screen import screen
from silicast.sweep.cluster import on_ray
from silicast.sweep.processes import on_processes
from silicast.sweep.run import Swept, Told, Workers, sweep
from silicast.sweep.space import read_space

#: exit code of a program that an interrupt ends
INTERRUPTED = 130


def command(
    space: Annotated[Path, typer.Argument(help="Space file (.toml): models, chips, workloads.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Folder of the parts; a rerun goes on from those there.")] = Path(
        "sweep"
    ),
    processes: Annotated[int | None, typer.Option(help="Worker processes (default: one per core).")] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="[ADDRESS]", help="On a Ray cluster; without an address on one made here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of text.")] = False,
) -> None:
    workers = _workers(scenario.positive("processes", processes), ray)
    read = read_space(space)
    try:
        with _progress() as told:
            done = sweep(read, output, workers, told)
    except KeyboardInterrupt:
        screen().print(f"Stopped. Finished parts are in {output}: run the same command again to go on.", markup=False)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        emit(document("sweep", {"space": read.model_dump()}, asdict(done)))
    else:
        _show(done)


def _workers(processes: int | None, ray: str | None) -> Workers:
    if ray is None:
        return on_processes(processes or os.cpu_count() or 1)
    if processes is not None:
        raise InputError("Give --processes (on this machine) or --ray (on a cluster), not both.")
    return on_ray(ray)


@contextmanager
def _progress() -> Iterator[Told]:
    """A bar with the time left, on the error stream; without a terminal nothing moves."""
    console = Console(stderr=True)
    told = TextColumn("{task.fields[rows]:,} deployments")
    columns = TextColumn("sweeping"), BarColumn(), MofNCompleteColumn(), told, TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("sweep", total=None, rows=0)

        def tell(done: int, total: int, rows: int) -> None:
            bar.update(task, completed=done, total=total, rows=rows)

        yield tell


def _show(done: Swept) -> None:
    before = f", {done.found:,} of them from before" if done.found else ""
    console = screen()
    console.print(f"{done.rows:,} rows in {done.parts:,} parts{before}: {done.folder}", markup=False)
    console.print(f"Result: sha256 {done.digest}", soft_wrap=True)
    where = "" if str(done.folder) == "sweep" else f" --folder {done.folder}"
    console.print(
        "Ask: silicast results 'SELECT chip, max(output_tokens_per_s_per_device) FROM results WHERE tpot_ms < 50 "
        f"GROUP BY chip'{where}",
        markup=False, soft_wrap=True,
    )  # fmt: skip
