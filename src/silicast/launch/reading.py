"""Launch commands read back into the pools of a deployment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from silicast import catalog
from silicast.errors import InputError, nearest
from silicast.launch.command import Invocation, split
from silicast.launch.settings import Reading
from silicast.launch.stacks import TRANSLATORS

#: names by which programs are called, for the nearest one
PROGRAMS = ("vllm serve", "sglang serve", "python -m sglang.launch_server", "trtllm-serve", "mindieservice_daemon")


@dataclass(frozen=True, slots=True)
class Found:
    """An engine that a text starts `replicas` times, under the stack that speaks so."""

    stack: str
    reading: Reading
    replicas: int = 1


def read(
    text: str,
    vendor: str | None = None,
    stack: str | None = None,
    files: Mapping[str, str] | None = None,
    skip_unknown: bool = False,
) -> list[Found]:
    """The engines that a launch command, a script of several, or a `config.json` of MindIE starts.

    Where several stacks share a program, `stack` decides, else the `vendor` of the chip. `files` are those that the
    commands name, by name. Commands of nodes that follow a leader count with it; an engine that is started twice has
    two replicas. Raises InputError for a text without such a command, an unknown flag or an impossible value.
    """
    if text.lstrip().startswith("{"):
        given = [Invocation(("mindieservice_daemon",), files={"config.json": _object(text)})]
    else:
        given = [replace(one, files=files or {}) for one in split(text)]
    found: list[Found] = []
    for one in given:
        read_one = _read(one, vendor, stack, skip_unknown)
        if read_one is not None and not read_one.reading.follows:
            _count(found, read_one)
    if not found:
        raise InputError(_nothing(text, stack))
    return found


def _read(given: Invocation, vendor: str | None, stack: str | None, skip_unknown: bool) -> Found | None:
    speaks = {}
    for name, translator in TRANSLATORS.items():
        words = translator.program(list(given.words))
        if words is not None and stack in (None, name):
            speaks[name] = words
    if not speaks:
        return None
    own = [name for name in speaks if vendor in catalog.stack(name).vendors]
    name = (own or list(speaks))[0]
    read_so = replace(given, words=tuple(speaks[name]))
    return Found(name, TRANSLATORS[name].read(read_so, skip_unknown))


def _count(found: list[Found], one: Found) -> None:
    for at, other in enumerate(found):
        if other.stack == one.stack and other.reading.settings == one.reading.settings:
            found[at] = replace(other, replicas=other.replicas + 1)
            return
    found.append(one)


def _object(text: str) -> str:
    try:
        json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"The configuration is not JSON: {str(error)[:80]}.") from None
    return text


def _nothing(text: str, stack: str | None) -> str:
    shown = " ".join(text.split())[:60]
    if stack is not None:
        return f"No command of {stack} in '{shown}'."
    guess = nearest(" ".join(text.split()[:2])[:40], PROGRAMS)
    hint = f" Did you mean '{guess}'?" if guess else ""
    return f"No launch command in '{shown}'.{hint} Known programs: {', '.join(PROGRAMS)}."
