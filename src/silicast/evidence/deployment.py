"""From a row to what a forecast needs: pools of the catalog, how they are cut, lengths and load. Defaults are here.

Only `Scenario`s enter: never an id, a source, a note or a value.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from silicast import catalog
from silicast.coefficients import Coefficient, Coefficients
from silicast.dtypes import BYTES
from silicast.errors import NotFoundError, SilicastError
from silicast.estimate import Sampler
from silicast.evidence.columns import Scenario
from silicast.machine import Machine
from silicast.model.architecture import Model
from silicast.model.config import read_model
from silicast.model.drafter import with_drafter
from silicast.pool import PoolModel
from silicast.scenario import Layout, Precision, Role, Workload
from silicast.stack import Stack

#: the stack of a row whose own one the catalog lacks
GENERIC = "generic"
#: how notes say that the generic stack answers for another one
ONE_LOWER = "one tier lower"
#: share of the first draft token that is accepted where a row does not say; the k-th is accepted with its k-th power.
#: The published acceptances of one to four drafts (CloudMatrix384: 0.7 of one; SGLang on Ascend: 0.53 to 0.73 of
#: three) are met by 0.7 to 0.85.
ACCEPTED = 0.75
#: stacks that read tensor-scaled FP8 weights from checkpoints of NVIDIA's Model Optimizer only; NVFP4 has no others
OPTIMISED_FP8 = ("trtllm",)
#: stacks whose prefill hands each sequence round all devices of a replica (by tokens, by heads, by tokens), which tp
#: and cp do not express: a device does the work of its own sequences (CloudMatrix384, arXiv:2506.12708, section 4.3)
SPREADS_PREFILL = ("cloudmatrix-infer",)

T = TypeVar("T")
Mode = Literal["closed", "open", "disaggregated", "prefill", "decode"]
Sizes = tuple[int, int, int, int, int]


class NoForecastError(Exception):
    """A row that cannot be forecast; the text is the reason."""


@dataclass(frozen=True, slots=True)
class PoolKey:
    """What rows share that are evaluated as one array: model, machine, formats and choices of the stack."""

    model: str
    chip: str
    system: str | None
    stack: str | None
    weights: str | None
    activations: str | None
    kv_cache: str | None
    mtp_tokens: int
    balanced: bool
    microbatches: int | None
    role: Role


@dataclass(frozen=True, slots=True)
class Part:
    """One pool of a deployment: sizes (tp, pp, ep, attention_dp, cp) of a replica, and the number of replicas."""

    key: PoolKey
    sizes: Sizes
    replicas: int = 1

    @property
    def devices(self) -> int:
        """Devices of all replicas."""
        tp, pp, _, attention_dp, cp = self.sizes
        return tp * pp * attention_dp * cp * self.replicas


@dataclass(frozen=True, slots=True)
class Plan:
    """A row made ready: one mixed pool, or a prefill pool and a decode pool, and what had to be assumed."""

    scenario: Scenario
    mode: Mode
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()

    @property
    def group(self) -> tuple[Mode, tuple[PoolKey, ...]]:
        """Plans with the same group are evaluated together."""
        return self.mode, tuple(part.key for part in self.parts)

    @property
    def devices(self) -> int:
        """Devices of the whole deployment, prefill included."""
        return sum(part.devices for part in self.parts)

    @property
    def lengths(self) -> tuple[float, float]:
        """Mean input and output tokens: the middle of the range from which the run drew them."""
        row = self.scenario
        low, high = row.length_low or row.length_high or 1.0, row.length_high or 1.0
        share = (low + high) / 2
        return max((row.input_tokens or 1) * share, 1.0), max((row.output_tokens or 1) * share, 1.0)

    @property
    def acceptance(self) -> float:
        """Share of the draft tokens accepted; where it is not recorded, that of a chain of equal chances."""
        drafts = self.scenario.mtp_tokens or 0
        if not drafts or self.scenario.mtp_acceptance is not None:
            return float(self.scenario.mtp_acceptance or 0.0)
        return sum(ACCEPTED**k for k in range(1, drafts + 1)) / drafts


@dataclass(slots=True)
class Pools:
    """Models and machines by key, each built once; numbers are points, or `draws` of them.

    `changes` replace coefficients of the catalog, for a fit that tries others.
    """

    draws: int = 0
    changes: Mapping[str, Coefficient] = field(default_factory=dict)
    _pools: dict[PoolKey, PoolModel | NoForecastError] = field(default_factory=dict)
    _machines: dict[tuple[str, str | None, str | None], Machine | NoForecastError] = field(default_factory=dict)

    def pool(self, key: PoolKey) -> PoolModel:
        """The pool of a key. Raises NoForecastError for an unknown model or chip, or a format that nothing can run."""
        found = self._pools.get(key)
        if found is None:
            found = self._pools[key] = _caught(lambda: self._build(key))
        if isinstance(found, NoForecastError):
            raise found
        return found

    def machine(self, chip: str, system: str | None, stack: str | None) -> Machine:
        """A chip in a system under a stack; each defaults to the chip's own. Raises NoForecastError."""
        where = chip, system, stack
        found = self._machines.get(where)
        if found is None:
            found = self._machines[where] = _caught(lambda: _machine(*where, self))
        if isinstance(found, NoForecastError):
            raise found
        return found

    def _build(self, key: PoolKey) -> PoolModel:
        model = read_model(key.model)
        model = with_drafter(model) if key.mtp_tokens else model
        machine = self.machine(key.chip, key.system, key.stack).running(model)
        precision = _precision(key, model, machine)
        found = PoolModel(model, machine, precision, balanced=key.balanced, microbatches=key.microbatches)
        _ = found.warnings  # formats are resolved here, so that one the chip cannot run is found before any array is
        return found


def _caught(build: Callable[[], T]) -> T | NoForecastError:
    try:
        return build()
    except NoForecastError as reason:
        return reason
    except SilicastError as error:
        return NoForecastError(str(error))


def _machine(chip: str, system: str | None, stack: str | None, pools: Pools) -> Machine:
    read = catalog.chip(chip)
    found = catalog.complete(read)
    software = known_stack(stack or found.stack)
    joined = catalog.system(system or found.system)
    known = Coefficients({**catalog.coefficients(read, software.id).table, **pools.changes})
    return Machine(found, joined, software, known, Sampler(pools.draws))


def known_stack(name: str) -> Stack:
    """The stack, or the generic one where the catalog lacks it."""
    try:
        return catalog.stack(name)
    except NotFoundError:
        return catalog.stack(GENERIC)


def _precision(key: PoolKey, model: Model, machine: Machine) -> Precision:
    """Formats of a row; what it leaves out is the stack's default for the checkpoint.

    `fp8` is any FP8 recipe: scaled by blocks where the checkpoint's quantization_config is, else by tensor.
    """
    native = machine.native_precision(model, key.kv_cache)
    if key.weights is None:
        return native
    weights = _recipe(key.weights, model)
    activations = _recipe(key.activations, model) if key.activations else _activations(weights, model, native)
    return Precision(weights, activations, _cache(key, weights, model, machine.stack) or native.kv_cache)


def _cache(key: PoolKey, weights: str, model: Model, stack: Stack) -> str | None:
    """Format of the cache that comes with a checkpoint made anew by NVIDIA's Model Optimizer, None for any other.

    Such checkpoints carry an FP8 scheme for the cache, as those of the catalog do, and engines obey it.
    """
    if key.kv_cache or stack.kv_cache or weights == model.default_precision().weights:
        return None
    optimised = weights == "fp4" or (weights == "fp8" and stack.id in OPTIMISED_FP8)
    return "fp8" if optimised else None


def _recipe(dtype: str, model: Model) -> str:
    own = model.quantisation
    return own.weights if dtype == "fp8" and own is not None and own.weights.startswith("fp8") else dtype


def _activations(weights: str, model: Model, native: Precision) -> str:
    """Activations that go with weights: the checkpoint's where it has these weights, else as wide, 16 bit below 8."""
    if weights == model.default_precision().weights or weights == native.weights:
        return native.activations
    return weights if BYTES[weights] >= 1 else "bf16"


def plan(scenario: Scenario, pools: Pools) -> Plan:
    """The pools and sizes of a serve, prefill or decode row. Raises NoForecastError with the reason."""
    if scenario.kind == "serve":
        _needs(scenario, "input_tokens", "output_tokens")
    mode, parts = _mode(scenario), _parts(scenario, pools)
    for part in parts:
        _check(part, pools.pool(part.key))
    found = Plan(scenario, mode, parts, _notes(scenario, parts, pools))
    _check_load(found)
    return found


def _check_load(found: Plan) -> None:
    """One absurd row must not spoil the array it would be evaluated in."""
    row = found.scenario
    try:
        Workload(*found.lengths, row.prefix_hit or 0.0, row.concurrency, row.rate, row.requests)
    except SilicastError as error:
        raise NoForecastError(str(error)) from None


def _mode(scenario: Scenario) -> Mode:
    if scenario.kind in ("prefill", "decode"):
        return "prefill" if scenario.kind == "prefill" else "decode"
    if scenario.prefill_chip or scenario.decode_chip:
        if scenario.concurrency is None:
            raise NoForecastError("two pools without a concurrency: the load is not stated")
        return "disaggregated"
    return "open" if scenario.rate is not None else "closed"


def _needs(scenario: Scenario, *columns: str) -> None:
    for column in columns:
        if getattr(scenario, column) is None:
            raise NoForecastError(f"{column} is not stated")


def _parts(scenario: Scenario, pools: Pools) -> tuple[Part, ...]:
    if scenario.kind == "serve" and (scenario.prefill_chip or scenario.decode_chip):
        return _part(scenario, "prefill", pools), _part(scenario, "decode", pools)
    role: Role = "mixed" if scenario.kind == "serve" else "prefill" if scenario.kind == "prefill" else "decode"
    key = _key(scenario, role, scenario.chip)
    return (Part(key, _sizes(scenario, "", pools.pool(key), key)),)


def _part(scenario: Scenario, role: Role, pools: Pools) -> Part:
    prefix = f"{role}_"
    key = _key(scenario, role, getattr(scenario, f"{prefix}chip"))
    sizes = _sizes(scenario, prefix, pools.pool(key), key)
    return Part(key, sizes, getattr(scenario, f"{prefix}replicas") or 1)


def _key(scenario: Scenario, role: Role, chip: str | None) -> PoolKey:
    if chip is None:
        raise NoForecastError("chip is not stated")
    return PoolKey(
        model=scenario.model,
        chip=chip,
        system=scenario.system if chip == scenario.chip else None,
        stack=scenario.stack,
        weights=scenario.weights,
        activations=scenario.activations,
        kv_cache=scenario.kv_cache,
        mtp_tokens=scenario.mtp_tokens or 0,
        balanced=scenario.expert_load == "balanced",
        microbatches=scenario.microbatches,
        role=role,
    )


def _sizes(scenario: Scenario, prefix: str, pool: PoolModel, key: PoolKey) -> Sizes:
    """(tp, pp, ep, attention_dp, cp) of one replica, empty ones by the rules of the schema.

    tp: what the other sizes leave of the devices. ep of a mixture of experts: 1 (experts cut like dense layers) with
    one attention group, all ranks of a stage where attention is data-parallel, as every engine of the catalog does;
    so also where a row says 1 and the stack, once it exchanges by all-to-all, sets the size itself.
    """
    tp, ep, attention_dp, cp, devices = (
        getattr(scenario, f"{prefix}{name}") for name in ("tp", "ep", "attention_dp", "cp", "devices")
    )
    pp = 1 if prefix else scenario.pp or 1
    if tp is None and attention_dp is None and key.role == "prefill" and key.stack in SPREADS_PREFILL:
        tp, attention_dp = 1, devices
    attention_dp, cp = attention_dp or 1, cp or 1
    if tp is None:
        if devices is None:
            raise NoForecastError("neither devices nor tp is stated")
        tp = devices // (attention_dp * cp * pp)
    if devices is not None and devices != tp * attention_dp * cp * pp:
        raise NoForecastError(f"{prefix}devices = {devices} is not tp x attention_dp x cp x pp of the row")
    stage = tp * attention_dp * cp
    spread = pool.model.experts and attention_dp > 1
    stack = pool.machine.stack
    if ep is None or (ep == 1 and spread and stack.exchange_sets_ep and stack.all_to_all(stage)):
        ep = stage if spread else 1
    if stage % ep:
        raise NoForecastError(f"ep = {ep} does not divide tp x attention_dp x cp = {stage}")
    return tp, pp, ep, attention_dp, cp


def _check(part: Part, pool: PoolModel) -> None:
    layout = Layout(*part.sizes)
    try:
        pool.model.check(layout)
        pool.machine.check_devices(layout.devices)
    except SilicastError as error:
        raise NoForecastError(str(error)) from None


def _notes(scenario: Scenario, parts: tuple[Part, ...], pools: Pools) -> tuple[str, ...]:
    notes = [note for part in parts if (note := stack_note(scenario.stack, pools.pool(part.key).machine))]
    if scenario.mtp_tokens and scenario.mtp_acceptance is None:
        notes.append("acceptance of draft tokens is not recorded: assumed")
    notes += pools.pool(parts[-1].key).model.assumptions
    return tuple(dict.fromkeys(notes))


def stack_note(asked: str | None, machine: Machine) -> str:
    """What to say where the generic stack answers for another one."""
    if asked is None or machine.stack.id == asked:
        return ""
    return f"stack '{asked}' is not in the catalog: forecast with '{machine.stack.id}', {ONE_LOWER}"
