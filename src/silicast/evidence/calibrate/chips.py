"""All fits of one chip: one set for every stack together, and one of a stack where it differs materially."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from silicast.errors import EvidenceError
from silicast.evidence.calibrate.device import Device, device
from silicast.evidence.calibrate.fit import Fitted, evaluated, fit
from silicast.evidence.calibrate.plan import HELD, VECTOR, Kind, jobs, merged, within
from silicast.evidence.ingest.operators import Array, Operators

#: name of the file that holds for every stack
ALL = "all"
#: a stack gets its own coefficients where they cut its median error by this share and by this much at least
GAIN_SHARE, GAIN = 0.8, 0.012
#: rows that a stack needs for that
STACK_ROWS = 100


@dataclass(slots=True)
class Fit:
    """One fit of a kernel of a law: what it found, and the errors of the set that a stack ends up with."""

    kind: Kind
    kernel: str
    stack: str
    found: Fitted

    @property
    def name(self) -> str:
        """`gemm.fp8_block`."""
        return f"{self.kind.law}.{self.kernel}" if self.kernel and self.kind.law != "vector" else self.kind.law


@dataclass(slots=True)
class Chip:
    """The fits of a chip by stack, and what could not be fitted, with the reason."""

    device: Device
    fits: list[Fit] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def of(self, stack: str) -> list[Fit]:
        """The fits written to the file of a stack."""
        return [one for one in self.fits if one.stack == stack]

    @property
    def stacks(self) -> list[str]:
        """Names of the files, the general one first."""
        return sorted({one.stack for one in self.fits}, key=lambda name: (name != ALL, name))


def fit_chip(
    chip_id: str, table: Operators, stacks: tuple[str, ...], stated: Mapping[str, float] | None = None
) -> Chip:
    """Every law that the rows of a chip can fit, beside what is `stated` of its vector operators.

    Only `stacks` of the catalog get files of their own.
    """
    chip = Chip(device(chip_id))
    base = HELD | {name: value for name, value in (stated or {}).items() if name in HELD}
    for kind, kernel, rows in jobs(table):
        try:
            general = _fit(chip, kind, kernel, merged(rows), base)
        except EvidenceError as error:
            chip.skipped.append(f"{chip_id} {kind.law} {kernel}: {error}")
            continue
        if kind.law == VECTOR.law:
            base |= {name: general.values[name] for name in ("vector.launch", "vector.memory_efficiency")}
        values = {**base, **general.values}
        general.errors = _unseen(chip, kind, kernel, rows, values)
        chip.fits.append(Fit(kind, kernel, ALL, general))
        if kind.law != VECTOR.law:
            _by_stack(chip, kind, kernel, rows, values, base, stacks)
    return chip


def _fit(chip: Chip, kind: Kind, kernel: str, rows: Operators, base: Mapping[str, float]) -> Fitted:
    kind = within(kind, rows, chip.device)
    return fit(rows, kind.coefficients, lambda part, values: kind.predict(part, kernel, values, chip.device), base)


def _unseen(chip: Chip, kind: Kind, kernel: str, rows: Operators, values: Mapping[str, float]) -> Array:
    """Errors of the general set on the held-out rows of every stack, not of their median."""
    return evaluated(rows, lambda part, given: kind.predict(part, kernel, given, chip.device), values)


def _by_stack(
    chip: Chip,
    kind: Kind,
    kernel: str,
    rows: Operators,
    values: Mapping[str, float],
    base: Mapping[str, float],
    stacks: tuple[str, ...],
) -> None:
    names = sorted(set(rows["stack"].astype(str)) & set(stacks))
    for stack in names if len(set(rows["stack"])) > 1 else ():
        own = rows.where(rows["stack"] == stack)
        if len(own) < STACK_ROWS and kind.law != "collective":
            continue
        try:
            found = _fit(chip, kind, kernel, own, base)
        except EvidenceError:
            continue
        before = float(np.median(np.abs(_unseen(chip, kind, kernel, own, values))))
        if found.median < GAIN_SHARE * before and before - found.median > GAIN:
            chip.fits.append(Fit(kind, kernel, stack, found))
