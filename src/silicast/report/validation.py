"""`validate` as tables, and as the one JSON object of the evidence schema."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from silicast.evidence.score import Score
from silicast.evidence.validate import Checked, Validation, grouped
from silicast.report.document import SCHEMA
from silicast.report.numbers import digits, rounded

#: metrics by a short name; throughput is per device
_SHORT = {
    "output_tokens_per_s_per_device": "output tok/s",
    "input_tokens_per_s_per_device": "input tok/s",
    "total_tokens_per_s_per_device": "total tok/s",
}
#: how many of the worst misses are listed
WORST = 10


def validation_document(answer: Validation) -> dict[str, Any]:
    """`{schema, rows, groups, overall, warnings}`; rows in the order of the input."""
    return {
        "schema": SCHEMA,
        "rows": [_row(item) for item in answer.checked],
        "groups": [{**group.keys, **asdict(group.score)} for group in answer.groups],
        "overall": asdict(answer.overall),
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


def render(answer: Validation, console: Console) -> None:
    """Print the headline, the groups, the worst misses, what has no forecast, what stands apart."""
    for line in headline(answer):
        console.print(line)
    tables = (groups_table(answer), worst_table(answer.headline), missing_table(answer.checked), apart_table(answer))
    for table in tables:
        if table is not None and table.row_count:
            console.print()
            console.print(table)
    if answer.warnings:
        console.print()
    for warning in answer.warnings:
        console.print(f"warning: {escape(warning)}")


def headline(answer: Validation) -> list[str]:
    """Two or three lines that say how good the forecasts are, on what."""
    total, rows = answer.overall, len(answer.checked)
    lines = [
        f"[bold]{rows:,} rows of {len(answer.sources)} sources[/bold]; {total.rows:,} count here ({total.evidence:,} "
        f"independent runs), {_percent(total.share_forecast)} of them forecast; {rows - total.rows:,} stand apart."
    ]
    if total.median_absolute_error is not None:
        lines.append(
            f"Error of forecast / measured - 1: median {_percent(total.median_absolute_error)}, mean "
            f"{_percent(total.mean_absolute_error)}, 90 % below {_percent(total.p90_absolute_error)}, bias "
            f"{_signed(total.bias)}; rank correlation {_two(total.rank_correlation)}."
        )
    if total.coverage is not None:
        lines.append(f"{_percent(total.coverage)} of the measurements lie inside the forecast's 80 % range.")
    return lines


def groups_table(answer: Validation) -> Table:
    """One line per chip, stack and metric."""
    table = _table("Errors in % by chip, stack and metric; throughput per device; a run counts once")
    for name in ("chip", "stack", "metric"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for name in ("rows", "fc", "med", "mean", "P90", "bias", "rank", "band"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in grouped(answer.headline, ("chip", "stack", "metric")):
        keys = group.keys
        table.add_row(keys["chip"], escape(keys["stack"]), _label(keys["metric"]), *_cells(group.score))
    return table


def _cells(found: Score) -> tuple[str, ...]:
    shares = (
        found.share_forecast,
        found.median_absolute_error,
        found.mean_absolute_error,
        found.p90_absolute_error,
        found.bias,
    )
    percents = ("" if share is None else f"{100 * share:.0f}" for share in shares)
    coverage = "" if found.coverage is None else f"{100 * found.coverage:.0f}"
    return (f"{found.rows:,}", *percents, _two(found.rank_correlation), coverage)


def worst_table(items: Sequence[Checked]) -> Table:
    """The largest misses as a factor, one per run."""
    table = _table(f"The {WORST} largest misses, one per run")
    for name in ("source", "row", "metric"):
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width={"row": 40}.get(name, 19))
    for name in ("measured", "forecast", "factor"):
        table.add_column(name, justify="right", no_wrap=True)
    seen = set()
    for item in sorted(items, key=_factor, reverse=True):
        piece = item.compared().piece
        if item.outcome.value is None or piece in seen:
            continue
        seen.add(piece)
        factor = item.outcome.value / item.row.value
        row = item.row
        numbers = digits(row.value), digits(item.outcome.value), rounded(factor, 2)
        table.add_row(escape(row.source), escape(row.id), _label(row.metric), *numbers)
        if len(seen) == WORST:
            break
    return table


def _factor(item: Checked) -> float:
    value = item.outcome.value
    return 0.0 if value is None else max(value / item.row.value, item.row.value / value)


def missing_table(items: Sequence[Checked]) -> Table:
    """Rows without a forecast by reason."""
    table = _table("Rows without a forecast")
    table.add_column("rows", justify="right")
    table.add_column("kind")
    table.add_column("reason", overflow="fold")
    counts = Counter((item.row.scenario.kind, item.outcome.reason) for item in items if item.outcome.value is None)
    for (kind, reason), number in counts.most_common():
        table.add_row(f"{number:,}", kind, escape(reason))
    return table


def apart_table(answer: Validation) -> Table:
    """Rows with a forecast that no figure counts, with their own median error."""
    table = _table("Rows outside the figures above")
    for name in ("rows", "median"):
        table.add_column(name, justify="right")
    table.add_column("source", no_wrap=True, overflow="ellipsis", max_width=20)
    table.add_column("why", overflow="fold")
    beside = [item for item in answer.checked if item.apart and item.row.scenario.kind != "train"]
    for source, why in sorted({(item.row.source, item.apart) for item in beside}):
        rows = [item for item in beside if (item.row.source, item.apart) == (source, why)]
        (group,) = grouped(rows, ("source",))
        table.add_row(f"{len(rows):,}", _percent(group.score.median_absolute_error), escape(source), escape(why))
    return table


def _table(title: str) -> Table:
    return Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title_justify="left", padding=0)


def _label(metric: str) -> str:
    return _SHORT.get(metric, metric)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def _signed(share: float | None) -> str:
    return "" if share is None else f"{100 * share:+.0f} %"


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
