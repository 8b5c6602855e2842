"""The frame of every HTML report: head, style, chart library, how to reproduce it, tiers and licences.

Everything is in the file: data, style and the chart library (`assets/`). A content policy in its head forbids the page
to load anything.
"""

from collections.abc import Mapping
from dataclasses import fields
from html import escape
from pathlib import Path
from string import Template

from silicast import __version__
from silicast.estimate import DRAWS
from silicast.report.elements import TIERS, Figures
from silicast.report.files import replacing
from silicast.report.vega import DARK, LIGHT, Palette

ASSETS = Path(__file__).parent / "assets"

#: colours of the page behind the sections: light, in the dark, on paper
BEHIND, BEHIND_DARK, PAPER = "#f5f6f8", "#10151c", "#ffffff"

#: what the numbers of a forecast are
FORECAST = "Forecasts, not measurements. A range goes from the 10th to the 90th percentile of the draws."


def page(sections: str, parts: Mapping[str, str], figures: Figures, nature: str = FORECAST, drawn: bool = True) -> str:
    """The whole page: the sections of a file in `assets/` in their frame, with `parts` in their places.

    `parts` are escaped, with `title`, `question` and `command`, and where there is more to say about repeating the
    call, `incomplete`; `nature` says in the footer what the numbers are, `drawn` that they come from draws.
    """
    frame = {
        "version": escape(__version__),
        "drawn": f", {DRAWS} draws with a fixed seed" if drawn else "",
        "tiers": "".join(f"<dt>{tier}</dt><dd>{meaning}</dd>" for tier, meaning in TIERS.items()),
        "licences": escape(_asset("vega-licences.txt")),
        "colours": _colours(),
        "style": _asset("report.css"),
        "vega": _script("vega.js"),
        "draw": _script("report.js"),
        "specifications": figures.scripts(),
        "nature": nature,
        "sections": Template(_asset(sections)).substitute(parts),
    }
    return Template(_asset("page.html")).substitute({"incomplete": ""} | dict(parts) | frame)


def write_page(text: str, path: Path) -> None:
    """Write a page, folders included; an existing file is replaced in one go. Raises InputError where it cannot be."""
    with replacing(path, "report") as fresh:
        fresh.write_text(text, encoding="utf-8", errors="replace")


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _script(name: str) -> str:
    return _asset(name).replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _colours() -> str:
    """The palettes as variables: light, in the dark, and light again on paper."""
    light, dark = _variables(LIGHT, BEHIND), _variables(DARK, BEHIND_DARK)
    paper = _variables(LIGHT, PAPER)
    return f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n@media print{{:root{{{paper}}}}}"


def _variables(palette: Palette, behind: str) -> str:
    colours = {item.name.replace("_", "-"): getattr(palette, item.name) for item in fields(palette)}
    return "".join(f"--{name}:{colour};" for name, colour in (colours | {"behind": behind}).items())
