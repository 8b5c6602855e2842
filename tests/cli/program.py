"""Runs the command line through its own entry point: in this process (fast), or as the program that was installed."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from silicast.cli import main

LLAMA = "meta-llama/Llama-3.1-70B-Instruct"
R1 = "deepseek-ai/DeepSeek-R1"
QWEN = "Qwen/Qwen3-235B-A22B"
H100 = "h100-sxm"


@dataclass(frozen=True)
class Ran:
    """How a call ended and what it wrote."""

    code: int
    out: str
    err: str

    def document(self) -> Any:
        """The one JSON object on stdout."""
        assert self.code == 0, self.err
        assert self.err == ""
        return json.loads(self.out, parse_constant=_not_json)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def run(*arguments: str, out: io.StringIO | None = None) -> Ran:
    """In this process. Only SystemExit is caught: any other exception is a traceback that a user would see."""
    out, err = out or io.StringIO(), io.StringIO()
    with patch.object(sys, "argv", ["silicast", *arguments]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        else:
            code = None
    assert code is None or isinstance(code, int)
    return Ran(code or 0, out.getvalue(), err.getvalue())


def program() -> list[str]:
    """The installed script beside this interpreter."""
    script = Path(sys.executable).with_name("silicast")
    return [str(script)] if script.exists() else [sys.executable, "-c", "from silicast.cli import main; main()"]


def spawn(*arguments: str, **environment: str) -> Ran:
    """As a process of its own."""
    done = subprocess.run(
        [*program(), *arguments], capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def _not_json(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")
