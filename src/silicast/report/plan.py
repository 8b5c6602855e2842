"""`plan` as text: verdict first, then the options with ranges, then why, then what the reader must know."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from silicast.estimate import Estimate
from silicast.planning.mixes import Mix
from silicast.planning.options import Option, PoolChoice
from silicast.planning.plan import Plan
from silicast.planning.question import OBJECTIVES, Objective, Question
from silicast.planning.trials import Trials
from silicast.report.document import document
from silicast.report.numbers import compact, lengths, rounded, spread
from silicast.report.plan_trials import agreement_line, demanded, simulated_line, trial_result, trial_rows

#: metric -> (label, factor)
METRICS: tuple[tuple[str, str, float], ...] = (
    ("output_tokens_per_s", "output tok/s", 1.0),
    ("output_tokens_per_s_per_package", "output tok/s/package", 1.0),
    ("output_tokens_per_s_per_device", "output tok/s/device", 1.0),
    ("usd_per_million_output_tokens", "USD/M output tokens", 1.0),
    ("usd_per_million_total_tokens", "USD/M total tokens", 1.0),
    ("output_tokens_per_s_per_mw", "output tok/s/MW", 1.0),
    ("ttft_ms", "TTFT ms, mean", 1.0),
    ("tpot_ms", "TPOT ms, mean", 1.0),
    ("e2e_ms", "E2E ms, mean", 1.0),
    ("tokens_per_s_per_user", "tok/s/user", 1.0),
)
COLUMNS_PER_TABLE = 3
#: options that are told in full; of the others one line
MOST_OPTIONS = 6
#: what a ratio of scores is a ratio of
COUNTED: dict[Objective, str] = {
    "cost": "cost per output token",
    "packages": "packages per output token/s",
    "devices": "devices per output token/s",
    "power": "power per output token/s",
    "goodput": "inverse of the output tokens/s within the budget",
}


def render(answer: Plan, console: Console) -> None:
    """Print the whole answer."""
    for line in verdict(answer):
        console.print(line)
    for table in option_tables(shown(answer)):
        console.print()
        console.print(table)
    console.print()
    for line in rest(answer):
        console.print(line)
    for line in (*why(answer), *refused(answer), *notes(answer)):
        console.print(line, markup=False)


def shown(answer: Plan) -> list[Option]:
    """The options that are told in full: those of the best chips, and with few chips the next ones of the best."""
    options = list(answer.options[:MOST_OPTIONS])
    return options + list(answer.others) if len(options) < COLUMNS_PER_TABLE else options


def rest(answer: Plan) -> list[str]:
    """The other chips, one line each."""
    output = "output_tokens_per_s_per_package"
    return [f"{sizes(one)}: {spread(one.estimates[output])} output tokens/s/package, {pools(one)}"
            + _ending(answer, one) for one in answer.options[MOST_OPTIONS:]]  # fmt: skip


def _ending(answer: Plan, one: Option) -> str:
    """What a reader of the numbers of a chip must know."""
    if not one.met:
        return "; misses the targets."
    return "; not simulated, as it cannot win." if answer.trials and one.trial is None else "."


def question_line(question: Question, how: Trials | None = None) -> str:
    """What was asked, in one line."""
    work, budget = question.workload, question.budget
    load = "as many requests as the budget serves"
    if work.rate is not None:
        load = f"{work.rate:.4g} requests/s"
    elif work.concurrency is not None:
        load = f"{work.concurrency:g} requests in flight"
    limits = [told] if (told := demanded(question, how)) else []
    known = (("devices", budget.devices, ""), ("packages", budget.packages, ""), ("USD/h", budget.usd_per_hour, ""),
             ("MW", budget.mw, ""))  # fmt: skip
    limits += [f"at most {value:g} {name}" for name, value, _ in known if value is not None]
    return f"{load}, {lengths(work)}; {', '.join(limits) or 'no target, no budget'}."


def verdict(answer: Plan) -> list[str]:
    """The winner in one or two lines, and how sure it is."""
    best = answer.best
    lines = [f"[bold]{escape(answer.model)}[/bold]: {question_line(answer.question, answer.trials)}"]
    if not best.met:
        lines.append(f"[yellow]{answer.shortfall}; the nearest ones are shown.[/yellow]")
    lines.append(f"{'Best' if best.met else 'Nearest'}: [bold]{sizes(best)}[/bold], {pools(best)}: {numbers(best)}.")
    lines += simulated_line(answer)
    lines.append(
        f"The means are within all targets in {best.sure:.0%} of the draws; tier {best.score.tier}. "
        f"What stops a larger batch: {best.held_by}."
    )
    other = answer.runner_up
    if other is not None and not answer.told_apart:
        lines.append(
            f"[yellow]It cannot be told apart from {sizes(other)}, {pools(other)}: it is better in "
            f"{answer.better_in:.0%} of the draws.[/yellow]"
        )
    return lines


def sizes(one: Option) -> str:
    """Devices, packages, nodes."""
    parts = [f"{pool.devices} x {pool.chip}" for pool in one.pools]
    if len({pool.chip for pool in one.pools}) == 1:
        parts = [f"{one.devices} x {one.pools[0].chip}"]
    package = "package" if one.packages == 1 else "packages"
    return f"{' + '.join(parts)} ({one.packages} {package}, {one.nodes} node{'s' if one.nodes > 1 else ''})"


def pools(one: Option) -> str:
    """What each pool is, in words."""
    return "; ".join(f"{pool.role} {pool.replicas} x ({pool.cut}){_batch(pool)}" for pool in one.pools)


def _batch(pool: PoolChoice) -> str:
    return f" with up to {pool.sequences:g} sequences per rank" if pool.sequences else ""


def numbers(one: Option) -> str:
    """The numbers of the verdict."""
    found = one.estimates
    parts = [f"{spread(found['output_tokens_per_s'])} output tokens/s",
             f"TTFT {spread(found['ttft_ms'])} ms", f"TPOT {spread(found['tpot_ms'])} ms"]  # fmt: skip
    if one.usd_per_hour is not None:
        parts.append(f"{rounded(one.usd_per_hour)} USD/h, {spread(found['usd_per_million_output_tokens'])} USD per "
                     "million output tokens")  # fmt: skip
    if one.watts is not None:
        parts.append(f"{rounded(one.watts / 1e3)} kW provisioned")
    return ", ".join(parts)


def option_tables(options: Sequence[Option]) -> Iterable[Table]:
    """Options as columns, three to a table."""
    for start in range(0, len(options), COLUMNS_PER_TABLE):
        yield _table(options[start : start + COLUMNS_PER_TABLE])


def _table(options: Sequence[Option]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("", no_wrap=True)
    for one in options:
        table.add_column(one.name, justify="right")
    for label, *cells in rows(options):
        table.add_row(label, *cells)
    return table


def rows(options: Sequence[Option]) -> list[list[str]]:
    """The lines of the table of options, label first."""
    facts = [
        ["meets the targets", *("yes" if one.met else "no" for one in options)],
        ["devices / packages / nodes", *(f"{one.devices} / {one.packages} / {one.nodes}" for one in options)],
        ["stack, formats", *(_formats(one) for one in options)],
        ["prefill", *(_pool(one.pools[0]) if one.split else "" for one in options)],
        ["decode or mixed", *(_pool(one.pools[-1]) for one in options)],
        ["USD/h", *("no price" if one.usd_per_hour is None else rounded(one.usd_per_hour) for one in options)],
        ["kW provisioned", *("" if one.watts is None else rounded(one.watts / 1e3) for one in options)],
    ]
    for key, label, factor in METRICS:
        cells = [one.estimates.get(key) for one in options]
        if any(cells):
            facts.append([label, *(spread(cell, factor) if cell else "" for cell in cells)])
    facts += trial_rows(options)
    facts.append(["means within the targets in", *(f"{one.sure:.0%} of draws" for one in options)])
    facts.append(["decode bound by", *(one.pools[-1].bound_by for one in options)])
    facts.append(["a larger batch is stopped by", *(one.held_by for one in options)])
    return facts


def _formats(one: Option) -> str:
    return "; ".join(dict.fromkeys(f"{pool.stack}, {pool.precision}" + _drafts(pool) for pool in one.pools))


def _drafts(pool: PoolChoice) -> str:
    tokens = int(np.asarray(pool.drafts.tokens))
    drafts = f", {tokens} draft token{'s' if tokens > 1 else ''}" if tokens else ""
    return drafts + (", no microbatches" if pool.microbatches == 1 else "")


def _pool(pool: PoolChoice) -> str:
    return f"{pool.replicas} x ({pool.cut})" + (f", batch {pool.sequences:g}" if pool.sequences else "")


def why(answer: Plan) -> list[str]:
    """Why the runner-up lost, in one sentence."""
    best, other = answer.best, answer.runner_up
    if other is None:
        return []
    ratio = Estimate.of(other.samples / best.samples, "")
    objective = answer.question.objective
    output = "output_tokens_per_s_per_package"
    packages = other.estimates[output].value / best.estimates[output].value
    price = ""
    if best.usd_per_hour and other.usd_per_hour:
        each = (other.usd_per_hour / other.packages) / (best.usd_per_hour / best.packages)
        price = f" and costs {rounded(each, 2)} times as much"
    return [
        f"Why not {sizes(other)}, {pools(other)}: {spread(ratio)} times the {COUNTED[objective]}. One of its packages "
        f"gives {rounded(packages, 2)} of the output tokens/s{price}; a larger batch is stopped by {other.held_by}; "
        f"its decode step is bound by {other.pools[-1].bound_by} (the winner's by {best.pools[-1].bound_by})."
    ]


def refused(answer: Plan) -> list[str]:
    """Chips without a deployment, and why."""
    return [f"{name}: {reason}." for name, reason in answer.refused.items()]


def notes(answer: Plan) -> list[str]:
    """How many were evaluated, and the notes of the plan."""
    rate = answer.evaluated / max(answer.seconds, 1e-9)
    lines = [f"{answer.evaluated:,} deployments evaluated in {rounded(answer.seconds, 2)} s ({compact(rate)}/s)."]
    lines += agreement_line(answer)
    told = {chip for one in shown(answer) for chip in one.chips}
    lines += [f"{chip}: {bill}." for chip, bill in answer.bills.items() if chip in told]
    return [*lines, *answer.notes]


def plan_document(answer: Plan, inputs: dict[str, Any]) -> dict[str, Any]:
    """`plan --json`."""
    result = {
        "verdict": {
            "chips": list(answer.best.chips), "meets_targets": answer.best.met, "told_apart": answer.told_apart,
            "better_in_share_of_draws": answer.better_in, "why": why(answer), "objective": answer.question.objective,
            "counts": OBJECTIVES[answer.question.objective],
        },
        "options": [option_result(one) for one in answer.options],
        "others": [option_result(one) for one in answer.others],
        "front": [
            {"chips": point.chips, "tokens_per_s_per_user": point.tokens_per_s_per_user,
             "output_tokens_per_s_per_device": point.output_tokens_per_s_per_device,
             "usd_per_million_output_tokens": point.usd_per_million_output_tokens, "recipe": point.recipe}
            for point in answer.front
        ],
        "refused": answer.refused,
        "prices_and_power": answer.bills,
        "agreement": answer.agreement,
        "deployments_evaluated": answer.evaluated,
        "deployments_per_s": answer.evaluated / max(answer.seconds, 1e-9),
    }  # fmt: skip
    return document("plan", inputs, result, list(answer.notes))


def option_result(one: Option) -> dict[str, Any]:
    """One option as plain data."""
    return {
        "chips": list(one.chips),
        "meets_targets": one.met,
        "devices": one.devices,
        "packages": one.packages,
        "nodes": one.nodes,
        "usd_per_hour": one.usd_per_hour,
        "provisioned_w": one.watts,
        "targets_hold_in_share_of_draws": one.sure,
        "held_back_by": one.held_by,
        "pools": [_pool_result(pool) for pool in one.pools],
        "simulated": trial_result(one.trial),
        "estimates": {name: estimate.to_json() for name, estimate in one.estimates.items()},
    }


def _pool_result(pool: PoolChoice) -> dict[str, Any]:
    layout = pool.layout
    return {
        "role": pool.role, "chip": pool.chip, "system": pool.system, "stack": pool.stack,
        "weights": pool.precision.weights, "activations": pool.precision.activations,
        "kv_cache": pool.precision.kv_cache, "mtp_tokens": int(np.asarray(pool.drafts.tokens)),
        "microbatches": pool.microbatches,
        "replicas": pool.replicas, "devices": pool.devices, "packages": pool.packages, "nodes": pool.nodes,
        "tp": layout.tp, "pp": layout.pp, "ep": layout.ep, "attention_dp": layout.attention_dp, "cp": layout.cp,
        "sequences_per_rank": pool.sequences, "bound_by": pool.bound_by, "tier": pool.tier,
    }  # fmt: skip


def render_mix(answer: Mix, console: Console) -> None:
    """Print a fleet of several chips."""
    for line in mix_lines(answer):
        console.print(line)


def mix_lines(answer: Mix) -> list[str]:
    """What to run of each chip, then what it takes."""
    bought = " + ".join(f"{count} of {answer.available[chip]} packages of {chip}"
                        for chip, count in answer.packages.items())  # fmt: skip
    cost = "no price for all chips" if answer.usd_per_hour is None else f"{rounded(answer.usd_per_hour)} USD/h"
    if answer.usd_per_million_output_tokens is not None:
        cost += f", {rounded(answer.usd_per_million_output_tokens)} USD per million output tokens"
    lines = [f"[bold]{escape(answer.model)}[/bold]: {question_line(answer.question, answer.trials)}",
             f"Mixed fleet: [bold]{bought}[/bold], {cost}; it can serve {spread(answer.able)} requests/s."]  # fmt: skip
    whole = sum(part.requests for part in answer.parts)
    for part in answer.parts:
        told = "; ".join(
            f"{pool.role} {pool.replicas} x ({pool.cut}) of {pool.chip}{_batch(pool)}" for pool in part.pools
        )
        lines.append(f"  {part.requests / whole:.0%} of the requests: {told}")
    return [*lines, f"{_mix_basis(answer)}; the router shares requests by capacity."]


def _mix_basis(answer: Mix) -> str:
    """What the targets were compared with."""
    if answer.trials is None:
        return "Closed-form means were compared with the targets"
    return "Units serve what they did in a simulation"


def mix_document(answer: Mix, inputs: dict[str, Any]) -> dict[str, Any]:
    """`plan --available --json`."""
    whole = sum(part.requests for part in answer.parts)
    result = {
        "packages": dict(answer.packages), "available_packages": dict(answer.available), "devices": answer.devices,
        "usd_per_hour": answer.usd_per_hour, "provisioned_w": answer.watts,
        "usd_per_million_output_tokens": answer.usd_per_million_output_tokens, "able_requests_per_s": answer.able,
        "parts": [{"units": part.count, "share_of_requests": part.requests / whole,
                   "pools": [_pool_result(pool) for pool in part.pools]} for part in answer.parts],
    }  # fmt: skip
    return document("plan", inputs, result, [f"{_mix_basis(answer)}."])
