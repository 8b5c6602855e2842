"""The main job: one model on several chips, each in its own best deployment, and the ratio with its causes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from silicast.errors import DoesNotFitError, InputError
from silicast.estimate import DRAWS, Estimate, worst
from silicast.hardware import Source
from silicast.memory import GIB
from silicast.parts import Explained, explained
from silicast.planning.causes import CAUSES, Cause, Hybrid, shares
from silicast.planning.choose import FEWEST_REQUESTS, Choice, best, drawn, fewest, median
from silicast.planning.space import layouts
from silicast.pool import PoolModel
from silicast.scenario import Layout, Targets, Workload
from silicast.serving.steady import loads

Array = NDArray[Any]
Kind = Literal["fewest", "best"]

#: the question map: sequences per package and context lengths
MAP_BATCHES = (4, 16, 64, 128)
MAP_CONTEXTS = (1024, 4096, 16384, 65536)


@dataclass(frozen=True)
class Row:
    """One deployment of one chip: a mixed pool, and pure prefill and decode pools of the same layout."""

    kind: Kind
    chip: str
    layout: Layout
    sequences: float
    met: bool
    devices: int
    packages: int
    estimates: dict[str, Estimate]
    memory: dict[str, float]
    decode: Explained
    prefill: Explained
    samples: Array = field(repr=False)


@dataclass(frozen=True)
class ChipAnswer:
    """All that `compare` says about one chip."""

    chip: str
    name: str
    stack: str
    system: str
    precision: str
    devices_per_package: int
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    missing: tuple[str, ...]
    citations: tuple[Source, ...]

    @property
    def best(self) -> Row:
        """The row with most output per package."""
        return self.rows[-1]


@dataclass(frozen=True)
class Cell:
    """One cell of the question map."""

    phase: Literal["prefill", "decode"]
    batch_per_package: int
    context: int
    ratio: Estimate


@dataclass(frozen=True)
class Ratio:
    """Output tokens/s of one chip over the reference, and the factors that multiply to it."""

    chip: str
    reference: str
    precisions: tuple[str, str]
    per_package: Estimate
    per_device: Estimate
    factors: dict[str, float]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Comparison:
    """The answer of `compare`."""

    model: str
    workload: Workload
    targets: Targets
    chips: tuple[ChipAnswer, ...]
    ratios: tuple[Ratio, ...]
    claim: float | None = None


def compare(
    pools: Sequence[PoolModel],
    workload: Workload,
    targets: Targets,
    limits: Sequence[int],
    reference: int = -1,
    claim: float | None = None,
) -> Comparison:
    """Compare pools (points) of one model under one workload; `limits` are devices per pool.

    Raises DoesNotFitError where a pool cannot hold the model, InputError for no pools.
    """
    if not pools:
        raise InputError("Name at least one chip to compare.")
    answers = [_answer(pool, workload, targets, limit) for pool, limit in zip(pools, limits, strict=True)]
    against = reference % len(pools)
    ratios = [
        _ratio(
            (pools[i], answers[i], limits[i]), (pools[against], answers[against], limits[against]), workload, targets
        )
        for i in range(len(pools))
        if i != against
    ]
    return Comparison(pools[0].model.id, workload, targets, tuple(answers), tuple(ratios), claim)


def _answer(pool: PoolModel, workload: Workload, targets: Targets, most: int) -> ChipAnswer:
    drawing = drawn(pool, DRAWS)
    small = best(pool, fewest(pool, workload, most), workload, targets, DRAWS)
    large = best(pool, layouts(pool, most), workload, targets, DRAWS)
    rows = tuple(row(drawing, kind, choice, workload) for kind, choice in (("fewest", small), ("best", large)))  # type: ignore[arg-type]
    machine = drawing.machine
    return ChipAnswer(
        chip=machine.chip.id,
        name=machine.chip.name,
        stack=machine.stack.id,
        system=machine.system.id,
        precision=str(pool.precision),
        devices_per_package=machine.chip.packages_of,
        rows=rows,
        warnings=pool.warnings,
        missing=machine.chip.missing,
        citations=machine.citations(),
    )


def row(pool: PoolModel, kind: Kind, choice: Choice, workload: Workload) -> Row:
    """All numbers of one deployment, from draws."""
    layout, sequences = choice.layout, choice.sequences
    devices = int(layout.devices)
    packages = int(pool.packages(devices))
    steady = pool.closed(_arrays(layout), workload, np.array([sequences]))
    decode, _, _ = loads(workload, sequences, pool.machine.stack.chunk_tokens, pool.speculation.tokens)
    decode_step = pool.staged_step(decode, layout)
    prefill_step = pool.step(pool.full_chunk(workload), layout)
    tier = pool.machine.tier()
    told = explained(decode_step, tier=tier), explained(prefill_step, tier=tier)
    decode_rate = pool.decode_rate(layout, sequences, decode.decode_context)
    prefill_rate = pool.prefill_rate(layout, workload)
    output = steady.requests[0] * workload.output_tokens
    estimates = {
        "ttft_ms": Estimate.of(steady.ttft[0] * 1e3, "ms", tier, told[1].bound_by),
        "tpot_ms": Estimate.of(steady.tpot[0] * 1e3, "ms", tier, told[0].bound_by),
        **_rates("output", output, pool, devices, packages, told[0].bound_by),
        **_rates("decode_output", decode_rate, pool, devices, packages, told[0].bound_by),
        **_rates("prefill_input", prefill_rate, pool, devices, packages, told[1].bound_by),
    }
    return Row(
        kind, pool.machine.chip.id, layout, sequences, choice.met, devices, packages, estimates,
        _memory(pool, layout, workload), told[0], told[1], output / packages,
    )  # fmt: skip


def _rates(name: str, rate: Array, pool: PoolModel, devices: int, packages: int, bound: str) -> dict[str, Estimate]:
    tier = pool.machine.tier()
    found = {
        f"{name}_tokens_per_s_per_device": Estimate.of(rate / devices, "tokens/s", tier, bound),
        f"{name}_tokens_per_s_per_package": Estimate.of(rate / packages, "tokens/s", tier, bound),
    }
    watts = pool.machine.chip.power.get("package")
    if watts is not None:
        power = pool.machine.field("power.package", watts)
        found[f"{name}_tokens_per_s_per_w"] = Estimate.of(rate / packages / power, "tokens/s/W", tier, bound)
    return found


def _memory(pool: PoolModel, layout: Layout, workload: Workload) -> dict[str, float]:
    found = pool.memory(layout, workload.input_tokens + workload.output_tokens)
    gib = {
        name: float(getattr(found, name)) / GIB
        for name in ("capacity", "usable", "weights", "activations", "buffers", "runtime", "free")
    }
    most = pool.most_sequences(layout, workload) * layout.attention_dp
    return {f"{name}_gib": value for name, value in gib.items()} | {
        "kv_per_request_per_device_gib": float(found.sequence) / GIB,
        "max_requests": float(most),
    }


def _arrays(layout: Layout) -> Layout:
    return Layout(*(np.array([float(getattr(layout, name))]) for name in ("tp", "pp", "ep", "attention_dp", "cp")))


Side = tuple[PoolModel, ChipAnswer, int]


def _ratio(side: Side, against: Side, workload: Workload, targets: Targets) -> Ratio:
    (pool, answer, limit), (other, reference, other_limit) = side, against
    ratio = answer.best.samples / reference.best.samples
    tier = worst([answer.best.estimates["tpot_ms"].tier, reference.best.estimates["tpot_ms"].tier])
    per_package = _of_medians(answer.best.samples, reference.best.samples, ratio, tier)
    dies = answer.devices_per_package / reference.devices_per_package
    per_device = Estimate(
        per_package.value / dies, per_package.low / dies, per_package.high / dies, "", tier, per_package.bound_by
    )
    factors = _factors((pool, limit), (other, other_limit), workload, targets, per_device.value)
    return Ratio(
        answer.chip,
        reference.chip,
        (answer.precision, reference.precision),
        per_package,
        per_device,
        {**factors, "devices per package": dies},
        _cells(drawn(pool, DRAWS), answer.best.layout, drawn(other, DRAWS), reference.best.layout),
    )


def _of_medians(numerator: Array, denominator: Array, ratio: Array, tier: Any) -> Estimate:
    """The ratio of the two printed medians, with the range of the ratio over the draws they share."""
    low, high = np.percentile(ratio, (10, 90))
    value = float(np.median(numerator) / np.median(denominator))
    return Estimate(value, float(min(low, value)), float(max(high, value)), "", tier)


def _factors(
    side: tuple[PoolModel, int], against: tuple[PoolModel, int], workload: Workload, targets: Targets, ratio: float
) -> dict[str, float]:
    """Factors of the six causes per device, scaled by their common residual so that they multiply to `ratio`.

    The hybrids are searched with points; `ratio` is of medians of draws: the residual (a few per cent) is spread over
    the causes in proportion to the size of their logarithms.
    """
    (pool, limit), (other, other_limit) = side, against
    most = max(limit, other_limit)

    def value(causes: frozenset[Cause]) -> float:
        machine = Hybrid(other.machine, pool.machine, causes)
        mixed = replace(other, machine=machine)
        try:
            choice = best(mixed, layouts(mixed, most), workload, targets)
        except (DoesNotFitError, ValueError):
            return float("nan")
        steady = mixed.closed(_arrays(choice.layout), workload, np.array([choice.sequences]))
        return float(median(steady.requests)[0] / float(choice.layout.devices))

    found: dict[str, float] = {str(cause): factor for cause, factor in shares(value).items()}
    logs = {name: np.log(factor) for name, factor in found.items()}
    residual = np.log(ratio) - sum(logs.values())
    weight = sum(abs(log) for log in logs.values()) or 1.0
    return {name: float(np.exp(log + residual * abs(log) / weight)) for name, log in logs.items()}


def _cells(pool: PoolModel, layout: Layout, other: PoolModel, other_layout: Layout) -> tuple[Cell, ...]:
    """The per-package ratio over batch, context and phase, each chip in its best layout as pure pools."""
    cells = []
    for context in MAP_CONTEXTS:
        ratio = _prefill_rate(pool, layout, context) / _prefill_rate(other, other_layout, context)
        cells.append(Cell("prefill", 0, context, Estimate.of(ratio, "")))
    for batch in MAP_BATCHES:
        for context in MAP_CONTEXTS:
            ratio = _decode_rate(pool, layout, batch, context) / _decode_rate(other, other_layout, batch, context)
            cells.append(Cell("decode", batch, context, Estimate.of(ratio, "")))
    return tuple(cells)


def _prefill_rate(pool: PoolModel, layout: Layout, context: int) -> Array:
    rate = pool.prefill_rate(layout, Workload(input_tokens=context, output_tokens=1))
    return np.asarray(rate / int(pool.packages(layout.devices)))


def _decode_rate(pool: PoolModel, layout: Layout, batch: int, context: int) -> Array:
    packages = int(pool.packages(layout.devices))
    return np.asarray(pool.decode_rate(layout, batch * packages / int(layout.attention_dp), context) / packages)


__all__ = ["CAUSES", "FEWEST_REQUESTS", "Cell", "ChipAnswer", "Comparison", "Ratio", "Row", "compare"]
