"""Writes the medians that a change may not worsen: tests/validation/gate.csv.

    python scripts/gate.py

The rows are fixed by their place in the evidence: in each group every n-th run, unseen and fitted alike, so that
neither a law nor a fit slips. Run it after a change that moves forecasts on purpose, and say so in its changelog
fragment.
"""

import csv
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from silicast.evidence.fitted import chip_of
from silicast.evidence.forecast import forecast
from silicast.evidence.record import Row, load, shipped

GATE = Path(__file__).resolve().parents[1] / "tests" / "validation" / "gate.csv"
#: rows of a group, and the fewest that make one
MOST, FEWEST = 12, 4

Group = tuple[str, str, str]


class Held(NamedTuple):
    """A group of the gate: chip, stack, metric or operator, rows, and the median absolute error in %."""

    chip: str
    stack: str
    metric: str
    rows: int
    median: float


def chosen(rows: Iterable[Row]) -> dict[Group, list[Row]]:
    """The rows of the gate by group: spread evenly over those that can be forecast by design and are not suspect."""
    groups: dict[Group, list[Row]] = defaultdict(list)
    for row in rows:
        scenario = row.scenario
        recorded = not scenario.mtp_tokens or scenario.mtp_acceptance is not None
        if scenario.kind != "train" and not row.suspect and recorded:
            groups[chip_of(row), scenario.stack or "", scenario.op or row.metric].append(row)
    return {
        group: [found[index] for index in np.linspace(0, len(found) - 1, min(MOST, len(found))).astype(int)]
        for group, found in sorted(groups.items())
        if len(found) >= FEWEST
    }


def measured() -> list[Held]:
    """The medians now."""
    groups = chosen(load([shipped()]).rows)
    outcomes, _ = forecast([row for rows in groups.values() for row in rows])
    left = iter(outcomes)
    found = []
    for group, rows in groups.items():
        values = [(row.value, next(left).value) for row in rows]
        errors = [abs(value / printed - 1) for printed, value in values if value is not None]
        if errors:
            found.append(Held(*group, len(errors), round(100 * float(np.median(errors)), 2)))
    return found


def read() -> list[Held]:
    """The medians as committed."""
    with GATE.open(newline="", encoding="utf-8") as file:
        return [
            Held(line["chip"], line["stack"], line["metric"], int(line["rows"]), float(line["median"]))
            for line in csv.DictReader(file)
        ]


def main() -> None:
    with GATE.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(Held._fields)
        table.writerows(measured())
    sys.stdout.write(f"{GATE.name} written\n")


if __name__ == "__main__":
    main()
