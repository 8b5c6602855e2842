"""A command with its environment and the files it reads; and text split into such commands."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from silicast.errors import InputError

#: a command is a few lines; more is not one
MOST_TEXT = 1 << 20
#: address of the machine that runs a script
HERE = "$(hostname -i)"
EXPANDED = re.compile(r"[\w.:/-]*\$(\w+|\(\(\w+ \* \d+\)\))[\w.:/-]*")
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.S)


#: flags with their values, None = a switch
Words = list[tuple[str, str | None]]


@dataclass(frozen=True, slots=True)
class Command:
    """`program` and then `flags` (None = a switch) under `environment`; `files` by the names that the flags use.

    `tested` is False where no released package was at hand to check the flags against; `notes` are for whoever runs it.
    """

    program: tuple[str, ...]
    flags: tuple[tuple[str, str | None], ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tested: bool = True

    @property
    def arguments(self) -> list[str]:
        """The flags as words."""
        return [word for name, value in self.flags for word in ((name,) if value is None else (name, value))]

    @property
    def words(self) -> list[str]:
        """Program and flags."""
        return [*self.program, *self.arguments]

    def script(self) -> str:
        """As lines of a shell script."""
        exports = [f"export {name}={quoted(value)}" for name, value in self.environment.items()]
        parts = [" ".join(map(quoted, self.program))]
        parts += [name if value is None else f"{name} {quoted(value)}" for name, value in self.flags]
        return "\n".join([*exports, " \\\n  ".join(parts)]) + "\n"


@dataclass(frozen=True, slots=True)
class Invocation:
    """One command line that was found in a text; `files` are those beside it, by name."""

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def split(text: str) -> list[Invocation]:
    """The commands of a shell text, in order; `export` and `VAR=value` go to the environment of what follows.

    Raises InputError for text that is not a command.
    """
    if len(text) > MOST_TEXT:
        raise InputError(f"A launch command is short; got {len(text):,} characters.")
    environment: dict[str, str] = {}
    found = []
    for words in _lines(text):
        own = dict(environment)
        while words and (words[0] == "export" or ASSIGNMENT.fullmatch(words[0])):
            name, equals, value = words.pop(0).partition("=")
            own |= {name: value} if equals else {}
        if words:
            found.append(Invocation(tuple(words), own))
        else:
            environment = own
    return found


def _lines(text: str) -> list[list[str]]:
    """Words of each line; lines end at a newline, at `;`, `&&`, `||`, `|` and `&`."""
    joined = re.sub(r"\\\r?\n", " ", re.sub(r"(^|(?<=\s))#.*$", "", text, flags=re.M))
    lexer = shlex.shlex(joined, posix=True, punctuation_chars=";&|\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    lines: list[list[str]] = [[]]
    try:
        for word in lexer:
            if word and set(word) <= set(";&|\n"):
                lines.append([])
            else:
                lines[-1].append(word)
    except ValueError as error:
        raise InputError(f"The command cannot be split into words ({error}): '{text.strip()[:60]}'.") from None
    return [line for line in lines if line]


def quoted(word: str) -> str:
    """For a shell; `$NAME` and `$((NAME * 8))` are left for it to fill in."""
    return f'"{word}"' if word == HERE or EXPANDED.fullmatch(word) else shlex.quote(word)
