"""A plan as one HTML file in the style of the comparison: works offline, all text escaped."""

from html import escape
from pathlib import Path

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
    parts = {
        "title": escape(f"{answer.model}: which chips, how many, configured how"),
        "question": escape(question_line(answer.question, answer.trials)),
        "verdict": "".join(f"<p>{escape(_plain(line))}</p>" for line in verdict(answer)[1:]),
        "deployments": _options(answer),
        "front": _fronts(answer, figures),
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


def _fronts(answer: Plan, figures: Figures) -> str:
    lines = [[row["chips"], row["user"], row["device"], row["usd"], row["recipe"]]
             for row in charts.point_rows(answer.front)]  # fmt: skip
    numbers = table(["chips", "per user", "per device", "per million output tokens", "recipe"], lines)
    drawn = figures.add(charts.throughput(answer, PAGE), "Output tokens/s per device over tokens/s per user", numbers)
    cost = charts.cost(answer, PAGE)
    if cost is not None:
        priced = table(["chips", "per user", "USD"], [[line[0], line[1], line[3]] for line in lines])
        drawn += figures.add(cost, "USD per million output tokens over tokens/s per user", priced)
    return drawn
