"""`silicast systems`: how chips are joined, with the domains and their sources."""

from typing import Annotated, Any

import typer
from rich.markup import escape

from silicast import catalog
from silicast.cli.chips import (
    AsJson,
    cited,
    plain_table,
    print_bibliography,
    print_json,
    print_line,
    print_remarks,
    readable,
)
from silicast.hardware import Domain, Number, System
from silicast.report.numbers import shown, shown_range
from silicast.report.screen import screen

app = typer.Typer(help="Systems: list them, show one with all sources.")


@app.callback(invoke_without_command=True)
def list_systems(context: typer.Context, as_json: AsJson = False) -> None:
    """List all systems: their domains from the fastest to the widest, and the chips they join."""
    if context.invoked_subcommand is not None:
        return
    systems, warnings = readable("systems", catalog.system)
    if as_json:
        print_json("systems", {}, [_row(system) for system in systems], warnings)
        return
    _print_list(systems)
    for line in warnings:
        print_line(line, style="yellow")


@app.command()
def show(system: Annotated[str, typer.Argument(help="Id or path of a system file.")], as_json: AsJson = False) -> None:
    """Show the domains of one system; what is empty is taken from the chip or from a stated class default."""
    found = catalog.system(system)
    if as_json:
        print_json("systems show", {"system": system}, found.model_dump(mode="json"))
        return
    _print_system(found)


def _row(system: System) -> dict[str, Any]:
    domains = [{"name": d.name, "size": d.size, "topology": d.topology, "kind": d.kind} for d in system.domains]
    return {"id": system.id, "name": system.name, "chips": list(system.chips), "domains": domains}


def _print_list(systems: list[System]) -> None:
    console = screen()
    table = plain_table()
    table.padding = (0, 1, 0, 0)
    table.add_column("id", no_wrap=True)
    table.add_column("domains (size in devices)", ratio=1)
    table.add_column("chips", ratio=1)
    for system in systems:
        domains = ", ".join(f"{d.name} {_topology(d)} ({_size(d)})" for d in system.domains)
        table.add_row(system.id, escape(domains), escape(" ".join(system.chips)))
    console.print(table)
    print_line("Details: silicast systems show ID")


def _topology(domain: Domain) -> str:
    return f"{domain.axes}D {domain.topology}" if domain.axes else domain.topology


def _size(domain: Domain) -> str:
    return str(domain.size) if domain.size is not None else "any"


def _print_system(system: System) -> None:
    print_line(f"{system.name} ({system.id})", style="bold")
    limit = f", at most {system.max_devices} devices" if system.max_devices else ""
    print_line(f"{system.devices_per_node} devices per node{limit}; chips: {', '.join(system.chips)}")
    if system.note:
        print_line(system.note)
    titles: dict[str, int] = {}
    table = plain_table()
    table.padding = (0, 1, 0, 0)
    for heading in ("domain", "size", "topology", "kind", "per direction", "latency", "source"):
        table.add_column(heading, overflow="fold")
    for domain in system.domains:
        table.add_row(*(escape(cell) for cell in _cells(domain, titles)))
    screen().print(table)
    if system.power_per_package is not None:
        power = _number(system.power_per_package, titles)
        print_line(f"power per package, the system included: {power}")
    if numbers := _numbers(system):
        print_line("")
        print_remarks(numbers)
    print_bibliography(titles)


def _cells(domain: Domain, titles: dict[str, int]) -> list[str]:
    bandwidth = _number(domain.bandwidth, titles) if domain.bandwidth else f"of the chip: {domain.link}"
    latency = _number(domain.latency, titles) if domain.latency else "of chip or class"
    reduces = ", reduces" if domain.in_network_reduction else ""
    topology = f"{_topology(domain)}{reduces}"
    return [domain.name, _size(domain), topology, domain.kind, bandwidth, latency, cited(domain, titles)]


def _number(number: Number, titles: dict[str, int]) -> str:
    spread = shown_range(number)
    return f"{shown(number.value, number.unit)}{f' ({spread})' if spread else ''} {cited(number, titles)}"


def _numbers(system: System) -> dict[str, Number]:
    found = {"power_per_package": system.power_per_package}
    for domain in system.domains:
        found |= {f"{domain.name}.bandwidth": domain.bandwidth, f"{domain.name}.latency": domain.latency}
        found[f"{domain.name}.oversubscription"] = domain.oversubscription
    return {name: number for name, number in found.items() if number is not None}
