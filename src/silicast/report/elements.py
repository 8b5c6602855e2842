"""Elements of the report in HTML: figures with their data, tables, lists. All text is escaped here."""

import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from silicast.estimate import Tier
from silicast.report.vega import Spec

TIERS: dict[Tier, str] = {
    "measured": "read from a table measured on this chip and stack",
    "calibrated": "laws fitted to measurements of this chip",
    "transferred": "laws whose coefficients come from sibling chips",
    "datasheet": "laws with datasheet numbers and assumed efficiencies",
}


class Figures:
    """Numbers the charts of one page and keeps their specifications."""

    def __init__(self) -> None:
        self.specs: list[Spec] = []

    def add(self, spec: Spec, caption: str, table: str) -> str:
        """A figure with the place of the chart, and its numbers as a table to open."""
        self.specs.append(spec)
        name = f"chart-{len(self.specs)}"
        return (
            f'<figure><figcaption>{escape(caption)}</figcaption><div class="chart" data-chart="{name}" role="img" '
            f'aria-label="{escape(spec["description"])}"></div></figure>'
            f"<details><summary>The same as a table</summary>{table}</details>"
        )

    def scripts(self) -> str:
        """The specifications as data."""
        return "".join(
            f'<script type="application/json" id="chart-{number}">{inline_json(spec)}</script>\n'
            for number, spec in enumerate(self.specs, 1)
        )


def inline_json(value: Any) -> str:
    """JSON that is safe inside a script element: no `<`, `>` or `&`; numbers that are not finite become null."""
    text = json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def badge(tier: Tier, before: str = "") -> str:
    """The name of a tier in a frame; what it means on hover."""
    return f'<span class="badge" title="{escape(TIERS[tier])}">{before}{tier}</span>'


def bullets(lines: Iterable[str]) -> str:
    """A list, or nothing for no lines."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A plain table; the first cell of a line names it."""
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="scroll"><table class="plain"><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table></div>'
    )
