"""Charts of a validation: forecast against measurement, and the spread of their ratio by chip."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from silicast.evidence.validate import Checked
from silicast.report import vega
from silicast.report.numbers import digits, rounded
from silicast.report.vega import LIGHT, Palette, Row, Spec

#: what a point is, in the order of drawing
KINDS = ("fitted", "peer", "unseen")
#: square pixels of a point
AREA = 26
#: rows from which a chip has a bar
FEWEST = 4
HEIGHT = 420


def scatter(items: Sequence[Checked], metric: str, unit: str, peer: str, palette: Palette = LIGHT) -> Spec:
    """Measured (x) against forecast (y) of one metric, ours and the peer's, log-log."""
    rows = scatter_rows(items)
    ends = [value for row in rows for value in (row["measured"], row["forecast"])]
    low, high = min(ends) / 1.3, max(ends) * 1.3
    axis = vega.decades(low, high)
    x = {"field": "measured", "type": "quantitative", "title": f"measured {metric}, {unit}", **axis}
    y = {"field": "forecast", "type": "quantitative", "title": f"forecast {metric}, {unit}", **axis}
    names = {"fitted": "ours, fitted rows", "peer": peer, "unseen": "ours, unseen rows"}
    colours = {"fitted": palette.part5, "peer": palette.loss, "unseen": palette.gain}
    colour = {"field": "kind", "type": "nominal", "title": None,
              "scale": {"domain": [names[kind] for kind in KINDS], "range": [colours[kind] for kind in KINDS]},
              "legend": {"orient": "bottom"}}  # fmt: skip
    tips = vega.tips(name="row", kind="forecast of", shown="measured", told="forecast", factor="factor")
    rows = [row | {"kind": names[row["kind"]]} for row in rows]
    layers = [
        *(_diagonal(low, high, factor, palette) for factor in (0.5, 1.0, 2.0)),
        {"mark": {"type": "point", "size": AREA, "filled": True, "opacity": 0.5, "clip": True},
         "encoding": {"x": x, "y": y, "color": colour, "tooltip": tips}},
    ]  # fmt: skip
    return vega.chart(f"Forecast against measured {metric}", rows, layers, palette, HEIGHT)


def _diagonal(low: float, high: float, factor: float, palette: Palette) -> Spec:
    ends = [{"measured": low, "forecast": low * factor}, {"measured": high, "forecast": high * factor}]
    dash = [1, 0] if factor == 1 else [4, 4]
    return {
        "data": {"values": ends},
        "mark": {"type": "line", "strokeDash": dash, "strokeWidth": 1.2, "clip": True},
        "encoding": {
            "x": {"field": "measured", "type": "quantitative"},
            "y": {"field": "forecast", "type": "quantitative"},
            "color": {"value": palette.muted},
        },
    }


def scatter_rows(items: Iterable[Checked]) -> list[Row]:
    """Points as plain data: fitted rows first, then the peer's, then ours on unseen rows."""
    found: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    for item in items:
        if item.outcome.value is not None:
            kind = "unseen" if item.seen == "unseen" else "fitted"
            found[kind].append(_point(item, kind, item.outcome.value))
        if item.rival is not None and item.rival.core and item.seen == "unseen":
            found["peer"].append(_point(item, "peer", item.rival.value))
    return [row for kind in KINDS for row in found[kind]]


def _point(item: Checked, kind: str, value: float) -> Row:
    measured = item.row.value
    return {
        "name": f"{item.key('chip')}, {item.key('stack')}, {item.row.scenario.model}", "kind": kind,
        "measured": float(f"{measured:.4g}"), "forecast": float(f"{value:.4g}"), "shown": digits(measured),
        "told": digits(value), "factor": rounded(value / measured, 2),
    }  # fmt: skip


def spread(items: Iterable[Checked], palette: Palette = LIGHT) -> Spec:
    """Forecast over measured by chip and metric: the median and the middle 80 % of the rows, on a log scale."""
    rows = spread_rows(items)
    ends = [end for row in rows for end in (row["low"], row["high"])]
    x = {"field": "value", "type": "quantitative", "title": "forecast / measured, log scale",
         **vega.log_axis([*ends, 1.0])}  # fmt: skip
    y = {"field": "bar", "type": "nominal", "sort": None, "title": None}
    line = {"x": {"datum": 1.0, "type": "quantitative"}, "color": {"value": palette.muted}}
    layers: list[Spec] = [
        {"mark": {"type": "rule", "strokeWidth": 1.4}, "encoding": line},
        {"mark": {"type": "rule", "strokeWidth": 4, "strokeCap": "round", "opacity": 0.45},
         "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": y, "color": {"value": palette.gain}}},
        {"mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
         "encoding": {"x": x, "y": y, "color": {"value": palette.gain},
                      "tooltip": vega.tips(bar="rows", text="median (middle 80 %)")}},
    ]  # fmt: skip
    return vega.chart("Forecast over measured by chip and metric", rows, layers, palette, 22 * len(rows))


def spread_rows(items: Iterable[Checked]) -> list[Row]:
    """The bars as plain data."""
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for item in items:
        if item.outcome.value is not None:
            groups[item.key("chip"), _short(item.row.metric)].append(item.outcome.value / item.row.value)
    rows = []
    for (chip, metric), ratios in sorted(groups.items()):
        if len(ratios) >= FEWEST:
            low, value, high = (float(end) for end in np.quantile(ratios, (0.1, 0.5, 0.9)))
            text = f"{rounded(value, 2)} ({rounded(low, 2)} to {rounded(high, 2)})"
            bar = f"{chip}, {metric}, {len(ratios):,}"
            rows.append({"bar": bar, "low": low, "value": value, "high": high, "text": text})
    return rows


def _short(metric: str) -> str:
    return metric.removesuffix("_per_device").removesuffix("_ms").replace("_per_s", "/s").replace("_", " ")
