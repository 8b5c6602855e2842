"""A comparison as one HTML file: the verdict first, then the deployments, why, and the evidence. Works offline.

Everything is in the file: data, style, and the chart library (`assets/`). A content policy in its head forbids the page
to load anything. Every string is escaped, as names may come from a user's files; only http(s) addresses become links.
"""

import json
import math
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import Any

from silicast import __version__
from silicast.errors import InputError
from silicast.estimate import DRAWS, Estimate, Part, Tier
from silicast.hardware import Source
from silicast.outcome import Forecast
from silicast.parts import Explained
from silicast.planning.compare import ChipAnswer, Comparison, Ratio
from silicast.planning.compare import Row as Deployment
from silicast.report import charts
from silicast.report.numbers import rounded

ASSETS = Path(__file__).parent / "assets"

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"

TIERS: dict[Tier, str] = {
    "measured": "read from a table measured on this chip and stack",
    "calibrated": "laws fitted to measurements of this chip",
    "transferred": "laws fitted to measurements of sibling chips",
    "datasheet": "roofline from datasheet numbers with assumed efficiencies",
}

#: metric -> label, under the heading of its group
METRICS: dict[str, dict[str, str]] = {
    "Latency, mean": {"ttft_ms": "TTFT, ms", "tpot_ms": "TPOT, ms"},
    "Output tokens/s, mixed pool": {
        "output_tokens_per_s_per_package": "per package",
        "output_tokens_per_s_per_device": "per device",
        "output_tokens_per_s_per_w": "per W of package TDP",
    },
    "Output tokens/s, decode only": {
        "decode_output_tokens_per_s_per_package": "per package",
        "decode_output_tokens_per_s_per_device": "per device",
        "decode_output_tokens_per_s_per_w": "per W of package TDP",
    },
    "Input tokens/s, prefill only": {
        "prefill_input_tokens_per_s_per_package": "per package",
        "prefill_input_tokens_per_s_per_device": "per device",
        "prefill_input_tokens_per_s_per_w": "per W of package TDP",
    },
}


def write_report(answer: Comparison, path: Path, command: str | None = None) -> None:
    """Write the report to `path`, folders included; an existing file is replaced in one go.

    `command` is the call to print under "Reproduce"; without it the part that `answer` knows is printed. Raises
    InputError where `path` is not a file or cannot be written.
    """
    page = render(answer, command)
    try:
        _replace(path.resolve(), path, page)
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"Cannot write the report to '{path}': {reason}.") from error


def _replace(target: Path, given: Path, page: str) -> None:
    if target.exists() and not target.is_file():
        what = "a directory" if target.is_dir() else "not a regular file"
        raise InputError(f"Cannot write the report to '{given}': it is {what}. Name a file, such as report.html.")
    if target.exists() and not os.access(target, os.W_OK):
        raise InputError(f"Cannot write the report to '{given}': the file is read-only.")
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name[:100]}.{os.getpid()}.tmp")
    try:
        fresh.write_text(page, encoding="utf-8", errors="replace")
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


def render(answer: Comparison, command: str | None = None) -> str:
    """The whole page."""
    figures = Figures()
    sections = [
        _section("verdict", "Verdict", _verdict(answer, figures)),
        _section("deployments", "Deployments", _deployments(answer.chips)),
        *(_section(f"why-{index}", f"Why: {ratio.chip} over {ratio.reference}", _why(ratio, answer.claim, figures))
          for index, ratio in enumerate(answer.ratios)),
        _section("roofline", "Roofline", _rooflines(answer.chips, figures)),
        _section("parts", "Parts of a step", _parts(answer.chips, figures)),
        _section("memory", "Memory of one device", _memory(answer.chips, figures)),
        _section("gaps", "Warnings and gaps", _limits(answer.chips)),
        _section("sources", "Sources", _sources(answer.chips)),
        _section("reproduce", "Reproduce", _reproduce(answer, command)),
    ]  # fmt: skip
    return _page(answer, sections, figures)


class Figures:
    """Numbers the charts of one page and keeps their specifications."""

    def __init__(self) -> None:
        self.specs: list[charts.Spec] = []

    def add(self, spec: charts.Spec, caption: str, table: str) -> str:
        """A figure with the place of the chart, and its numbers as a table to open."""
        self.specs.append(spec)
        name = f"chart-{len(self.specs)}"
        return (
            f'<figure><figcaption>{escape(caption)}</figcaption><div class="chart" data-chart="{name}" role="img" '
            f'aria-label="{escape(spec["description"])}"></div></figure>'
            f"<details><summary>The same as a table</summary>{table}</details>"
        )

    def scripts(self) -> str:
        """The specifications as data."""
        return "".join(
            f'<script type="application/json" id="chart-{number}">{inline_json(spec)}</script>\n'
            for number, spec in enumerate(self.specs, 1)
        )


def inline_json(value: Any) -> str:
    """JSON that is safe inside a script element: no `<`, no `&`, no line separators, numbers that are not finite null."""
    text = json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _section(name: str, title: str, body: str) -> str:
    return f'<section id="{name}"><h2>{escape(title)}</h2>{body}</section>'


def _page(answer: Comparison, sections: Sequence[str], figures: Figures) -> str:
    title = f"{answer.model} on {_listed([chip.chip for chip in answer.chips])}"
    names = ["verdict", "deployments", *(["why-0"] if answer.ratios else []), "roofline", "parts", "memory", "gaps",
             "sources", "reproduce"]  # fmt: skip
    links = "".join(f'<a href="#{name}">{name.partition("-")[0].capitalize()}</a>' for name in names)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="generator" content="Silicast {__version__}">\n<title>{escape(title)}</title>\n'
        f"<style>{_colours()}\n{_asset('report.css')}</style>\n</head>\n<body>\n"
        f'<header><h1>{escape(title)}</h1><p class="quiet">{escape(question(answer))}</p></header>\n'
        f"<nav>{links}</nav>\n<main>{''.join(sections)}</main>\n"
        f"<footer>Silicast {__version__}. Forecasts, not measurements: a range is the 10th to 90th percentile of "
        f"{DRAWS} draws.</footer>\n"
        f"<noscript><p>The charts need JavaScript; every number is in the tables.</p></noscript>\n{figures.scripts()}"
        f"<script>{_script('vega.js')}</script>\n<script>{_script('report.js')}</script>\n</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _script(name: str) -> str:
    return _asset(name).replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _colours() -> str:
    """The palettes as variables: light, in the dark, and light again on paper."""
    light = _variables(charts.LIGHT, "#f5f6f8")
    paper = _variables(charts.LIGHT, "#ffffff")
    dark = _variables(charts.DARK, "#10151c")
    return f":root{{{light}}}\n@media (prefers-color-scheme: dark){{:root{{{dark}}}}}\n@media print{{:root{{{paper}}}}}"


def _variables(palette: charts.Palette, page: str) -> str:
    colours = {item.name.replace("_", "-"): getattr(palette, item.name) for item in fields(palette)}
    return "".join(f"--{name}:{colour};" for name, colour in (colours | {"page": page}).items())


def question(answer: Comparison) -> str:
    """What was asked, in one line."""
    work, targets = answer.workload, answer.targets
    limits = [f"mean {name} up to {_duration(value)}" for name, value in _targets(answer) if value]
    cached = f", {work.prefix_hit:.0%} of the input cached" if work.prefix_hit else ""
    return (
        f"{work.input_tokens:,} input and {work.output_tokens:,} output tokens per request{cached}; "
        f"{' and '.join(limits) if targets and limits else 'no latency target'}; each chip in its own best deployment."
    )


def _targets(answer: Comparison) -> tuple[tuple[str, float | None], ...]:
    return ("TTFT", answer.targets.ttft_ms), ("TPOT", answer.targets.tpot_ms)


def _duration(ms: float) -> str:
    return f"{ms / 1000:g} s" if ms >= 1000 else f"{ms:g} ms"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# Verdict


def _verdict(answer: Comparison, figures: Figures) -> str:
    names = {chip.chip: chip.name for chip in answer.chips}
    body = "".join(_answer(ratio, names, answer.claim) for ratio in answer.ratios)
    body += "".join(_unmet(chip) for chip in answer.chips if not chip.rows[-1].met)
    if not answer.ratios:
        return body + "".join(_alone(chip) for chip in answer.chips)
    table = _table(
        ["chip", "per package", "per device", "tier"],
        [[ratio.chip, charts.spread(ratio.per_package), charts.spread(ratio.per_device), ratio.per_package.tier]
         for ratio in answer.ratios],
    )  # fmt: skip
    caption = f"Output tokens/s over {answer.ratios[0].reference}, with 80 % range"
    return body + figures.add(charts.verdict(answer, charts.PAGE), caption, table)


def _answer(ratio: Ratio, names: dict[str, str], claim: float | None) -> str:
    found = ratio.per_package
    against = f'<p class="against">{escape(_against(found, claim))}</p>' if claim else ""
    return (
        f'<div class="answer"><div class="number">{rounded(found.value, 2)}<small>{charts.interval(found)} per package'
        f"</small></div><div><p>One package of <b>{escape(names[ratio.chip])}</b> ({escape(ratio.precisions[0])}) gives "
        f"{charts.spread(found)} of the output tokens/s of one package of <b>{escape(names[ratio.reference])}</b> "
        f"({escape(ratio.precisions[1])}); per device {charts.spread(ratio.per_device)}. {_badge(found.tier)}</p>"
        f"{against}</div></div>"
    )


def _against(found: Estimate, claim: float) -> str:
    where = charts.side(found, claim)
    if where == "undecided":
        return f"{charts.SIGNS[where]} The claim of {claim:g} lies inside the range: not decided at this tier."
    return f"{charts.SIGNS[where]} The whole range lies {where} the claim of {claim:g}."


def _unmet(chip: ChipAnswer) -> str:
    return f'<p class="warning">{escape(chip.name)}: no layout meets the targets; the nearest one is shown.</p>'


def _alone(chip: ChipAnswer) -> str:
    found = chip.best.estimates["output_tokens_per_s_per_package"]
    return (
        f"<p>{escape(chip.name)} ({escape(chip.precision)}): {charts.spread(found)} output tokens/s per package. "
        f"{_badge(found.tier)}</p>"
    )


def _badge(tier: Tier) -> str:
    return f'<span class="badge" title="{escape(TIERS[tier])}">tier {tier}</span>'


# Deployments


def _deployments(chips: Sequence[ChipAnswer]) -> str:
    columns = [column for chip in chips for column in _columns(chip)]
    head = ["", *(f"<b>{escape(row.forecast.chip)}</b><small>{label}</small>" for label, row in columns)]
    told = [row.forecast for _, row in columns]
    rows = [_facts(columns), *(_group(name, told) for name in METRICS), _fit(told), _bounds(told)]
    body = "".join(
        f'<tr class="group"><th colspan="{len(head)}">{name}</th></tr>{lines}' for name, lines in rows if lines
    )
    shared = (
        '<p class="quiet">Large: median of the draws; small: 80 % range. A package is what is bought and what the TDP '
    )
    return (
        f'{shared}belongs to; a device is one rank that a program sees.</p><div class="scroll"><table><thead><tr>'
        f"{''.join(f'<th>{cell}</th>' for cell in head)}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _columns(chip: ChipAnswer) -> list[tuple[str, Deployment]]:
    small, large = chip.rows
    if len(charts.deployments(chip)) == 1:
        return [("fewest devices, and most per package", large)]
    return [("fewest devices", small), ("most per package", large)]


Group = tuple[str, str]


def _facts(columns: Sequence[tuple[str, Deployment]]) -> Group:
    told = [row.forecast for _, row in columns]
    lines: dict[str, list[str]] = {
        "devices / packages": [f"{one.devices} / {one.packages}" for one in told],
        "layout": [_layout(one) for one in told],
        "precision": [_two_lines(one.precision) for one in told],
        "system": [escape(one.system) for one in told],
        "stack": [escape(one.stack) for one in told],
        "requests in flight": [f"{one.concurrency:,.0f}" for one in told],
        "meets the targets": ["yes" if row.met else "<b>no</b>" for _, row in columns],
        "tier": [_badge(one.decode.tier) for one in told],
    }
    return "Deployment", _lines(lines)


def _layout(told: Forecast) -> str:
    sizes = told.layout
    first = f"tp {sizes.tp} {charts.TIMES} pp {sizes.pp}"
    return f"{first}<small>attention-dp {sizes.attention_dp}, ep {sizes.ep}, cp {sizes.cp}</small>"


def _two_lines(precision: str) -> str:
    first, _, second = precision.partition(", ")
    return f"{escape(first)}<small>{escape(second)}</small>"


def _group(name: str, told: Sequence[Forecast]) -> Group:
    known = {key: label for key, label in METRICS[name].items() if any(key in one.estimates for one in told)}
    return name, _lines({label: [_estimate(one.estimates.get(key)) for one in told] for key, label in known.items()})


def _estimate(found: Estimate | None) -> str:
    return charts.DASH if found is None else f"{rounded(found.value, 2)}<small>{charts.interval(found)}</small>"


def _fit(told: Sequence[Forecast]) -> Group:
    names = {"weights_gib": "weights, GiB", "free_gib": "KV room, GiB", "usable_gib": "usable, GiB"}
    lines = {label: [rounded(one.memory[key]) for one in told] for key, label in names.items()}
    return "Memory of one device", _lines(
        lines | {"requests that fit": [f"{one.memory['max_requests']:,.0f}" for one in told]}
    )


def _bounds(told: Sequence[Forecast]) -> Group:
    lines = {
        "decode": [_bound(one.decode, one.estimates["decode_mbu"], "MBU") for one in told],
        "prefill": [_bound(one.prefill, one.estimates["prefill_mfu"], "MFU") for one in told],
    }
    return "Bound by", _lines(lines)


def _bound(step: Explained, use: Estimate, name: str) -> str:
    return f"{escape(step.bound_by)}<small>{name} {use.value:.0%}</small>"


def _lines(lines: dict[str, list[str]]) -> str:
    return "".join(
        f"<tr><th>{escape(label)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for label, cells in lines.items()
    )


# Why


def _why(ratio: Ratio, claim: float | None, figures: Figures) -> str:
    factors = _table(
        ["cause", "factor", "ratio so far"],
        [[row["cause"], row["text"], row["until"]] for row in charts.cause_rows(ratio)],
    )
    causes = figures.add(
        charts.causes(ratio, claim, charts.PAGE), f"Where {rounded(ratio.per_package.value, 2)} comes from", factors
    )
    contexts = sorted({cell.context for cell in ratio.cells})
    cells = figures.add(
        charts.ratio_map(ratio, claim, charts.PAGE),
        "Ratio per package by phase, sequences per package and context",
        _table(
            ["phase, sequences per package", *(f"{context:,} tokens" for context in contexts)],
            _map_lines(ratio, claim or 1.0),
        ),
    )
    return (
        "<p>Factors multiply to the ratio: each is the mean effect of exchanging one cause between the two chips, over "
        f"all orders of exchange, each hybrid in its own best layout.</p>{causes}{_counted(ratio, claim)}{cells}"
    )


def _counted(ratio: Ratio, claim: float | None) -> str:
    pivot = claim or 1.0
    sides = [charts.side(cell.ratio, pivot) for cell in ratio.cells]
    against = f"the claim of {claim:g}" if claim else "parity"
    return (
        f"<p>Against {against}: ▲ above in {sides.count('above')}, ▼ below in {sides.count('below')}, ? not decided by "
        f"the range in {sides.count('undecided')} of {len(sides)} cells. Pure prefill and decode pools, each chip in its "
        "best layout.</p>"
    )


def _map_lines(ratio: Ratio, pivot: float) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for row in charts.map_rows(ratio, pivot):
        found.setdefault(row["load"], []).append(f"{row['text']} {charts.SIGNS[row['side']]}")
    return [[load, *cells] for load, cells in found.items()]


# Roofline, parts, memory


def _rooflines(chips: Sequence[ChipAnswer], figures: Figures) -> str:
    told = [chip.best for chip in chips]
    drawn = [figures.add(charts.roofline(one, told, charts.PAGE), _roof_caption(one), _operators(one)) for one in told]
    return (
        "<p>Each dot is an operator of the best deployment, its area the share of the step. The roof is the peak that MFU "
        "divides by and the memory bandwidth; an operator in a wider format has a lower ceiling. Dots lie below the roof by "
        "efficiency, tile shape and launch time. Vector operators and exchanges have no matrix FLOPs; they are under "
        f'<a href="#parts">parts</a>.</p><div class="pair">{"".join(f"<div>{figure}</div>" for figure in drawn)}</div>'
    )


def _roof_caption(told: Forecast) -> str:
    return f"{told.chip}, {told.concurrency:,.0f} requests on {told.devices} devices"


def _operators(told: Forecast) -> str:
    return _table(
        ["operator", "phase", "part", "time, share", "FLOP/byte", "reaches", "bound by"],
        [[row["operator"], row["phase"], row["part"], row["time"], row["per_byte"], row["reached"], row["bound"]]
         for row in charts.operator_rows(told)],
    )  # fmt: skip


def _parts(chips: Sequence[ChipAnswer], figures: Figures) -> str:
    body = "<p>One step of the best deployment of each chip; decode steps carry the requests named at the bar, prefill "
    body += (
        "steps one full chunk of the stack per rank. Times are medians of the draws; medians of parts do not add up to "
    )
    body += "the median of the step exactly.</p>"
    for phase, caption in (("decode", "Decode step"), ("prefill", "Prefill step")):
        rows = [row for chip in chips for row in charts.step_rows(chip.best, phase)]  # type: ignore[arg-type]
        table = _table(
            ["deployment", "part", "time, share", "bound by"],
            [[row["bar"], row["part"], row["text"], row["bound"]] for row in rows],
        )
        body += figures.add(charts.steps(chips, phase, charts.PAGE), caption, table)  # type: ignore[arg-type]
    trees = "".join(_tree(chip.best, phase, step) for chip in chips for phase, step in charts.phases(chip.best))
    return f"{body}<h3>Every operator</h3>{trees}"


def _tree(told: Forecast, phase: str, step: Explained) -> str:
    summary = f"{told.chip}, {phase}: {rounded(step.seconds * 1e3)} ms, bound by {step.bound_by}"
    lines = "".join(_node(part, step.seconds, "part") for part in step.tree.parts)
    head = "".join(
        f"<th>{name}</th>" for name in ("operator", "ms", "share", "bound by", "law, tier", "calls", "GFLOP", "MB")
    )
    return (
        f'<details><summary>{escape(summary)}</summary><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>'
        f"{lines}</tbody></table></div></details>"
    )


def _node(part: Part, whole: float, kind: str) -> str:
    law = f"{part.law}, {part.tier}" if part.law else part.tier
    work = [f"{part.calls:,.0f}", rounded(part.flops / 1e9), rounded(part.moved / 1e6)] if part.law else ["", "", ""]
    cells = [rounded(part.value * 1e3), f"{part.value / whole:.1%}", part.bound_by, law, *work]
    line = (
        f'<tr class="{kind}"><th>{escape(part.name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
    )
    return line + "".join(_node(leaf, whole, "leaf") for leaf in part.parts)


def _memory(chips: Sequence[ChipAnswer], figures: Figures) -> str:
    rows = [row for chip in chips for told in charts.deployments(chip) for row in charts.memory_rows(told)]
    table = _table(
        ["deployment", "use", "size, share of capacity"], [[row["bar"], row["part"], row["text"]] for row in rows]
    )
    text = (
        "<p>KV cache: the requests in flight at their full length. Kept free: what the stack leaves unused of the "
        "capacity.</p>"
    )
    return text + figures.add(charts.memory(chips, charts.PAGE), "Up to the capacity of the device", table)


# Evidence


def _limits(chips: Sequence[ChipAnswer]) -> str:
    return "".join(_limit(chip) for chip in chips)


def _limit(chip: ChipAnswer) -> str:
    told = chip.best
    missing = [f"No source gives {name}: drawn from its spread over other chips." for name in told.missing]
    lines = [*(f"Warning: {warning}" for warning in told.warnings), *missing]
    tiers = "".join(f"<li>{escape(line)}</li>" for line in told.missing_tiers)
    better = f"<details><summary>Which better evidence was missing</summary><ul>{tiers}</ul></details>" if tiers else ""
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines) or "<li>No warnings, no missing fields.</li>"
    return f"<h3>{escape(chip.name)} ({escape(chip.chip)})</h3><ul>{listed}</ul>{better}"


def _sources(chips: Sequence[ChipAnswer]) -> str:
    used: dict[Source, list[str]] = {}
    for chip in chips:
        for source in dict.fromkeys(chip.best.citations):
            used.setdefault(source, []).append(chip.chip)
    lines = sorted((_source(source, names, len(chips)) for source, names in used.items()), key=str.casefold)
    return f"<ol>{''.join(f'<li>{line}</li>' for line in lines)}</ol>"


def _source(source: Source, chips: Sequence[str], all_chips: int) -> str:
    linked = source.url.lower().startswith(("https://", "http://"))
    address = (
        f'<a href="{escape(source.url)}" rel="noreferrer">{escape(source.url)}</a>'
        if linked
        else escape(source.url or "address not kept")
    )
    date = f", {escape(source.date)}" if source.date else ""
    only = f' <span class="quiet">({escape(", ".join(chips))})</span>' if len(chips) < all_chips else ""
    return f"{escape(source.title)}{date}, {address}{only}"


def _reproduce(answer: Comparison, command: str | None) -> str:
    known = command or known_command(answer)
    note = "" if command else (
        "<p>Only what the answer records: limits of devices or packages, speculation and other stacks are to be added.</p>"
    )  # fmt: skip
    return (
        f"<pre><code>{escape(known)}</code></pre>{note}<p>Silicast {__version__}; {DRAWS} draws with a fixed seed, so the "
        "same version and catalog give the same numbers.</p><details><summary>Licences of the chart library in this file"
        f'</summary><pre class="licences">{escape(_asset("vega-licences.txt"))}</pre></details>'
    )


def known_command(answer: Comparison) -> str:
    """The part of the call that the answer records."""
    work, targets = answer.workload, answer.targets
    options: list[tuple[str, Any]] = [("--input-tokens", work.input_tokens), ("--output-tokens", work.output_tokens)]
    options += [("--prefix-hit", f"{work.prefix_hit:g}")] if work.prefix_hit else []
    options += [(f"--{name.lower()}", f"{value:g}ms") for name, value in _targets(answer) if value and targets]
    options += [("--reference", answer.ratios[0].reference)] if answer.ratios else []
    options += [("--claim", f"{answer.claim:g}")] if answer.claim else []
    words = ["silicast", "compare", answer.model, *(chip.chip for chip in answer.chips)]
    return shlex.join([*words, *(str(word) for option in options for word in option)])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A plain table; the first cell of a line names it."""
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    )
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table></div>'
