"""`fit` as a table."""

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from silicast.outcome import Fit
from silicast.report.numbers import hardware, rounded
from silicast.report.screen import prose
from silicast.scenario import Workload

_LINES = (
    ("weights_gib", "weights"),
    ("activations_gib", "activations of one chunk"),
    ("buffers_gib", "exchange buffers"),
    ("runtime_gib", "runtime: context, graphs, communication"),
    ("free_gib", "left for the KV cache"),
    ("usable_gib", "used by the stack in all"),
    ("capacity_gib", "capacity"),
)


def render(found: Fit, workload: Workload, console: Console) -> None:
    """Verdict first, then GiB per device."""
    layout, memory = found.layout, found.memory
    console.print(
        f"[bold]{escape(found.model)}[/bold] ({found.precision}) fits on {hardware(found.devices, found.packages)} "
        f"of {escape(found.chip)}: tp {layout.tp}, attention-dp {layout.attention_dp}, pp {layout.pp}, ep {layout.ep}. "
        f"Room for [bold]{memory['max_requests']:,.0f}[/bold]{_requests(found)} requests of "
        f"{workload.input_tokens + workload.output_tokens:,} tokens."
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("per device")
    table.add_column("GiB", justify="right")
    if found.ranges:
        table.add_column("low-high", justify="right")
    for key, label in _LINES:
        table.add_row(label, rounded(memory[key]), *_ends(found, key))
    table.add_row("cache of one such request", f"{memory['cache_per_request_gib']:.3f}")
    console.print(table)
    for warning in found.warnings:
        prose(console, f"warning: {warning}")


def _requests(found: Fit) -> str:
    low, high = found.ranges.get("max_requests", (0.0, 0.0))
    return f" ({low:,.0f}-{high:,.0f})" if high else ""


def _ends(found: Fit, key: str) -> list[str]:
    if not found.ranges:
        return []
    low, high = found.ranges.get(key, (0.0, 0.0))
    return [f"{rounded(low)}-{rounded(high)}" if high else ""]
