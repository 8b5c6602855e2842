"""Everything that is left out once, refitted, in one go: `silicast calibrate --left-out`.

Operators per chip, generation and source; serving stacks per source on a chip, chip and generation. Deterministic.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast import catalog
from silicast.coefficients import Coefficient
from silicast.errors import EvidenceError
from silicast.evidence.calibrate import stacks
from silicast.evidence.calibrate.left_out import document, misses
from silicast.evidence.calibrate.run import Choice, Fits, fitted
from silicast.evidence.calibrate.write import MARK
from silicast.evidence.fitted import chip_of
from silicast.evidence.forecast import forecast
from silicast.evidence.left_out import NOBODY, SERVING, STACKS, Left, Refits, generation_of, without
from silicast.evidence.misses import OPERATORS
from silicast.evidence.record import Row

Array = NDArray[Any]
Told = Callable[[str], None]


def left_out(choice: Choice, rows: Sequence[Row], told: Told) -> dict[str, str]:
    """The tables by file name. `rows` = the evidence that stacks are fitted to. Raises EvidenceError."""
    fits: Fits = fitted(choice, told)
    operators = document(misses(fits.table, fits.chips, told))
    again = refit_stacks(rows, told)
    tables = {OPERATORS: operators, STACKS: stack_document(again), SERVING: serving_document(serving(rows, again))}
    told("serving: rows forecast under the refits without them")
    return {name: f"{MARK}\n{table}" for name, table in tables.items()}


def refit_stacks(rows: Sequence[Row], told: Told) -> Refits:
    """Every stack without each of its sources on a chip, chips and generations; {} where too few rows are left."""
    start = catalog.coefficients(NOBODY, NOBODY).table
    found: dict[tuple[Left, str], dict[str, float]] = {}
    for stack in catalog.ids("stacks"):
        used = [row for row in rows if stacks.usable(row, stack)]
        known: dict[frozenset[int], dict[str, float]] = {}
        for left in lefts(used):
            kept = frozenset(index for index, row in enumerate(used) if not left.holds(row))
            if kept not in known:
                known[kept] = _refit(stack, [used[index] for index in sorted(kept)], start)
                told(f"{stack}: {len(kept)} of {len(used)} rows refitted")
            found[left, stack] = known[kept]
    return found


def _refit(stack: str, rows: Sequence[Row], start: Mapping[str, Coefficient]) -> dict[str, float]:
    try:
        return stacks.fit_stack(stack, rows, start).values
    except EvidenceError:
        return {}


def lefts(rows: Iterable[Row]) -> list[Left]:
    """What can be left out of the rows of a stack."""
    rows = list(rows)
    places = sorted({(row.source, chip_of(row)) for row in rows})
    chips = sorted({chip for _, chip in places})
    generations = sorted({generation_of(chip) for chip in chips} - {""})
    return [
        *(Left(source=source, chip=chip) for source, chip in places),
        *(Left(chip=chip) for chip in chips),
        *(Left(generation=generation) for generation in generations),
    ]


def stack_document(found: Refits) -> str:
    """One line per coefficient; one without a coefficient where too few rows were left."""
    return "\n".join(["source,chip,generation,stack,coefficient,value", *_lines(found)]) + "\n"


def _lines(found: Refits) -> Iterator[str]:
    for (left, stack), values in found.items():
        about = f"{left.source},{left.chip},{left.generation},{stack}"
        yield from (f"{about},{name},{value:.4g}" for name, value in values.items())
        if not values:
            yield f"{about},,"


#: (what is left out, stack, chip, metric) -> signed log errors
Misses = Mapping[tuple[Left, str, str, str], Array]


def serving(rows: Sequence[Row], refits: Refits) -> Misses:
    """Errors of the rows that each refit did without: what the range of an unmeasured chip is made of."""
    found: dict[tuple[Left, str, str, str], list[float]] = defaultdict(list)
    for left, stack in refits:
        gone = [row for row in rows if stacks.usable(row, stack) and left.holds(row)]
        outcomes, _ = forecast(gone, make=without(left, refits))
        for row, outcome in zip(gone, outcomes, strict=True):
            if outcome.value is not None:
                found[left, stack, chip_of(row), row.metric].append(float(np.log(outcome.value / row.value)))
    return {key: np.array(errors) for key, errors in found.items()}


def serving_document(found: Misses) -> str:
    """One line per refit, stack, chip and metric; `low middle high` are of the signed log error."""
    lines = ["source,chip,generation,stack,of_chip,metric,rows,low,middle,high"]
    for (left, stack, chip, metric), errors in found.items():
        numbers = ",".join(f"{number:.4f}" for number in np.quantile(errors, (0.1, 0.5, 0.9)))
        lines.append(f"{','.join(left)},{stack},{chip},{metric},{errors.size},{numbers}")
    return "\n".join(lines) + "\n"
