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
from silicast.basis import on_one_basis
from silicast.coefficients import Coefficient, Coefficients
from silicast.datafile import read, read_numbers
from silicast.errors import ChipFileError, not_found
from silicast.estimate import TIERS
from silicast.hardware import Chip, Compute, Number, System
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


def coefficients(chip: Chip | str, stack_id: str) -> Coefficients:
    """All coefficients of a chip under a stack: the datasheet ones, overridden by fitted ones where there are any.

    `chip` as it was read; an id stands for the chip of the catalog. A fit holds for the very chip that it was made of:
    another file under the same id has none, and a chip that is `based_on` one has those of that one as transferred.
    `stacks/<stack>.toml` are of a stack on all chips and drawn once for all of them. A stack that runs the host code
    of another one (`host_of`) has that one's host times, transferred, until its own are fitted.
    """
    lender = stack(stack_id).host_of if stack_id in ids("stacks") else None
    table: dict[str, Coefficient] = {}
    lent: dict[str, Coefficient] = {}
    for folder in reversed(search_path()):
        for name, owner, is_lent in _coefficient_files(chip, stack_id, folder):
            found = _coefficients_in(folder, name, owner)
            table |= _transferred(found) if is_lent else found
        if lender:
            lent |= _coefficients_in(folder, f"stacks/{lender}", f"stacks/{lender}")
    host = {name: one for name, one in _transferred(lent, anyhow=True).items() if name.startswith("host.")}
    return Coefficients(table | {name: one for name, one in host.items() if table[name].tier == "datasheet"})


def _coefficient_files(chip: Chip | str, stack_id: str, folder: Path) -> list[tuple[str, str, bool]]:
    """(file, prefix of the keys of its draws, whether it is of the chip that this one is based on), worst first."""
    name = chip if isinstance(chip, str) else chip.id
    base = chip.based_on if isinstance(chip, Chip) else None
    drawn = f"{base or name}/{stack_id}"
    files = [("datasheet", drawn, False), (f"stacks/{stack_id}", f"stacks/{stack_id}", False)]
    if base is not None:
        if base not in ids("chips"):
            raise not_found("Chip", base, ids("chips"), f"'based_on' of {name} needs an id of: silicast chips")
        files += [(f"{base}/{file}", drawn, True) for file in ("all", stack_id)]
    if isinstance(chip, str) or _is_own(chip, folder):
        files += [(f"{name}/{file}", drawn, False) for file in ("all", stack_id)]
    return files


def _is_own(chip: Chip, folder: Path) -> bool:
    """Whether the coefficients of a folder are of this chip: it has no other chip under the same id."""
    path = folder / "chips" / f"{chip.id}.toml"
    return not path.is_file() or _read(path, path.stat().st_mtime_ns, Chip) == chip


def _coefficients_in(folder: Path, name: str, owner: str) -> dict[str, Coefficient]:
    path = folder / "coefficients" / f"{name}.toml"
    return _read_coefficients(path, path.stat().st_mtime_ns, owner) if path.is_file() else {}


def _transferred(table: dict[str, Coefficient], anyhow: bool = False) -> dict[str, Coefficient]:
    """What was fitted to another chip is at best transferred; `anyhow`: what it has from the datasheet, too."""
    better = TIERS if anyhow else TIERS[: TIERS.index("transferred")]
    return {name: replace(one, tier="transferred") if one.tier in better else one for name, one in table.items()}


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
    found = read(path, noun, _fill_defaults if noun is Chip else None)
    try:
        return on_one_basis(found)
    except ChipFileError as error:
        raise ChipFileError(f"{path.name}: {error}") from None


def _fill_defaults(document: dict[str, Any]) -> None:
    """What a half-filled chip file may leave out; only a matrix peak must be there."""
    name = document.get("id", "")
    for key, default in {"name": name, "generation": name, **CHIP_DEFAULTS}.items():
        document.setdefault(key, default)
    document.setdefault("memory", {})
    if isinstance(document["memory"], dict):
        document["memory"].setdefault("hbm", {})
    compute = document.get("compute")
    misspelt = isinstance(compute, dict) and not set(compute) <= set(Compute.model_fields)
    if compute is None or (isinstance(compute, dict) and compute.get("matrix", {}) == {} and not misspelt):
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
    """A commented chip file that loads as it is: blank, or filled from a chip by id or path, under an id of its own."""
    if from_chip is None:
        return chip_template.blank()
    text = _find("chips", from_chip).read_text(encoding="utf-8")
    return chip_template.filled(chip(from_chip), text, from_chip in ids("chips"))
