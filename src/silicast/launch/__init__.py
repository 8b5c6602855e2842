"""Launch files: a deployment as commands and files of a serving stack, and such commands read back.

    files = write(launch(deployment, limits), "compose")      # {name: text}
    found = read("vllm serve Qwen/Qwen3-32B --tensor-parallel-size 2")

One translator per stack (`stacks.TRANSLATORS`), one file per format (`FORMATS`).
"""

from collections.abc import Callable

from silicast.errors import nearest
from silicast.launch import compose, dynamo, kubernetes, llm_d, scripts
from silicast.launch.engines import Engine, Launch, launch, native_precision
from silicast.launch.errors import LaunchError
from silicast.launch.reading import Found, read
from silicast.launch.settings import Limits, Reading, Settings, dense, pool_of, stored
from silicast.launch.stacks import TRANSLATORS

#: name on the command line -> what writes it
FORMATS: dict[str, Callable[[Launch], dict[str, str]]] = {
    "command": scripts.files,
    "compose": compose.files,
    "lws": kubernetes.files,
    "llm-d": llm_d.files,
    "dynamo": dynamo.files,
}


def write(told: Launch, form: str) -> dict[str, str]:
    """The files of a format, by name. Raises LaunchError for what the format, or the stack under it, cannot do."""
    if form not in FORMATS:
        guess = nearest(form, FORMATS)
        hint = f" Did you mean '{guess}'?" if guess else ""
        raise LaunchError(f"Format '{form[:40]}' is not known.{hint} Known: {', '.join(FORMATS)}.")
    return FORMATS[form](told)


__all__ = [
    "FORMATS",
    "TRANSLATORS",
    "Engine",
    "Found",
    "Launch",
    "LaunchError",
    "Limits",
    "Reading",
    "Settings",
    "dense",
    "launch",
    "native_precision",
    "pool_of",
    "read",
    "stored",
    "write",
]
