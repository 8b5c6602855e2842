"""The `silicast` command: verbs are listed here, and a verb is imported only when it is called."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from keyword import iskeyword
from typing import Annotated, Any, NoReturn

import typer

from silicast import __version__
from silicast.errors import InputError, SilicastError

#: what typer raises for arguments it cannot take; its own name is not public
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]

#: verb -> one line of help; the module of the same name has `command` (a function) or `app` (verbs below the verb)
VERBS = {
    "compare": "One model on several chips, side by side: the ratio, its range and its causes.",
    "forecast": "One model on one chip: latency, throughput, utilisation and memory, with ranges.",
    "fit": "Does it fit, on how many devices, with room for how many requests.",
    "explain": "Where the time goes: operators, laws, tiers, sources.",
    "simulate": "Traffic through a deployment: latency percentiles, goodput, queues, caches.",
    "launch": "Write the files that start a deployment: commands, Compose, Kubernetes, llm-d, Dynamo.",
    "import": "Read a launch command back: what should the running deployment reach?",
    "plan": "Which chips, how many, configured how: the best deployment under targets and a budget.",
    "replace": "What it takes to move a fleet to another chip: packages, power, cost, latency given up.",
    "sweep": "Models x chips x workloads x deployments, on all cores or a Ray cluster, into Parquet parts.",
    "results": "SQL over the parts of a sweep.",
    "chips": "List chips, show one with its sources, print a template for your own.",
    "systems": "List systems, show one with its domains.",
    "models": "List models, show one with its parameters.",
    "stacks": "List serving stacks, show one with its defaults and casts.",
    "calibrate": "Fit the coefficients of the laws to measured operators and write them.",
    "validate": "Forecast against measurement, on the evidence that ships or on your own.",
}

#: option that may stand alone -> the value that it then has
BARE = {"--ray": "here"}


def build(arguments: Sequence[str]) -> typer.Typer:
    """The app with the called verb in full and the others by name: `--help` stays fast, completion is complete."""
    app = typer.Typer(
        help="How will this model run on that chip, in what deployment, at what cost, and how sure are we?",
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
    app.callback(invoke_without_command=True)(_root)
    return app


def _register(app: typer.Typer, verb: str, text: str) -> None:
    module = import_module(f"silicast.cli.{verb}{'_' if iskeyword(verb) else ''}")
    command: Callable[..., None] | None = getattr(module, "command", None)
    if command is None:
        app.add_typer(module.app, name=verb, help=text)
    else:
        app.command(verb, help=text)(command)


def _not_called() -> None:
    """Stands for a verb that this call does not run."""


def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    """Keeps one verb a verb: without a callback typer would make a single command the whole program."""
    if version:
        print(f"silicast {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point. Bad input is one line and exit code 2, a missing extra exit code 1."""
    arguments = sys.argv[1:] or ["--help"]
    try:
        code = build(arguments)(_spelled_out(arguments), prog_name="silicast", standalone_mode=False)
        sys.stdout.flush()
    except InputError as error:
        _fail(str(error), 2)
    except SilicastError as error:
        _fail(str(error), 1)
    except USAGE_ERROR as error:
        _fail(_complaint(error), 2)
    except (BrokenPipeError, SystemExit) as stop:
        _leave(stop)
    else:
        sys.exit(code)


def _spelled_out(arguments: Sequence[str]) -> list[str]:
    """Options that may stand alone, which typer does not know, with the value that they then have."""
    told: list[str] = []
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=True):
        bare = argument in BARE and following.startswith("-")
        told += [argument, BARE[argument]] if bare else [argument]
    return told


def _complaint(error: Any) -> str:
    """What typer does not accept, with what was given and where to look."""
    problem = error.format_message().rstrip(".")
    if hasattr(error.__cause__, "errors"):
        problem += f"; got '{error.__cause__.errors()[0]['input']}'"
    verb = error.ctx.command_path if error.ctx else "silicast"
    return f"{problem}{'' if problem.endswith('?') else '.'} See: {verb} --help"


def _leave(stop: BaseException) -> NoReturn:
    """The reader of our output went away: not an error of ours, and nothing may be flushed into the closed pipe.

    typer and rich turn that into exit code 1.
    """
    closed = stop if isinstance(stop, BrokenPipeError) else stop.__context__
    if not isinstance(closed, BrokenPipeError):
        raise stop
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


def _fail(problem: str, code: int) -> NoReturn:
    """One line, whatever was quoted in it."""
    sys.stderr.write(f"silicast: {' '.join(problem.split())}\n")
    sys.exit(code)
