"""A simulated run as one HTML file in the style of the comparison: works offline, all text escaped."""

import json
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from silicast.report import simulation_charts as charts
from silicast.report import timeline
from silicast.report.elements import Figures, bullets, table
from silicast.report.files import replacing
from silicast.report.numbers import rounded
from silicast.report.page import page, write_page
from silicast.report.simulation import (
    STATISTICS,
    bench_result,
    headline,
    latency_rows,
    notes,
    rates,
    tables,
    targets,
    verdict,
)
from silicast.report.timeline import Slices
from silicast.report.vega import PAGE, Row
from silicast.simulation.answer import Simulation

#: lines of the table below a chart over time; the CSV or Parquet of the requests has everything
MOST_LINES = 24


def write_simulation(answer: Simulation, path: Path, command: str, runs: Sequence[Simulation] = ()) -> None:
    """Write the report to `path`; `command` is printed under "Reproduce". Raises InputError.

    `runs` are those of a sweep or a search, which become a curve.
    """
    write_page(render(answer, command, runs), path)


def write_result(answer: Simulation, path: Path) -> None:
    """Write the measures as `vllm bench serve --save-result` does. Raises InputError."""
    with replacing(path, "result") as fresh:
        fresh.write_text(json.dumps(bench_result(answer), allow_nan=False) + "\n", encoding="utf-8")


def render(answer: Simulation, command: str, runs: Sequence[Simulation] = ()) -> str:
    """The whole page."""
    figures = Figures()
    slo = answer.scenario.slo.law()
    asked = f"Targets: {targets(slo)} for {slo.percentile:g} % of the requests." if slo.stated else "No targets."
    parts = {
        "title": escape(answer.scenario.name or f"{answer.scenario.deployment.model}, simulated"),
        "question": escape(f"{headline(answer)} {asked}"),
        "verdict": "".join(f"<p>{escape(line)}</p>" for line in (*verdict(answer), *rates(answer))),
        "latency": _latency(answer, figures) + _curve(runs, figures),
        "time": _time(answer, figures),
        "groups": _groups(answer),
        "scenario": f"<pre><code>{escape(json.dumps(_inputs(answer), indent=1))}</code></pre>",
        "gaps": bullets(notes(answer) or ["No warnings."]),
        "command": escape(command),
    }
    return page("simulation.html", parts, figures, "A simulation, not a measurement.", drawn=False)


def _inputs(answer: Simulation) -> object:
    return answer.scenario.model_dump(mode="json", exclude_defaults=True)


def _latency(answer: Simulation, figures: Figures) -> str:
    rows = timeline.share_rows(answer.rows)
    numbers = table(["ms", *STATISTICS.values()], latency_rows(answer.summary))
    if not rows:
        return numbers
    return numbers + figures.add(
        charts.latencies(rows, answer.scenario.slo.law(), PAGE),
        "How many of the requests were at least so fast",
        _lines("latency, share", rows, lambda row: (f"{row['line']}, {row['text']}", f"{rounded(row['value'])} ms")),
    )


def _curve(runs: Sequence[Simulation], figures: Figures) -> str:
    rows = timeline.curve_rows(runs)
    if len(runs) < 2 or not rows:
        return ""
    return figures.add(
        charts.curve(rows, PAGE),
        "Latency by throughput, one point per run",
        _lines("run", rows, lambda row: (f"{rounded(row['rate'])} requests/s, {row['line']}", rounded(row["value"]))),
    )


def _time(answer: Simulation, figures: Figures) -> str:
    slices = Slices.of(answer)
    if slices is None:
        return "<p>No request was answered.</p>"
    room = answer.replicas.kv_blocks is not None
    drawn = (
        ("Requests per second", "requests/s", timeline.rate_rows(answer, slices), None),
        ("TTFT of the requests sent at that time", "ms", timeline.wait_rows(answer, slices),
         answer.scenario.slo.law().ttft_ms),
        ("Requests that run and wait", "requests", timeline.batch_rows(answer, slices), None),
        ("KV cache in use", "share of the blocks" if room else "blocks", timeline.cache_rows(answer, slices), None),
        ("Replicas", "replicas", timeline.replica_rows(answer, slices), None),
    )  # fmt: skip
    return "".join(
        figures.add(charts.over_time(title, unit, rows, PAGE, target), title, _lines("time, line", rows, _moment))
        for title, unit, rows, target in drawn
        if rows
    )


def _moment(row: Row) -> tuple[str, str]:
    return f"{rounded(row['time'])} s, {row['line']}", rounded(row["value"])


def _lines(first: str, rows: list[Row], cells: Callable[[Row], tuple[str, str]]) -> str:
    """Some of the rows, evenly chosen from each line."""
    lines = list(dict.fromkeys(row["line"] for row in rows))
    shown: list[Row] = []
    for line in lines:
        own = [row for row in rows if row["line"] == line]
        shown += own[:: max(len(own) * len(lines) // MOST_LINES, 1)]
    return table([first, "value"], [list(cells(row)) for row in shown])


def _groups(answer: Simulation) -> str:
    return "".join(table([title, *rows[0]], rows[1:]) for title, rows in tables(answer))
