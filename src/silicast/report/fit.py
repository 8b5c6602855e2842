"""`fit` as a table."""

from rich import box
from rich.console import Console
from rich.table import Table

from silicast.outcome import Fit
from silicast.report.numbers import rounded
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
        f"[bold]{found.model}[/bold] ({found.precision}) fits on {found.devices} devices = {found.packages} packages "
        f"of {found.chip}: tp {layout.tp}, attention-dp {layout.attention_dp}, pp {layout.pp}, ep {layout.ep}. "
        f"Room for [bold]{memory['max_requests']:,.0f}[/bold] requests of "
        f"{workload.input_tokens + workload.output_tokens:,} tokens."
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("per device")
    table.add_column("GiB", justify="right")
    for key, label in _LINES:
        table.add_row(label, rounded(memory[key]))
    table.add_row("cache of one such request", f"{memory['cache_per_request_gib']:.3f}")
    console.print(table)
    for warning in found.warnings:
        console.print(f"warning: {warning}")
