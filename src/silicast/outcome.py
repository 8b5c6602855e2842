"""All numbers of one mixed pool as Estimates: `forecast` prints them, `compare` sets them side by side."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.estimate import Estimate, Tier, worst
from silicast.hardware import Source
from silicast.memory import GIB
from silicast.parts import Explained, explained
from silicast.pool import Phase, PoolModel
from silicast.scenario import Layout, Workload
from silicast.serving.admission import closed_wait, overload_wait
from silicast.serving.steady import Steady, loads
from silicast.step import Step

Array = NDArray[Any]

#: what tables print for a metric without a value: a queue that grows for ever, a mean over no gaps
UNBOUNDED, NO_VALUE = "unbounded", "-"

_MEMORY = ("capacity", "usable", "weights", "activations", "buffers", "runtime", "free")


@dataclass(frozen=True)
class Forecast:
    """One replica of a mixed pool in steady state, and pure prefill and decode pools of the same layout.

    `estimates` is by metric, units in the key. Metrics that have no value here are not in it (`.get` gives None; JSON
    says null) but in `undefined`, with what tables print in their place. `decode` and `prefill` explain one step of
    each phase. `saturated`: prefill work alone fills the time, so that the queue, not the device, sets TTFT.
    `overloaded`: in an open loop more requests arrive than the pool serves; throughput is what it sustains. `waiting`:
    requests of a closed loop that wait because only the others fit. `samples` are draws of output tokens/s per package.
    """

    model: str
    chip: str
    chip_name: str
    system: str
    stack: str
    precision: str
    layout: Layout
    sequences: float
    devices: int
    packages: int
    devices_per_package: int
    estimates: dict[str, Estimate]
    undefined: dict[str, str]
    memory: dict[str, float]
    decode: Explained
    prefill: Explained
    saturated: bool
    overloaded: bool
    waiting: float
    warnings: tuple[str, ...]
    missing: tuple[str, ...]
    citations: tuple[Source, ...]
    mfu_peak: str
    samples: Array = field(repr=False)

    @property
    def concurrency(self) -> float:
        """Requests in flight over the whole replica, those that wait included."""
        return self.running + self.waiting

    @property
    def running(self) -> float:
        """Requests that the replica works on at a time."""
        return self.sequences * float(self.layout.attention_dp)

    @property
    def missing_tiers(self) -> list[str]:
        """For each law of the two steps, the better tier that has no coefficients here."""
        answered: dict[str, Tier] = {}
        for leaf in (*self.decode.leaves(), *self.prefill.leaves()):
            if leaf.law:
                answered[leaf.law] = worst((leaf.tier, answered.get(leaf.law, leaf.tier)))
        return [
            f"{law}: {tier} answered; calibrated coefficients of {self.chip} under {self.stack} are missing"
            for law, tier in sorted(answered.items())
            if tier != "calibrated" and law != "overlap"
        ]


def forecast(
    pool: PoolModel, layout: Layout, sequences: float, workload: Workload, over: bool = False, waiting: float = 0.0
) -> Forecast:
    """The numbers of `layout` (scalars) with `sequences` running per attention rank; `pool` in draws or points.

    `over`: more arrives in an open loop than is served; `waiting`: requests of a closed loop that do not fit.
    """
    machine = pool.machine
    devices = int(layout.devices)
    packages = int(pool.packages(devices))
    steady = pool.closed(layout.arrays(), workload, np.array([float(sequences)]))
    steady = _queued(steady, workload, float(sequences) * float(layout.attention_dp), over, waiting)
    decode, _, _ = loads(workload, sequences, machine.stack.chunk_tokens, pool.speculation.tokens)
    decode_step, prefill_step = pool.staged_step(decode, layout), pool.step(pool.full_chunk(workload), layout)
    tiers = machine.tiers()
    told = explained(decode_step, tiers), explained(prefill_step, tiers)
    # of a token's time, what a decode step takes with no prefill beside it: the other part is waiting for prefills
    alone = np.median(decode_step.seconds[0] / float(pool.speculation.yield_per_step))
    pace = told[0] if workload.has_tpot and 2 * alone >= np.median(steady.tpot[0]) else told[1]
    if workload.rate is not None and not over:
        # in an open loop what arrives is what is served, whatever the draw
        steady = replace(steady, requests=np.full_like(steady.requests, float(np.asarray(workload.rate))))
    rates = {
        "output": (steady.requests[0] * workload.output_tokens, pace),
        "decode_output": (pool.decode_rates(layout, sequences, decode.decode_context)[0], told[0]),
        "prefill_input": (pool.prefill_rates(layout, workload)[0], told[1]),
    }
    estimates, undefined = _latencies(steady, told[1], pace, workload)
    for name, (rate, why) in rates.items():
        estimates |= _rates(name, rate, why, pool, devices, packages)
    mode = pool.product_mode
    phases: tuple[tuple[Phase, Step, Explained], ...]
    phases = ("decode", decode_step, told[0]), ("prefill", prefill_step, told[1])
    for phase, step, why in phases:
        seconds = step.seconds[0] * pool.discrepancy(phase)
        found = Estimate.of(seconds * 1e3, "ms", why.tier, why.bound_by)
        estimates[f"{phase}_step_ms"] = replace(found, parts=why.tree.parts)
        estimates |= _utilisation(phase, seconds, why, machine.peak(mode), machine.bandwidth)
    cited = machine.citations()
    estimates = {name: replace(estimate, citations=cited) for name, estimate in estimates.items()}
    return Forecast(
        model=pool.model.id,
        chip=machine.chip.id,
        chip_name=machine.chip.name,
        system=machine.system.id,
        stack=machine.stack.id,
        precision=str(pool.precision),
        layout=layout,
        sequences=float(sequences),
        devices=devices,
        packages=packages,
        devices_per_package=machine.chip.packages_of,
        estimates=estimates,
        undefined=undefined,
        memory=memory_table(pool, layout, workload),
        decode=told[0],
        prefill=told[1],
        saturated=bool(np.median(steady.busy) >= 1),
        overloaded=over,
        waiting=waiting,
        warnings=(*pool.warnings, *beyond_context(pool, workload)),
        missing=machine.estimated,
        citations=cited,
        mfu_peak=f"{machine.modes[mode]} matrix peak",
        samples=np.atleast_1d(rates["output"][0]) / packages,
    )


def beyond_context(pool: PoolModel, workload: Workload) -> tuple[str, ...]:
    """That requests are longer than the model was made for, one line."""
    most = pool.model.context
    length = int(np.max(np.asarray(workload.input_tokens) + workload.output_tokens))
    return (f"{length:,} tokens exceed the context of {pool.model.id}, {most:,}.",) if length > most > 0 else ()


def _queued(steady: Steady, workload: Workload, running: float, over: bool, waiting: float) -> Steady:
    """The steady state of what runs, with the time in front of it for what does not fit or arrives too fast."""
    if waiting:
        wait = closed_wait(running + waiting, running, workload.requests, steady.requests)
    elif over and workload.rate is not None:
        steady = replace(steady, requests=np.minimum(steady.requests, workload.rate))
        wait = overload_wait(workload.rate, workload.requests, steady.requests)
    else:
        return steady
    return replace(steady, ttft=steady.ttft + wait, e2e=steady.e2e + wait)


def _latencies(
    steady: Steady, prefill: Explained, pace: Explained, workload: Workload
) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Estimates of latency and rate, and the metrics that have no value with what stands in their place.

    `pace` explains the step that most of a token's time goes to.
    """
    longest = prefill if np.median(steady.ttft[0]) * 2 > np.median(steady.e2e[0]) else pace
    found = {
        "ttft_ms": (steady.ttft[0] * 1e3, "ms", prefill),
        "tpot_ms": (steady.tpot[0] * 1e3, "ms", pace),
        "e2e_ms": (steady.e2e[0] * 1e3, "ms", longest),
        "requests_per_s": (steady.requests[0], "requests/s", pace),
    }
    undefined = {name: UNBOUNDED for name, (values, _, _) in found.items() if not np.all(np.isfinite(values))}
    if not workload.has_tpot:
        undefined["tpot_ms"] = NO_VALUE
    estimates = {
        name: Estimate.of(value, unit, why.tier, why.bound_by)
        for name, (value, unit, why) in found.items()
        if name not in undefined
    }
    return estimates, undefined


def _rates(name: str, rate: Array, why: Explained, pool: PoolModel, devices: int, packages: int) -> dict[str, Estimate]:
    tier: Tier = why.tier
    bound = why.bound_by
    found = {
        f"{name}_tokens_per_s_per_device": Estimate.of(rate / devices, "tokens/s", tier, bound),
        f"{name}_tokens_per_s_per_package": Estimate.of(rate / packages, "tokens/s", tier, bound),
    }
    watts = pool.machine.chip.power.get("package")
    if watts is not None:
        power = pool.machine.field("power.package", watts)
        found[f"{name}_tokens_per_s_per_w"] = Estimate.of(rate / packages / power, "tokens/s/W", tier, bound)
    return found


def _utilisation(phase: str, seconds: Array, why: Explained, peak: Any, bandwidth: Any) -> dict[str, Estimate]:
    """MFU = matrix FLOPs / (peak x time), MBU = bytes that had to move / (bandwidth x time), per draw."""
    mfu, mbu = why.flops / (peak * seconds), why.moved / (bandwidth * seconds)
    return {
        f"{phase}_mfu": Estimate.of(mfu, "", why.tier, why.bound_by),
        f"{phase}_mbu": Estimate.of(mbu, "", why.tier, why.bound_by),
    }


def memory_table(pool: PoolModel, layout: Layout, workload: Workload) -> dict[str, float]:
    """GiB of one device by use, the cache of one request, and the requests that fit one replica."""
    found = pool.memory(layout, workload.input_tokens + workload.output_tokens)
    table = {f"{name}_gib": float(getattr(found, name)) / GIB for name in _MEMORY}
    table["cache_per_request_gib"] = float(found.sequence) / GIB
    table["max_requests"] = float(pool.most_sequences(layout, workload)) * float(layout.attention_dp)
    return table


def memory_ranges(pool: PoolModel, layout: Layout, workload: Workload) -> dict[str, tuple[float, float]]:
    """(low, high) of what depends on the memory of the device, at the two ends of its range; none where it has none."""
    low, high = (
        memory_table(replace(pool, machine=pool.machine.with_memory(end)), layout, workload) for end in ("low", "high")
    )
    return {name: (low[name], high[name]) for name in low if low[name] != high[name]}


@dataclass(frozen=True)
class Fit:
    """The memory of one device in GiB, and the layout it is for.

    `ranges` are low and high of the entries of `memory` where the memory of the chip has a range; whether it fits is
    decided on the middle value. `missing` names the fields of the chip that no source gives.
    """

    model: str
    chip: str
    precision: str
    layout: Layout
    devices: int
    packages: int
    memory: dict[str, float]
    ranges: dict[str, tuple[float, float]]
    missing: tuple[str, ...]
    warnings: tuple[str, ...]
