"""Several files written together: all of them or none."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from silicast.errors import InputError


def write_folder(files: Mapping[str, str], folder: Path, overwrite: bool = False) -> list[Path]:
    """Write files by name into a folder, which is made; scripts (`.sh`) may be run. Returns their paths.

    Everything is written beside the files first and then moved. Raises InputError where a file is there already
    (unless `overwrite`), or where nothing can be written.
    """
    there = [name for name in files if (folder / name).exists()]
    if there and not overwrite:
        raise InputError(f"'{folder / there[0]}' is there already: give another --output, or --overwrite.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _moved(files, folder)
    except OSError as error:
        raise InputError(f"'{folder}' cannot be written: {error.strerror}.") from None


def _moved(files: Mapping[str, str], folder: Path) -> list[Path]:
    stage = Path(tempfile.mkdtemp(prefix=".silicast-", dir=folder))
    try:
        for name, text in files.items():
            (stage / name).write_text(text, encoding="utf-8")
            (stage / name).chmod(0o755 if name.endswith(".sh") else 0o644)
        for name in files:
            (stage / name).replace(folder / name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return [folder / name for name in files]
