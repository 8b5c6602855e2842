"""`silicast simulate SCENARIO.toml`, or MODEL CHIP and flags."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from silicast import api
from silicast.cli import options as o
from silicast.errors import InputError
from silicast.report.document import emit
from silicast.report.numbers import rounded
from silicast.report.requests import columns, write_requests
from silicast.report.screen import screen
from silicast.report.simulation import curve, render, simulation_document
from silicast.report.simulation_html import write_result, write_simulation
from silicast.report.trace import write_trace
from silicast.simulation import Scenario, Simulation, guidellm, read_scenario, scenario_of
from silicast.simulation.search import find_rate, sweep

#: requests where neither they nor a duration are given, as in the benchmark clients
REQUESTS = 1000
#: options that describe a scenario: a file says them itself
DESCRIBES = "A scenario file says {} itself; give --{} with MODEL CHIP."


def command(
    what: Annotated[str, typer.Argument(help="Scenario file (.toml), or a model id.", show_default=False)],
    chip: Annotated[str | None, typer.Argument(help="Chip id, with a model.", show_default=False)] = None,
    data: Annotated[
        str | None, typer.Option(help="Lengths as GuideLLM writes them: prompt_tokens=256,output_tokens=128.")
    ] = None,
    replay: Annotated[Path | None, typer.Option(help="Trace to replay (Azure, BurstGPT, Mooncake, own CSV).")] = None,
    time_scale: Annotated[
        float | None, typer.Option(help="Factor on the times of the trace; 0.5 = twice as fast.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="synchronous, concurrent, throughput, constant, poisson or sweep.")
    ] = None,
    rate: Annotated[list[float] | None, typer.Option(help="Requests/s, or streams of the profile concurrent.")] = None,
    burstiness: Annotated[float | None, typer.Option(help="1 = Poisson, below 1 = bursts.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests in flight (closed loop).")] = None,
    requests: Annotated[int | None, typer.Option(help="Requests to send.")] = None,
    duration: Annotated[str | None, typer.Option(help="Time to send requests for, such as '10 min'.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random streams.")] = None,
    input_tokens: Annotated[int | None, typer.Option(help="Input tokens of every request.")] = None,
    output_tokens: Annotated[int | None, typer.Option(help="Output tokens of every request.")] = None,
    ttft: Annotated[str | None, typer.Option(help="Target of each request: 2s, 500ms, or a number in ms.")] = None,
    tpot: Annotated[str | None, typer.Option(help="Target of each request.")] = None,
    e2e: Annotated[str | None, typer.Option(help="Target of each request.")] = None,
    replicas: Annotated[int | None, typer.Option(help="Replicas of the deployment.")] = None,
    router: Annotated[str | None, typer.Option(help="How requests find a replica.")] = None,
    policy: Annotated[str | None, typer.Option(help="Scheduling policy (default: that of the stack).")] = None,
    tp: o.Tp = None,
    pp: o.Pp = None,
    ep: o.Ep = None,
    attention_dp: o.AttentionDp = None,
    system: o.System = None,
    stack: o.Stack = None,
    weights: o.Weights = None,
    kv_cache: o.KvCache = None,
    find: Annotated[bool, typer.Option("--find-rate", help="Bisect the highest rate that meets the targets.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also write a self-contained report to this file.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Write a Chrome trace for Perfetto (.json or .json.gz).")] = None,
    save_requests: Annotated[Path | None, typer.Option(help="One line per request: .csv, .csv.gz, .parquet.")] = None,
    save_result: Annotated[Path | None, typer.Option(help="JSON as `vllm bench serve` writes it.")] = None,
    as_json: o.AsJson = False,
) -> None:
    described = {
        "data": data, "replay": replay, "time-scale": time_scale, "profile": profile, "rate": rate,
        "burstiness": burstiness, "concurrency": concurrency, "requests": requests, "duration": duration,
        "input-tokens": input_tokens, "output-tokens": output_tokens, "ttft": ttft, "tpot": tpot, "e2e": e2e,
        "replicas": replicas, "router": router, "policy": policy, "tp": tp, "pp": pp, "ep": ep,
        "attention-dp": attention_dp, "system": system, "stack": stack, "weights": weights, "kv-cache": kv_cache,
    }  # fmt: skip
    given = {name: value for name, value in described.items() if value not in (None, [])}
    if profile == "sweep" and chip is None:
        del given["profile"]
    scenarios, highest = _scenarios(what, chip, given, seed), None
    if profile == "sweep":
        _check_single(find, "sweep")
        with _progress() as told:
            runs = sweep(lambda one: _run(one, told), scenarios[0])
        answer = runs[-1]
    elif find:
        with _progress() as told:
            found = find_rate(lambda one: _run(one, told), scenarios[0])
        # the gentlest run where no rate meets the targets
        runs, answer, highest = list(found.runs), found.best or found.runs[-1], found.rate
    else:
        with _progress() as told:
            runs = [_run(one, told) for one in scenarios]
        answer = runs[-1]
    _show(answer, runs, highest, as_json)
    written = _write(answer, runs, html, trace, save_requests, save_result)
    for line in [] if as_json else written:
        screen().print(line, markup=False)


def _scenarios(what: str, chip: str | None, given: dict[str, Any], seed: int | None) -> list[Scenario]:
    """One scenario, or one per rate of the profile."""
    if chip is not None:
        return [scenario_of(one | ({} if seed is None else {"seed": seed})) for one in _described(what, chip, given)]
    if not what.endswith(".toml"):
        raise InputError(f"Give a scenario file (.toml), or a model and a chip; got '{what[:60]}' alone.")
    if given:
        name = next(iter(given))
        raise InputError(DESCRIBES.format(name, name))
    read = read_scenario(what)
    return [read if seed is None else read.model_copy(update={"seed": seed})]


def _described(model: str, chip: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    """The tables of a scenario file that say the same as the options."""
    pool = {name.replace("-", "_"): given[name] for name in POOL if name in given} | {"chip": chip}
    deployment = {"model": model, "pools": [pool]} | ({"router": given["router"]} if "router" in given else {})
    base: dict[str, Any] = {
        "deployment": deployment,
        "slo": {name: given[name] for name in ("ttft", "tpot", "e2e") if name in given},
    }
    base |= {name: given[name] for name in ("requests", "duration") if name in given}
    if "replay" not in given and not base.keys() & {"requests", "duration"}:
        base["requests"] = REQUESTS
    return [{**base, "traffic": {**_lengths(given), **arrivals}} for arrivals in _arrivals(given)]


POOL = ("replicas", "policy", "tp", "pp", "ep", "attention-dp", "system", "stack", "weights", "kv-cache")


def _lengths(given: dict[str, Any]) -> dict[str, Any]:
    sizes = {name.replace("-", "_"): given[name] for name in ("input-tokens", "output-tokens") if name in given}
    if "data" in given:
        if sizes:
            raise InputError("Give --data or --input-tokens and --output-tokens, not both.")
        return guidellm.traffic(given["data"])
    if "replay" in given:
        scale = {"time_scale": given["time-scale"]} if "time-scale" in given else {}
        return {"trace": {"file": str(given["replay"]), **scale}, **sizes}
    return {"input_tokens": 4096, "output_tokens": 1024} | sizes


def _arrivals(given: dict[str, Any]) -> list[dict[str, Any]]:
    rates = given.get("rate", [])
    if "profile" in given:
        return [{"arrivals": table} for table in guidellm.arrivals(given["profile"], rates)]
    if "concurrency" in given:
        if rates:
            raise InputError("Give --concurrency (a closed loop) or --rate (requests/s), not both.")
        return [{"arrivals": {"kind": "closed", "concurrency": given["concurrency"]}}]
    if rates:
        shape = {"kind": "gamma", "burstiness": given["burstiness"]} if "burstiness" in given else {"kind": "poisson"}
        return [{"arrivals": {**shape, "rate": rate}} for rate in rates]
    if "replay" in given:
        return [{}]
    raise InputError("Say how requests arrive: --rate, --concurrency, --profile or --replay.")


def _check_single(find: bool, profile: str) -> None:
    if find:
        raise InputError(f"Give --find-rate or the profile {profile}, not both.")


def _run(scenario: Scenario, told: Any) -> Simulation:
    return api.simulate(scenario, told)


@contextmanager
def _progress() -> Iterator[Any]:
    """A bar with the time left on long runs, on the error stream of a terminal; called with requests done and all."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns_ = TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns_, console=console, transient=True) as bar:
        task = bar.add_task("run", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _show(answer: Simulation, runs: list[Simulation], highest: float | None, as_json: bool) -> None:
    """One run, or the curve of several before the last; `highest` is the rate that was sought, 0 = none."""
    if as_json:
        content = simulation_document(answer)
        content["result"] |= {"runs": [one.summary for one in runs]} if len(runs) > 1 else {}
        content["result"] |= {} if highest is None else {"highest_rate": highest or None}
        emit(content)
        return
    console = screen()
    if len(runs) > 1:
        console.print(curve(runs))
    if highest is not None:
        none = "No rate meets the targets; the gentlest run is shown."
        console.print(f"Highest rate within the targets: {rounded(highest)} requests/s." if highest else none)
    render(answer, console)


def _write(
    answer: Simulation, runs: list[Simulation], html: Path | None, trace: Path | None, requests: Path | None,
    result: Path | None,
) -> list[str]:  # fmt: skip
    """What was written where."""
    told = []
    if html is not None:
        write_simulation(answer, html, shlex.join(["silicast", *sys.argv[1:]]), runs)
        told.append(f"Report: {html}")
    if trace is not None:
        notes = write_trace(trace, answer.served, names=answer.replicas.names)
        told.append(" ".join([f"Trace: {trace} (open it at ui.perfetto.dev).", *notes]))
    if requests is not None:
        tenant = np.array(answer.drawn.tenants)[answer.drawn.tenant]
        write_requests(columns(answer.served, answer.drawn.requests, tenant), requests)
        told.append(f"Requests: {requests}")
    if result is not None:
        write_result(answer, result)
        told.append(f"Result: {result}")
    return told
