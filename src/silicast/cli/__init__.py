"""The command line: one file per verb. `main` turns every InputError into one line and exit code 2."""

from silicast.cli.main import main

__all__ = ["main"]
