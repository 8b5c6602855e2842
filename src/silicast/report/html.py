"""A comparison as one HTML file: the verdict first, then the deployments, why, and the evidence. Works offline.

Every string is escaped, as names may come from a user's files; only http(s) addresses become links.
"""

import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from silicast.estimate import Estimate, Part
from silicast.hardware import Source
from silicast.outcome import Forecast
from silicast.parts import Explained
from silicast.planning.compare import ChipAnswer, Comparison, Ratio
from silicast.report import charts, roofline
from silicast.report.deployments import deployments
from silicast.report.elements import Figures, badge, bullets, table
from silicast.report.numbers import lengths, rounded
from silicast.report.page import page, write_page
from silicast.report.vega import PAGE

#: what an answer does not record
INCOMPLETE = "The answer records no more: limits of devices or packages, speculation and other stacks are to be added."


def write_report(answer: Comparison, path: Path, command: str | None = None) -> None:
    """Write the report to `path`, folders included; an existing file is replaced in one go.

    `command` is the call to print under "Reproduce"; without it the part that `answer` knows is printed. Raises
    InputError where `path` is not a file or cannot be written.
    """
    write_page(render(answer, command), path)


def render(answer: Comparison, command: str | None = None) -> str:
    """The whole page."""
    figures, chips = Figures(), answer.chips
    title = f"{answer.model} on {_listed([chip.chip for chip in chips])}"
    parts = {
        "title": escape(title),
        "question": escape(question(answer)),
        "verdict": _verdict(answer, figures),
        "deployments": deployments(chips),
        "why_link": '<a href="#why">Why</a>' if answer.ratios else "",
        "why": "".join(_why(ratio, answer.claim, figures) for ratio in answer.ratios),
        "rooflines": _rooflines(chips, figures),
        "parts": _steps(chips, figures),
        "trees": "".join(_tree(chip.best, phase, step) for chip in chips for phase, step in charts.phases(chip.best)),
        "memory": _memory(chips, figures),
        "gaps": "".join(_gaps(chip) for chip in chips),
        "sources": _sources(chips),
        "command": escape(command or known_command(answer)),
        "incomplete": "" if command else f"<p>{INCOMPLETE}</p>",
    }
    return page("report.html", parts, figures)


def question(answer: Comparison) -> str:
    """What was asked, in one line."""
    work = answer.workload
    limits = [f"mean {name} up to {_duration(value)}" for name, value in _targets(answer)]
    cached = f", {work.prefix_hit:.0%} of the input cached" if work.prefix_hit else ""
    return (
        f"{lengths(work)} per request{cached}; "
        f"{' and '.join(limits) or 'no latency target'}; each chip in its own best deployment."
    )


def _targets(answer: Comparison) -> list[tuple[str, float]]:
    known = ("TTFT", answer.targets.ttft_ms), ("TPOT", answer.targets.tpot_ms)
    return [(name, value) for name, value in known if value is not None]


def _duration(ms: float) -> str:
    return f"{ms / 1000:g} s" if ms >= 1000 else f"{ms:g} ms"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _verdict(answer: Comparison, figures: Figures) -> str:
    names = {chip.chip: chip.name for chip in answer.chips}
    body = "".join(_answer(ratio, names, answer.claim) for ratio in answer.ratios)
    body += "".join(_unmet(chip) for chip in answer.chips if not chip.rows[-1].met)
    if not answer.ratios:
        return body + "".join(_alone(chip) for chip in answer.chips)
    rows = [
        [ratio.chip, charts.spread(ratio.per_package), charts.spread(ratio.per_device), ratio.per_package.tier]
        for ratio in answer.ratios
    ]
    caption = f"Output tokens/s over {answer.ratios[0].reference}, with 80 % range"
    numbers = table(["chip", "per package", "per device", "tier"], rows)
    return body + figures.add(charts.verdict(answer, PAGE), caption, numbers)


def _answer(ratio: Ratio, names: dict[str, str], claim: float | None) -> str:
    found = ratio.per_package
    first, second = (
        f"<b>{escape(names[chip])}</b> ({escape(precision)})"
        for chip, precision in zip((ratio.chip, ratio.reference), ratio.precisions, strict=True)
    )
    against = f'<p class="against">{escape(_against(found, claim))}</p>' if claim else ""
    return (
        f'<div class="answer"><div class="number">{rounded(found.value, 2)}<small>{charts.interval(found)} per package'
        f"</small></div><div><p>One package of {first} gives {charts.spread(found)} of the output tokens/s of one "
        f"package of {second}; per device {charts.spread(ratio.per_device)}. {badge(found.tier, 'tier ')}</p>"
        f"{against}</div></div>"
    )


def _against(found: Estimate, claim: float) -> str:
    where = charts.side(found, claim)
    if where == "undecided":
        return f"The claim of {claim:g} lies inside the range: not decided at this tier."
    return f"{charts.SIGNS[where]} The whole range lies {where} the claim of {claim:g}."


def _unmet(chip: ChipAnswer) -> str:
    return f'<p class="warning">{escape(chip.name)}: no layout meets the targets; the nearest one is shown.</p>'


def _alone(chip: ChipAnswer) -> str:
    found = chip.best.estimates["output_tokens_per_s_per_package"]
    return (
        f"<p>{escape(chip.name)} ({escape(chip.precision)}): {charts.spread(found)} output tokens/s per package. "
        f"{badge(found.tier, 'tier ')}</p>"
    )


def _why(ratio: Ratio, claim: float | None, figures: Figures) -> str:
    factors = [[row["cause"], row["text"], row["until"]] for row in charts.cause_rows(ratio)]
    causes = figures.add(
        charts.causes(ratio, claim, PAGE),
        f"Where {rounded(ratio.per_package.value, 2)} comes from",
        table(["cause", "factor", "ratio so far"], factors),
    )
    contexts = sorted({cell.context for cell in ratio.cells})
    cells = figures.add(
        charts.ratio_map(ratio, claim, PAGE),
        "Ratio per package by phase, sequences per package and context",
        table(["phase, sequences", *(f"{context:,} tokens" for context in contexts)], _map_lines(ratio, claim or 1.0)),
    )
    return (
        f"<section><h2>Why: {escape(ratio.chip)} over {escape(ratio.reference)}</h2><p>The factors multiply to the "
        "ratio: each is the mean effect of exchanging one cause between the two chips, over all orders of exchange, "
        f"each hybrid in its own best layout.</p>{causes}{_counted(ratio, claim)}{cells}</section>"
    )


def _counted(ratio: Ratio, claim: float | None) -> str:
    sides = [charts.side(cell.ratio, claim or 1.0) for cell in ratio.cells]
    above, below, undecided = (sides.count(where) for where in ("above", "below", "undecided"))
    signs = charts.SIGNS
    return (
        f"<p>Against {f'the claim of {claim:g}' if claim else 'parity'}: {signs['above']} above in {above}, "
        f"{signs['below']} below in {below}, {signs['undecided']} not decided by the range in {undecided} of "
        f"{len(sides)} cells. Pure prefill and decode pools, each chip in its best layout.</p>"
    )


def _map_lines(ratio: Ratio, pivot: float) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for row in charts.map_rows(ratio, pivot):
        found.setdefault(row["load"], []).append(f"{row['text']} {charts.SIGNS[row['side']]}")
    return [[load, *cells] for load, cells in found.items()]


def _rooflines(chips: Sequence[ChipAnswer], figures: Figures) -> str:
    told = [chip.best for chip in chips]
    drawn = [figures.add(roofline.chart(one, told, PAGE), _deployed(one), _operators(one)) for one in told]
    return f'<div class="pair">{"".join(f"<div>{figure}</div>" for figure in drawn)}</div>'


def _deployed(told: Forecast) -> str:
    return f"{told.chip}, {told.concurrency:,.0f} requests on {told.devices} devices"


def _operators(told: Forecast) -> str:
    keys = ("operator", "phase", "part", "time", "per_byte", "reached", "bound")
    rows = [[row[key] for key in keys] for row in roofline.operators(told)]
    return table(["operator", "phase", "part", "time, share", "FLOP/byte", "reaches", "bound by"], rows)


def _steps(chips: Sequence[ChipAnswer], figures: Figures) -> str:
    body = ""
    phases: tuple[charts.Phase, ...] = ("decode", "prefill")
    for phase in phases:
        rows = [row for chip in chips for row in charts.step_rows(chip.best, phase)]
        lines = [[row["bar"], row["part"], row["text"], row["bound"]] for row in rows]
        numbers = table(["deployment", "part", "time, share", "bound by"], lines)
        body += figures.add(charts.steps(chips, phase, PAGE), f"{phase.capitalize()} step", numbers)
    return body


def _tree(told: Forecast, phase: str, step: Explained) -> str:
    summary = f"{told.chip}, {phase}: {rounded(step.seconds * 1e3)} ms, bound by {step.bound_by}"
    names = ("operator", "ms", "share", "bound by", "law, tier", "calls", "GFLOP", "MB")
    head = "".join(f"<th>{name}</th>" for name in names)
    lines = "".join(_node(part, step.seconds, "part") for part in step.tree.parts)
    return (
        f'<details><summary>{escape(summary)}</summary><div class="scroll"><table class="tree"><thead><tr>{head}</tr>'
        f"</thead><tbody>{lines}</tbody></table></div></details>"
    )


def _node(part: Part, whole: float, kind: str) -> str:
    law = f"{part.law}, {part.tier}" if part.law else part.tier
    work = [f"{part.calls:,.0f}", rounded(part.flops / 1e9), rounded(part.moved / 1e6)] if part.law else [""] * 3
    cells = [rounded(part.value * 1e3), f"{part.value / whole:.1%}", part.bound_by, law, *work]
    line = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    leaves = "".join(_node(leaf, whole, "leaf") for leaf in part.parts)
    return f'<tr class="{kind}"><th>{escape(part.name)}</th>{line}</tr>{leaves}'


def _memory(chips: Sequence[ChipAnswer], figures: Figures) -> str:
    rows = [row for chip in chips for told in charts.deployments(chip) for row in charts.memory_rows(told)]
    lines = [[row["bar"], row["part"], row["text"]] for row in rows]
    numbers = table(["deployment", "use", "size, share of capacity"], lines)
    return figures.add(charts.memory(chips, PAGE), "Up to the capacity of the device", numbers)


def _gaps(chip: ChipAnswer) -> str:
    told = chip.best
    missing = [f"No source gives {name}: drawn from its spread over other chips." for name in told.missing]
    warnings = dict.fromkeys(warning for row in chip.rows for warning in row.forecast.warnings)
    lines = [*(f"Warning: {warning}" for warning in warnings), *missing] or ["No warnings, no missing fields."]
    better = bullets(told.missing_tiers)
    details = f"<details><summary>Which better evidence was missing</summary>{better}</details>" if better else ""
    return f"<h3>{escape(chip.name)} ({escape(chip.chip)})</h3>{bullets(lines)}{details}"


def _sources(chips: Sequence[ChipAnswer]) -> str:
    used: dict[Source, list[str]] = {}
    for chip in chips:
        for source in dict.fromkeys(source for row in chip.rows for source in row.forecast.citations):
            used.setdefault(source, []).append(chip.chip)
    lines = sorted((_source(source, names, len(chips)) for source, names in used.items()), key=str.casefold)
    return f"<ol>{''.join(f'<li>{line}</li>' for line in lines)}</ol>"


def _source(source: Source, chips: Sequence[str], compared: int) -> str:
    address = escape(source.address)
    if source.url.lower().startswith(("https://", "http://")):
        address = f'<a href="{address}" rel="noreferrer">{address}</a>'
    parts = [escape(source.title), escape(source.date), address]
    only = f' <span class="quiet">({escape(", ".join(chips))})</span>' if len(chips) < compared else ""
    return f"{', '.join(part for part in parts if part)}{only}"


def known_command(answer: Comparison) -> str:
    """The part of the call that the answer records."""
    work = answer.workload
    options: list[tuple[str, Any]] = [("--input-tokens", work.input_tokens), ("--output-tokens", work.output_tokens)]
    options += [("--prefix-hit", f"{work.prefix_hit:g}")] if work.prefix_hit else []
    options += [(f"--{name.lower()}", f"{value:g}ms") for name, value in _targets(answer)]
    options += [("--reference", answer.ratios[0].reference)] if answer.ratios else []
    options += [("--claim", f"{answer.claim:g}")] if answer.claim else []
    words = ["silicast", "compare", answer.model, *(chip.chip for chip in answer.chips)]
    return shlex.join([*words, *(str(word) for option in options for word in option)])
