"""The planning verbs in Python: chips, formats, stacks and draft tokens become variants, and the best is planned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import product
from typing import Any

from silicast import catalog
from silicast.api import Setup, pool_model
from silicast.dtypes import matrix_mode
from silicast.errors import InputError, NotFoundError, SilicastError, not_found
from silicast.fleet import Fleet, Service
from silicast.planning.economics import bill
from silicast.planning.mixes import Mix
from silicast.planning.mixes import mix as _mix
from silicast.planning.plan import Plan
from silicast.planning.plan import plan as _plan
from silicast.planning.question import Budget, Objective, Question
from silicast.planning.replace import Move, move
from silicast.planning.trials import Trials
from silicast.planning.variants import Variant
from silicast.pool import PoolModel
from silicast.scenario import Speculation, Targets, Workload

#: whether plans are simulated where nobody says: without compiled queues it takes minutes
SIMULATE = find_spec("numba") is not None
#: share of the draft tokens that is accepted where nobody says
ACCEPTED = 0.7
#: share of the most that its packages can serve that a service without a stated load is taken to serve: what 95 % of a
#: full queue leaves, less rounding
SLACK = 0.93
#: formats of weights and cache that a recast search adds where the matrix engine multiplies them
NARROW = ("fp8", "int8")


@dataclass(frozen=True, slots=True)
class Choices:
    """What the search may vary beside layouts and batches.

    stacks      ids, or "any" = every stack for the vendor; None = the chip's own
    recast      also 8-bit weights and cache that the checkpoint does not have, where the chip multiplies them
    mtp_tokens  most draft tokens, tried where the checkpoint brings draft layers; `acceptance` of each
    split       also prefill and decode in pools of their own
    efficiency  by chip: what if its steps ran at this share of the speed that the laws say
    prices      USD per package-hour by chip, instead of the catalog's
    top         deployments of the best chip that are told
    simulate    the short list is simulated as `trials` says, and its goodput there decides
    """

    stacks: tuple[str, ...] | None = None
    recast: bool = False
    mtp_tokens: int = 0
    acceptance: float = ACCEPTED
    split: bool = True
    prices: Mapping[str, float] | None = None
    efficiency: Mapping[str, float] | None = None
    system: str | None = None
    top: int = 3
    simulate: bool = SIMULATE
    trials: Trials = field(default_factory=Trials)


def plan(
    model: str,
    chips: Sequence[str],
    workload: Workload | None = None,
    targets: Targets | None = None,
    budget: Budget | None = None,
    objective: Objective | None = None,
    confidence: float = 0.5,
    choices: Choices | None = None,
) -> Plan:
    """The best deployment of `model` on each of `chips`, and overall. `objective` None = what `default_objective` says.

    Raises InputError: which constraint to relax and by how much, or the floor of a target.
    """
    chosen, limits, work = choices or Choices(), budget or Budget(), workload or Workload()
    found, refused = variants(model, chips, chosen)
    if not found:
        raise InputError("No chip can run the model: " + "; ".join(f"{name}: {why}" for name, why in refused.items()))
    aim = objective or default_objective(found, work, limits)
    question = Question(work, (targets or Targets()).on(work), limits, aim, confidence)
    trials = chosen.trials if chosen.simulate else None
    answer = _plan(found, question, chosen.top, split=chosen.split, trials=trials)
    return replace(answer, refused=refused | answer.refused)


def mix(
    model: str,
    available: Mapping[str, int],
    workload: Workload,
    targets: Targets | None = None,
    budget: Budget | None = None,
    objective: Objective | None = None,
    confidence: float = 0.5,
    choices: Choices | None = None,
) -> Mix:
    """The best fleet of several chips for a rate, with at most `available` packages of each. Raises InputError."""
    chosen, limits = choices or Choices(), budget or Budget()
    for chip, count in available.items():
        if count < 1:
            raise InputError(f"--available needs at least 1 package of {chip}, got {count}. Leave the chip out.")
    found, refused = variants(model, list(available), chosen)
    if not found:
        raise InputError("No chip can run the model: " + "; ".join(f"{name}: {why}" for name, why in refused.items()))
    aim = objective or default_objective(found, workload, limits)
    question = Question(workload, (targets or Targets()).on(workload), limits, aim, confidence)
    trials = chosen.trials if chosen.simulate else None
    return _mix(found, question, available, split=chosen.split, trials=trials)


def default_objective(found: Sequence[Variant], workload: Workload, budget: Budget) -> Objective:
    """Goodput where a budget and no load is given; else cost where every chip has a price, else packages."""
    if workload.rate is None and workload.concurrency is None and not budget.open:
        return "goodput"
    return "cost" if all(one.bill.usd_per_hour is not None for one in found) else "packages"


def variants(model: str, chips: Sequence[str], choices: Choices) -> tuple[list[Variant], dict[str, str]]:
    """Every way to run the model on the chips, and why a chip has none."""
    if not chips:
        raise InputError("Name at least one chip, such as --chip h100-sxm. List them with: silicast chips")
    _check_named("Price", choices.prices or {}, chips)
    _check_named("Efficiency", choices.efficiency or {}, chips)
    found: list[Variant] = []
    refused: dict[str, str] = {}
    for chip in dict.fromkeys(chips):
        try:
            found += _of_chip(model, chip, choices)
        except SilicastError as error:
            if len(chips) == 1 or isinstance(error, NotFoundError):
                raise
            refused[chip] = str(error)
    return found, refused


def _check_named(what: str, given: Mapping[str, float], chips: Sequence[str]) -> None:
    for name, value in given.items():
        if name not in chips:
            raise not_found(f"{what} of chip", name, chips, f"The chips planned are: {', '.join(chips)}.")
        if not 0 < value < float("inf"):
            raise InputError(f"{what} of {name} must be above 0, got {value:g}.")


def _of_chip(model: str, chip: str, choices: Choices) -> list[Variant]:
    made: dict[tuple[str, str, str, int, int | None], Variant] = {}
    for stack in stacks_of(chip, choices.stacks):
        own = pool_model(model, chip, Setup(system=choices.system, stack=stack))
        for (weights, cache), drafts, halves in product(
            _formats(own, choices.recast), _drafts(own, choices.mtp_tokens), _overlaps(own)
        ):
            draft = Speculation(drafts, choices.acceptance if drafts else 0.0)
            setup = Setup(choices.system, stack, weights, weights, cache, draft, microbatches=halves)
            pool = pool_model(model, chip, setup)
            pool = replace(pool, efficiency=(choices.efficiency or {}).get(chip, 1.0))
            pool.check_formats()
            one = Variant(pool, bill(pool.machine.chip, pool.machine.system, choices.prices))
            made.setdefault(one.way, one)
    return list(made.values())


def stacks_of(chip: str, wanted: tuple[str, ...] | None) -> tuple[str | None, ...]:
    """Stacks to try on a chip; a named one that is not for its vendor is refused."""
    if wanted is None:
        return (None,)
    vendor = catalog.chip(chip).vendor
    known = {name: catalog.stack(name).vendors for name in catalog.ids("stacks")}
    fitting = tuple(name for name, vendors in known.items() if not vendors or vendor in vendors)
    if wanted == ("any",):
        return tuple(name for name in fitting if known[name]) or fitting
    for name in wanted:
        catalog.stack(name)
    chosen = tuple(name for name in wanted if name in fitting)
    if not chosen:
        raise InputError(
            f"Stack {', '.join(wanted)} does not run on {chip} ({vendor}); these do: {', '.join(fitting)}."
        )
    return chosen


def _formats(pool: PoolModel, recast: bool) -> list[tuple[str | None, str | None]]:
    """(weights, cache) to try; None = the checkpoint's own, as the stack runs it."""
    own: list[tuple[str | None, str | None]] = [(None, None)]
    if not recast:
        return own
    narrow = [name for name in NARROW if matrix_mode(name) in pool.machine.modes][:1]
    caches: list[str | None] = [None, *(name for name in narrow if name != pool.precision.kv_cache)]
    wide = pool.precision.weights in ("bf16", "fp16", "fp32")
    weights: list[str | None] = [None, *(narrow if wide else [])]
    return [(stored, cache) for stored in weights for cache in caches]


def _overlaps(pool: PoolModel) -> tuple[int | None, ...]:
    """Microbatches: the stack's default, and off where the default overlaps two (small batches read weights twice)."""
    stack = pool.machine.stack
    overlaps = pool.model.experts and max(stack.microbatches_prefill, stack.microbatches_decode) > 1
    return (None, 1) if overlaps else (None,)


def _drafts(pool: PoolModel, most: int) -> range:
    return range(most + 1) if pool.model.mtp else range(1)


def replacement(
    fleet: Fleet, chips: Sequence[str], confidence: float = 0.5, choices: Choices | None = None
) -> list[Move]:
    """Every service of the fleet on each of `chips`, at equal goodput. Raises InputError where a service cannot be
    planned on its own chip."""
    if not chips:
        raise InputError("Name the chips to move to: --with ascend-910c. List them with: silicast chips")
    for chip in (*chips, *fleet.prices):
        catalog.chip(chip)
    moves = []
    for service in fleet.services:
        chosen = replace(choices or Choices(), stacks=(service.stack,) if service.stack else None)
        moves += _moved(service, chips, confidence, (chosen, choices or Choices()), fleet.prices)
    return moves


def _moved(
    service: Service,
    chips: Sequence[str],
    confidence: float,
    choices: tuple[Choices, Choices],
    known: Mapping[str, float],
) -> list[Move]:
    own, others = choices
    work, targets = service.workload(), service.targets()

    def on(chip: str, load: Workload, how: Choices, wanted: Targets = targets, most: int | None = None) -> Plan:
        given = {name: usd for name, usd in known.items() if name == chip}
        aim: Objective = "packages" if most is None else "goodput"
        what_if = {name: share for name, share in (how.efficiency or {}).items() if name == chip}
        budget, how = Budget(packages=most), replace(how, prices=given, efficiency=what_if, top=1)
        return plan(service.model, [chip], load, wanted, budget, aim, confidence, how)

    try:
        if work.rate is None and work.concurrency is None:
            today = on(service.chip, work, own, most=service.packages)
            work = replace(work, rate=SLACK * today.best.estimates["requests_per_s"].value)
        old = on(service.chip, work, own)
    except InputError as error:
        raise InputError(f"Service {service.name} on {service.chip}: {error}") from None
    if not old.best.met:
        raise InputError(". ".join([f"Service {service.name} on {service.chip}: {old.shortfall}", *old.lacks]))
    # a closed loop on two chips serves two rates: equal goodput means the same requests/s
    work = replace(work, concurrency=None, rate=old.best.estimates["requests_per_s"].value)
    if service.concurrency is not None:
        old = on(service.chip, work, own)
    moves = []
    for chip in chips:
        try:
            moves.append(move(service.name, chip, old, on(chip, work, others)))
        except InputError as error:
            moves.append(move(service.name, chip, old, None, str(error), _slower(on, chip, work, others, targets)))
    return moves


def _slower(on: Any, chip: str, work: Workload, choices: Choices, targets: Targets) -> Plan | None:
    """The plan without the target of TPOT, which says what the chip reaches; None where nothing does."""
    try:
        found: Plan = on(chip, work, choices, Targets(targets.ttft_ms, None))
    except InputError:
        return None
    return found
