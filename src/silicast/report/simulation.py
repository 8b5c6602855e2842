"""`simulate` as tables: the verdict first, then latencies, rates, pools, tenants, and what to know."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from silicast.report.document import document
from silicast.report.numbers import rounded
from silicast.serving.measures import PERCENTILES, Slo, Summary
from silicast.simulation.answer import Simulation
from silicast.simulation.search import offered
from silicast.simulation.tables import PoolTable

LATENCIES = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2el": "E2E", "queue": "queue"}
STATISTICS = {"mean": "mean", "median": "median", **{f"p{p:g}": f"p{p:g}" for p in PERCENTILES}}

#: columns of the tables of pools and tenants: key -> heading; latencies in ms
GROUP = {
    "completed": "done",
    "request_throughput": "req/s",
    "output_throughput": "output\ntok/s",
    "mean_ttft_ms": "TTFT",
    "p99_ttft_ms": "p99\nTTFT",
    "mean_tpot_ms": "TPOT",
    "p99_tpot_ms": "p99\nTPOT",
    "slo_attainment": "met",
    "prefix_hit": "prefix\nhit",
    "preemptions": "pre-\nempted",
    "utilisation": "busy",
}
#: columns of the table of what the replicas of a pool held: key -> heading
HELD = {
    "replicas": "replicas",
    "mean_running": "running,\nmean",
    "max_running": "max",
    "mean_waiting": "waiting,\nmean",
    "max_waiting": "max",
    "mean_kv_share": "KV,\nmean",
    "max_kv_share": "max",
    "energy_j": "energy, J",
}
#: columns of the table of how the replicas were kept, where they failed, started or stopped
KEPT = {
    "replicas": "replicas,\nat most",
    "replica_s": "replica-\nseconds",
    "device_s": "device-\nseconds",
    "replica_failures": "failures",
    "availability": "up",
}
#: s
HOUR = 3600.0
SHARES = ("slo_attainment", "prefix_hit", "utilisation", "mean_kv_share", "max_kv_share", "availability")


def render(answer: Simulation, console: Console) -> None:
    """Print the whole run."""
    first, *others = verdict(answer)
    console.print(headline(answer), markup=False)
    console.print(first, markup=False, style="bold")
    for line in others:
        console.print(line, markup=False)
    console.print(_latencies(answer.summary))
    for line in rates(answer):
        console.print(line, markup=False)
    for title, lines in tables(answer):
        console.print()
        console.print(_groups(title, lines))
    for line in notes(answer):
        console.print(line, markup=False)


def headline(answer: Simulation) -> str:
    """Who serves whom, in one line."""
    served = answer.scenario.deployment
    pools = " and ".join(_pool(pool) for pool in served.pools)
    name = f"{answer.scenario.name}: " if answer.scenario.name else ""
    return (
        f"{name}{served.model} on {pools}, router {served.router}; "
        f"{answer.served.state.size:,} requests, seed {answer.scenario.seed}."
    )


def _pool(pool: PoolTable) -> str:
    replicas = f"{pool.replicas} replica{'s' if pool.replicas > 1 else ''}"
    role = "" if pool.role == "mixed" else f"{pool.role}: "
    return f"{role}{replicas} of {pool.layout().devices} {pool.chip}"


def verdict(answer: Simulation) -> list[str]:
    """What the users get, and whether the targets are met, in words."""
    found = answer.summary
    lines = [
        f"{found['completed']:,} answered in {rounded(float(found['duration'] or 0))} s, "
        f"{rounded(float(found['request_throughput'] or 0))} requests/s; {found['failed']:,} failed "
        f"({failures(found)})."
    ]
    if found.get("retries") or found.get("replica_failures"):
        lines.append(
            f"{_times(found['replica_failures'], 'failure')} of replicas; requests were sent again "
            f"{_times(found['retries'], 'time')} from their beginning, and what they had waited counts."
        )
    if found["slo_attainment"] is not None:
        lines.append(_targets(found, answer.scenario.slo.law()))
    if answer.sustainable_rate is not None:
        lines.append(
            f"Saturated: more came than the deployment can answer, {rounded(answer.sustainable_rate)} "
            "requests/s at most; the queue grows as long as this traffic lasts."
        )
    if not answer.complete:
        lines.append("Broken off: the numbers are of the requests that had been answered by then.")
    return lines


def failures(found: Summary) -> str:
    """Who was not answered and why, in words."""
    shed = f", {found['shed']:,} turned away by full queues" if found.get("shed") else ""
    return f"{found['rejected']:,} rejected, {found['lost']:,} lost{shed}"


def _times(count: float | None, word: str) -> str:
    return f"{count or 0:,} {word}{'' if count == 1 else 's'}"


def _targets(found: Summary, slo: Slo) -> str:
    word = "met" if found["slo_met"] else "not met"
    return (
        f"Targets {targets(slo)}: {float(found['slo_attainment'] or 0):.1%} of the requests meet all, "
        f"{slo.percentile:g} % must: {word}. Goodput {rounded(float(found['request_goodput'] or 0))} requests/s."
    )


def targets(slo: Slo) -> str:
    """`TTFT <= 2000 ms, TPOT <= 50 ms`."""
    known = (("TTFT", slo.ttft_ms), ("TPOT", slo.tpot_ms), ("E2E", slo.e2e_ms))
    return ", ".join(f"{name} <= {value:g} ms" for name, value in known if value is not None)


def latency_rows(found: Summary) -> list[list[str]]:
    """One line per latency: its name and its statistics in ms."""
    known = {name: label for name, label in LATENCIES.items() if f"mean_{name}_ms" in found}
    return [[label, *(_number(found[f"{kind}_{name}_ms"]) for kind in STATISTICS)] for name, label in known.items()]


def _latencies(found: Summary) -> Table:
    table = _table("ms")
    for heading in STATISTICS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for cells in latency_rows(found):
        table.add_row(*cells)
    return table


def rates(answer: Simulation) -> list[str]:
    """Throughput with what it divides by, cache, preemptions, energy."""
    found, hardware = answer.summary, answer.hardware
    lines = [
        f"{kind} tokens/s: {_number(found[key])}; per device ({_number(hardware.devices)}) "
        f"{_number(found[f'{kind}_tokens_per_s_per_device'])}, per package ({_number(hardware.packages)}) "
        f"{_number(found[f'{kind}_tokens_per_s_per_package'])}."
        for kind, key in (("input", "input_throughput"), ("output", "output_throughput"))
    ]
    hit = found["prefix_hit"]
    lines.append(
        f"Prefix cache: {'-' if hit is None else f'{hit:.1%}'} of the input tokens{_lower_levels(found)}; "
        f"{found['preemptions']:,} "
        f"preemptions; busiest second {_number(found['max_output_tokens_per_s'])} tokens, "
        f"{_number(found['max_concurrent_requests'])} requests at once."
    )
    if answer.served.phases is not None and found.get("replica_s") is not None:
        lines.append(
            f"Replicas were held for {rounded(float(found['replica_s'] or 0))} replica-seconds, "
            f"{rounded(float(found['device_s'] or 0) / HOUR)} device-hours."
        )
    if found["energy_j_per_output_token"] is not None:
        lines.append(
            f"Energy: {rounded(float(found['energy_j'] or 0) / 3.6e6)} kWh, "
            f"{rounded(float(found['energy_j_per_output_token']))} J per output token."
        )
    return lines


def _lower_levels(found: Summary) -> str:
    """What came from the memory of the host and from a remote store, where anything did."""
    names = {"prefix_hit_host": "host memory", "prefix_hit_remote": "the remote store"}
    shares = [f"{found[key]:.1%} from {name}" for key, name in names.items() if found[key]]
    return f" ({', '.join(shares)})" if shares else ""


def curve(runs: Sequence[Simulation]) -> Table:
    """The latency-throughput curve: one line per run, by what was sent."""
    table = _table("sent, req/s")
    keys = ("request_throughput", "output_throughput", "mean_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "p99_tpot_ms")
    shown = (*keys, "slo_attainment")
    for key in shown:
        table.add_column(GROUP[key], justify="right")
    for one in sorted(runs, key=lambda one: (offered(one), float(one.summary["request_throughput"] or 0))):
        loop = one.drawn.loop
        name = f"{loop.concurrency} at a time" if loop else _rate(offered(one))
        table.add_row(name, *(_cell(key, one.summary[key]) for key in shown))
    return table


def _rate(sent: float) -> str:
    return "all at once" if sent == float("inf") else rounded(sent)


def tables(answer: Simulation) -> list[tuple[str, list[list[str]]]]:
    """Pools, what their replicas held, and the kinds of traffic: a title, and lines of which the first has headings."""
    found = [("pool", group_rows(answer.pools, GROUP))]
    if answer.served.timeline is not None:
        found.append(("per replica", group_rows(answer.pools, HELD)))
    if answer.served.phases is not None:
        found.append(("kept", group_rows(answer.pools, KEPT)))
    return [*found, ("traffic", group_rows(answer.tenants, GROUP))] if answer.tenants else found


def group_rows(groups: Mapping[str, Summary], headings: Mapping[str, str]) -> list[list[str]]:
    """One line per group with the keys of `headings` that any of them has; the first line is the headings."""
    keys = [key for key in headings if any(found.get(key) is not None for found in groups.values())]
    lines = [[name, *(_cell(key, found.get(key)) for key in keys)] for name, found in groups.items()]
    return [[headings[key] for key in keys], *lines]


def _groups(title: str, rows: list[list[str]]) -> Table:
    headings, *lines = rows
    table = _table(title)
    for heading in headings:
        table.add_column(heading, justify="right")
    for cells in lines:
        table.add_row(Text(cells[0]), *cells[1:])
    return table


def notes(answer: Simulation) -> list[str]:
    """What was left out and what falls back."""
    tier = [f"Step times: tier {answer.tier}."] if answer.tier else []
    return [*tier, *answer.drawn.notes, *(f"warning: {warning}" for warning in answer.warnings)]


def simulation_document(answer: Simulation) -> dict[str, Any]:
    """The JSON of the verb: the measures at the top of `result`, then tenants and pools."""
    inputs = answer.scenario.model_dump(mode="json", exclude_defaults=True)
    result: dict[str, Any] = dict(answer.summary)
    result |= {"tenants": answer.tenants, "pools": answer.pools, "devices": answer.hardware.devices,
               "packages": answer.hardware.packages, "saturated": answer.saturated, "complete": answer.complete,
               "sustainable_rate": answer.sustainable_rate, "tier": answer.tier or None}  # fmt: skip
    return document("simulate", inputs, result, [*answer.drawn.notes, *answer.warnings])


def bench_result(answer: Simulation) -> dict[str, Any]:
    """One flat object as `vllm bench serve --save-result` writes it (vLLM 0.11.0, vllm/benchmarks/serve.py:1285-)."""
    tables = [table.arrivals for table in answer.scenario.traffic]
    rates = [table.rate if table is not None else None for table in tables]
    shape = 1.0 if tables[0] is None or tables[0].burstiness is None else tables[0].burstiness
    loop = answer.drawn.loop
    head = {
        "backend": "silicast",
        "endpoint_type": "silicast",
        "label": answer.scenario.name or None,
        "model_id": answer.scenario.deployment.model,
        "num_prompts": int(answer.served.state.size),
        "request_rate": "inf" if None in rates else sum(rate or 0 for rate in rates),
        "burstiness": shape,
        "max_concurrency": loop.concurrency if loop else None,
    }
    return head | dict(answer.summary)


def _table(first: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(first)
    return table


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1%}" if key in SHARES else _number(value)


def _number(value: float | None) -> str:
    """Three significant digits; counts whole."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else rounded(float(value))
