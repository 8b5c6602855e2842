"""The `silicast` command: verbs are listed here, and a verb is imported only when it is called."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

import typer

from silicast.errors import InputError, SilicastError

#: verb -> one line of help; the module of the same name has `command` (a function) or `app` (verbs below the verb)
VERBS = {
    "compare": "One model on several chips, side by side: the ratio, its range and its causes.",
    "forecast": "One model on one chip: latency, throughput, utilisation and memory, with ranges.",
    "fit": "Does it fit, on how many devices, with room for how many requests.",
    "explain": "Where the time goes: operators, laws, tiers, sources.",
    "chips": "List chips, show one with its sources, print a template for your own.",
    "systems": "List systems, show one with its domains.",
    "models": "List models, show one with its parameters.",
    "stacks": "List serving stacks, show one with its defaults and casts.",
}


def build(arguments: Sequence[str]) -> typer.Typer:
    """The app with the called verb in full and the others by name: `--help` stays fast, completion is complete."""
    app = typer.Typer(
        help="How will this model run on that chip, in what deployment, at what cost, and how sure are we?",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    completing = "_SILICAST_COMPLETE" in os.environ
    called = next((argument for argument in arguments if not argument.startswith("-")), None)
    for verb, text in VERBS.items():
        if completing or verb == called:
            _register(app, verb, text)
        else:
            app.command(verb, help=text)(_not_called)
    app.callback()(_root)
    return app


def _register(app: typer.Typer, verb: str, text: str) -> None:
    module = import_module(f"silicast.cli.{verb}")
    command: Callable[..., None] | None = getattr(module, "command", None)
    if command is None:
        app.add_typer(module.app, name=verb, help=text)
    else:
        app.command(verb, help=text)(command)


def _not_called() -> None:
    """Stands for a verb that this call does not run."""


def _root() -> None:
    """Keeps one verb a verb: without a callback typer would make a single command the whole program."""


def main() -> None:
    """Entry point. Bad input is one line and exit code 2, a missing extra exit code 1."""
    try:
        build(sys.argv[1:])()
    except InputError as error:
        _fail(error, 2)
    except SilicastError as error:
        _fail(error, 1)
    except BrokenPipeError:
        # the reader of our output went away: not an error of ours, and nothing may be flushed into the closed pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _fail(error: Exception, code: int) -> None:
    sys.stderr.write(f"silicast: {error}\n")
    sys.exit(code)
