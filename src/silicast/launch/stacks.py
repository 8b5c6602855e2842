"""Which translator speaks for a stack, and what its engines run in."""

from functools import cache
from typing import Protocol

from pydantic import Field

from silicast import catalog, datafile
from silicast.errors import nearest
from silicast.hardware import Frozen
from silicast.launch.command import Command, Invocation
from silicast.launch.errors import LaunchError
from silicast.launch.mindie import MindieTranslator
from silicast.launch.settings import Place, Reading, Settings
from silicast.launch.sglang import SglangTranslator
from silicast.launch.trtllm import TrtllmTranslator
from silicast.launch.vllm import MORI, VllmTranslator
from silicast.launch.vllm_ascend import VllmAscendTranslator
from silicast.scenario import Precision


class Translator(Protocol):
    """One stack: settings to a command, words to settings. `target` is its list of flags."""

    target: str

    def write(self, told: Settings, place: Place, native: Precision) -> Command:
        """The command of one node of an engine. Raises LaunchError."""

    def program(self, words: list[str]) -> list[str] | None:
        """The words after the name of its program, or None where the command is of another one."""

    def read(self, given: Invocation, skip_unknown: bool = False) -> Reading:
        """What the words after the program say. Raises InputError."""


TRANSLATORS: dict[str, Translator] = {
    "vllm": VllmTranslator(),
    "rocm-vllm": VllmTranslator(backends=MORI),
    "sglang": SglangTranslator(),
    "sglang-ascend": SglangTranslator((("--device", "npu"), ("--attention-backend", "ascend")), online=False),
    "trtllm": TrtllmTranslator(),
    "vllm-ascend": VllmAscendTranslator(),
    "mindie": MindieTranslator(),
}


class Runtime(Frozen):
    """The image of a stack, or one for a generation of chips; `folder` is where its files are put, `workdir` where its
    command starts."""

    image: str
    images: dict[str, str] = Field(default_factory=dict)
    devices: str
    folder: str = "/launch"
    workdir: str = "/launch"


class DeviceKind(Frozen):
    """How a container gets devices: Kubernetes resource, variable that chooses, device files, folders of the host.

    `each` is the device file of one device without its number.
    """

    resource: str
    visible: str
    paths: tuple[str, ...] = ()
    each: str | None = None
    mounts: tuple[str, ...] = ()


class Runtimes(Frozen):
    """All of them, by stack and by kind."""

    stacks: dict[str, Runtime]
    dynamo: dict[str, Runtime]
    devices: dict[str, DeviceKind]


@cache
def runtimes() -> Runtimes:
    """Images and devices."""
    return datafile.read(catalog.data_folder() / "launch" / "runtimes.toml", Runtimes)


def translator(stack: str) -> Translator:
    """The translator of a stack. Raises LaunchError with those there are."""
    if stack not in TRANSLATORS:
        guess = nearest(stack, TRANSLATORS)
        hint = f" Did you mean '{guess}'?" if guess else ""
        raise LaunchError(
            f"Stack '{stack[:60]}' has no launch files.{hint} There are some for: {', '.join(TRANSLATORS)}."
        )
    return TRANSLATORS[stack]
