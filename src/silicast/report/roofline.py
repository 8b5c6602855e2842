"""The roofline of one device with the operators of a forecast under it (Williams, Waterman, Patterson 2009)."""

from collections.abc import Sequence

from silicast.estimate import Part
from silicast.outcome import Forecast
from silicast.parts import Explained
from silicast.report import charts, vega
from silicast.report.numbers import rounded
from silicast.report.vega import LIGHT, Palette, Row, Spec

#: parts whose longest operator is named on the roofline, per phase
LABELLED = 2


def chart(told: Forecast, beside: Sequence[Forecast] = (), palette: Palette = LIGHT) -> Spec:
    """Operators with matrix FLOPs under the roof of one device: the matrix peak and the memory bandwidth.

    y is what an operator reaches, launches included; the area of a dot is its share of the step. The axes cover the
    forecasts of `beside` too, so that charts of several chips can be held side by side.
    """
    everything = [told, *beside]
    dots = operators(told)
    reach = [row for one in everything for row in operators(one)]
    roofs = [roof(one) for one in everything]
    low = min((row["intensity"] for row in reach), default=1.0) / 2
    high = 2 * max([*(row["intensity"] for row in reach), *(2 * peak / bandwidth for peak, bandwidth in roofs)])
    floor = min((row["tflops"] for row in reach), default=1.0) / 2
    top = 3 * max(peak for peak, _ in roofs) / 1e12
    x = {"field": "intensity", "type": "quantitative", "title": "FLOP per byte of device memory",
         **vega.decades(low, high)}  # fmt: skip
    y = {"field": "tflops", "type": "quantitative", "title": "TFLOP/s per device",
         **vega.decades(floor, top)}  # fmt: skip
    hues = {"domain": ["decode", "prefill"], "range": [palette.gain, palette.loss]}
    colour = {"field": "phase", "type": "nominal", "scale": hues, "title": None, "legend": {"orient": "top-left"}}
    shape = {"field": "phase", "type": "nominal", "title": None,
             "scale": {"domain": ["decode", "prefill"], "range": ["circle", "square"]}}  # fmt: skip
    size = {"field": "share", "type": "quantitative", "legend": None,
            "scale": {"type": "linear", "domain": [0, 0.5], "range": [24, 520], "clamp": True}}  # fmt: skip
    tips = vega.tips(
        operator="operator",
        part="part",
        phase="phase",
        time="time in the step",
        bound="bound by",
        reached="reaches",
        per_byte="FLOP per byte",
    )
    layers: list[Spec] = [
        *_roof_layers(told, low, x, y, palette),
        {"mark": {"type": "point", "filled": True, "opacity": 0.72, "stroke": palette.surface, "strokeWidth": 0.8},
         "encoding": {"x": x, "y": y, "color": colour, "shape": shape, "size": size, "tooltip": tips}},
        _operator_names("decode", {"align": "left", "dx": 13, "dy": 9}, x, y, palette),
        _operator_names("prefill", {"align": "center", "dy": 19}, x, y, palette),
    ]  # fmt: skip
    return vega.chart(f"Roofline of one device of {told.chip}", dots, layers, palette, 340)


def _operator_names(phase: charts.Phase, place: Row, x: Row, y: Row, palette: Palette) -> Spec:
    return {
        "transform": [{"filter": f"datum.phase == '{phase}' && datum.label != ''"}],
        "mark": {"type": "text", "baseline": "middle", "fontSize": 11, **place},
        "encoding": {"x": x, "y": y, "text": {"field": "label"}, "color": {"value": palette.ink}},
    }


def _roof_layers(told: Forecast, low: float, x: Row, y: Row, palette: Palette) -> list[Spec]:
    peak, bandwidth = roof(told)
    ridge = peak / bandwidth
    line = [{"intensity": at, "tflops": min(bandwidth * at, peak) / 1e12} for at in (low, ridge, ridge * 1e4)]
    mode = told.mfu_peak.removesuffix(" matrix peak")
    flat = [{"intensity": ridge, "tflops": peak / 1e12, "label": f"{mode} {rounded(peak / 1e12)} TFLOP/s"}]
    middle = (low * ridge) ** 0.5
    slope = [{"intensity": middle, "tflops": bandwidth * middle / 1e12, "label": f"{rounded(bandwidth / 1e12)} TB/s"}]
    text = {"type": "text", "fontSize": 11, "fontWeight": 600, "align": "right"}
    named = {"x": x, "y": y, "text": {"field": "label"}, "color": {"value": palette.muted}}
    return [
        {"data": {"values": line}, "mark": {"type": "line", "strokeWidth": 2, "clip": True},
         "encoding": {"x": x, "y": y, "color": {"value": palette.muted}}},
        {"data": {"values": flat}, "mark": {**text, "dx": 4, "dy": -9}, "encoding": named},
        {"data": {"values": slope}, "mark": {**text, "dx": -9, "dy": -3}, "encoding": named},
    ]  # fmt: skip


def roof(told: Forecast) -> tuple[float, float]:
    """Matrix peak in FLOP/s and memory bandwidth in B/s of one device: those that MFU and MBU divide by.

    Solved from the two, so within a per cent of the datasheet where the peak has a range.
    """
    step, seconds = told.decode, told.estimates["decode_step_ms"].value / 1e3
    peak = step.flops / (told.estimates["decode_mfu"].value * seconds)
    return peak, step.moved / (told.estimates["decode_mbu"].value * seconds)


def operators(told: Forecast) -> list[Row]:
    """Operators that do matrix FLOPs, per phase, longest first: FLOP per byte, TFLOP/s reached, share of the step."""
    return [row for phase, step in charts.phases(told) for row in _dots(phase, step)]


def _dots(phase: charts.Phase, step: Explained) -> list[Row]:
    found = [(node.name, leaf) for node in step.tree.parts for leaf in node.parts if _is_product(leaf)]
    found.sort(key=lambda pair: -pair[1].value)
    longest = {part: leaf.name for part, leaf in reversed(found)}
    named = sorted(longest, key=[part for part, _ in found].index)[:LABELLED]
    return [
        {"phase": phase, "part": part, "operator": leaf.name, "bound": leaf.bound_by,
         "intensity": leaf.flops / leaf.moved, "tflops": leaf.flops / leaf.value / 1e12,
         "share": leaf.value / step.seconds,
         "label": leaf.name.removesuffix(f"_{phase}") if part in named and leaf.name == longest[part] else "",
         "time": f"{rounded(leaf.value * 1e3)} ms, {leaf.value / step.seconds:.0%}",
         "reached": f"{rounded(leaf.flops / leaf.value / 1e12)} TFLOP/s",
         "per_byte": rounded(leaf.flops / leaf.moved)}
        for part, leaf in found
    ]  # fmt: skip


def _is_product(leaf: Part) -> bool:
    return leaf.law not in ("vector", "collective") and leaf.flops > 0 and leaf.moved > 0 and leaf.value > 0
