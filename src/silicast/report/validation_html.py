"""A validation as one HTML file: headline, figures, charts, groups, misses with their parts, sources. Works offline."""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from silicast.evidence.deployment import Pools
from silicast.evidence.explain import explained_run
from silicast.evidence.figures import Figure
from silicast.evidence.peers import shipped_peer
from silicast.evidence.record import Source
from silicast.evidence.validate import Checked, Validation
from silicast.parts import Explained
from silicast.pool import Phase
from silicast.report import scatter
from silicast.report.elements import Figures, bullets, table
from silicast.report.numbers import digits, rounded
from silicast.report.page import page, write_page
from silicast.report.scoreboard import (
    Lines,
    apart_lines,
    coverage_lines,
    figures_lines,
    fitted_lines,
    groups_lines,
    label,
    missing_lines,
    peer_lines,
    worst,
)
from silicast.report.validation import headline
from silicast.report.vega import PAGE

#: metric -> its name and unit on an axis
DRAWN = {
    "tpot_ms": ("TPOT", "ms"),
    "ttft_ms": ("TTFT", "ms"),
    "output_tokens_per_s_per_device": ("output throughput", "tokens/s per device"),
    "step_ms": ("step time", "ms"),
    "latency_us": ("operator latency", "us"),
}
#: points from which a metric has a chart
FEWEST_DRAWN = 8
#: parts of a step that a miss lists
PARTS = 8


def write_validation(answer: Validation, found: Sequence[Figure], path: Path, arguments: Sequence[str]) -> None:
    """Write the report to `path`; raises InputError where it cannot be written. `arguments` = the call."""
    write_page(render(answer, found, shlex.join(["silicast", *arguments])), path)


def render(answer: Validation, found: Sequence[Figure], command: str) -> str:
    """The whole page."""
    figures = Figures()
    beside, fitted = peer_lines(answer), fitted_lines(answer)
    parts = {
        "title": "Forecast against measurement",
        "question": escape(f"{len(answer.checked):,} published rows of {len(answer.sources)} sources."),
        "headline": "".join(f"<p>{_plain(line)}</p>" for line in headline(answer)),
        "figures_link": '<a href="#figures">Figures</a>' if found else "",
        "figures": _section("figures", "Figures and goals", figures_lines(found)) if found else "",
        "scatter": _scatter(answer, figures),
        "spread": _spread(answer, figures),
        "groups": _table(groups_lines(answer)),
        "ranges": _table(coverage_lines(answer)),
        "peer_link": '<a href="#peer">Peer</a>' if beside.lines else "",
        "peer": _section("peer", f"Beside {answer.peer}", beside),
        "fitted_link": '<a href="#fitted">Fitted rows</a>' if fitted.lines else "",
        "fitted": _section("fitted", "Rows that were fitted", fitted),
        "misses": _misses(worst(answer.headline)),
        "missing": f"{_table(missing_lines(answer.checked))}{_missing(answer.checked)}{_table(apart_lines(answer))}",
        "sources": _sources(answer.sources, bool(beside.lines)),
        "command": escape(command),
    }
    return page("validation.html", parts, figures, "A run counts once, however many metrics and resubmissions it has.")


def _plain(line: str) -> str:
    """A line of the screen: its bold part stays bold."""
    return escape(line).replace("[bold]", "<b>").replace("[/bold]", "</b>")


def _section(name: str, title: str, lines: Lines) -> str:
    if not lines.lines:
        return ""
    return f'<section id="{name}"><h2>{escape(title)}</h2>{_table(lines)}</section>'


def _table(lines: Lines) -> str:
    if not lines.lines:
        return ""
    return f'<div class="wrap"><h3>{escape(lines.title)}</h3>{table(lines.columns, lines.lines)}</div>'


def _scatter(answer: Validation, figures: Figures) -> str:
    drawn = []
    for metric, (name, unit) in DRAWN.items():
        items = [item for item in answer.checked if item.row.metric == metric and not item.row.suspect]
        rows = scatter.scatter_rows(items)
        if len(rows) >= FEWEST_DRAWN:
            spec = scatter.scatter(items, name, unit, answer.peer, PAGE)
            lines = [[row["name"], row["kind"], row["shown"], row["told"], row["factor"]] for row in rows]
            numbers = table(["row", "forecast of", "measured", "forecast", "factor"], lines)
            drawn.append(figures.add(spec, f"{name}: {len(rows):,} points", numbers))
    return "".join(drawn)


def _spread(answer: Validation, figures: Figures) -> str:
    rows = scatter.spread_rows(answer.headline)
    if not rows:
        return ""
    numbers = table(["chip, metric, rows", "median (middle 80 %)"], [[row["bar"], row["text"]] for row in rows])
    return figures.add(scatter.spread(answer.headline, PAGE), "Forecast / measured on unseen rows", numbers)


def _misses(items: Iterable[Checked]) -> str:
    pools = Pools()
    return "".join(_miss(item, explained_run(item.row.scenario, pools)) for item in items)


def _miss(item: Checked, steps: Mapping[Phase, Explained]) -> str:
    row, value = item.row, item.outcome.value or 0.0
    what = (
        f"{label(row.metric)} {digits(value)} forecast, {digits(row.value)} measured, {rounded(value / row.value, 2)}x"
    )
    bound = f"; bound by {item.outcome.bound_by}, tier {item.outcome.tier}" if item.outcome.bound_by else ""
    trees = "".join(_step(phase, step) for phase, step in steps.items())
    note = f"<p>{escape(row.note)}</p>" if row.note else ""
    where = f"{row.source}: {item.key('chip')}, {item.key('stack')}, {row.scenario.model}"
    return (
        f"<details><summary>{escape(where)}: {escape(what)}</summary><p>{escape(row.id)}{escape(bound)}. "
        f"{escape(item.outcome.reason)}</p>{note}{trees}</details>"
    )


def _step(phase: str, step: Explained) -> str:
    leaves = step.leaves()
    lines = [
        [part.name, rounded(part.value * 1e3), f"{part.value / step.seconds:.0%}", part.bound_by, part.tier]
        for part in leaves[:PARTS]
    ]
    title = f"{phase} step: {rounded(step.seconds * 1e3)} ms, bound by {step.bound_by}, tier {step.tier}"
    return f"<h3>{escape(title)}</h3>{table(['operator', 'ms', 'share', 'bound by', 'tier'], lines)}"


def _missing(items: Iterable[Checked]) -> str:
    """Each row that is not forecast, by reason; training rows by source only, as there are many."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for item in items:
        if item.outcome.value is None:
            name = item.row.source if item.row.scenario.kind == "train" else f"{item.row.source}: {item.row.id}"
            reasons[item.outcome.reason].append(name)
    return "".join(
        f"<details><summary>{escape(reason)}: {len(names):,} rows</summary>{bullets(dict.fromkeys(names))}</details>"
        for reason, names in sorted(reasons.items())
    )


def _sources(sources: Sequence[Source], peer: bool) -> str:
    lines = [_source(source.cite(), source.licence, source.does_not_claim) for source in sources]
    if peer:
        other = shipped_peer()
        lines.append(_source(other.cite(), other.licence, ""))
    return f"<ol>{''.join(f'<li>{line}</li>' for line in lines)}</ol>"


def _source(cited: str, licence: str, not_claimed: str) -> str:
    quiet = f' <span class="quiet">{escape(licence)}</span>' if licence else ""
    claim = f"<br>Does not claim: {escape(not_claimed)}" if not_claimed else ""
    return f"{escape(cited)}{quiet}{claim}"
