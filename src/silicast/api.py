"""The verbs of Silicast in Python; the command line has the same ones.

import silicast
silicast.compare("deepseek-ai/DeepSeek-R1", ["ascend-910c", "h100-sxm"])
silicast.forecast("Qwen/Qwen3-32B", "h200-sxm", silicast.Workload(4096, 1024, concurrency=64), tp=2)
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from silicast import catalog
from silicast.arguments import amounts, count, given, known_keywords, name, names, noun
from silicast.errors import InputError, not_found
from silicast.estimate import DRAWS, Sampler
from silicast.hardware import Chip
from silicast.machine import Machine
from silicast.memory import Memory
from silicast.model.config import read_model
from silicast.model.drafter import with_drafter
from silicast.outcome import Fit, Forecast, beyond_context, memory_ranges, memory_table
from silicast.outcome import forecast as _forecast
from silicast.planning.choose import drawn, fewest, require_blocks, require_fit
from silicast.planning.compare import Comparison
from silicast.planning.compare import compare as _compare
from silicast.planning.place import DEVICES, Placement, Sizes, given_layout, place
from silicast.pool import PoolModel
from silicast.scenario import Layout, Load, Precision, Speculation, Targets, Workload

if TYPE_CHECKING:
    from silicast.simulation import Scenario, Simulation

TARGETS = Targets(2000.0, 50.0)
SIZES = tuple(item.name for item in fields(Sizes))
CHIPS, MODELS = "List them with: silicast chips", "List them with: silicast models"


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

    def __post_init__(self) -> None:
        for item in ("system", "stack"):
            if getattr(self, item) is not None:
                name(item, getattr(self, item), f"List them with: silicast {item}s")
        noun("speculation", self.speculation, Speculation)
        count("kv_blocks", self.kv_blocks)
        if self.microbatches not in (None, 1, 2):
            raise InputError(f"microbatches must be 1 or 2, got {given(self.microbatches)}.")


def machine(chip: str, setup: Setup | None = None, draws: int = 0) -> Machine:
    """A chip (id or path) in a system under a stack; both default to the chip's own."""
    chosen = noun("setup", setup or Setup(), Setup)
    read = catalog.chip(name("chip", chip, CHIPS))
    found = catalog.complete(read)
    software = catalog.stack(chosen.stack or found.stack)
    system = catalog.system(chosen.system or found.system)
    return Machine(found, system, software, catalog.coefficients(read, software.id), Sampler(draws))


def pool_model(model: str, chip: str, setup: Setup | None = None, draws: int = 0) -> PoolModel:
    """A model (id or path of a config.json) on a chip, in the chip's native precision where none is given."""
    chosen = noun("setup", setup or Setup(), Setup)
    architecture = read_model(name("model", model, MODELS))
    on = machine(chip, chosen, draws).running(architecture)
    native = on.native_precision(architecture, chosen.kv_cache)
    if chosen.weights is not None:
        native = Precision(chosen.weights, chosen.activations or chosen.weights, native.kv_cache)
    elif chosen.activations is not None:
        native = Precision(native.weights, chosen.activations, native.kv_cache)
    if chosen.speculation.tokens:
        architecture = with_drafter(architecture)
    return PoolModel(
        architecture, on, on.in_half(native), chosen.speculation, chosen.balanced, chosen.microbatches, chosen.kv_blocks
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
    known_keywords("Size", sizes, SIZES)
    load, wanted = noun("workload", workload or Workload(), Workload), noun("targets", targets, Targets)
    _check_run(load)
    placed = place(points, Sizes(**sizes), load, wanted, DRAWS)
    return _at(points, placed, load)


def _check_run(workload: Workload) -> None:
    """Raises InputError for a run that is too short for its load."""
    if workload.requests is not None and workload.concurrency is not None and workload.requests < workload.concurrency:
        raise InputError(
            f"A run of {workload.requests:g} requests cannot keep {workload.concurrency:g} in flight: "
            "give requests of at least concurrency, or a smaller concurrency."
        )


def _at(points: PoolModel, placed: Placement, workload: Workload) -> Forecast:
    told = _forecast(drawn(points, DRAWS), placed.layout, placed.sequences, workload, placed.over, placed.waiting)
    extra = () if placed.met else ("No batch meets the targets; the nearest one is shown.",)
    return replace(told, warnings=(*told.warnings, *extra, *_queue(told, workload)))


def _queue(told: Forecast, workload: Workload) -> tuple[str, ...]:
    """What waits in front of the deployment, one line."""
    if told.waiting:
        return (
            f"{told.running:,.4g} of {told.concurrency:,.6g} requests run at a time, as many as fit; the others wait, "
            "and TTFT includes their wait.",
        )
    if not told.overloaded:
        return ()
    most = told.estimates["requests_per_s"].value
    queue = "the queue grows until the run ends" if workload.requests else "the queue grows without bound"
    return (f"{workload.rate:g} requests/s exceed what this deployment sustains, {most:.3g} requests/s: {queue}.",)


def forecast_many(pool: PoolModel, layout: Layout, load: Load, context: Any) -> tuple[Any, Memory]:
    """Seconds of one step of every configuration, shape `(config[, draw])`, and the memory of one device.

    `layout` and `load` hold arrays; this is the code path of every forecast, of which one is the first row. Raises
    InputError: no numbers, or negative ones, arrays of unlike lengths, a layout that does not cut the model.
    """
    pool, layout, load = noun("pool", pool, PoolModel), noun("layout", layout, Layout), noun("load", load, Load)
    amounts({"context": context, **{of.name: getattr(part, of.name) for part in (layout, load) for of in fields(part)}})
    pool.model.check(layout)
    return pool.step(load, layout).seconds, pool.memory(layout, context)


def fit(
    model: str, chip: str, workload: Workload | None = None, setup: Setup | None = None, **sizes: int | None
) -> Fit:
    """Does it fit, on how many devices, and how many requests. Raises DoesNotFitError with what would fit.

    Without sizes: the fewest devices that hold weights, buffers and the cache of 16 requests.
    """
    known_keywords("Size", sizes, SIZES)
    load, wanted = noun("workload", workload or Workload(), Workload), Sizes(**sizes)
    wanted.check()
    points = pool_model(model, chip, setup)
    if wanted.open:
        space = fewest(points, load, wanted.devices or DEVICES, usual=True)
        roomiest = int(np.argmax(points.most_sequences(space, load) * space.attention_dp))
        layout = space.pick(roomiest).whole()
    else:
        layout = given_layout(points, wanted)
        points.machine.check_devices(layout.devices)
        require_blocks(points, layout.arrays(), load)
        require_fit(points, layout, load)
    table, ranges = memory_table(points, layout, load), memory_ranges(points, layout, load)
    devices, missing = int(layout.devices), points.machine.estimated
    return Fit(
        points.model.id, points.machine.chip.id, str(points.precision), layout, devices,
        int(points.packages(devices)), table, ranges, missing,
        (*points.warnings, *beyond_context(points, load), *_unsure(ranges, missing)),
    )  # fmt: skip


def _unsure(ranges: dict[str, tuple[float, float]], missing: tuple[str, ...]) -> tuple[str, ...]:
    """That no source gives a field that the fit stands on, and that the low end of the memory holds nothing."""
    drawn_from = (f"no source gives {', '.join(missing)}: drawn from the spread over other chips.",) if missing else ()
    least = ranges.get("max_requests", (1.0, 1.0))[0]
    return drawn_from if least >= 1 else (*drawn_from, "at the low end of the memory's range no request fits.")


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
    chips = names("chips", chips, CHIPS)
    load, wanted = noun("workload", workload or Workload(), Workload), noun("targets", targets, Targets)
    devices, packages = count("devices", devices), count("packages", packages)
    if reference is not None and name("reference", reference, CHIPS) not in chips:
        raise not_found("Reference", reference, chips, f"It must be one of the chips compared: {', '.join(chips)}.")
    if devices is not None and packages is not None:
        raise InputError("Give devices or packages, not both.")
    if not isinstance(setups or {}, dict):
        raise InputError(f"setups is a dict of chip and silicast.Setup, got {given(setups)}.")
    own = {str(chip): setup for chip, setup in (setups or {}).items()}
    for chip in own:
        if chip not in chips:
            raise not_found("Chip of setups", chip, chips, f"It must be one of the chips: {', '.join(chips)}.")
    pools = [pool_model(model, chip, own.get(chip)) for chip in chips]
    _check_told_apart(pools)
    limits = [packages * one.machine.chip.packages_of if packages else devices or DEVICES for one in pools]
    against = chips.index(reference) if reference else len(chips) - 1
    return _compare(pools, load, wanted, limits, against)


def _check_told_apart(pools: list[PoolModel]) -> None:
    """Raises InputError for two chips under one id: columns, ratios and draws could not be told apart."""
    first: dict[str, Chip] = {}
    for one in (pool.machine.chip for pool in pools):
        if first.setdefault(one.id, one) != one:
            raise InputError(
                f"Two of the chips have the id '{one.id}' but different numbers: give the chip file an id of its own, "
                f'such as id = "my-{one.id}".'
            )


def simulate(scenario: "Scenario", told: Callable[[int, int], None] | None = None) -> "Simulation":
    """What the users of a service feel: the traffic of `scenario` through its deployment.

    `told(requests done, all of them)` is progress. Raises InputError, TraceError, DoesNotFitError.
    """
    from silicast.simulation.run import run  # the other verbs do without the simulator

    pools = []
    for table in scenario.deployment.pools:
        setup = Setup(
            table.system, table.stack, table.weights, table.activations, table.kv_cache, table.speculation(),
            table.balanced, table.microbatches, table.kv_blocks,
        )  # fmt: skip
        pool = pool_model(scenario.deployment.model, table.chip, setup)
        pool.model.check(table.layout())
        pool.machine.check_devices(table.layout().devices)
        pools.append(pool)
    return run(scenario, pools, told)
