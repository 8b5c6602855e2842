"""The flags that an engine accepts, and a command line read against them."""

import json
import re
from functools import cache
from typing import Any

from pydantic import Field

from silicast import catalog, datafile
from silicast.errors import InputError, nearest
from silicast.hardware import Frozen


class FlagList(Frozen):
    """What one release of one target accepts; written by `scripts/list_launch_flags.py` where `tested`.

    switches     flags without a value
    options      keys of its options file or of its JSON values
    environment  environment variables that are its own
    choices      the only values that a flag takes, where it has few
    origin       the wheel, or the address, that it was read from
    """

    target: str
    command: str = ""
    package: str = ""
    version: str
    origin: str
    date: str
    tested: bool
    note: str = ""
    flags: tuple[str, ...] = ()
    switches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    choices: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @property
    def title(self) -> str:
        """`vllm serve of vllm 0.33.0`."""
        return f"{self.command or self.target} of {self.package or self.target} {self.version}"


@cache
def known(target: str) -> FlagList:
    """The list of a target."""
    return datafile.read(catalog.data_folder() / "launch" / f"{target}.toml", FlagList)


class Flags:
    """Flags of one command line by name; what is taken is read, what is left nobody asked for."""

    def __init__(self, given: dict[str, str | None]) -> None:
        self._given = given

    @property
    def left(self) -> dict[str, str | None]:
        """Flags that were not taken, in order."""
        return self._given

    def text(self, *names: str) -> str | None:
        """The value of the last of these names that stands in the command."""
        found = [(name, self._given.pop(name)) for name in list(self._given) if name in names]
        if found and found[-1][1] is None:
            raise InputError(f"{found[-1][0]} needs a value.")
        return found[-1][1] if found else None

    def whole(self, *names: str) -> int | None:
        """A whole number from 1."""
        text = self.text(*names)
        if text is None:
            return None
        if not re.fullmatch(r"\d{1,12}", text) or int(text) < 1:
            raise InputError(f"{names[0]} must be a whole number of at least 1, got '{text[:40]}'.")
        return int(text)

    def share(self, *names: str) -> float | None:
        """A number above 0 and up to 1."""
        text = self.text(*names)
        try:
            value = None if text is None else float(text)
        except ValueError:
            value = 0.0
        if value is not None and not 0 < value <= 1:
            raise InputError(f"{names[0]} must be above 0 and at most 1, got '{str(text)[:40]}'.")
        return value

    def switch(self, name: str, negative: str | None = None, *aliases: str) -> bool | None:
        """True, False (its negative stands in the command), or None."""
        found = [one for one in list(self._given) if one in (name, negative, *aliases)]
        for one in found:
            del self._given[one]
        return None if not found else found[-1] != negative

    def document(self, *names: str) -> dict[str, Any]:
        """A value that is a JSON object; empty where it is not given."""
        text = self.text(*names)
        return {} if text is None else json_object(names[0], text)

    def drop(self, *names: str) -> None:
        """Forget flags that say only where the engine runs."""
        for name in names:
            self._given.pop(name, None)


def json_object(name: str, text: str) -> dict[str, Any]:
    """A JSON object. Raises InputError with the place of the mistake."""
    try:
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{name} is not JSON ({str(error)[:80]}): '{text[:60]}'.") from None
    if not isinstance(found, dict):
        raise InputError(f"{name} must be a JSON object, got '{text[:60]}'.")
    return found


class CommandLine:
    """How one engine reads its words: `dashes` = `_` counts as `-`, `prefixes` = unique beginnings of flags do."""

    def __init__(self, listed: FlagList, dashes: bool = False, prefixes: bool = True) -> None:
        self.listed = listed
        self._names, self._switches = frozenset(listed.flags) | frozenset(listed.switches), frozenset(listed.switches)
        self._dashes, self._prefixes = dashes, prefixes

    def read(self, words: list[str], skip_unknown: bool = False) -> tuple[list[str], Flags, list[str]]:
        """Words without a flag, flags, and unknown flags (only with `skip_unknown`). Raises InputError."""
        free, given, unknown = [], dict[str, str | None](), []
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if not _is_flag(word):
                free.append(word)
                continue
            name, equals, value = word.partition("=")
            found = self._find(name)
            if found is None:
                if not skip_unknown:
                    raise self._unknown(name)
                unknown.append(name)
                if not equals and rest and not _is_flag(rest[0]):
                    rest.pop(0)
                continue
            base, _, key = found.partition(".")
            text = value if equals else None
            if not equals and base not in self._switches and rest and not _is_flag(rest[0]):
                text = rest.pop(0)
                # values of a flag that takes several
                while key == "" and rest and not _is_flag(rest[0]) and free:
                    text += " " + rest.pop(0)
            given.pop(found, None)
            _set(given, base, key, text)
        return free, Flags(given), unknown

    def option(self, name: str) -> None:
        """Raises InputError for a key of an options file that is not listed."""
        if name not in self._names:
            raise self._unknown(name)

    def _find(self, name: str) -> str | None:
        base, dot, key = name.partition(".")
        if self._dashes and base.startswith("--"):
            base = base.replace("_", "-")
        if base in self._names:
            return base + dot + key
        begins = {one for one in self._names if self._prefixes and base.startswith("--") and one.startswith(base)}
        return begins.pop() if len(begins) == 1 else None

    def _unknown(self, name: str) -> InputError:
        guess = nearest(name[:100], self._names)
        hint = f" Did you mean '{guess}'?" if guess else ""
        return InputError(f"'{name[:60]}' is no flag of {self.listed.title}.{hint} Leave it out with --skip-unknown.")


def _is_flag(word: str) -> bool:
    return len(word) > 1 and word[0] == "-" and not re.fullmatch(r"-[\d.].*", word)


def _set(given: dict[str, str | None], base: str, key: str, text: str | None) -> None:
    """`--config.method mtp` is a key of the JSON object `--config`."""
    if not key:
        given.pop(base, None)
        given[base] = text
        return
    held = json_object(base, given.get(base) or "{}")
    try:
        held[key] = json.loads(text or "true")
    except (json.JSONDecodeError, RecursionError):
        held[key] = text
    given[base] = json.dumps(held)
