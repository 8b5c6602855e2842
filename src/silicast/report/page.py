"""The frame of every report: one HTML file with its data, style and chart library, written in one go."""

import os
from dataclasses import fields
from html import escape
from pathlib import Path
from string import Template

from silicast import __version__
from silicast.errors import InputError
from silicast.estimate import DRAWS
from silicast.report.elements import TIERS, Figures
from silicast.report.vega import DARK, LIGHT, Palette

ASSETS = Path(__file__).parent / "assets"

#: colours of the page behind the sections: light, in the dark, on paper
BEHIND, BEHIND_DARK, PAPER = "#f5f6f8", "#10151c", "#ffffff"


def write(page: str, path: Path) -> None:
    """Write a page to `path`, folders included; an existing file is replaced in one go.

    Raises InputError where `path` is not a file or cannot be written.
    """
    try:
        _replace(path.resolve(), path, page)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"Cannot write the report to '{path}': {reason}.") from error


def _replace(target: Path, given: Path, page: str) -> None:
    if target.exists() and not target.is_file():
        what = "a directory" if target.is_dir() else "not a regular file"
        raise InputError(f"Cannot write the report to '{given}': it is {what}. Name a file, such as report.html.")
    if target.exists() and not os.access(target, os.W_OK):
        raise InputError(f"Cannot write the report to '{given}': the file is read-only.")
    if target.parent.exists() and not target.parent.is_dir():
        raise InputError(f"Cannot write the report to '{given}': {given.parent} is a file, not a folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".silicast-{os.getpid()}.tmp")
    try:
        fresh.write_text(page, encoding="utf-8", errors="replace")
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def filled(template: str, parts: dict[str, str], figures: Figures) -> str:
    """A page from a template of `assets/` and its parts."""
    return Template(_asset(template)).substitute(parts, specifications=figures.scripts(), **_frame())


def _frame() -> dict[str, str]:
    """What every report has."""
    return {
        "version": escape(__version__),
        "draws": f"{DRAWS}",
        "tiers": "".join(f"<dt>{tier}</dt><dd>{meaning}</dd>" for tier, meaning in TIERS.items()),
        "licences": escape(_asset("vega-licences.txt")),
        "colours": _colours(),
        "style": _asset("report.css"),
        "vega": _script("vega.js"),
        "draw": _script("report.js"),
    }


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
