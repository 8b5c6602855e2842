"""`explain` as trees: where the time of a decode and of a prefill step goes, and why we think so."""

from rich import box
from rich.console import Console
from rich.table import Table

from silicast.estimate import Part
from silicast.outcome import Forecast
from silicast.parts import Explained
from silicast.report.forecast import headline, warnings
from silicast.report.numbers import rounded
from silicast.report.screen import prose
from silicast.scenario import Workload

#: parts below this share of the step are summed up in one line
SHOWN_SHARE = 0.005


def render(told: Forecast, workload: Workload, console: Console) -> None:
    """Both steps, the laws and tiers, the bibliography."""
    console.print(headline(told, workload))
    for name, step in (("Decode step", told.decode), ("Prefill step, one chunk per rank", told.prefill)):
        console.print()
        console.print(step_table(name, step))
        console.print(_resources(step))
    console.print()
    missing = told.missing_tiers
    prose(console, "What better tier is missing:" if missing else "No better tier is missing: all laws are calibrated.")
    for line in missing:
        prose(console, f"  {line}")
    for line in warnings(told):
        prose(console, line)
    prose(console, "Sources:")
    for line in sorted({source.cite() for source in told.citations}):
        prose(console, f"  {line}")


def step_table(name: str, step: Explained) -> Table:
    """The tree of parts, longest first."""
    table = Table(
        title=f"{name}: {rounded(step.seconds * 1e3)} ms, bound by {step.bound_by}",
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title_justify="left",
    )  # fmt: skip
    table.add_column("part", no_wrap=True)
    for column in ("ms", "share", "calls"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("bound by", "law", "tier"):
        table.add_column(column, no_wrap=True)
    for node in step.tree.parts:
        _add(table, node, step.seconds, "")
        small = [part for part in node.parts if part.value < SHOWN_SHARE * step.seconds]
        # one alone takes no more room by its own name
        small = small if len(small) > 1 else []
        for part in node.parts:
            if part not in small:
                _add(table, part, step.seconds, "  ")
        if small:
            rest = Part(f"{len(small)} smaller ones", sum(part.value for part in small), "s")
            _add(table, rest, step.seconds, "  ")
    return table


def _add(table: Table, part: Part, seconds: float, indent: str) -> None:
    calls = f"{part.calls:,.0f}" if part.calls else ""
    tier = part.tier if part.law not in ("", "overlap") else ""
    share = f"{part.value / seconds:.1%}"
    table.add_row(indent + part.name, f"{part.value * 1e3:.3g}", share, calls, part.bound_by, part.law, tier)


def _resources(step: Explained) -> str:
    ordered = sorted(step.by_resource.items(), key=lambda item: -item[1])
    return (
        "By resource: " + ", ".join(f"{name} {value / step.seconds:.0%}" for name, value in ordered if value > 0) + "."
    )
