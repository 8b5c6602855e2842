"""`replace` as text: a table that a director can read, then what an engineer checks."""

import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from silicast.fleet import Fleet
from silicast.planning.options import Option
from silicast.planning.replace import Independence, Move, independence
from silicast.report.document import document
from silicast.report.numbers import compact, rounded, spread
from silicast.report.plan import option_result, pools, sizes
from silicast.report.plan_trials import three

RATIOS = "Every ratio is of two planned deployments for the same requests/s, none of peaks"


def render(fleet: Fleet, moves: Sequence[Move], console: Console) -> None:
    """Print the whole answer."""
    for line in summary(moves):
        console.print(line)
    for chip in dict.fromkeys(one.chip for one in moves):
        console.print()
        console.print(overview(chip, [one for one in moves if one.chip == chip]))
    console.print()
    for line in appendix(moves, fleet):
        console.print(line)
    console.print(basis(moves))


def basis(moves: Sequence[Move]) -> str:
    """What the ratios rest on."""
    if all(one.old.trial for one in moves):
        return f"{RATIOS}; each was simulated under Poisson arrivals, and its units follow from its goodput there."
    return f"{RATIOS}; closed-form means were compared with the targets."


def summary(moves: Sequence[Move]) -> list[str]:
    """One line per chip: how much of the fleet can move, at which premium."""
    return [_summed(one) for one in independence(list(moves))]


def _summed(one: Independence) -> str:
    text = f"[bold]{one.share:.0%}[/bold] of the fleet's output tokens/s can move to [bold]{one.chip}[/bold]"
    if one.packages is None:
        return f"{text}."
    parts = [f"{rounded(one.packages)} times the packages"]
    if one.power is not None:
        parts.append(f"{rounded(one.power)} times the provisioned power")
    if one.premium is not None and one.usd_per_million is not None:
        old, new = one.usd_per_million
        parts.append(f"{rounded(new)} instead of {rounded(old)} USD per million output tokens "
                     f"({rounded(one.premium, 2)} times)")  # fmt: skip
    else:
        parts.append("cost not known: a price is missing")
    unadvised = one.share - one.advised
    doubt = f" {unadvised:.0%} of it is a bad idea, see below." if unadvised > 0 else ""
    return f"{text}, with {', '.join(parts)}.{doubt}"


def overview(chip: str, moves: Sequence[Move]) -> Table:
    """The table for a director: what each service takes on one chip."""
    table = Table(title=f"To {chip}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("service", "from"):
        table.add_column(name, no_wrap=True)
    for name in ("packages", "new per old", "kW", "USD/h", "TPOT ms"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("advice", no_wrap=True)
    for one in moves:
        table.add_row(escape(one.service), escape(one.old.name), *_cells(one), _advice(one))
    return table


def _advice(one: Move) -> str:
    if not one.possible:
        return "[red]cannot[/red]"
    return "[green]move[/green]" if one.advised else "[yellow]bad idea[/yellow]"


def _cells(one: Move) -> list[str]:
    if one.new is None or one.packages is None:
        return [f"{one.old.packages} -> none", "", "", "", ""]
    old, new = one.old, one.new
    return [
        f"{old.packages} -> {new.packages}", spread(one.packages), _arrow(_kw(old), _kw(new)),
        _arrow(old.usd_per_hour, new.usd_per_hour), _arrow(_tpot(old), _tpot(new)),
    ]  # fmt: skip


def _arrow(old: float | None, new: float | None) -> str:
    before, after = ("?" if value is None else compact(value) for value in (old, new))
    return f"{before} -> {after}"


def _kw(one: Option) -> float | None:
    return None if one.watts is None else one.watts / 1e3


def _racks(one: Option, rack_kw: float | None) -> int | None:
    return None if one.watts is None or rack_kw is None else math.ceil(one.watts / 1e3 / rack_kw)


def _tpot(one: Option) -> float:
    return one.estimates["tpot_ms"].value


def appendix(moves: Sequence[Move], fleet: Fleet) -> list[str]:
    """What an engineer checks, a few lines per service and chip."""
    return [line for one in moves for line in _details(one, fleet)]


def _owned(one: Move, fleet: Fleet) -> str:
    """What the service has today, where it states both that and its load."""
    service = next(service for service in fleet.services if service.name == one.service)
    loaded = service.rate is not None or service.concurrency is not None
    return f"; it has {service.packages} packages today" if loaded and service.packages else ""


def _details(one: Move, fleet: Fleet) -> list[str]:
    lines = [
        f"[bold]{escape(one.service)}[/bold], {escape(one.old.name)} to {escape(one.chip)}",
        f"  planned today: {sizes(one.old)}, {pools(one.old)}, {one.precisions[0]}{_owned(one, fleet)}",
    ]
    if one.new is None or one.devices is None:
        lines.append(f"  [yellow]cannot: {escape(one.reason)}[/yellow]")
    else:
        lines.append(f"  then: {sizes(one.new)}, {pools(one.new)}, {one.precisions[1]}")
        lines.append(f"  devices {one.old.devices} -> {one.new.devices} ({spread(one.devices)} per old one), nodes "
                     f"{one.old.nodes} -> {one.new.nodes}{_in_racks(one.old, one.new, fleet.rack_kw)}")  # fmt: skip
        lines.append(f"  links needed: {one.network}; TTFT {spread(one.old.estimates['ttft_ms'])} -> "
                     f"{spread(one.new.estimates['ttft_ms'])} ms")  # fmt: skip
        if one.old.trial and one.new.trial:
            lines.append(f"  simulated (median / p90 / p99): TTFT {three(one.old.trial, 'ttft')} -> "
                         f"{three(one.new.trial, 'ttft')} ms, TPOT {three(one.old.trial, 'tpot')} -> "
                         f"{three(one.new.trial, 'tpot')} ms")  # fmt: skip
        if one.precisions[0] != one.precisions[1]:
            lines.append(f"  [yellow]precision changes: {one.precisions[0]} becomes {one.precisions[1]}[/yellow]")
        if one.break_even is not None:
            lines.append(f"  a token costs the same at {rounded(one.break_even)} USD per package-hour of {one.chip}")
        if one.reason:
            lines.append(f"  [yellow]a bad idea: {one.reason}[/yellow]")
    if one.lost:
        classes = ", ".join(f"{ms:g} ms" for ms in one.lost)
        lines.append(f"  [yellow]latency classes given up (mean TPOT): {classes}[/yellow]")
    return lines


def _in_racks(old: Option, new: Option, rack_kw: float | None) -> str:
    if rack_kw is None:
        return ""
    before, after = ("?" if racks is None else racks for racks in (_racks(old, rack_kw), _racks(new, rack_kw)))
    return f", racks of {rack_kw:g} kW {before} -> {after}"


def replace_document(fleet: Fleet, moves: Sequence[Move], inputs: dict[str, Any]) -> dict[str, Any]:
    """`replace --json`."""
    result = {"moves": [_result(fleet, one) for one in moves], "independence": independence(list(moves))}
    return document("replace", inputs, result, [basis(moves)])


def _result(fleet: Fleet, one: Move) -> dict[str, Any]:
    return {
        "service": one.service, "from": one.old.name, "to": one.chip, "possible": one.possible,
        "advised": one.advised, "reason": one.reason,
        "package_ratio": one.packages, "device_ratio": one.devices, "power_ratio": one.power,
        "cost_ratio": one.premium, "break_even_usd_per_package_hour": one.break_even,
        "latency_classes_lost_tpot_ms": list(one.lost), "precision_before": one.precisions[0],
        "precision_after": one.precisions[1], "links": one.network,
        "racks": None if fleet.rack_kw is None else [_racks(one.old, fleet.rack_kw)]
        + ([_racks(one.new, fleet.rack_kw)] if one.new else []),
        "old": option_result(one.old), "new": option_result(one.new) if one.new else None,
    }  # fmt: skip
