"""Charts of a comparison as Vega-Lite specifications: nouns in, plain dicts out, all data inside.

A specification is the same in the report, a notebook (`alt.Chart.from_dict`) and the web. Colours come from a
`Palette`: `LIGHT` and `DARK` have colours of their own, `PAGE` names variables of the page's style sheet, so that a
page in the dark or on paper recolours its charts without drawing them again. No chart relies on colour alone: each
names or marks what it shows.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

from silicast.estimate import Estimate
from silicast.outcome import Forecast
from silicast.parts import Explained
from silicast.planning.compare import Cell, ChipAnswer, Comparison, Ratio
from silicast.report import vega
from silicast.report.numbers import rounded
from silicast.report.vega import LIGHT, Palette, Row, Spec

Phase = Literal["decode", "prefill"]
Side = Literal["above", "below", "undecided"]

#: typographic signs, by name as they look like others
DASH, TIMES = "\u2013", "\u00d7"

#: parts of a step in the order in which they are stacked; others follow by size
PARTS = ("attention", "experts", "ffn", "exchange", "host", "embedding", "head")

#: keys of the memory table in the order in which they are stacked, as a reader sees them
MEMORY = ("weights", "activations", "buffers", "runtime", "KV of requests", "KV room left", "kept free")

#: edges of the map's tints, as multiples of the claim
EDGES = (1 / 1.5, 1 / 1.2, 1.0, 1.2, 1.5)

#: share of the longest bar that one letter of a name needs on a phone: 6 of 290 pixels
LETTER = 6 / 290


def side(estimate: Estimate, claim: float) -> Side:
    """Where the whole range lies against `claim`; undecided where the range includes it."""
    if estimate.low > claim:
        return "above"
    return "below" if estimate.high < claim else "undecided"


SIGNS: dict[Side, str] = {"above": "▲", "below": "▼", "undecided": "?"}


def spread(estimate: Estimate, figures: int = 2) -> str:
    """The value with its 80 % range in brackets."""
    return f"{rounded(estimate.value, figures)} ({interval(estimate, figures)})"


def interval(estimate: Estimate, figures: int = 2) -> str:
    """The 80 % range."""
    return f"{rounded(estimate.low, figures)}{DASH}{rounded(estimate.high, figures)}"


def verdict(answer: Comparison, palette: Palette = LIGHT) -> Spec:
    """Each ratio with its 80 % range on a log scale, against parity and the claim; `answer` has a ratio."""
    rows = _distinct([_verdict_rows(ratio, len(answer.ratios) > 1) for ratio in answer.ratios])
    ends = [end for row in rows for end in (row["low"], row["high"])]
    marks = [1.0, *([answer.claim] if answer.claim else [])]
    x = {"field": "value", "type": "quantitative", "title": None, **vega.log_axis([*ends, *marks])}
    y = {"field": "bar", "type": "nominal", "sort": None, "title": None}
    layers: list[Spec] = [
        *_references(answer.claim, palette),
        {"mark": {"type": "rule", "strokeWidth": 4, "strokeCap": "round", "opacity": 0.45},
         "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": y, "color": {"value": palette.gain}}},
        {"mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
         "encoding": {"x": x, "y": y, "color": {"value": palette.gain},
                      "tooltip": vega.tips(bar="ratio", text="value (80 % range)")}},
    ]  # fmt: skip
    return vega.chart("Ratio of output tokens per second with its 80 % range", rows, layers, palette, 34 * len(rows))


def _verdict_rows(ratio: Ratio, several: bool) -> list[Row]:
    return [
        {"bar": f"{ratio.chip}, per {per}" if several else f"per {per}", "value": estimate.value,
         "low": estimate.low, "high": estimate.high, "text": spread(estimate)}
        for per, estimate in (("package", ratio.per_package), ("device", ratio.per_device))
    ]  # fmt: skip


def _distinct(groups: Iterable[list[Row]]) -> list[Row]:
    """All rows; where two groups have a bar of one name, as two files may share an id, the second gets a number."""
    seen: dict[str, int] = {}
    rows: list[Row] = []
    for group in groups:
        for bar in dict.fromkeys(row["bar"] for row in group):
            seen[bar] = seen.get(bar, 0) + 1
        rows += [row | {"bar": f"{row['bar']} ({seen[row['bar']]})" if seen[row["bar"]] > 1 else row["bar"]}
                 for row in group]  # fmt: skip
    return rows


def causes(ratio: Ratio, claim: float | None = None, palette: Palette = LIGHT) -> Spec:
    """Waterfall of the factors on a log scale: each bar starts where the one above ends, the last is the ratio."""
    rows = cause_rows(ratio)
    total = ratio.per_package
    ends = [end for row in rows for end in (row["from"], row["to"])] + [total.low, total.high]
    x = {"field": "from", "type": "quantitative", "title": "ratio per package, log scale",
         **vega.log_axis([*ends, *([claim] if claim else [])])}  # fmt: skip
    y = {"field": "label", "type": "nominal", "sort": None, "title": None}
    colours = {"gain": palette.gain, "loss": palette.loss, "none": palette.muted, "ratio": palette.total}
    colour = {"field": "kind", "type": "nominal", "legend": None,
              "scale": {"domain": list(colours), "range": list(colours.values())}}  # fmt: skip
    last = [rows[-1] | {"low": total.low, "high": total.high}]
    layers: list[Spec] = [
        *_references(claim, palette),
        {"mark": {"type": "bar", "height": {"band": 0.62}},
         "encoding": {"x": x, "x2": {"field": "to"}, "y": y, "color": colour,
                      "tooltip": vega.tips(cause="cause", text="factor", until="ratio so far")}},
        {"mark": {"type": "tick", "thickness": 2, "height": {"band": 0.62}},
         "encoding": {"x": x | {"field": "to"}, "y": y, "color": colour}},
        {"data": {"values": last}, "mark": {"type": "rule", "strokeWidth": 2},
         "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": y, "color": {"value": palette.ink}}},
    ]  # fmt: skip
    return vega.chart("Factors that multiply to the ratio per package", rows, layers, palette, 28 * len(rows))


def cause_rows(ratio: Ratio) -> list[Row]:
    """One row per factor with where its bar starts and ends, then the ratio. No row for a factor that is no number."""
    rows: list[Row] = []
    reached = 1.0
    for cause, factor in ratio.factors.items():
        if not (math.isfinite(factor) and factor > 0):
            continue
        start, reached = reached, reached * factor
        kind = "none" if rounded(factor) == "1.00" else "gain" if factor > 1 else "loss"
        rows.append({"cause": cause, "kind": kind, "from": start, "to": reached, "factor": factor,
                     "text": f"{TIMES} {rounded(factor)}",
                     "until": rounded(reached)})  # fmt: skip
    value = ratio.per_package.value
    rows.append({"cause": "ratio per package", "kind": "ratio", "from": 1.0, "to": value, "factor": value,
                 "text": f"= {rounded(value)}",
                 "until": spread(ratio.per_package)})  # fmt: skip
    return [row | {"label": f"{row['cause']} {row['text']}"} for row in rows]


def ratio_map(ratio: Ratio, claim: float | None = None, palette: Palette = LIGHT) -> Spec:
    """Phase and batch by context: tint by ratio around the claim (or parity), a sign for above, below, undecided."""
    pivot = claim or 1.0
    rows = map_rows(ratio, pivot)
    tints = [palette.low3, palette.low2, palette.low1, palette.high1, palette.high2, palette.high3]
    x = {"field": "context", "type": "ordinal", "sort": None, "title": "context, tokens",
         "axis": {"orient": "top", "labelAngle": 0, "domain": False}}  # fmt: skip
    y = {"field": "load", "type": "nominal", "sort": None, "title": None, "axis": {"domain": False, "labelLimit": 130}}
    fill = {"field": "bin", "type": "nominal", "title": "ratio per package",
            "scale": {"domain": bins(pivot), "range": tints},
            "legend": {"orient": "bottom", "columns": 2, "symbolType": "square",
                       "symbolStrokeColor": palette.muted}}  # fmt: skip
    tips = vega.tips(load="phase, sequences", context="context, tokens", text="ratio (80 % range)",
                 sentence=f"against {pivot:g}")  # fmt: skip
    cell = {"x": x, "y": y, "tooltip": tips}
    layers: list[Spec] = [
        {"mark": {"type": "rect", "stroke": palette.surface, "strokeWidth": 2},
         "encoding": {**cell, "color": fill}},
        {"transform": [{"filter": "datum.side == 'undecided'"}],
         "mark": {"type": "rect", "filled": False, "strokeDash": [3, 3], "width": {"band": 0.94},
                  "height": {"band": 0.88}},
         "encoding": {**cell, "color": {"value": palette.muted}}},
        {"mark": {"type": "text", "dy": -7, "fontSize": 13, "fontWeight": 600},
         "encoding": {**cell, "text": {"field": "label"}, "color": {"value": palette.ink}}},
        {"mark": {"type": "text", "dy": 10, "fontSize": 10.5},
         "encoding": {**cell, "text": {"field": "range"}, "color": {"value": palette.ink}}},
    ]  # fmt: skip
    return vega.chart(
        "Ratio per package by phase, batch and context", rows, layers, palette, 44 * len({row["load"] for row in rows})
    )


def map_rows(ratio: Ratio, pivot: float) -> list[Row]:
    """The cells as plain data: prefill, then decode by batch and context."""
    order = sorted(ratio.cells, key=lambda cell: (cell.phase == "decode", cell.batch_per_package, cell.context))
    return [_map_row(cell, pivot) for cell in order]


def _map_row(cell: Cell, pivot: float) -> Row:
    found, where = cell.ratio, side(cell.ratio, pivot)
    sentences: dict[Side, str] = {
        "above": "above over the whole range",
        "below": "below over the whole range",
        "undecided": "the range includes it",
    }
    return {
        "phase": cell.phase,
        "load": f"decode, {cell.batch_per_package}" if cell.phase == "decode" else "prefill",
        "context": f"{cell.context:,}",
        "value": found.value, "low": found.low, "high": found.high,
        "side": where, "sentence": sentences[where],
        "bin": bins(pivot)[sum(found.value >= edge * pivot for edge in EDGES)],
        "label": f"{rounded(found.value, 2)} {SIGNS[where]}",
        "range": interval(found),
        "text": spread(found),
    }  # fmt: skip


def bins(pivot: float) -> list[str]:
    """Names of the tints, from far below `pivot` to far above."""
    edges = [rounded(edge * pivot, 2) for edge in EDGES]
    return [f"under {edges[0]}", *(f"{a} to {b}" for a, b in pairwise(edges)), f"{edges[-1]} up"]


def phases(told: Forecast) -> tuple[tuple[Phase, Explained], tuple[Phase, Explained]]:
    """The two steps that a forecast explains."""
    return ("decode", told.decode), ("prefill", told.prefill)


def steps(chips: Sequence[ChipAnswer], phase: Phase, palette: Palette = LIGHT) -> Spec:
    """One step of each chip's best deployment as a stacked bar of its parts; what overlap hides lies left of zero."""
    rows = _distinct(step_rows(chip.best, phase) for chip in chips)
    return _stacked(
        f"Time of one {phase} step by part", rows, _part_names(rows), (f"ms per {phase} step", palette.parts()), palette
    )


def step_rows(told: Forecast, phase: Phase) -> list[Row]:
    """Parts of one step in ms."""
    step = dict(phases(told))[phase]
    carried = f"{told.concurrency:,.0f} requests" if phase == "decode" else "full chunk"
    bar = f"{told.chip}, {carried}, pp {told.layout.pp}"
    return [
        {"bar": bar, "part": node.name, "value": node.value * 1e3, "share": node.value / step.seconds,
         "whole": f"{rounded(step.seconds * 1e3)} ms", "bound": node.bound_by,
         "text": f"{rounded(node.value * 1e3)} ms, {node.value / step.seconds:.0%}"}
        for node in step.tree.parts
    ]  # fmt: skip


def _part_names(rows: Iterable[Row]) -> list[str]:
    sizes: dict[str, float] = {}
    for row in rows:
        sizes[row["part"]] = max(sizes.get(row["part"], 0.0), abs(row["value"]))
    rest = sorted((name for name in sizes if name not in PARTS), key=lambda name: -sizes[name])
    return [name for name in PARTS if name in sizes] + rest


def memory(chips: Sequence[ChipAnswer], palette: Palette = LIGHT) -> Spec:
    """What the memory of one device holds in each deployment, up to its capacity."""
    rows = _distinct(memory_rows(told) for chip in chips for told in deployments(chip))
    fills = [getattr(palette, f"part{number}") for number in (1, 2, 3, 8, 6, 9, 5)]
    return _stacked("Memory of one device by use", rows, list(MEMORY), ("GiB per device", fills), palette)


def deployments(chip: ChipAnswer) -> list[Forecast]:
    """The deployments of one chip, once where the fewest devices are the best too."""
    small, large = (row.forecast for row in chip.rows)
    same = (small.layout, small.sequences) == (large.layout, large.sequences)
    return [large] if same else [small, large]


def memory_rows(told: Forecast) -> list[Row]:
    """GiB of one device by use; the requests in flight at their full length, as the fit counts them."""
    table = told.memory
    cache = min(told.sequences * table["cache_per_request_gib"], max(table["free_gib"], 0.0))
    sizes = (
        table["weights_gib"], table["activations_gib"], table["buffers_gib"], table["runtime_gib"],
        cache, max(table["free_gib"] - cache, 0.0), table["capacity_gib"] - table["usable_gib"],
    )  # fmt: skip
    bar = f"{told.chip}, {told.devices} devices, {told.concurrency:,.0f} requests"
    return [
        {"bar": bar, "part": part, "value": size, "share": size / table["capacity_gib"], "bound": "",
         "whole": f"{rounded(table['capacity_gib'])} GiB",
         "text": f"{rounded(size)} GiB, {size / table['capacity_gib']:.0%}"}
        for part, size in zip(MEMORY, sizes, strict=True)
    ]  # fmt: skip


def _stacked(
    title: str, rows: list[Row], names: Sequence[str], look: tuple[str, Sequence[str]], palette: Palette
) -> Spec:
    """Horizontal stacked bars, titled above; a wide segment is named inside. `look`: title of the axis, fills."""
    unit, fills = look
    longest = max(_lengths(rows).values(), default=1.0)
    rows = [row | {"order": names.index(row["part"]), "label": _inside(row, longest)} for row in rows]
    scale = {"domain": list(names), "range": [fills[index % len(fills)] for index in range(len(names))]}
    x = {"field": "value", "type": "quantitative", "stack": "zero", "title": unit,
         "axis": {"grid": False, "tickCount": 8}}  # fmt: skip
    y = {"field": "bar", "type": "nominal", "sort": None, "title": None, "axis": None}
    order = {"field": "order", "type": "quantitative"}
    colour = {"field": "part", "type": "nominal", "scale": scale, "title": None,
              "legend": {"orient": "bottom", "columns": 3, "symbolType": "square"}}  # fmt: skip
    tips = vega.tips(bar="deployment", part="part", text="size", bound="bound by")
    wholes = {row["bar"]: row["whole"] for row in rows}
    titles = [{"bar": bar, "text": f"{bar}: {whole}"} for bar, whole in wholes.items()]
    layers: list[Spec] = [
        {"mark": {"type": "bar", "stroke": palette.surface, "strokeWidth": 1, "height": 24, "yOffset": 9},
         "encoding": {"x": x, "y": y, "order": order, "tooltip": tips, "color": colour}},
        {"mark": {"type": "text", "fontSize": 11, "yOffset": 9},
         "encoding": {"x": x | {"bandPosition": 0.5}, "y": y, "order": order, "detail": {"field": "part"},
                      "tooltip": tips, "text": {"field": "label"}, "color": {"value": palette.on_part}}},
        {"data": {"values": titles},
         "mark": {"type": "text", "align": "left", "fontSize": 12, "fontWeight": 600, "yOffset": -13},
         "encoding": {"x": {"datum": 0, "type": "quantitative"}, "y": y, "text": {"field": "text"},
                      "color": {"value": palette.ink}}},
    ]  # fmt: skip
    return vega.chart(title, rows, layers, palette, 56 * len(titles))


def _inside(row: Row, longest: float) -> str:
    """The name of a segment that has room for it."""
    name: str = row["part"]
    return name if row["value"] > LETTER * (len(name) + 2) * longest else ""


def _lengths(rows: Iterable[Row]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in rows:
        found[row["bar"]] = found.get(row["bar"], 0.0) + max(row["value"], 0.0)
    return found


def _references(claim: float | None, palette: Palette) -> list[Spec]:
    """Vertical lines at parity and at the claim, named above the plot."""
    lines = [(1.0, "parity", [1, 0])] + ([(claim, f"claim {claim:g}", [5, 4])] if claim else [])
    layers: list[Spec] = []
    for at, name, dash in lines:
        x = {"datum": at, "type": "quantitative"}
        ink = {"color": {"value": palette.muted}}
        layers += [
            {"mark": {"type": "rule", "strokeDash": dash, "strokeWidth": 1.4}, "encoding": {"x": x, **ink}},
            {"data": {"values": [{}]}, "mark": {"type": "text", "y": -8, "fontSize": 11, "text": name},
             "encoding": {"x": x, **ink}},
        ]  # fmt: skip
    return layers
