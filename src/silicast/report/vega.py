"""What all charts share: colours, the frame of a Vega-Lite specification, logarithmic axes, tooltips."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

Spec = dict[str, Any]
Row = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours by use. `low1..3` and `high1..3` are tints of the ratio map, `part1..9` fills that carry dark text."""

    ink: str = "#1c2430"
    muted: str = "#5b6675"
    grid: str = "#dfe3e8"
    surface: str = "#ffffff"
    gain: str = "#2b6cb0"
    loss: str = "#c05f14"
    total: str = "#5b6675"
    low3: str = "#ee9f54"
    low2: str = "#f7c592"
    low1: str = "#fce6ce"
    high1: str = "#dce9f5"
    high2: str = "#aecfea"
    high3: str = "#76addb"
    on_part: str = "#16202a"
    part1: str = "#7db8e0"
    part2: str = "#fdb462"
    part3: str = "#86c98a"
    part4: str = "#d3a4d3"
    part5: str = "#b8bec6"
    part6: str = "#ffe08a"
    part7: str = "#f2917a"
    part8: str = "#6fc3bd"
    part9: str = "#e8eaed"

    def parts(self) -> list[str]:
        """The fills of stacked bars, in order."""
        return [getattr(self, item.name) for item in fields(self) if item.name.startswith("part")]


LIGHT = Palette()
DARK = Palette(
    ink="#e6eaef", muted="#9aa6b4", grid="#303a46", surface="#171d26", gain="#6aa9e4", loss="#e8935a",
    total="#9aa6b4", low3="#8f5414", low2="#6b4217", low1="#443322", high1="#20344a", high2="#25507c",
    high3="#2f6ca8",
)  # fmt: skip
PAGE = Palette(**{item.name: f"var(--{item.name.replace('_', '-')})" for item in fields(Palette)})


def log_axis(values: Iterable[float], room: float = 1.15) -> Row:
    """Log scale over `values` with ticks that a reader of ratios expects."""
    known = [value for value in values if math.isfinite(value) and value > 0] or [1.0]
    low, high = min(known) / room, max(known) * room
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps_per_decade = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8) if high / low < 30 else (1, 2, 5)
    ticks = [round(step * 10.0**power, 6) for power in exponents for step in steps_per_decade]
    return {
        "scale": {"type": "log", "domain": [low, high], "nice": False},
        "axis": {
            "values": [tick for tick in ticks if low <= tick <= high],
            "format": "~g",
            "labelOverlap": "greedy",
            "labelSeparation": 8,
        },
    }


def decades(low: float, high: float) -> Row:
    """Log scale with a tick and a line per decade."""
    ticks = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    return {
        "scale": {"type": "log", "domain": [low, high], "nice": False},
        "axis": {"values": ticks, "format": ",~g", "grid": True},
    }


def tips(**titles: str) -> list[Row]:
    """A tooltip: field = title of its line."""
    return [{"field": field, "type": "nominal", "title": title} for field, title in titles.items()]


def chart(description: str, rows: list[Row], layers: list[Spec], palette: Palette, height: int) -> Spec:
    """Layers over one set of rows, as wide as the page lets it be, `height` pixels high."""
    return {
        "$schema": SCHEMA,
        "description": description,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": rows},
        "layer": layers,
        "config": config(palette),
    }


def config(palette: Palette) -> Row:
    """Looks common to all charts."""
    return {
        "font": FONT,
        "background": palette.surface,
        "view": {"stroke": None},
        "axis": {
            "labelColor": palette.ink, "titleColor": palette.muted, "gridColor": palette.grid,
            "domainColor": palette.grid, "tickColor": palette.grid, "labelFontSize": 12, "titleFontSize": 12,
            "titleFontWeight": "normal",
        },
        "axisY": {"grid": False, "ticks": False, "labelPadding": 8},
        "legend": {"labelColor": palette.ink, "titleColor": palette.muted, "labelFontSize": 12,
                   "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 260},
        "text": {"color": palette.ink},
    }  # fmt: skip
