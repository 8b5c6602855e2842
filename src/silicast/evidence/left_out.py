"""Forecasts under coefficients refitted without something: one source on one chip, a chip, a generation.

`silicast calibrate --left-out` writes the refits of the stacks; a chip that is left out gets what its siblings lend it,
as a chip without rows does. Chips are fitted one by one, so leaving one out changes no fit of another.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from silicast import catalog
from silicast.coefficients import Coefficient, Coefficients
from silicast.datafile import read_numbers
from silicast.errors import EvidenceError
from silicast.estimate import Sampler
from silicast.evidence.calibrate import pool, stacks
from silicast.evidence.calibrate.chips import ALL, Chip, Fit
from silicast.evidence.calibrate.device import device
from silicast.evidence.calibrate.fit import Fitted
from silicast.evidence.calibrate.plan import COPY, Kind
from silicast.evidence.calibrate.run import belongs, general_link, lent
from silicast.evidence.deployment import Pools
from silicast.evidence.fitted import chip_of, used_by
from silicast.evidence.forecast import Outcome, forecast
from silicast.evidence.misses import FOLDER
from silicast.evidence.record import Row
from silicast.hardware import Number, Source
from silicast.machine import Machine

STACKS, SERVING = "stacks.csv", "serving.csv"
#: how the source of a fitted coefficient is titled in the files of the chips
FITTED = "Fitted by Silicast"
DISCREPANCY = "discrepancy."
#: the chip and stack whose coefficients are those of the datasheet tier
NOBODY = "none"


class Left(NamedTuple):
    """What a refit does without: rows of `source` on `chip`, all of a `chip`, or a `generation` with its branches."""

    source: str = ""
    chip: str = ""
    generation: str = ""

    def holds(self, row: Row) -> bool:
        """Whether a row is left out."""
        return (not self.source or row.source == self.source) and self.covers(chip_of(row))

    def covers(self, chip: str) -> bool:
        """Whether a chip is left out, of all sources or of the one named."""
        if self.generation:
            return belongs(generation_of(chip), self.generation)
        return not self.chip or chip == self.chip

    def drops(self, chip: str) -> bool:
        """Whether the operators of a chip are left out too."""
        return not self.source and self.covers(chip)


@cache
def generation_of(chip: str) -> str:
    """The generation of a chip of the catalog, "" for one it lacks."""
    return catalog.chip(chip).generation if chip in catalog.ids("chips") else ""


#: (what is left out, stack) -> coefficients by name; none where too few rows were left
Refits = Mapping[tuple[Left, str], Mapping[str, float]]


def read_refits(path: Path) -> Refits:
    """The refits of a `stacks.csv`."""
    found: dict[tuple[Left, str], dict[str, float]] = defaultdict(dict)
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(text for text in file if not text.startswith("#")):
            values = found[Left(line["source"], line["chip"], line["generation"]), line["stack"]]
            if line["coefficient"]:
                values[line["coefficient"]] = float(line["value"])
    return dict(found)


@cache
def shipped_refits() -> Refits:
    """The refits that ship; none where the package has none."""
    path = catalog.data_folder() / FOLDER / STACKS
    return read_refits(path) if path.is_file() else {}


@dataclass(slots=True)
class Without(Pools):
    """Pools whose machines do without what is left out."""

    left: Left = field(default_factory=Left)
    refits: Refits = field(default_factory=dict)
    _without: dict[tuple[str, str | None, str | None], Machine] = field(default_factory=dict)

    def machine(self, chip: str, system: str | None, stack: str | None) -> Machine:
        """As that of the catalog, with other coefficients."""
        where = chip, system, stack
        if where not in self._without:
            known = Pools.machine(self, *where)
            table = coefficients(known.chip.id, known.stack.id, self.left, self.refits)
            self._without[where] = Machine(known.chip, known.system, known.stack, table, Sampler(self.draws))
        return self._without[where]


def coefficients(chip: str, stack: str, left: Left, refits: Refits) -> Coefficients:
    """Coefficients of a chip under a stack without what is left out. Raises EvidenceError for a table too old."""
    table = dict(catalog.coefficients(chip, stack).table)
    datasheet = catalog.coefficients(NOBODY, NOBODY).table
    if left.drops(chip):
        own = {name: one for name, one in table.items() if one.key.startswith("stacks/")}
        table = {**datasheet, **_lent(chip, left), **own}
    if (left, stack) in refits:
        # what the laws miss was found on chips left out of the fit already
        kept = {n: one for n, one in table.items() if not one.key.startswith("stacks/") or n.startswith(DISCREPANCY)}
        values = refits[left, stack]
        for name in sorted(set(values) - set(datasheet)):
            raise EvidenceError(
                f"{FOLDER}/{STACKS} has '{name}', which no law reads. Write it anew: silicast calibrate --left-out"
            )
        again = {name: stacks.changed(datasheet[name], value) for name, value in values.items()}
        table = {**{name: datasheet[name] for name in table if name in datasheet}, **kept, **again}
    return Coefficients(table)


@cache
def _lent(chip: str, left: Left) -> dict[str, Coefficient]:
    fits = {name: one for name, one in file_fits().items() if not left.drops(name)}
    numbers = general_link(lent(chip, fits))
    return {key: Coefficient(_as_read(number), "transferred", f"{chip}/{key}") for key, number in numbers.items()}


def _as_read(number: pool.Number) -> Number:
    source = Source(title=f"Assumption of Silicast: {number.note}")
    unit = "s" if number.unit == "us" else number.unit
    return Number(
        value=number.value, low=number.low, high=number.high, unit=unit, source=source, confidence="low"
    )  # fmt: skip


@cache
def file_fits() -> dict[str, Chip]:
    """The chips that ship with fits of their own, as `calibrate` had them, read from their coefficient files."""
    folder = catalog.data_folder() / "coefficients"
    known = catalog.ids("chips")
    found = {path.parent.name: _file_fit(path) for path in sorted(folder.glob(f"*/{ALL}.toml"))}
    return {name: Chip(device(name), [one]) for name, one in found.items() if one.found.values and name in known}


def _file_fit(path: Path) -> Fit:
    """All fitted numbers of a file as one fit, by their dotted names."""
    numbers = {
        name: number
        for name, number in read_numbers(path)[1].items()
        if number.source.title.startswith(FITTED) and not name.endswith(".residual")
    }
    value, low, high = (
        {name: getattr(number, end) for name, number in numbers.items()} for end in ("value", "low", "high")
    )
    units = {name: "us" if number.unit == "s" else "" for name, number in numbers.items()}
    return Fit(Kind("", COPY.predict, ()), "", ALL, Fitted(value, low, high, 0, np.zeros(0), (), units))


def places(rows: Iterable[Row]) -> dict[Left, list[Row]]:
    """The rows that stacks were fitted to, by what a refit must leave out to score them: their source on their chip."""
    found: dict[Left, list[Row]] = defaultdict(list)
    for row in rows:
        if used_by(row).startswith("stacks/"):
            found[Left(row.source, chip_of(row))].append(row)
    return dict(found)


def without(left: Left, refits: Refits) -> Callable[[int], Pools]:
    """Makes the pools of a forecast."""
    return lambda draws: Without(draws=draws, left=left, refits=refits)


def left_out(rows: Sequence[Row], refits: Refits) -> dict[Row, Outcome]:
    """Points for fitted rows under a refit without their source on their chip. Rows without such a refit are absent."""
    found: dict[Row, Outcome] = {}
    for left, group in places(rows).items():
        known = [row for row in group if (left, row.scenario.stack or "") in refits]
        outcomes, _ = forecast(known, make=without(left, refits))
        found |= dict(zip(known, outcomes, strict=True))
    return found
