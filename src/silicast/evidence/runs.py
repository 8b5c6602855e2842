"""Measured serving runs as a planner looks at them: tokens/s per user against output tokens/s per device."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from statistics import fmean

from silicast.evidence.columns import Scenario
from silicast.evidence.record import Row
from silicast.scenario import Workload

#: how far the mean lengths of a run may be from those asked for, as a factor
NEAR = 2.0
#: how far the share of input tokens found in the prefix cache may be
NEAR_HIT = 0.1
OUTPUT = "output_tokens_per_s_per_device"


@dataclass(frozen=True, slots=True)
class Run:
    """One measured deployment under one load; `chips` as a plan names them, the one that prefills first."""

    chips: str
    tokens_per_s_per_user: float
    output_tokens_per_s_per_device: float
    recipe: str
    source: str


def devices(scenario: Scenario) -> float:
    """All devices of a run, both pools included."""
    pools = [
        (getattr(scenario, f"{pool}_devices") or 0) * (getattr(scenario, f"{pool}_replicas") or 1)
        for pool in ("prefill", "decode")
    ]
    return float(sum(pools) or scenario.devices or 1)


def rate(scenario: Scenario, ttft_ms: float, tpot_ms: float) -> float:
    """Output tokens/s per device by Little's law."""
    tokens = float(scenario.output_tokens or 1)
    seconds = (ttft_ms + (tokens - 1) * tpot_ms) / 1e3
    return float(scenario.concurrency or 0) * tokens / seconds / devices(scenario)


def runs_near(rows: Iterable[Row], model: str, chips: Collection[str], work: Workload) -> tuple[Run, ...]:
    """The runs of `model` on `chips` with lengths within `NEAR` times those of `work`; suspect rows are left out,
    repeats averaged. Throughput is that measured, else by Little's law."""
    measured: dict[tuple[str, Scenario], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        run = row.scenario
        if (
            run.kind == "serve"
            and run.model == model
            and not row.suspect
            and chips_of(run) in chips
            and _near(run, work)
        ):
            measured[row.source, run][row.metric].append(row.value)
    found = []
    for (source, run), values in measured.items():
        known = {metric: fmean(repeats) for metric, repeats in values.items()}
        tpot, ttft, output = (known.get(metric) for metric in ("tpot_ms", "ttft_ms", OUTPUT))
        if output is None and tpot and ttft is not None and run.concurrency:
            output = rate(run, ttft, tpot)
        if tpot and output:
            found.append(Run(chips_of(run), 1e3 / tpot, output, recipe(run), source))
    return tuple(found)


def chips_of(run: Scenario) -> str:
    """The chip, or both with the one that prefills first."""
    both = [name for name in (run.prefill_chip, run.decode_chip) if name] or [run.chip or ""]
    return " -> ".join(dict.fromkeys(both))


def _near(run: Scenario, work: Workload) -> bool:
    pairs = ((run.input_tokens, work.input_tokens), (run.output_tokens, work.output_tokens))
    lengths = all(has and float(wanted) / NEAR <= has <= float(wanted) * NEAR for has, wanted in pairs)
    return lengths and abs((run.prefix_hit or 0) - float(work.prefix_hit)) <= NEAR_HIT


def recipe(run: Scenario) -> str:
    """How the run was cut and loaded, in words."""
    names = ("tp", "pp", "ep", "attention_dp", "cp")
    if run.prefill_chip or run.decode_chip:
        pools = [
            f"{pool} {getattr(run, f'{pool}_replicas') or 1} x "
            f"({_sizes(run, [f'{pool}_{name}' for name in ('devices', *names) if name != 'pp'], f'{pool}_')})"
            for pool in ("prefill", "decode")
        ]
        cut = " + ".join(pools)
    else:
        cut = (
            f"{run.devices or 1} devices, {_sizes(run, names)}" if _sizes(run, names) else f"{run.devices or 1} devices"
        )
    told = [run.stack or "", run.weights or "", f"{run.mtp_tokens} draft tokens" if run.mtp_tokens else ""]
    load = f"{run.concurrency:g} in flight" if run.concurrency else f"{run.rate:g} requests/s" if run.rate else ""
    lengths = f"{run.input_tokens:g} input and {run.output_tokens:g} output tokens"
    return ", ".join(part for part in (cut, *told, load, lengths) if part)


def _sizes(run: Scenario, names: Iterable[str], prefix: str = "") -> str:
    return " ".join(f"{name.removeprefix(prefix)} {getattr(run, name)}" for name in names if getattr(run, name))
