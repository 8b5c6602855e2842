"""`compare` as tables: verdict first, then the numbers with ranges, then why, then the sources."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from silicast.planning.compare import Cell, ChipAnswer, Comparison, Ratio, Row
from silicast.report.numbers import lengths, rounded, spread
from silicast.report.screen import prose

#: characters of the labels, and of one column with the gap before it: deployments, and the map of contexts
LABELS, DEPLOYMENT = 23, 19
MAP_LABELS, CONTEXT = 14, 21

#: metric -> label with unit
METRICS = (
    ("output_tokens_per_s_per_package", "output tok/s/package"),
    ("output_tokens_per_s_per_device", "output tok/s/device"),
    ("output_tokens_per_s_per_w", "output tok/s/kW"),
    ("ttft_ms", "TTFT ms, mean"),
    ("tpot_ms", "TPOT ms, mean"),
    ("decode_output_tokens_per_s_per_package", "decode tok/s/package"),
    ("decode_output_tokens_per_s_per_device", "decode tok/s/device"),
    ("decode_output_tokens_per_s_per_w", "decode tok/s/kW"),
    ("prefill_input_tokens_per_s_per_package", "prefill tok/s/package"),
    ("prefill_input_tokens_per_s_per_device", "prefill tok/s/device"),
    ("prefill_input_tokens_per_s_per_w", "prefill tok/s/kW"),
)


#: tokens/s per watt are small numbers: the table shows them per kilowatt
KILO = 1e3


def render(answer: Comparison, console: Console) -> None:
    """Print the whole comparison."""
    for line in verdict(answer):
        console.print(line)
    for table in deployment_tables(answer.chips, _columns(console, LABELS, DEPLOYMENT)):
        console.print()
        console.print(table)
    for ratio in answer.ratios:
        console.print()
        console.print(causes_table(ratio))
        for part in map_tables(ratio, answer.claim, _columns(console, MAP_LABELS, CONTEXT)):
            console.print()
            console.print(part)
        if answer.claim is not None:
            console.print(claim_sentence(ratio, answer.claim))
    console.print()
    for line in notes(answer):
        prose(console, line)


def verdict(answer: Comparison) -> list[str]:
    """The question in one line, then one line per ratio."""
    work, targets = answer.workload, answer.targets
    limits = [f"{name} <= {value / 1000:g} s" if value >= 1000 else f"{name} <= {value:g} ms"
              for name, value in (("TTFT", targets.ttft_ms), ("TPOT", targets.tpot_ms)) if value]  # fmt: skip
    lines = [
        f"[bold]{escape(answer.model)}[/bold], {lengths(work)}, {', '.join(limits) or 'no latency target'} (means)."
    ]
    names = {chip.chip: escape(chip.name) for chip in answer.chips}
    for ratio in answer.ratios:
        lines.append(
            f"One package of {names[ratio.chip]} ({ratio.precisions[0]}) gives "
            f"[bold]{spread(ratio.per_package)}[/bold] of the output tokens/s of one package of "
            f"{names[ratio.reference]} ({ratio.precisions[1]}); per device {spread(ratio.per_device)}. "
            f"80 % range, tier {ratio.per_package.tier}."
        )
    lines += [_unmet(chip) for chip in answer.chips if not chip.rows[-1].met]
    return lines


def _unmet(chip: ChipAnswer) -> str:
    return (
        f"[yellow]{escape(chip.name)}: no layout meets the targets; the nearest one is shown, so a ratio compares "
        "unequal services.[/yellow]"
    )


def _columns(console: Console, labels: int, width: int) -> int:
    """Columns of this width that fit beside the labels; the screen is cut into more tables, never a number."""
    return max((console.width - labels) // width, 1)


def deployment_tables(chips: Sequence[ChipAnswer], per_table: int) -> Iterable[Table]:
    """Deployments as columns, so many to a table; duplicates (the smallest is the best) once."""
    columns = [(chip, row) for chip in chips for row in _distinct(chip)]
    for start in range(0, len(columns), per_table):
        yield _deployments(columns[start : start + per_table])


def _distinct(chip: ChipAnswer) -> list[Row]:
    """Both rows, or the better one alone where the smallest deployment is also the one with most output."""
    small, large = chip.rows
    return [large] if small.forecast is large.forecast else [small, large]


def _heading(chip: ChipAnswer, row: Row) -> str:
    if len(_distinct(chip)) == 1:
        return f"{escape(chip.chip)}\nfewest = most"
    return f"{escape(chip.chip)}\n{'fewest devices' if row.kind == 'fewest' else 'most/package'}"


def _deployments(columns: Sequence[tuple[ChipAnswer, Row]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True)
    for chip, row in columns:
        table.add_column(_heading(chip, row), justify="right", no_wrap=True)
    rows = [row for _, row in columns]
    facts = (
        ("devices / packages", [f"{row.forecast.devices} / {row.forecast.packages}" for row in rows]),
        ("tp x adp x pp, ep", [_layout(row) for row in rows]),
        ("requests in flight", [f"{row.forecast.concurrency:,.0f}" for row in rows]),
        ("meets the targets", ["yes" if row.met else "no" for row in rows]),
        ("weights, GiB/device", [rounded(row.forecast.memory["weights_gib"]) for row in rows]),
        ("KV room, GiB/device", [rounded(row.forecast.memory["free_gib"]) for row in rows]),
        ("requests that fit", [f"{row.forecast.memory['max_requests']:,.0f}" for row in rows]),
    )
    for label, cells in facts:
        table.add_row(label, *cells)
    for key, label in METRICS:
        found = [row.forecast.estimates.get(key) for row in rows]
        if any(found) or any(key in row.forecast.undefined for row in rows):
            per = KILO if label.endswith("/kW") else 1.0
            blanks = [row.forecast.undefined.get(key, "") for row in rows]
            pairs = zip(found, blanks, strict=True)
            table.add_row(label, *(spread(estimate, per) if estimate else blank for estimate, blank in pairs))
    table.add_row("decode bound by", *(row.forecast.decode.bound_by for row in rows))
    table.add_row("prefill bound by", *(row.forecast.prefill.bound_by for row in rows))
    return table


def _layout(row: Row) -> str:
    layout = row.forecast.layout
    return f"{layout.tp} x {layout.attention_dp} x {layout.pp}, {layout.ep}"


def causes_table(ratio: Ratio) -> Table:
    """The factors, which multiply to the ratio per package: as printed, within a per cent."""
    table = Table(
        title=escape(f"Where {rounded(ratio.per_package.value)} comes from ({ratio.chip} over {ratio.reference})"),
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title_justify="left",
    )  # fmt: skip
    table.add_column("cause")
    table.add_column("factor", justify="right")
    for cause, factor in ratio.factors.items():
        table.add_row(cause, rounded(factor))
    table.add_row("[bold]product, per package[/bold]", f"[bold]{rounded(ratio.per_package.value)}[/bold]")
    return table


def map_tables(ratio: Ratio, claim: float | None, per_table: int) -> Iterable[RenderableType]:
    """Per-package ratio over phase, batch per package and context, so many contexts to a table."""
    contexts = sorted({cell.context for cell in ratio.cells})
    for start in range(0, max(len(contexts), 1), per_table):
        yield _map(ratio, claim, contexts[start : start + per_table])


def _map(ratio: Ratio, claim: float | None, contexts: Sequence[int]) -> Table:
    table = Table(
        title="Ratio per package by phase, sequences per package and context (pure pools, best layouts)",
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title_justify="left",
    )  # fmt: skip
    table.add_column("phase, seq.", no_wrap=True)
    for context in contexts:
        table.add_column(f"{context:,} ctx", justify="right", no_wrap=True)
    for phase, batch in sorted({(cell.phase, cell.batch_per_package) for cell in ratio.cells}):
        found = {cell.context: cell for cell in ratio.cells if (cell.phase, cell.batch_per_package) == (phase, batch)}
        label = f"{phase}, {batch}" if batch else phase
        table.add_row(label, *(_cell(found.get(context), claim) for context in contexts))
    return table


def _cell(cell: Cell | None, claim: float | None) -> str:
    if cell is None:
        return "does not fit"
    text = spread(cell.ratio)
    if claim is None:
        return text
    if cell.ratio.low > claim:
        return f"[green]{text} +[/green]"
    return f"[red]{text} -[/red]" if cell.ratio.high < claim else f"{text} ?"


def claim_sentence(ratio: Ratio, claim: float) -> str:
    """Where the claimed ratio holds, in one line."""
    above = sum(cell.ratio.low > claim for cell in ratio.cells)
    below = sum(cell.ratio.high < claim for cell in ratio.cells)
    return (
        f"Against the claim of {claim:g}: + above in {above}, - below in {below}, ? not decided by the range in "
        f"{len(ratio.cells) - above - below} of {len(ratio.cells)} cells."
    )


def notes(answer: Comparison) -> list[str]:
    """Stacks, fallbacks, missing fields, sources; what holds for every chip is said once."""
    every = [set(chip.best.warnings) for chip in answer.chips]
    common = set.intersection(*every) if len(every) > 1 else set()
    lines = [f"warning: {warning}" for warning in answer.chips[0].best.warnings if warning in common]
    for chip in answer.chips:
        package = (
            f"{chip.devices_per_package} devices per package"
            if chip.devices_per_package > 1
            else "one device per package"
        )
        lines.append(f"{chip.chip}: {package}, system {chip.best.system}, stack {chip.best.stack}, {chip.precision}.")
        if (devices := int(chip.least.devices)) < chip.rows[0].forecast.devices:
            lines.append(
                f"  Rows are of usual device counts (powers of two, whole nodes); {devices} devices hold it too "
                f"(tp {chip.least.tp}, attention-dp {chip.least.attention_dp}, pp {chip.least.pp})."
            )
        if 2 * chip.best.devices <= chip.searched:
            lines.append(
                f"  Layouts of up to {chip.searched} devices were searched: larger ones give less per package in one "
                "mixed pool, where a prefill on any rank holds up the decode of all."
            )
        lines += [f"  warning: {warning}" for warning in chip.best.warnings if warning not in common]
        if chip.best.missing:
            lines.append(f"  no source gives {', '.join(chip.best.missing)}: drawn from the spread over other chips.")
    lines.append("Sources:")
    cited = {source.cite() for chip in answer.chips for source in chip.best.citations}
    lines += [f"  {line}" for line in sorted(cited)]
    return lines
