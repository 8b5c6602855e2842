"""A sweep that takes a few seconds, run as a program, and the processes of others."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.cli.program import program

SPACE = """
models = ["Qwen/Qwen3-32B"]
chips = ["h100-sxm"]

[[workloads]]
name = "many"
input_tokens = [{inputs}]
output_tokens = [100, 200, 300]

[deployments]
max_devices = 16
"""
INPUTS = 20
CHUNKS = 3 * INPUTS
#: parts that are there when something is killed
FEW = 4
PATIENCE = 60.0


def written(folder: Path, inputs: int = INPUTS) -> Path:
    """The space file of as many times three chunks."""
    path = folder / "space.toml"
    path.write_text(SPACE.format(inputs=", ".join(str(100 * size) for size in range(1, inputs + 1))), encoding="utf-8")
    return path


def started(space: Path, output: Path, *options: str, **environment: str) -> "subprocess.Popen[str]":
    """`silicast sweep` in a session of its own, as a program that runs."""
    return subprocess.Popen(
        [*program(), "sweep", str(space), "--output", str(output), *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, **environment},
    )  # fmt: skip


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something to come true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"{what} did not happen in {PATIENCE:g} s"
        time.sleep(0.01)


def parts(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Finished parts: when each was written, and its content."""
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.glob("*.parquet")}


def until_parts(folder: Path, count: int = FEW) -> None:
    until(lambda: len(list(folder.glob("*.parquet"))) >= count, f"{count} parts")


def below(process: int) -> Iterator[int]:
    """Processes that a process has started, and those that they have."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):  # it has ended meanwhile
            continue
        if parent == process:
            yield int(stat.parent.name)
            yield from below(int(stat.parent.name))


def commanded(process: int) -> str:
    """The command line of a process, empty where it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def kill(*processes: int) -> None:
    """SIGKILL, whoever is there still."""
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
