"""The terminal: as wide as it is, 100 columns where output is piped; colours only where they are wanted."""

import sys

from rich.console import Console

PIPED_WIDTH = 100


def screen() -> Console:
    """A console for tables. rich respects NO_COLOR and drops colours in pipes."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False, soft_wrap=False)
