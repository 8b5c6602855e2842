"""`silicast stacks`: the serving engines of the catalog, and why each field of one has its value."""

from itertools import chain
from typing import Annotated, Any

import typer
from rich.markup import escape

from silicast import catalog
from silicast.cli.chips import AsJson, plain_table, print_bibliography, print_json, print_line, readable
from silicast.hardware import Source
from silicast.report.numbers import shown, shown_range
from silicast.report.screen import screen
from silicast.stack import Cast, Exchange, Ground, Habit, Native, Stack, Variant

app = typer.Typer(help="Stacks: list the engines, show one with the source of every field.")

#: fields that only mean something where another one is set
DEPENDENT = {"wide_from": "exchange_wide"}
#: what holds where a field says nothing
UNSAID = {
    "kv_cache": "as the checkpoint", "exchange_wide": "as exchange", "host_of": "none", "policy": "of the scheduler",
}  # fmt: skip

PLAIN: dict[Exchange, str] = {"all_to_all": "all-to-all", "all_gather": "gather"}


@app.callback(invoke_without_command=True)
def list_stacks(context: typer.Context, as_json: AsJson = False) -> None:
    """List all stacks: who they serve, how they schedule, their limits and exchanges."""
    if context.invoked_subcommand is not None:
        return
    stacks, warnings = readable("stacks", catalog.stack)
    if as_json:
        print_json("stacks", {}, [_row(stack) for stack in stacks], warnings)
        return
    _print_list(stacks)
    for line in warnings:
        print_line(line, style="yellow")


@app.command()
def show(
    stack: Annotated[str, typer.Argument(help="Id or path of a stack file.")],
    chip: Annotated[str | None, typer.Option("--chip", help="As it sets itself up on this chip.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show every field of one stack with its source and confidence, and what it runs for formats a chip lacks."""
    found = catalog.stack(stack)
    if chip is not None:
        found = found.on(catalog.chip(chip))
    if as_json:
        print_json("stacks show", {"stack": stack, "chip": chip}, found.model_dump(mode="json"))
        return
    _print_stack(found)


def _row(stack: Stack) -> dict[str, Any]:
    fields = ("id", "name", "scheduler", "chunk_tokens", "max_sequences", "block_tokens", "exchange", "exchange_wide")
    assumed = [ground.field for ground in stack.facts if ground.confidence == "assumption"]
    share = {"memory_share": stack.memory_share.value, "memory_basis": stack.memory_basis}
    return {name: getattr(stack, name) for name in fields} | share | {"vendors": stack.vendors, "assumed": assumed}


def _print_list(stacks: list[Stack]) -> None:
    console = screen()
    table = plain_table()
    table.padding = (0, 1, 0, 0)
    for heading in ("id", "vendor", "prompts", "tokens", "sequences", "block", "memory", "tokens to experts"):
        number = heading in ("tokens", "sequences", "block", "memory")
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for stack in stacks:
        table.add_row(*(escape(cell) for cell in _cells(stack)))
    console.print(table)
    print_line(
        "Prompts run mixed into the steps of decode, or first (decode waits). Tokens of prompts per step and "
        "sequences, both per attention rank. Memory: share of the device. Details: silicast stacks show ID"
    )


def _cells(stack: Stack) -> list[str]:
    prompts = "mixed" if stack.scheduler == "chunked" else "first"
    limits = [str(count) for count in (stack.chunk_tokens, stack.max_sequences, stack.block_tokens)]
    share = f"{stack.memory_share.value:.0%} {stack.memory_basis}"
    return [stack.id, " ".join(stack.vendors) or "any", prompts, *limits, share, _exchange(stack)]


def _exchange(stack: Stack) -> str:
    near = PLAIN[stack.exchange]
    if stack.exchange_wide in (None, stack.exchange):
        return near
    return f"{near}, {PLAIN[stack.exchange_wide or stack.exchange]} from {stack.wide_from}"


def _print_stack(stack: Stack) -> None:
    print_line(f"{stack.name} ({stack.id})", style="bold")
    print_line(f"vendor: {', '.join(stack.vendors) or 'any'}")
    if stack.note:
        print_line(stack.note)
    titles: dict[str, int] = {}
    table = plain_table()
    table.padding = (0, 1, 0, 0)
    for heading in ("field", "value", "source"):
        table.add_column(heading, no_wrap=heading != "value", overflow="fold")
    rows = _fields(stack, titles)
    for *cells, _ in rows:
        table.add_row(*(escape(cell) for cell in cells))
    screen().print(table)
    print_line("")
    for name, *_, remark in rows:
        if remark:
            print_line(f"{name}: {remark}")
    lines = _casts(stack.casts, titles), _natives(stack.natives, titles), _variants(stack.variants, titles)
    for line in (*chain(*lines), *_habits(stack.habits, titles)):
        print_line(line)
    print_bibliography(titles)


def _fields(stack: Stack, titles: dict[str, int]) -> list[tuple[str, str, str, str]]:
    """(field, value, source, note) of every field that describes a behaviour."""
    share = stack.memory_share
    spread = shown_range(share)
    value = f"{shown(share.value, share.unit)}{f' ({spread})' if spread else ''}"
    rows = [("memory_share", value, f"{_place(share.source, titles)} {share.confidence}", share.note)]
    grounds = {ground.field: ground for ground in stack.facts}
    for name in _behaviours(stack):
        rows.append((name, _value(name, getattr(stack, name)), *_why(grounds.get(name), titles)))
    return rows


def _behaviours(stack: Stack) -> list[str]:
    other = {"id", "name", "vendors", "note", "facts", "casts", "natives", "variants", "memory_share", "habits"}
    names = [name for name in type(stack).model_fields if name not in other]
    return [name for name in names if name not in DEPENDENT or getattr(stack, DEPENDENT[name]) is not None]


def _why(ground: Ground | None, titles: dict[str, int]) -> tuple[str, str]:
    if ground is None:
        return "", ""
    return f"{_place(ground.source, titles)} {ground.confidence}", ground.note


def _value(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return UNSAID[name] if value is None else str(value)


def _casts(casts: tuple[Cast, ...], titles: dict[str, int]) -> list[str]:
    return [
        f"{cast.weights} where {cast.lacks} products are missing: {cast.stored} weights, {cast.math} products "
        f"{_place(cast.source, titles)}{_remark(cast.note)}"
        for cast in casts
    ]


def _natives(natives: tuple[Native, ...], titles: dict[str, int]) -> list[str]:
    return [
        f"{native.weights} weights on {_chips(native.chips)} with {native.has} products: "
        f"{native.stored or native.weights} weights, {native.activations} activations "
        f"{_place(native.source, titles)} {native.confidence}{_remark(native.note)}"
        for native in natives
    ]


def _variants(variants: tuple[Variant, ...], titles: dict[str, int]) -> list[str]:
    lines = []
    for variant in variants:
        changes = ", ".join(f"{name} {value}" for name, value in variant.changes().items())
        where = f"{_chips(variant.chips)}{_memory(variant)}"
        lines.append(
            f"on {where}: {changes} {_place(variant.source, titles)} {variant.confidence}{_remark(variant.note)}"
        )
    return lines


def _habits(habits: tuple[Habit, ...], titles: dict[str, int]) -> list[str]:
    return [
        f"for {', '.join(habit.model_types)}: fused {', '.join(habit.fused)} "
        f"{_place(habit.source, titles)} {habit.confidence}{_remark(habit.note)}"
        for habit in habits
    ]


def _chips(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "chips"


def _memory(variant: Variant) -> str:
    least = f" of {variant.memory_from_gib:g} GiB or more" if variant.memory_from_gib else ""
    return least + (f" below {variant.memory_below_gib:g} GiB" if variant.memory_below_gib is not None else "")


def _remark(note: str) -> str:
    return f" ({note})" if note else ""


def _place(source: Source, titles: dict[str, int]) -> str:
    return f"[{titles.setdefault(source.cite(), len(titles) + 1)}]"
