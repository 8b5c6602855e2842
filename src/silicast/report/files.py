"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from silicast.errors import InputError


@contextmanager
def replacing(path: Path, what: str) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` at the end; folders are made, an existing file is replaced.

    Raises InputError where `path` is not a file or cannot be written; `what` is named in it.
    """
    failed = f"Cannot write the {what} to '{path}'"
    try:
        target = _writable(path.resolve(), path, failed)
    except (InputError, OSError, ValueError, RuntimeError) as error:  # a zero byte in a name, a circle of links
        raise _told(failed, error) from error
    fresh = target.with_name(f".silicast-{os.getpid()}.tmp")
    try:
        yield fresh
        fresh.replace(target)
    except OSError as error:
        raise _told(failed, error) from error
    finally:
        fresh.unlink(missing_ok=True)


def _told(failed: str, error: Exception) -> InputError:
    if isinstance(error, InputError):
        return error
    return InputError(f"{failed}: {getattr(error, 'strerror', None) or error}.")


def _writable(target: Path, given: Path, failed: str) -> Path:
    if target.exists() and not target.is_file():
        what = "a directory" if target.is_dir() else "not a regular file"
        raise InputError(f"{failed}: it is {what}. Name a file, such as report.html.")
    if target.exists() and not os.access(target, os.W_OK):
        raise InputError(f"{failed}: the file is read-only.")
    if target.parent.exists() and not target.parent.is_dir():
        raise InputError(f"{failed}: {given.parent} is a file, not a folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target
