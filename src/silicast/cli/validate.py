"""`silicast validate`: forecasts against measurements, in public."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from silicast.cli.options import AsJson
from silicast.estimate import DRAWS
from silicast.evidence.figures import figures
from silicast.evidence.left_out import shipped_refits
from silicast.evidence.misses import shipped_misses
from silicast.evidence.record import shipped
from silicast.evidence.simulated import simulated
from silicast.evidence.validate import Filter, Question, validate
from silicast.report.document import emit
from silicast.report.screen import screen
from silicast.report.validation import render, validation_document
from silicast.report.validation_html import write_validation

#: seconds after which a bar tells how far it is
PATIENCE = 2.0

Folders = Annotated[
    list[Path] | None,
    typer.Option("--evidence", help="A source folder, or a folder of them; instead of what ships.", show_default=False),
]


def command(
    evidence: Folders = None,
    also_shipped: Annotated[bool, typer.Option("--shipped", help="With --evidence: add what ships.")] = False,
    chip: Annotated[list[str] | None, typer.Option(help="Only rows of this chip; repeatable.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only rows of this model; repeatable.")] = None,
    stack: Annotated[list[str] | None, typer.Option(help="Only rows of this stack; repeatable.")] = None,
    metric: Annotated[list[str] | None, typer.Option(help="Only this metric; repeatable.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Only rows of this source; repeatable.")] = None,
    leave_one_source_out: Annotated[
        bool,
        typer.Option("--leave-one-source-out", help="Fitted rows also under a refit without their source on the chip."),
    ] = False,
    simulate: Annotated[
        bool,
        typer.Option("--simulate", help="Also replay serving runs through the simulator: minutes for all of them."),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a report that works offline.", show_default=False),
    ] = None,
    points: Annotated[bool, typer.Option("--points", help="Points only, without ranges: faster.")] = False,
    as_json: AsJson = False,
) -> None:
    folders = [*(evidence or []), *([shipped()] if also_shipped or not evidence else [])]
    only = Filter(*(tuple(names or ()) for names in (chip, model, stack, metric, source)))
    question = Question(tuple(folders), only, 0 if points else DRAWS, left_out=True)
    with _Bar() as bar:
        answer = validate(question, bar.show)
    replayed = None
    if simulate:
        with _Bar() as bar:
            replayed = simulated([item.row for item in answer.checked], bar.show)
    # a figure is about all rows of its kind: there is none of a part of the evidence
    whole = only == Filter() and shipped() in folders and (html is not None or not as_json)
    found = figures(answer, shipped_refits(), shipped_misses()) if whole else []
    if html is not None:
        write_validation(answer, found, html, sys.argv[1:])
    if as_json:
        emit(validation_document(answer, leave_one_source_out, replayed))
    else:
        render(answer, found, screen(), replayed)
        if html is not None:
            screen().print(f"Report: {html}")


class _Bar:
    """A progress bar on stderr, for a terminal, after two seconds."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._visible = sys.stderr.isatty()
        self._progress: Progress | None = None

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, done: int, of: int) -> None:
        """`done` of `of` runs are forecast."""
        if not self._visible or time.monotonic() - self._start < PATIENCE:
            return
        if self._progress is None:
            self._progress = Progress(console=Console(stderr=True), transient=True)
            self._progress.add_task("forecasting runs", total=of)
            self._progress.start()
        self._progress.update(self._progress.task_ids[0], completed=done, total=of)
