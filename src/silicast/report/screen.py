"""The terminal: as wide as it is, 100 columns where output is piped; colours only where they are wanted."""

import sys
from textwrap import wrap

from rich.console import Console

PIPED_WIDTH = 100


def screen() -> Console:
    """A console for tables. rich respects NO_COLOR and drops colours in pipes."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False, soft_wrap=False)


def prose(console: Console, text: str, style: str = "") -> None:
    """Text as it is, without markup, wrapped between words under a hanging indent: an address stays in one piece."""
    hanging = " " * (len(text) - len(text.lstrip(" ")) + 2)
    wide = console.width
    lines = wrap(text, wide, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)
    for line in lines or [""]:
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
