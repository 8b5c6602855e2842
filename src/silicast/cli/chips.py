"""`silicast chips`: the chips of the catalog, every number of one chip with its source, and a file to start from."""

import json
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from silicast import catalog
from silicast.errors import InputError
from silicast.hardware import Chip, Domain, Fact, Number
from silicast.report.numbers import digits, shown, shown_range
from silicast.report.screen import PIPED_WIDTH, prose, screen

T = TypeVar("T")

app = typer.Typer(help="Chips: list them, show one with all sources, print a file to start from.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

#: columns of the list: heading -> dotted field, divisor
COLUMNS: dict[str, tuple[tuple[str, ...], float]] = {
    "16 bit": (("compute.matrix.bf16", "compute.matrix.fp16"), 1e12),
    "FP8": (("compute.matrix.fp8",), 1e12),
    "INT8": (("compute.matrix.int8",), 1e12),
    "FP4": (("compute.matrix.fp4",), 1e12),
    "GiB": (("memory.hbm.capacity",), 1024.0**3),
    "TB/s": (("memory.hbm.bandwidth",), 1e12),
    "W/pkg": (("power.package",), 1.0),
    "dev/pkg": (("devices_per_package",), 1.0),
}

#: fields that are shown as their range wherever they have one: sources disagree too much for one number
RANGES = ("power.package",)


@app.callback(invoke_without_command=True)
def list_chips(context: typer.Context, as_json: AsJson = False) -> None:
    """List all chips: dense matrix peaks in TFLOPS (TOPS), memory and bandwidth per device."""
    if context.invoked_subcommand is not None:
        return
    chips, warnings = readable("chips", catalog.chip)
    if as_json:
        print_json("chips", {}, [_row(chip) for chip in chips], warnings)
        return
    _print_list(chips)
    for line in warnings:
        print_line(line, style="yellow")


@app.command()
def show(chip: Annotated[str, typer.Argument(help="Id or path of a chip file.")], as_json: AsJson = False) -> None:
    """Show every number of one chip with its range, basis, source and confidence, and what had to be estimated."""
    full = catalog.complete(catalog.chip(chip))
    if as_json:
        print_json("chips show", {"chip": chip}, full.model_dump(mode="json"), estimated_warning(full))
        return
    _print_chip(full)


@app.command()
def template(
    from_chip: Annotated[str | None, typer.Option("--from", help="Fill the file from this chip.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a commented chip file that loads as it is; redirect it into a file and edit it."""
    text = catalog.template(from_chip)
    if as_json:
        print_json("chips template", {"from": from_chip}, {"toml": text})
        return
    print(text, end="")


def print_json(verb: str, inputs: dict[str, Any], result: Any, warnings: list[str] | None = None) -> None:
    """The one JSON object of a verb."""
    schema = f"silicast/{verb.replace(' ', '-')}/1"
    answer = {"schema": schema, "verb": verb, "inputs": inputs, "result": result, "warnings": warnings or []}
    print(json.dumps(answer, ensure_ascii=False, indent=2))


def readable(kind: str, load: Callable[[str], T]) -> tuple[list[T], list[str]]:
    """Every noun of one kind that can be read, and a warning for each file (a user's) that cannot."""
    found: list[T] = []
    warnings: list[str] = []
    for name in catalog.ids(kind):
        try:
            found.append(load(name))
        except InputError as error:
            warnings.append(str(error))
    return found, warnings


def estimated_warning(chip: Chip) -> list[str]:
    """One line that names what no source gives."""
    if not chip.missing:
        return []
    return [f"Estimated, because no source gives it: {', '.join(chip.missing)}"]


def _row(chip: Chip) -> dict[str, Any]:
    numbers = chip.numbers()
    values = {
        "matrix_flops_per_device": {mode: number.value for mode, number in chip.compute.matrix.items()},
        "memory_bytes_per_device": _value(numbers, "memory.hbm.capacity"),
        "memory_bytes_per_s_per_device": _value(numbers, "memory.hbm.bandwidth"),
        "power_w_per_package": _ends(numbers, "power.package"),
        "devices_per_package": chip.packages_of,
    }
    return {"id": chip.id, "name": chip.name, "vendor": chip.vendor, "status": chip.status, **values}


def _value(numbers: dict[str, Number], field: str) -> float | None:
    return numbers[field].value if field in numbers else None


def _ends(numbers: dict[str, Number], field: str) -> dict[str, float] | None:
    """A value that is never told without its range."""
    return {end: getattr(numbers[field], end) for end in ("low", "value", "high")} if field in numbers else None


def _print_list(chips: list[Chip]) -> None:
    console = screen()
    table = plain_table()
    table.add_column("id", no_wrap=True)
    with_names = console.width >= PIPED_WIDTH
    if with_names:
        table.add_column("name", max_width=30)
    for heading in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for chip in chips:
        numbers = chip.numbers()
        cells = [_cell(numbers, fields, divisor) for fields, divisor in COLUMNS.values()]
        table.add_row(chip.id, *([escape(chip.name)] if with_names else []), *cells)
    console.print(table)
    print_line("Dense matrix peaks in TFLOPS (TOPS), memory and bandwidth per device; W per package.")
    print_line("Empty = the chip lacks it, or no source gives it. Details: silicast chips show ID")


def _cell(numbers: dict[str, Number], fields: tuple[str, ...], divisor: float) -> str:
    found = next((numbers[field] for field in fields if field in numbers), None)
    if found is None:
        return ""
    if any(field in RANGES for field in fields) and found.low < found.high:
        return f"{digits(found.low / divisor)}-{digits(found.high / divisor)}"
    return digits(found.value / divisor)


def _print_chip(chip: Chip) -> None:
    print_line(f"{chip.name} ({chip.id})", style="bold")
    print_line(f"{chip.vendor}, {chip.status}; generation {chip.generation}, {chip.kind}")
    print_line(f"default system {chip.system}, default stack {chip.stack}")
    if chip.note:
        print_line(chip.note)
    titles: dict[str, int] = {}
    table = plain_table()
    for heading in ("field", "value", "range", "source"):
        table.add_column(heading, justify="left" if heading in ("field", "source") else "right", no_wrap=True)
    for name, number in chip.numbers().items():
        value = _in_operations(name, shown(number.value, number.unit))
        if name in RANGES and number.low < number.high:
            value = f"{digits(number.low)}-{digits(number.high)} {number.unit}"
        table.add_row(name, value, shown_range(number), escape(_confidence(number, titles)))
    screen().print(table)
    for name, fact in chip_facts(chip).items():
        print_line(f"{name}: {fact.value} {_confidence(fact, titles)}{f' ({fact.note})' if fact.note else ''}")
    print_line("")
    print_remarks(chip.numbers())
    print_bibliography(titles)
    for line in estimated_warning(chip):
        print_line(line, style="yellow")


def plain_table() -> Table:
    """A table with a rule under its head and nothing else."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)


def print_line(text: str, style: str = "") -> None:
    """A line of prose, without markup."""
    prose(screen(), text, style)


def print_remarks(numbers: dict[str, Number]) -> None:
    """Basis, note and conflicts of every number that has them."""
    for name, number in numbers.items():
        remarks = [" ".join(number.basis), number.note, *(f"conflicts with {text}" for text in number.conflicts)]
        if any(remarks):
            print_line(f"{name}: {'; '.join(remark for remark in remarks if remark)}")


def print_bibliography(titles: dict[str, int]) -> None:
    """The numbered sources under a table."""
    print_line("")
    for title, place in titles.items():
        print_line(f"[{place}] {title}")


def cited(item: Number | Fact | Domain, titles: dict[str, int]) -> str:
    """`[3]`: the place of the item's source in the bibliography, which grows as it is cited."""
    estimated = isinstance(item, Number) and item.estimated
    title = item.source.title if estimated else item.source.cite()
    return f"[{titles.setdefault(title, len(titles) + 1)}]"


def chip_facts(chip: Chip) -> dict[str, Fact]:
    """The sourced statements of a chip that are not numbers, by dotted name."""
    memory = {f"memory.{name}.technology": level.technology for name, level in chip.memory.items()}
    silicon = {"silicon.process": chip.silicon.process, "silicon.structure": chip.silicon.structure}
    return {name: fact for name, fact in (memory | silicon).items() if fact is not None}


def _in_operations(name: str, text: str) -> str:
    return text.replace("FLOPS", "OPS") if name.endswith((".int8", ".int4")) else text


def _confidence(item: Number | Fact, titles: dict[str, int]) -> str:
    estimated = isinstance(item, Number) and item.estimated
    return f"{cited(item, titles)} {'estimated' if estimated else item.confidence}"
