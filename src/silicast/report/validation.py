"""`validate` as tables, and as the one JSON object of the evidence schema."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from silicast.evidence.figures import Figure
from silicast.evidence.score import score
from silicast.evidence.validate import Checked, Group, Validation
from silicast.report.document import SCHEMA
from silicast.report.scoreboard import (
    Lines,
    apart_lines,
    coverage_lines,
    figures_lines,
    fitted_lines,
    groups_lines,
    missing_lines,
    peer_lines,
    percent,
    simulated_lines,
    two,
    worst_lines,
)

#: columns that may be cut, and to how many letters
_CUT = {"source": 16, "row": 26}
#: columns whose text is folded, not cut
_FOLDED = ("reason", "why", "figure", "found", "goal", "peer")


def validation_document(
    answer: Validation, without: bool = False, simulated: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """`{schema, rows, groups, overall, warnings}`; rows in the order of the input.

    `without` adds to each row its forecast under a refit without its source on its chip, where it was fitted;
    `simulated` what the simulator says of it.
    """
    return {
        "schema": SCHEMA,
        "rows": [
            _row(item)
            | (_refit(item) if without else {})
            | ({"simulated": simulated.get(item.row.id)} if simulated is not None else {})
            for item in answer.checked
        ],
        "groups": [_group(group, answer) for group in answer.groups],
        "overall": asdict(answer.overall) | _beside(answer.headline),
        "warnings": list(answer.warnings),
    }


def _row(item: Checked) -> dict[str, Any]:
    row, outcome = item.row, item.outcome
    return {
        "id": row.id,
        "source": row.source,
        "kind": row.scenario.kind,
        "chip": item.key("chip"),
        "stack": row.scenario.stack,
        "model": row.scenario.model,
        "metric": row.metric,
        "measured": row.value,
        "forecast": outcome.value,
        "low": outcome.low,
        "high": outcome.high,
        "error": item.error,
        "inside": item.inside,
        "tier": outcome.tier,
        "bound_by": outcome.bound_by or None,
        "reason": outcome.reason or None,
    }


def _refit(item: Checked) -> dict[str, Any]:
    value = item.without.value if item.without else None
    error = None if value is None else value / item.row.value - 1
    return {"forecast_left_out": value, "error_left_out": error}


def _group(group: Group, answer: Validation) -> dict[str, Any]:
    names = group.keys.items()
    items = [item for item in answer.headline if all(item.key(name) == value for name, value in names)]
    return {**group.keys, **asdict(group.score), **_beside(items)}


def _beside(items: Iterable[Checked]) -> dict[str, Any]:
    """The peer's median error, and ours on the same rows."""
    known = [item for item in items if item.rival and item.outcome.value is not None]
    ours, theirs = score([item.compared() for item in known]), score([item.peer() for item in known])
    return {
        "peer_rows": len(known),
        "peer_median_absolute_error": theirs.median_absolute_error,
        "median_absolute_error_on_peer_rows": ours.median_absolute_error,
    }


def render(
    answer: Validation, figures: Iterable[Figure], console: Console, simulated: Mapping[str, float] | None = None
) -> None:
    """Print the headline, the figures, the groups, the worst misses, what has no forecast, what stands apart.

    `simulated` are values of the simulator by id of the row.
    """
    for line in headline(answer):
        console.print(line)
    for lines in (
        figures_lines(figures), groups_lines(answer), simulated_lines(answer, simulated or {}),
        coverage_lines(answer), peer_lines(answer), fitted_lines(answer),
        worst_lines(answer.headline), missing_lines(answer.checked), apart_lines(answer),
    ):  # fmt: skip
        if lines.lines:
            console.print()
            console.print(table(lines))
    if answer.warnings:
        console.print()
    for warning in answer.warnings:
        console.print(f"warning: {escape(warning)}")


def headline(answer: Validation) -> list[str]:
    """A few lines that say how good the forecasts are, on what, and how well the fitted rows are described."""
    total, rows = answer.overall, len(answer.checked)
    lines = [
        f"[bold]{rows:,} rows of {len(answer.sources)} sources[/bold]; {total.rows:,} count here ({total.evidence:,} "
        f"independent runs that no coefficient was fitted to), {percent(total.share_forecast)} of them forecast; "
        f"{rows - total.rows:,} stand apart."
    ]
    if total.median_absolute_error is not None:
        lines.append(
            f"Error of forecast / measured - 1: median {percent(total.median_absolute_error)}, mean "
            f"{percent(total.mean_absolute_error)}, 90 % below {percent(total.p90_absolute_error)}, bias "
            f"{signed(total.bias)}; rank correlation {two(total.rank_correlation)}."
        )
    if total.coverage is not None:
        lines.append(
            f"{percent(total.coverage)} of the measurements lie inside the forecast's 80 % range (high / low "
            f"{two(total.width)})."
        )
    if answer.fitted:
        lines.append(_fitted(answer))
    return lines


def _fitted(answer: Validation) -> str:
    """What the fits make of their own rows: said apart, because it is no forecast."""
    known = score([item.compared() for item in answer.fitted])
    again = score([item.compared() for item in answer.again])
    without = (
        f"; refitted without their source on their chip {percent(again.median_absolute_error)} "
        f"({again.rows:,} serving rows)"
        if answer.again
        else ""
    )
    return f"Rows that were fitted: {known.rows:,}, median {percent(known.median_absolute_error)}{without}."


def signed(share: float | None) -> str:
    """A share in % with its sign, or nothing."""
    return "" if share is None else f"{100 * share:+.0f} %"


def table(lines: Lines) -> Table:
    """Lines on the screen."""
    found = Table(
        title=lines.title, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title_justify="left",
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    for index, name in enumerate(lines.columns):
        text = index < lines.text or name in _FOLDED
        found.add_column(
            name, justify="left" if text else "right", no_wrap=name not in _FOLDED, max_width=_CUT.get(name),
            overflow="fold" if name in _FOLDED else "ellipsis",
        )  # fmt: skip
    for line in lines.lines:
        found.add_row(*map(escape, line))
    return found
