"""Charts of a simulated run as Vega-Lite specifications: latencies, and what happened over time."""

from collections.abc import Sequence

from silicast.report import vega
from silicast.report.numbers import rounded
from silicast.report.vega import LIGHT, Palette, Row, Spec
from silicast.serving.measures import Slo

#: dashes of lines in order: no line is told by its colour alone
DASHES = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [4, 1], [1, 4])
HEIGHT = 220


def latencies(rows: list[Row], slo: Slo, palette: Palette = LIGHT) -> Spec:
    """Percent of the requests that had at most so many ms, on a log scale, with the targets as vertical lines."""
    targets = [(slo.tpot_ms, "TPOT"), (slo.ttft_ms, "TTFT"), (slo.e2e_ms, "E2E")]
    marks = [{"value": limit, "line": name, "text": f"{name} target"} for limit, name in targets if limit is not None]
    x = {"field": "value", "type": "quantitative", "title": "ms, log scale",
         **vega.log_axis([row["value"] for row in [*rows, *marks]])}  # fmt: skip
    y = {"field": "share", "type": "quantitative", "title": "% of requests", "scale": {"domain": [0, 100]},
         "axis": {"grid": True}}  # fmt: skip
    rows = [row | {"shown": f"{rounded(row['value'])} ms"} for row in rows]
    tips = vega.tips(line="latency", text="requests", shown="at most")
    layers: list[Spec] = [
        {"data": {"values": marks}, "mark": {"type": "rule", "strokeWidth": 1.2},
         "encoding": {"x": x, **_look(rows, palette)}},
        {"data": {"values": marks}, "mark": {"type": "text", "angle": 270, "align": "right", "dx": -4, "dy": -6,
                                             "y": 0, "fontSize": 11},
         "encoding": {"x": x, "text": {"field": "text"}, "color": {"value": palette.muted}}},
        {"mark": {"type": "line", "strokeWidth": 2, "interpolate": "monotone"},
         "encoding": {"x": x, "y": y, "tooltip": tips, **_look(rows, palette),
                      "order": {"field": "share", "type": "quantitative"}}},
    ]  # fmt: skip
    return vega.chart("Share of the requests by latency", rows, layers, palette, HEIGHT)


def over_time(title: str, unit: str, rows: list[Row], palette: Palette = LIGHT, target: float | None = None) -> Spec:
    """Lines over the time of the run, one per `line` of the rows; `target` is a horizontal line."""
    x = {"field": "time", "type": "quantitative", "title": "s after the start", "axis": {"grid": False},
         "scale": {"nice": False}}  # fmt: skip
    y = {"field": "value", "type": "quantitative", "title": unit, "axis": {"grid": True}}
    rows = [row | {"shown": rounded(row["value"]), "at": f"{rounded(row['time'])} s"} for row in rows]
    layers: list[Spec] = [
        {"mark": {"type": "line", "strokeWidth": 1.8, "interpolate": "step"},
         "encoding": {"x": x, "y": y, **_look(rows, palette), "tooltip": vega.tips(line="", at="time", shown=unit)}},
    ]  # fmt: skip
    if target is not None:
        at = {"y": {"datum": target, "type": "quantitative"}, "color": {"value": palette.muted}}
        layers += [
            {"data": {"values": [{}]}, "mark": {"type": "rule", "strokeDash": [5, 4]}, "encoding": at},
            {"data": {"values": [{}]}, "mark": {"type": "text", "align": "left", "x": 4, "dy": -7, "fontSize": 11,
                                                "text": "target"}, "encoding": at},
        ]  # fmt: skip
    return vega.chart(title, rows, layers, palette, HEIGHT)


def curve(rows: list[Row], palette: Palette = LIGHT) -> Spec:
    """Latency in ms on a log scale by answered requests/s, one point per run."""
    x = {"field": "rate", "type": "quantitative", "title": "requests/s answered", "axis": {"grid": False}}
    y = {"field": "value", "type": "quantitative", "title": "ms, log scale",
         **vega.log_axis([row["value"] for row in rows])}  # fmt: skip
    rows = [row | {"shown": f"{rounded(row['value'])} ms", "at": f"{rounded(row['rate'])} requests/s"} for row in rows]
    encoding = {"x": x, "y": y, **_look(rows, palette), "tooltip": vega.tips(line="latency", at="at", shown="ms"),
                "order": {"field": "rate", "type": "quantitative"}}  # fmt: skip
    layers: list[Spec] = [{"mark": {"type": "line", "point": True, "strokeWidth": 1.8}, "encoding": encoding}]
    return vega.chart("Latency by throughput", rows, layers, palette, HEIGHT)


def _look(rows: Sequence[Row], palette: Palette) -> Row:
    """Colour and dash by line, with one legend for both."""
    lines = list(dict.fromkeys(row["line"] for row in rows))
    strong = (palette.gain, palette.loss, palette.ink, palette.muted, palette.high3, palette.low3)
    colours = [strong[place % len(strong)] for place in range(len(lines))]
    dashes = [DASHES[place % len(DASHES)] for place in range(len(lines))]
    legend = {"orient": "bottom", "columns": 3, "symbolType": "stroke", "symbolSize": 400}
    common = {"field": "line", "type": "nominal", "title": None}
    return {
        "color": {**common, "scale": {"domain": lines, "range": colours}, "legend": legend},
        "strokeDash": {**common, "scale": {"domain": lines, "range": dashes}, "legend": legend},
    }
