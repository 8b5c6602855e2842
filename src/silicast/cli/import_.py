"""`silicast import "vllm serve ..." --chip ID`: what should a running deployment reach?"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from silicast import api, catalog
from silicast.cli import options as o
from silicast.cli import scenario
from silicast.errors import InputError
from silicast.launch import dense, pool_of, stored
from silicast.launch.command import MOST_TEXT
from silicast.launch.engines import CHOOSE_EXCHANGE
from silicast.launch.reach import limited, served
from silicast.launch.reading import Found, read
from silicast.launch.settings import Limits, Settings
from silicast.model.config import read_model
from silicast.outcome import Forecast
from silicast.pool import PoolModel
from silicast.report.document import document, emit
from silicast.report.launch import pool_result, render_pool, render_reach, render_words, side_result
from silicast.report.screen import screen
from silicast.scenario import Pool, Speculation, Targets, Workload

#: files beside a command that it may name
BESIDE = (".yaml", ".yml", ".json")


def command(
    launched: Annotated[str, typer.Argument(help="A launch command, or a file with one.", show_default=False)],
    chip: Annotated[str, typer.Option(help="Chip that it runs on: id or path.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="Model id or config.json, where the command has a path.")] = None,
    input_tokens: o.InputTokens = 4096,
    output_tokens: o.OutputTokens = 1024,
    prefix_hit: o.PrefixHit = 0.0,
    concurrency: o.Concurrency = None,
    rate: o.Rate = None,
    requests: o.Requests = None,
    ttft: o.Ttft = "2s",
    tpot: o.Tpot = "50ms",
    system: o.System = None,
    stack: o.Stack = None,
    weights: o.Weights = None,
    activations: o.Activations = None,
    kv_cache: o.KvCache = None,
    mtp_acceptance: o.MtpAcceptance = 0.7,
    balanced: o.Balanced = False,
    skip_unknown: Annotated[bool, typer.Option("--skip-unknown", help="Pass over flags that are not known.")] = False,
    as_json: o.AsJson = False,
) -> None:
    workload = Workload(input_tokens, output_tokens, prefix_hit, concurrency, rate, requests)
    scenario.speculation(0, mtp_acceptance)
    setup = api.Setup(system, None, weights, activations, kv_cache, balanced=balanced)
    text, files = _text(launched)
    vendor = catalog.chip(chip).vendor
    told = [
        _reached(found, chip, model, setup, workload, scenario.targets(ttft, tpot), mtp_acceptance)
        for found in read(text, vendor, stack, files, skip_unknown)
    ]
    if as_json:
        inputs = {"launched": launched, "chip": chip, **asdict(workload)}
        warnings = [line for one in told for line in (*one["notes"], *one["forecast"].warnings)]
        emit(document("import", inputs, {"pools": [_result(one) for one in told]}, warnings))
        return
    console = screen()
    for one in told:
        render_pool(one["pool"], one["limits"], console)
        render_words(one["ignored"], one["unmodelled"], console)
        for note in one["notes"]:
            console.print(note, markup=False)
        render_reach(one["forecast"], one["pool"].role, one["workload"], console)


def _reached(
    found: Found, chip: str, model: str | None, setup: api.Setup, workload: Workload, targets: Targets,
    acceptance: float,
) -> dict[str, Any]:  # fmt: skip
    """One engine: its pool, and the forecast of one replica under its share of the load."""
    told, name = found.reading.settings, model or found.reading.settings.model
    architecture = read_model(name)
    told = told if architecture.experts else dense(told)
    told = told if architecture.quantisation is None else stored(told)
    own = replace(
        setup,
        stack=found.stack,
        weights=setup.weights or told.weights,
        activations=setup.activations or told.activations,
        kv_cache=setup.kv_cache or told.kv_cache,
        speculation=Speculation(told.draft_tokens, acceptance if told.draft_tokens else 0.0),
        microbatches=told.microbatches,
    )
    points = limited(api.pool_model(name, chip, own), told.limits)
    pool = replace(pool_of(told, chip, found.stack, points.precision, acceptance), precision=points.precision)
    pool = replace(pool, replicas=told.replicas * found.replicas, system=setup.system)
    share, notes = served(_share(workload, pool.replicas), told.limits)
    notes += _exchange(told, points)
    if pool.replicas > 1:
        notes.append(f"The numbers are of one of {pool.replicas} replicas under its share of the load.")
    forecast = api.forecast_pool(points, share, targets, **asdict(told.layout.whole()))
    return {
        "pool": pool, "limits": told.limits, "ignored": found.reading.ignored, "unmodelled": found.reading.unmodelled,
        "notes": notes, "workload": share, "forecast": forecast,
    }  # fmt: skip


def _exchange(told: Settings, points: PoolModel) -> list[str]:
    """A note where the backend of the command is not what the stack is taken to use."""
    layout, stack = told.layout, points.machine.stack
    travels = layout.attention_dp > 1 and layout.ep > 1
    if not travels or stack.id not in CHOOSE_EXCHANGE or bool(stack.all_to_all(layout.ep)) == told.all_to_all:
        return []
    ways = ("gathered", "sent by all-to-all")
    return [f"Tokens are {ways[told.all_to_all]} to their experts; the forecast has them {ways[not told.all_to_all]}."]


def _share(workload: Workload, replicas: int) -> Workload:
    """What one of several replicas gets."""
    shared = {name: getattr(workload, name) for name in ("concurrency", "rate")}
    return replace(workload, **{name: value / replicas for name, value in shared.items() if value is not None})


def _result(one: dict[str, Any]) -> dict[str, Any]:
    pool: Pool = one["pool"]
    limits: Limits = one["limits"]
    forecast: Forecast = one["forecast"]
    told = pool_result(pool, limits, one["ignored"], one["unmodelled"])
    return {**told, "forecast": side_result(forecast, pool.role)}


def _text(launched: str) -> tuple[str, dict[str, str]]:
    """The text of a command or of a file, and the options files beside it."""
    here = Path()
    path = Path(launched)
    if _is_file(path):
        launched, here = _content(path), path.parent
    elif len(launched.split()) < 2:
        raise InputError(f"'{launched[:80]}' is neither a launch command nor a file.")
    named = {word.rpartition("=")[2].strip("'\"") for word in launched.split() if word.strip("'\"").endswith(BESIDE)}
    return launched, {name: _content(here / name) for name in named if _is_file(here / name)}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _content(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_TEXT:
            raise InputError(f"'{path}' is too long for launch files ({path.stat().st_size:,} bytes).")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"'{path}' is not text.") from None
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from None
