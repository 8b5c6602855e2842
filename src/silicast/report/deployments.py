"""The table of deployments in the report: one column each, every forecast with its 80 % range."""

from collections.abc import Sequence
from html import escape

from silicast.estimate import Estimate
from silicast.outcome import Forecast
from silicast.parts import Explained
from silicast.planning.compare import ChipAnswer, Row
from silicast.report import charts
from silicast.report.elements import badge
from silicast.report.numbers import rounded

#: kinds of rates: start of the metric -> heading
RATES = {
    "output": "Output tokens/s, mixed pool",
    "decode_output": "Output tokens/s, decode only",
    "prefill_input": "Input tokens/s, prefill only",
}
PER = {"package": "per package", "device": "per device", "w": "per W of TDP"}


Column = tuple[str, Row]


def deployments(chips: Sequence[ChipAnswer]) -> str:
    """One column per deployment: what it is, how fast, what fits, what binds it."""
    columns = [column for chip in chips for column in _columns(chip)]
    told = [row.forecast for _, row in columns]
    head = "".join(f"<th>{escape(row.forecast.chip)}<small>{label}</small></th>" for label, row in columns)
    groups = [
        ("Deployment", _facts(columns)),
        ("Latency, mean", {"TTFT, ms": _estimates(told, "ttft_ms"), "TPOT, ms": _estimates(told, "tpot_ms")}),
        *((heading, _rates(told, name)) for name, heading in RATES.items()),
        ("Memory of one device", _fit(told)),
        ("Bound by", _bounds(told)),
    ]
    body = "".join(_group(heading, lines, len(columns) + 1) for heading, lines in groups)
    return f'<div class="scroll"><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _columns(chip: ChipAnswer) -> list[Column]:
    small, large = chip.rows
    if len(charts.deployments(chip)) == 1:
        return [("fewest devices, and most per package", large)]
    return [("fewest devices", small), ("most per package", large)]


def _group(heading: str, lines: dict[str, list[str]], width: int) -> str:
    rows = "".join(
        f"<tr><th>{escape(label)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for label, cells in lines.items()
    )
    return f'<tr class="group"><th colspan="{width}">{heading}</th></tr>{rows}'


def _facts(columns: Sequence[Column]) -> dict[str, list[str]]:
    told = [row.forecast for _, row in columns]
    return {
        "devices / packages": [f"{one.devices} / {one.packages}" for one in told],
        "layout": [_layout(one) for one in told],
        "precision": [_two_lines(one.precision) for one in told],
        "system": [escape(one.system) for one in told],
        "stack": [escape(one.stack) for one in told],
        "requests in flight": [f"{one.concurrency:,.0f}" for one in told],
        "meets the targets": ["yes" if row.met else "<b>no</b>" for _, row in columns],
        "tier": [badge(one.decode.tier) for one in told],
    }


def _layout(told: Forecast) -> str:
    sizes = told.layout
    first = f"tp {sizes.tp} {charts.TIMES} pp {sizes.pp}"
    return f"{first}<small>attention-dp {sizes.attention_dp}, ep {sizes.ep}, cp {sizes.cp}</small>"


def _two_lines(precision: str) -> str:
    first, _, second = precision.partition(", ")
    return f"{escape(first)}<small>{escape(second)}</small>"


def _rates(told: Sequence[Forecast], name: str) -> dict[str, list[str]]:
    keys = {label: f"{name}_tokens_per_s_per_{per}" for per, label in PER.items()}
    return {label: _estimates(told, key) for label, key in keys.items() if any(key in one.estimates for one in told)}


def _estimates(told: Sequence[Forecast], key: str) -> list[str]:
    return [_estimate(one.estimates.get(key)) for one in told]


def _estimate(found: Estimate | None) -> str:
    if found is None:
        return charts.DASH
    return f'{rounded(found.value, 2)}<small class="range">{charts.interval(found)}</small>'


def _fit(told: Sequence[Forecast]) -> dict[str, list[str]]:
    names = {"weights_gib": "weights, GiB", "free_gib": "KV room, GiB", "usable_gib": "usable, GiB"}
    lines = {label: [rounded(one.memory[key]) for one in told] for key, label in names.items()}
    return lines | {"requests that fit": [f"{one.memory['max_requests']:,.0f}" for one in told]}


def _bounds(told: Sequence[Forecast]) -> dict[str, list[str]]:
    return {
        "decode": [_bound(one.decode, one.estimates["decode_mbu"], "MBU") for one in told],
        "prefill": [_bound(one.prefill, one.estimates["prefill_mfu"], "MFU") for one in told],
    }


def _bound(step: Explained, use: Estimate, name: str) -> str:
    return f'{escape(step.bound_by)}<small class="range">{name} {use.value:.0%}</small>'
