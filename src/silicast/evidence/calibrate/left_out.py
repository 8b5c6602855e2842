"""How far the laws miss operators that were not fitted: held-out shapes, whole chips, generations, sources.

Log errors of forecast over measurement. Chips are fitted one by one, so a chip or a generation is left out without a
refit: its rows meet the coefficients that the others lend it. Leaving a source out refits the chips that it measured.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from silicast import catalog
from silicast.evidence.calibrate.chips import ALL, Chip, fit_chip
from silicast.evidence.calibrate.device import device
from silicast.evidence.calibrate.fit import MICRO, evaluated
from silicast.evidence.calibrate.plan import HELD, Kind, jobs, merged
from silicast.evidence.calibrate.pool import Number, own
from silicast.evidence.calibrate.predict import Values
from silicast.evidence.calibrate.run import belongs, lent
from silicast.evidence.ingest.operators import Array, Operators

Errors = dict[tuple[str, str], Array]
#: a coefficient that a chip may lack: no row of its crosses the outer link
OUTER = "outer_efficiency"


@dataclass(frozen=True, slots=True)
class Miss:
    """Errors of one kernel of a law on one chip, and what was left out: nothing but shapes, or the named thing."""

    left_out: str
    name: str
    chip: str
    law: str
    kernel: str
    errors: Array


def misses(table: Operators, chips: Mapping[str, Chip], told: Callable[[str], None]) -> list[Miss]:
    """Every leave-out of the operators of `table`, whose fits are `chips`. Deterministic."""
    found = [*_shapes(table, chips), *_siblings(table, chips, "chip", {name: [name] for name in chips})]
    told(f"operators: {len(chips)} chips left out one by one")
    known = sorted({chip.device.generation for chip in chips.values()})
    generations = {
        named: [name for name, chip in chips.items() if belongs(chip.device.generation, named)] for named in known
    }
    found += _siblings(table, chips, "generation", generations)
    told(f"operators: {len(generations)} generations left out")
    for source in sorted({_origin(str(name)) for name in set(table["source"])}):
        found += _source(source, table, chips)
        told(f"operators: source {source} left out")
    return found


def _shapes(table: Operators, chips: Mapping[str, Chip]) -> Iterator[Miss]:
    """Held-out shapes under the set that their stack ends up with."""
    for name, chip in chips.items():
        for kind, kernel, rows in jobs(table.where(table["chip"] == name)):
            fits = {one.stack: one for one in chip.fits if (one.kind.law, one.kernel) == (kind.law, kernel)}
            if ALL not in fits:
                continue
            shared = rows.where(~np.isin(rows["stack"].astype(str), list(fits)))
            values = {**_values(kind.law, kernel, own(chip)), **fits[ALL].found.values}
            parts = [one.found.errors for stack, one in fits.items() if stack != ALL]
            if len(shared):
                parts.append(evaluated(shared, _prediction(kind, kernel, name), values))
            yield Miss("shapes", "", name, kind.law, kernel, np.concatenate(parts))


def _prediction(kind: Kind, kernel: str, chip: str) -> Callable[[Operators, Values], Array]:
    return lambda rows, values: kind.predict(rows, kernel, values, device(chip))


def _siblings(
    table: Operators, chips: Mapping[str, Chip], kind: str, groups: Mapping[str, Iterable[str]]
) -> Iterator[Miss]:
    """Rows of chips that are left out together, under what the others lend them."""
    for group, members in sorted(groups.items()):
        others = {name: chip for name, chip in chips.items() if name not in members}
        for name in members if others else ():
            rows = table.where(table["chip"] == name)
            for (law, kernel), found in errors(name, rows, lent(name, others)).items():
                yield Miss(kind, group, name, law, kernel, found)


def _source(source: str, table: Operators, chips: Mapping[str, Chip]) -> Iterator[Miss]:
    """Rows of a source under coefficients that none of its rows reached."""
    mine = np.array([_origin(str(name)) == source for name in table["source"]])
    touched = sorted(set(table["chip"][mine].astype(str)))
    rest = {name: chip for name, chip in chips.items() if name not in touched}
    stacks = tuple(catalog.ids("stacks"))
    for name in touched:
        again = fit_chip(name, table.where(~mine & (table["chip"] == name)), stacks)
        rest |= {name: again} if again.fits else {}
    for name in touched:
        numbers = lent(name, rest) | (own(rest[name]) if name in rest else {})
        for (law, kernel), found in errors(name, table.where(mine & (table["chip"] == name)), numbers).items():
            yield Miss("source", source, name, law, kernel, found)


def _origin(source: str) -> str:
    """What `--without-source` calls a source: tables of the package, a folder of files, or evidence by its id."""
    return "aiconfigurator" if "/" in source else "operators" if source.endswith(".csv") else source


def errors(chip_id: str, table: Operators, numbers: Mapping[str, Number]) -> Errors:
    """Log errors by law and kernel of the rows of one chip under given coefficients.

    Kernels for which a coefficient is missing are left out.
    """
    target, found = device(chip_id), {}
    for kind, kernel, rows in jobs(table):
        values = _values(kind.law, kernel, numbers)
        if kernel_known(kind, values):
            rows = merged(rows)
            seconds = kind.predict(rows, kernel, values, target)
            found[kind.law, kernel] = np.log(seconds) - np.log(rows["latency_us"] * MICRO)
    return found


def kernel_known(kind: Kind, values: Values) -> bool:
    """Whether the coefficients of a kernel are all there."""
    return all(one.name in values for one in kind.coefficients if one.kept and one.name != OUTER)


def _values(law: str, kernel: str, numbers: Mapping[str, Number]) -> Values:
    """As the laws of the fits name them: those of the kernel without its name, those of vectors with it."""
    prefix = f"{law}.{kernel}."
    mine = {key.removeprefix(prefix): number.value for key, number in numbers.items() if key.startswith(prefix)}
    vector = {key: number.value for key, number in numbers.items() if key.startswith("vector.")}
    return {**HELD, **vector, **mine}


COLUMNS = "left_out,name,chip,law,kernel,rows,low,middle,high,median_error,p90_error"


def document(found: Iterable[Miss]) -> str:
    """The table: per chip and kernel, then per law over all chips. `low middle high` are of the signed log error."""
    kinds: dict[tuple[str, str], list[Array]] = defaultdict(list)
    lines = [COLUMNS]
    for one in found:
        lines.append(_line(one))
        kinds[one.left_out, one.law].append(one.errors)
    lines += [_line(Miss(kind, "", "", law, "", np.concatenate(parts))) for (kind, law), parts in kinds.items()]
    return "\n".join(lines) + "\n"


def _line(one: Miss) -> str:
    size = np.abs(one.errors)
    numbers = (*np.quantile(one.errors, (0.1, 0.5, 0.9)), np.median(size), np.quantile(size, 0.9))
    told = ",".join(f"{number:.4f}" for number in numbers)
    return f"{one.left_out},{one.name},{one.chip},{one.law},{one.kernel},{one.errors.size},{told}"
