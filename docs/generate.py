"""Writes docs/generated/*.md: the laws from their docstrings, the catalog, the layers, a worked forecast, CLI help.

No figure in the documentation is typed: a page includes what this script computes from the code and the data.

    python docs/generate.py
"""

import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import silicast.laws
from silicast import api, catalog
from silicast.cli.main import VERBS
from silicast.datafile import read_numbers
from silicast.hardware import Chip, Domain, Number
from silicast.laws import routing
from silicast.model.architecture import Model
from silicast.model.config import model_ids, read_model
from silicast.model.ops import GroupedGemm, Op
from silicast.parts import explained
from silicast.report.numbers import shown, shown_range
from silicast.scenario import Layout, Load, Workload
from silicast.sweep.columns import COLUMNS

DOCS = Path(__file__).resolve().parent
OUT = DOCS / "generated"
HEAD = "<!-- written by docs/generate.py -->\n\n"

#: the forecast that path-of-a-forecast.md follows
MODEL, CHIP = "deepseek-ai/DeepSeek-R1", "h100-sxm"
RANKS, BATCH, INPUT, OUTPUT = 72, 48, 4096, 1024


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; cells are text in which a bar is escaped."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def literal(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```\n"


# laws ----------------------------------------------------------------------------------------------------------------


def law_modules() -> list[ModuleType]:
    """The modules of `silicast.laws`, by name."""
    found = pkgutil.iter_modules(silicast.laws.__path__, "silicast.laws.")
    return [importlib.import_module(item.name) for item in found]


def public_laws(module: ModuleType) -> list[Callable[..., Any]]:
    """Public functions that are defined in the module, in the order of the file."""
    functions = [
        item for _, item in inspect.getmembers(module, inspect.isfunction) if item.__module__ == module.__name__
    ]
    return sorted(
        (item for item in functions if not item.__name__.startswith("_")), key=lambda item: item.__code__.co_firstlineno
    )


def inputs(module: ModuleType) -> list[type]:
    """The dataclasses of numbers that the laws of the module take or return."""
    classes = [item for _, item in inspect.getmembers(module, inspect.isclass) if item.__module__ == module.__name__]
    return [item for item in classes if is_dataclass(item)]


def laws() -> str:
    parts = []
    for module in law_modules():
        title = module.__name__.rpartition(".")[2]
        parts.append(f"## {title}\n\n{inspect.getdoc(module)}\n")
        for law in public_laws(module):
            first, _, rest = (inspect.getdoc(law) or "").partition("\n")
            names = ", ".join(inspect.signature(law).parameters)
            parts.append(f"### {law.__name__}\n\n{first}\n\n{literal(f'{law.__name__}({names})')}")
            parts += [literal(rest.strip())] if rest.strip() else []
        parts += [
            f"**{item.__name__}** ({', '.join(item.__annotations__)})\n\n{literal(inspect.getdoc(item) or '')}"
            for item in inputs(module)
        ]
    return "\n".join(parts)


def coefficients() -> str:
    """Every coefficient of the datasheet tier with its range and source."""
    _, numbers = read_numbers(catalog.data_folder() / "coefficients" / "datasheet.toml")
    rows = [
        (name, shown(number.value, number.unit), shown_range(number) or "", number.note, number.source.title)
        for name, number in numbers.items()
    ]
    return table(("coefficient", "value", "range", "meaning", "source"), rows)


# layers --------------------------------------------------------------------------------------------------------------


def layers() -> str:
    """The layers that import-linter enforces, the highest first, with the first line of each module."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(item for item in project["tool"]["importlinter"]["contracts"] if item["type"] == "layers")
    rows = []
    for layer in contract["layers"]:
        for name in re.findall(r"silicast[\w.]*", layer):
            rows.append((f"`{name.removeprefix('silicast.')}`", first_line(name)))
    return table(("module", "what it is"), rows)


def first_line(name: str) -> str:
    try:
        return (inspect.getdoc(importlib.import_module(name)) or "").partition("\n")[0]
    except ModuleNotFoundError:
        return "(not there yet)"


# catalog -------------------------------------------------------------------------------------------------------------


def value(number: Number | None) -> str:
    return shown(number.value, number.unit) if number is not None else ""


def chips() -> str:
    return table(
        ("id", "name", "devices per package", "matrix peak per device", "memory", "bandwidth", "scale-up", "status"),
        (chip_row(chip) for chip in catalog.shipped_chips()),
    )


def chip_row(chip: Chip) -> tuple[str, ...]:
    peaks = ", ".join(f"{dtype} {value(peak)}" for dtype, peak in chip.compute.matrix.items())
    link = chip.links.get("scale_up")
    links = value(link.bandwidth) if link else ""
    memory = chip.hbm
    per = str(chip.packages_of)
    return f"`{chip.id}`", chip.name, per, peaks, value(memory.capacity), value(memory.bandwidth), links, chip.status


def systems() -> str:
    rows = []
    for name in catalog.ids("systems"):
        system = catalog.system(name)
        domains = ", ".join(domain_text(domain) for domain in system.domains)
        rows.append((f"`{name}`", system.name, domains, " ".join(system.chips)))
    return table(("id", "name", "domains (devices)", "chips"), rows)


def domain_text(domain: Domain) -> str:
    shape = f"{domain.axes}D {domain.topology}" if domain.axes else domain.topology
    return f"{domain.name} {shape} ({domain.size or 'any'})"


def stacks() -> str:
    found = [catalog.stack(name) for name in catalog.ids("stacks")]
    return table(
        ("id", "name", "scheduler", "chunk tokens", "cache", "exchange", "microbatches prefill / decode"),
        (
            (
                f"`{one.id}`",
                one.name,
                one.scheduler,
                one.chunk_tokens,
                one.kv_cache or "as the checkpoint",
                one.exchange,
                f"{one.microbatches_prefill} / {one.microbatches_decode}",
            )
            for one in found
        ),
    )


def models() -> str:
    found = [read_model(name) for name in model_ids()]
    head = f"{len(found)} configurations of {len({model.model_type for model in found})} model types ship.\n\n"
    rows = (
        (f"`{one.id}`", one.model_type, one.layers, f"{one.parameters:,}", f"{one.active_parameters:,}", formats(one))
        for one in found
    )
    return head + table(("id", "model type", "layers", "parameters", "per token", "weights"), rows)


def formats(model: Model) -> str:
    return model.quantisation.weights if model.quantisation else "bf16"


# a forecast, step by step --------------------------------------------------------------------------------------------


def worked() -> str:
    """The numbers of path-of-a-forecast.md: one decode step, one operator in full, the steady state, one estimate."""
    pool = api.pool_model(MODEL, CHIP)
    layout, load = (
        Layout(ep=RANKS, attention_dp=RANKS),
        Load(decode_sequences=np.array([float(BATCH)]), decode_context=INPUT),
    )
    ops = pool.model.ops(load, layout, pool.machine.stack)
    step = pool.step(load, layout)
    told = explained(step, pool.machine.tiers())
    workload = Workload(INPUT, OUTPUT, concurrency=BATCH * RANKS)
    steady = pool.closed(layout.arrays(), workload, np.array([float(BATCH)]))
    forecast = api.forecast(MODEL, CHIP, workload, attention_dp=RANKS, ep=RANKS)
    parts = [
        f"### Model\n\n{model_blocks(pool.model)}",
        f"### Operators\n\n{operators(ops)}",
        f"### One law\n\n{one_law(pool, ops, step)}",
        f"### Step\n\n{step_table(told)}",
        f"### Steady state and estimate\n\n{steady_table(steady, forecast.estimates)}",
    ]
    return "\n".join(parts)


def model_blocks(model: Model) -> str:
    rows = [(type(block).__name__, count, f"{sum(block.parameters().values()):,}") for block, count in model.blocks]
    total = f"{model.parameters:,} parameters with embedding and head; {model.active_parameters:,} per token.\n\n"
    return total + table(("block", "count", "parameters each"), rows)


def operators(ops: Sequence[Op]) -> str:
    kinds: dict[str, list[str]] = {}
    for op in ops:
        if np.any(op.count):
            kinds.setdefault(type(op).__name__, []).append(op.name)
    rows = [(kind, len(names), " ".join(dict.fromkeys(f"`{name}`" for name in names))) for kind, names in kinds.items()]
    return table(("kind", "operators", "names (once each)"), rows)


def one_law(pool: Any, ops: Sequence[Op], step: Any) -> str:
    """The first product of the routed experts, its inputs and its time."""
    op = next(op for op in ops if isinstance(op, GroupedGemm))
    group = next(group for group in step.groups if op.name in group.names)
    row, timing = group.names.index(op.name), group.timing
    how = routing.Routing(*(pool.machine.coefficient("routing", name) for name in ("imbalance", "spread")))
    sizes = number(op.tokens), op.topk, number(op.ep), number(op.local)
    busiest, hit = (float(found) for found in routing.busiest_rank(*sizes, how))
    rows = [
        ("tokens of all ranks", f"{number(op.tokens):,.0f}"),
        ("rows on a device, mean", f"{number(op.rows):,.0f}"),
        ("experts held by a device", f"{number(op.local):,.0f} of {op.experts}"),
        ("rows on the fullest device (`routing.busiest_rank`)", f"{busiest:,.0f}"),
        ("experts hit there, expected", f"{hit:.2f}"),
        ("n x k of one expert", f"{number(op.n):,.0f} x {number(op.k):,.0f}"),
        ("FLOPs on the mean device", f"{number(op.flops):.3g}"),
        ("bytes moved", f"{group.moved[row, 0]:.3g}"),
        ("matrix roof", micro(timing.matrix, row)),
        ("memory roof", micro(timing.memory, row)),
        ("launch", micro(timing.fixed, row)),
        ("**one call** (`gemm.grouped_gemm_time`)", f"**{micro(timing.total, row)}**"),
        ("calls in a step", f"{group.count[row, 0]:.0f}"),
    ]
    return f"`{op.name}`:\n\n" + table(("", ""), rows)


def number(size: Any) -> float:
    """A dimension of the one configuration."""
    return float(np.ravel(size)[0])


def micro(seconds: Any, row: int) -> str:
    values = np.asarray(seconds)
    return f"{number(values[row] if values.ndim else values) * 1e6:.1f} us"


def step_table(told: Any) -> str:
    rows = [(part.name, f"{part.value * 1e3:.2f}", part.bound_by) for part in told.tree.parts]
    rows.append(("**step**", f"**{told.seconds * 1e3:.2f}**", told.bound_by))
    return table(("part", "ms", "bound by"), rows)


def steady_table(steady: Any, estimates: dict[str, Any]) -> str:
    rows = [
        (name, f"{float(seconds[0]) * 1e3:.1f}", estimate_text(estimates[name]))
        for name, seconds in (
            ("decode_step_ms", steady.decode_step),
            ("tpot_ms", steady.tpot),
            ("ttft_ms", steady.ttft),
        )
    ]
    rate = "output_tokens_per_s_per_device"
    points = float(steady.requests[0]) * OUTPUT / RANKS
    rows.append((rate, f"{points:,.0f}", estimate_text(estimates[rate])))
    return table(("metric", "points (`Steady`)", "median of the draws, low to high (`Estimate`)"), rows)


def estimate_text(estimate: Any) -> str:
    numbers = (estimate.value, estimate.low, estimate.high)
    middle, low, high = (f"{number:,.3g}" if number < 100 else f"{number:,.0f}" for number in numbers)
    return f"{middle} {estimate.unit}, {low} to {high}, tier {estimate.tier}"


# command line --------------------------------------------------------------------------------------------------------


def command_line() -> str:
    parts = [f"## silicast\n\n{literal(help_text())}"]
    parts += [f"## silicast {verb}\n\n{literal(help_text(verb))}" for verb in VERBS]
    return "\n".join(parts)


def help_text(*arguments: str) -> str:
    """What `silicast ... --help` prints at 100 columns."""
    return printed(*arguments, "--help")


def printed(*arguments: str) -> str:
    """What `silicast ...` prints at 100 columns."""
    program = "from silicast.cli.main import main; import sys; sys.argv[0] = 'silicast'; main()"
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout


# sweeps --------------------------------------------------------------------------------------------------------------

#: what is asked of the example
QUERIES = (
    """SELECT model, chip, max(output_tokens_per_s_per_device) AS tokens_per_s_per_device,
  min(usd_per_million_output_tokens) AS usd_per_million_output_tokens
FROM results WHERE workload = 'chat' AND input_tokens = 4000 AND ttft_ms < 2000 AND tpot_ms < 50
GROUP BY ALL ORDER BY model, 3 DESC""",
    """SELECT chip, kv_cache, tp, ep, attention_dp AS dp, tpot_ms, tpot_ms_low AS low, tpot_ms_high AS high
FROM results WHERE model = 'Qwen/Qwen3-235B-A22B' AND prefix_hit > 0.5 AND tpot_ms_high < 40
ORDER BY output_tokens_per_s_per_device DESC LIMIT 6""",
)


def swept() -> str:
    """The example, how it is run, and what it answers."""
    space = DOCS / "sweep.toml"
    parts = [f"```toml\n{space.read_text(encoding='utf-8')}```\n"]
    with tempfile.TemporaryDirectory() as folder:
        told = printed("sweep", str(space), "--output", f"{folder}/sweep").replace(f"{folder}/", "")
        shown = told.partition("\nAsk:")[0].replace(" --folder sweep", "")
        parts.append(literal(f"$ silicast sweep docs/sweep.toml\n{shown}"))
        for sql in QUERIES:
            answer = printed("results", sql, "--folder", f"{folder}/sweep")
            parts.append(f"```sql\n{sql}\n```\n\n{literal(answer)}")
    columns = [(f"`{name}`", kind.replace("yes_no", "yes or no")) for name, kind in COLUMNS.items()]
    return "\n".join([*parts, table(("column", "kind"), columns)])


PAGES: dict[str, Callable[[], str]] = {
    "laws": laws,
    "coefficients": coefficients,
    "layers": layers,
    "chips": chips,
    "systems": systems,
    "stacks": stacks,
    "models": models,
    "worked": worked,
    "command-line": command_line,
    "sweep": swept,
}


def main() -> None:
    OUT.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (OUT / f"{name}.md").write_text(HEAD + page(), encoding="utf-8")
        print(f"docs/generated/{name}.md")


if __name__ == "__main__":
    main()
