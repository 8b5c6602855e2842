"""`silicast calibrate`: reads every source, fits every chip, pools the rest, writes all files."""

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from silicast import catalog
from silicast.datafile import read_numbers
from silicast.errors import EvidenceError, MissingExtraError, not_found
from silicast.evidence.calibrate.chips import Chip, fit_chip
from silicast.evidence.calibrate.device import device
from silicast.evidence.calibrate.plan import HELD
from silicast.evidence.calibrate.pool import Number, pooled
from silicast.evidence.calibrate.sample import sample
from silicast.evidence.calibrate.write import chip_files, document, replaced
from silicast.evidence.ingest import aiconfigurator
from silicast.evidence.ingest.folder import read_folder
from silicast.evidence.ingest.operators import Operators, joined
from silicast.evidence.ingest.published import read_evidence
from silicast.evidence.record import read_source, shipped, source_folders
from silicast.hardware import Source

TABLES, OPERATORS = "aiconfigurator", "operators"
#: laws that a chip must have fitted itself for its file to count as calibrated
MAIN = ("gemm", "attention")
#: rows from which chips are fitted in processes of their own
MANY = 20_000


@dataclass(frozen=True, slots=True)
class Choice:
    """What to fit: folders, and what to leave out (chips, sources, generations)."""

    tables: Path | None = None
    operators: Path | None = None
    evidence: tuple[Path, ...] = ()
    without_chips: tuple[str, ...] = ()
    without_sources: tuple[str, ...] = ()
    without_generations: tuple[str, ...] = ()


@dataclass(slots=True)
class Calibration:
    """The fits by chip, and the files they make: `<chip>/<stack>.toml` -> text."""

    chips: dict[str, Chip]
    files: dict[str, str] = field(default_factory=dict)


def needs_extra() -> None:
    """Raises MissingExtraError, with the command that installs it, where what fits need is not there."""
    if find_spec("scipy") is None:
        raise MissingExtraError(f"Calibration needs scipy. Install it with: {aiconfigurator.INSTALL}")


def installed_tables() -> Path | None:
    """The tables of the installed package, found without running any of it."""
    spec = find_spec("aiconfigurator_core")
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) / "systems" / "data" if places else None


@dataclass(slots=True)
class Fits:
    """The operators that were read, and the fits by chip."""

    table: Operators
    chips: dict[str, Chip]


def fitted(choice: Choice, told: Callable[[str], None]) -> Fits:
    """Every chip with rows, fitted. Raises EvidenceError where no law can be fitted to anything."""
    checked(choice)
    table = _rows(choice, told)
    if not len(table):
        raise EvidenceError("No operator rows are left to fit; name a folder with --tables or --operators.")
    fits = _each(table)
    chips = {name: chip for name, chip in fits.items() if chip.fits}
    if not chips:
        reasons = [reason for chip in fits.values() for reason in chip.skipped]
        raise EvidenceError(reasons[0] if reasons else "No law can be fitted to these rows.")
    return Fits(table, chips)


def _each(table: Operators) -> dict[str, Chip]:
    """The fits of every chip, several at a time where there is much to do: no fit reads another."""
    names = sorted(set(table["chip"].astype(str)))
    rows = [table.where(table["chip"] == name) for name in names]
    stated = [{key: number.value for key, number in _stated().get(name, {}).items()} for name in names]
    work = names, rows, [tuple(catalog.ids("stacks"))] * len(names), stated
    workers = min(os.cpu_count() or 1, len(names))
    if len(table) < MANY or workers == 1:
        return dict(zip(names, map(fit_chip, *work), strict=True))
    with ProcessPoolExecutor(workers) as pool:
        return dict(zip(names, pool.map(fit_chip, *work), strict=True))


def calibrate(choice: Choice, told: Callable[[str], None] | None = None) -> Calibration:
    """All coefficient files. Deterministic: the same rows give the same files. Raises EvidenceError."""
    chips = fitted(choice, told or _silent).chips
    found = Calibration(chips)
    for name in sorted(path.stem for path in (catalog.data_folder() / "chips").glob("*.toml")):
        found.files |= _files(name, chips)
    return found


def _silent(text: str) -> None:
    """Progress that nobody reads."""
    del text


def checked(choice: Choice) -> None:
    """Raises NotFoundError for a chip, generation or source to leave out that nobody knows."""
    chips = catalog.ids("chips")
    for name in choice.without_chips:
        if name not in chips:
            raise not_found("Chip", name, chips, "List them with: silicast chips")
    generations = sorted({chip.generation for chip in catalog.shipped_chips()})
    for name in choice.without_generations:
        if name not in generations:
            raise not_found("Generation", name, generations, f"Known: {', '.join(generations)}")
    sources = sorted({TABLES, OPERATORS, *_evidence_ids(choice)}) if choice.without_sources else []
    for name in choice.without_sources:
        if name not in sources:
            raise not_found("Source", name, sources, f"Known: {', '.join(sources)}")


def _evidence_ids(choice: Choice) -> list[str]:
    folders = choice.evidence or ((shipped(),) if shipped().is_dir() else ())
    return [read_source(place).id for folder in folders for place in source_folders(folder)]


def _rows(choice: Choice, told: Callable[[str], None]) -> Operators:
    parts = []
    folder = choice.tables or installed_tables()
    if folder is not None and TABLES not in choice.without_sources:
        parts.append(sample(folder))
        told(f"{len(parts[-1])} rows sampled of the tables in {folder}")
    elif folder is None and choice.operators is None:
        raise MissingExtraError(
            f"No operator tables: install them with {aiconfigurator.INSTALL}, or name them with --tables DIR."
        )
    if choice.operators is not None and OPERATORS not in choice.without_sources:
        parts.append(read_folder(choice.operators))
        told(f"{len(parts[-1])} rows of {choice.operators}")
    if shipped().is_dir() or choice.evidence:
        parts.append(read_evidence(choice.evidence or (shipped(),)))
        told(f"{len(parts[-1])} rows of the evidence")
    return _left(joined(parts), choice)


def _left(table: Operators, choice: Choice) -> Operators:
    if not len(table):
        return table
    chip = table["chip"].astype(str)
    generation = {one.id: one.generation for one in catalog.shipped_chips()}
    gone = [
        name
        for name in set(chip)
        if any(belongs(generation.get(name, ""), named) for named in choice.without_generations)
    ]
    keep = ~np.isin(chip, [*choice.without_chips, *gone])
    return table.where(keep & ~np.isin(table["source"].astype(str), choice.without_sources))


def lent(name: str, chips: Mapping[str, Chip]) -> dict[str, Number]:
    """What a chip has beside its own fits: what was held fixed, what siblings lend it, what a source states."""
    stated = _stated()
    return {**_held(), **pooled(device(name), chips, stated), **stated.get(name, {})}


def belongs(generation: str, named: str) -> bool:
    """Whether a generation is the named one or a branch of it: `blackwell-workstation` is of `blackwell`."""
    return generation == named or generation.startswith(f"{named}-")


def _files(name: str, chips: Mapping[str, Chip]) -> dict[str, str]:
    chip = chips.get(name, Chip(device(name)))
    files: dict[str, str] = {}
    for stack, values in chip_files(chip, lent(name, chips)).items():
        laws = {one.kind.law for one in chip.fits}
        tier = "calibrated" if all(law in laws for law in MAIN) else "transferred"
        values = general_link({key: _sourced(number) for key, number in values.items()})
        files[f"{name}/{stack}.toml"] = document(tier, values, chip.of(stack), _sources(chip))
    return files


def general_link(numbers: dict[str, Number]) -> dict[str, Number]:
    """The efficiency of links in general is that of the all-reduce, where one was fitted."""
    found = numbers.get("collective.all_reduce.bandwidth_efficiency")
    return {**numbers, "collective.bandwidth_efficiency": found} if found else numbers


#: what a number that a source states, instead of rows, has as the key of its source; a count follows
STATED = "stated"


def _sourced(number: Number) -> Number:
    known = number.source in ("pooled", "held") or number.source.startswith(STATED)
    return number if known else replace(number, source="fit")


#: coefficients of the datasheet file that the fits stand on: written beside them, so that no draw moves them apart
_STANDS_ON = (
    "gemm.tile_m", "gemm.tile_n", "attention.query_tile", "vector.compute_efficiency", "collective.latency_scale_up",
)  # fmt: skip


def _held() -> dict[str, Number]:
    _, numbers = read_numbers(catalog.data_folder() / "coefficients" / "datasheet.toml")
    found = {}
    for key in _STANDS_ON:
        value = HELD.get(key, numbers[key].value)
        unit = "us" if numbers[key].unit == "s" else ""
        found[key] = Number(value, value, value, unit, "held", "assumption", "held fixed in the fit")
    return found


@cache
def _stated() -> dict[str, dict[str, Number]]:
    """Coefficients that a source states instead of rows, by chip: `stated.toml`."""
    _, numbers = read_numbers(catalog.data_folder() / "coefficients" / "stated.toml")
    found: dict[str, dict[str, Number]] = {}
    for name, number in numbers.items():
        chip_id, _, key = name.partition(".")
        unit = "us" if number.unit == "s" else ""
        source = f"{STATED}{_stated_sources().index(number.source)}"
        one = Number(number.value, number.low, number.high, unit, source, number.confidence, number.note)
        found.setdefault(chip_id, {})[key] = one
    return found


@cache
def _stated_sources() -> list[Source]:
    _, numbers = read_numbers(catalog.data_folder() / "coefficients" / "stated.toml")
    return list(dict.fromkeys(number.source for number in numbers.values()))


def _sources(chip: Chip) -> dict[str, dict[str, str]]:
    tables = sorted({name for one in chip.fits for name in one.found.sources})
    return {
        "fit": {
            "title": f"Fitted by Silicast to {_told(tables)}",
            "url": aiconfigurator.URL if any("/" in name for name in tables) else "",
            "date": aiconfigurator.DATE,
        },
        **{
            f"{STATED}{index}": {"title": source.title, "url": source.url or "", "date": source.date}
            for index, source in enumerate(_stated_sources())
        },
        "pooled": {
            "title": "Assumption of Silicast: coefficients of sibling chips, range from their spread",
            "date": aiconfigurator.DATE,
        },
        "held": {
            "title": "Assumption of Silicast: held at the datasheet value while the others were fitted",
            "date": aiconfigurator.DATE,
        },
    }


def _told(names: Iterable[str]) -> str:
    kinds = {
        aiconfigurator.TITLE: any("/" in name for name in names),
        "hudingyi688/aiconfigurator-npu, Ascend 910B tables, commit e2b2384 (2026-04-14), CANN 8.5": any(
            name.endswith(".csv") for name in names
        ),
        "evidence " + ", ".join(sorted(name for name in names if "/" not in name and not name.endswith(".csv"))): any(
            "/" not in name and not name.endswith(".csv") for name in names
        ),
    }
    return "; ".join(title for title, used in kinds.items() if used)


def write(calibration: Calibration, output: Path) -> None:
    """Puts the files into a folder, all at once."""
    replaced(output, calibration.files)
