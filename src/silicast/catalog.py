"""Loads chips, systems, stacks and models by id or by path, and names the nearest one when an id is unknown.

Order of search: a path, the user's folder (`SILICAST_HOME`), packs of third parties (entry points
`silicast.packs`), what ships. A later place never hides an earlier one.
"""

import os
from dataclasses import replace
from functools import cache
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from silicast import chip_template
from silicast.coefficients import Coefficient, Coefficients
from silicast.datafile import read, read_numbers
from silicast.errors import ChipFileError, not_found
from silicast.estimate import TIERS
from silicast.hardware import Chip, Number, System
from silicast.spread import completed, gaps
from silicast.stack import Stack

T = TypeVar("T", bound=BaseModel)

#: longest id worth looking for: file names end there
MAX_NAME = 200

#: what a user's chip gets where its file does not say; the shipped files say all of it
CHIP_DEFAULTS: dict[str, Any] = {
    "vendor": "not stated",
    "status": "user file",
    "system": "eight-device-node",
    "stack": "generic",
    "devices_per_package": {
        "value": "1 count",
        "basis": ["per_package", "assumed"],
        "source": {"title": "Assumption of Silicast: one device per package", "date": "2026-11"},
        "confidence": "assumption",
        "estimated": True,
    },
}


def data_folder() -> Path:
    """The folder of the shipped data."""
    return Path(str(resources.files("silicast"))) / "data"


@cache
def pack_folders() -> tuple[Path, ...]:
    """Data folders of installed packs: entry points of group `silicast.packs` that name a module."""
    folders = []
    for point in entry_points(group="silicast.packs"):
        try:
            folders.append(Path(str(point.load().__file__)).parent)
        except Exception as error:  # a pack is foreign code: whatever it raises, the user needs its name
            raise ChipFileError(f"Pack '{point.name}' ({point.value}) cannot be loaded: {error}") from None
    return tuple(folders)


def search_path() -> tuple[Path, ...]:
    """Folders searched for `<kind>/<id>.toml`, in order."""
    home = os.environ.get("SILICAST_HOME")
    return (*((Path(home),) if home else ()), *pack_folders(), data_folder())


def ids(kind: str) -> list[str]:
    """All ids of one kind (`chips`, `systems`, `stacks`), sorted."""
    found = {path.stem for folder in search_path() for path in (folder / kind).glob("*.toml")}
    return sorted(found)


def chip(name: str) -> Chip:
    """A chip by id or path. Raises NotFoundError or ChipFileError."""
    return _load("chips", name, Chip)


def system(name: str) -> System:
    """A system by id or path. Raises NotFoundError or ChipFileError."""
    return _load("systems", name, System)


def stack(name: str) -> Stack:
    """A stack by id or path. Raises NotFoundError or ChipFileError."""
    return _load("stacks", name, Stack)


def coefficients(chip_id: str, stack_id: str) -> Coefficients:
    """All coefficients of a chip under a stack: the datasheet ones, overridden by fitted ones where there are any.

    `stacks/<stack>.toml` are of a stack on all chips and drawn once for all of them. A stack that runs the host code
    of another one (`host_of`) has that one's host times, transferred, until its own are fitted.
    """
    own, files = f"{chip_id}/{stack_id}", ("datasheet", f"stacks/{stack_id}", f"{chip_id}/all", f"{chip_id}/{stack_id}")
    lender = stack(stack_id).host_of if stack_id in ids("stacks") else None
    table: dict[str, Coefficient] = {}
    lent: dict[str, Coefficient] = {}
    for folder in reversed(search_path()):
        for name in files:
            path = folder / "coefficients" / f"{name}.toml"
            if path.is_file():
                owner = name if name.startswith("stacks/") else own
                table |= _read_coefficients(path, path.stat().st_mtime_ns, owner)
        path = folder / "coefficients" / "stacks" / f"{lender}.toml"
        if lender and path.is_file():
            lent |= _read_coefficients(path, path.stat().st_mtime_ns, f"stacks/{lender}")
    host = {name: replace(one, tier="transferred") for name, one in lent.items() if name.startswith("host.")}
    return Coefficients(table | {name: one for name, one in host.items() if table[name].tier == "datasheet"})


def prices(kind: str) -> dict[str, Number]:
    """The numbers of `prices/<kind>.toml` by name (`rent`: USD per package-hour by chip); a user's own come first."""
    table: dict[str, Number] = {}
    for folder in reversed(search_path()):
        path = folder / "prices" / f"{kind}.toml"
        if path.is_file():
            table |= read_numbers(path)[1]
    return table


@cache
def _read_coefficients(path: Path, _modified: int, owner: str) -> dict[str, Coefficient]:
    plain, numbers = read_numbers(path)
    tier = plain.get("tier", "datasheet")
    if tier not in TIERS:
        raise ChipFileError(f"{path.name}: tier '{str(tier)[:40]}' is not one of {', '.join(TIERS)}.")
    return {name: Coefficient(number, tier, f"{owner}/{name}") for name, number in numbers.items()}


def _load(kind: str, name: str, noun: type[T]) -> T:
    path = _find(kind, name)
    found: T = _read(path, path.stat().st_mtime_ns, noun)
    return found


def _find(kind: str, name: str) -> Path:
    if name.endswith(".toml") or "/" in name or "\\" in name:
        return _existing(kind, name)
    if len(name) <= MAX_NAME:
        for folder in search_path():
            path = folder / kind / f"{name}.toml"
            if path.is_file():
                return path
    raise not_found(kind[:-1].capitalize(), name, ids(kind), f"List them with: silicast {kind}")


def _existing(kind: str, name: str) -> Path:
    path = Path(name)
    shown = name if len(name) <= MAX_NAME else name[:60] + "..."
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:
        raise ChipFileError(f"File '{shown}' cannot be opened: {error.strerror}.") from None
    if is_folder:
        raise ChipFileError(f"'{shown}' is a folder; give the path of a TOML file.")
    if not is_file:
        raise ChipFileError(f"File '{shown}' not found. Known {kind} are listed by: silicast {kind}")
    return path


@cache
def _read(path: Path, _modified: int, noun: type[T]) -> T:
    return read(path, noun, _fill_defaults if noun is Chip else None)


def _fill_defaults(document: dict[str, Any]) -> None:
    """What a half-filled chip file may leave out; only a matrix peak must be there."""
    name = document.get("id", "")
    for key, default in {"name": name, "generation": name, **CHIP_DEFAULTS}.items():
        document.setdefault(key, default)
    document.setdefault("memory", {})
    if isinstance(document["memory"], dict):
        document["memory"].setdefault("hbm", {})
    compute = document.get("compute")
    if compute is None or (isinstance(compute, dict) and compute.get("matrix", {}) == {}):
        raise ChipFileError(
            "'compute.matrix' needs at least one matrix peak, such as bf16 = { value = \"989 TFLOPS\", ... }."
        )


def complete(chip: Chip) -> Chip:
    """The chip with every field that the laws need; what its file lacks is estimated from the shipped chips.

    An estimated number has `estimated` set, a range, and the ids it was drawn from; its name is in `chip.missing`.
    """
    if not gaps(chip):
        return chip
    return completed(chip, shipped_chips())


@cache
def shipped_chips() -> tuple[Chip, ...]:
    """Every chip that ships, sorted by id: the sample from which missing fields are estimated."""
    folder = data_folder() / "chips"
    return tuple(_read(path, path.stat().st_mtime_ns, Chip) for path in sorted(folder.glob("*.toml")))


def template(from_chip: str | None = None) -> str:
    """A commented chip file that loads as it is: blank, or filled from a chip by id or path."""
    if from_chip is None:
        return chip_template.blank()
    return chip_template.filled(chip(from_chip), _find("chips", from_chip).read_text(encoding="utf-8"))
