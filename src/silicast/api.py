"""The verbs of Silicast in Python; the command line has the same ones."""

from typing import Any

from silicast import catalog
from silicast.estimate import Sampler
from silicast.machine import Machine
from silicast.model.config import read_model
from silicast.planning.compare import Comparison
from silicast.planning.compare import compare as _compare
from silicast.pool import PoolModel
from silicast.scenario import Precision, Speculation, Targets, Workload


def machine(chip: str, stack: str | None = None, system: str | None = None, draws: int = 0) -> Machine:
    """A chip (id or path) in a system under a stack; both default to the chip's own."""
    found = catalog.complete(catalog.chip(chip))
    software = catalog.stack(stack or found.stack)
    coefficients = catalog.coefficients(found.id, software.id)
    return Machine(found, catalog.system(system or found.system), software, coefficients, Sampler(draws))


def pool(model: str, on: Machine, precision: Precision | None = None, **options: Any) -> PoolModel:
    """A model (id or path of a config.json) on a machine, in the chip's native precision for the checkpoint."""
    found = read_model(model)
    return PoolModel(found, on, precision or on.native_precision(found), **options)


def compare(
    model: str,
    chips: list[str],
    workload: Workload | None = None,
    targets: Targets | None = None,
    devices: int | None = None,
    packages: int | None = None,
    reference: str | None = None,
    claim: float | None = None,
    speculation: Speculation | None = None,
) -> Comparison:
    """`model` on each of `chips` side by side; the ratio is against `reference` (default: the last chip)."""
    pools = [pool(model, machine(chip), speculation=speculation or Speculation()) for chip in chips]
    limits = [packages * p.machine.chip.packages_of if packages else devices or 64 for p in pools]
    against = chips.index(reference) if reference else len(chips) - 1
    return _compare(pools, workload or Workload(), targets or Targets(2000.0, 50.0), limits, against, claim)
