"""`silicast plan MODEL --chip ID [--chip ID...]`."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, get_args

import typer

from silicast import catalog, planner
from silicast.cli import options as o
from silicast.cli import scenario
from silicast.errors import InputError, not_found
from silicast.launch import FORMATS, LaunchError, Limits, write
from silicast.launch import launch as start
from silicast.planning.plan import Plan
from silicast.planning.question import Budget, Objective
from silicast.planning.trials import Trials
from silicast.report.document import emit
from silicast.report.folder import write_folder
from silicast.report.plan import mix_document, plan_document, render, render_mix
from silicast.report.plan_html import write_plan
from silicast.report.screen import screen
from silicast.scenario import Workload
from silicast.serving.measures import SLO_PERCENTILE
from silicast.traces import read_trace
from silicast.traces.metrics import read_metrics
from silicast.units import duration_ms

Chips = Annotated[
    list[str] | None, typer.Option("--chip", help="Candidate chip; repeat it. Without: all datacentre chips on sale.")
]
Vendors = Annotated[str | None, typer.Option(help="Only these vendors, such as AMD,Huawei.")]
ExcludeVendors = Annotated[str | None, typer.Option(help="None of these vendors.")]
InputTokens = Annotated[int | None, typer.Option(help="Input tokens per request (default 4096, or of the trace).")]
OutputTokens = Annotated[int | None, typer.Option(help="Output tokens per request (default 1024, or of the trace).")]
Devices = Annotated[int | None, typer.Option(help="Most devices of the whole deployment.")]
Packages = Annotated[int | None, typer.Option(help="Most packages of the whole deployment.")]
UsdPerHour = Annotated[float | None, typer.Option(help="Most USD per hour.")]
MaxMw = Annotated[float | None, typer.Option(help="Most provisioned MW, all in.")]
Price = Annotated[list[str] | None, typer.Option(help="CHIP=USD per package-hour, instead of the catalog's.")]
Efficiency = Annotated[
    list[str] | None, typer.Option(help="CHIP=SHARE: what if its steps ran at this share of the speed forecast.")
]
Aim = Annotated[str | None, typer.Option("--objective", help="cost, packages, devices, power or goodput.")]
Confidence = Annotated[
    float, typer.Option(help="Share of the draws in which targets must hold and by which is ranked; 0.5 = medians.")
]
Stacks = Annotated[list[str] | None, typer.Option("--stack", help="Stack to try; repeat it, or 'any'.")]
Recast = Annotated[bool, typer.Option("--recast", help="Also 8-bit weights and cache that the checkpoint lacks.")]
MixedOnly = Annotated[bool, typer.Option("--mixed-only", help="No prefill and decode pools of their own.")]
Available = Annotated[
    list[str] | None, typer.Option(help="CHIP=PACKAGES there are: plans one fleet of several chips for the rate.")
]
#: deployments of the best chip that are shown where nobody says
SHOWN = 3
Top = Annotated[int | None, typer.Option(help=f"Deployments of the best chip to show (default {SHOWN}).")]

Simulate = Annotated[
    bool | None,
    typer.Option(
        "--simulate/--no-simulate",
        help="Simulate the short list: goodput decides (default: with numba).",
        show_default=False,
    ),
]
E2e = Annotated[str | None, typer.Option(help="Target for the E2E latency: 30s, or a number in ms.")]
Percentile = Annotated[float, typer.Option(help="Percent of the simulated requests that must meet all targets.")]
Limit = Annotated[
    list[str] | None, typer.Option(help="Limit of the simulation, such as p99_ttft=4s or mean_e2el=20s; repeat it.")
]
Replay = Annotated[
    Path | None, typer.Option(help="Trace that gives lengths, rate and arrivals (Azure, BurstGPT, Mooncake, own CSV).")
]

Metrics = Annotated[
    list[Path] | None, typer.Option(help="What a running engine reports at /metrics: lengths, load; one per engine.")
]


def command(
    model: o.Model,
    chip: Chips = None,
    vendors: Vendors = None,
    exclude_vendors: ExcludeVendors = None,
    input_tokens: InputTokens = None,
    output_tokens: OutputTokens = None,
    prefix_hit: o.PrefixHit = 0.0,
    rate: o.Rate = None,
    concurrency: o.Concurrency = None,
    ttft: o.Ttft = "2s",
    tpot: o.Tpot = "50ms",
    e2e: E2e = None,
    percentile: Percentile = SLO_PERCENTILE,
    limit: Limit = None,
    replay: Replay = None,
    metrics: Metrics = None,
    devices: Devices = None,
    packages: Packages = None,
    usd_per_hour: UsdPerHour = None,
    max_mw: MaxMw = None,
    price: Price = None,
    efficiency: Efficiency = None,
    objective: Aim = None,
    confidence: Confidence = 0.5,
    stack: Stacks = None,
    system: o.System = None,
    recast: Recast = False,
    mtp_tokens: o.MtpTokens = 0,
    mtp_acceptance: o.MtpAcceptance = planner.ACCEPTED,
    mixed_only: MixedOnly = False,
    top: Top = None,
    simulate: Simulate = None,
    available: Available = None,
    launch: Annotated[Path | None, typer.Option(help="Also write files that start the winner to this folder.")] = None,
    form: Annotated[str, typer.Option("--format", help=f"Of these files: {', '.join(FORMATS)}.")] = "command",
    html: Annotated[Path | None, typer.Option(help="Also write a self-contained report to this file.")] = None,
    as_json: o.AsJson = False,
) -> None:
    shown = scenario.positive("top", top) or SHOWN
    if available:
        _only_mixes({"chip": chip, "vendors": vendors, "exclude-vendors": exclude_vendors, "top": top, "html": html,
                     "launch": launch})  # fmt: skip
    chips = candidates(chip or [], vendors, exclude_vendors)
    budget = Budget(devices, packages, usd_per_hour, max_mw)
    lengths = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    known = {name: value for name, value in lengths.items() if value is not None}
    given = Workload(**known, prefix_hit=prefix_hit, concurrency=concurrency, rate=rate)
    work = workload(given, replay, metrics or [], bool(known))
    trials = Trials(percentile, limits(limit or []), None if replay is None else str(replay))
    draft = scenario.speculation(mtp_tokens, mtp_acceptance)
    choices = planner.Choices(
        tuple(stack) if stack else None, recast, mtp_tokens, mtp_acceptance if mtp_tokens else float(draft.acceptance),
        not mixed_only, prices(price or []), efficiencies(efficiency or []), system, shown,
        planner.SIMULATE if simulate is None else simulate, trials,
    )  # fmt: skip
    if form not in FORMATS:
        raise not_found("Format", form, FORMATS, f"Known: {', '.join(FORMATS)}.")
    aim, targets = aimed(objective), scenario.targets(ttft, tpot, e2e)
    if available:
        told = planner.mix(model, stock(available), work, targets, budget, aim, confidence, choices)
        inputs = {"model": model, **asdict(work), **asdict(targets), "budget": asdict(budget), "confidence": confidence}
        emit(mix_document(told, inputs)) if as_json else render_mix(told, screen())
        return
    answer = planner.plan(model, chips, work, targets, budget, aim, confidence, choices)
    # before anything is printed: a file that cannot be written is an error, not half an answer
    written = [] if html is None else [f"Report: {html}"]
    if html is not None:
        write_plan(answer, html, shlex.join(["silicast", *sys.argv[1:]]))
    without = None
    if launch is not None:
        try:
            written += [f"Launch: {path}" for path in _launched(answer, launch, form)]
        except LaunchError as error:
            # the stack of the winner is known only now, and the answer holds without its files
            without = error
    if as_json:
        inputs = {"model": model, "chips": chips, **asdict(work), **asdict(targets), "budget": asdict(budget),
                  "objective": answer.question.objective, "confidence": confidence,
                  "efficiency": choices.efficiency, "simulated": asdict(trials)}  # fmt: skip
        emit(plan_document(answer, inputs))
    else:
        render(answer, screen())
        for line in written:
            screen().print(line, markup=False, soft_wrap=True)
    if without is not None:
        raise without


def _only_mixes(given: Mapping[str, object]) -> None:
    """Raises InputError for the first option that a mixed fleet has no use for."""
    for name, value in given.items():
        if value:
            raise InputError(
                f"--{name} has no meaning beside --available, which names the chips of one fleet. Leave out --{name}, "
                "or plan with --chip instead of --available."
            )


def _launched(answer: Plan, folder: Path, form: str) -> list[Path]:
    """The files that start the winner, with the sequences that were simulated. Raises LaunchError."""
    best = answer.best
    room = best.trial.sequences if best.trial else ()
    limits = tuple(Limits(max_sequences=most) for most in room)
    return write_folder(write(start(best.deployment(answer.model), limits), form), folder)


def candidates(chips: Sequence[str], vendors: str | None, exclude: str | None) -> list[str]:
    """The chips to plan with: those named, else all datacentre chips on sale, of the vendors wanted."""
    names = list(dict.fromkeys(chips)) or [
        one.id for one in catalog.shipped_chips() if one.kind == "datacentre" and one.status.startswith("shipping")
    ]
    found = {name: catalog.chip(name).vendor for name in names}
    wanted, unwanted = _vendors(vendors), _vendors(exclude)
    kept = [name for name, vendor in found.items()
            if (not wanted or vendor.lower() in wanted) and vendor.lower() not in unwanted]  # fmt: skip
    if not kept:
        raise InputError(
            f"No candidate is left: --vendors {vendors or 'any'}, --exclude-vendors {exclude or 'none'} leave none of "
            f"{', '.join(f'{name} ({vendor})' for name, vendor in list(found.items())[:6])}."
        )
    return kept


def _vendors(text: str | None) -> set[str]:
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    known = {one.vendor.lower(): one.vendor for one in catalog.shipped_chips()}
    for name in names:
        if name.lower() not in known:
            raise not_found("Vendor", name, known.values(), f"Known: {', '.join(sorted(set(known.values())))}.")
    return {name.lower() for name in names}


def prices(pairs: Sequence[str]) -> dict[str, float]:
    """`CHIP=USD` pairs. Raises InputError."""
    return _numbers(pairs, "--price takes CHIP=USD per package-hour, such as h100-sxm=2.35")


def efficiencies(pairs: Sequence[str]) -> dict[str, float]:
    """`CHIP=SHARE` pairs. Raises InputError."""
    return _numbers(pairs, "--efficiency takes CHIP=SHARE of the speed forecast, such as ascend-910c=0.8")


def _numbers(pairs: Sequence[str], takes: str) -> dict[str, float]:
    """`CHIP=NUMBER` pairs. Raises InputError with what the option takes."""
    found = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        try:
            found[name] = float(text) if separator else float("nan")
        except ValueError:
            found[name] = float("nan")
        if found[name] != found[name]:
            raise InputError(f"{takes}; got '{pair[:60]}'.")
    return found


def stock(pairs: Sequence[str]) -> dict[str, int]:
    """`CHIP=PACKAGES` pairs. Raises InputError."""
    found = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if not text.lstrip("-").isdigit():
            raise InputError(f"--available takes CHIP=PACKAGES, such as h100-sxm=64; got '{pair[:60]}'.")
        found[name] = int(text)
    return found


def limits(pairs: Sequence[str]) -> dict[str, float]:
    """`MEASURE=TIME` pairs in ms. Raises InputError."""
    found = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise InputError(f"--limit takes MEASURE=TIME, such as p99_ttft=4s; got '{pair[:60]}'.")
        found[name] = duration_ms(text)
    return found


def workload(given: Workload, replay: Path | None, metrics: Sequence[Path], lengths: bool) -> Workload:
    """Lengths and load as given, or those of a trace or of running engines where no load is given.

    `lengths` says whether they were given.
    """
    if replay is None and not metrics:
        return given
    if lengths or (replay is not None and metrics):
        raise InputError("Lengths come from --input-tokens and --output-tokens, or --replay, or --metrics: give one.")
    loaded = given.rate is not None or given.concurrency is not None
    if replay is None:
        told = read_metrics(metrics)
        if not loaded and not told.in_flight:
            raise InputError("The metrics show no request in flight: give --rate or --concurrency.")
        return replace(
            given, input_tokens=told.input_tokens, output_tokens=told.output_tokens, prefix_hit=told.prefix_hit,
            concurrency=given.concurrency if loaded else told.in_flight,
        )  # fmt: skip
    sent = read_trace(replay).requests
    span, rate = float(sent.arrival[-1]), given.rate
    if not loaded:
        if not span > 0:
            raise InputError(f"All requests of {replay.name} arrive at once: give --rate or --concurrency.")
        rate = (sent.arrival.size - 1) / span
    means = (float(values.mean()) for values in (sent.input_tokens, sent.output_tokens))
    return replace(given, **dict(zip(("input_tokens", "output_tokens"), means, strict=True)), rate=rate)


def aimed(text: str | None) -> Objective | None:
    """An objective by name. Raises InputError."""
    known = get_args(Objective)
    if text is not None and text not in known:
        raise not_found("Objective", text, known, f"Known: {', '.join(known)}.")
    return text  # type: ignore[return-value]
