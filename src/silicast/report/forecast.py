"""`forecast` as tables."""

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from silicast.outcome import Forecast
from silicast.report.numbers import hardware, lengths, rounded, spread
from silicast.report.screen import prose
from silicast.scenario import Workload

_METRICS = (
    ("ttft_ms", "TTFT, ms (mean)"),
    ("tpot_ms", "TPOT, ms (mean)"),
    ("e2e_ms", "E2E, ms (mean)"),
    ("requests_per_s", "requests/s"),
    ("output_tokens_per_s_per_device", "output tokens/s per device"),
    ("output_tokens_per_s_per_package", "output tokens/s per package"),
    ("output_tokens_per_s_per_w", "output tokens/s per W (package power)"),
    ("decode_step_ms", "decode step, ms"),
    ("decode_output_tokens_per_s_per_device", "decode pool alone, output tokens/s per device"),
    ("prefill_input_tokens_per_s_per_device", "prefill pool alone, input tokens/s per device"),
    ("decode_mfu", "decode MFU"),
    ("decode_mbu", "decode MBU"),
    ("prefill_mfu", "prefill MFU"),
    ("prefill_mbu", "prefill MBU"),
)


def render(told: Forecast, workload: Workload, console: Console) -> None:
    """Deployment, numbers with ranges, warnings."""
    console.print(headline(told, workload))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("")
    table.add_column("forecast (80 % range)", justify="right", no_wrap=True)
    table.add_column("bound by")
    table.add_column("tier")
    for key, label in _METRICS:
        estimate = told.estimates.get(key)
        if estimate is not None:
            table.add_row(label, spread(estimate), estimate.bound_by, estimate.tier)
        elif key in told.undefined:
            table.add_row(label, told.undefined[key], "", "")
    console.print(table)
    memory = told.memory
    console.print(
        f"Memory per device: weights {rounded(memory['weights_gib'])} GiB, left for the cache "
        f"{rounded(memory['free_gib'])} GiB of {rounded(memory['capacity_gib'])} GiB; "
        f"{memory['max_requests']:,.0f} such requests fit. MFU is of the {told.mfu_peak}."
    )
    for line in warnings(told):
        prose(console, line)


def headline(told: Forecast, workload: Workload) -> str:
    """The scenario in two lines."""
    layout = told.layout
    return (
        f"[bold]{escape(told.model)}[/bold] on {hardware(told.devices, told.packages)} of {escape(told.chip)} "
        f"({told.precision}), {escape(told.system)}, {escape(told.stack)}: tp {layout.tp}, "
        f"attention-dp {layout.attention_dp}, pp {layout.pp}, cp {layout.cp}, ep {layout.ep}; {in_flight(told)}, "
        f"{lengths(workload)}."
    )


def in_flight(told: Forecast) -> str:
    """`63 of 640 requests running`, or `64 requests in flight` where none waits."""
    if told.waiting:
        return f"{_count(told.running)} of {_count(told.concurrency)} requests running"
    requests = "request" if told.concurrency == 1 else "requests"
    return f"{_count(told.concurrency)} {requests} {'running' if told.overloaded else 'in flight'}"


def _count(requests: float) -> str:
    """A mean number of requests: whole ones, where there are several."""
    return f"{requests:,.0f}" if requests >= 10 or requests == round(requests) else f"{requests:.3g}"


def warnings(told: Forecast) -> list[str]:
    """Fallbacks, missing fields, overload."""
    lines = [f"warning: {warning}" for warning in told.warnings]
    if told.saturated:
        lines.append("warning: prefill work fills the whole time; TTFT is the queue.")
    if told.missing:
        lines.append(f"No source gives {', '.join(told.missing)}: drawn from the spread over other chips.")
    return lines
