"""A plan as one HTML file in the style of the comparison: works offline, all text escaped."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from silicast.evidence.record import load, shipped
from silicast.evidence.runs import NEAR, Run, runs_near
from silicast.planning.plan import Plan
from silicast.report import plan_charts as charts
from silicast.report.elements import Figures, bullets, table
from silicast.report.page import page, write_page
from silicast.report.plan import notes, question_line, refused, rest, rows, shown, verdict, why
from silicast.report.vega import PAGE


def write_plan(answer: Plan, path: Path, command: str) -> None:
    """Write the report to `path`; `command` is printed under "Reproduce". Raises InputError."""
    write_page(render(answer, command), path)


def render(answer: Plan, command: str) -> str:
    """The whole page."""
    figures = Figures()
    runs = measured(answer)
    parts = {
        "title": escape(f"{answer.model}: which chips, how many, configured how"),
        "question": escape(question_line(answer.question, answer.trials)),
        "verdict": "".join(f"<p>{escape(_plain(line))}</p>" for line in verdict(answer)[1:]),
        "deployments": _options(answer),
        "measured": escape(_said(answer, runs)),
        "front": _fronts(answer, figures, runs),
        "why": "".join(f"<p>{escape(line)}</p>" for line in why(answer)) or "<p>There is no other candidate.</p>",
        "gaps": bullets([*refused(answer), *notes(answer)]),
        "command": escape(command),
    }
    return page("plan.html", parts, figures)


def _plain(line: str) -> str:
    """Without the marks of the terminal."""
    for mark in ("[bold]", "[/bold]", "[yellow]", "[/yellow]"):
        line = line.replace(mark, "")
    return line


def _options(answer: Plan) -> str:
    options = shown(answer)
    return table(["", *(one.name for one in options)], rows(options)) + bullets(rest(answer))


def measured(answer: Plan) -> tuple[Run, ...]:
    """Runs of the evidence that ships: the same model on chips of the front, at lengths near those asked for."""
    chips = {point.chips for point in answer.front}
    return runs_near(load([shipped()]).rows, answer.model, chips, answer.question.workload)


def _said(answer: Plan, runs: Sequence[Run]) -> str:
    near = f"lengths within {NEAR:g} times those asked for"
    if not runs:
        return f"No run of {answer.model} on these chips with {near} is in the evidence that ships."
    sources = ", ".join(sorted({run.source for run in runs}))
    return (
        f"Crosses are {len(runs)} measured runs of {answer.model} with {near}, under any target of TTFT, from {sources}"
        ": what was measured, in formats and with draft tokens of its own."
    )


def _fronts(answer: Plan, figures: Figures, runs: Sequence[Run]) -> str:
    lines = [[row["chips"], row["user"], row["device"], row["usd"], row["recipe"]]
             for row in charts.point_rows(answer.front)]  # fmt: skip
    numbers = table(["chips", "per user", "per device", "per million output tokens", "recipe"], lines)
    if runs:
        told = [[row["chips"], row["user"], row["device"], row["recipe"], row["source"]]
                for row in charts.run_rows(runs)]  # fmt: skip
        both = numbers + table(["measured on", "per user", "per device", "recipe", "source"], told)
    else:
        both = numbers
    drawn = figures.add(
        charts.throughput(answer, PAGE, runs), "Output tokens/s per device over tokens/s per user", both
    )
    cost = charts.cost(answer, PAGE)
    if cost is not None:
        priced = table(["chips", "per user", "USD"], [[line[0], line[1], line[3]] for line in lines])
        drawn += figures.add(cost, "USD per million output tokens over tokens/s per user", priced)
    return drawn
