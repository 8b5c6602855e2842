"""The verbs of Silicast in Python; the command line has the same ones.

import silicast
silicast.compare("deepseek-ai/DeepSeek-R1", ["ascend-910c", "h100-sxm"])
silicast.forecast("Qwen/Qwen3-32B", "h200-sxm", silicast.Workload(4096, 1024, concurrency=64), tp=2)
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from silicast import catalog
from silicast.errors import InputError, not_found
from silicast.estimate import DRAWS, Sampler
from silicast.machine import Machine
from silicast.memory import Memory
from silicast.model.config import read_model
from silicast.model.drafter import with_drafter
from silicast.outcome import Fit, Forecast, memory_table
from silicast.outcome import forecast as _forecast
from silicast.planning.choose import drawn, fewest, require_fit
from silicast.planning.compare import Comparison
from silicast.planning.compare import compare as _compare
from silicast.planning.place import DEVICES, Placement, Sizes, given_layout, place
from silicast.pool import PoolModel
from silicast.scenario import Layout, Load, Precision, Speculation, Targets, Workload

TARGETS = Targets(2000.0, 50.0)


@dataclass(frozen=True, slots=True)
class Setup:
    """What runs on a chip besides the model: system, stack, formats, speculation, routing, overlap, cache blocks.

    None = the default.
    """

    system: str | None = None
    stack: str | None = None
    weights: str | None = None
    activations: str | None = None
    kv_cache: str | None = None
    speculation: Speculation = field(default_factory=Speculation)
    balanced: bool = False
    microbatches: int | None = None
    kv_blocks: int | None = None


def machine(chip: str, setup: Setup | None = None, draws: int = 0) -> Machine:
    """A chip (id or path) in a system under a stack; both default to the chip's own."""
    chosen = setup or Setup()
    found = catalog.complete(catalog.chip(chip))
    software = catalog.stack(chosen.stack or found.stack)
    system = catalog.system(chosen.system or found.system)
    return Machine(found, system, software, catalog.coefficients(found.id, software.id), Sampler(draws))


def pool_model(model: str, chip: str, setup: Setup | None = None, draws: int = 0) -> PoolModel:
    """A model (id or path of a config.json) on a chip, in the chip's native precision where none is given."""
    chosen = setup or Setup()
    architecture = read_model(model)
    on = machine(chip, chosen, draws).running(architecture)
    native = on.native_precision(architecture, chosen.kv_cache)
    if chosen.weights is not None:
        native = Precision(chosen.weights, chosen.activations or chosen.weights, native.kv_cache)
    elif chosen.activations is not None:
        native = Precision(native.weights, chosen.activations, native.kv_cache)
    if chosen.speculation.tokens:
        architecture = with_drafter(architecture)
    return PoolModel(
        architecture, on, native, chosen.speculation, chosen.balanced, chosen.microbatches, chosen.kv_blocks
    )


def forecast(
    model: str,
    chip: str,
    workload: Workload | None = None,
    targets: Targets = TARGETS,
    setup: Setup | None = None,
    **sizes: int | None,
) -> Forecast:
    """One deployment in steady state: at the workload's concurrency or rate, else at the best batch under `targets`.

    `sizes`: devices, tp, pp, ep, attention_dp, cp; with none but devices the best layout is chosen.
    """
    return forecast_pool(pool_model(model, chip, setup), workload, targets, **sizes)


def forecast_pool(
    points: PoolModel, workload: Workload | None = None, targets: Targets = TARGETS, **sizes: int | None
) -> Forecast:
    """`forecast` of a pool that is set up already, with limits of its own for one."""
    load = workload or Workload()
    placed = place(points, Sizes(**sizes), load, targets, DRAWS)
    return _at(points, placed, load)


def _at(points: PoolModel, placed: Placement, workload: Workload) -> Forecast:
    told = _forecast(drawn(points, DRAWS), placed.layout, placed.sequences, workload, placed.over)
    extra = () if placed.met else ("No batch meets the targets; the nearest one is shown.",)
    if placed.over:
        extra = (*extra, "The load exceeds what this deployment can hold or do: requests queue without bound.")
    return replace(told, warnings=told.warnings + extra)


def forecast_many(pool: PoolModel, layout: Layout, load: Load, context: Any) -> tuple[Any, Memory]:
    """Seconds of one step of every configuration, shape `(config[, draw])`, and the memory of one device.

    `layout` and `load` hold arrays; this is the code path of every forecast, of which one is the first row.
    """
    pool.model.check(layout)
    return pool.step(load, layout).seconds, pool.memory(layout, context)


def fit(
    model: str, chip: str, workload: Workload | None = None, setup: Setup | None = None, **sizes: int | None
) -> Fit:
    """Does it fit, on how many devices, and how many requests. Raises DoesNotFitError with what would fit.

    Without sizes: the fewest devices that hold weights, buffers and the cache of 16 requests.
    """
    points, load, given = pool_model(model, chip, setup), workload or Workload(), Sizes(**sizes)
    given.check()
    if given.open:
        space = fewest(points, load, given.devices or DEVICES)
        roomiest = int(np.argmax(points.most_sequences(space, load) * space.attention_dp))
        layout = space.pick(roomiest).whole()
    else:
        layout = given_layout(points, given)
        points.machine.check_devices(layout.devices)
        require_fit(points, layout, load)
    table = memory_table(points, layout, load)
    devices = int(layout.devices)
    return Fit(
        points.model.id, points.machine.chip.id, str(points.precision), layout, devices,
        int(points.packages(devices)), table, points.warnings,
    )  # fmt: skip


def compare(
    model: str,
    chips: list[str],
    workload: Workload | None = None,
    targets: Targets = TARGETS,
    devices: int | None = None,
    packages: int | None = None,
    reference: str | None = None,
    setups: dict[str, Setup] | None = None,
) -> Comparison:
    """`model` on each of `chips` side by side; ratios are against `reference` (default: the last chip)."""
    if reference is not None and reference not in chips:
        raise not_found("Reference", reference, chips, f"It must be one of the chips compared: {', '.join(chips)}.")
    if devices is not None and packages is not None:
        raise InputError("Give devices or packages, not both.")
    pools = [pool_model(model, chip, (setups or {}).get(chip)) for chip in chips]
    limits = [packages * one.machine.chip.packages_of if packages else devices or DEVICES for one in pools]
    against = chips.index(reference) if reference else len(chips) - 1
    return _compare(pools, workload or Workload(), targets, limits, against)
