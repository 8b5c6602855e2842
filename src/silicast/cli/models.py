"""`silicast models`: the architectures of the catalog, and one with its parameters, cache, formats and source."""

from typing import Annotated, Any

import typer
from rich.markup import escape

from silicast.cli.chips import AsJson, plain_table, print_json, print_line
from silicast.dtypes import BYTES
from silicast.errors import InputError
from silicast.model import Model, read_model
from silicast.model.config import aliases, model_ids
from silicast.model.provenance import Provenance, provenance
from silicast.report.numbers import digits, shown
from silicast.report.screen import screen
from silicast.scenario import Layout

app = typer.Typer(help="Models: list them, show one with its parameters, cache, formats and source.")

#: tokens at which the cache of one sequence is shown, and between which its growth is measured: past every window
SHOWN_TOKENS, FAR_TOKENS = 8192, 1 << 22
BILLION = 1e9


@app.callback(invoke_without_command=True)
def list_models(
    context: typer.Context,
    matching: Annotated[str | None, typer.Option("--filter", help="Only ids that contain this text.")] = None,
    as_json: AsJson = False,
) -> None:
    """List all models: parameters in all and per token, layers, attention, experts, format of the checkpoint."""
    if context.invoked_subcommand is not None:
        return
    models, warnings = _readable(matching or "")
    if as_json:
        print_json("models", {"filter": matching}, [_row(model) for model in models], warnings)
        return
    _print_list(models, matching)
    for line in warnings:
        print_line(line, style="yellow")


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="Id, alias, path of a config.json or its folder, or gpt:layers=..")],
    as_json: AsJson = False,
) -> None:
    """Show the parameters, blocks, cache, formats, omissions and source of one model."""
    found = read_model(model)
    details = _details(found)
    if as_json:
        print_json("models show", {"model": model}, details, list(found.omissions))
        return
    _print_model(found, details)


def _readable(matching: str) -> tuple[list[Model], list[str]]:
    """Models whose id contains the text, and a warning for each file (a user's) that cannot be read."""
    found: list[Model] = []
    warnings: list[str] = []
    for name in model_ids():
        if matching.lower() not in name.lower():
            continue
        try:
            found.append(read_model(name))
        except InputError as error:
            warnings.append(str(error))
    return found, warnings


def _row(model: Model) -> dict[str, Any]:
    own = model.quantisation
    return {
        "id": model.id,
        "model_type": model.model_type,
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "layers": model.layers,
        "attention": model.attention,
        "experts": model.experts,
        "experts_per_token": model.experts_per_token,
        "context_tokens": model.context,
        "weights": own.weights if own else "bf16",
        "activations": own.activations if own else "bf16",
    }


def _print_list(models: list[Model], matching: str | None) -> None:
    if not models:
        print_line(f"No id contains '{matching}'. All models: silicast models")
        return
    console = screen()
    table = plain_table()
    table.add_column("id", no_wrap=True)
    for heading in ("B", "active", "layers"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("attention", max_width=14)
    table.add_column("experts", justify="right", no_wrap=True)
    table.add_column("weights", no_wrap=True)
    for model in models:
        table.add_row(escape(model.id), *_cells(_row(model)))
    console.print(table)
    print_line("Parameters in billions: of the text decoder, and active = those that one token passes.")
    print_line("Experts: those a token uses of all in a layer. Details: silicast models show ID")


def _cells(row: dict[str, Any]) -> list[str]:
    experts = f"{row['experts_per_token']}/{row['experts']}" if row["experts"] else ""
    sizes = [digits(row[key] / BILLION) for key in ("parameters", "active_parameters")]
    return [*sizes, str(row["layers"]), row["attention"], experts, row["weights"]]


def _details(model: Model) -> dict[str, Any]:
    """Everything that `show` prints, as numbers with their units in the keys."""
    source = provenance(model.id)
    return _row(model) | {
        "hidden": model.hidden,
        "vocabulary": model.vocabulary,
        "tied_embeddings": model.tied,
        "parameters_by_scope": {scope: number for scope, number in model.parameters_by_scope.items() if number},
        "draft_layers": model.mtp_layers,
        "draft_parameters": model.mtp_parameters,
        "vision_parameters": model.vision_parameters,
        "blocks": [
            {"name": block.name, "kind": block.kind, "count": count, "parameters": sum(block.parameters().values())}
            for block, count in model.blocks
        ],
        "cache": _cache(model),
        "formats": _formats(model),
        "omissions": list(model.omissions),
        "aliases": sorted(alias for alias, target in aliases().items() if target == model.id),
        "source": _source(source) if source else None,
    }


def _cache(model: Model) -> dict[str, float]:
    """Bytes that one sequence keeps, in 16 bit and in FP8: per further token, at a common length, and fixed states."""
    one = Layout()
    sizes: dict[str, float] = {}
    for name in ("bf16", "fp8"):
        at = [
            float(model.cache_bytes(one, tokens, BYTES[name])) for tokens in (SHOWN_TOKENS, FAR_TOKENS, FAR_TOKENS + 1)
        ]
        sizes[f"{name}_bytes_per_token"] = at[2] - at[1]
        sizes[f"{name}_bytes_at_{SHOWN_TOKENS}_tokens"] = at[0]
    sizes["state_bytes_per_sequence"] = float(model.state_values(one)) * BYTES["fp32"]
    return sizes


def _formats(model: Model) -> dict[str, dict[str, str]]:
    """Weights and activations of every scope that has parameters, as the checkpoint is published."""
    formats = model.formats(model.default_precision())
    return {
        scope: {"weights": formats[scope][0], "activations": formats[scope][1]}
        for scope, number in model.parameters_by_scope.items()
        if number
    }


def _source(source: Provenance) -> dict[str, Any]:
    return {
        "read_from": source.read_from,
        "published_size": source.published or None,
        "counted_parameters": source.count,
        "counted_how": source.counted or None,
        "doubts": source.doubts or None,
    }


def _print_model(model: Model, details: dict[str, Any]) -> None:
    print_line(f"{model.id} ({model.model_type})", style="bold")
    print_line(
        f"{model.parameters:,} parameters, {model.active_parameters / BILLION:.2f} B per token; {model.layers} layers, "
        f"width {model.hidden:,}, vocabulary {model.vocabulary:,}, context {model.context:,}"
    )
    if model.mtp_layers:
        own = model.mtp_parameters / BILLION
        print_line(f"{model.mtp_layers} draft layer(s) (multi-token prediction): {own:.2f} B parameters of their own")
    if model.vision_parameters:
        print_line(f"vision tower: {model.vision_parameters / BILLION:.2f} B parameters")
    _print_scopes(model, details)
    _print_blocks(details)
    _print_cache(details["cache"])
    for line in model.omissions:
        print_line(f"note: {line}", style="yellow")
    _print_source(details)


def _print_scopes(model: Model, details: dict[str, Any]) -> None:
    table = plain_table()
    for heading in ("scope", "parameters", "share", "weights", "activations"):
        table.add_column(heading, justify="right" if heading in ("parameters", "share") else "left", no_wrap=True)
    for scope, number in sorted(details["parameters_by_scope"].items(), key=lambda item: -item[1]):
        formats = details["formats"][scope]
        table.add_row(
            scope, f"{number:,}", f"{number / model.parameters:.1%}", formats["weights"], formats["activations"]
        )
    print_line("")
    screen().print(table)
    if model.tied:
        print_line("The head shares its weights with the embedding.")


def _print_blocks(details: dict[str, Any]) -> None:
    table = plain_table()
    for heading in ("block", "kind", "count", "parameters each"):
        table.add_column(heading, justify="left" if heading in ("block", "kind") else "right", no_wrap=True)
    for block in details["blocks"]:
        table.add_row(block["name"], block["kind"], str(block["count"]), f"{block['parameters']:,}")
    print_line("")
    screen().print(table)


def _print_cache(cache: dict[str, float]) -> None:
    print_line("")
    for name in ("bf16", "fp8"):
        each, total = cache[f"{name}_bytes_per_token"], cache[f"{name}_bytes_at_{SHOWN_TOKENS}_tokens"]
        print_line(
            f"KV cache {name.upper()}: {each:,.0f} B per further token, {shown(total, 'B')} at {SHOWN_TOKENS:,} tokens"
        )
    if cache["state_bytes_per_sequence"]:
        print_line(
            f"recurrent state: {shown(cache['state_bytes_per_sequence'], 'B')} per sequence, whatever its length"
        )


def _print_source(details: dict[str, Any]) -> None:
    print_line("")
    if details["aliases"]:
        print_line(f"also named: {', '.join(details['aliases'])}")
    source = details["source"]
    if source is None:
        return
    print_line(f"read from: {source['read_from']}")
    if source["published_size"]:
        print_line(f"published size: {source['published_size']}")
    if source["counted_parameters"]:
        how = source["counted_how"] or "class of transformers 5.24.0, vision tower included"
        print_line(f"counted: {source['counted_parameters']:,} ({how})")
    if source["doubts"]:
        print_line(f"doubts: {source['doubts']}", style="yellow")
