"""Which rows the coefficients in use were fitted to. A row counts as validation when nothing of it was fitted.

Read from the provenance of the coefficient files: a stack file is fitted to the serving rows that
`calibrate --stacks` takes for that stack, a chip file names the sources of its operators. Rows are recognised by
source and scenario, so that another metric or a resubmission of a fitted run is fitted too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from silicast import catalog
from silicast.evidence.calibrate.stacks import usable
from silicast.evidence.columns import Scenario
from silicast.evidence.ingest.published import operator
from silicast.evidence.record import Row, load, shipped

#: fitted: this run was; sibling: other runs of its source on its chip were; unseen: neither
Seen = Literal["fitted", "sibling", "unseen"]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was fitted: runs as (source, scenario without version), and (source, chip) pairs."""

    runs: frozenset[tuple[str, Scenario]]
    places: frozenset[tuple[str, str]]

    def seen(self, row: Row) -> Seen:
        """How much of a row the coefficients know."""
        if run_of(row) in self.runs:
            return "fitted"
        return "sibling" if (row.source, chip_of(row)) in self.places else "unseen"


def run_of(row: Row) -> tuple[str, Scenario]:
    """The piece of evidence a row belongs to: metrics and versions of one run are one piece."""
    return row.source, row.scenario._replace(stack_version=None)


def chip_of(row: Row) -> str:
    """The chip of a row; of two pools the one that decodes."""
    return row.scenario.chip or row.scenario.decode_chip or row.scenario.prefill_chip or ""


def fitted(rows: Iterable[Row] = ()) -> Fitted:
    """What was fitted of the shipped evidence, and of other `rows` that are marked `calibrate`."""
    used = [*_shipped(), *(row for row in rows if used_by(row))]
    return Fitted(frozenset(map(run_of, used)), frozenset((row.source, chip_of(row)) for row in used))


@cache
def _shipped() -> tuple[Row, ...]:
    return tuple(fitted_rows(load([shipped()]).rows)) if shipped().is_dir() else ()


def fitted_rows(rows: Iterable[Row]) -> list[Row]:
    """The rows that a coefficient file was fitted to."""
    return [row for row in rows if used_by(row)]


def used_by(row: Row) -> str:
    """The coefficient file that a row was fitted into, `stacks/vllm` or `ascend-910c`; "" = none."""
    stack, chip = row.scenario.stack or "", row.scenario.chip or ""
    if stack_file(stack) and usable(row, stack):
        return f"stacks/{stack}"
    if row.use == "calibrate" and operator(row) is not None and row.source in _told(chip, stack):
        return chip
    return ""


def stack_file(stack: str) -> Path | None:
    """The coefficient file of a stack on all chips, the one that counts; None where it has none."""
    places = (folder / "coefficients" / "stacks" / f"{stack}.toml" for folder in catalog.search_path())
    return next((path for path in places if path.is_file()), None)


def _told(chip: str, stack: str) -> str:
    """Titles of the sources of a chip's coefficients."""
    return " ".join({one.number.source.title for one in catalog.coefficients(chip, stack).table.values()})
