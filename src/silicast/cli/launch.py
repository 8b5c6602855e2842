"""`silicast launch MODEL CHIP --tp 8 --format compose --output DIR`: the files that start a deployment.

Without sizes it is the one with the fewest devices that hold the model.
"""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from silicast import api
from silicast.cli import options as o
from silicast.cli import scenario
from silicast.errors import InputError
from silicast.launch import FORMATS, Limits, launch, write
from silicast.launch.deployed import Deployed, read_deployment
from silicast.planning.choose import require_fit
from silicast.planning.place import Sizes, given_layout
from silicast.report.document import document, emit
from silicast.report.folder import write_folder
from silicast.report.screen import screen
from silicast.scenario import Deployment, Pool, Workload

#: an engine that cannot hold this does not start
SHORTEST = Workload(1, 1)


def command(
    what: Annotated[str, typer.Argument(help="Model id, or a .toml file with [deployment].", show_default=False)],
    chip: Annotated[str | None, typer.Argument(help="Chip id or path, with a model.", show_default=False)] = None,
    form: Annotated[str, typer.Option("--format", help=f"{', '.join(FORMATS)}.")] = "command",
    output: Annotated[Path | None, typer.Option(help="Folder for the files (default: print them).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    served: Annotated[str | None, typer.Option(help="Path or id that the engines load in place of the model.")] = None,
    image: Annotated[str | None, typer.Option(help="Container image (default: the release of the flags).")] = None,
    replicas: Annotated[int | None, typer.Option(help="Replicas.")] = None,
    devices: o.Devices = None,
    tp: o.Tp = None,
    pp: o.Pp = None,
    ep: o.Ep = None,
    attention_dp: o.AttentionDp = None,
    cp: o.Cp = None,
    system: o.System = None,
    stack: o.Stack = None,
    weights: o.Weights = None,
    activations: o.Activations = None,
    kv_cache: o.KvCache = None,
    kv_blocks: o.KvBlocks = None,
    mtp_tokens: o.MtpTokens = 0,
    draft_model: Annotated[str | None, typer.Option(help="Draft model, where the model has no draft layers.")] = None,
    microbatches: o.Microbatches = None,
    max_sequences: Annotated[int | None, typer.Option(help="Sequences that an attention rank decodes at most.")] = None,
    chunk_tokens: Annotated[int | None, typer.Option(help="Tokens that a step of an attention rank carries.")] = None,
    block_tokens: Annotated[int | None, typer.Option(help="Tokens per cache block.")] = None,
    context_tokens: Annotated[int | None, typer.Option(help="Longest prompt and answer together.")] = None,
    memory_share: Annotated[float | None, typer.Option(help="Share of the memory, 0 to 1.")] = None,
    prefix_cache: Annotated[bool | None, typer.Option(help="Keep common prefixes.")] = None,
    as_json: o.AsJson = False,
) -> None:
    described = {
        "replicas": replicas, "devices": devices, "tp": tp, "pp": pp, "ep": ep, "attention-dp": attention_dp, "cp": cp,
        "system": system, "stack": stack, "weights": weights, "activations": activations, "kv-cache": kv_cache,
        "kv-blocks": kv_blocks, "mtp-tokens": mtp_tokens or None, "microbatches": microbatches,
        "max-sequences": max_sequences, "chunk-tokens": chunk_tokens, "block-tokens": block_tokens,
        "context-tokens": context_tokens, "memory-share": memory_share, "prefix-cache": prefix_cache,
    }  # fmt: skip
    given = {name: value for name, value in described.items() if value is not None}
    deployed = _described(what, chip, given) if chip is not None else _file(what, given)
    told = launch(deployed.deployment, deployed.limits, served, draft_model, image)
    files = write(told, form)
    written = [] if output is None else write_folder(files, output, overwrite)
    if as_json:
        inputs = {"what": what, "chip": chip, "format": form}
        emit(document("launch", inputs, {"files": files, "written": [str(path) for path in written]}, list(told.notes)))
        return
    console = screen()
    for path in written:
        console.print(f"{path}", markup=False, soft_wrap=True)
    for name, text in ({} if written else files).items():
        print(f"==> {name} <==\n{text}")


def _described(model: str, chip: str, given: dict[str, Any]) -> Deployed:
    """One mixed pool from options."""
    sizes = ("devices", "tp", "pp", "ep", "attention-dp", "cp")
    draft = scenario.speculation(given.get("mtp-tokens", 0), 0.0)
    setup = api.Setup(
        given.get("system"), given.get("stack"), given.get("weights"), given.get("activations"), given.get("kv-cache"),
        draft, microbatches=scenario.microbatches(given.get("microbatches")),
    )  # fmt: skip
    points = api.pool_model(model, chip, setup)
    asked = Sizes(**scenario.sizes(**{name.replace("-", "_"): given.get(name) for name in sizes}))
    if asked.open:
        layout = api.fit(model, chip, None, setup, devices=asked.devices).layout
    else:
        layout = given_layout(points, asked)
        points.machine.check_devices(layout.devices)
        require_fit(points, layout, SHORTEST)
    pool = Pool(
        chip, "mixed", scenario.positive("replicas", given.get("replicas")) or 1, layout, points.precision,
        setup.system, setup.stack, draft, setup.microbatches,
    )  # fmt: skip
    limits = Limits(**{one.name: given.get(one.name.replace("_", "-")) for one in fields(Limits)})
    return Deployed(Deployment(model, (pool,)), (limits,))


def _file(what: str, given: dict[str, Any]) -> Deployed:
    if not what.endswith(".toml"):
        raise InputError(f"Give a file with [deployment] (.toml), or a model and a chip; got '{what[:60]}' alone.")
    if given:
        name = next(iter(given))
        raise InputError(f"A file says {name} itself; give --{name} with MODEL CHIP.")
    return read_deployment(what)
